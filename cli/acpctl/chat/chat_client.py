"""One thread's conversation over the ``chat.*`` methods (docs/protocol.md): its state, requests and events."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from acpctl.chat.chat_view import Option, PermissionRequest, ToolCall
from acpctl.chat.questions import Question
from acpctl.client import IN_TURN, objects
from acpctl.errors import CliError, DaemonError
from acpctl.exit_codes import FAILED, TIMED_OUT
from acpctl.quantities import number, whole_number
from acpctl.text import clean, clean_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.chat.chat_view import ChatView
    from acpctl.chat.questions import Answer
    from acpctl.client import DaemonConnection, Message

_REDRAW_SECONDS: Final = 1.0  # a running turn shows its seconds
_COMMAND_SECONDS: Final = 25.0  # a command may wait for an agent that starts, ends, or sets an option


class ChatClient:
    """Sends requests, follows the events of the thread, and calls ``view`` for what there is to show.

    The caller reads the connection: it passes every message to :meth:`handle`, and calls :meth:`check_timeouts`.
    """

    def __init__(self, connection: DaemonConnection, thread: str, view: ChatView, *, timeout: float) -> None:
        self.thread = thread
        self.row: Message = {}
        self.recent: list[Message] = []  # the last lines of output before the thread was opened
        self.busy = False
        self.turn_started = time.monotonic()
        self.tool_calls: dict[str, ToolCall] = {}
        self.pending: list[str] = []  # prompts whose turn has not begun
        self._connection = connection
        self._view = view
        self._timeout = timeout
        self._requests: dict[int, _Request] = {}  # without a response yet
        self._permissions: dict[str, PermissionRequest] = {}  # open at the daemon
        self._questions: dict[str, Question] = {}  # open at the daemon
        self._answered: set[str] = set()  # of these, answered here
        self._text = ""  # the running turn's, as the daemon sent it
        self._started = False
        self._joined = False  # the turn ran already when this client opened the thread
        self._own = False
        self._repeats = False  # the next text event repeats the whole text

    # Requests.

    def open(self, agent: str | None, resume: str | None = None) -> None:
        """Open the thread; ``resume``: the id of a conversation that it takes up. Raises ``CliError``."""
        params = {"thread": self.thread, **({"agent": agent} if agent else {})}
        if resume:
            params["resume"] = resume
            self._connection.reset_deadline(self._timeout + _COMMAND_SECONDS)  # another session may have to end
        opened = self._connection.call("chat.open", params)
        self._connection.reset_deadline(self._timeout)
        session, self.recent = opened.get("session"), objects(opened.get("recent"))
        self.row = session if isinstance(session, dict) else {}
        # Of a turn that runs already, only the end will come.
        self.busy = self._started = self._joined = self.row.get("state") in IN_TURN

    def send_prompt(self, text: str, *, now: bool = False) -> bool:
        """Send a prompt; false where it is too long to send. ``now``: the running turn is cancelled for it."""
        self.pending.append(text)

        def on_result(result: Message) -> None:
            if position := whole_number(result.get("queued")):
                self._view.queued(position)

        def on_error(_: DaemonError) -> None:
            if text in self.pending:
                self.pending.remove(text)

        params: Message = {"thread": self.thread, "text": text, **({"now": True} if now else {})}
        sent = self._request("chat.send", params, on_result, on_error)
        if not sent:
            self.pending.remove(text)
        return sent

    def send_now(self, text: str, show: Callable[[list[str]], None]) -> bool:
        """Cancel the running turn, and send ``text`` in its place, or else what waits; whether ``text`` was sent.

        ``show`` is called with the lines of the answer where what waits is sent.
        """
        if text:
            return self.send_prompt(text, now=True)
        self.run_command("now", "", show)
        return False

    def cancel(self) -> None:
        """Cancel the running turn."""

        def on_result(result: Message) -> None:
            if result.get("outcome") == "idle":
                self._view.hint("no turn is running")

        self._request("sessions.cancel", {"thread": self.thread}, on_result)

    def answer_permission(self, permission: PermissionRequest, option: Option) -> None:
        """Answer a permission request. Where the daemon refuses the answer, the request is open again, or has ended."""
        self._answered.add(permission.request)

        def on_error(error: DaemonError) -> None:
            self._answered.discard(permission.request)
            if error.kind in {"not_found", "conflict"}:
                self._permissions.pop(permission.request, None)

        params = {"thread": self.thread, "request": permission.request, "option": option.option_id}
        self._request("chat.permit", params, lambda _: None, on_error)

    def answer_question(self, question: Question, answer: Answer) -> None:
        """Answer a question. Where the daemon refuses the answer, the question is asked again, or has ended."""
        self._answered.add(question.request)

        def on_error(error: DaemonError) -> None:
            self._answered.discard(question.request)
            question.restart()
            if error.kind in {"not_found", "conflict"}:
                self._questions.pop(question.request, None)

        params: Message = {"thread": self.thread, "request": question.request, "action": answer.action}
        if answer.content is not None:
            params["content"] = answer.content
        if not self._request("sessions.answer", params, lambda _: None, on_error):
            self._answered.discard(question.request)
            question.restart()

    def fetch_status(self, show: Callable[[Message], None]) -> None:
        """Call ``show`` with the thread's session, once the daemon has sent it."""

        def on_result(result: Message) -> None:
            session = result.get("session")
            show(session if isinstance(session, dict) else self.row)

        self._request("sessions.get", {"thread": self.thread}, on_result)

    def run_command(self, name: str, value: str, show: Callable[[list[str]], None]) -> None:
        """Have the daemon do ``/name value``; call ``show`` with the lines of its answer."""
        params = {"thread": self.thread, "name": name, **({"value": value} if value else {})}

        def on_result(result: Message) -> None:
            show(clean_lines(result.get("text")).split("\n"))

        self._request("chat.command", params, on_result, more_seconds=_COMMAND_SECONDS)

    def leave(self) -> None:
        """Close the thread for this connection. The end of the connection does the same, so a failure is ignored."""
        self._connection.reset_deadline()
        with contextlib.suppress(CliError):
            self._connection.send("chat.leave", {"thread": self.thread})

    # State.

    @property
    def waiting(self) -> bool:
        """Whether anything is to come: the end of a turn, or a response."""
        return self.busy or bool(self.pending) or bool(self._requests)

    @property
    def open_permissions(self) -> list[PermissionRequest]:
        """The permission requests that are not answered here."""
        return [request for request in self._permissions.values() if request.request not in self._answered]

    @property
    def open_questions(self) -> list[Question]:
        """The questions that are not answered here."""
        return [question for question in self._questions.values() if question.request not in self._answered]

    def seconds_until_due(self) -> float | None:
        """When to redraw and call :meth:`check_timeouts`, whether or not a message comes; ``None``: never."""
        if not self.waiting:
            return None
        now = time.monotonic()
        return min([_REDRAW_SECONDS, *(max(0.0, request.deadline - now) for request in self._requests.values())])

    def check_timeouts(self) -> None:
        """Raise ``CliError`` (exit 7) where a response is overdue."""
        now = time.monotonic()
        for request in self._requests.values():
            if now > request.deadline:
                message = f"cannot get an answer to {request.method} within {self._timeout:g} s; look at acpbot's log"
                raise CliError(message, TIMED_OUT)

    # Messages.

    def handle(self, messages: list[Message]) -> None:
        """Handle messages of the daemon; a response calls its request's functions, an event the view."""
        for message in messages:
            params = message.get("params")
            if "method" not in message:
                self._handle_response(message)
            elif message["method"] == "chat.event" and isinstance(params, dict) and params.get("thread") == self.thread:
                handler: Callable[[Message], None] | None = getattr(self, f"_on_{params.get('type')}", None)
                if handler is not None:
                    handler(params)

    def _request(
        self,
        method: str,
        params: Message,
        on_result: Callable[[Message], None],
        on_error: Callable[[DaemonError], None] | None = None,
        *,
        more_seconds: float = 0.0,
    ) -> bool:
        self._connection.reset_deadline()
        try:
            request_id = self._connection.send(method, params)
        except CliError as error:
            if error.exit_code != FAILED:
                raise
            self._view.request_failed(method, error)  # too long: nothing was sent
            return False
        deadline = time.monotonic() + self._timeout + more_seconds
        self._requests[request_id] = _Request(method, deadline, on_result, on_error)
        return True

    def _handle_response(self, message: Message) -> None:
        request = self._requests.pop(message.get("id", 0), None)
        method = request.method if request else "a request"
        try:
            result = self._connection.parse_result(message, method)
        except DaemonError as error:
            if request is not None and request.on_error is not None:
                request.on_error(error)
            self._view.request_failed(method, error)
            return
        if request is not None:
            request.on_result(result)

    def _on_turn_start(self, event: Message) -> None:
        prompt = event.get("prompt")
        if self._started and not self._joined:
            self._repeats = True  # we have missed events, so the daemon sends the whole text again
            return
        self.busy = self._started = True
        self._joined = self._repeats = False
        self.turn_started = time.monotonic()
        self._text = ""
        sent = next((text for text in self.pending if _same_words(text, prompt)), None)
        self._own = sent is not None
        if sent is not None:
            self.pending.remove(sent)
        self._view.turn_started(clean_lines(prompt if sent is None else sent), own=self._own)

    def _on_text(self, event: Message) -> None:
        delta = event.get("text")
        if not isinstance(delta, str):
            return
        if self._repeats:
            self._repeats = False
            self._show_missing(delta)
        elif delta:
            self._text += delta
            self._view.text(clean_lines(delta))

    def _show_missing(self, whole: str) -> None:
        """Show what is new in ``whole``, or all of it with a notice where it does not continue the shown text."""
        if self._text.startswith(whole):
            return
        if not whole.startswith(self._text):
            self._view.notice("Some output was missed; the whole answer:")
            self._text = ""
        self._view.text(clean_lines(whole[len(self._text) :]))
        self._text = whole

    def _on_thought(self, event: Message) -> None:
        if delta := clean_lines(event.get("text")):
            self._view.thought(delta)

    def _on_tool(self, event: Message) -> None:
        call_id = str(event.get("tool_call_id"))
        before = self.tool_calls.get(call_id)
        title = clean(event.get("title")) or (before.title if before else "a tool")
        status = clean(event.get("status")) or (before.status if before else "pending")
        call = ToolCall(title, status, before.started if before else time.monotonic())
        if call != before:
            self.tool_calls[call_id] = call
            self._view.tool_call(call, new=before is None)

    def _on_plan(self, event: Message) -> None:
        entries = objects(event.get("entries"))
        self._view.plan([(clean(entry.get("status")), clean(entry.get("content"))) for entry in entries])

    def _on_permission(self, event: Message) -> None:
        request = str(event.get("request"))
        if request in self._permissions:
            return
        options = tuple(
            Option(str(option.get("option_id")), clean(option.get("name")), clean(option.get("kind")))
            for option in objects(event.get("options"))
        )
        title = clean(event.get("title")) or "a tool"
        permission = PermissionRequest(
            request,
            title,
            options,
            number(event.get("timeout_seconds")),
            question=clean(event.get("question")) or "Allow this?",
            action=clean_lines(event.get("action")),
            withheld=clean(event.get("withheld")),
        )
        self._permissions[request] = permission
        self._view.permission_requested(permission)

    def _on_permission_end(self, event: Message) -> None:
        request = str(event.get("request"))
        permission = self._permissions.pop(request, None)
        self._answered.discard(request)
        if permission is not None:
            self._view.permission_ended(permission, clean(event.get("outcome")), clean(event.get("reason")))

    def _on_question(self, event: Message) -> None:
        question = Question(event)
        if question.request not in self._questions:
            self._questions[question.request] = question
            self._view.question_asked(question)

    def _on_question_end(self, event: Message) -> None:
        request = str(event.get("request"))
        question = self._questions.pop(request, None)
        self._answered.discard(request)
        if question is not None:
            self._view.question_ended(question, clean(event.get("outcome")))

    def _on_notice(self, event: Message) -> None:
        self._view.notice(clean(event.get("text")))

    def _on_message(self, event: Message) -> None:
        self._view.notice(clean_lines(event.get("text")))

    def _on_session(self, event: Message) -> None:
        if isinstance(event.get("session"), dict):
            self.row = event["session"]

    def _on_turn_end(self, event: Message) -> None:
        whole = event.get("text")
        own = self._own
        if not self._started and self.pending:
            self.pending.pop(0)  # it was queued and never ran
            own = True
        elif isinstance(whole, str) and not self._joined and whole.rstrip() != self._text.rstrip():
            self._show_missing(whole)
        self.busy = self._started = self._joined = self._own = False
        self._view.turn_ended(clean(event.get("stop_reason")), clean(event.get("error")), own=own)
        self.tool_calls.clear()


class _Request(NamedTuple):
    """A request without a response yet; ``deadline`` as time.monotonic()."""

    method: str
    deadline: float
    on_result: Callable[[Message], None]
    on_error: Callable[[DaemonError], None] | None


def _same_words(sent: str, prompt: object) -> bool:
    return isinstance(prompt, str) and sent.split() == prompt.split()
