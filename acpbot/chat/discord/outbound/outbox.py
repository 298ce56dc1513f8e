"""Everything that the bot writes, on its way to Discord: in order, once, and as soon as Discord takes it.

A message of the bot's own is a :class:`Post`: what it should say now, kept in the store until Discord shows it. Nobody
waits for a post; a :class:`ChannelQueue` for each channel delivers them, through outages of any length. New posts go
out one after the other. Edits go out one at a time in a channel, each with the newest text: an answer that grows
faster than the rate limit allows loses steps, never text.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from acpbot.aio import TaskSet, WakeableBackoff, retry
from acpbot.chat.discord.outbound.channel_queue import ChannelQueue
from acpbot.chat.discord.outbound.delivery import Delivery
from acpbot.chat.discord.outbound.post import Post
from acpbot.chat.discord.outbound.rest import Unreachable
from acpbot.logs import get_logger
from acpbot.storage.store import Store
from acpbot.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.aio import Backoff
    from acpbot.chat.discord.outbound.post import Components, OnRestart
    from acpbot.chat.discord.outbound.rest import File, Rest
    from acpbot.storage.records import PostRecord

log = get_logger(__name__)

_LENGTH_MOST: Final = 2000
_ECHOES_MOST: Final = 256


class Outbox:
    """The queues of all channels.

    ``clock``: monotonic seconds; ``wall``: Unix time by Discord's clock. ``own_id``: the bot's own user id, empty while
    it is unknown.
    ``retries``: the waits before another try, which :meth:`wake_retries` ends.
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
        on_crash: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.rest = rest
        self.backoff = backoff
        self.retries = WakeableBackoff(backoff)
        rest.on_recovery = self.wake_retries
        self._store = store or Store()
        self._wall = wall
        self._tasks = TaskSet("discord delivery", on_crash)
        self._echoes: dict[str, str] = {}
        self._delivery = Delivery(
            rest=rest,
            store=self._store,
            backoff=self.retries,
            clock=clock,
            wall=wall,
            own_id=own_id,
            tasks=self._tasks,
            echoes=self._echoes,
        )
        # A queue exists as long as it has something to deliver, or anybody has a post of it.
        self._queues: WeakValueDictionary[str, ChannelQueue] = WeakValueDictionary()

    def queue(self, channel_id: str) -> ChannelQueue:
        """The queue of a channel."""
        queue = self._queues.get(channel_id)
        if queue is None:
            queue = self._queues[channel_id] = ChannelQueue(channel_id, self._delivery)
        return queue

    def post(
        self,
        channel_id: str,
        content: str,
        *,
        components: Components = (),
        file: File | None = None,
        reply_to: str | None = None,
        pings: str | None = None,
        on_refused: Callable[[], object] | None = None,
        on_restart: OnRestart = "deliver",
        restart_content: str | None = None,
        ready: asyncio.Future[Any] | None = None,
        growing: bool = False,
        as_file: bool | None = None,
        on_settled: Callable[[], object] | None = None,
    ) -> Post:
        """A new message, after those that were posted to the channel before; cut where it is too long for one.

        ``pings``: the only user whom it notifies, where it mentions that user or replies to a message of theirs.
        ``on_restart`` and ``restart_content`` hold until :meth:`Post.show` is called with ``last``. ``ready``: by then
        :meth:`Post.show` has said what to post. ``growing``: more text follows, until that is called with ``last``.
        ``as_file``: where Discord refuses the text, it goes as a file; ``None``: unless there are ``components``.
        """
        queue = self.queue(channel_id)
        post = Post(
            channel_id,
            (shorten(content, _LENGTH_MOST), components),
            store=self._store,
            on_change=queue.update,
            created_at=self._wall(),
            file=file,
            reply_to=reply_to,
            pings=pings,
            on_refused=on_refused,
            on_restart=on_restart,
            restart_content=restart_content,
            ready=ready,
            growing=growing,
            as_file=not components if as_file is None else as_file,
        )
        post.on_settled = on_settled
        queue.add(post)
        return post

    def react(self, channel_id: str, message_id: str, emoji: str, *, add: bool) -> None:
        """Put a reaction on a message or take it off: see :meth:`SideTasks.react`."""
        self.queue(channel_id).react(message_id, emoji, add=add)

    def deny(self, channel_id: str, message_id: str, emoji: str) -> None:
        """Put a reaction on a stranger's message: see :meth:`SideTasks.deny`."""
        self.queue(channel_id).deny(message_id, emoji)

    def recover(self, records: Sequence[PostRecord]) -> None:
        """Finish the posts of an earlier run of the daemon."""
        for record in records:
            if record.fate == "leave" and record.components == b"[]":
                self._store.post_settled(record.nonce)
            else:
                queue = self.queue(record.channel_id)
                queue.restore(Post.from_record(record, store=self._store, on_change=queue.update))

    async def message(self, channel_id: str, message_id: str) -> dict[str, Any]:
        """A message as it is now, through outages of any length. Raises Refused."""
        return await retry(partial(self.rest.message, channel_id, message_id), on=(Unreachable,), backoff=self.retries)

    def confirm(self, nonce: str, message_id: str) -> None:
        """Note that the gateway reports a message of ours: it exists even where the request's answer is lost."""
        self._echoes[nonce] = message_id
        if len(self._echoes) > _ECHOES_MOST:
            del self._echoes[next(iter(self._echoes))]

    def is_at(self, post: Post, message_id: str) -> bool:
        """Whether the post is this message, by the gateway's report where Discord's answer has not come yet."""
        return message_id in {post.message_id, self._echoes.get(post.nonce)}

    def wake_retries(self) -> None:
        """Discord can be reached again: whatever waits before another try makes it now."""
        self.retries.wake()

    async def flush(self, seconds: float) -> bool:
        """Wait up to ``seconds`` until everything is delivered; return whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(0)  # a turn that has just ended brings its queue up to date in the next step
                while self._tasks:
                    await self._tasks.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Deliver nothing more."""
        await self._tasks.cancel()
