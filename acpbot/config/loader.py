"""config.toml -> frozen, typed settings (DESIGN section 7; config.toml.example shows every key and its default).

``load`` finds and reads the file, ``parse`` takes its text, ``describe`` says what is in force without its secrets.
Everything that is wrong is a ``ConfigError`` of one line that names file, table, key and mend. Nothing here creates a
file or a directory, and no setting is looked up on the machine: that a program or a folder exists is for
`acpbot check` and for the moment when it is used.
"""

from __future__ import annotations

import dataclasses
import re
import stat
import sys
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from acpbot.config import field_types as keys
from acpbot.config.field_types import Kind, Secret
from acpbot.config.paths import check_socket, current_directory, default_socket, find, read_file, state_directory
from acpbot.config.settings import (
    IDS,
    TABLES,
    AgentSettings,
    DiscordSettings,
    EmojiSettings,
    LogSettings,
    ManagementSettings,
    MarkdownSettings,
    PermissionSettings,
    PoolSettings,
    ProbeSettings,
    ReactionSettings,
    Settings,
    ShutdownSettings,
    StoreSettings,
    TimingSettings,
)
from acpbot.text import HIDDEN, operator_line

if TYPE_CHECKING:
    from acpbot.errors import ConfigError

__all__ = [
    "AgentSettings",
    "DiscordSettings",
    "EmojiSettings",
    "LogSettings",
    "ManagementSettings",
    "MarkdownSettings",
    "PermissionSettings",
    "PoolSettings",
    "ProbeSettings",
    "ReactionSettings",
    "Settings",
    "ShutdownSettings",
    "StoreSettings",
    "TimingSettings",
    "describe",
    "find",
    "load",
    "parse",
    "socket_path",
    "state_directory",
]

_TOP = ["agents", *(name for name in TABLES if "." not in name)]
_SECRET_KEYS = frozenset({"bot_token", "env"})
_TOKEN_VARIABLES = frozenset({"DISCORD_BOT_TOKEN", "DISCORD_TOKEN"})
_FILE_LIMIT = 1024 * 1024
_TOKEN_FILE_LIMIT = 64 * 1024
_TOKEN_LENGTH = 16
_ID_LENGTH = 17
_TOML_ERROR = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


def load(path: Path | None, environ: Mapping[str, str], *, cwd: Path | None = None) -> Settings:
    """Read the configuration at ``path``, else where ``find`` finds it; ``ConfigError`` for all that is wrong."""
    found = find(path, environ, cwd)
    text, status = read_file(found, _FILE_LIMIT)
    settings = parse(text, str(found), environ)
    discord = settings.discord
    if discord is None or discord.bot_token_file is not None or not status.st_mode & stat.S_IROTH:
        return settings
    if not (isinstance(discord.bot_token, Secret) and discord.bot_token.shown == HIDDEN):
        return settings
    warning = f'{found} holds bot_token and every user can read it; run chmod 600, or write "${{DISCORD_BOT_TOKEN}}"'
    return structs.replace(settings, warnings=(*settings.warnings, operator_line(warning)))


def parse(text: str, source: str, environ: Mapping[str, str]) -> Settings:
    """The settings that ``text`` (TOML) makes; ``source`` names it in errors. Of files, only a token's is read."""
    top = _toml(text.removeprefix("\ufeff"), source)
    reader = _Reader(source, environ)
    _check_top(top, reader)

    def plain(cls: type[Any], name: str) -> Any:
        return cls(**reader.table(cls, top.get(name, {}), name))

    discord = _discord(top["discord"], reader) if "discord" in top else None
    agents = _agents(top, reader)
    default = _default_agent(top, agents, reader)
    _keep_token_from(agents, discord, reader)
    pool = reader.table(PoolSettings, top.get("pool", {}), "pool")
    if "workspace" not in pool:
        pool["workspace"] = state_directory(environ) / "workspaces"
    store = reader.table(StoreSettings, top.get("store", {}), "store")
    if "path" not in store:
        store["path"] = state_directory(environ) / "acpbot.sqlite3"
    management = plain(ManagementSettings, "management")
    if management.socket is not None:
        check_socket(management.socket, f"{source}: [management] socket")
    reactions = plain(ReactionSettings, "reactions")
    if reactions.timing.stall_hard_ms < reactions.timing.stall_soft_ms:
        soft = reactions.timing.stall_soft_ms
        raise reader.error(
            f"[reactions.timing] stall_hard_ms must not be less than stall_soft_ms; write stall_hard_ms = {soft}"
        )
    return Settings(
        source=source,
        default_agent=default,
        discord=discord,
        agents=agents,
        pool=PoolSettings(**pool),
        permissions=plain(PermissionSettings, "permissions"),
        management=management,
        reactions=reactions,
        markdown=plain(MarkdownSettings, "markdown"),
        store=StoreSettings(**store),
        log=plain(LogSettings, "log"),
        shutdown=plain(ShutdownSettings, "shutdown"),
        warnings=tuple(map(operator_line, _warnings(discord, agents, environ))),
    )


def socket_path(settings: Settings | None, flag: str | None, environ: Mapping[str, str]) -> Path:
    """Where the daemon binds: ``flag`` > ``ACPBOT_SOCKET`` > ``[management] socket`` > ``default_socket``.

    Absolute; ``ConfigError`` where a Unix socket can't be bound at so long a path (sun_path, unix(7)).
    """
    if flag is not None:  # an empty one too: it is refused as the directory that it stands for
        return check_socket(current_directory() / flag, "--socket")
    if environ.get("ACPBOT_SOCKET"):
        return check_socket(current_directory() / environ["ACPBOT_SOCKET"], "ACPBOT_SOCKET")
    if settings is not None and settings.management.socket is not None:
        return check_socket(settings.management.socket, f"{settings.source}: [management] socket")
    return check_socket(default_socket(environ), "the default socket")


def describe(settings: Settings) -> str:
    """What is in force, as TOML: every key, defaults too; secrets by the names of their variables, or as ``***``."""
    lines = [f"# {operator_line(settings.source or 'built in')}"]
    lines.append(f"default_agent = {keys.to_toml(settings.default_agent)}")
    if settings.discord is None:
        lines += ["", "# no [discord]: the chat is local"]
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Struct):
            lines += _table(name, value)
        elif isinstance(value, Mapping):
            for agent in value.values():
                lines += _table(_agent_table(agent.name), agent)
    return "\n".join(lines) + "\n"


def _table(name: str, struct: Struct) -> Iterator[str]:
    yield from ("", f"[{name}]")
    for key, kind in keys.keys_of(type(struct)).items():
        value = getattr(struct, key)
        if key == "bot_token" and getattr(struct, "bot_token_file", None):
            continue  # it is in that file, and only one of the two keys may be set
        if isinstance(value, Struct):
            yield from _table(f"{name}.{key}", value)
        elif value is None:
            yield f"# {key} is not set"
        elif isinstance(kind, Kind):
            yield f"{key} = {keys.to_toml(_hidden(value) if key in _SECRET_KEYS else value)}"


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hidden(item) for name, item in value.items()}
    return value.shown if isinstance(value, Secret) else HIDDEN


def _agent_table(name: str) -> str:
    return "agent" if name == "default" else f"agents.{name}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the tables of one file."""

    source: str
    environ: Mapping[str, str]

    def spot(self, where: str) -> keys.Spot:
        """The spot of ``where``, such as '[pool] max_sessions'."""
        return keys.Spot(self.source, where, self.environ)

    def error(self, problem: str) -> ConfigError:
        """The error to raise for this file."""
        return keys.refuse(self.source, problem)

    def mapping(self, raw: object, name: str, example: str) -> dict[str, Any]:
        """``raw`` where it is a table."""
        if isinstance(raw, dict):
            return raw
        raise self.error(f"[{name}] must be a table, not {keys.show(raw)}; write [{name}] and below it {example}")

    def table(self, cls: type[Struct], raw: object, name: str) -> dict[str, Any]:
        """The fields that the table ``[name]`` sets, ready for ``cls(**fields)``."""
        known = keys.keys_of(cls)
        first = next((f"{key} = {kind.sample}" for key, kind in known.items() if isinstance(kind, Kind)), "its keys")
        defaults = {field.name: field.default for field in structs.fields(cls)}
        fields: dict[str, Any] = {}
        for key, value in self.mapping(raw, name, first).items():
            kind = known.get(key)
            if kind is None:
                raise self.unknown_key(key, name, list(known))
            if isinstance(kind, Kind):
                fields[key] = kind.read(value, self.spot(f"[{name}] {key}"), key, defaults[key])
            else:
                fields[key] = kind(**self.table(kind, value, f"{name}.{key}"))
        return fields

    def unknown_key(self, key: str, name: str, known: list[str]) -> ConfigError:
        """The error for a key that ``[name]`` does not have."""
        start = f"[{name}] has no key {keys.bare(key)}; "
        homes = [f"[{table}]" for table, cls in TABLES.items() if key in keys.keys_of(cls)]
        if key == "default_agent":
            return self.error(f"{start}it stands at the top of the file, above the first [table]")
        if homes:
            return self.error(f"{start}it belongs into {' or '.join(homes)}")
        if meant := keys.nearest(key, known):
            return self.error(f"{start}did you mean {meant}?")
        return self.error(f"{start}its keys are {', '.join(known)}")


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_ERROR.fullmatch(str(error))
        lines = text.split("\n")
        line, column = (int(match[2]), int(match[3])) if match and match[2] else (len(lines), len(lines[-1]) + 1)
        mend = "correct it there"
        if re.search(r"=\s*\$\{", lines[min(line, len(lines)) - 1]):
            mend = 'a variable stands in quotes: "${NAME}"'
        what = match[1] if match else str(error)
        raise keys.refuse(source, f"not TOML at line {line}, column {column}: {what}; {mend}") from None
    except RecursionError:
        raise keys.refuse(
            source, "its lists or tables are nested too deeply; no key needs more than three levels"
        ) from None
    except ValueError:  # int() refuses over 4300 digits with words that no operator can use
        raise keys.refuse(source, "a number in it has too many digits; no key takes one over 2^60") from None


def _check_top(top: dict[str, Any], reader: _Reader) -> None:
    for key, value in top.items():
        if key == "default_agent" or key in _TOP:
            continue
        meant = keys.nearest(key, _TOP if isinstance(value, (dict, list)) else ["default_agent"])
        if isinstance(value, (dict, list)):
            mend = f"did you mean [{meant}]?" if meant else f"the tables are {', '.join(f'[{name}]' for name in _TOP)}"
            raise reader.error(f"there is no table [{keys.bare(key)}]; {mend}")
        homes = [f"[{name}]" for name, cls in TABLES.items() if key in keys.keys_of(cls)]
        mend = f"did you mean {meant}?" if meant else "the only one is default_agent, all others stand below a [table]"
        if homes:
            mend = f"it belongs into {' or '.join(homes)}"
        raise reader.error(f"there is no key {keys.bare(key)} above the first [table]; {mend}")


def _discord(raw: object, reader: _Reader) -> DiscordSettings:
    fields = reader.table(DiscordSettings, raw, "discord")
    if "bot_token" in fields and "bot_token_file" in fields:
        raise reader.error("[discord] has both bot_token and bot_token_file; leave one out")
    if "bot_token_file" in fields:
        fields["bot_token_file"], fields["bot_token"] = _token_file(fields["bot_token_file"], reader)
    elif "bot_token" not in fields:
        raise reader.error(
            '[discord] has no token; add bot_token = "${DISCORD_BOT_TOKEN}", or bot_token_file = "/path/of/a/file"'
        )
    fields.setdefault("allow_all_channels", not fields.get("allowed_channels"))
    settings = DiscordSettings(**fields)
    if not (settings.allow_all_users or settings.allowed_users or settings.allowed_role_ids):
        raise reader.error(
            '[discord] lets nobody in; add allowed_users = ["YOUR ID"] (in Discord: Developer Mode, Copy User ID)'
            ' or allowed_role_ids = ["A ROLE\'S ID"], or allow_all_users = true for everybody'
        )
    if not (settings.allow_all_channels or settings.allowed_channels or settings.allow_dm):
        raise reader.error(
            '[discord] allows no channel; add allowed_channels = ["A CHANNEL\'S ID"] or leave allow_all_channels out'
        )
    return settings


def _token_file(path: Path, reader: _Reader) -> tuple[Path, Secret]:
    """The file's absolute path and the token in it; relative to systemd's credentials, else to the configuration."""
    folder = Path(reader.environ.get("CREDENTIALS_DIRECTORY") or Path(reader.source).parent)
    found = current_directory() / folder / path
    text, _ = read_file(found, _TOKEN_FILE_LIMIT, f"{reader.source}: [discord] bot_token_file")
    try:
        return found, Secret(keys.token_in(text))
    except keys.Unfit as unfit:
        raise reader.error(f"[discord] bot_token_file {found} {unfit.got}; put only the token into it") from None


def _agents(top: dict[str, Any], reader: _Reader) -> Mapping[str, AgentSettings]:
    named = reader.mapping(top.get("agents", {}), "agents.NAME", 'command = "claude-agent-acp"')
    raw: dict[str, Any] = {"default": top["agent"]} if "agent" in top else {}
    if raw and "default" in named:
        raise reader.error("[agent] and [agents.default] are the same agent; leave one out")
    agents: dict[str, AgentSettings] = {}
    for name, table in (raw | named).items():
        if not re.fullmatch(r"[a-z0-9-]{1,32}", name):
            problem = f"[agents.{keys.bare(name)}] must have a name of 1 to 32 of a-z, 0-9 and -"
            raise reader.error(f"{problem}; write for example [agents.claude]")
        where = "agent" if name in raw else f"agents.{name}"
        fields = reader.table(AgentSettings, table, where)
        if "command" not in fields:
            raise reader.error(f'[{where}] has no command; add for example command = "claude-agent-acp"')
        agents[name] = AgentSettings(name=name, **fields)
    if not agents:
        python = keys.to_toml(sys.executable or "python3")
        raise reader.error(
            f"it names no agent; add [agent] and below it command = {python} and args = "
            '["-m", "acpbot.demo.agent"] (an agent without a model, to try), or the command of your own'
        )
    return types.MappingProxyType(agents)


def _default_agent(top: dict[str, Any], agents: Mapping[str, AgentSettings], reader: _Reader) -> str:
    names = " or ".join(keys.to_toml(name) for name in agents)
    if "default_agent" not in top:
        if "default" in agents or len(agents) == 1:
            return "default" if "default" in agents else next(iter(agents))
        example = keys.to_toml(next(iter(agents)))
        raise reader.error(
            f"it names {len(agents)} agents but no default; add default_agent = {example} as its first line"
        )
    default = top["default_agent"]
    example = keys.to_toml(next(iter(agents)))
    kind = keys.text("the name of an agent", next(iter(agents)))
    name = str(kind.read(default, reader.spot("default_agent"), "default_agent", None))
    if name not in agents:
        raise reader.error(f"default_agent must be {names}, not {keys.show(default)}; write default_agent = {example}")
    return name


def _keep_token_from(agents: Mapping[str, AgentSettings], discord: DiscordSettings | None, reader: _Reader) -> None:
    """An agent runs what a model writes: the bot token must not reach it by any key."""
    token = discord.bot_token if discord else ""
    variables = _TOKEN_VARIABLES | (token.variables if isinstance(token, Secret) else frozenset())

    def carries(value: str) -> bool:
        used = value.variables if isinstance(value, Secret) else frozenset()
        return bool(used & variables) or (
            bool(token) and (value == token or (len(token) >= _TOKEN_LENGTH and token in value))
        )

    for agent in agents.values():
        found = [f"env.{keys.bare(name)}" for name, value in agent.env.items() if carries(value)]
        found += ["args" for value in (agent.command, *agent.args) if carries(value)]
        found += [
            f"inherit_env with {keys.bare(name)}"
            for name in agent.inherit_env
            if name in variables or carries(reader.environ.get(name, ""))
        ]
        if found:
            where = f"[{_agent_table(agent.name)}]"
            raise reader.error(f"{where} {found[0]} would give the bot token to the agent; leave it out")


def _warnings(
    discord: DiscordSettings | None, agents: Mapping[str, AgentSettings], environ: Mapping[str, str]
) -> Iterator[str]:
    for agent in agents.values():
        for name in agent.inherit_env:
            if name not in environ:
                yield f"[{_agent_table(agent.name)}] inherit_env names {name}, which is not set"
    if discord is not None:
        yield from (f"[discord] {warning}" for warning in _discord_warnings(discord))


def _discord_warnings(discord: DiscordSettings) -> Iterator[str]:
    for key, kind in keys.keys_of(DiscordSettings).items():
        for item in getattr(discord, key) if kind is IDS else ():
            if len(item) < _ID_LENGTH:
                yield f"{key} holds {item}, which is too short for a Discord id (17 to 20 digits)"
    if discord.allow_all_users and (discord.allowed_users or discord.allowed_role_ids):
        yield "allow_all_users = true lets everybody in: allowed_users and allowed_role_ids have no effect"
    if discord.allow_all_channels and discord.allowed_channels:
        yield "allow_all_channels = true: allowed_channels has no effect"
    if not (discord.allow_all_users or discord.allowed_role_ids):
        for admin in sorted(set(discord.admin_users) - set(discord.allowed_users)):
            yield f"admin_users names {admin}, whom allowed_users does not let in"
    for key in ("api_base", "gateway_url"):
        if re.match(r"(http|ws)://(?!127\.|localhost\b|\[::1\])", getattr(discord, key) or ""):
            yield f"{key} is not encrypted: whoever is on the way reads the bot token"
