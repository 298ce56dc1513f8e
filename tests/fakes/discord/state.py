"""What the server knows: users, guilds, channels, threads, messages, and everything that ever happened to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

EPOCH_MS = 1420070400000  # the first second of 2015: where Discord's snowflakes begin

TEXT, DM, PUBLIC_THREAD, PRIVATE_THREAD, FORUM, MEDIA = 0, 1, 11, 12, 15, 16
DEFAULT, NAME_CHANGED, THREAD_CREATED, REPLY, CHAT_INPUT, STARTER = 0, 4, 18, 19, 20, 21
HAS_THREAD, EPHEMERAL, LOADING, VOICE_MESSAGE, HAS_SNAPSHOT = 1 << 5, 1 << 6, 1 << 7, 1 << 13, 1 << 14
TO_REPLY, TO_FORWARD = 0, 1

PERMISSIONS = {
    "ADMINISTRATOR": 1 << 3,
    "MANAGE_CHANNELS": 1 << 4,
    "ADD_REACTIONS": 1 << 6,
    "VIEW_CHANNEL": 1 << 10,
    "SEND_MESSAGES": 1 << 11,
    "MANAGE_MESSAGES": 1 << 13,
    "EMBED_LINKS": 1 << 14,
    "ATTACH_FILES": 1 << 15,
    "READ_MESSAGE_HISTORY": 1 << 16,
    "MENTION_EVERYONE": 1 << 17,
    "USE_APPLICATION_COMMANDS": 1 << 31,
    "MANAGE_THREADS": 1 << 34,
    "CREATE_PUBLIC_THREADS": 1 << 35,
    "CREATE_PRIVATE_THREADS": 1 << 36,
    "SEND_MESSAGES_IN_THREADS": 1 << 38,
}
EVERYONE = (
    "ADD_REACTIONS",
    "VIEW_CHANNEL",
    "SEND_MESSAGES",
    "EMBED_LINKS",
    "ATTACH_FILES",
    "READ_MESSAGE_HISTORY",
    "USE_APPLICATION_COMMANDS",
    "CREATE_PUBLIC_THREADS",
    "CREATE_PRIVATE_THREADS",
    "SEND_MESSAGES_IN_THREADS",
)
ALL_PERMISSIONS = (1 << 53) - 1


def bits(names: tuple[str, ...] | list[str]) -> int:
    """The permission bits of these names; KeyError for one that is not in the table."""
    return sum({PERMISSIONS[name] for name in names})


class Snowflakes:
    """Unique rising ids that carry the real time, as the client reads a message's age out of its id.

    `ahead`: seconds by which they are ahead of it.
    """

    def __init__(self) -> None:
        self.last = 0
        self.ahead = 0.0

    def __call__(self) -> int:
        self.last = max(self.last + 1, int((time.time() + self.ahead) * 1000 - EPOCH_MS) << 22)
        return self.last


def buttons_in(components: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The buttons of a message, left to right, top to bottom."""
    return [item for row in components for item in row.get("components", ()) if item.get("type") == 2]


def has_answers(components: Iterable[dict[str, Any]]) -> bool:
    """Whether a button answers something: any but those below every answer."""
    return any(one.get("label") not in {"Stop", "Stopping…", "Send now"} for one in buttons_in(components))


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(eq=False, repr=False)
class User:
    """A person or the bot."""

    id: int
    name: str
    bot: bool = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def mention(self) -> str:
        return f"<@{self.id}>"


@dataclass(eq=False, repr=False)
class Role:
    id: int
    name: str
    permissions: int = 0
    position: int = 1

    def __repr__(self) -> str:
        return f"<role {self.name}>"

    @property
    def mention(self) -> str:
        return f"<@&{self.id}>"


@dataclass(eq=False, repr=False)
class Member:
    user: User
    roles: list[Role] = field(default_factory=list)
    nick: str | None = None
    joined: datetime = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<member {self.user.name}>"


@dataclass(eq=False, repr=False)
class Guild:
    id: int
    name: str
    owner: User
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<guild {self.name}>"

    @property
    def everyone(self) -> Role:
        return self.roles[self.id]


@dataclass(eq=False, repr=False)
class Channel:
    """A text channel, a thread or a DM. `names` is every name that it had, with the time (`time.monotonic`).

    `last_message_id` stays when that message is deleted, as Discord's does.
    """

    id: int
    type: int
    name: str
    guild: Guild | None = None
    parent: Channel | None = None
    owner: User | None = None
    recipients: list[User] = field(default_factory=list)
    overwrites: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    thread_members: list[int] = field(default_factory=list)
    names: list[tuple[float, str]] = field(default_factory=list)
    typing: list[float] = field(default_factory=list)
    archived: bool = False
    locked: bool = False
    deleted: bool = False
    auto_archive: int = 1440
    topic: str | None = None
    sent: int = 0
    last_message_id: int | None = None
    touched: datetime = field(default_factory=now)
    created: datetime = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<#{self.name}>"

    @property
    def is_thread(self) -> bool:
        return self.type in (PUBLIC_THREAD, PRIVATE_THREAD)

    @property
    def mention(self) -> str:
        return f"<#{self.id}>"

    def permissions_of(self, user: User) -> int:
        """The permissions of `user` here, overwrites included (docs/topics/permissions); threads ask the parent."""
        if self.guild is None:
            return ALL_PERMISSIONS
        if self.parent is not None and self.is_thread:
            return self.parent.permissions_of(user)
        member = self.guild.members.get(user.id)
        if member is None:
            return 0
        held = self.guild.everyone.permissions
        for role in member.roles:
            held |= role.permissions
        if self.guild.owner is user or held & PERMISSIONS["ADMINISTRATOR"]:
            return ALL_PERMISSIONS
        allow = deny = 0
        for role in member.roles:
            _, role_allow, role_deny = self.overwrites.get(role.id, (0, 0, 0))
            allow |= role_allow
            deny |= role_deny
        layers = (self.overwrites.get(self.guild.id), (0, allow, deny), self.overwrites.get(user.id))
        for layer in layers:
            if layer is not None:
                held = (held & ~layer[2]) | layer[1]
        return held

    def allows(self, user: User, *names: str) -> bool:
        needed = bits(names)
        return self.permissions_of(user) & needed == needed


@dataclass(eq=False, repr=False)
class Attachment:
    """A file. `packed`: the CDN sends it by gzip, asked or not."""

    id: int
    filename: str
    data: bytes
    content_type: str
    channel_id: int
    description: str | None = None
    packed: bool = False
    deleted: bool = False

    def __repr__(self) -> str:
        return f"<{self.filename}, {len(self.data)} bytes>"

    @property
    def text(self) -> str:
        """The content as UTF-8."""
        return self.data.decode()


@dataclass(frozen=True)
class Version:
    """A message as it stood from `at` (`time.monotonic`) until the next version."""

    at: float
    content: str
    components: list[dict[str, Any]]
    attachments: tuple[str, ...]
    flags: int


@dataclass(frozen=True)
class ReactionEvent:
    """One reaction put on (`added`) or taken off."""

    at: float
    added: bool
    emoji: str
    user: User


@dataclass(eq=False, repr=False)
class Message:
    """A message. `versions` holds every content it had; `payload` is the JSON that made it, None for a user's.

    `snapshots` are the messages that it forwards, as they were. `unresolved`: Discord does not send what it replies to.
    """

    id: int
    channel: Channel
    author: User
    content: str = ""
    type: int = DEFAULT
    flags: int = 0
    nonce: str | None = None
    embeds: list[dict[str, Any]] = field(default_factory=list)
    components: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    reference: dict[str, Any] | None = None
    referenced: Message | None = None
    unresolved: bool = False
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    stickers: list[str] = field(default_factory=list)
    poll: dict[str, Any] | None = None
    allowed_mentions: dict[str, Any] | None = None
    mentions: list[User] = field(default_factory=list)
    mention_roles: list[Role] = field(default_factory=list)
    mention_everyone: bool = False
    reactions: dict[str, list[User]] = field(default_factory=dict)
    reaction_log: list[ReactionEvent] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    payload: dict[str, Any] | None = None
    interaction: Any = None
    webhook_id: int | None = None
    visible_to: User | None = None
    thread: Channel | None = None
    edited: datetime | None = None
    deleted: bool = False
    created: datetime = field(default_factory=now)

    def __repr__(self) -> str:
        return f"<{self.author.name} in #{self.channel.name}: {self.content!r}{' (deleted)' if self.deleted else ''}>"

    @property
    def ephemeral(self) -> bool:
        return bool(self.flags & EPHEMERAL)

    @property
    def loading(self) -> bool:
        """A deferred answer ("... is thinking") that has not come yet."""
        return bool(self.flags & LOADING)

    @property
    def pings(self) -> bool:
        """Whether anybody is notified by it."""
        return bool(self.mentions or self.mention_roles or self.mention_everyone)

    @property
    def contents(self) -> list[str]:
        """Every content that it had, oldest first."""
        return [version.content for version in self.versions]

    @property
    def shown_reactions(self) -> list[str]:
        """The emoji on it now, in the order in which they came."""
        return list(self.reactions)

    @property
    def buttons(self) -> list[dict[str, Any]]:
        """Its buttons, left to right, top to bottom, as they were sent."""
        return buttons_in(self.components)

    @property
    def asks(self) -> bool:
        """Whether somebody can answer it by a button: by any but those below every answer and every note."""
        return has_answers(self.components)

    def component(self, custom_id: str) -> dict[str, Any] | None:
        for row in self.components:
            for item in row.get("components", ()):
                if item.get("custom_id") == custom_id:
                    found: dict[str, Any] = item
                    return found
        return None

    def keep_version(self) -> None:
        """Keeps a copy of the message as it is now."""
        names = tuple(attachment.filename for attachment in self.attachments)
        self.versions.append(Version(time.monotonic(), self.content, list(self.components), names, self.flags))
