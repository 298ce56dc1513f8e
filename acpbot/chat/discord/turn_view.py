"""How Discord shows one turn: the answer as posts in the thread, reactions, typing, diffs, permission prompts."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet
from acpbot.chat.conversation import INCOMPLETE
from acpbot.chat.discord.outbound.reactions import STOP_EVENTS, ReactionEvent
from acpbot.chat.discord.outbound.rest import FILE_BYTES_MOST, File, RequestRefused, Unreachable
from acpbot.chat.discord.turn_text import END_ICONS, NOT_SHOWN, end_text
from acpbot.chat.rendering.footer import footer_text
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.markdown import plain
from acpbot.logs import get_logger
from acpbot.text import is_blank, one_line, split_bytes
from acpbot.times import long_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from acpbot.acp.schema import Update
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
    from acpbot.chat.discord.interactions.tool_output import TurnOutput
    from acpbot.chat.discord.interactions.turn_buttons import TurnButtons
    from acpbot.chat.discord.outbound.diff_poster import DiffPoster
    from acpbot.chat.discord.outbound.file_poster import FilePoster
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Components, Post
    from acpbot.chat.discord.outbound.queue_note import QueueNote
    from acpbot.chat.discord.outbound.reactions import ReactionUpdater
    from acpbot.chat.platform import IncomingMessage
    from acpbot.chat.rendering.answer import Answer
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import PermissionNote, PermissionRequest, Place, TurnEnd

log = get_logger(__name__)

Position = tuple[int, int]
"""Of a body: the number of its live message in the answer, and its own in that."""

LIMIT: Final = 2000
"""UTF-16 code units of one message's text."""

_FALLBACK_BODIES: Final = 50
_TYPING_SECONDS: Final = 8.0
_LAST_WORDS_MAX: Final = 1500


class DiscordTurnView:
    """One turn (:class:`TurnView`). Nothing here waits: posts go to the outbox, which paces itself.

    ``diffs`` and ``output`` are ``None`` where file changes and tools are not to be shown; ``buttons`` are those below
    the answer; ``note`` says where the message waits; ``footer``: show below the answer what it has taken; ``pings``:
    whom permission requests notify, and the end of a turn that took ``notify_after()`` seconds (0: never).
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
        questions: QuestionPrompts,
        diffs: DiffPoster | None,
        files: FilePoster,
        output: TurnOutput | None,
        buttons: TurnButtons,
        note: QueueNote | None,
        footer: bool,
        pings: str | None,
        notify_after: Callable[[], float],
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
        self._questions = questions
        self._diffs = diffs
        self._files = files
        self._output = output
        self._buttons = buttons
        self._footer = footer
        self._pings = pings
        self._notify_after = notify_after
        self._deleted = deleted
        self._turn_started = turn_started
        self._turn_over = turn_over
        self._undelivered = undelivered
        self._live: Answer | None = None
        self._on_persisted: Callable[[], None] | None = None
        self._posts: dict[Position, Post] = {}
        self._is_posting = False
        self._reply_to: str | None = None
        self._note = note
        self._typing = TaskSet("discord typing", on_crash)
        self._started = False
        self._body_was_refused = False
        self._end_reported = False
        self._last_words = ""
        self._loss_reported = False
        self._show_failed = False
        self._reposted: set[Position] = set()
        self._undelivered_posts = 0
        self._all_posted = False

    # What the chat calls.

    def on_queued(self, place: Place) -> None:
        """Reply to the user how many messages are before theirs, and keep that up to date."""
        if self._note is not None:
            self.answer_by_reply()
            self._note.show(place)

    def answer_by_reply(self) -> None:
        """The message has waited: others may be between it and its answer, which is then a reply to it."""
        self._reply_to = self._message_here

    def takes_report(self, usual: str, text: str) -> bool:
        """Whether the view posts ``text`` itself, below the answer, since the end of the turn notifies somebody.

        The chat has it for the thread right after the end, in place of ``usual``: the view need not repeat the error
        that one of them names.
        """
        error = None if self.end is None else self.end.error
        if self._end_reported or error is None or plain(error).casefold() not in f"{usual} {text}".casefold():
            return False
        self._end_reported = True
        self._last_words = text if self._notifies else ""
        return bool(self._last_words)

    # TurnView.

    def on_started(self) -> None:
        """The turn runs now."""
        self._started = True
        self._buttons.turn_started()
        self._drop_queue_note()
        self._react(ReactionEvent.THINKING)
        self._start_typing()
        self._turn_started(self)

    def on_update(self, live: Answer, update: Update) -> None:
        """The answer has changed."""
        self._follow(live)
        if self._reactions is not None:
            self._reactions.update(update)
        self._queue.refresh(self._render)  # before what is posted below it
        if self._diffs is not None and update.kind in {"tool_call", "tool_call_update"}:
            self._diffs.show(update.body)
        self._files.show(update)
        if self._output is not None:
            self._output.note(update)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """Show what it is about, with buttons."""
        self._typing.cancel_soon()
        self._react(ReactionEvent.ASKED)
        if self._diffs is not None and ask.withheld is None:
            self._diffs.shown_by_request(ask.tool_call_id, ask.action.content)
        if self._output is not None:
            self._output.waits(ask.tool_call_id, on=True)
        self._prompts.asked(self.thread_id, self.asker_id, ask, pings=self._pings)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """Take the buttons away."""
        self._react(ReactionEvent.ANSWERED)
        self._start_typing()
        if self._output is not None:
            self._output.waits(ask.tool_call_id, on=False)
        self._prompts.ended(ask)

    def on_question(self, question: Question) -> None:
        """Show what the agent asks, with the means to answer."""
        self._typing.cancel_soon()
        self._react(ReactionEvent.ASKED)
        self._questions.asked(self.thread_id, self.asker_id, question, pings=self._pings)

    def on_question_closed(self, question: Question) -> None:
        """Take the buttons away."""
        self._react(ReactionEvent.ANSWERED)
        self._start_typing()
        self._questions.ended(question)

    def on_permission_note(self, live: Answer, note: PermissionNote) -> None:
        """The live message has a line about an answer of acpbot's own."""
        del note
        self._follow(live)
        self._queue.refresh(self._render)

    def on_ended(self, live: Answer, end: TurnEnd, on_persisted: Callable[[], None]) -> None:
        """Deliver all of it, in the next step of the event loop.

        In the present one the chat may post why the session has ended (:meth:`takes_report`).
        """
        self._buttons.turn_over()
        self._follow(live)
        self.end, self._on_persisted = end, on_persisted
        # First what must not be lost, whatever fails below.
        self._queue.refresh(self._render, urgent=True)
        asyncio.get_running_loop().call_soon(self._queue.bring_up_to_date)
        self._typing.cancel_soon()
        self._drop_queue_note()
        self._react(STOP_EVENTS.get(end.stop_reason, ReactionEvent.DELIVERING))
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

    def _follow(self, live: Answer) -> None:
        """Show this answer; where something else is posted in the thread, it goes on below that."""
        if self._live is None:
            self._live = live
            self._queue.watchers.append(self._posted)

    def _posted(self, post: Post) -> None:
        is_about_another = (
            post.reply_to is not None or post.on_restart == "retract"
        )  # it names the message, or goes soon
        if not (self._is_posting or is_about_another) and self._live is not None:
            self._live.close_here()

    def _unfollow(self) -> None:
        self._live = None
        if self._posted in self._queue.watchers:
            self._queue.watchers.remove(self._posted)

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

    def _deliver_plainly(self, live: Answer) -> None:
        """Deliver the whole text as a file: it can't be shown as messages."""
        self._unfollow()
        self._react(ReactionEvent.ERROR)
        self._post(NOT_SHOWN)
        if not is_blank(live.text):
            self._attach(live.text)
        self._persisted()

    def _persisted(self) -> None:
        """Report that all is saved that is to be delivered; in the very step in which it is."""
        self._notify()
        self._all_posted = True
        self._report_delivered()
        if self._on_persisted is not None:
            self._on_persisted()

    @property
    def _notifies(self) -> bool:
        """Whether a reply of its own notifies the asker that a long turn is over: an edit notifies nobody."""
        end, after = self.end, self._notify_after()
        if self._pings is None or end is None or end.facts is None or end.cancelled_by == self._pings:
            return False
        return 0 < after <= end.facts.seconds

    def _notify(self) -> None:
        """Notify the asker, where that is to be, in the message that says how the turn has ended."""
        end = self.end
        if end is None or end.facts is None or not (self._last_words or self._notifies):
            return
        who = f"<@{self._pings}>"
        if self._last_words:
            words = f"{END_ICONS.get(end.stop_reason, '⚠️')} {who} {one_line(self._last_words, _LAST_WORDS_MAX)}"
        else:
            words = f"✅ {who} Done after {long_duration(end.facts.seconds)}."
        below = () if self._posts else self._buttons.at_the_end(end)
        self._outbox.post(self.thread_id, words, components=below, reply_to=self._message_here, pings=self._pings)

    @property
    def _message_here(self) -> str | None:
        """The person's message, where it is in the thread: only there it can be replied to."""
        is_here = self.incoming.origin in {"", self.thread_id} and self.incoming.key.isdecimal()
        return self.incoming.key if is_here else None

    def _post(self, content: str, *, file: File | None = None, on_refused: Callable[[], object] | None = None) -> Post:
        """A part of the answer, for good."""
        self._undelivered_posts += 1
        return self._outbox.post(
            self.thread_id, content, file=file, on_refused=on_refused, on_settled=self._post_settled
        )

    def _post_settled(self) -> None:
        self._undelivered_posts -= 1
        self._report_delivered()

    def _report_delivered(self) -> None:
        """Show on the person's message that the answer is there, once the last part of it is."""
        if self._all_posted and not self._undelivered_posts and self.end is not None:
            self._react(STOP_EVENTS.get(self.end.stop_reason, ReactionEvent.DONE))

    def _show(self, live: Answer) -> None:
        if self.end is not None:
            self._add_end_notice(live, self.end)
            if self._body_was_refused:
                self._repost_refused()
        shown = {
            (number, index): body for number, bodies in enumerate(live.messages()) for index, body in enumerate(bodies)
        }
        if_restarted = {} if self.end is not None else live.if_interrupted()
        buttons = self._buttons.while_it_grows() if self.end is None else self._buttons.at_the_end(self.end)
        last = next(reversed(shown), None)
        for place, body in shown.items():
            at_restart = if_restarted.get(place[0]) if place[1] == 0 else None
            below = buttons if place == last else ()
            post = self._posts.get(place)
            if post is None:
                self._posts[place] = self._post_body(place, body, below, at_restart)
            elif self.end is not None:
                post.show(body, below, last=True)
            else:
                post.grow(body, at_restart, below)
            if place == last:
                self._buttons.are_below(self._posts[place])
        for place in [place for place in self._posts if place not in shown]:
            self._posts.pop(place).retract()
        if self.end is not None:
            overflow = live.overflow()
            if overflow is not None:
                self._attach(overflow)
            self._unfollow()
            self._persisted()

    def _repost_refused(self) -> None:
        """At the end, post once more what was refused, and all after it: the permission may be back.

        A text that is refused again is whole now, and goes as a file.
        """
        places = list(self._posts)
        for index, place in enumerate(places):
            error, is_there = self._posts[place].error, self._posts[place].message_id is not None
            if error is None or (is_there and not error.is_about_content):
                continue
            if place not in self._reposted:
                self._reposted.update(places[index:])
                for later in places[index:]:
                    self._posts.pop(later).retract()
            return

    def _add_end_notice(self, live: Answer, end: TurnEnd) -> None:
        """Say below the answer why it has ended, unless another message says so."""
        live.finish()
        blank = is_blank("".join(live.bodies())) and not self._files.used
        text = "" if self._end_reported else end_text(end, started=self._started, blank=blank)
        if text and self._notifies:
            self._last_words = text
        elif text:
            live.notice(" ".join(filter(None, (END_ICONS.get(end.stop_reason), text))))
        if self._footer and end.facts is not None:
            live.footer(footer_text(end.facts))

    def _attach(self, rest: str) -> None:
        """Post the rest of a long answer, and only the rest, as files."""
        parts = split_bytes(rest, FILE_BYTES_MOST)
        for number, part in enumerate(parts, 1):
            name = "answer.txt" if len(parts) == 1 else f"answer-{number}.txt"
            file = File(name, part.encode())
            self._post("", file=file, on_refused=partial(self._post_as_text, part))

    def _post_body(self, place: Position, body: str, components: Components, at_restart: str | None = None) -> Post:
        self._undelivered_posts += 1
        self._is_posting = True
        try:
            return self._outbox.post(
                self.thread_id,
                body,
                components=components,
                reply_to=self._reply_to if place == (0, 0) else None,
                on_refused=partial(self._body_refused, place),
                on_restart="leave" if self.end is None and at_restart is None else "deliver",
                restart_content=at_restart,
                growing=self.end is None,
                as_file=True,
                on_settled=self._post_settled,
            )
        finally:
            self._is_posting = False

    def _body_refused(self, place: Position) -> None:
        """Discord refuses a body. Where it refuses edits, post it anew, once, unless people have deleted it."""
        self._body_was_refused = True
        post = self._posts.get(place)
        if post is None or post.error is None:
            return
        if post.message_id is not None and post.message_id in self._deleted:
            return
        if post.error.is_about_content:
            self._react(ReactionEvent.ERROR)  # the outbox posts the text as a file, once it is whole
        elif place in self._reposted:
            self._report_undelivered(post.error)
        elif post.message_id is not None or self.end is not None:
            self._reposted.add(place)
            self._posts[place] = self._post_body(place, *post.wanted)

    def _report_undelivered(self, error: RequestRefused) -> None:
        if not self._loss_reported:
            self._loss_reported = True
            self._react(ReactionEvent.ERROR)
            self._undelivered(self, error)
            if not error.status:  # a defect, and not an answer of Discord's: the thread takes other messages
                self._outbox.post(self.thread_id, INCOMPLETE)

    def _post_as_text(self, rest: str) -> None:
        """Files are not allowed here: post the rest as messages, 50 at most."""
        more = LiveMessage(limit=LIMIT, max_bodies=_FALLBACK_BODIES)
        more.append(rest)
        for body in more.bodies():
            self._post(body)
        left = more.overflow()
        if left:
            self._react(ReactionEvent.ERROR)
            self._post(f"I couldn't attach the last {len(left):,} characters: I need the Attach Files permission here.")

    def _drop_queue_note(self) -> None:
        if self._note is not None:
            self._note.drop()

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
            self._queue.refresh(self._render)  # how long a tool runs
