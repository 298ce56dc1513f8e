"""The settings, typed and frozen: each struct is a table of config.toml (config.toml.example shows every key).

The annotation of a field is the one definition of its key: its type, its bounds, what an error says of it, and its
default. ``config.field_types`` reads a key by it. Names follow OpenAB's where it has one. ``config.loader`` makes the
settings from a file; a test or the demo may make them by hand. A reload does not change the keys that
``NEEDS_RESTART`` of their table lists.
"""

from __future__ import annotations

import types
from collections.abc import Mapping  # noqa: TC003 - read at run time, through typing.get_type_hints
from pathlib import Path  # noqa: TC003 - the same
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct, field, structs

from acpbot.config import field_types as ft
from acpbot.config.mcp_servers import McpServer, mcp_server
from acpbot.config.runtime_settings import BubblewrapSettings, ContainerSettings, KubernetesSettings, RuntimeKind
from acpbot.config.schedules import ScheduleSettings  # noqa: TC001 - msgspec resolves the annotation when it runs

_ONCE = {"uniqueItems": True}

DISCORD_ID = r"\A[1-9][0-9]{0,19}\Z"
DiscordId = Annotated[
    str,
    ft.discord_id,
    Meta(pattern=DISCORD_ID, description="a Discord id, digits in quotes", examples=["123456789012345678"]),
]
DiscordIds = Annotated[
    tuple[DiscordId, ...], Meta(description="a list of Discord ids, digits in quotes", extra_json_schema=_ONCE)
]
Emoji = Annotated[
    str,
    ft.text,
    Meta(
        pattern=r"\A(?:<a?:\w{2,32}:[0-9]{1,20}>|(?=.*[^\x00-\x7f])\S{1,16})\Z",
        description="an emoji such as 👀, or a custom one as <:name:id>",
        examples=["👀"],
    ),
]
ApiUrl = Annotated[
    str,
    ft.api_url,
    Meta(description="a URL that begins with https:// or http://", examples=["https://discord.com/api/v10"]),
]
WebSocketUrl = Annotated[
    str,
    ft.websocket_url,
    Meta(description="a URL that begins with wss:// or ws://", examples=["wss://gateway.discord.gg"]),
]
GroupName = Annotated[
    str, ft.text, Meta(pattern=r"\A[^\s:@/]{1,64}\Z", description="the name of a group", examples=["acpbot"])
]
Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
_OFFERED = r"\A\S(?:[^\x00-\x1f\x7f]{0,198}\S)?\Z"


def _size(low: int, high: int) -> Meta:
    return Meta(
        ge=low,
        le=high,
        description='a number of bytes (or a string such as "512M": K, M, G, T are powers of 1024)',
        examples=["512M"],
    )


def _path(example: str) -> Meta:
    return Meta(description="an absolute path (or begin with ~/)", examples=[example])


Mode = Annotated[str, ft.masked_text, Meta(pattern=_OFFERED, description="a mode of the agent", examples=["plan"])]


class ChannelSettings(Struct, frozen=True, kw_only=True):
    """``[discord.channels."ID"]``: a channel that is bound to a project. Its threads and forum posts inherit all of it.

    ``agent``: what new threads get; ``None``: ``default_agent``. ``working_dir``: the cwd of all sessions in its
    threads, whichever agent runs. ``mode``: as ``[agents.NAME] mode``, for the channel's own agent: another one, which
    a person has chosen, keeps its own. ``on_busy``: a message that comes while a turn runs waits for its end, or
    cancels it where its author may. Where ``allowed_users`` or ``allowed_role_ids`` is given, both together replace who
    is allowed by ``[discord]``.
    """

    agent: Annotated[str, ft.text, Meta(description="the name of an agent", examples=["claude"])] | None = None
    working_dir: Annotated[Path, ft.path, _path("/srv/project")] | None = None
    mode: Mode | None = None
    allowed_users: DiscordIds | None = None
    allowed_role_ids: DiscordIds | None = None
    on_busy: Literal["queue", "interrupt"] = "queue"

    @property
    def has_own_people(self) -> bool:
        """Whether the channel says itself who is allowed."""
        return self.allowed_users is not None or self.allowed_role_ids is not None


class DiscordSettings(Struct, frozen=True, kw_only=True):
    """``[discord]``: how to connect, and who may talk to the bot. Ids are texts of digits.

    A person is allowed by ``allowed_users``, by holding a role of ``allowed_role_ids``, or by ``allow_all_users``; the
    channel by ``allowed_channels``, by a table in ``channels`` (by id), or by ``allow_all_channels``, which is true
    where it is left out and neither of the others names a channel. ``admin_users`` and ``admin_role_ids`` allow nobody:
    whoever is allowed and is named there may also control the threads of others and answer permission requests there.
    ``max_attachment_bytes`` holds for each file; 0 accepts none. ``allow_resume``: admins may see and take up the
    agent's own conversations. ``thoughts``: what the agent thinks is shown as small text, or not. ``footer``: below
    each answer are its agent, model, time, context and cost. ``answer_messages``: what an answer has beyond so many
    messages is a file. ``link_previews``: Discord may show previews of links below the bot's messages.
    ``auto_archive_minutes``: after so long without a message Discord archives a thread of the bot. After a turn that
    took ``notify_after_seconds`` its asker is notified; 0: never. ``api_base`` and ``gateway_url`` are ``None`` where
    Discord's own addresses are used; ``api_base`` has no slash at its end.
    """

    NEEDS_RESTART: ClassVar = ("bot_token", "allow_dm", "allow_resume", "api_base", "gateway_url")

    bot_token: Annotated[str, ft.token, Meta(description="a bot token", examples=["${DISCORD_BOT_TOKEN}"])]
    bot_token_file: (
        Annotated[Path, ft.relative_path, Meta(description="the path of a file", examples=["discord-token"])] | None
    ) = None
    allowed_channels: DiscordIds = ()
    allow_all_channels: bool = False
    allowed_users: DiscordIds = ()
    allowed_role_ids: DiscordIds = ()
    allow_all_users: bool = False
    admin_users: DiscordIds = ()
    admin_role_ids: DiscordIds = ()
    allow_user_messages: Literal["involved", "mentions", "multibot-mentions"] = "multibot-mentions"
    allow_bot_messages: Literal["off", "mentions", "all"] = "off"
    trusted_bot_ids: DiscordIds = ()
    max_bot_turns: Annotated[int, Meta(ge=1, le=1000)] = 100
    allow_dm: bool = False
    allow_resume: bool = False
    tool_display: Literal["full", "compact", "none"] = "full"
    thoughts: Literal["off", "subtext"] = "off"
    footer: bool = True
    answer_messages: Annotated[int, Meta(ge=1, le=50)] = 5
    link_previews: bool = False
    auto_archive_minutes: Literal[60, 1440, 4320, 10_080] = 1440
    notify_after_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 60
    max_attachment_bytes: Annotated[int, ft.size, _size(0, 100 * 1024**2)] = 8 * 1024**2
    api_base: ApiUrl | None = None
    gateway_url: WebSocketUrl | None = None
    channels: Mapping[str, ChannelSettings] = types.MappingProxyType({})


class AgentSettings(Struct, frozen=True, kw_only=True):
    """``[agent]`` (named ``default``) or ``[agents.NAME]``: a command that speaks ACP on its stdin and stdout.

    ``working_dir`` is the cwd of all its sessions; ``None``: the workspace rules of ``[pool]`` hold. Of ``env`` and
    ``inherit_env``, ``env`` wins. ``memory_max`` is in bytes. ``process_namespace``: each session gets a process
    namespace of its own. ``start_timeout_seconds`` bounds initialize and session/new, each. ``mode`` and ``model`` are
    an id or a name that the agent offers; ``options`` are its other config options by id. They are set in every
    session, unless a person has chosen otherwise in the thread. ``auth_method`` is the id or name of the sign-in method
    to use where the agent asks for one; ``None``: one that needs no person. ``mcp_servers`` are given to the agent with
    each session; no two have the same name. ``warm``: so many processes wait, initialized, for the
    next threads; in a cluster, pods without one. ``runtime``: in which kind of place it runs.
    """

    name: str
    command: Annotated[
        str,
        ft.program,
        Meta(description="the name of a program on PATH or its absolute path", examples=["claude-agent-acp"]),
    ]
    args: Annotated[
        tuple[Annotated[str, ft.masked_text, Meta(examples=["acp"])], ...],
        Meta(description="a list of strings"),
    ] = ()
    working_dir: Annotated[Path, ft.path, _path("/srv/project")] | None = None
    env: Annotated[
        Mapping[str, str], ft.variables, Meta(description="a table of strings", examples=[{"NAME": "text"}])
    ] = types.MappingProxyType({})
    inherit_env: Annotated[
        tuple[Annotated[str, ft.text, Meta(pattern=r"\A[^=\s]+\Z", examples=["HTTPS_PROXY"])], ...],
        Meta(description="a list of names of environment variables", extra_json_schema=_ONCE),
    ] = ()
    mode: Mode | None = None
    model: (
        Annotated[str, ft.masked_text, Meta(pattern=_OFFERED, description="a model of the agent", examples=["opus"])]
        | None
    ) = None
    options: Annotated[
        Mapping[str, bool | str],
        ft.agent_options,
        Meta(description="a table of strings, true and false", examples=[{"effort": "high"}]),
    ] = types.MappingProxyType({})
    auth_method: (
        Annotated[
            str,
            ft.text,
            Meta(pattern=_OFFERED, description="a sign-in method of the agent", examples=["openai-api-key"]),
        ]
        | None
    ) = None
    mcp_servers: Annotated[
        tuple[
            Annotated[
                McpServer,
                mcp_server,
                Meta(examples=[{"name": "docs", "command": "docs-mcp"}], description="an MCP server"),
            ],
            ...,
        ],
        Meta(description="a list of MCP servers"),
    ] = ()
    memory_max: Annotated[int, ft.size, _size(1024**2, 2**60)] | None = None
    pids_max: Annotated[int, Meta(ge=1, le=4_194_304)] | None = None
    process_namespace: bool = False
    start_timeout_seconds: Annotated[float, Meta(ge=1, le=3600)] = 60
    warm: Annotated[int, Meta(ge=0, le=100)] = 0
    runtime: RuntimeKind = "local"
    bubblewrap: BubblewrapSettings = field(default_factory=BubblewrapSettings)
    container: ContainerSettings = field(default_factory=ContainerSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)


class PoolSettings(Struct, frozen=True, kw_only=True):
    """``[pool]``: how many sessions there may be and how long each is kept.

    ``idle_timeout_seconds`` after its last turn a session's process is ended and the session suspended: the next
    message resumes it. ``session_ttl_hours`` after its last turn the conversation is forgotten (``None``: after
    ``[store] keep_days``), and with ``remove_workspace`` its own folder is removed. ``grace_seconds`` is the time for
    all steps before SIGKILL together when an agent is ended. ``max_sessions_per_user`` counts the sessions of threads
    that one person owns, and ``max_queued_per_user`` the waiting turns that one person asked for, in all threads; 0
    sets no limit.
    """

    NEEDS_RESTART: ClassVar = ("workspace", "workspace_mode", "remove_workspace")

    max_sessions: Annotated[int, Meta(ge=1, le=10_000)] = 10
    session_ttl_hours: Annotated[float, Meta(ge=0.1, le=87_600)] | None = None
    idle_timeout_seconds: Annotated[float, Meta(ge=1, le=31_536_000)] = 1800
    workspace: Annotated[Path, ft.path, _path("~/.local/state/acpbot/workspaces")]
    workspace_mode: Literal["thread", "shared"] = "thread"
    remove_workspace: bool = False
    turn_timeout_seconds: Annotated[float, Meta(ge=1, le=604_800)] = 3600
    stuck_after_seconds: Annotated[float, Meta(ge=1, le=604_800)] = 600
    on_stuck: Literal["notify", "cancel", "kill"] = "notify"
    grace_seconds: Annotated[float, Meta(ge=0, le=300)] = 5
    max_queued: Annotated[int, Meta(ge=0, le=1000)] = 10
    max_sessions_per_user: Annotated[int, Meta(ge=0, le=10_000)] = 0
    max_queued_per_user: Annotated[int, Meta(ge=0, le=100_000)] = 0


class PermissionSettings(Struct, frozen=True, kw_only=True):
    """``[permissions]``: who answers a permission request; after ``timeout_seconds`` without an answer: rejected."""

    policy: Literal["ask", "allow", "deny"] = "ask"
    timeout_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 300


class ProbeSettings(Struct, frozen=True, kw_only=True):
    """``[management.probes]``: the TCP shim for kubelets. ``host`` has no brackets; ``port`` 0 is any free one."""

    enabled: bool = False
    bind: Annotated[
        str, ft.bind, Meta(description='"host:port" or "[IPv6 address]:port"', examples=["127.0.0.1:8090"])
    ] = "127.0.0.1:8090"
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] = 15
    metrics: bool = False

    @property
    def host(self) -> str:
        """The name or address to listen at."""
        return ft.split_bind(self.bind)[0]

    @property
    def port(self) -> int:
        """The TCP port."""
        return ft.split_bind(self.bind)[1]


class ManagementSettings(Struct, frozen=True, kw_only=True):
    """``[management]``: the Unix socket. ``admin_users`` are user names, uids or ``@group``, not yet looked up."""

    NEEDS_RESTART: ClassVar = ("enabled", "socket", "socket_group", "admin_users", "probes")

    enabled: bool = True
    socket: Annotated[Path, ft.path, _path("/run/acpbot/acpbot.sock")] | None = None
    socket_group: GroupName | None = None
    admin_users: Annotated[
        tuple[Annotated[str, ft.text, Meta(pattern=r"\A@?[^\s:@/]{1,64}\Z", examples=["@wheel"])], ...],
        Meta(description="a list of user names, uids in quotes or @groups", extra_json_schema=_ONCE),
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

    enabled: bool = True
    remove_after_reply: bool = False
    emojis: EmojiSettings = field(default_factory=EmojiSettings)
    timing: TimingSettings = field(default_factory=TimingSettings)


class MarkdownSettings(Struct, frozen=True, kw_only=True):
    """``[markdown]``: Discord draws no tables; as aligned code, as bullets, or left as they are."""

    tables: Literal["code", "bullets", "off"] = "code"


class StoreSettings(Struct, frozen=True, kw_only=True):
    """``[store]``: the SQLite file. ``keep_days``: for how many days after its last turn a conversation is kept.

    ``keep_output``: the last output of each thread is kept too.
    """

    NEEDS_RESTART: ClassVar = ("path",)

    path: Annotated[Path, ft.path, _path("~/.local/state/acpbot/acpbot.sqlite3")]
    keep_days: Annotated[float, Meta(ge=0.01, le=3650)] = 30
    keep_output: bool = True


class LogSettings(Struct, frozen=True, kw_only=True):
    """``[log]``."""

    NEEDS_RESTART: ClassVar = ("format",)

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class ShutdownSettings(Struct, frozen=True, kw_only=True):
    """``[shutdown]``: how long running turns may go on after SIGTERM."""

    drain_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 30


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration. ``discord`` is ``None`` for a local chat; ``default_agent`` is a key of ``agents``.

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
    schedule: tuple[ScheduleSettings, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def keep_seconds(self) -> float:
        """How long after its last turn a thread's conversation is kept."""
        hours = self.pool.session_ttl_hours
        return self.store.keep_days * 86_400 if hours is None else hours * 3600

    def channel(self, channel_id: str | None) -> ChannelSettings | None:
        """The table of a channel; ``None`` where it has none."""
        return None if self.discord is None or channel_id is None else self.discord.channels.get(channel_id)

    def agent_of(self, channel_id: str | None) -> str:
        """The agent that a new thread of the channel gets."""
        channel = self.channel(channel_id)
        return self.default_agent if channel is None or channel.agent is None else channel.agent

    def in_channel(self, agent: AgentSettings, channel_id: str | None) -> AgentSettings:
        """An agent's settings in the threads of a channel: its folder and its mode go before the agent's own."""
        channel = self.channel(channel_id)
        if channel is None:
            return agent
        is_channels_own = agent.name == self.agent_of(channel_id)
        mode = channel.mode if channel.mode is not None and is_channels_own else agent.mode
        return structs.replace(agent, working_dir=channel.working_dir or agent.working_dir, mode=mode)


# Every table by its name, so that an error can name the table that a misplaced key belongs to; [agents.NAME] has the
# keys of [agent], and each channel has a table in the place of ID. [[schedule]] is a list of tables.
TABLES: Mapping[str, type[Struct]] = {
    "discord": DiscordSettings,
    "discord.channels.ID": ChannelSettings,
    "agent": AgentSettings,
    "agent.bubblewrap": BubblewrapSettings,
    "agent.container": ContainerSettings,
    "agent.kubernetes": KubernetesSettings,
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


def agent_table(name: str) -> str:
    """The name of an agent's table."""
    return "agent" if name == "default" else f"agents.{name}"


def channel_table(channel_id: str) -> str:
    """The name of a channel's table."""
    return f'discord.channels."{channel_id}"'


def schedule_table(number: int) -> str:
    """How an error names an entry of ``[[schedule]]``; the first has the number 1."""
    return f"schedule {number}"
