"""How Discord shows one turn: the live message as posts in the thread, reactions, typing, diffs, permission prompts."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet
from acpbot.chat.discord.outbound.reactions import STOP_EVENTS, ReactionEvent
from acpbot.chat.discord.outbound.rest import BAD_REQUEST, FILE_BYTES_MOST, File, RequestRefused, Unreachable
from acpbot.chat.place_text import place_text
from acpbot.chat.rendering.footer import footer_text
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.markdown import code, plain
from acpbot.logs import get_logger
from acpbot.text import is_blank, split_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from acpbot.acp.schema import Update
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.outbound.diff_poster import DiffPoster
    from acpbot.chat.discord.outbound.file_poster import FilePoster
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import OnRestart, Post
    from acpbot.chat.discord.outbound.reactions import ReactionUpdater
    from acpbot.chat.platform import IncomingMessage
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, Place, TurnEnd

log = get_logger(__name__)

LIMIT: Final = 2000
"""UTF-16 code units of one message's text."""

_FALLBACK_BODIES: Final = 50
_TYPING_SECONDS: Final = 8.0

NOT_SHOWN: Final = (
    "😱 Something went wrong on my side, so I can't show this answer here. What there is of it follows as a file. "
    "An admin can check the log."
)

_STOPPED: Final = {
    "cancelled": "⏹️ Cancelled.",
    "refusal": "The agent refused to go on.",
    "max_tokens": "The answer was cut: it has reached the model's limit of tokens.",
    "max_turn_requests": "The agent stopped: it has reached its limit of requests in one turn.",
}


class DiscordTurnView:
    """One turn (:class:`TurnView`). Nothing here waits: posts go to the outbox, which paces itself.

    ``diffs`` is ``None`` where file changes are not to be shown; ``footer``: show below the answer what it has taken;
    ``deleted`` holds the ids of messages that somebody has deleted lately. ``reactions`` is ``None`` where no message
    of a person is answered. ``turn_started`` and ``turn_over`` are called with the view when the turn runs, and when
    it has ended, was deferred or was refused. ``undelivered`` is called once where Discord takes no more messages in
    the thread, and ``on_crash`` where the task that shows that something is being written crashes.
    """

    def __init__(
        self,
        incoming: IncomingMessage,
        *,
        outbox: Outbox,
        reactions: ReactionUpdater | None,
        prompts: PermissionPrompts,
        diffs: DiffPoster | None,
        files: FilePoster,
        footer: bool,
        deleted: Container[str],
        turn_started: Callable[[DiscordTurnView], None],
        turn_over: Callable[[DiscordTurnView], None],
        undelivered: Callable[[DiscordTurnView, RequestRefused], None],
        on_crash: Callable[[BaseException], object] | None = None,
    ) -> None:
        self.incoming = incoming
        self.thread_id = incoming.thread_id
        self.asker_id = incoming.owner
        self.end: TurnEnd | None = None
        self._outbox = outbox
        self._queue = outbox.queue(self.thread_id)
        self._reactions = reactions
        self._prompts = prompts
        self._diffs = diffs
        self._files = files
        self._footer = footer
        self._deleted = deleted
        self._turn_started = turn_started
        self._turn_over = turn_over
        self._undelivered = undelivered
        self._live: LiveMessage | None = None
        self._on_persisted: Callable[[], None] | None = None
        self._posts: list[Post] = []
        self._queue_note: Post | None = None
        self._typing = TaskSet("discord typing", on_crash)
        self._started = False
        self._body_was_refused = False
        self._end_reported = False
        self._loss_reported = False
        self._show_failed = False
        self._reposted: set[int] = set()

    # What the chat calls.

    def on_queued(self, place: Place) -> None:
        """Reply to the user how many messages are before theirs, and keep that up to date."""
        text = f"👀 {place_text(place)}"
        if self._queue_note is None:
            self._queue_note = self._outbox.post(self.thread_id, text, reply_to=self.incoming.key, on_restart="retract")
        else:
            self._queue_note.show(text)

    def end_is_reported(self, text: str) -> None:
        """The chat posts ``text`` right after the end: the view need not repeat the error that it names."""
        if self.end is not None and self.end.error is not None and plain(self.end.error).casefold() in text.casefold():
            self._end_reported = True

    # TurnView.

    def on_started(self) -> None:
        """The turn runs now."""
        self._started = True
        self._drop_queue_note()
        self._react(ReactionEvent.THINKING)
        self._start_typing()
        self._turn_started(self)

    def on_update(self, live: LiveMessage, update: Update) -> None:
        """The live message has changed."""
        self._live = live
        if self._reactions is not None:
            self._reactions.update(update)
        if self._diffs is not None and update.kind in {"tool_call", "tool_call_update"}:
            self._diffs.show(update.body)
        self._files.show(update)
        self._queue.refresh(self._render)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """Show what it is about, with buttons."""
        self._typing.cancel_soon()
        self._react(ReactionEvent.ASKED)
        self._prompts.asked(self.thread_id, self.asker_id, ask)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """Take the buttons away."""
        self._react(ReactionEvent.ANSWERED)
        self._start_typing()
        self._prompts.ended(ask)

    def on_permission_note(self, live: LiveMessage, note: PermissionNote) -> None:
        """The live message has a line about an answer of acpbot's own."""
        del note
        self._live = live
        self._queue.refresh(self._render)

    def on_ended(self, live: LiveMessage, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        """Deliver all of it, in the next step of the event loop.

        In the present one the chat may post why the session has ended (:meth:`end_is_reported`).
        """
        self._live, self.end, self._on_persisted = live, end, on_persisted
        # First what must not be lost, whatever fails below.
        self._queue.refresh(self._render, urgent=True)
        asyncio.get_running_loop().call_soon(self._queue.bring_up_to_date)
        self._typing.cancel_soon()
        self._drop_queue_note()
        self._react(STOP_EVENTS.get(end.stop_reason, ReactionEvent.DONE))
        self._turn_over(self)

    def on_deferred(self) -> None:
        """The next run of the daemon shows the turn."""
        self._drop_queue_note()
        self._turn_over(self)

    def on_refused(self) -> None:
        """Nothing more will come."""
        self._turn_over(self)

    def _react(self, event: ReactionEvent) -> None:
        if self._reactions is not None:
            self._reactions.on(event)

    # The posts.

    def _render(self) -> None:
        """Bring the posts in line with the live message; called when something can be delivered."""
        live = self._live
        if live is None:
            return
        try:
            self._show(live)
        except Exception:
            # Broad: whatever fails here, the turn must end, and the person must get the answer or read why not.
            if not self._show_failed:
                self._show_failed = True
                log.exception("answer_not_shown", thread=self.thread_id)
            if self.end is not None:
                self._deliver_plainly(live)

    def _deliver_plainly(self, live: LiveMessage) -> None:
        """Deliver the whole text as a file: it can't be shown as messages."""
        self._live = None
        self._react(ReactionEvent.ERROR)
        self._outbox.post(self.thread_id, NOT_SHOWN)
        if not is_blank(live.text):
            self._attach(live.text)
        self._persisted()

    def _persisted(self) -> None:
        """Report that all is saved that is to be delivered; in the very step in which it is."""
        if self._on_persisted is not None:
            self._on_persisted()

    def _show(self, live: LiveMessage) -> None:
        if self.end is not None:
            self._add_end_notice(live, self.end)
            if self._body_was_refused:
                self._repost_refused()
        bodies = live.bodies()
        for index, body in enumerate(bodies):
            if index < len(self._posts):
                self._posts[index].show(body, last=self.end is not None)
            else:
                self._posts.append(self._post_body(index, body))
        for post in self._posts[len(bodies) :]:
            post.retract()
        del self._posts[len(bodies) :]
        if self.end is not None:
            overflow = live.overflow()
            if overflow is not None:
                self._attach(overflow)
            self._live = None
            self._persisted()

    def _repost_refused(self) -> None:
        """At the end, post once more what was refused, and all after it: the permission may be back."""
        for index, post in enumerate(self._posts):
            if post.error is None or post.message_id is not None:
                continue
            if index not in self._reposted:
                self._reposted.update(range(index, len(self._posts)))
                for later in self._posts[index:]:
                    later.retract()
                del self._posts[index:]
            return

    def _add_end_notice(self, live: LiveMessage, end: TurnEnd) -> None:
        live.finish()
        if end.stop_reason == "error":
            if not self._end_reported:
                live.notice(f"😱 {plain(end.error) if end.error else 'The turn failed.'}")
        elif end.stop_reason == "cancelled":
            if self._started and end.error is None:
                live.notice(_STOPPED["cancelled"])
            elif end.error is not None and not self._end_reported:
                live.notice(f"⏹️ {end.error}")
        elif end.stop_reason in _STOPPED:
            live.notice(_STOPPED[end.stop_reason])
        elif end.stop_reason != "end_turn":
            live.notice(f"The agent stopped: {code(end.stop_reason)}.")
        elif is_blank("".join(live.bodies())):
            live.notice("The agent ended its turn without saying anything.")
        if self._footer and end.facts is not None:
            live.footer(footer_text(end.facts))

    def _attach(self, rest: str) -> None:
        """Post the rest of a long answer, and only the rest, as files."""
        parts = split_bytes(rest, FILE_BYTES_MOST)
        for number, part in enumerate(parts, 1):
            name = "answer.txt" if len(parts) == 1 else f"answer-{number}.txt"
            file = File(name, part.encode())
            self._outbox.post(self.thread_id, "", file=file, on_refused=partial(self._post_as_text, part))

    def _post_body(self, index: int, body: str) -> Post:
        on_restart: OnRestart = "leave" if self.end is None else "deliver"
        refused = partial(self._body_refused, index)
        return self._outbox.post(self.thread_id, body, on_refused=refused, on_restart=on_restart)

    def _body_refused(self, index: int) -> None:
        """Discord refuses a body. Where it refuses edits, post it anew, once, unless people have deleted it."""
        self._body_was_refused = True
        post = self._posts[index]
        if post.error is None or (post.message_id is not None and post.message_id in self._deleted):
            return
        if post.error.status == BAD_REQUEST:
            self._report_loss(f"Discord refused it ({post.error})")
        elif index in self._reposted:
            self._report_undelivered(post.error)
        elif post.message_id is not None or self.end is not None:
            self._reposted.add(index)
            self._posts[index] = self._post_body(index, post.wanted[0])

    def _report_undelivered(self, error: RequestRefused) -> None:
        if not self._loss_reported:
            self._loss_reported = True
            self._react(ReactionEvent.ERROR)
            self._undelivered(self, error)

    def _report_loss(self, reason: str) -> None:
        if not self._loss_reported:
            self._loss_reported = True
            words = f"😱 A part of the answer could not be shown: {reason}."
            self._outbox.post(self.thread_id, words)

    def _post_as_text(self, rest: str) -> None:
        """Files are not allowed here: post the rest as messages, 50 at most."""
        more = LiveMessage(limit=LIMIT, max_bodies=_FALLBACK_BODIES)
        more.append(rest)
        for body in more.bodies():
            self._outbox.post(self.thread_id, body)
        left = more.overflow()
        if left:
            words = f"The last {len(left):,} characters could not be attached: I need the permission Attach Files here."
            self._outbox.post(self.thread_id, words)

    def _drop_queue_note(self) -> None:
        if self._queue_note is not None:
            self._queue_note.retract()
            self._queue_note = None

    # Typing.

    def _start_typing(self) -> None:
        if self._started and self.end is None:
            self._typing.cancel_soon()  # of two permission requests at once the first one's answer has started it again
            self._typing.start(self._keep_typing(), name=self.thread_id)

    async def _keep_typing(self) -> None:
        while True:
            try:
                await self._outbox.rest.typing(self.thread_id)
            except RequestRefused:
                return
            except Unreachable as error:
                log.debug("discord_typing_failed", thread=self.thread_id, error=str(error))
            await asyncio.sleep(_TYPING_SECONDS)
