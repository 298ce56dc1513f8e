"""Checks of settings that depend on each other: errors, and warnings about what is probably not meant."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from acpbot.config.runtime_settings import PLACES
from acpbot.config.settings import (
    AgentSettings,
    ChannelSettings,
    DiscordSettings,
    agent_table,
    channel_table,
    schedule_table,
)
from acpbot.config.values import Secret, config_error, nearest, quoted_key, show, to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acpbot.config.schedules import ScheduleSettings

_TOKEN_VARIABLES = frozenset({"DISCORD_BOT_TOKEN", "DISCORD_TOKEN"})
_TOKEN_LENGTH = 16
_ID_LENGTH = 17


def check_access(discord: DiscordSettings, source: str) -> None:
    """Raise ``ConfigError`` where nobody is allowed to talk to the bot, or nowhere."""
    anywhere = discord.allow_all_users or discord.allowed_users or discord.allowed_role_ids
    for channel_id, channel in discord.channels.items():
        if not (channel.allowed_users or channel.allowed_role_ids if channel.has_own_people else anywhere):
            problem = f"[{channel_table(channel_id)}] lets nobody in"
            fix = "name people in its allowed_users or roles in its allowed_role_ids, or leave the table out"
            raise config_error(source, f"{problem}; {fix}")
    if not (anywhere or discord.channels):
        raise config_error(
            source,
            '[discord] lets nobody in; add allowed_users = ["YOUR ID"] (in Discord: Developer Mode, Copy User ID)'
            ' or allowed_role_ids = ["A ROLE\'S ID"], or allow_all_users = true for everyone',
        )
    if not (discord.allow_all_channels or discord.allowed_channels or discord.channels or discord.allow_dm):
        raise config_error(
            source,
            '[discord] allows no channel; add allowed_channels = ["A CHANNEL\'S ID"] or leave allow_all_channels out',
        )


def check_channels(discord: DiscordSettings, agents: Mapping[str, AgentSettings], source: str) -> None:
    """Raise ``ConfigError`` where a channel names an agent that there is not."""
    for channel_id, channel in discord.channels.items():
        if channel.agent is not None and channel.agent not in agents:
            names = " or ".join(map(to_toml, agents))
            problem = f"[{channel_table(channel_id)}] agent must be {names}, not {show(channel.agent)}"
            meant = nearest(channel.agent, agents) or next(iter(agents))
            raise config_error(source, f"{problem}; write agent = {to_toml(meant)}")


def check_place(agent: AgentSettings, source: str) -> None:
    """Raise ``ConfigError`` where a key is missing without which the agent can't run in its kind of place."""
    kind = agent.runtime
    if kind in {"container", "kubernetes"} and getattr(agent, kind).image is None:
        table = agent_table(agent.name)
        problem = f'[{table}] has runtime = "{kind}" and no image; add [{table}.{kind}] and below it for example'
        raise config_error(source, f'{problem} image = "localhost/agent:1", which holds the agent')


def check_places(agents: Mapping[str, AgentSettings], source: str) -> None:
    """Raise ``ConfigError`` where an agent on this machine could read the token with which pods are made."""
    in_pods = [name for name, agent in agents.items() if agent.runtime == "kubernetes"]
    here = [name for name, agent in agents.items() if agent.runtime == "local"]
    if in_pods and here:
        problem = f'[{agent_table(here[0])}] has runtime "local": it could read the key of the cluster in which'
        fix = f"[{agent_table(in_pods[0])}] runs; give it another runtime, or a daemon of its own"
        raise config_error(source, f"{problem} {fix}")


def check_schedule(
    schedule: Sequence[ScheduleSettings],
    agents: Mapping[str, AgentSettings],
    discord: DiscordSettings | None,
    source: str,
) -> None:
    """Raise ``ConfigError`` where an entry of ``[[schedule]]`` has no place, or names an agent that there is not."""
    for number, entry in enumerate(schedule, 1):
        where = f"[{schedule_table(number)}]"
        if (entry.channel is None) == (entry.thread is None):
            problem = "has neither channel nor thread; add" if entry.channel is None else "has both; keep one of"
            raise config_error(source, f"{where} {problem} channel (each run begins a thread there) or thread")
        if entry.channel is not None and discord is None:
            raise config_error(source, f"{where} channel needs Discord; add [discord], or name a thread")
        if entry.agent is not None and entry.agent not in agents:
            names = " or ".join(map(to_toml, agents))
            meant = nearest(entry.agent, agents) or next(iter(agents))
            problem = f"{where} agent must be {names}, not {show(entry.agent)}"
            raise config_error(source, f"{problem}; write agent = {to_toml(meant)}")
        if entry.agent is not None and entry.thread is not None:
            raise config_error(source, f"{where} has an agent and a thread, which has its own; remove agent")


def token_variables(discord: DiscordSettings | None) -> frozenset[str]:
    """The environment variables that hold the bot token, or usually do."""
    token = discord.bot_token if discord else ""
    return _TOKEN_VARIABLES | (token.variables if isinstance(token, Secret) else frozenset())


def check_token_stays_secret(
    agents: Mapping[str, AgentSettings],
    discord: DiscordSettings | None,
    schedule: Sequence[ScheduleSettings],
    source: str,
    environ: Mapping[str, str],
) -> None:
    """Raise ``ConfigError`` where an agent, which runs what a model writes, would get the bot token by any key."""
    token = discord.bot_token if discord else ""
    variables = token_variables(discord)

    def leaks(value: str) -> bool:
        used = value.variables if isinstance(value, Secret) else frozenset()
        return bool(used & variables) or (
            bool(token) and (value == token or (len(token) >= _TOKEN_LENGTH and token in value))
        )

    for agent in agents.values():
        for key, value in _given(agent, environ):
            if leaks(value):
                where = f"[{agent_table(agent.name)}] {key}"
                raise config_error(source, f"{where} would give the bot token to the agent; leave it out")
    modes = {} if discord is None else {key: channel.mode for key, channel in discord.channels.items()}
    for channel_id, mode in modes.items():
        if leaks(mode or ""):
            where = f"[{channel_table(channel_id)}] mode"
            raise config_error(source, f"{where} would give the bot token to the agent; leave it out")
    for number, entry in enumerate(schedule, 1):
        if leaks(entry.text):
            where = f"[{schedule_table(number)}] text"
            raise config_error(source, f"{where} would give the bot token to the agent; leave it out")


def _given(agent: AgentSettings, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every text that the agent gets, with the key that gives it."""
    yield from (("args", value) for value in (agent.command, *agent.args))
    keys = {name: getattr(agent, name) for name in ("env", "mode", "model", "options")}
    yield from _texts(keys)
    for kind in PLACES:
        place = getattr(agent, kind)
        yield from ((f"{kind}.{key}", value) for key, value in _texts(structs.asdict(place)))
    for server in agent.mcp_servers:
        yield from ((f"mcp_servers {server.name} {key}", value) for key, value in _texts(server.keys()))
    for name in agent.inherit_env:
        yield f"inherit_env with {quoted_key(name)}", Secret(environ.get(name, ""), variables=frozenset({name}))


def _texts(keys: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Every text in these keys and in the tables below, with the key's name."""
    for name, value in keys.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _texts({f"{name}.{quoted_key(key)}": item for key, item in value.items()})
        elif isinstance(value, (tuple, list)):
            for item in value:
                yield from _texts({name: item if isinstance(item, (str, Mapping, list)) else str(item)})


def check_apart(workspace: Path, file: Path, origin: str) -> None:
    """Raise ``ConfigError`` where a file of the daemon's own lies in the folder in which agents work.

    ``origin`` leads in the error: what named ``file``. Links are followed.
    """
    if _inside(file, workspace):
        problem = f"{file} is inside {workspace}, where agents work, and they could change it"
        raise config_error(origin, f"{problem}; name a path outside of it, or change [pool] workspace")


def _inside(file: Path, folder: Path) -> bool:
    return Path(os.path.realpath(file.parent)).is_relative_to(os.path.realpath(folder))


def warnings(
    discord: DiscordSettings | None, agents: Mapping[str, AgentSettings], store: Path, environ: Mapping[str, str]
) -> Iterator[str]:
    """What is probably not meant, one sentence each. ``store``: the database's path."""
    for agent in agents.values():
        if agent.working_dir is not None and _inside(store, agent.working_dir):
            yield _holds_database(agent_table(agent.name), agent.working_dir, store)
        yield from _place_warnings(agent)
        for name in agent.inherit_env:
            if name not in environ:
                yield f"[{agent_table(agent.name)}] inherit_env names {name}, which is not set"
    if discord is not None:
        yield from _discord_warnings(discord)
        for channel_id, channel in discord.channels.items():
            if channel.working_dir is not None and _inside(store, channel.working_dir):
                yield _holds_database(channel_table(channel_id), channel.working_dir, store)


def _place_warnings(agent: AgentSettings) -> Iterator[str]:
    table = agent_table(agent.name)
    for kind, cls in PLACES.items():
        if agent.runtime != kind and getattr(agent, kind) != cls():
            yield f"[{table}.{kind}] has no effect: runtime is {to_toml(agent.runtime)} in [{table}]"
    if agent.warm and agent.runtime not in {"local", "kubernetes"}:
        why = "each thread has a HOME of its own there, which a process must have from its start"
        yield f"[{table}] warm has no effect with runtime = {to_toml(agent.runtime)}: {why}"


def _holds_database(table: str, working_dir: Path, store: Path) -> str:
    return f"[{table}] working_dir {working_dir} holds acpbot's own database {store}: name a folder below it"


def _short_ids(table: str, settings: DiscordSettings | ChannelSettings) -> Iterator[str]:
    for key in settings.__struct_fields__:
        value = getattr(settings, key)
        for item in value if isinstance(value, tuple) else ():
            if len(item) < _ID_LENGTH:
                yield f"[{table}] {key} holds {item}, which is too short for a Discord id (17 to 20 digits)"


def _discord_warnings(discord: DiscordSettings) -> Iterator[str]:
    yield from _short_ids("discord", discord)
    for channel_id, channel in discord.channels.items():
        if len(channel_id) < _ID_LENGTH:
            yield f"[{channel_table(channel_id)}] has a name that is too short for a Discord id (17 to 20 digits)"
        yield from _short_ids(channel_table(channel_id), channel)
    if discord.allow_all_users and (discord.allowed_users or discord.allowed_role_ids):
        yield "[discord] allow_all_users = true lets everyone in: allowed_users and allowed_role_ids have no effect"
    if discord.allow_all_channels and discord.allowed_channels:
        yield "[discord] allow_all_channels = true: allowed_channels has no effect"
    if not (discord.allow_all_users or discord.allowed_role_ids):
        known = {
            *discord.allowed_users,
            *(user for one in discord.channels.values() for user in one.allowed_users or ()),
        }
        for admin in sorted(set(discord.admin_users) - known):
            yield f"[discord] admin_users names {admin}, whom allowed_users does not let in"
    for key in ("api_base", "gateway_url"):
        if re.match(r"(http|ws)://(?!127\.|localhost\b|\[::1\])", getattr(discord, key) or ""):
            yield f"[discord] {key} is not encrypted: anyone on the way can read the bot token"
