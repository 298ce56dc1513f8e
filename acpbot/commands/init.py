"""`acpbot init`: ask a few questions on the terminal and write a configuration.

Nothing is written before the last answer, and no existing file is replaced. The written file is loaded, as the daemon
would load it, and removed if that fails. Each answer is checked at once; an invalid one is asked for again.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import os
import re
import secrets
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from acpbot.chat.discord.permissions import invite_link
from acpbot.commands.check_online import PORTAL
from acpbot.commands.init_place import CONTAINER, Place, ask_place, key_lines, table_lines
from acpbot.commands.own_program import shell_name
from acpbot.commands.questions import Invalid, ask, read_line
from acpbot.config import loader
from acpbot.config.field_types import InvalidValue, clean_token
from acpbot.config.paths import current_directory, home_directory, user_config
from acpbot.config.values import show, to_toml
from acpbot.errors import AcpbotError, CannotAsk
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.config.settings import Settings

KNOWN_AGENTS: Final[dict[tuple[str, ...], str]] = {
    ("claude-agent-acp",): "npm install -g @agentclientprotocol/claude-agent-acp",
    ("codex-acp",): "npm install -g @agentclientprotocol/codex-acp",
    ("gemini", "--acp"): "npm install -g @google/gemini-cli",
    ("copilot", "--acp"): "npm install -g @github/copilot",
    ("opencode", "acp"): "npm install -g opencode-ai",
    ("qwen", "--acp"): "npm install -g @qwen-code/qwen-code",
    ("hermes-acp",): "pip install 'hermes-agent[acp]'",
}
"""The command lines with which known agents speak ACP on their stdin and stdout, and how each is installed."""

DEMO_AGENT: Final = (sys.executable or "python3", "-m", "acpbot.demo.agent")

_ID: Final = r"[1-9][0-9]{16,19}"  # 17 digits since 2015, 20 are all that 64 bits take
_EVERYBODY: Final = "everybody"
_POLICIES: Final = {
    "ask": "a person answers each request, by buttons in the thread",
    "allow": "each request is allowed at once; for agents that can do no harm where they run",
    "deny": "each request is rejected at once",
}
_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


class People(NamedTuple):
    """Who may talk to the bot: these ids; everybody where both are empty."""

    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Answers(NamedTuple):
    """The answers. ``token`` is ``None`` for a local chat; empty ``channels`` mean all channels.

    ``working_dir``: where the code is; ``None``: each thread gets an empty folder of its own.
    ``place``: where agents run.
    """

    token: str | None
    people: People
    channels: tuple[str, ...]
    agent: tuple[str, ...]
    working_dir: str | None = None
    policy: str = "ask"
    place: Place = Place()


def init(path: Path | None, environ: Mapping[str, str]) -> None:
    """Ask, write and load the configuration.

    Its place is ``path`` (--config) > ``ACPBOT_CONFIG`` > ``$XDG_CONFIG_HOME/acpbot/config.toml``, where `acpbot run`
    in any folder and a user's service find it.

    Raises ``CannotAsk`` without a terminal, ``ConfigError`` where the written file can't be used, ``AcpbotError`` where
    the file exists, can't be written, or the input ends. After an error the file does not exist.
    """
    if not (os.isatty(0) and os.isatty(1)):
        raise CannotAsk("cannot ask: there is no terminal; write a file with `acpbot config --example`, and edit it")
    named = str(path or environ.get("ACPBOT_CONFIG", ""))
    target = current_directory() / named if named else user_config(environ)
    if target is None:
        raise AcpbotError("cannot find a place for the configuration: HOME is not set; choose one with --config")
    _check_target(target, make_folder=not named)
    typer.echo(operator_line(f"This writes {target}. Press Ctrl-C to leave without writing anything."))
    try:
        answers = _ask(environ)
        client_id = None if answers.token is None else client_id_in(answers.token) or _client_id()
    except (EOFError, KeyboardInterrupt) as left:
        typer.echo("\nNothing was written.")
        if isinstance(left, EOFError):
            raise AcpbotError("cannot go on: the input has ended; run `acpbot init` again") from None
        raise
    if not named:
        _make_folder(target)
    settings = write(target, render(answers), environ)
    for warning in settings.warnings:
        typer.echo(f"warning: {warning}")
    if answers.working_dir is not None and target.resolve().is_relative_to(Path(answers.working_dir).resolve()):
        folder = operator_line(answers.working_dir)
        typer.echo(f"warning: this file is in {folder}, where agents work and could change it; move it somewhere else")
    typer.echo(operator_line(f"Wrote {target}; only you can read it."))
    hidden = not named and os.path.lexists(current_directory() / "config.toml")
    if hidden:
        typer.echo(operator_line(f"warning: without --config, {current_directory()}/config.toml comes first here"))
    option = f" --config {shlex.quote(str(target))}" if path is not None or hidden else ""
    _print_next_steps(answers, client_id, option, environ)


def client_id_in(token: str) -> str | None:
    """The application's id: the first part of a bot token is this id in base64 (without ``=``)."""
    first = token.split(".", maxsplit=1)[0]
    try:
        found = base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    return found if re.fullmatch(_ID, found) else None


def render(answers: Answers) -> str:
    """The configuration, as TOML with a comment for each choice."""
    lines = ["# Made by `acpbot init`. config.toml.example explains every other key and its default.", ""]
    if answers.token is None:
        lines += ["# No [discord] table: chat locally with `acpctl chat`.", ""]
    else:
        lines += ["[discord]", f"bot_token = {to_toml(answers.token)}", "", "# Who may use the bot."]
        if answers.people.users:
            lines.append(f"allowed_users = {to_toml(answers.people.users)}")
        if answers.people.roles:
            lines.append(f"allowed_role_ids = {to_toml(answers.people.roles)}")
        if not any(answers.people):
            lines.append("allow_all_users = true  # everyone who can post in an allowed channel")
        lines += ["", "# Where it answers, including the threads in a channel."]
        limited = f"allowed_channels = {to_toml(answers.channels)}"
        lines += [limited if answers.channels else "allow_all_channels = true", ""]
    command, *args = (word.replace("${", "$${") for word in answers.agent)
    lines += ["[agent]", f"command = {to_toml(command)}"]
    if args:
        lines.append(f"args = {to_toml(args)}")
    if answers.working_dir is not None:
        lines += [
            "# The agent works in this folder, in every thread.",
            f"working_dir = {to_toml(answers.working_dir.replace('${', '$${'))}",
        ]
    if answers.agent[0].rpartition("/")[2] == "opencode":
        lines += [
            "# `opencode acp` also listens on a loopback port; without a password every local user could use it.",
            f"env = {to_toml({'OPENCODE_SERVER_PASSWORD': secrets.token_hex(24)})}",
        ]
    gets = "HOME and what its image sets" if answers.place.image else "HOME, PATH, USER, LANG, TERM and TMPDIR"
    lines += [
        *key_lines(answers.place),
        f"# It gets {gets}. List other environment variables that it needs here.",
        '#inherit_env = ["SOME_API_KEY"]',
        *table_lines(answers.place),
        "",
        "[permissions]",
        f"# When an agent asks whether it may act: {_POLICIES[answers.policy]}.",
        f"policy = {to_toml(answers.policy)}",
    ]
    return "\n".join(lines) + "\n"


def write(target: Path, text: str, environ: Mapping[str, str]) -> Settings:
    """Create ``target`` with mode 0600 and load it; where that fails, remove it. Raises where the file exists."""
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _exists_error(target) from None
    except (OSError, ValueError) as error:
        raise _write_error(target, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return loader.load(target, environ)
    except BaseException as error:  # Ctrl-C too: remove the file, raise the error again
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _write_error(target, error) from None
        raise


def _check_target(target: Path, *, make_folder: bool) -> None:
    """Raise ``AcpbotError``, before the first question, where the file could not be written after the last one.

    ``make_folder``: its folder will be made where it is missing.
    """
    if os.path.lexists(target):
        raise _exists_error(target)
    folder = target.parent
    while make_folder and not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise AcpbotError(operator_line(f"cannot write {target}: there is no folder {folder}; create it first"))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AcpbotError(
            operator_line(f"cannot write {target}: you can't write in {folder}; choose another place with --config")
        )


def _make_folder(target: Path) -> None:
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(target, error) from None


def _exists_error(target: Path) -> AcpbotError:
    return AcpbotError(
        operator_line(f"cannot write {target}: it already exists; edit it, move it away or name another with --config")
    )


def _write_error(target: Path, error: OSError | ValueError) -> AcpbotError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return AcpbotError(operator_line(f"cannot write {target}: {reason}; choose another place with --config"))


def _ask(environ: Mapping[str, str]) -> Answers:
    typer.echo(f"\nGet the bot's token from {PORTAL}: your application, Bot, Reset Token.")
    token = ask("Bot token (hidden; leave empty to chat locally, without Discord): ", _token, read=getpass.getpass)
    if token is None:
        return _ask_agent(environ, Answers(None, People(), (), ()))
    typer.echo("\nTo copy IDs, turn on Settings, Advanced, Developer Mode in Discord, then right-click and Copy ID.")
    people = _people()
    channels = ask("Channel IDs (empty: every channel the bot can see): ", lambda text: _ids(text, "channel"))
    return _ask_agent(environ, Answers(token, people, channels, ()))


def _ask_agent(environ: Mapping[str, str], answers: Answers) -> Answers:
    place = ask_place(environ)
    agent = _agent(environ, in_image=place.runtime == CONTAINER)
    return answers._replace(place=place, agent=agent, working_dir=_working_dir(environ), policy=_policy())


def _people() -> People:
    while True:
        users = ask("IDs of users who may use the bot (empty: none): ", lambda text: _ids(text, "user"))
        roles = ask("IDs of roles that may use the bot (empty: none): ", lambda text: _ids(text, "role"))
        if users or roles:
            return People(users, roles)
        typer.echo("Warning: with no IDs, everyone who can post in its channels can have the agent run programs here.")
        if read_line(f'Type "{_EVERYBODY}" to allow that, or anything else to enter IDs: ') == _EVERYBODY:
            return People()


def _agent(environ: Mapping[str, str], *, in_image: bool) -> tuple[str, ...]:
    """The command of the agent. ``in_image``: an image holds it, and nobody knows which ones it has."""
    path = None if in_image else environ.get("PATH", os.defpath)
    found = [argv for argv in KNOWN_AGENTS if in_image or shutil.which(argv[0], path=path)]
    choices = found if in_image else [*found, DEMO_AGENT]
    typer.echo("\nAgents:" if found else "\nNo known agent is on PATH. The demo agent (no model) is always available.")
    for number, argv in enumerate(choices, 1):
        typer.echo(f"  {number}  {'the demo agent (no model)' if argv is DEMO_AGENT else ' '.join(argv)}")
    missing = {argv[0]: how for argv, how in KNOWN_AGENTS.items() if argv not in found}
    if missing:
        typer.echo("Not installed (to install one: press Ctrl-C, run its command, then run `acpbot init` again):")
    width = max(map(len, missing), default=0)
    for name, how in missing.items():
        typer.echo(f"  -  {name:{width}}  {how}")

    def parse(text: str) -> tuple[str, ...]:
        if not text:
            return choices[0]
        if re.fullmatch(r"[0-9]{1,3}", text):
            if 1 <= int(text) <= len(choices):
                return choices[int(text) - 1]
            raise Invalid(f"There is no number {text}. Pick one from 1 to {len(choices)}.")
        return next((argv for argv in found if text == argv[0]), None) or _command(text, path)

    return ask("Number, or the command line of another ACP agent (empty: 1): ", parse)


def _working_dir(environ: Mapping[str, str]) -> str | None:
    """The folder in which the agent works, which must be there; without one each thread begins in an empty folder."""
    typer.echo("\nWhere is the code? All threads work in this folder. Without one, each starts in an empty folder.")
    typer.echo('To give a channel its own folder, add [discord.channels."ID"]; see config.toml.example.')

    def parse(text: str) -> str | None:
        if not text:
            return None
        home = home_directory(environ)
        if text == "~" or text.startswith("~/"):
            if home is None:
                raise Invalid("HOME is not set. Enter an absolute path.")
            text = str(home / text[2:].lstrip("/"))
        if not Path(text).is_absolute():
            raise Invalid(f"{show(text)} is a relative path. Enter an absolute one.")
        if not Path(text).is_dir():
            raise Invalid(f"There is no folder {show(text)}. Create it first, or correct its name.")
        if not os.access(text, os.R_OK | os.W_OK | os.X_OK):
            raise Invalid(f"You can't read and write {show(text)}. Choose another folder, or change its permissions.")
        return text

    return ask("Folder (absolute path; empty: none): ", parse)


def _policy() -> str:
    """What happens when an agent asks for a permission: a value of ``[permissions] policy``."""
    typer.echo("\nWhen an agent asks whether it may run a command or change a file:")
    for name, meaning in _POLICIES.items():
        typer.echo(f"  {name:5}  {meaning}")

    def parse(text: str) -> str:
        if text and text not in _POLICIES:
            raise Invalid(f"{show(text)} isn't one of {', '.join(_POLICIES)}.")
        return text or "ask"

    return ask("Permissions (empty: ask): ", parse)


def _command(text: str, path: str | None) -> tuple[str, ...]:
    """The words of a command line, whose program is on ``path``; it is not looked for where that is ``None``."""
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise Invalid(f"That isn't a valid command line ({error}). Quote it as for a shell.") from None
    if not argv or not argv[0].strip():
        raise Invalid("That doesn't name a program. Enter its name or its absolute path.")
    if "/" in argv[0] and not argv[0].startswith("/"):
        raise Invalid(f"{show(argv[0])} is a relative path. Enter an absolute one, or a name on PATH.")
    if re.search(r"\s", argv[0]) and "/" not in argv[0]:
        raise Invalid(f"{show(argv[0])} isn't the name of a program. Quote its arguments separately.")
    if path is not None and shutil.which(argv[0], path=path) is None:
        raise Invalid(f"There is no program {show(argv[0])}. Install it first, or correct its name.")
    return argv


def _token(text: str) -> str | None:
    if not text:
        return None
    try:
        token = clean_token(text)
    except InvalidValue as invalid:
        raise Invalid(f"That {invalid.got}. Paste only the token.") from None
    if not _TOKEN.fullmatch(token):
        raise Invalid(
            "That isn't a bot token: it has three parts separated by dots. A client secret is something else."
        )
    return token


def _ids(text: str, kind: str) -> tuple[str, ...]:
    """The ids in a list with commas or spaces; an id may also be a mention or a link. Each id once."""
    before = {"user": "<@!?", "role": "<@&", "channel": r"<#|https://(?:\w+\.)?discord\.com/channels/[0-9]+/"}[kind]
    found: dict[str, None] = {}
    for word in re.split(r"[\s,]+", text.strip(" ,")) if text.strip(" ,") else []:
        match = re.fullmatch(rf"(?:{before})?({_ID})>?", word)
        if match is None:
            raise Invalid(f"{show(word)} isn't a {kind} ID. IDs have 17 to 20 digits; separate several with commas.")
        found[match[1]] = None
    return tuple(found)


def _client_id() -> str | None:
    def parse(text: str) -> str | None:
        if text and not re.fullmatch(_ID, text):
            raise Invalid("An application ID has 17 to 20 digits. Leave it empty to continue without an invite link.")
        return text or None

    return ask("Application ID for the invite link (the portal's General Information; empty: none): ", parse)


def _print_next_steps(answers: Answers, client_id: str | None, option: str, environ: Mapping[str, str]) -> None:
    acpbot, acpctl = shell_name("acpbot", environ), shell_name("acpctl", environ)
    if answers.token is None:
        typer.echo(f"Next, run: {acpbot} check{option}; {acpbot} run{option}; and in another terminal: {acpctl} chat")
        return
    if client_id is not None:
        typer.echo(f"Invite the bot: {invite_link(client_id)}")
    typer.echo(f"Turn on the Message Content Intent: {PORTAL}, Bot, Privileged Gateway Intents")
    typer.echo(f"Next, run: {acpbot} check --online{option}; {acpbot} run{option}")
