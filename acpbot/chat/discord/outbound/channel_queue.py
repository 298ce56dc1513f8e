"""One channel's deliveries: posts, edits, and small chores (reactions, deletions), each in a task of its own.

The tasks live as long as there is something to deliver, and so does the lane. An edit carries the newest text at the
moment in which it may be sent; a post says the same in every try, since the first may have made it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from acpbot.chat.discord.inbound.read_cursor import snowflake
from acpbot.chat.discord.outbound.rest import ARCHIVED, Refused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.outbound.outbox import Components, Outbox, Post

log = get_logger(__name__)
T = TypeVar("T")

NONCE_SECONDS: Final = 120.0
"""How long Discord surely knows a nonce ('the past few minutes'); later a look at the channel decides."""

UNSURE: Final = "⚠️ My last message may be here twice: I may not read this channel's history, to see if it had arrived."
REFUSALS_MOST: Final = 3
"""Edits of a message that Discord refuses before no more are tried: such as of one that somebody has deleted."""

_SKEW_SECONDS: Final = 60.0
_LOST_SKEW_SECONDS: Final = 10.0


class _Worker:
    """Runs ``step`` again and again until it says that nothing is left; woken, it begins anew."""

    def __init__(self, step: Callable[[], Awaitable[bool]], name: str, rested: Callable[[], None]) -> None:
        self._step = step
        self._name = name
        self._rested = rested
        self.task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self.task is not None

    def wake(self) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self._run(), name=self._name)

    async def _run(self) -> None:
        try:
            while await self._guarded():
                pass
        finally:
            self.task = None
            self._rested()

    async def _guarded(self) -> bool:
        try:
            return await self._step()
        except Exception:
            # What it was about is lost, and in the log; what comes after must not be lost with it.
            log.exception("discord_delivery_crashed", task=self._name)
            return True


class ChannelQueue:
    """A channel's lane."""

    def __init__(self, outbox: Outbox, channel_id: str) -> None:
        self.channel_id = channel_id
        self._outbox = outbox
        self._rest = outbox.rest
        self._unsent: deque[Post] = deque()
        self._dirty: dict[Post, None] = {}
        self._chores: deque[tuple[str, str, bool]] = deque()
        self._gone: deque[tuple[Post, str]] = deque()
        self._lost: set[Post] = set()
        self._unsure = False
        self._sources: dict[Callable[[], None], None] = {}
        self._last_id: str | None = None
        self._edit_failures = 0
        self._hurry = asyncio.Event()
        self._sender = _Worker(self._send_next, f"discord send {channel_id}", self._rested)
        self._editor = _Worker(self._edit_next, f"discord edit {channel_id}", self._rested)
        self._chorer = _Worker(self._next_chore, f"discord react {channel_id}", self._rested)

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return [worker.task for worker in (self._sender, self._editor, self._chorer) if worker.task is not None]

    def add(self, post: Post) -> None:
        """Deliver it after those before it, and after what is there to be seen by now."""
        self.bring_up_to_date()
        self._unsent.append(post)
        self._sender.wake()

    def recover(self, post: Post, *, retract: bool) -> None:
        """Take up a post of an earlier life: nobody knows what it says, nor, without a message id, if it stands."""
        if post.message_id is None:
            post.retracted = retract
            self._lost.add(post)
            self._unsent.append(post)
            self._sender.wake()
        elif retract:
            post.retract()
        else:
            self.changed(post)

    def refresh(self, source: Callable[[], None], *, urgent: bool) -> None:
        """Run it before the next delivery."""
        self._sources[source] = None
        if urgent:
            self._hurry.set()
        if not self._sender.busy:  # else it looks by itself once its post is sent
            self._editor.wake()

    def react(self, message_id: str, emoji: str, *, add: bool) -> None:
        """Do it after the reactions before it; one that nobody has seen yet is not made for being taken off."""
        chore, opposite = (message_id, emoji, add), (message_id, emoji, not add)
        if opposite not in self._chores:
            self._chores.append(chore)
            self._chorer.wake()
            return
        at = self._chores.index(opposite)
        del self._chores[at]
        # The one that came after it takes its place, so that there is never none.
        after = next((later for later in list(self._chores)[at:] if later[0] == message_id and later[2]), None)
        if after is not None:
            self._chores.remove(after)
            self._chores.insert(at, after)

    def changed(self, post: Post) -> None:
        """See whether there is something to be done about it."""
        if post.retracted:
            self._dirty.pop(post, None)
            if post.message_id is not None:
                self._gone.append((post, post.message_id))
                post.message_id = None
                self._chorer.wake()
        elif post.settled and not post.held:
            self._dirty.pop(post, None)
            self._outbox.forget(post)
        elif post.message_id is not None and not post.held and post.failed is None and post.shown != post.wanted:
            self._dirty[post] = None
            if post.urgent:
                self._hurry.set()
            self._editor.wake()
        else:
            self._dirty.pop(post, None)
        self._rested()

    def _rested(self) -> None:
        if not self.tasks():
            self._outbox.idle(self)

    def bring_up_to_date(self) -> None:
        """Run the sources."""
        while self._sources:
            source = next(iter(self._sources))
            del self._sources[source]
            source()

    # New posts.

    async def _send_next(self) -> bool:
        self.bring_up_to_date()
        if not self._unsent:
            return False
        post = self._unsent.popleft()
        content, components = post.wanted
        if post.sent != content and post not in self._lost:
            post.sent = content
            self._outbox.keep(post)
        await self._outbox.durable()
        if post in self._lost:
            return await self._send_lost(post)
        if post.retracted:
            self._outbox.forget(post)
            return True
        since = self._after(self._outbox.wall() - _SKEW_SECONDS)
        try:
            post.message_id = await self._deliver(post, content, components, since, self._outbox.clock())
        except Refused as error:
            if post.reply_to is None:
                self._refused(post, error)
            else:  # that may be what is not allowed: it takes the right to read the history
                post.reply_to = None
                self._unsent.appendleft(post)
            return True
        self._last_id = post.message_id
        self._own_up(sent=True)
        post.shown = content, components
        post.file = None
        self._outbox.keep(post)
        self.changed(post)
        return True

    async def _send_lost(self, post: Post) -> bool:
        """Post what an earlier life may have posted already, with these words or, while it grew, with others.

        As long as Discord knows its nonce, a second one is not made; later, or to take it away, its words must do.
        """
        found = None
        since, age = self._after(post.created_at - _LOST_SKEW_SECONDS), self._outbox.wall() - post.created_at
        try:
            if post.retracted or age >= NONCE_SECONDS:
                found = await self._found(post, since)
            if found is None and not post.retracted:
                found = await self._deliver(post, *post.wanted, since, self._outbox.clock() - age)
        except Refused as error:
            self._refused(post, error)
            return True
        self._own_up(sent=not post.retracted)
        self._lost.discard(post)
        post.message_id = found
        post.file = None
        if found is None:
            self._outbox.forget(post)
        else:
            self._last_id = found
            self._outbox.keep(post)
            self.changed(post)
        return True

    def _own_up(self, *, sent: bool) -> None:
        """What was sent although nobody could see whether it stood may be there twice."""
        unsure, self._unsure = self._unsure, False
        if unsure and sent:
            self._outbox.post(self.channel_id, UNSURE)

    def _after(self, seconds: float) -> str:
        """After which message one that has yet to be found stands: those of a lane are made in their order."""
        return self._last_id or str(snowflake(seconds))

    async def _found(self, post: Post, since: str) -> str | None:
        """As :meth:`_find`, through outages of any length."""
        failures = 0
        while True:
            try:
                return await self._find(post, since)
            except Unreachable as error:
                failures += 1
                self._note("find", error, failures)
                await self._outbox.pause(failures)

    async def _deliver(self, post: Post, content: str, components: Components, since: str, began: float) -> str:
        """Send it until it stands. What it says is the same in every try, as the first may have made it.

        The first was, by this life or an earlier one, not before ``began``, by the clock, and where it has made the
        message, that is found ``since``.
        """
        failures = 0
        while True:
            try:
                if failures and self._outbox.clock() - began >= NONCE_SECONDS:
                    found = await self._find(post, since)
                    if found is not None:
                        return found
                return await self._rest.send(
                    self.channel_id,
                    content,
                    nonce=post.nonce,
                    components=components,
                    file=post.file,
                    reply_to=post.reply_to,
                )
            except Unreachable as error:
                failures += 1
                self._note("send", error, failures)
                if (echo := self._outbox.echo(post.nonce)) is not None:
                    return echo
                await self._outbox.pause(failures)
                if (echo := self._outbox.echo(post.nonce)) is not None:
                    return echo

    async def _find(self, post: Post, since: str) -> str | None:
        """The message, where an earlier try has made it after all; by now its nonce may be forgotten."""
        words = {post.sent.strip(), post.content.strip()}
        try:
            found = await self._rest.posted_since(self.channel_id, since)
        except Refused:  # it may be twice then, and is told to be; not to send it might lose it
            self._unsure = True
            return None
        files = [] if post.file is None else [_letters(post.file.filename)]
        for message in found:
            ours = message["author"]["id"] == self._outbox.own_id()
            same = message["content"] in words and _files_in(message) == files
            if ours and (message.get("nonce") == post.nonce or same):
                return str(message["id"])
        return None

    # Edits.

    async def _edit_next(self) -> bool:
        self.bring_up_to_date()
        if not self._dirty:
            self._edit_failures = 0
            return False
        if not any(post.urgent for post in self._dirty) and (delay := self._rest.edit_delay(self.channel_id)):
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hurry.wait()
            self.bring_up_to_date()
        post = next((post for post in self._dirty if post.urgent), next(iter(self._dirty), None))
        if post is None or post.message_id is None:
            return True
        del self._dirty[post]
        if post.urgent:
            await self._outbox.durable()
        if post.retracted:  # meanwhile
            return True
        try:
            post.shown = await self._edit(post, post.message_id)
        except Refused as error:
            await self._edit_refused(post, error)
            return True
        except Unreachable as error:
            self._edit_failures += 1
            self._note("edit", error, self._edit_failures)
            self.changed(post)
            await self._outbox.pause(self._edit_failures)
            return True
        self._edit_failures = 0
        self.changed(post)
        return True

    async def _edit_refused(self, post: Post, error: Refused) -> None:
        """One refusal is not the end: it may be about this very text, or of a server that errs."""
        post.refusals += 1
        if post.refusals >= REFUSALS_MOST:
            self._refused(post, error)
            return
        post.shown = None
        if post.urgent:
            await self._outbox.pause(post.refusals)
            self.changed(post)

    async def _edit(self, post: Post, message_id: str) -> tuple[str, Components]:
        def latest() -> tuple[str, Components]:
            self.bring_up_to_date()
            return post.wanted

        edit = self._rest.edit
        return await self._awake(lambda: edit(self.channel_id, message_id, latest, urgent=post.urgent))

    async def _awake(self, request: Callable[[], Awaitable[T]]) -> T:
        """Do it; a thread that was archived meanwhile is woken for it."""
        try:
            return await request()
        except Refused as error:
            if error.code != ARCHIVED:
                raise
        await self._rest.change_thread(self.channel_id, archived=False)
        return await request()

    # Reactions and deletions.

    async def _next_chore(self) -> bool:
        if self._gone:
            post, gone = self._gone.popleft()
            await self._outbox.durable()  # else another life might say it again
            await self._settle(lambda: self._rest.delete(self.channel_id, gone))
            self._outbox.forget(post)
        elif self._chores:
            message_id, emoji, add = self._chores.popleft()
            await self._settle(lambda: self._rest.react(self.channel_id, message_id, emoji, add=add))
        else:
            return False
        return True

    async def _settle(self, chore: Callable[[], Awaitable[None]]) -> None:
        """Do it, however often it is tried: after the first time it may have been done, and can't just be forgotten."""
        failures = 0
        while True:
            try:
                await self._awake(chore)
            except Refused as error:
                # A reaction or a deletion that is not allowed harms nobody: the message may be gone, or the permission.
                log.debug("discord_chore_refused", channel=self.channel_id, error=str(error))
            except Unreachable as error:
                failures += 1
                self._note("chore", error, failures)
                await self._outbox.pause(failures)
                continue
            return

    # Failures.

    def _refused(self, post: Post, error: Refused) -> None:
        post.failed = error
        post.file = None
        self._lost.discard(post)
        self._outbox.forget(post)
        log.warning("discord_refused", channel=self.channel_id, error=str(error))
        if post.on_failed is not None:
            post.on_failed()

    def _note(self, what: str, error: Unreachable, failures: int) -> None:
        log.failed_try("discord_retry", failures, channel=self.channel_id, what=what, error=str(error))


def _files_in(message: dict[str, Any]) -> list[str]:
    return [_letters(file["filename"]) for file in message["attachments"]]


def _letters(name: str) -> str:
    """What Discord leaves as it is of a file's name."""
    return "".join(c for c in name if c.isascii() and c.isalnum())
