"""`acpbot check`: show the settings in force, and start every agent once."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shlex
import tempfile
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from acpbot.acp import mcp
from acpbot.commands.check_online import try_token
from acpbot.commands.own_program import shell_name
from acpbot.config import loader, security
from acpbot.config.describe import describe
from acpbot.config.settings import channel_table
from acpbot.errors import AgentError, AgentRefused, AgentStartError
from acpbot.runtimes.bubblewrap.hidden import hidden_files
from acpbot.runtimes.homes import LOGINS, make_login_home
from acpbot.runtimes.local.hidden_folder import token_folder
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.sessions.launch import launch, start_error
from acpbot.sessions.modes import does_not_ask
from acpbot.sessions.options import Options
from acpbot.sessions.terminate import terminate
from acpbot.text import one_line, operator_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from acpbot.acp.agent import Agent
    from acpbot.config.settings import AgentSettings, ChannelSettings, Settings
    from acpbot.runtimes.runtime import AgentProcess, Runtime
    from acpbot.sessions.options import Choice


_OWN_HOME: Final = "each thread has its own HOME: the agent may not know conversations that began in another runtime"
_WARNING: Final = re.compile(r"(?:^|: )warning: ", re.MULTILINE)


def check(path: Path | None, environ: Mapping[str, str], say: Callable[[str], None], *, online: bool) -> bool:
    """Show the settings in force and try each agent, with ``online`` also the bot token; whether all is well.

    ``path`` is --config or ``None``. ``say`` prints one line or several. Raises ``ConfigError``.
    """
    settings = loader.load(path, environ)
    warnings = 0

    def count(line: str) -> None:
        nonlocal warnings
        warnings += len(_WARNING.findall(line))
        say(line)

    results = asyncio.run(_check(settings, environ, count, online=online))
    acpbot = shell_name("acpbot", environ)
    option = "" if path is None else f" --config {shlex.quote(str(path))}"
    discord = settings.discord is not None
    for line in _verdict(results, warnings, acpbot, option, online=online, discord=discord):
        say(line)
    return all(results)


def _verdict(
    results: list[bool], warnings: int, acpbot: str, option: str, *, online: bool, discord: bool
) -> Iterator[str]:
    """What follows from the results, and the next step."""
    warned = f"; {warnings} warning{'' if warnings == 1 else 's'} above" if warnings else ""
    failed = results.count(False)
    if failed:
        yield f"\nresult: {failed} of {len(results)} checks failed{warned}"
        yield f"next: fix the problems above, then run `{acpbot} check{' --online' if online else ''}{option}` again"
        return
    yield f"\nresult: ok{warned}"
    if discord and not online:
        yield f"next: `{acpbot} check --online{option}` tries the bot token, then `{acpbot} run{option}`"
    else:
        yield f"next: `{acpbot} run{option}`"


async def _check(
    settings: Settings, environ: Mapping[str, str], say: Callable[[str], None], *, online: bool
) -> list[bool]:
    """Say all, and whether each check passed."""
    say(describe(settings).rstrip())
    for warning in settings.warnings:
        say(f"warning: {warning}")
    socket = loader.socket_path(settings, None, environ)
    say(f"\nsocket: {socket if settings.management.enabled else 'off'}")
    folder = token_folder(settings)
    local, reason = local_runtime("auto", environ=environ, owns_children=True, hidden=folder)
    say(f"containment: {local.containment} ({reason.removeprefix(f'{local.containment}: ')})")
    hidden = hidden_files(settings, loader.socket_path(settings, None, environ), environ)
    runtimes = Runtimes(local, daemon_id=secrets.token_hex(8), hidden=hidden)
    uid, gid = os.geteuid(), os.getegid()
    files = security.look(settings, uid, gid)
    for finding in security.findings(settings, files, uid=uid, gid=gid, containment=local.containment):
        say(f"security: {finding.level}: {finding}")
    try:
        asks = settings.permissions.policy == "ask"
        results = [await _try_agent(runtimes, agent, settings, say, asks=asks) for agent in settings.agents.values()]
        for channel_id, agent in _modes_of_channels(settings):
            say_of_channel = partial(_say_of_channel, channel_id, say)
            results.append(await _try_agent(runtimes, agent, settings, say_of_channel, asks=asks))
    finally:
        await runtimes.aclose()
    results += [_check_folder(channel_id, channel, say) for channel_id, channel in _channels(settings)]
    for line in _next_runs(settings, time.time()):
        say(line)
    if online:
        results.append(await try_token(settings, say))
    return results


def _next_runs(settings: Settings, now: float) -> Iterator[str]:
    """When each entry of ``[[schedule]]`` runs next, in its own time zone."""
    for number, entry in enumerate(settings.schedule, 1):
        following = datetime.fromtimestamp(next(entry.times_after(now)), ZoneInfo(entry.timezone))
        place = f"channel {entry.channel}" if entry.thread is None else f"thread {entry.thread}"
        yield operator_line(f"schedule {number}: next at {following:%Y-%m-%d %H:%M} ({entry.timezone}) in {place}")


def _channels(settings: Settings) -> list[tuple[str, ChannelSettings]]:
    return [] if settings.discord is None else list(settings.discord.channels.items())


def _modes_of_channels(settings: Settings) -> Iterator[tuple[str, AgentSettings]]:
    """The agents whose mode a channel changes, with the first such channel: each agent and mode once."""
    tried = {(agent.name, agent.mode) for agent in settings.agents.values()}
    for channel_id, channel in _channels(settings):
        own = settings.agents[settings.agent_of(channel_id)]
        in_channel = settings.in_channel(own, channel_id)
        is_folder = channel.working_dir is None or channel.working_dir.is_dir()  # else that is the problem
        if is_folder and (own.name, in_channel.mode) not in tried:
            tried.add((own.name, in_channel.mode))
            yield channel_id, in_channel


def _say_of_channel(channel_id: str, say: Callable[[str], None], line: str) -> None:
    say(f"channel {channel_id}: {line}")


def _check_folder(channel_id: str, channel: ChannelSettings, say: Callable[[str], None]) -> bool:
    folder = channel.working_dir
    if folder is None or folder.is_dir():
        return True
    way_out = f"create it, or correct [{channel_table(channel_id)}] working_dir"
    say(operator_line(f"channel {channel_id}: cannot work in {folder}: it is not a directory; {way_out}"))
    return False


async def _start(
    runtime: Runtime, settings: AgentSettings, whole: Settings, folder: Path, cwd: Path
) -> tuple[AgentProcess, Agent]:
    """Start an agent in its place. Raises AgentError.

    It gets what a thread's agent gets: a new HOME, here in ``folder``, with the shared login and settings in it.
    """
    logins = home = whole.store.path.parent / LOGINS / settings.name  # where files are elsewhere, a path in the place
    session_id = f"check-{settings.name}-{secrets.token_hex(4)}"  # others may check at the same time
    if not runtime.gives_home:
        return await launch(runtime, settings, cwd, session_id)
    if runtime.has_files_here:
        try:
            logins, home = make_login_home(whole.store.path.parent, settings.name), folder / "home"
            home.mkdir(mode=0o700)
        except OSError as error:
            reason = f"{error.filename or 'its login folder'}: {error.strerror or error}"
            raise AgentStartError(operator_line(f"cannot make its HOME: {reason}; see [store] path")) from None
    return await launch(runtime, settings, cwd, session_id, home=home, logins=logins)


async def _try_agent(
    runtimes: Runtimes,
    settings: AgentSettings,
    whole: Settings,
    say: Callable[[str], None],
    *,
    asks: bool,
) -> bool:
    started = time.monotonic()
    runtime = runtimes.of(settings.runtime)
    with tempfile.TemporaryDirectory(prefix="acpbot-check-") as name:
        folder = Path(name)
        cwd = settings.working_dir or folder / "work"
        if settings.working_dir is None:
            cwd.mkdir(mode=0o700)
        try:
            await _say_place(runtime, settings, say)
            process, agent = await _start(runtime, settings, whole, folder, cwd)
        except AgentError as error:
            say(f"agent {settings.name}: {error}")
            return False
        try:
            await agent.initialize()
            await agent.open(cwd)
            say(f"agent {settings.name}: ok in {time.monotonic() - started:.2f} s; {_advertised(agent)}")
            say(f"agent {settings.name}: {_signed_in(agent)}")
            for line in _mcp_servers(agent):
                say(f"agent {settings.name}: {line}")
            options = Options()
            options.opened(agent.session)
            await options.apply(agent, settings, {}, limit=settings.start_timeout_seconds)
            for line in _options_in_force(options, asks=asks):
                say(f"agent {settings.name}: {line}")
            for limit in process.limits_not_held:
                say(f"agent {settings.name}: {limit}")
        except AgentError as error:
            say(f"agent {settings.name}: {await start_error(settings, process, error)}")
            if isinstance(error, AgentRefused) and settings.mcp_servers:
                say(f"agent {settings.name}: {await _refused_servers(agent, cwd)}")
            return False
        finally:
            ending = await terminate(agent, process, grace=2.0)
    if process.unseen is not None:
        say(
            f"warning: agent {settings.name}: {process.unseen}, where acpbot can't see it: "
            "a kill can't verify that nothing is left there"
        )
    elif ending.processes_left != 0:
        left = "some processes may be" if ending.processes_left is None else f"{ending.processes_left} processes are"
        say(f"agent {settings.name}: cannot end it: {left} left")
        return False
    return ending.ended


async def _say_place(runtime: Runtime, settings: AgentSettings, say: Callable[[str], None]) -> None:
    """Say what an operator must know of the place where the agent runs. Raises AgentStartError where it can't run."""
    for line in [*await runtime.check(settings), *([_OWN_HOME] if runtime.gives_home else [])]:
        say(f"runtime of agent {settings.name}: {runtime.kind}: {line}")
    if settings.warm and not runtime.gives_home:
        folder = "[pool] workspace" if settings.working_dir is None else str(settings.working_dir)
        many = f"{settings.warm} process{'es' * (settings.warm != 1)}"
        how = "it must take each thread's folder from session/new alone"
        say(operator_line(f"warm of agent {settings.name}: {many} will wait in {folder}; {how}"))


def _mcp_servers(agent: Agent) -> Iterator[str]:
    """What is known of the MCP servers that the agent was given, once it has opened a session with them."""
    if agent.mcp_servers:
        yield f"MCP servers: {mcp.described(agent.mcp_servers)}; it accepted them, but doesn't report whether they work"
    for command in agent.unknown_programs:
        yield f"warning: {operator_line(command)} of its MCP servers isn't a program here; install it, or give its path"


async def _refused_servers(agent: Agent, cwd: Path) -> str:
    """Which MCP servers the agent refuses, tried one by one after it has refused to open a session with all."""
    try:
        refused = await agent.refused_servers(cwd)
    except AgentRefused:
        return "MCP servers: not the cause, or not the only one: it doesn't open a session without them either"
    except AgentError as error:
        return f"MCP servers: it is unknown which one it rejects: {error}"
    if not refused:
        return "MCP servers: it accepts each of them alone, but not all of them together"
    return f"MCP servers: it rejects {mcp.described(refused)}; correct it, or remove it from mcp_servers"


def _signed_in(agent: Agent) -> str:
    """What is known of the agent's sign-in once it has opened a session."""
    if agent.signed_in_by is not None:
        return f"sign-in: signed in by {operator_line(one_line(agent.signed_in_by, 80))}"
    known = "it opened a session without asking" if agent.auth_methods else "it offers no sign-in method"
    return f"sign-in: unknown; {known}, but some agents only ask at the first message"


def _options_in_force(options: Options, *, asks: bool) -> Iterator[str]:
    """The mode and model in force, what the agent did not take, and a warning where it does not ask though it should.

    ``asks``: [permissions] policy is "ask".
    """
    mode, model = options.current("mode"), options.current("model")
    if mode is None:
        yield "mode: none; its own configuration decides whether it asks before it acts"
    else:
        yield f"mode: {_named(mode)}"
    if model is not None:
        yield f"model: {_named(model)}"
    for missing in options.not_set:
        yield f"warning: {missing.option} is not set: {operator_line(missing.reason)}"
    if asks and mode is not None and options.unasked is not None:
        others = [choice for choice in options.choices("mode") if not _does_not_ask(choice)]
        names = " or ".join(operator_line(choice.value[:80]) for choice in others[:5])
        way_out = f"set its mode to {names}" if names else "it has no other mode"
        problem = f'[permissions] policy is "ask", but in this mode it does not always ask ("{options.unasked}")'
        yield f"warning: {problem}; {way_out}"


def _does_not_ask(choice: Choice) -> bool:
    return does_not_ask(choice.value, choice.name, choice.description) is not None


def _named(choice: Choice) -> str:
    parts = [choice.value, *([f"({choice.name})"] if choice.name != choice.value else [])]
    text = f"{' '.join(parts)}: {choice.description}" if choice.description else " ".join(parts)
    return operator_line(one_line(text, 300))


def _advertised(agent: Agent) -> str:
    capabilities = agent.capabilities
    name = "no name" if agent.info is None else f"{agent.info.name} {agent.info.version}".strip()
    sessions = sorted(key for key, value in capabilities.session_capabilities.items() if value is not None)
    if capabilities.load_session:
        sessions.append("load")
    prompts = [key for key in ("image", "audio", "embedded_context") if getattr(capabilities.prompt_capabilities, key)]
    servers = [key for key in ("http", "sse") if getattr(capabilities.mcp_capabilities, key)]
    parts = {
        "sessions": ", ".join(sessions) or "none",
        "prompts": ", ".join(["text", *prompts]),
        "MCP servers": ", ".join(["stdio", *servers]),
    }
    return "; ".join([name, *(f"{key}: {value}" for key, value in parts.items())])
