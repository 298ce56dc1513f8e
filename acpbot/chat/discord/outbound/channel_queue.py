"""The deliveries to one channel: new posts, edits, and side tasks (reactions, deletions), each kind in its own task.

A task runs as long as there is something for it to do. An edit carries the newest text at the moment at which the rate
limit lets it through. A new post says the same in every try, since the first try may have created the message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from acpbot.aio import retry
from acpbot.chat.discord.discord_time import snowflake
from acpbot.chat.discord.outbound.post import Post, PostState
from acpbot.chat.discord.outbound.rest import ARCHIVED, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.aio import TaskSet, WakeableBackoff
    from acpbot.chat.discord.outbound.post import Content
    from acpbot.chat.discord.outbound.rest import Rest
    from acpbot.storage.store import Store

log = get_logger(__name__)
T = TypeVar("T")

NONCE_SECONDS: Final = 120.0
"""How long Discord is certain to know a nonce ('the past few minutes'); later we look for the message itself."""

MAY_BE_TWICE: Final = (
    "⚠️ My last message may be here twice: I may not read this channel's history, to see if it had arrived."
)
DENIALS_MOST: Final = 3
"""Reactions to strangers' messages that wait in a channel; further ones are dropped."""

REFUSED_EDITS_MOST: Final = 3
"""Refused edits of a message before we give up: somebody may have deleted it."""

# How far this machine's clock may differ from Discord's. It is less for posts of an earlier run, which may have
# finished a post with the same words shortly before.
_CLOCK_SKEW_SECONDS: Final = 60.0
_UNCONFIRMED_SKEW_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Delivery:
    """What the queues of all channels share.

    ``clock``: monotonic seconds; ``wall``: Unix time by Discord's clock; ``own_id``: the bot's user id, empty while it
    is unknown. ``echoes``: ids of messages of ours that the gateway has reported, by nonce. ``tasks`` are those of all
    queues.
    """

    rest: Rest
    store: Store
    backoff: WakeableBackoff
    clock: Callable[[], float]
    wall: Callable[[], float]
    own_id: Callable[[], str]
    tasks: TaskSet
    echoes: dict[str, str]


class _Reaction(NamedTuple):
    """A reaction of ours to put on a message, or to take off. ``repeated``: it may be as wanted already."""

    message_id: str
    emoji: str
    add: bool
    repeated: bool = False


class ChannelQueue:
    """What is to be delivered to one channel. ``running`` are its tasks by what they do.

    They are send, edit, side task, and denial: a task of its own, so that no side task waits for one.
    """

    def __init__(self, channel_id: str, delivery: Delivery) -> None:
        self._channel_id = channel_id
        self._delivery = delivery
        self._rest = delivery.rest
        self._store = delivery.store
        self._unsent: deque[Post] = deque()
        self._edits: dict[Post, None] = {}
        self._deletions: deque[Post] = deque()
        self._reactions: deque[_Reaction] = deque()
        self._denials: deque[_Reaction] = deque()
        self._side_task: Post | _Reaction | None = None  # one that has failed, to be tried again
        self._sources: dict[Callable[[], None], None] = {}
        self._last_id: str | None = None
        self._may_be_twice = False
        self._urgent = asyncio.Event()
        self.running: dict[str, asyncio.Task[None]] = {}

    def add(self, post: Post) -> None:
        """Deliver a post after those before it, and after what the sources have to show by now."""
        self.bring_up_to_date()
        self._unsent.append(post)
        post.save()
        self._wake("send", self._send_next)

    def restore(self, post: Post) -> None:
        """Deliver a post of an earlier run: nobody knows what the message says, nor whether it exists."""
        if post.state is PostState.SENT:
            self.update(post)
            return
        self._unsent.append(post)
        self._wake("send", self._send_next)

    def refresh(self, source: Callable[[], None], *, urgent: bool = False) -> None:
        """Have ``source`` bring its posts up to date just before the next delivery; asked often, it runs once.

        ``urgent``: the next edit does not wait for the pace of progress.
        """
        self._sources[source] = None
        if urgent:
            self._urgent.set()
        if "send" not in self.running:  # that task runs the sources after its post by itself
            self._wake("edit", self._edit_next)

    def bring_up_to_date(self) -> None:
        """Run the sources now."""
        while self._sources:
            source = next(iter(self._sources))
            del self._sources[source]
            try:
                source()
            except Exception:
                # Broad: a source that fails must not keep the others, nor the posts that wait, from the channel.
                log.exception("discord_source_failed", channel=self._channel_id)

    def react(self, message_id: str, emoji: str, *, add: bool, repeated: bool = False) -> None:
        """Put a reaction on a message or take it off, in order. Two that wait and undo each other are dropped.

        ``repeated``: an earlier try, or an earlier run of the daemon, may have done the same. Then the opposite is sent
        in any case.
        """
        wanted = _Reaction(message_id, emoji, add, repeated)
        waiting = next((one for one in self._reactions if one[:3] == (message_id, emoji, not add)), None)
        if waiting is None or waiting.repeated:
            if waiting is not None:
                self._reactions.remove(waiting)
                wanted = wanted._replace(repeated=True)
            self._reactions.append(wanted)
            self._wake("side task", self._do_side_task)
            return
        at = self._reactions.index(waiting)
        del self._reactions[at]
        # The next reaction to the message takes its place, so that the message always has one.
        for later in list(self._reactions)[at:]:
            if later.message_id == message_id and later.add:
                self._reactions.remove(later)
                self._reactions.insert(at, later)
                return

    def deny(self, message_id: str, emoji: str) -> None:
        """Put a reaction on a stranger's message when nothing else waits; it is dropped where several wait already."""
        if len(self._denials) < DENIALS_MOST:
            self._denials.append(_Reaction(message_id, emoji, add=True))
            self._wake("denial", self._deny_next)

    def update(self, post: Post) -> None:
        """Plan what is left to do for a post: delete it, edit it, or forget it as it shows what is wanted for good."""
        if post.retracted:
            self._edits.pop(post, None)
            if post.message_id is not None and post.state in {PostState.SENT, PostState.REFUSED}:
                post.move_to(PostState.DELETING)
                self._deletions.append(post)
                self._wake("side task", self._do_side_task)
        elif post.state is PostState.SENT and not post.frozen and post.delivered != post.wanted:
            self._edits[post] = None
            if post.urgent:
                self._urgent.set()
            self._wake("edit", self._edit_next)
        else:
            self._edits.pop(post, None)
            shown = post.state is PostState.SENT and post.delivered == post.wanted
            if shown and not post.frozen and post.on_restart == "deliver" and post.restart_content is None:
                self._store.post_settled(post.nonce)

    # Tasks.

    def _wake(self, what: str, step: Callable[[], Awaitable[bool]]) -> None:
        if what not in self.running:
            name = f"{what} {self._channel_id}"
            self.running[what] = self._delivery.tasks.keep(partial(self._run, what, step), name=name)

    async def _run(self, what: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Await ``step()`` until it returns false, through outages of any length."""
        log_failure = partial(self._log_failure, what)
        more = True
        while more:
            try:
                more = await retry(step, on=(Unreachable,), backoff=self._delivery.backoff, on_failure=log_failure)
            except Exception:
                # Broad: a defect loses what the step was about, and must not lose what comes after it.
                log.exception("discord_delivery_crashed", channel=self._channel_id, what=what)
        del self.running[what]  # not after a crash: the task is then started again

    def _log_failure(self, what: str, error: BaseException, failures: int) -> None:
        log.failed_try("discord_retry", failures, channel=self._channel_id, what=what, error=str(error))

    # New posts.

    async def _send_next(self) -> bool:
        """Send the first post that waits, if there is one; return whether there was. Raises Unreachable: try again."""
        self.bring_up_to_date()
        if not self._unsent:
            return False
        post = self._unsent.popleft()
        try:
            return await self._deliver(post)
        except asyncio.CancelledError:  # perhaps not by us: the task is then started again, and must find the post
            self._unsent.appendleft(post)
            raise

    async def _deliver(self, post: Post) -> bool:
        if post.ready is not None:
            await asyncio.wait([post.ready])
        echo = None if post.state is PostState.QUEUED else self._delivery.echoes.get(post.nonce)
        if post.state is PostState.QUEUED and post.sent != post.wanted:
            post.sent = post.wanted
            post.save()
        await self._store.durable()  # the next run of the daemon must know of every message that exists
        if post.state is PostState.QUEUED:
            if post.retracted:
                post.move_to(PostState.DELETED)
                self._store.post_settled(post.nonce)
                return True
            post.move_to(PostState.SENDING)
            post.first_try = self._delivery.clock()
        try:
            message_id = echo or await self._send(post)
        except Unreachable:
            message_id = self._delivery.echoes.get(post.nonce)
            if message_id is None:
                self._unsent.appendleft(post)
                raise
        except RequestRefused as error:
            if post.reply_to is None:
                self._refused(post, error)
            else:  # only the reply may be refused: it takes the permission to read the history
                post.reply_to = None
                self._unsent.appendleft(post)
            return True
        self._sent(post, message_id)
        return True

    async def _send(self, post: Post) -> str | None:
        """Make the message, or find it where an earlier try may have made it; its id.

        ``None``: it was retracted, and was never made. While Discord knows the nonce, a second request makes no second
        message; later, and where it is to be deleted, we look for it.
        """
        delivery = self._delivery
        unconfirmed = post.state is PostState.UNCONFIRMED
        gone = unconfirmed and post.retracted
        if unconfirmed:
            await self._rest.logged_in()  # before that Discord's time is unknown
            age = delivery.wall() - post.created_at
            since = post.created_at - _UNCONFIRMED_SKEW_SECONDS
            if age < -_CLOCK_SKEW_SECONDS:  # the clock of that run was wrong: the message may be of any time
                age, since = NONCE_SECONDS, 0.0
        else:
            age = delivery.clock() - post.first_try
            since = delivery.wall() - age - _CLOCK_SKEW_SECONDS
        if gone or age >= NONCE_SECONDS:
            found = await self._find(post, since)
            if found is not None or gone:
                return found
        content, components = post.wanted if unconfirmed else post.sent
        return await self._rest.send(
            self._channel_id,
            content,
            nonce=post.nonce,
            components=components,
            file=post.file,
            reply_to=post.reply_to,
        )

    async def _find(self, post: Post, since: float) -> str | None:
        """The id of the message, where an earlier try has made it; after Unix time ``since`` if no other is known."""
        # The posts of a channel are made in order.
        after = self._last_id or str(snowflake(since))
        try:
            found = await self._rest.posted_since(self._channel_id, after)
        except RequestRefused:  # not to send it might lose it
            self._may_be_twice = True
            return None
        words = {post.sent[0].strip(), post.wanted[0].strip()}
        files = [] if post.file is None else [_letters(post.file.filename)]
        for message in found:
            ours = message["author"]["id"] == self._delivery.own_id()
            same = message["content"] in words and _files_in(message) == files
            if ours and (message.get("nonce") == post.nonce or same):
                return str(message["id"])
        return None

    def _sent(self, post: Post, message_id: str | None) -> None:
        """Note that a post is a message now; ``None``: that it was never made and must not be."""
        if self._may_be_twice:
            self._may_be_twice = False
            if message_id is not None:
                self._post_duplicate_warning()
        if message_id is None:
            post.move_to(PostState.DELETED)
            self._store.post_settled(post.nonce)
            return
        if post.state is PostState.SENDING:
            post.delivered = post.sent
        self._last_id = post.message_id = message_id
        post.file = None
        post.move_to(PostState.SENT)
        post.save()
        self.update(post)

    def _post_duplicate_warning(self) -> None:
        wall = self._delivery.wall()
        self.add(Post(self._channel_id, (MAY_BE_TWICE, ()), store=self._store, on_change=self.update, created_at=wall))

    def _refused(self, post: Post, error: RequestRefused) -> None:
        post.move_to(PostState.REFUSED)
        post.error = error
        post.file = None
        self._store.post_settled(post.nonce)
        log.warning("discord_refused", channel=self._channel_id, error=str(error))
        if post.on_refused is not None:
            post.on_refused()

    # Edits.

    async def _edit_next(self) -> bool:
        """Edit one post, an urgent one first; return whether there was one. Raises Unreachable: try again."""
        self.bring_up_to_date()
        post = self._most_urgent()
        if post is None:
            return False
        if not post.urgent and (delay := self._rest.edit_delay(self._channel_id)):
            self._urgent.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._urgent.wait()
            self.bring_up_to_date()
            post = self._most_urgent()
            if post is None:
                return True
        if post.urgent:
            await self._store.durable()
        self._edits.pop(post, None)
        if post.state is not PostState.SENT or post.message_id is None:  # retracted meanwhile
            return True
        latest = partial(self._latest, post)
        edit = partial(self._rest.edit, self._channel_id, post.message_id, latest, urgent=post.urgent)
        try:
            post.delivered = await self._unarchived(edit)
        except RequestRefused as error:
            await self._edit_refused(post, error)
            return True
        except (Unreachable, asyncio.CancelledError):
            self.update(post)
            raise
        self.update(post)
        return True

    def _most_urgent(self) -> Post | None:
        for post in self._edits:
            if post.urgent:
                return post
        return next(iter(self._edits), None)

    def _latest(self, post: Post) -> Content:
        self.bring_up_to_date()
        return post.wanted

    async def _edit_refused(self, post: Post, error: RequestRefused) -> None:
        """Try again, a few times: the next text may be taken, or the server has made an error."""
        post.refused_edits += 1
        post.delivered = None
        if post.state is not PostState.SENT:
            return
        if post.refused_edits >= REFUSED_EDITS_MOST:
            self._refused(post, error)
        elif post.urgent:
            await self._delivery.backoff.pause(post.refused_edits)
            self.update(post)

    async def _unarchived(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request. Where the thread is archived, reopen it and make the request again."""
        try:
            return await request()
        except RequestRefused as error:
            if error.code != ARCHIVED:
                raise
        await self._rest.change_thread(self._channel_id, archived=False)
        return await request()

    # Reactions and deletions.

    async def _do_side_task(self) -> bool:
        """Delete one post or change one reaction; return whether there was one. Raises Unreachable: try again.

        One that has failed may have taken effect all the same: nothing that comes later makes it superfluous.
        """
        task, self._side_task = self._side_task, None
        if task is None:
            if not self._deletions and not self._reactions:
                return False
            task = self._deletions.popleft() if self._deletions else self._reactions.popleft()
        request: Callable[[], Awaitable[None]]
        if isinstance(task, Post):
            await self._store.durable()  # else the next run of the daemon might post it again
            request = partial(self._rest.delete, self._channel_id, task.message_id or "")
        else:
            request = partial(self._rest.react, self._channel_id, task.message_id, task.emoji, add=task.add)
        try:
            await self._unarchived(request)
        except (Unreachable, asyncio.CancelledError):
            self._side_task = task
            raise
        except RequestRefused as error:
            # This harms nobody: the message may be gone, or the permission.
            log.debug("discord_side_task_refused", channel=self._channel_id, error=str(error))
        if isinstance(task, Post):
            task.move_to(PostState.DELETED)
            self._store.post_settled(task.nonce)
        return True

    async def _deny_next(self) -> bool:
        """React to one stranger's message, in one try, while no side task waits; return whether there was one."""
        while (side_task := self.running.get("side task")) is not None and not side_task.done():
            await asyncio.wait([side_task])
        if not self._denials:
            return False
        denial = self._denials.popleft()
        try:
            await self._rest.react(self._channel_id, denial.message_id, denial.emoji, add=True, spare=True)
        except (RequestRefused, Unreachable) as error:
            log.debug("discord_denial_lost", channel=self._channel_id, error=str(error))
        return True


def _files_in(message: dict[str, Any]) -> list[str]:
    return [_letters(file["filename"]) for file in message["attachments"]]


def _letters(name: str) -> str:
    """What Discord leaves as it is of a file's name."""
    return "".join(c for c in name if c.isascii() and c.isalnum())
