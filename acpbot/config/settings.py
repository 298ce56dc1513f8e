"""The settings, typed and frozen: each struct is a table of config.toml (config.toml.example shows every key).

A field with a kind beside its type is a key; the kinds are in ``config.keys``. Names follow OpenAB's where it has
one. ``config.parse`` makes them from a file; a test or the demo may as well make them by hand.
"""

from __future__ import annotations

import types
from collections.abc import Mapping  # noqa: TC003 - read at run time, through typing.get_type_hints
from pathlib import Path  # noqa: TC003 - the same
from typing import Annotated, Literal

from msgspec import Struct, field

from acpbot.config import field_types as keys

Switch = Annotated[bool, keys.flag()]
IDS = keys.many("Discord ids, digits in quotes", keys.discord_id())
Ids = Annotated[tuple[str, ...], IDS]
Emoji = Annotated[str, keys.emoji()]
Milliseconds = Annotated[int, keys.whole(0, 3_600_000)]


class DiscordSettings(Struct, frozen=True, kw_only=True):
    """``[discord]``: how to connect, and the gate. Ids are texts of digits.

    A person gets in by ``allowed_users``, by holding a role of ``allowed_role_ids``, or by ``allow_all_users``; the
    place by ``allowed_channels`` or ``allow_all_channels``, which is true where it is left out and
    ``allowed_channels`` is empty. ``admin_users`` and ``admin_role_ids`` let nobody in: whoever is in by the gate and
    is named there may also answer the permission requests of others. ``max_attachment_bytes`` holds for each file; 0
    takes none. ``api_base`` and ``gateway_url`` are ``None`` where the library's own addresses hold; ``api_base`` has
    no slash at its end.
    """

    bot_token: Annotated[str, keys.token()]
    bot_token_file: Annotated[Path | None, keys.location("discord-token", relative=True)] = None
    allowed_channels: Ids = ()
    allow_all_channels: Switch = False
    allowed_users: Ids = ()
    allowed_role_ids: Ids = ()
    allow_all_users: Switch = False
    admin_users: Ids = ()
    admin_role_ids: Ids = ()
    allow_user_messages: Annotated[Literal["involved", "mentions", "multibot-mentions"], keys.choice] = (
        "multibot-mentions"
    )
    allow_bot_messages: Annotated[Literal["off", "mentions", "all"], keys.choice] = "off"
    trusted_bot_ids: Ids = ()
    max_bot_turns: Annotated[int, keys.whole(1, 1000)] = 100
    allow_dm: Switch = False
    tool_display: Annotated[Literal["full", "compact", "none"], keys.choice] = "full"
    max_attachment_bytes: Annotated[int, keys.size(0, 100 * 1024**2)] = 8 * 1024**2
    api_base: Annotated[str | None, keys.url("https://discord.com/api/v10", "https", "http")] = None
    gateway_url: Annotated[str | None, keys.url("wss://gateway.discord.gg", "wss", "ws", base=False)] = None


class AgentSettings(Struct, frozen=True, kw_only=True):
    """``[agent]`` (named ``default``) or ``[agents.NAME]``: a command that speaks ACP on its stdin and stdout.

    ``working_dir`` is the cwd of all its sessions; ``None``: the workspace rules of ``[pool]`` hold. Of ``env`` and
    ``inherit_env``, ``env`` wins. ``memory_max`` is in bytes. ``start_timeout_seconds`` bounds initialize and
    session/new, each.
    """

    name: str
    command: Annotated[str, keys.program()]
    args: Annotated[
        tuple[str, ...],
        keys.many("texts", keys.text("a text", "acp", "(?s:.*)", masked=True), unique=False),
    ] = ()
    working_dir: Annotated[Path | None, keys.location("/srv/project")] = None
    env: Annotated[Mapping[str, str], keys.variables()] = types.MappingProxyType({})
    inherit_env: Annotated[
        tuple[str, ...],
        keys.many("names of environment variables", keys.text("a name", "HTTPS_PROXY", "[^=\\s]+")),
    ] = ()
    memory_max: Annotated[int | None, keys.size(1024**2, 2**60)] = None
    pids_max: Annotated[int | None, keys.whole(1, 4_194_304)] = None
    start_timeout_seconds: Annotated[float, keys.number(1, 3600, "seconds")] = 60


class PoolSettings(Struct, frozen=True, kw_only=True):
    """``[pool]``: how many sessions there are and how long each lives.

    ``idle_timeout_seconds`` after its last turn a session's process is ended and the session suspended: the next
    message resumes it. ``session_ttl_hours`` after its last turn it is forgotten, and with ``remove_workspace`` its
    own folder is removed. ``grace_seconds`` is the time of one step of the kill ladder.
    """

    max_sessions: Annotated[int, keys.whole(1, 10_000)] = 10
    session_ttl_hours: Annotated[float, keys.number(0.1, 87_600, "hours")] = 24
    idle_timeout_seconds: Annotated[float, keys.number(1, 31_536_000, "seconds")] = 1800
    workspace: Annotated[Path, keys.location("~/.local/state/acpbot/workspaces")]
    workspace_mode: Annotated[Literal["thread", "shared"], keys.choice] = "thread"
    remove_workspace: Switch = False
    turn_timeout_seconds: Annotated[float, keys.number(1, 604_800, "seconds")] = 3600
    stuck_after_seconds: Annotated[float, keys.number(1, 604_800, "seconds")] = 600
    on_stuck: Annotated[Literal["notify", "cancel", "kill"], keys.choice] = "notify"
    grace_seconds: Annotated[float, keys.number(0, 300, "seconds")] = 5
    max_queued: Annotated[int, keys.whole(0, 1000)] = 10


class PermissionSettings(Struct, frozen=True, kw_only=True):
    """``[permissions]``: what an agent's permission request is answered; unanswered ones are rejected in time."""

    policy: Annotated[Literal["ask", "allow", "deny"], keys.choice] = "ask"
    timeout_seconds: Annotated[float, keys.number(1, 86_400, "seconds")] = 300


class ProbeSettings(Struct, frozen=True, kw_only=True):
    """``[management.probes]``: the TCP shim for kubelets. ``host`` has no brackets; ``port`` 0 is any free one."""

    enabled: Switch = False
    bind: Annotated[str, keys.bind()] = "127.0.0.1:8090"
    grace_seconds: Annotated[float, keys.number(0, 3600, "seconds")] = 15

    @property
    def host(self) -> str:
        """The name or address to listen at."""
        return keys.split_bind(self.bind)[0]

    @property
    def port(self) -> int:
        """The TCP port."""
        return keys.split_bind(self.bind)[1]


class ManagementSettings(Struct, frozen=True, kw_only=True):
    """``[management]``: the Unix socket. ``admin_users`` are user names, uids or ``@group``, not yet looked up."""

    enabled: Switch = True
    socket: Annotated[Path | None, keys.location("/run/acpbot/acpbot.sock")] = None
    socket_group: Annotated[str | None, keys.text("the name of a group", "acpbot", r"[^\s:@/]{1,64}")] = None
    admin_users: Annotated[
        tuple[str, ...],
        keys.many("user names, uids in quotes or @groups", keys.text("a name", "@wheel", r"@?[^\s:@/]{1,64}")),
    ] = ()
    probes: ProbeSettings = field(default_factory=ProbeSettings)


class EmojiSettings(Struct, frozen=True, kw_only=True):
    """``[reactions.emojis]``; ``stall_soft`` and ``stall_hard`` follow the times of the same names."""

    queued: Emoji = "👀"
    thinking: Emoji = "🤔"
    tool: Emoji = "🔥"
    coding: Emoji = "👨‍💻"
    web: Emoji = "⚡"
    done: Emoji = "🆗"
    error: Emoji = "😱"
    stall_soft: Emoji = "⏳"
    stall_hard: Emoji = "😨"


class TimingSettings(Struct, frozen=True, kw_only=True):
    """``[reactions.timing]``, all in milliseconds."""

    debounce_ms: Milliseconds = 700
    stall_soft_ms: Milliseconds = 10_000
    stall_hard_ms: Milliseconds = 30_000
    done_hold_ms: Milliseconds = 1500
    error_hold_ms: Milliseconds = 2500


class ReactionSettings(Struct, frozen=True, kw_only=True):
    """``[reactions]``: the emoji on a user's message."""

    enabled: Switch = True
    remove_after_reply: Switch = False
    emojis: EmojiSettings = field(default_factory=EmojiSettings)
    timing: TimingSettings = field(default_factory=TimingSettings)


class MarkdownSettings(Struct, frozen=True, kw_only=True):
    """``[markdown]``: Discord draws no tables; as aligned code, as bullets, or left as they are."""

    tables: Annotated[Literal["code", "bullets", "off"], keys.choice] = "code"


class StoreSettings(Struct, frozen=True, kw_only=True):
    """``[store]``: the SQLite file."""

    path: Annotated[Path, keys.location("~/.local/state/acpbot/acpbot.sqlite3")]


class LogSettings(Struct, frozen=True, kw_only=True):
    """``[log]``."""

    level: Annotated[Literal["debug", "info", "warning", "error"], keys.choice] = "info"
    format: Annotated[Literal["text", "json"], keys.choice] = "text"


class ShutdownSettings(Struct, frozen=True, kw_only=True):
    """``[shutdown]``: how long running turns may go on after SIGTERM."""

    drain_seconds: Annotated[float, keys.number(0, 86_400, "seconds")] = 30


class Settings(Struct, frozen=True, kw_only=True):
    """All of it. ``discord`` is ``None`` where the chat is local; ``default_agent`` is a key of ``agents``.

    ``warnings`` are sentences for a person: nothing is wrong, but something is probably not meant.
    """

    source: str | None = None
    default_agent: str
    discord: DiscordSettings | None = None
    agents: Mapping[str, AgentSettings]
    pool: PoolSettings
    permissions: PermissionSettings = field(default_factory=PermissionSettings)
    management: ManagementSettings = field(default_factory=ManagementSettings)
    reactions: ReactionSettings = field(default_factory=ReactionSettings)
    markdown: MarkdownSettings = field(default_factory=MarkdownSettings)
    store: StoreSettings
    log: LogSettings = field(default_factory=LogSettings)
    shutdown: ShutdownSettings = field(default_factory=ShutdownSettings)
    warnings: tuple[str, ...] = ()


# every table by its name, so that a key in the wrong one can be sent home; [agents.NAME] is as [agent]
TABLES: Mapping[str, type[Struct]] = {
    "discord": DiscordSettings,
    "agent": AgentSettings,
    "pool": PoolSettings,
    "permissions": PermissionSettings,
    "management": ManagementSettings,
    "management.probes": ProbeSettings,
    "reactions": ReactionSettings,
    "reactions.emojis": EmojiSettings,
    "reactions.timing": TimingSettings,
    "markdown": MarkdownSettings,
    "store": StoreSettings,
    "log": LogSettings,
    "shutdown": ShutdownSettings,
}
