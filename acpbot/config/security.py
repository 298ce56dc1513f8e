"""What an operator should know about the security of an installation: found by its settings and its files.

``look`` reads the modes of the files, ``findings`` is pure. `acpbot check` prints the findings, the daemon logs the
warnings and gives all of them to `acpctl doctor`. Source: inode(7), credentials(7).
"""

from __future__ import annotations

import ipaddress
import re
import stat
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from acpbot.config.settings import agent_table, channel_table
from acpbot.config.values import Secret, quoted_key
from acpbot.text import HIDDEN, operator_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from acpbot.config.mcp_servers import McpServer
    from acpbot.config.settings import AgentSettings, DiscordSettings, Settings

Role = Literal["config_file", "token_file", "state_folder", "database", "workspace"]

WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_READ: Final = stat.S_IRGRP | stat.S_IROTH
# In a user namespace, files of users that it does not map belong to this one (user_namespaces(7)): nobody is known.
_UNMAPPED: Final = 65534
_KEY_NAME: Final = re.compile(r"(?i)(?:(?:^|_)(?:KEY|TOKEN|SECRET)|APIKEY|PASSWORD|PASSWD|CREDENTIALS?)$")
_KEY_HEADER: Final = re.compile(r"(?i)authorization|cookie|(?:^|-)(?:key|token|secret|apikey)$")
# acpbot init makes this one up: it protects a port of the loopback, and is worth nothing elsewhere.
_MADE_UP: Final = frozenset({"OPENCODE_SERVER_PASSWORD"})
_KEY_ARGUMENT: Final = re.compile(r"(?i)^--?[a-z0-9-]*(?:key|token|secret|password)(?:=(?P<value>.+))?$")
_MODES: Final = {"state_folder": "700"}


class Finding(Struct, frozen=True, kw_only=True):
    """One finding. A ``note`` is always so, and no mistake; ``advice`` is empty where there is nothing to do."""

    name: str
    level: Literal["warning", "note"]
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.detail}; {self.advice}" if self.advice else self.detail


class FileFacts(Struct, frozen=True, kw_only=True):
    """A file or folder as stat(2) shows it. ``problem``: why nobody could look, where ``mode`` is 0.

    ``changeable``: a folder above it that others can write, so that they can put another file in its place; ``None``
    where there is none.
    """

    role: Role
    path: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    problem: str | None = None
    changeable: str | None = None


def look(settings: Settings, uid: int, gid: int) -> list[FileFacts]:
    """What stat(2) shows of the files that matter to a daemon with this uid and gid; it may block.

    Files that do not exist are left out.
    """
    places: list[tuple[Role, Path]] = []
    if settings.source is not None:
        places.append(("config_file", Path(settings.source)))
    if settings.discord is not None and settings.discord.bot_token_file is not None:
        places.append(("token_file", settings.discord.bot_token_file))
    places += [
        ("state_folder", settings.store.path.parent),
        ("database", settings.store.path),
        ("workspace", settings.pool.workspace),
    ]
    return [facts for role, path in places if (facts := _facts(role, path, uid, gid)) is not None]


def _facts(role: Role, path: Path, uid: int, gid: int) -> FileFacts | None:
    try:
        status = path.stat()
        changeable = _changeable(path, uid, gid)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return FileFacts(role=role, path=str(path), problem=reason)
    return FileFacts(
        role=role, path=str(path), mode=status.st_mode, uid=status.st_uid, gid=status.st_gid, changeable=changeable
    )


def _changeable(path: Path, uid: int, gid: int) -> str | None:
    """A folder above ``path``, as it is written or where its links lead, that others can write without a sticky bit."""
    for folder in sorted({*path.absolute().parents, *path.resolve().parents}):
        status = folder.stat()
        facts = FileFacts(
            role="state_folder", path=str(folder), mode=status.st_mode, uid=status.st_uid, gid=status.st_gid
        )
        shared = _who(facts, uid, gid, WRITE) is not None and not status.st_mode & stat.S_ISVTX
        if shared or status.st_uid not in {0, uid, _UNMAPPED}:
            return str(folder)
    return None


def findings(
    settings: Settings, files: Iterable[FileFacts], *, uid: int, gid: int, containment: str | None
) -> list[Finding]:
    """All findings, warnings first. ``uid`` and ``gid`` are the daemon's; ``containment`` is its launcher's kind."""
    found: list[Finding] = []
    for facts in files:
        found += _of_file(facts, uid, gid, secret=_holds_secrets(settings))
    for agent in settings.agents.values():
        found += _of_agent(agent)
    if settings.discord is not None:
        found += _of_discord(settings.discord)
    found += _of_daemon(settings, uid, containment)
    return sorted(found, key=lambda finding: finding.level != "warning")


def unasked_modes(modes: Iterable[tuple[str, str | None]]) -> list[Finding]:
    """The findings about agents that run in a mode that does not ask; ``modes`` are pairs of agent and mode."""
    return [
        _warning(
            "mode",
            f'agent {agent} runs in mode {mode or "?"}, which does not always ask, and [permissions] policy is "ask"',
            f"set [{agent_table(agent)}] mode; `acpbot check` shows the modes",
        )
        for agent, mode in sorted(set(modes), key=str)
    ]


def literal_token(discord: DiscordSettings | None) -> bool:
    """Whether the bot token itself is written in the configuration."""
    if discord is None or discord.bot_token_file is not None:
        return False
    return _is_literal(discord.bot_token)


def _of_file(facts: FileFacts, uid: int, gid: int, *, secret: bool) -> Iterator[Finding]:
    role, path = facts.role, facts.path
    name = role.replace("_", " ")
    if facts.problem is not None:
        yield Finding(name=role, level="note", detail=operator_line(f"cannot look at {path}: {facts.problem}"))
        return
    if facts.uid not in {0, uid, _UNMAPPED}:
        advice = f"chown it to root or to the user of acpbot (uid {uid})"
        yield _warning(role, f"the {name} {path} belongs to another user (uid {facts.uid}), who can change it", advice)
    if by := _who(facts, uid, gid, WRITE):
        yield _warning(role, f"{by} can write the {name} {path}", f"run chmod go-w {path}")
    if facts.changeable is not None:
        detail = f"others can write {facts.changeable} and so replace the {name} {path}"
        yield _warning(role, detail, f"run chmod go-w {facts.changeable}, or chown it to root")
    if role != "workspace" and (role != "config_file" or secret) and (by := _who(facts, uid, gid, _READ)):
        detail, advice = f"{by} can read the {name} {path}", f"run chmod {_MODES.get(role, '600')} {path}"
        if role == "config_file":
            detail, advice = f"{detail}, which holds a token or a key", f'{advice}, or write "${{NAME}}" in their place'
        yield _warning(role, detail, advice)


def _who(facts: FileFacts, uid: int, gid: int, bits: int) -> str | None:
    """Who else may do that. A group's bit is no finding where acpbot, not the owner, needs it to reach the file."""
    granted = facts.mode & bits
    if granted & stat.S_IRWXO:
        return "every user"
    if granted & stat.S_IRWXG and not (facts.gid == gid and facts.uid != uid):
        return f"the group (gid {facts.gid})"
    return None


def _of_agent(agent: AgentSettings) -> Iterator[Finding]:
    table = agent_table(agent.name)
    keys = [key for key in _literal_keys(agent.env) if key not in _MADE_UP]
    if keys:
        names = ", ".join(map(quoted_key, keys))
        advice = f'write {quoted_key(keys[0])} = "${{{keys[0]}}}", or name it in inherit_env'
        yield _warning("keys_in_env", f"[{table}] env holds {names} itself", advice)
    # https://opencode.ai/docs/server/#authentication; with `container` the loopback is the container's own.
    shares_loopback = agent.runtime == "local" or (agent.runtime == "bubblewrap" and agent.bubblewrap.network)
    is_guarded = "OPENCODE_SERVER_PASSWORD" in {*agent.env, *agent.inherit_env}
    if agent.command.rpartition("/")[2] == "opencode" and shares_loopback and not is_guarded:
        detail = f"agent {agent.name} (opencode) opens a port of the loopback, where every user can use it"
        yield _warning("open_port", detail, f"give it OPENCODE_SERVER_PASSWORD in [{table}] env")
    if _has_key(agent.args):
        detail = f"[{table}] args hold a key or a token: every user can read the command line of a process"
        yield _warning("keys_in_args", detail, "give it to the agent in env or by a file")
    for server in agent.mcp_servers:
        where = f"[{table}] mcp_servers: the server {server.name}"
        if keys := _keys_of_server(server):
            names = ", ".join(map(quoted_key, keys))
            yield _warning("keys_in_mcp_servers", f"{where} holds {names} itself", 'write "${NAME}" in its place')
        if _has_key(server.args):
            detail = f"{where} has a key or a token in args: every user can read the command line of a process"
            yield _warning("keys_in_args", detail, "give it in env")


def _has_key(args: Sequence[str]) -> bool:
    """Whether an argument holds a key or a token, or the one after it does."""
    for argument, following in zip_longest(args, args[1:], fillvalue=""):
        match = _KEY_ARGUMENT.match(argument)
        if match and (match["value"] or (following and not following.startswith("-"))):
            return True
    return False


def _of_discord(discord: DiscordSettings) -> Iterator[Finding]:
    if discord.allow_all_users:
        detail = "[discord] allow_all_users: everyone who can post in its channels can have the agents run programs"
        yield _warning("allow_all_users", detail, "name people in allowed_users or roles in allowed_role_ids")
    for channel_id, channel in discord.channels.items():
        users = set(channel.allowed_users or ()) - set(discord.allowed_users)
        roles = set(channel.allowed_role_ids or ()) - set(discord.allowed_role_ids)
        more = [*(f"user {user}" for user in sorted(users)), *(f"role {role}" for role in sorted(roles))]
        if more and not discord.allow_all_users:
            detail = f"[{channel_table(channel_id)}] lets people in whom [discord] does not: {', '.join(more)}"
            yield Finding(name="channel_people", level="note", detail=operator_line(detail))
    if discord.allow_bot_messages != "off" and not discord.trusted_bot_ids:
        detail = f'[discord] allow_bot_messages = "{discord.allow_bot_messages}" lets every bot in its channels in'
        yield _warning("untrusted_bots", detail, "name those that may in trusted_bot_ids")


def _of_daemon(settings: Settings, uid: int, containment: str | None) -> Iterator[Finding]:
    if settings.permissions.policy == "allow":
        detail = '[permissions] policy = "allow": whatever an agent wants to run is run, and nobody is asked'
        yield _warning("policy", detail, 'write policy = "ask", unless agents run where they can do no harm')
    probes = settings.management.probes
    if probes.enabled and _is_everywhere(probes.host):
        detail = f"[management.probes] bind = {probes.bind}: everyone who can reach this machine can read the probes"
        yield _warning("probes", detail, "bind 127.0.0.1, or let only the kubelet in by a network policy")
    if uid == 0:
        detail = "acpbot runs as root, and so does everything that an agent runs"
        yield _warning("root", detail, "run it as a user of its own; `acpbot install-service` makes one")
    local = [agent.name for agent in settings.agents.values() if agent.runtime == "local"]
    if local:
        who = "agents run" if len(local) == len(settings.agents) else f"of the agents, these run: {', '.join(local)}:"
        detail = f"{who} as the user of acpbot, without isolation: their tools can read and change what acpbot can"
        yield Finding(name="isolation", level="note", detail=operator_line(detail), advice=_APART)
    if containment is not None:
        yield Finding(name="containment", level="note", detail=_CONTAINMENT.get(containment, containment))


_APART: Final = "see 'Keep agents apart' in the README, and SECURITY.md for what to put around them"
_CONTAINMENT: Final = {
    "cgroup": "a supervisor and a cgroup for each session: a kill proves that nothing is left in either",
    "subreaper": (
        "a supervisor for each session: a kill proves that nothing is left below it; no cgroup can be written here, so "
        "memory_max and pids_max do not hold"
    ),
}


def _holds_secrets(settings: Settings) -> bool:
    agents = settings.agents.values()
    servers = (server for agent in agents for server in agent.mcp_servers)
    in_env = any(_literal_keys(agent.env) for agent in agents)
    return literal_token(settings.discord) or in_env or any(map(_keys_of_server, servers))


def _literal_keys(env: Mapping[str, str]) -> list[str]:
    """The variables that hold a key or a token as it is written in the configuration."""
    return [key for key, value in env.items() if value and _KEY_NAME.search(key) and _is_literal(value)]


def _keys_of_server(server: McpServer) -> list[str]:
    """What of an MCP server is a key or a token as it is written in the configuration: by the names of its keys."""
    keys = _literal_keys(server.env)
    keys += [key for key, value in server.headers.items() if _KEY_HEADER.search(key) and _is_literal(value)]
    return [*keys, "url"] if isinstance(server.url, Secret) and not server.url.variables else keys


def _is_everywhere(host: str) -> bool:
    """Whether a server that binds to this address listens on all addresses of the machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_unspecified or (mapped is not None and mapped.is_unspecified)


def _is_literal(value: str) -> bool:
    """Whether a secret is written in the configuration itself; one of variables is shown by their names."""
    return not (isinstance(value, Secret) and value.variables) and getattr(value, "shown", HIDDEN) == HIDDEN


def _warning(name: str, detail: str, advice: str) -> Finding:
    return Finding(name=name, level="warning", detail=operator_line(detail), advice=operator_line(advice))
