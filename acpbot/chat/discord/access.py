"""Whose messages the bot answers, where, and who may control a thread's session.

The rules are pure: plain values in and out; :func:`author_of` and :class:`Channels` make these of discord.py's objects.
Nothing is remembered of people but who was told no in the last minute. Their roles are looked at with every message
and every click, so that somebody who loses a role, or leaves the server (and then has no roles), is denied at once.
"""

from __future__ import annotations

import enum
import re
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

import discord
import msgspec

from acpbot.chat.discord.discord_time import snowflake
from acpbot.config.in_force import SettingsInForce
from acpbot.config.settings import channel_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from acpbot.config.settings import ChannelSettings, DiscordSettings, Settings
    from acpbot.sessions.pool import Pool

PLATFORM: Final = "discord"

ANSWER_SECONDS: Final = 60.0
_ANSWERS_OF_PERSON: Final = 5
_ANSWERS_OF_ALL: Final = 60
_CHANNELS_MAX: Final = 10_000
_ID: Final = re.compile(r"[0-9]{1,20}")


class CurrentSettings(SettingsInForce):
    """The settings in force, which have a [discord], for every part of the chat."""

    def replace(self, settings: Settings) -> None:
        """Hold to ``settings`` from now on. Raises ValueError where they have no [discord]."""
        if settings.discord is None:
            raise ValueError("cannot run a Discord chat: the settings have no [discord]")
        super().replace(settings)
        self.discord = settings.discord
        self.reactions = settings.reactions
        self.markdown = settings.markdown


class Decision(enum.Enum):
    """What the bot does with a message.

    ``IGNORE``: it is not for the bot, which shows no reaction to it. ``DENY``: it is for the bot, but not allowed; the
    bot puts one 🚫 on it and does nothing else.
    """

    ALLOW = enum.auto()
    IGNORE = enum.auto()
    DENY = enum.auto()


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote or clicked, as the event from Discord describes them.

    ``role_ids`` is empty in direct messages and for those who left the server. A message of a webhook has
    ``is_webhook``, whatever ``is_bot`` is, and the webhook's id.
    """

    id: str
    role_ids: frozenset[str] = frozenset()
    is_bot: bool = False
    is_webhook: bool = False

    @property
    def is_program(self) -> bool:
        """Whether a program wrote it: a webhook counts as a bot, whatever name and avatar it shows."""
        return self.is_bot or self.is_webhook


class MessageSource(msgspec.Struct, frozen=True, kw_only=True):
    """The channel in which somebody wrote or clicked.

    In a thread ``channel_id`` is the thread's own id, and ``parent_id`` the channel that it belongs to. ``ours``: the
    bot opened this thread or works in it. ``other_bots``: another bot has written in this thread. ``owner_id``: who
    began the conversation in it, ``None`` where there is none.
    """

    channel_id: str
    parent_id: str | None = None
    is_dm: bool = False
    is_thread: bool = False
    ours: bool = False
    other_bots: bool = False
    owner_id: str | None = None

    @property
    def bound_id(self) -> str | None:
        """The channel whose table in ``[discord.channels]`` holds here; ``None`` in direct messages."""
        return None if self.is_dm else self.parent_id or self.channel_id


def is_mentioned(
    own: object, users: Collection[object], roles: Collection[object] = (), *, own_role: object | None = None
) -> bool:
    """Whether a message that mentions these users and roles mentions the bot.

    ``own_role`` is the role that Discord made for the bot; it has the bot's name, so people pick it by mistake.
    ``@everyone``, ``@here`` and other roles do not mention the bot; Discord does not list them among ``users``.
    """
    return own in users or (own_role is not None and own_role in roles)


def without_mention(text: str, own_id: str, *, own_role_id: str | None = None) -> str:
    """The text without mentions of the bot at its ends, and without the white space there.

    A mention in the middle is a word of the sentence and stays.
    """
    own = [rf"<@!?{own_id}>"] if _ID.fullmatch(own_id) else []
    if own_role_id is not None and _ID.fullmatch(own_role_id):
        own.append(f"<@&{own_role_id}>")
    if not own:
        return text.strip()
    mention = "|".join(own)
    leading = re.match(rf"\s*(?:(?:{mention})[\s,:]*)*", text)
    start, end = leading.end() if leading else 0, len(text.rstrip())
    trailing = re.compile(mention)
    # A mention has at most 25 characters. The search looks no further back, so a long text costs little.
    while (last := text.rfind("<", max(start, end - 25), end)) >= 0 and trailing.fullmatch(text, last, end):
        end = last
        while end > start and text[end - 1].isspace():
            end -= 1
    return text[start:end]


def is_allowed(settings: DiscordSettings, author: Author, source: MessageSource) -> bool:
    """Whether this person may use the bot in this channel at all: for slash commands, clicks, and messages to the bot.

    Programs never may: only :func:`decide` allows messages of theirs.
    """
    return denial(settings, author, source) is None


def denial(settings: DiscordSettings, author: Author, source: MessageSource) -> str | None:
    """Which rule keeps this person from using the bot in this channel, for the log; ``None`` where they may."""
    if author.is_program:
        return "person: only allow_bot_messages lets programs in, and only by messages"
    if not is_source_allowed(settings, source):
        if source.is_dm:
            return "place: [discord] allow_dm is false"
        named = "neither allowed_channels nor a table in [discord.channels] names it"
        return f"place: {named}, and allow_all_channels is false"
    if not _is_author_allowed(settings, author, source):
        own = _channel_of(settings, source)
        table = channel_table(str(source.bound_id)) if own is not None and own.has_own_people else "discord"
        return f"person: [{table}] allowed_users and allowed_role_ids name neither them nor a role of theirs"
    return None


def decide(
    settings: DiscordSettings, author: Author, source: MessageSource, *, mentioned: bool, own_id: str
) -> Decision:
    """What the bot does with this message; ``mentioned``: it mentions the bot (:func:`is_mentioned`).

    A message in a channel, or in a thread that is not the bot's, must mention it. In a thread of the bot,
    ``allow_user_messages`` says whether it must. Messages of programs are allowed by ``allow_bot_messages`` and
    ``trusted_bot_ids`` alone, never in direct messages, and are ignored otherwise; :class:`BotTurns` limits them
    further. The bot's own messages are ignored.
    """
    if author.id == own_id:
        return Decision.IGNORE
    if author.is_program:
        return Decision.ALLOW if _is_program_allowed(settings, author, source, mentioned=mentioned) else Decision.IGNORE
    if not (mentioned or needs_no_mention(settings, source)):
        return Decision.IGNORE
    return Decision.ALLOW if is_allowed(settings, author, source) else Decision.DENY


def may_still_run(settings: DiscordSettings, author: Author, source: MessageSource) -> bool:
    """Whether a message that was accepted may run under these settings, which may have changed while it waited."""
    if author.is_program:
        return _is_program_allowed(settings, author, source, mentioned=True)
    return is_allowed(settings, author, source)


def may_control(settings: DiscordSettings, author: Author, source: MessageSource, asker_id: str | None) -> bool:
    """Whether this person may control the session of the thread ``source``: end it, change it, answer its permissions.

    These people may: the thread's owner; ``asker_id``, who asked for the turn that runs or waits for the permission;
    the admins. All of them only as long as they may use the bot there. Programs never may, so a turn that a bot asked
    for needs the owner or an admin.
    """
    if not is_allowed(settings, author, source):
        return False
    return author.id in {source.owner_id, asker_id} or is_admin(settings, author)


def interrupts(settings: DiscordSettings, author: Author, source: MessageSource, asker_id: str | None) -> bool:
    """Whether a message of this person cancels the turn that runs in the thread, which ``asker_id`` has asked for."""
    channel = _channel_of(settings, source)
    wanted = channel is not None and channel.on_busy == "interrupt"
    return wanted and may_control(settings, author, source, asker_id)


def is_admin(settings: DiscordSettings, author: Author) -> bool:
    """Whether ``admin_users`` names the person or ``admin_role_ids`` one of their roles."""
    return author.id in settings.admin_users or not author.role_ids.isdisjoint(settings.admin_role_ids)


def is_source_allowed(settings: DiscordSettings, source: MessageSource) -> bool:
    """Whether the bot answers anybody in this channel."""
    if source.is_dm:
        return settings.allow_dm
    return (
        settings.allow_all_channels
        or source.channel_id in settings.allowed_channels
        or source.parent_id in settings.allowed_channels
        or source.bound_id in settings.channels
    )


def _channel_of(settings: DiscordSettings, source: MessageSource) -> ChannelSettings | None:
    return settings.channels.get(source.bound_id or "")


def roles_matter(settings: DiscordSettings, source: MessageSource) -> bool:
    """Whether it depends on somebody's roles whether they may use the bot in this channel."""
    channel = _channel_of(settings, source)
    if channel is not None and channel.has_own_people:
        return bool(channel.allowed_role_ids)
    return bool(settings.allowed_role_ids)


def _is_author_allowed(settings: DiscordSettings, author: Author, source: MessageSource) -> bool:
    channel = _channel_of(settings, source)
    if channel is not None and channel.has_own_people:
        users, roles = channel.allowed_users or (), channel.allowed_role_ids or ()
        return author.id in users or not author.role_ids.isdisjoint(roles)
    return (
        settings.allow_all_users
        or author.id in settings.allowed_users
        or not author.role_ids.isdisjoint(settings.allowed_role_ids)
    )


def needs_no_mention(settings: DiscordSettings, source: MessageSource) -> bool:
    """Whether a person's message here is for the bot without a mention."""
    if source.is_dm:
        return True
    if not (source.is_thread and source.ours):
        return False
    mode = settings.allow_user_messages
    return mode == "involved" or (mode == "multibot-mentions" and not source.other_bots)


def _is_program_allowed(settings: DiscordSettings, author: Author, source: MessageSource, *, mentioned: bool) -> bool:
    if settings.allow_bot_messages == "off" or source.is_dm:
        return False
    if settings.trusted_bot_ids and author.id not in settings.trusted_bot_ids:
        return False
    addressed = mentioned or (settings.allow_bot_messages == "all" and source.is_thread and source.ours)
    return addressed and is_source_allowed(settings, source)


class BotTurns:
    """Counts the turns in a row that programs asked for, by channel, so that two bots do not go on for ever.

    The channel is the thread, and the parent channel for a message that opens a thread: a bot that opens one thread
    after another is counted too. Of more than 10,000 channels, the one that was quiet for longest is forgotten.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()

    def reset(self, channel_id: str) -> None:
        """A person who may use the bot wrote in the channel, to the bot or not: programs may go on."""
        self._counts.pop(channel_id, None)

    def count(self, channel_id: str, limit: int) -> Decision:
        """Count a program's message that :func:`decide` allows; ``limit`` is ``max_bot_turns``.

        ``DENY`` for the first one beyond the limit, so that people see why no answer follows; then ``IGNORE``.
        """
        before = self._counts.pop(channel_id, 0)
        self._counts[channel_id] = before + 1
        if len(self._counts) > _CHANNELS_MAX:
            self._counts.popitem(last=False)
        if before < limit:
            return Decision.ALLOW
        return Decision.DENY if before == limit else Decision.IGNORE


class AnswerLimit:
    """Limits how often people get an answer that tells them no: a flood of messages must not keep the bot busy.

    In any minute a person gets ``of_key`` answers about the same thing and five in all, and all people together get 60.
    ``clock``: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float], *, of_key: int = 1) -> None:
        self._clock = clock
        self._of_key = of_key
        self._given: deque[tuple[float, str, str]] = deque()

    def take(self, user_id: str, key: str) -> bool:
        """Whether the person gets an answer about ``key`` now, a channel for instance; it is counted then."""
        now = self._clock()
        while self._given and now - self._given[0][0] >= ANSWER_SECONDS:
            self._given.popleft()
        mine = [about for _, user, about in self._given if user == user_id]
        full = len(mine) >= _ANSWERS_OF_PERSON or len(self._given) >= _ANSWERS_OF_ALL
        if full or mine.count(key) >= self._of_key:
            return False
        self._given.append((now, user_id, key))
        return True


def author_of(user: discord.User | discord.Member, *, webhook_id: int | None = None) -> Author:
    """Who wrote or clicked, with the roles that came with the event."""
    roles = frozenset(str(role.id) for role in user.roles) if isinstance(user, discord.Member) else frozenset[str]()
    return Author(id=str(user.id), role_ids=roles, is_bot=user.bot, is_webhook=webhook_id is not None)


def own_role_id(guild: discord.Guild | None) -> str | None:
    """The role that Discord made for the bot in this server."""
    role = None if guild is None else guild.self_role
    return None if role is None else str(role.id)


class Channels:
    """What the bot knows of channels: which threads are its own, their parents, and where other bots have written.

    ``discord_time``: a point in time of this machine by Discord's clock; both are Unix time.
    """

    def __init__(self, pool: Pool, discord_time: Callable[[float], float] = lambda at: at) -> None:
        self._pool = pool
        self._discord_time = discord_time
        self._with_bots: OrderedDict[str, None] = OrderedDict()
        self._parents: OrderedDict[str, str] = OrderedDict()
        self._begun_anew: OrderedDict[str, int] = OrderedDict()

    def add_other_bot(self, channel_id: str) -> None:
        """Another bot has written in this channel. Of a thread that the bot takes part in a restart keeps it."""
        self._pool.known_threads.set_other_bots(channel_id, there=True)
        self._with_bots[channel_id] = None
        if len(self._with_bots) > _CHANNELS_MAX:
            self._with_bots.popitem(last=False)

    def add_thread(self, thread_id: str, parent_id: str) -> None:
        """The thread belongs to the channel ``parent_id``."""
        self._parents[thread_id] = parent_id
        if len(self._parents) > _CHANNELS_MAX:
            self._parents.popitem(last=False)

    def parent_of(self, thread_id: str) -> str | None:
        """The channel that a thread belongs to; ``None`` where the bot has seen nothing of the thread."""
        return self._parents.get(thread_id)

    def begin_anew(self, thread_id: str, event_id: int) -> None:
        """A person wants the conversation forgotten: the agent gets nothing that is older than this event.

        A restart keeps the time, which is later by what the end of the session takes.
        """
        self._pool.known_threads.begin_anew(thread_id)
        self._begun_anew[thread_id] = event_id
        if len(self._begun_anew) > _CHANNELS_MAX:
            self._begun_anew.popitem(last=False)

    def begun_anew(self, thread_id: str) -> int:
        """The id of the event that the thread's conversation begins after; 0 where it is the thread's beginning.

        An operator, too, may have had the conversation forgotten.
        """
        known = self._pool.known_threads.get(thread_id)
        at = 0.0 if known is None else known.begun_anew_at
        return max(self._begun_anew.get(thread_id, 0), snowflake(self._discord_time(at)) if at else 0)

    def source_of(self, channel: Any, own_id: str) -> MessageSource:
        """The channel of an event; ``channel`` is any messageable of discord.py, ``own_id`` the bot's user id."""
        channel_id = str(channel.id)
        thread = self._pool.thread(channel_id)
        known = thread is not None and thread.platform == PLATFORM
        owner_id = thread.owner if thread is not None and known else None
        if isinstance(channel, discord.DMChannel):
            return MessageSource(channel_id=channel_id, is_dm=True, owner_id=owner_id)
        if not isinstance(channel, discord.Thread):
            return MessageSource(channel_id=channel_id, owner_id=owner_id)
        parent_id = str(channel.parent_id)
        self.add_thread(channel_id, parent_id)
        remembered = self._pool.known_threads.get(channel_id)
        return MessageSource(
            channel_id=channel_id,
            parent_id=parent_id,
            is_thread=True,
            ours=known or remembered is not None or str(channel.owner_id) == own_id,
            other_bots=channel_id in self._with_bots or (remembered is not None and remembered.other_bots is True),
            owner_id=owner_id,
        )
