"""The deliveries to one channel: new posts and edits, each kind in its own task; and beside them the side tasks.

An edit carries the newest text at the moment at which the rate
limit lets it through. A new post says the same in every try, since the first try may have created the message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.discord.discord_time import snowflake
from acpbot.chat.discord.outbound.delivery import CRASHES_MOST, Workers
from acpbot.chat.discord.outbound.post import Post, PostState
from acpbot.chat.discord.outbound.rest import File, LibraryFailure, RequestRefused, Unreachable
from acpbot.chat.discord.outbound.side_tasks import SideTasks
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.outbound.delivery import Delivery
    from acpbot.chat.discord.outbound.post import Content

log = get_logger(__name__)

NONCE_SECONDS: Final = 120.0
"""How long Discord is certain to know a nonce ('the past few minutes'); later we look for the message itself."""

MAY_BE_TWICE: Final = (
    "⚠️ My last message may be here twice: I can't read this channel's history to check whether it arrived."
)
AS_FILE: Final = "😱 Discord didn't accept this part as a message, so here it is as a file."
NOT_TAKEN: Final = "😱 Discord didn't accept part of my message here, not even as a file."

REFUSED_EDITS_MOST: Final = 3
"""Refused edits of a message before we give up: somebody may have deleted it."""

# How far this machine's clock may differ from Discord's. It is less for posts of an earlier run, which may have
# finished a post with the same words shortly before.
_CLOCK_SKEW_SECONDS: Final = 60.0
_UNCONFIRMED_SKEW_SECONDS: Final = 10.0


class ChannelQueue(SideTasks):
    """What is to be delivered to one channel. ``running`` are its tasks by what they do.

    They are send, edit, and those of :class:`SideTasks`. ``watchers`` are called with each new post, before it waits.
    """

    def __init__(self, channel_id: str, delivery: Delivery) -> None:
        super().__init__(channel_id, delivery, Workers(channel_id, delivery))
        self._delivery = delivery
        self.running = self._workers.running
        self.watchers: list[Callable[[Post], object]] = []
        self._unsent: deque[Post] = deque()
        self._edits: dict[Post, None] = {}
        self._sources: dict[Callable[[], None], None] = {}
        self._is_running_sources = False
        self._last_id: str | None = None
        self._may_be_twice = False
        self._urgent = asyncio.Event()

    def add(self, post: Post) -> None:
        """Deliver a post after those before it, and after what the sources have to show by now."""
        self.bring_up_to_date()
        for watcher in tuple(self.watchers):
            watcher(post)
        self._unsent.append(post)
        post.save()
        self._workers.wake("send", self._send_next)

    def restore(self, post: Post) -> None:
        """Deliver a post of an earlier run: nobody knows what the message says, nor whether it exists."""
        if post.state is not PostState.SENT:
            self._unsent.append(post)
            self._workers.wake("send", self._send_next)
        elif post.on_restart == "leave":
            self.show_buttons(post.message_id or "", (), post)
        else:
            self.update(post)

    def refresh(self, source: Callable[[], None], *, urgent: bool = False) -> None:
        """Have ``source`` bring its posts up to date just before the next delivery; asked often, it runs once.

        ``urgent``: the next edit does not wait for the pace of progress.
        """
        self._sources[source] = None
        if urgent:
            self._urgent.set()
        if "send" not in self.running:  # that task runs the sources after its post by itself
            self._workers.wake("edit", self._edit_next)

    def bring_up_to_date(self) -> None:
        """Run the sources now, in order: one that posts something does not run those after it before."""
        if self._is_running_sources:
            return
        self._is_running_sources = True
        while self._sources:
            source = next(iter(self._sources))
            del self._sources[source]
            try:
                source()
            except Exception:
                # Broad: a source that fails must not keep the others, nor the posts that wait, from the channel.
                log.exception("discord_source_failed", channel=self._channel_id)
        self._is_running_sources = False

    def update(self, post: Post) -> None:
        """Plan what is left to do for a post: delete it, edit it, or forget it as it shows what is wanted for good."""
        if post.retracted:
            self._edits.pop(post, None)
            if post.message_id is not None and post.state in {PostState.SENT, PostState.REFUSED}:
                post.move_to(PostState.DELETING)
                self.delete(post)
        elif post.state is PostState.SENT and not post.frozen and post.delivered != post.wanted:
            self._edits[post] = None
            if post.urgent:
                self._urgent.set()
            self._workers.wake("edit", self._edit_next)
        else:
            self._edits.pop(post, None)
            shown = post.state is PostState.SENT and post.delivered == post.wanted
            if shown and not post.frozen and post.on_restart == "deliver" and post.restart_content is None:
                self._store.post_settled(post.nonce)
                post.settled()

    # New posts.

    async def _send_next(self) -> bool:
        """Send the first post that waits, if there is one; return whether there was. Raises Unreachable: try again."""
        self.bring_up_to_date()
        if not self._unsent:
            return False
        post = self._unsent.popleft()
        try:
            return await self._deliver(post)
        except (Unreachable, asyncio.CancelledError) as error:  # a cancelled task is perhaps started again
            self._put_back(post, error)
            raise
        except Exception as error:
            # Broad: whatever the defect is, the post goes out at another try, or is reported.
            self._put_back(post, error)
            raise

    def _put_back(self, post: Post, error: BaseException) -> None:
        """Have the next step send the post that this one has not sent; give it up after too many defects."""
        if post.state in {PostState.SENT, PostState.REFUSED, PostState.DELETED}:
            return
        if self._is_given_up(post, error):
            self._refused(post, _defect(error))
        else:
            self._unsent.appendleft(post)

    @staticmethod
    def _is_given_up(post: Post, error: BaseException) -> bool:
        """Count a failure that nobody can explain; whether there were too many."""
        known = isinstance(error, (Unreachable, asyncio.CancelledError)) and not isinstance(error, LibraryFailure)
        post.crashes += not known
        return not known and post.crashes >= CRASHES_MOST

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
                self._never_made(post)
                return True
            post.move_to(PostState.SENDING)
            post.first_try = self._delivery.clock()
        try:
            message_id = echo or await self._send(post)
        except Unreachable:
            message_id = self._delivery.echoes.get(post.nonce)
            if message_id is None:
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

        ``None``: it was never made, and is not to be: it was retracted, or an earlier run has left it as it is. While
        Discord knows the nonce, a second request makes no second message; later, and where it is to be deleted, we look
        for it.
        """
        delivery = self._delivery
        unconfirmed = post.state is PostState.UNCONFIRMED
        gone = unconfirmed and (post.retracted or post.on_restart == "leave")
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
            pings=post.pings,
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
            self._never_made(post)
            return
        is_left = post.state is PostState.UNCONFIRMED and post.on_restart == "leave"
        if post.state is PostState.SENDING:
            post.delivered = post.sent
        self._last_id = post.message_id = message_id
        post.file = None
        post.move_to(PostState.SENT)
        post.save()
        if is_left:
            self.show_buttons(message_id, (), post)
        else:
            self.update(post)

    def _post_duplicate_warning(self) -> None:
        self.add(self._own_post(MAY_BE_TWICE))

    def _never_made(self, post: Post) -> None:
        post.move_to(PostState.DELETED)
        self._store.post_settled(post.nonce)
        post.settled()

    def _refused(self, post: Post, error: RequestRefused) -> None:
        """Note that Discord does not take the post; what it says goes as a file where only its text is refused."""
        is_new = post.message_id is None
        post.move_to(PostState.REFUSED)
        post.error = error
        log.warning("discord_refused", channel=self._channel_id, error=str(error))
        content = post.wanted[0]
        if error.is_about_content and not post.growing and post.as_file and post.file is None and content.strip():
            self._deliver_as_file(content, is_new=is_new)
        if post.message_id is not None and error.is_about_content and not post.growing and post.sent[1]:
            self.show_buttons(post.message_id, ())
        post.file = None
        self._store.post_settled(post.nonce)
        if post.on_refused is not None:
            post.on_refused()
        post.settled()

    def _deliver_as_file(self, content: str, *, is_new: bool) -> None:
        """Post a text as a file: in its place among the new posts, at their end where it was one that was edited."""

        def not_taken() -> None:
            self.add(self._own_post(NOT_TAKEN, as_file=False))  # as a file, it would be refused again and again

        file = File("message.txt", content.encode(errors="replace"))
        post = self._own_post(AS_FILE, file=file, on_refused=not_taken)
        self.add(post)
        if is_new:
            self._unsent.remove(post)
            self._unsent.appendleft(post)

    def _own_post(
        self,
        text: str,
        *,
        file: File | None = None,
        on_refused: Callable[[], object] | None = None,
        as_file: bool = True,
    ) -> Post:
        return Post(
            self._channel_id,
            (text, ()),
            store=self._store,
            on_change=self.update,
            created_at=self._delivery.wall(),
            file=file,
            on_refused=on_refused,
            as_file=as_file,
        )

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
            post.delivered = await self._workers.unarchived(edit)
        except RequestRefused as error:
            await self._edit_refused(post, error)
            return True
        except (Exception, asyncio.CancelledError) as error:
            # Broad: whatever the defect is, it is tried again, or given up.
            if self._is_given_up(post, error):
                self._refused(post, _defect(error))
            else:
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
        post.save_growing()
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


def _defect(error: BaseException) -> RequestRefused:
    return RequestRefused(0, 0, f"no try has worked: {type(error).__name__}: {error}"[:300])


def _files_in(message: dict[str, Any]) -> list[str]:
    return [_letters(file["filename"]) for file in message["attachments"]]


def _letters(name: str) -> str:
    """What Discord leaves as it is of a file's name."""
    return "".join(c for c in name if c.isascii() and c.isalnum())
