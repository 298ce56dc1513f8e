"""The conversation as rows of a terminal: finished ones, which scroll away, and live ones, which still change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from acpctl.chat.chat_text import plan_lines, stop_text, tool_mark
from acpctl.chat.word_wrap import WrappedText
from acpctl.text import clean, clean_lines, exceeds, prefix, truncate, width
from acpctl.times import duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.chat.chat_client import ChatClient
    from acpctl.chat.chat_view import PermissionRequest, ToolCall
    from acpctl.chat.questions import Question
    from acpctl.errors import CliError
    from acpctl.render.renderer import Renderer

_MAX_ROWS_EACH: Final = 4  # live rows for running tools, and for waiting prompts


class TerminalView:
    """Collects finished rows for :meth:`take_finished`; :meth:`live_rows` are those that still change.

    ``columns`` returns how many columns a row may take. All rows are painted.
    """

    def __init__(self, out: Renderer, columns: Callable[[], int]) -> None:
        self.client: ChatClient | None = None
        self.rings = False  # the bell is due
        self._out = out
        self._columns = columns
        self._finished: list[str] = []
        self._answer = WrappedText()
        self._style = ""  # of the answer's current part
        self._plan: list[tuple[str, str]] = []
        self._shown_prompts: list[str] = []  # shown when they were typed, so not again when their turn starts
        self._hint = ""
        self._shown_permission = ""
        self._shown_question: tuple[str, int] | None = None

    # ChatView.

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """Show the prompt, unless it is shown already."""
        self._flush()
        self._answer.restart()
        self._plan = []
        if own and prompt in self._shown_prompts:
            self._shown_prompts.remove(prompt)
        else:
            self._add_prompt(">" if own else "«", prompt)

    def text(self, delta: str) -> None:
        """Append to the answer."""
        self._grow(delta, "")

    def thought(self, delta: str) -> None:
        """Append to the answer, dimmed."""
        self._grow(delta, "dim")

    def tool_call(self, call: ToolCall, *, new: bool) -> None:
        """Finish its row once it has ended; a running one is a live row."""
        del new
        self._flush()
        if call.ended:
            self._finished.append(self._tool_row(call, duration(time.monotonic() - call.started)))

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """Show it in live rows until the turn ends."""
        self._plan = entries

    def permission_requested(self, request: PermissionRequest) -> None:
        """Ring the bell; what it is for is shown once it is the first that waits."""
        del request
        self._flush()
        self.rings = True

    def permission_ended(self, request: PermissionRequest, outcome: str, reason: str) -> None:
        """Say how it ended, where that was not an answer."""
        if outcome != "selected" or reason:
            what = "closed" if outcome == "selected" else outcome
            self._add(f"permission {what}{f', {reason}' if reason else ''}: {request.summary}", "dim")

    def question_asked(self, question: Question) -> None:
        """Ring the bell; it is shown once it is the first that waits."""
        del question
        self._flush()
        self.rings = True

    def question_ended(self, question: Question, outcome: str) -> None:
        """Say how it ended, where that was not an answer."""
        if outcome not in {"accepted", "declined"}:
            self._add(f"question {outcome}: {question.summary}", "dim")

    def notice(self, text: str) -> None:
        """Show it."""
        self._add(text, "yellow")

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """Finish the live rows of the turn."""
        del own
        self._hint = ""
        self._flush()
        for call in self.client.tool_calls.values() if self.client is not None else ():
            if not call.ended:
                self._finished.append(self._tool_row(call, "not ended"))
        self._finished += [self._out.paint(line, style) for line, style in plan_lines(self._plan, self._out)]
        self._plan = []
        if reason := stop_text(stop_reason, error):
            self._add(reason, "alert" if stop_reason == "error" else "yellow")

    def queued(self, position: int) -> None:
        """Show it as a hint."""
        self.hint(f"queued, {position} ahead")

    def request_failed(self, method: str, error: CliError) -> None:
        """Show the error."""
        del method
        self._add(error.message, "red")

    def hint(self, text: str) -> None:
        """Show it in a live row until the turn ends or the user types another line."""
        self._hint = text

    # What the user did.

    def prompt_sent(self, text: str) -> None:
        """Show a prompt that was sent; one that waits is a live row until its turn starts."""
        if self.client is not None and not self.client.busy and len(self.client.pending) == 1:
            self._shown_prompts.append(text)
            self._add_prompt(">", text)

    def permission_answered(self, request: PermissionRequest, name: str) -> None:
        """Show the chosen option."""
        self._add(f"{name}: {request.summary}", "magenta")

    def question_answered(self, question: Question, answer: str) -> None:
        """Show what was answered to the step of a question; ``answer`` is empty where it was left out."""
        del question
        self._add(f"  {answer or '(nothing)'}", "magenta")

    def add_lines(self, lines: list[str] | tuple[str, ...]) -> None:
        """Show the answer to a command of the chat."""
        for line in lines:
            self._add(line, "dim")

    # Rows.

    def take_finished(self) -> list[str]:
        """The rows that have been finished since the last call."""
        self._show_permission()
        self._show_question()
        finished, self._finished = self._finished, []
        return finished

    def finish(self) -> None:
        """Finish the answer's last row."""
        self._flush()

    def live_rows(self) -> list[str]:
        """The rows between the conversation and the input line."""
        columns = self._columns()
        lines: list[tuple[str, str]] = []
        if self._answer.tail.strip():
            lines.append((self._answer.tail, self._style))
        client = self.client
        if client is None:
            return [self._out.paint(truncate(line, columns), style) for line, style in lines]
        lines += plan_lines(self._plan, self._out)
        rows = [self._out.paint(truncate(line, columns), style) for line, style in lines]
        now = time.monotonic()
        running = [call for call in client.tool_calls.values() if not call.ended]
        rows += [self._tool_row(call, duration(now - call.started)) for call in running[-_MAX_ROWS_EACH:]]
        waiting = client.pending[len(self._shown_prompts) :]
        lines = [(f"queued: {clean(text)}", "dim") for text in waiting[:_MAX_ROWS_EACH]]
        if client.open_permissions:
            request = client.open_permissions[0]
            lines.append((f"{request.question} {request.summary}", "yellow"))
            for number, option in enumerate(request.options, 1):
                lines.append((f"  {number}  {option.label}", "bold"))
        if self._hint:
            lines.append((self._hint, "dim"))
        return rows + [self._out.paint(truncate(line, columns), style) for line, style in lines]

    def label(self) -> str:
        """What is before the input, unpainted: which answers are valid, or how long the turn has run."""
        client = self.client
        if client is not None and client.open_permissions:
            return f"1-{len(client.open_permissions[0].options)}, y or n > "
        if self.shown_question:
            return f"{self.client.open_questions[0].label} > " if self.client is not None else "> "
        if client is not None and client.busy:
            return f"{duration(time.monotonic() - client.turn_started)} > "
        return "> "

    @property
    def shown_permission(self) -> str:
        """The request that is shown whole and may be answered; empty where none is."""
        return self._shown_permission

    def _show_permission(self) -> None:
        """Show all of the request that an answer is for; the next one only after it has ended."""
        request = next(iter(self.client.open_permissions), None) if self.client is not None else None
        if request is None or request.request == self._shown_permission:
            return
        self._shown_permission = request.request
        self._flush()
        columns = self._columns()
        for line in request.lines():
            self._finished += [self._out.paint(row, "yellow") for row in _cut_rows(line, columns)]

    @property
    def shown_question(self) -> tuple[str, int] | None:
        """The question, and the step of it, that is shown and may be answered; ``None`` where none is."""
        question = self._question()
        return None if question is None else self._shown_question

    def _question(self) -> Question | None:
        """The question that waits for an answer; permission requests come first."""
        client = self.client
        return None if client is None or client.open_permissions else next(iter(client.open_questions), None)

    def _show_question(self) -> None:
        question = self._question()
        if question is None or (question.request, question.step) == self._shown_question:
            return
        self._shown_question = (question.request, question.step)
        self._flush()
        columns = self._columns()
        for line in question.lines():
            self._finished += [self._out.paint(row, "yellow") for row in _cut_rows(line, columns)]

    def _tool_row(self, call: ToolCall, note: str) -> str:
        mark = tool_mark(call, self._out)
        title = truncate(call.title, self._columns() - width(mark) - width(note) - 4)
        return f"{mark} {title}  {self._out.paint(note, 'dim')}"

    def _grow(self, delta: str, style: str) -> None:
        if style != self._style:
            self._flush()
            self._style = style
        self._answer.add(delta, self._columns())
        self._take_answer_rows()

    def _flush(self) -> None:
        self._answer.end()
        self._take_answer_rows()

    def _take_answer_rows(self) -> None:
        self._finished += [self._out.paint(row, self._style) for row in self._answer.take_rows()]

    def _add(self, text: str, style: str) -> None:
        self._flush()
        self._finished += [self._out.paint(row, style) for row in _wrap(text, self._columns())]

    def _add_prompt(self, mark: str, text: str) -> None:
        self._flush()
        first = self._out.glyph(mark, ">") + " "
        rows = _wrap(clean_lines(text), self._columns() - 2)
        lines = [f"{'  ' if index else first}{row}" for index, row in enumerate(rows)]
        self._finished += ["", *(self._out.paint(line, "cyan") for line in lines)]


def _wrap(text: str, columns: int) -> list[str]:
    wrapped = WrappedText()
    wrapped.add(text, columns)
    wrapped.end()
    return wrapped.take_rows()


def _cut_rows(line: str, columns: int) -> list[str]:
    """A line as rows, with all of its white space; further rows are indented."""
    rows = []
    while exceeds(line, columns):
        row = prefix(line, columns) or line[:1]
        rows.append(row)
        line = "    " + line[len(row) :]
        if columns <= 5:  # noqa: PLR2004 - no room for the indentation
            line = line[4:]
    return [*rows, line]
