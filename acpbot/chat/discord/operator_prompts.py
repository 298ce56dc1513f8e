"""Prompts of operators in Discord: a message of the bot's shows each, in its thread or as the beginning of one."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import discord

from acpbot.aio import retry
from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM
from acpbot.chat.discord.gateway.places import missing_permissions
from acpbot.chat.discord.outbound.rest import FORBIDDEN, LOCKED, NOT_FOUND, File, RequestRefused, Unreachable
from acpbot.chat.discord.turn_view import LIMIT
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.markdown import code
from acpbot.errors import Conflict, InvalidParams, NotFound, TimedOut
from acpbot.logs import get_logger
from acpbot.text import clean, shorten, units

if TYPE_CHECKING:
    from acpbot.chat.discord.access import Channels, CurrentSettings
    from acpbot.chat.discord.discord_platform import DiscordPlatform
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.chat.followed_turn import TurnFollower
    from acpbot.chat.thread_commands import CommandedEnds

log = get_logger(__name__)

BEGIN_SECONDS: Final = 30.0
"""How long Discord may take to open a thread."""
_SHOWN_MOST: Final = 1600
_TRIES: Final = 3


class ShownPrompt(NamedTuple):
    """A message that shows a prompt; ``file`` has all of it where the text does not."""

    text: str
    file: File | None = None


def shown_prompt(text: str, operator: str | None = None, *, scheduled: bool = False) -> ShownPrompt:
    """What a thread reads of an operator's prompt. ``operator``: the name that is shown; a schedule has none."""
    who = "An admin" if operator is None else f"An admin ({code(operator, 40)})"
    who, asks = ("A schedule", "A scheduled task") if scheduled else (who, f"{who} asks")
    text = clean(text).strip()
    short = shorten(text, _SHOWN_MOST)
    if "\n" not in short:
        shown = f"{asks}: {short}"
    else:
        quoted = "\n".join(f"> {line}" for line in short.split("\n"))
        shown = f"{asks}:\n{quoted}"
    if units(shown) > LIMIT:  # very many short lines
        return ShownPrompt(f"{who} sent a prompt; it's in the attached file.", _file(text))
    return ShownPrompt(shown, None if short == text else _file(text))


def _file(text: str) -> File:
    return File("prompt.txt", text.encode())


class OperatorPrompts:
    """:class:`~acpbot.chat.operator.ChannelPlatform` of Discord.

    An operator is no user of Discord, and no limit counts. Nothing about an operator's prompt notifies anybody.
    """

    platform = PLATFORM

    def __init__(
        self,
        *,
        settings: CurrentSettings,
        platform: DiscordPlatform,
        channels: Channels,
        threads: Threads,
        outbox: Outbox,
        ends: CommandedEnds,
    ) -> None:
        self._settings = settings
        self._platform = platform
        self._channels = channels
        self._threads = threads
        self._outbox = outbox
        self.ends = ends

    def ask(
        self,
        thread: str,
        text: str,
        user: str,
        *,
        agent: str | None,
        follower: TurnFollower,
        scheduled: bool = False,
        now: bool = False,
    ) -> int:
        """As :meth:`OperatorPlatform.ask`."""
        before = self._receive(thread, text, user, agent=agent, channel=None, follower=follower, now=now)
        # In the step of the event loop in which the turn is stored; and before the first part of the answer.
        shown = shown_prompt(text, scheduled=scheduled)
        without_file = partial(self._outbox.post, thread, shown.text)
        self._outbox.post(thread, shown.text, file=shown.file, on_refused=None if shown.file is None else without_file)
        return before

    def _receive(
        self,
        thread: str,
        text: str,
        user: str,
        *,
        agent: str | None,
        channel: str | None,
        follower: TurnFollower,
        now: bool = False,
    ) -> int:
        follower.thread_id = thread
        incoming = IncomingMessage(
            thread_id=thread,
            text=text,
            owner="",
            operator=user,
            key=f"operator-{secrets.token_hex(8)}",
            agent=agent,
            channel=channel,
        )
        return self._platform.conversations.receive(incoming, follower=follower, now=now)

    async def begin(
        self, channel: str, text: str, user: str, *, agent: str | None, follower: TurnFollower, scheduled: bool = False
    ) -> tuple[str, int]:
        """As :meth:`ChannelPlatform.begin`."""
        bound = self._bound_to(channel)
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                thread = await self._open(channel, text, shown_prompt(text, user, scheduled=scheduled))
        except TimeoutError:
            raise TimedOut(
                f"cannot start a thread in channel {channel}: Discord has not responded for {BEGIN_SECONDS:.0f} s; "
                "see `acpctl health`"
            ) from None
        except (RequestRefused, Unreachable) as error:
            log.warning("operator_thread_not_opened", channel=channel, error=str(error))
            raise self._not_opened(channel, error) from None
        self._channels.add_thread(thread, channel)
        return thread, self._receive(thread, text, user, agent=agent, channel=bound, follower=follower)

    async def _open(self, channel: str, text: str, shown: ShownPrompt) -> str:
        """Post the message that the thread begins with, and open the thread; its id."""
        send = partial(self._outbox.rest.send, channel, shown.text, nonce=secrets.token_hex(12), file=shown.file)
        message_id = await retry(send, on=(Unreachable,), backoff=self._outbox.retries, attempts=_TRIES)
        return await self._threads.open(channel, message_id, clean(text))

    def _bound_to(self, channel: str) -> str | None:
        """The bound channel that a thread in this channel belongs to. Raises where people could not go on there."""
        client = self._outbox.rest.client
        if client is None or client.user is None:
            raise Conflict("cannot start a thread: Discord is not connected now; see `acpctl health`")
        found = client.get_channel(int(channel)) if channel.isdecimal() and channel.isascii() else None
        if found is None:
            raise NotFound(f"cannot start a thread: the bot can't see a channel {channel[:80]!r}")
        if isinstance(found, discord.Thread):
            raise InvalidParams(f"cannot start a thread in {channel}: it is a thread itself; `acpctl send {channel}`")
        source = self._channels.source_of(found, str(client.user.id))
        if source.is_dm or not access.is_source_allowed(self._settings.discord, source):
            raise InvalidParams(
                f"cannot start a thread in channel {channel}: nobody can use the bot there; "
                "allow it in [discord] allowed_channels"
            )
        return source.bound_id

    def _not_opened(self, channel: str, error: RequestRefused | Unreachable) -> Conflict | NotFound | TimedOut:
        if isinstance(error, Unreachable):
            return TimedOut(f"cannot start a thread in channel {channel}: Discord is not responding; try again later")
        if error.status == NOT_FOUND:
            return NotFound(f"cannot start a thread: channel {channel} no longer exists")
        client = self._outbox.rest.client
        missing = missing_permissions(None if client is None else client.get_channel(int(channel)))
        if error.status == FORBIDDEN and error.code not in LOCKED and missing:
            return Conflict(f"cannot start a thread in channel {channel}: the bot lacks {', '.join(missing)} there")
        return Conflict(f"cannot start a thread in channel {channel}: Discord refuses it: {error}")

    def notice(self, thread_id: str, text: str) -> None:
        """As :meth:`OperatorPlatform.notice`."""
        self._platform.notice(thread_id, text)
