"""A conversation over ``chat.*`` of the wire: what is asked, what comes back, whose turn it is. No terminal here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from acpctl.exit_codes import FAILED, TIMED_OUT, Failure, Refused
from acpctl.text import clean, clean_lines, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.client import Connection, Message

_YES: Final = ("allow_once", "allow_always")
_NO: Final = ("reject_once", "reject_always")
_TICK: Final = 1.0  # seconds: what is shown of a running turn
_IN_TURN: Final = frozenset({"busy", "waiting", "stuck"})


class Option(NamedTuple):
    """One answer to a permission request."""

    option_id: str
    name: str
    kind: str


class Ask(NamedTuple):
    """An open permission request."""

    request: str
    title: str
    options: tuple[Option, ...]
    timeout_seconds: float | None

    def of_kind(self, kinds: tuple[str, ...]) -> Option | None:
        """The option of the first of ``kinds`` that there is."""
        return next((option for kind in kinds for option in self.options if option.kind == kind), None)

    @property
    def rejection(self) -> Option | None:
        """The mildest rejection on offer."""
        return self.of_kind(_NO)

    def chosen(self, answer: str) -> Option | None:
        """The option that a person means: its number, its id, name or kind, or y and n."""
        word = answer.strip().casefold()
        if word.isascii() and word.isdigit() and len(word) < 4:  # noqa: PLR2004 - a number of an option
            index = int(word) - 1
            return self.options[index] if 0 <= index < len(self.options) else None
        for option in self.options:
            if word in {option.option_id.casefold(), option.name.casefold(), option.kind}:
                return option
        if word in {"y", "yes"}:
            return self.of_kind(_YES)
        return self.rejection if word in {"n", "no"} else None


class Tool(NamedTuple):
    """A tool call as far as it is known; ``status`` as in ACP: pending, in_progress, completed, failed."""

    title: str
    status: str
    since: float

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in {"completed", "failed"}


class Face(Protocol):
    """Who shows a conversation to a person. Texts are safe to print."""

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """A turn runs now; ``own``: its prompt was said here."""

    def text(self, delta: str) -> None:
        """The answer has grown."""

    def thought(self, delta: str) -> None:
        """The agent thinks aloud."""

    def tool(self, tool: Tool, *, new: bool) -> None:
        """A tool call is ``new``, or has changed its status or title."""

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """The agent's plan, as (status, content)."""

    def asked(self, ask: Ask) -> None:
        """A permission is wanted."""

    def ask_ended(self, ask: Ask, outcome: str) -> None:
        """It no longer is: ``selected``, ``cancelled``, ``expired``."""

    def notice(self, text: str) -> None:
        """The daemon says a sentence of its own."""

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """A turn is over, all of its text has been given; an ``own`` one may never have started."""

    def queued(self, position: int) -> None:
        """What was said last is queued behind ``position`` turns."""

    def refused(self, method: str, failure: Failure) -> None:
        """The daemon did not do what ``method`` asked for; ``failure`` says why."""

    def told(self, text: str) -> None:
        """An answer to something that was asked here."""


class Talk:
    """One thread's conversation. ``taking`` is called with every message; the rest asks for something."""

    def __init__(self, connection: Connection, thread: str, face: Face, *, timeout: float) -> None:
        self.thread = thread
        self.row: Message = {}
        self.busy = False
        self.since = time.monotonic()
        self.asks: dict[str, Ask] = {}
        self.tools: dict[str, Tool] = {}
        self.pending: list[str] = []
        self._connection = connection
        self._face = face
        self._timeout = timeout
        self._waiting: dict[int, _Question] = {}
        self._text = ""  # of the running turn, as it was told: what is shown is made safe piece by piece
        self._started = False
        self._joined = False
        self._own = False
        self._whole = False
        self._answered: set[str] = set()

    # What a person does.

    def open(self, agent: str | None) -> None:
        """Open the thread. Raises ``Failure``."""
        params = {"thread": self.thread, **({"agent": agent} if agent else {})}
        session = self._connection.call("chat.open", params).get("session")
        self.row = session if isinstance(session, dict) else {}
        # A turn that runs already: its end will come, its beginning has passed.
        self.busy = self._started = self._joined = self.row.get("state") in _IN_TURN

    def say(self, text: str) -> bool:
        """Send a prompt; whether it was sent."""
        self.pending.append(text)

        def queued(result: Message) -> None:
            position = int(number(result.get("queued")) or 0)
            if position:
                self._face.queued(position)

        def refused(_: Refused) -> None:
            if text in self.pending:
                self.pending.remove(text)

        sent = self._ask("chat.send", {"thread": self.thread, "text": text}, queued, refused)
        if not sent:
            self.pending.remove(text)
        return sent

    def cancel(self) -> None:
        """Cancel the running turn."""

        def cancelled(result: Message) -> None:
            if result.get("outcome") == "idle":
                self._face.told("no turn is running")

        self._ask("sessions.cancel", {"thread": self.thread}, cancelled)

    def permit(self, ask: Ask, option: Option) -> None:
        """Answer a permission request. Where the daemon does not take the answer, it is open again, or over."""
        self._answered.add(ask.request)

        def refused(why: Refused) -> None:
            self._answered.discard(ask.request)
            if why.kind in {"not_found", "conflict"}:
                self.asks.pop(ask.request, None)

        params = {"thread": self.thread, "request": ask.request, "option": option.option_id}
        self._ask("chat.permit", params, lambda _: None, refused)

    def status(self, show: Callable[[Message], None]) -> None:
        """Get the thread's session."""

        def got(result: Message) -> None:
            session = result.get("session")
            show(session if isinstance(session, dict) else self.row)

        self._ask("sessions.get", {"thread": self.thread}, got)

    def leave(self) -> None:
        """Tell the daemon that nobody listens any more; it also notices by itself."""
        self._connection.send("chat.leave", {"thread": self.thread})

    # What comes.

    @property
    def waits(self) -> bool:
        """Whether something will change without anybody doing anything: a turn runs, or an answer is to come."""
        return self.busy or bool(self.pending) or bool(self._waiting)

    @property
    def open_asks(self) -> list[Ask]:
        """The permission requests that nobody has answered here."""
        return [ask for ask in self.asks.values() if ask.request not in self._answered]

    def taking(self, messages: list[Message]) -> None:
        """Take what came; the face is told."""
        for message in messages:
            params = message.get("params")
            if "method" not in message:
                self._answer(message)
            elif message["method"] == "chat.event" and isinstance(params, dict) and params.get("thread") == self.thread:
                self._event(params)

    def patience(self) -> float | None:
        """For how many seconds nothing can change unless something comes; ``None``: for ever."""
        if not self.waits:
            return None
        now = time.monotonic()
        return min([_TICK, *(max(0.0, question.deadline - now) for question in self._waiting.values())])

    def late(self) -> None:
        """Raise ``Failure`` (exit 7) where an answer is overdue."""
        now = time.monotonic()
        for question in self._waiting.values():
            if now > question.deadline:
                message = f"cannot get an answer to {question.method} within {self._timeout:g} s; look at acpbot's log"
                raise Failure(message, TIMED_OUT)

    def _ask(
        self,
        method: str,
        params: Message,
        done: Callable[[Message], None],
        refused: Callable[[Refused], None] | None = None,
    ) -> bool:
        self._connection.renew()
        try:
            request = self._connection.send(method, params)
        except Failure as failure:
            if failure.code != FAILED:
                raise
            self._face.refused(method, failure)  # too long: nothing was sent
            return False
        self._waiting[request] = _Question(method, time.monotonic() + self._timeout, done, refused)
        return True

    def _answer(self, message: Message) -> None:
        question = self._waiting.pop(message.get("id", 0), None)
        method = question.method if question else "a request"
        try:
            result = self._connection.result(message, method)
        except Refused as refused:
            if question is not None and question.refused is not None:
                question.refused(refused)
            self._face.refused(method, refused)
            return
        if question is not None:
            question.done(result)

    def _event(self, event: Message) -> None:
        handler: Callable[[Message], None] | None = getattr(self, f"_on_{event.get('type')}", None)
        if handler is not None:
            handler(event)

    def _on_turn_start(self, event: Message) -> None:
        prompt = event.get("prompt")
        if self._started and not self._joined:
            self._whole = True  # what was missed comes again, as one text
            return
        self.busy = self._started = True
        self._joined = self._whole = False
        self.since = time.monotonic()
        self._text = ""
        said = next((text for text in self.pending if _same(text, prompt)), None)
        self._own = said is not None
        if said is not None:
            self.pending.remove(said)
        self._face.turn_started(clean_lines(prompt if said is None else said), own=self._own)

    def _on_text(self, event: Message) -> None:
        delta = event.get("text")
        if not isinstance(delta, str):
            return
        if self._whole:
            self._whole = False
            self._catch_up(delta)
        elif delta:
            self._text += delta
            self._face.text(clean_lines(delta))

    def _catch_up(self, whole: str) -> None:
        """Give what of ``whole`` was not given yet; all of it, and saying so, where it begins otherwise."""
        if self._text.startswith(whole):
            return
        if not whole.startswith(self._text):
            self._face.notice("Some output was missed; the whole answer:")
            self._text = ""
        self._face.text(clean_lines(whole[len(self._text) :]))
        self._text = whole

    def _on_thought(self, event: Message) -> None:
        if delta := clean_lines(event.get("text")):
            self._face.thought(delta)

    def _on_tool(self, event: Message) -> None:
        name = str(event.get("tool_call_id"))
        before = self.tools.get(name)
        title = clean(event.get("title")) or (before.title if before else "a tool")
        status = clean(event.get("status")) or (before.status if before else "pending")
        tool = Tool(title, status, before.since if before else time.monotonic())
        if tool != before:
            self.tools[name] = tool
            self._face.tool(tool, new=before is None)

    def _on_plan(self, event: Message) -> None:
        entries = event.get("entries")
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        self._face.plan([(clean(entry.get("status")), clean(entry.get("content"))) for entry in found])

    def _on_permission(self, event: Message) -> None:
        request = str(event.get("request"))
        if request in self.asks:
            return
        options = event.get("options")
        found = [option for option in options if isinstance(option, dict)] if isinstance(options, list) else []
        offered = tuple(
            Option(str(option.get("option_id")), clean(option.get("name")), clean(option.get("kind")))
            for option in found
        )
        title = clean(event.get("title")) or "a tool"
        self.asks[request] = ask = Ask(request, title, offered, number(event.get("timeout_seconds")))
        self._face.asked(ask)

    def _on_permission_end(self, event: Message) -> None:
        request = str(event.get("request"))
        ask = self.asks.pop(request, None)
        self._answered.discard(request)
        if ask is not None:
            self._face.ask_ended(ask, clean(event.get("outcome")))

    def _on_notice(self, event: Message) -> None:
        self._face.notice(clean(event.get("text")))

    def _on_session(self, event: Message) -> None:
        if isinstance(event.get("session"), dict):
            self.row = event["session"]

    def _on_turn_end(self, event: Message) -> None:
        whole = event.get("text")
        own = self._own
        if not self._started and self.pending:
            self.pending.pop(0)  # it was queued, and never ran
            own = True
        elif isinstance(whole, str) and not self._joined and whole.rstrip() != self._text.rstrip():
            self._catch_up(whole)
        self.busy = self._started = self._joined = self._own = False
        self._face.turn_ended(clean(event.get("stop_reason")), clean(event.get("error")), own=own)
        self.tools.clear()


class _Question(NamedTuple):
    """A request whose answer has not come."""

    method: str
    deadline: float
    done: Callable[[Message], None]
    refused: Callable[[Refused], None] | None


def _same(said: str, prompt: object) -> bool:
    return isinstance(prompt, str) and said.split() == prompt.split()
