"""Everything that the bot writes, on its way to Discord: in order, once, and as soon as Discord takes it.

A message of ours is a :class:`Post`: what it should say now, kept in the store until it does. Nobody waits for a post;
a lane for each channel delivers them, through outages of any length. New posts go out one after the other; edits go
out one at a time a channel, each with the newest text, so that an answer that grows faster than the rate limit allows
loses steps, never text.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.chat.discord.outbound.channel_queue import ChannelQueue
from acpbot.chat.discord.outbound.rest import File, Unreachable
from acpbot.logs import get_logger
from acpbot.storage.records import Fate, PostRecord
from acpbot.storage.store import Store
from acpbot.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from acpbot.aio import Backoff
    from acpbot.chat.discord.outbound.rest import Refused, Rest

    Components = Sequence[dict[str, Any]]

log = get_logger(__name__)

_LENGTH_MOST: Final = 2000
_ECHOES_MOST: Final = 256


class Post:
    """A message of ours that is to stand in a channel.

    ``content`` and ``components`` are what it should say; ``message_id`` is there once it stands, ``failed`` once
    Discord has refused it for good. Until it stands as it should it is kept in the store: ``fate`` is what another
    life of the daemon's does with it, and ``instead`` what it is to say then, where that is not ``content``. ``sent``
    are the words that it is sent with first.
    """

    __slots__ = (
        "_outbox",
        "channel_id",
        "components",
        "content",
        "created_at",
        "failed",
        "fate",
        "file",
        "held",
        "instead",
        "message_id",
        "nonce",
        "on_failed",
        "refusals",
        "reply_to",
        "retracted",
        "sent",
        "shown",
        "urgent",
    )

    def __init__(
        self, outbox: Outbox, channel_id: str, content: str, components: Components, *, nonce: str = ""
    ) -> None:
        self._outbox = outbox
        self.channel_id = channel_id
        self.content = content
        self.components = components
        self.file: File | None = None
        self.reply_to: str | None = None
        self.on_failed: Callable[[], None] | None = None
        self.message_id: str | None = None
        self.failed: Refused | None = None
        self.shown: tuple[str, Components] | None = None
        self.nonce = nonce or secrets.token_hex(12)
        self.created_at = outbox.wall()
        self.sent = content
        self.fate: Fate = "deliver"
        self.instead: str | None = None
        self.refusals = 0
        self.urgent = False
        self.held = False
        self.retracted = False

    @property
    def wanted(self) -> tuple[str, Components]:
        """What it should say."""
        return self.content, self.components

    @property
    def settled(self) -> bool:
        """Whether it stands as it should, for good."""
        return self.fate == "deliver" and self.instead is None and self.shown == self.wanted

    def record(self) -> PostRecord:
        """What another life needs of it."""
        components = self.components if self.instead is None else ()
        return PostRecord(
            nonce=self.nonce,
            channel_id=self.channel_id,
            fate="retract" if self.retracted else self.fate,
            content=self.content if self.instead is None else self.instead,
            components=msgspec.json.encode(components),
            file_name=None if self.file is None else self.file.filename,
            file=None if self.file is None else self.file.data,
            reply_to=self.reply_to,
            message_id=self.message_id,
            created_at=self.created_at,
            sent=self.sent,
        )

    def show(self, content: str, components: Components | None = None, *, last: bool = False) -> None:
        """Have it say this from now on; ``last``: for good, and without waiting for the pace of progress."""
        self.content = content
        if components is not None:
            self.components = components
        if last:
            self.urgent, self.fate, self.instead = True, "deliver", None
        if self.fate == "deliver" and self.instead is None:
            self._outbox.keep(self)
        self._outbox.changed(self)

    def hold(self) -> None:
        """Leave it as it stands: somebody else is about to edit it."""
        self.held = True

    def release(self, *, shown: bool) -> None:
        """Nobody else edits it any more; ``shown``: what it should say was delivered that way."""
        self.held = False
        if shown:
            self.shown = self.wanted
        self._outbox.changed(self)

    def retract(self) -> None:
        """Take it away: never sent, or deleted."""
        self.retracted = True
        self._outbox.keep(self)
        self._outbox.changed(self)


class Outbox:
    """The lanes.

    ``clock``: monotonic seconds; ``wall``: Unix time. ``own_id``: the bot's own user id, once there is one.
    """

    def __init__(
        self,
        rest: Rest,
        backoff: Backoff,
        *,
        own_id: Callable[[], str],
        store: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store or Store()
        self.rest = rest
        self.backoff = backoff
        self.clock = clock
        self.wall = wall
        self.own_id = own_id
        self._lanes: dict[str, ChannelQueue] = {}
        self._echoes: dict[str, str] = {}
        self._bell = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    # What is to be delivered.

    def post(
        self,
        channel_id: str,
        content: str,
        *,
        components: Components = (),
        file: File | None = None,
        reply_to: str | None = None,
        on_failed: Callable[[], None] | None = None,
        fate: Fate = "deliver",
        instead: str | None = None,
    ) -> Post:
        """A new message, after those that were posted to the channel before; cut where it is too long for one.

        ``fate`` and ``instead`` hold until :meth:`Post.show` says the last word.
        """
        made = Post(self, channel_id, shorten(content, _LENGTH_MOST), components)
        made.file, made.reply_to, made.on_failed = file, reply_to, on_failed
        made.fate, made.instead = fate, instead
        self.lane(channel_id).add(made)
        self.keep(made)
        return made

    def recover(self, left: Sequence[PostRecord]) -> None:
        """Bring the messages of an earlier life to the end that they were to have."""
        for record in left:
            if record.fate == "leave":
                self._store.post_settled(record.nonce)
                continue
            try:
                components = msgspec.json.decode(record.components)
            except msgspec.MsgspecError:
                log.exception("post_unreadable", channel=record.channel_id)
                components = []
            post = Post(self, record.channel_id, record.content, components, nonce=record.nonce)
            post.reply_to, post.message_id, post.created_at = record.reply_to, record.message_id, record.created_at
            post.sent = post.content if record.sent is None else record.sent
            if record.file is not None:
                post.file = File(record.file_name or "file.txt", record.file)
            post.urgent = True
            self.lane(record.channel_id).recover(post, retract=record.fate == "retract")

    def keep(self, post: Post) -> None:
        """Write down what should become of a post; of one that was refused for good there is nothing to be done."""
        if post.failed is None:
            self._store.save_post(post.record())

    async def durable(self) -> None:
        """Return once all this is on disk: nothing may stand in Discord that another life would not know of."""
        await self._store.durable()

    def forget(self, post: Post) -> None:
        """A post stands as it should, or never will."""
        self._store.post_settled(post.nonce)

    def refresh(self, channel_id: str, source: Callable[[], None], *, urgent: bool = False) -> None:
        """Have ``source`` bring its posts up to date just before the channel's next delivery; asked often, run once.

        ``urgent``: the next delivery is now.
        """
        self.lane(channel_id).refresh(source, urgent=urgent)

    def bring_up_to_date(self, channel_id: str) -> None:
        """Have all sources of a channel bring their posts up to date now."""
        self.lane(channel_id).bring_up_to_date()

    def react(self, channel_id: str, message_id: str, emoji: str, *, add: bool) -> None:
        """Put a reaction on a message or take it off, in order; the two cancel each other out while they wait."""
        self.lane(channel_id).react(message_id, emoji, add=add)

    def changed(self, post: Post) -> None:
        """A post should say something else, or be gone."""
        self.lane(post.channel_id).changed(post)

    # What is there.

    async def message(self, channel_id: str, message_id: str) -> dict[str, Any]:
        """A message as it stands, through outages of any length. Raises Refused."""
        failures = 0
        while True:
            try:
                return await self.rest.message(channel_id, message_id)
            except Unreachable:
                failures += 1
                await self.pause(failures)

    # What becomes of it.

    def confirm(self, nonce: str, message_id: str) -> None:
        """A message of ours was seen to stand: the gateway says so, even where the answer to the request is lost."""
        self._echoes[nonce] = message_id
        if len(self._echoes) > _ECHOES_MOST:
            del self._echoes[next(iter(self._echoes))]

    def echo(self, nonce: str) -> str | None:
        """The message with this nonce, where the gateway has told of it."""
        return self._echoes.get(nonce)

    def nudge(self) -> None:
        """Discord can be reached again: what waits for another try need wait no longer."""
        self._bell.set()
        self._bell = asyncio.Event()

    async def pause(self, failures: int) -> None:
        """Wait before another try, or until the next nudge."""
        try:
            async with asyncio.timeout(self.backoff.seconds(failures)):
                await self._bell.wait()
        except TimeoutError:
            return

    async def flush(self, seconds: float) -> bool:
        """Wait until everything is delivered, so long at most; whether it is."""
        if self._empty.is_set():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Deliver nothing more."""
        tasks = [task for lane in self._lanes.values() for task in lane.tasks()]
        self._lanes.clear()
        self._empty.set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def lane(self, channel_id: str) -> ChannelQueue:
        """The channel's lane; it is there as long as it has something to deliver."""
        lane = self._lanes.get(channel_id)
        if lane is None:
            lane = self._lanes[channel_id] = ChannelQueue(self, channel_id)
            self._empty.clear()
        return lane

    def idle(self, lane: ChannelQueue) -> None:
        """A lane has nothing more to deliver."""
        if self._lanes.get(lane.channel_id) is lane:
            del self._lanes[lane.channel_id]
        if not self._lanes:
            self._empty.set()
