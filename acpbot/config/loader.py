"""config.toml -> frozen, typed settings (config.toml.example shows every key and its default).

``load`` finds and reads the file, ``parse`` takes its text. Each error is a ``ConfigError`` of one line that names
the file, the table and the key, what is wrong, and the fix. Nothing here creates a file or a directory, and no
setting is looked up on the machine: `acpbot check` tests whether a program or a folder exists, and so does the code
that uses it.
"""

from __future__ import annotations

import functools
import re
import stat
import sys
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot.config.checks import (
    check_access,
    check_apart,
    check_channels,
    check_place,
    check_places,
    check_schedule,
    check_token_stays_secret,
    warnings,
)
from acpbot.config.field_types import FieldType, InvalidValue, KeyLocation, clean_token, keys_of
from acpbot.config.mcp_servers import repeated_name
from acpbot.config.paths import (
    check_not_a_strangers,
    check_socket,
    current_directory,
    default_socket,
    find,
    read_file,
    state_directory,
)
from acpbot.config.schedules import ScheduleSettings
from acpbot.config.security import WRITE, literal_token
from acpbot.config.settings import (
    DISCORD_ID,
    TABLES,
    AgentSettings,
    ChannelSettings,
    DiscordSettings,
    LogSettings,
    ManagementSettings,
    MarkdownSettings,
    PermissionSettings,
    PoolSettings,
    ReactionSettings,
    Settings,
    ShutdownSettings,
    StoreSettings,
    channel_table,
    schedule_table,
)
from acpbot.config.values import Secret, config_error, nearest, quoted_key, show, to_toml
from acpbot.text import operator_line

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from msgspec import Struct

    from acpbot.errors import ConfigError

_TOP = ["agents", *(name for name in TABLES if "." not in name), "schedule"]
_FILE_LIMIT = 1024 * 1024
_TOKEN_FILE_LIMIT = 64 * 1024
_TOML_ERROR = re.compile(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


def load(path: Path | None, environ: Mapping[str, str], *, cwd: Path | None = None) -> Settings:
    """Read the configuration at ``path``, else where ``find`` finds it; ``ConfigError`` for all that is wrong."""
    return reader(path, environ, cwd=cwd)()


def reader(path: Path | None, environ: Mapping[str, str], *, cwd: Path | None = None) -> Callable[[], Settings]:
    """A function that does what ``load`` does, with the file that is found now. Raises ``ConfigError`` without one."""
    found = find(path, environ, cwd)
    here = current_directory() if cwd is None else cwd
    named = path is not None or bool(environ.get("ACPBOT_CONFIG"))
    return functools.partial(_read, found, environ, named=named or found.parent != here)


def _read(found: Path, environ: Mapping[str, str], *, named: bool) -> Settings:
    if not named:
        check_not_a_strangers(found)  # before it is opened: it could be a pipe that never ends
    text, status = read_file(found, _FILE_LIMIT)
    if not named:
        check_not_a_strangers(found, status)  # and what was opened: the file can be replaced at any time
    settings = parse(text, str(found), environ)
    if literal_token(settings.discord):
        _check_token_is_ours("it holds bot_token, and", found, status, str(found))
    return settings


def parse(text: str, source: str, environ: Mapping[str, str]) -> Settings:
    """The settings in ``text`` (TOML); errors name it ``source``. The only file that is read is ``bot_token_file``."""
    top = _toml(text.removeprefix("\ufeff"), source)
    reader = _Reader(source, environ)
    for key, value in top.items():
        if key != "default_agent" and key not in _TOP:
            raise _unknown_at_top(key, value, source)
    discord = _discord(top["discord"], reader) if "discord" in top else None
    agents = _agents(top, reader)
    default = _default_agent(top, agents, reader)
    if discord is not None:
        check_channels(discord, agents, source)
    schedule = _schedule(top.get("schedule", []), reader)
    check_schedule(schedule, agents, discord, source)
    check_token_stays_secret(agents, discord, schedule, source, environ)
    pool = reader.table(PoolSettings, top.get("pool", {}), "pool")
    if "workspace" not in pool:
        pool["workspace"] = state_directory(environ) / "workspaces"
    store = reader.table(StoreSettings, top.get("store", {}), "store")
    if "path" not in store:
        store["path"] = state_directory(environ) / "acpbot.sqlite3"
    management = ManagementSettings(**reader.table(ManagementSettings, top.get("management", {}), "management"))
    if management.socket is not None:
        check_socket(management.socket, f"{source}: [management] socket")
        check_apart(pool["workspace"], management.socket, f"{source}: [management] socket")
    check_apart(pool["workspace"], store["path"], f"{source}: [store] path")
    reactions = ReactionSettings(**reader.table(ReactionSettings, top.get("reactions", {}), "reactions"))
    if reactions.timing.stall_hard_ms < reactions.timing.stall_soft_ms:
        fix = f"write stall_hard_ms = {reactions.timing.stall_soft_ms}"
        raise config_error(source, f"[reactions.timing] stall_hard_ms must not be less than stall_soft_ms; {fix}")
    return Settings(
        source=source,
        default_agent=default,
        discord=discord,
        agents=agents,
        pool=PoolSettings(**pool),
        permissions=PermissionSettings(**reader.table(PermissionSettings, top.get("permissions", {}), "permissions")),
        management=management,
        reactions=reactions,
        markdown=MarkdownSettings(**reader.table(MarkdownSettings, top.get("markdown", {}), "markdown")),
        store=StoreSettings(**store),
        log=LogSettings(**reader.table(LogSettings, top.get("log", {}), "log")),
        shutdown=ShutdownSettings(**reader.table(ShutdownSettings, top.get("shutdown", {}), "shutdown")),
        schedule=schedule,
        warnings=tuple(map(operator_line, warnings(discord, agents, store["path"], environ))),
    )


def socket_path(settings: Settings | None, flag: str | None, environ: Mapping[str, str]) -> Path:
    """Where the daemon binds: ``flag`` > ``ACPBOT_SOCKET`` > ``[management] socket`` > ``default_socket``.

    Absolute; ``ConfigError`` where a Unix socket can't be bound at so long a path (sun_path, unix(7)).
    """
    if flag is not None:  # an empty one too: it means the working directory, and the error says so
        path, origin = current_directory() / flag, "--socket"
    elif environ.get("ACPBOT_SOCKET"):
        path, origin = current_directory() / environ["ACPBOT_SOCKET"], "ACPBOT_SOCKET"
    elif settings is not None and settings.management.socket is not None:
        path, origin = settings.management.socket, f"{settings.source}: [management] socket"
    else:
        path, origin = default_socket(environ), "the default socket"
    check_socket(path, origin)
    if settings is not None:
        check_apart(settings.pool.workspace, path, origin)
    return path


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the tables of one file."""

    source: str
    environ: Mapping[str, str]

    def table(self, cls: type[Struct], raw: object, name: str) -> dict[str, Any]:
        """The fields that the table ``[name]`` sets, ready for ``cls(**fields)``."""
        known = keys_of(cls)
        if not isinstance(raw, dict):
            first, first_type = next(iter(known.items()))
            example = f"{first} = {first_type.example()}" if isinstance(first_type, FieldType) else "its keys"
            raise _not_a_table(self.source, name, raw, example)
        fields: dict[str, Any] = {}
        for key, value in raw.items():
            field_type = known.get(key)
            if field_type is None:
                raise _unknown_key(self.source, key, name, known)
            if isinstance(field_type, FieldType):
                location = KeyLocation(self.source, f"[{name}] {key}", self.environ)
                fields[key] = field_type.read(value, location)
            else:
                fields[key] = field_type(**self.table(field_type, value, f"{name}.{key}"))
        return fields


def _not_a_table(source: str, name: str, raw: object, example: str) -> ConfigError:
    return config_error(source, f"[{name}] must be a table, not {show(raw)}; write [{name}] and below it {example}")


def _tables_with(key: str) -> str:
    """'[pool] or [agent]': the tables that have a key of this name."""
    return " or ".join(f"[{table}]" for table, cls in TABLES.items() if key in keys_of(cls))


def _unknown_key(source: str, key: str, name: str, known: Mapping[str, object]) -> ConfigError:
    if key == "default_agent":
        fix = "it belongs at the top of the file, above the first [table]"
    elif tables := _tables_with(key):
        fix = f"it belongs in {tables}"
    elif meant := nearest(key, [*known, "channels"] if name == "discord" else known):
        fix = f"did you mean {meant}?"
    else:
        fix = f"its keys are {', '.join(known)}"
    return config_error(source, f"[{name}] has no key {quoted_key(key)}; {fix}")


def _unknown_at_top(key: str, value: object, source: str) -> ConfigError:
    shown = quoted_key(key)
    if isinstance(value, (dict, list)):
        meant = nearest(key, _TOP)
        fix = f"did you mean [{meant}]?" if meant else f"the tables are {', '.join(f'[{name}]' for name in _TOP)}"
        return config_error(source, f"there is no table [{shown}]; {fix}")
    if tables := _tables_with(key):
        fix = f"it belongs in {tables}"
    elif meant := nearest(key, ["default_agent"]):
        fix = f"did you mean {meant}?"
    else:
        fix = "the only one is default_agent, all others belong below a [table]"
    return config_error(source, f"there is no key {shown} above the first [table]; {fix}")


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_ERROR.fullmatch(str(error))
        lines = text.split("\n")
        line, column = (int(match[2]), int(match[3])) if match and match[2] else (len(lines), len(lines[-1]) + 1)
        fix = "correct it there"
        if re.search(r"=\s*\$\{", lines[min(line, len(lines)) - 1]):
            fix = 'a variable is written in quotes: "${NAME}"'
        what = match[1] if match else str(error)
        raise config_error(source, f"not TOML at line {line}, column {column}: {what}; {fix}") from None
    except RecursionError:
        problem = "its lists or tables are nested too deeply; no key needs more than three levels"
        raise config_error(source, problem) from None
    except ValueError:  # int() refuses over 4300 digits in words that do not help an operator
        raise config_error(source, "a number in it has too many digits; no key takes one over 2^60") from None


def _discord(raw: object, reader: _Reader) -> DiscordSettings:
    channels: Mapping[str, ChannelSettings] = {}
    if isinstance(raw, dict) and "channels" in raw:
        raw = dict(raw)
        channels = _channels(raw.pop("channels"), reader)
    fields = reader.table(DiscordSettings, raw, "discord")
    if "bot_token" in fields and "bot_token_file" in fields:
        raise config_error(reader.source, "[discord] has both bot_token and bot_token_file; remove one")
    if "bot_token_file" in fields:
        fields["bot_token_file"], fields["bot_token"] = _token_file(fields["bot_token_file"], reader)
    elif "bot_token" not in fields:
        raise config_error(
            reader.source,
            '[discord] has no token; add bot_token = "${DISCORD_BOT_TOKEN}", or bot_token_file = "/path/of/a/file"',
        )
    fields.setdefault("allow_all_channels", not (fields.get("allowed_channels") or channels))
    settings = DiscordSettings(**fields, channels=types.MappingProxyType(channels))
    check_access(settings, reader.source)
    return settings


def _channels(raw: object, reader: _Reader) -> Mapping[str, ChannelSettings]:
    if not isinstance(raw, dict):
        raise _not_a_table(reader.source, 'discord.channels."ID"', raw, 'working_dir = "/srv/project"')
    made: dict[str, ChannelSettings] = {}
    for channel_id, table in raw.items():
        if not re.fullmatch(DISCORD_ID, channel_id):
            problem = f"[discord.channels.{quoted_key(channel_id)}] must be named by a channel's id, digits in quotes"
            inside = re.findall(r"[0-9]{15,20}", channel_id)
            example = inside[-1] if inside else "123456789012345678"
            raise config_error(reader.source, f"{problem}; write [{channel_table(example)}]")
        made[channel_id] = ChannelSettings(**reader.table(ChannelSettings, table, channel_table(channel_id)))
    return made


def _schedule(raw: object, reader: _Reader) -> tuple[ScheduleSettings, ...]:
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        problem = f"[[schedule]] must be a table in double brackets, not {show(raw)}"
        raise config_error(reader.source, f'{problem}; write [[schedule]] and below it cron = "0 9 * * 1-5"')
    made = []
    for number, table in enumerate(raw, 1):
        fields = reader.table(ScheduleSettings, table, schedule_table(number))
        for key, example in (("cron", "0 9 * * 1-5"), ("text", "Look at the open issues.")):
            if key not in fields:
                problem = f"[{schedule_table(number)}] has no {key}; add for example {key} = {to_toml(example)}"
                raise config_error(reader.source, problem)
        made.append(ScheduleSettings(**fields))
    return tuple(made)


def _token_file(path: Path, reader: _Reader) -> tuple[Path, Secret]:
    """The file's absolute path and the token in it; relative to systemd's credentials, else to the configuration."""
    folder = Path(reader.environ.get("CREDENTIALS_DIRECTORY") or Path(reader.source).parent)
    found = current_directory() / folder / path
    text, status = read_file(found, _TOKEN_FILE_LIMIT, f"{reader.source}: [discord] bot_token_file")
    _check_token_is_ours(f"[discord] bot_token_file {found}:", found, status, reader.source)
    try:
        return found, Secret(clean_token(text))
    except InvalidValue as invalid:
        problem = f"[discord] bot_token_file {found} {invalid.got}; put only the token into it"
        raise config_error(reader.source, problem) from None


def _check_token_is_ours(begin: str, path: Path, status: os.stat_result, source: str) -> None:
    """Raise ``ConfigError`` where others can write the token: they would decide as which bot acpbot speaks."""
    if status.st_mode & WRITE:
        who = "every user" if status.st_mode & stat.S_IWOTH else f"its group (gid {status.st_gid})"
        problem = f"{begin} {who} can write it (mode {stat.S_IMODE(status.st_mode):04o}); run chmod go-w {path}"
        raise config_error(source, problem)


def _agents(top: dict[str, Any], reader: _Reader) -> Mapping[str, AgentSettings]:
    named = top.get("agents", {})
    if not isinstance(named, dict):
        raise _not_a_table(reader.source, "agents.NAME", named, 'command = "claude-agent-acp"')
    raw: dict[str, Any] = {"default": top["agent"]} if "agent" in top else {}
    if raw and "default" in named:
        raise config_error(reader.source, "[agent] and [agents.default] are the same agent; remove one")
    agents: dict[str, AgentSettings] = {}
    for name, table in (raw | named).items():
        if not re.fullmatch(r"[a-z0-9-]{1,32}", name):
            problem = f"[agents.{quoted_key(name)}] must have a name of 1 to 32 of a-z, 0-9 and -"
            raise config_error(reader.source, f"{problem}; write for example [agents.claude]")
        where = "agent" if name in raw else f"agents.{name}"
        fields = reader.table(AgentSettings, table, where)
        if "command" not in fields:
            raise config_error(reader.source, f'[{where}] has no command; add for example command = "claude-agent-acp"')
        for key in ("env", "options"):
            if key in fields:
                fields[key] = types.MappingProxyType(fields[key])
        if (repeated := repeated_name(fields.get("mcp_servers", ()))) is not None:
            problem = f"[{where}] mcp_servers has two servers with the name {to_toml(repeated)}; rename one"
            raise config_error(reader.source, problem)
        agents[name] = AgentSettings(name=name, **fields)
        check_place(agents[name], reader.source)
    check_places(agents, reader.source)
    if not agents:
        python = to_toml(sys.executable or "python3")
        raise config_error(
            reader.source,
            f"it names no agent; add [agent] and below it command = {python} and args = "
            '["-m", "acpbot.demo.agent"] (an agent without a model, to try), or the command of your own',
        )
    return types.MappingProxyType(agents)


def _default_agent(top: dict[str, Any], agents: Mapping[str, AgentSettings], reader: _Reader) -> str:
    first = next(iter(agents))
    if "default_agent" in top:
        named = top["default_agent"]
        if isinstance(named, str):
            expanded = KeyLocation(reader.source, "default_agent", reader.environ).expand(named)
            if expanded in agents:
                return str(expanded)
        names = " or ".join(map(to_toml, agents))
        raise config_error(
            reader.source, f"default_agent must be {names}, not {show(named)}; write default_agent = {to_toml(first)}"
        )
    if "default" in agents:
        return "default"
    if len(agents) > 1:
        fix = f"add default_agent = {to_toml(first)} as its first line"
        raise config_error(reader.source, f"it names {len(agents)} agents but no default; {fix}")
    return first
