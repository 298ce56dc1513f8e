"""What an agent does while no turn runs: its texts become messages of their own, and its requests are asked.

When a turn starts, the message that is open then is finished first. A permission request, or a question, stays open
beside the turn.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, Protocol

from acpbot.acp import schema
from acpbot.acp.content import attachments
from acpbot.logs import get_logger
from acpbot.sessions.paragraphs import Paragraphs
from acpbot.sessions.turn import PermissionNote, TurnEnd
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.sessions.output import OutputRing
    from acpbot.sessions.pauses import Pauses
    from acpbot.sessions.permission_requests import PermissionRequests
    from acpbot.sessions.questions import Questions
    from acpbot.sessions.turn import TurnListener

log = get_logger(__name__)

MESSAGES_MOST: Final = 10
"""Messages outside turns, between two turns and within an hour."""

CHARACTERS_MOST: Final = 65_536
"""The same for their characters."""

REQUESTS_MOST: Final = 16
"""The same for permission requests and questions."""

_WINDOW_SECONDS: Final = 3600.0
_MESSAGE_SECONDS: Final = 60.0
_TOO_MUCH: Final = PermissionNote("The agent is writing a lot unprompted, so I won't show more until you write")


class Asked(Protocol):
    """A request of the agent that people are to answer."""

    @property
    def request(self) -> str:
        """Its name."""

    def show_in(self, listener: TurnListener) -> None:
        """Have the listener ask it."""

    def show_end_in(self, listener: TurnListener) -> None:
        """Have the listener show that it needs no answer any more."""

    def refuse(self, reason: Literal["no_turn", "unshown"]) -> None:
        """Answer that nobody has been asked."""


class AfterTurn:
    """``listener``: makes the listener of one message or request, ``None`` where nobody listens to the thread.

    ``notice`` shows a note in the thread. ``clock``: monotonic seconds. ``asked``: the open requests, by their names.
    """

    def __init__(
        self,
        output: OutputRing,
        pauses: Pauses,
        *,
        clock: Callable[[], float],
        listener: Callable[[], TurnListener | None],
        notice: Callable[[PermissionNote], None],
    ) -> None:
        self.asked: dict[str, TurnListener] = {}
        self._output = output
        self._pauses = pauses
        self._clock = clock
        self._make_listener = listener
        self._notice = notice
        self._message: TurnListener | None = None
        self._paragraphs = Paragraphs()
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = 0.0
        self._begin_window()

    def _begin_window(self) -> None:
        self._since = self._clock()
        self._messages = self._requests = 0
        self._characters = 0
        self._is_told = False

    def turn_starts(self) -> None:
        """Finish the message, and count anew."""
        self.finish()
        self._begin_window()

    def update(self, update: schema.Update) -> None:
        """Handle a piece of the conversation: a text, or a file, begins a message; other kinds only change one."""
        if update.kind == "agent_message_chunk":
            self._text(update)
            return
        if self._message is None and any(file.data for file in attachments(update.kind, update.body)) and self._begin():
            self._set_timer()
        if self._message is not None:
            if update.kind == "plan":
                self.acted()
            self._show(update)

    def acted(self) -> None:
        """The agent does something else than to write: its text so far is a paragraph by itself."""
        self._paragraphs.acted()

    def _text(self, update: schema.Update) -> None:
        text = schema.chunk_text(update.body)
        if self._message is None and (is_blank(text) or not self._begin()):
            return
        if self._characters + len(text) > CHARACTERS_MOST:
            self._too_much()
            return
        self._characters += len(text)
        for piece in self._paragraphs.pieces(update):
            self._output.text(schema.chunk_text(piece.body))
            self._show(piece)
        self._set_timer()

    def _begin(self) -> bool:
        """Begin a message, unless there were too many."""
        if self._clock() - self._since >= _WINDOW_SECONDS:
            self._begin_window()
        if self._messages >= MESSAGES_MOST or self._characters >= CHARACTERS_MOST:
            self._too_much()
            return False
        self._messages += 1
        self._message = self._listener()
        self._paragraphs = Paragraphs()
        self._ends_at = asyncio.get_running_loop().time() + _MESSAGE_SECONDS
        return self._message is not None

    def _too_much(self) -> None:
        self.finish()
        if not self._is_told:
            self._is_told = True
            log.warning("unprompted_text_dropped", messages=self._messages, characters=self._characters)
            self._notice(_TOO_MUCH)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(loop.time() + self._pauses.message, self._ends_at), self.finish)

    def finish(self) -> None:
        """The message is whole, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        message, self._message = self._message, None
        if message is None:
            return
        self._output.flush()
        try:
            message.on_ended(TurnEnd("end_turn"))
        except Exception:
            # Broad: a listener's defect must not stop the session.
            log.exception("turn_listener_failed")

    def _show(self, update: schema.Update) -> None:
        try:
            if self._message is not None:
                self._message.on_update(update)
        except Exception:
            # Broad, for the same reason.
            log.exception("turn_listener_failed")

    def _listener(self) -> TurnListener | None:
        try:
            return self._make_listener()
        except Exception:
            # Broad, for the same reason.
            log.exception("turn_listener_failed")
            return None

    # Permission requests and questions.

    def may_ask(self) -> bool:
        """Whether one more request may be asked."""
        if self._clock() - self._since >= _WINDOW_SECONDS:
            self._begin_window()
        return self._requests < REQUESTS_MOST

    def ask(self, request: Asked) -> None:
        """Ask people; where nobody can be asked, the request is cancelled."""
        self._requests += 1
        listener = self._listener()
        if listener is None:
            request.refuse("no_turn")
            return
        self.asked[request.request] = listener
        try:
            request.show_in(listener)
        except Exception:
            # Broad: nobody may have seen the request.
            log.exception("turn_listener_failed")
            request.refuse("unshown")

    def cancel(self, *requests: PermissionRequests | Questions) -> bool:
        """Cancel what is open while no turn runs; whether there is something."""
        is_asked = bool(self.asked)
        for each in requests:
            each.cancel_all()
        return is_asked

    def closed(self, request: Asked) -> bool:
        """A request needs no answer any more; whether it was asked outside a turn."""
        listener = self.asked.pop(request.request, None)
        if listener is not None:
            request.show_end_in(listener)
        return listener is not None
