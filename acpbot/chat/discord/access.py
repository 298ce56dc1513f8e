"""Who is heard, where, and who may answer a permission request. Pure: plain values in and out.

Nothing is remembered of a person: roles are looked at with every message and every click, so that a role taken away, or
a member who left (and has none), is out at once.
"""

from __future__ import annotations

import enum
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

    from acpbot.config.settings import DiscordSettings

_THREADS_MAX: Final = 10_000
_ID: Final = re.compile(r"[0-9]{1,20}")


class Verdict(enum.Enum):
    """What becomes of a message.

    ``IGNORE``: it is not for us, and nothing shows that we saw it. ``DENY``: it is for us, but not allowed; told by one
    🚫 on the message and by nothing else.
    """

    ALLOW = enum.auto()
    IGNORE = enum.auto()
    DENY = enum.auto()


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote or clicked, as Discord tells it with the event.

    ``role_ids`` is empty in direct messages and for those who left the server. A message of a webhook has
    ``is_webhook``, whatever ``is_bot`` says, and the webhook's id.
    """

    id: str
    role_ids: frozenset[str] = frozenset()
    is_bot: bool = False
    is_webhook: bool = False

    @property
    def automatic(self) -> bool:
        """Whether a program wrote it: a webhook counts as a bot, whatever name and face it shows."""
        return self.is_bot or self.is_webhook


class MessageSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where it happened.

    ``channel_id`` is the thread's own id in a thread, and ``parent_id`` the channel that it belongs to. ``ours``: the
    bot opened this thread or works in it. ``other_bots``: another bot has written in this thread.
    """

    channel_id: str
    parent_id: str | None = None
    is_dm: bool = False
    is_thread: bool = False
    ours: bool = False
    other_bots: bool = False


def is_mentioned(
    own_id: str, user_ids: Collection[str], role_ids: Collection[str] = (), *, own_role_id: str | None = None
) -> bool:
    """Whether a message that mentions these users and roles mentions the bot.

    ``own_role_id`` is the role that Discord made for the bot (it has the same name, so that people pick it by
    mistake). ``@everyone``, ``@here`` and other roles are no mention: Discord lists them apart, and they are not looked
    at here.
    """
    return own_id in user_ids or (own_role_id is not None and own_role_id in role_ids)


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
    # A mention has at most 25 characters: only there is one looked for, so that a long text costs little.
    while (last := text.rfind("<", max(start, end - 25), end)) >= 0 and trailing.fullmatch(text, last, end):
        end = last
        while end > start and text[end - 1].isspace():
            end -= 1
    return text[start:end]


def may_use(settings: DiscordSettings, person: Author, place: MessageSource) -> bool:
    """Whether this person may use the bot here at all: the gate of slash commands, and of messages that are for us.

    Programs never pass: they are heard by :func:`admits` only.
    """
    return not person.automatic and _person_allowed(settings, person) and place_allowed(settings, place)


def admits(settings: DiscordSettings, person: Author, place: MessageSource, *, mentioned: bool, own_id: str) -> Verdict:
    """What becomes of this message; ``mentioned`` as :func:`is_mentioned`.

    In a channel, and in a thread that is not ours, it takes a mention. In a thread of ours ``allow_user_messages``
    says what it takes. Programs are let in by ``allow_bot_messages`` and ``trusted_bot_ids`` alone, never in direct
    messages, and are never told that they are denied; :class:`BotTurns` is theirs too. What we wrote is not for us.
    """
    if person.id == own_id:
        return Verdict.IGNORE
    if person.automatic:
        return Verdict.ALLOW if _program_allowed(settings, person, place, mentioned=mentioned) else Verdict.IGNORE
    if not (mentioned or place.is_dm or _listens(settings, place)):
        return Verdict.IGNORE
    return Verdict.ALLOW if may_use(settings, person, place) else Verdict.DENY


def may_answer(settings: DiscordSettings, person: Author, asker_id: str) -> bool:
    """Whether this person may answer a permission request of the turn that ``asker_id`` asked for.

    The asker and the admins may, as long as the gate lets them in: being an admin lets nobody in. Programs never may,
    so that a turn that a bot asked for takes an admin.
    """
    if person.automatic or not _person_allowed(settings, person):
        return False
    return person.id == asker_id or is_admin(settings, person)


def is_admin(settings: DiscordSettings, person: Author) -> bool:
    """Whether the person is named by ``admin_users`` or holds a role of ``admin_role_ids``."""
    return person.id in settings.admin_users or not person.role_ids.isdisjoint(settings.admin_role_ids)


def _person_allowed(settings: DiscordSettings, person: Author) -> bool:
    return (
        settings.allow_all_users
        or person.id in settings.allowed_users
        or not person.role_ids.isdisjoint(settings.allowed_role_ids)
    )


def place_allowed(settings: DiscordSettings, place: MessageSource) -> bool:
    """Whether the bot listens here at all."""
    if place.is_dm:
        return settings.allow_dm
    return (
        settings.allow_all_channels
        or place.channel_id in settings.allowed_channels
        or place.parent_id in settings.allowed_channels
    )


def _listens(settings: DiscordSettings, place: MessageSource) -> bool:
    """Whether a person's message here is for us without a mention."""
    if not (place.is_thread and place.ours):
        return False
    mode = settings.allow_user_messages
    return mode == "involved" or (mode == "multibot-mentions" and not place.other_bots)


def _program_allowed(settings: DiscordSettings, person: Author, place: MessageSource, *, mentioned: bool) -> bool:
    if settings.allow_bot_messages == "off" or place.is_dm:
        return False
    if settings.trusted_bot_ids and person.id not in settings.trusted_bot_ids:
        return False
    heard = mentioned or (settings.allow_bot_messages == "all" and place.is_thread and place.ours)
    return heard and place_allowed(settings, place)


class BotTurns:
    """How many turns in a row programs had, by where they wrote: two bots that answer each other never end.

    ``limit`` is ``max_bot_turns``. Where: the thread's id, and the channel's for a message that opens a thread; else a
    bot that opens one thread after another would never be counted. Of more than 10,000 places the one that was quiet
    for longest is forgotten.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: OrderedDict[str, int] = OrderedDict()

    def person_wrote(self, channel_id: str) -> None:
        """A person whom :func:`may_use` lets in wrote there, to us or not: programs may go on."""
        self._counts.pop(channel_id, None)

    def take(self, channel_id: str) -> Verdict:
        """Count a program's message that :func:`admits` lets in.

        ``DENY`` for the first one beyond the limit, so that people see why nothing follows; then ``IGNORE``.
        """
        count = self._counts.pop(channel_id, 0)
        self._counts[channel_id] = count + 1
        if len(self._counts) > _THREADS_MAX:
            self._counts.popitem(last=False)
        if count < self.limit:
            return Verdict.ALLOW
        return Verdict.DENY if count == self.limit else Verdict.IGNORE
