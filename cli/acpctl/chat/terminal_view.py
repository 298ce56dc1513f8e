"""The chat on a terminal: the conversation scrolls away above, a line is typed below; both at any time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from acpctl.chat.chat_text import TOOL_MARKS, command, help_lines, plan_lines, status_lines, stop_words
from acpctl.chat.editor import Editor
from acpctl.chat.live_region import Region, Row
from acpctl.chat.transcript import Wrapped
from acpctl.exit_codes import DONE, INTERRUPTED, Failure
from acpctl.terminal.raw_terminal import Terminal
from acpctl.text import clean_lines, duration, fit, many, width

if TYPE_CHECKING:
    from acpctl.chat.chat_client import Ask, Talk, Tool
    from acpctl.client import Connection, Message
    from acpctl.render.output import Output

_BRACKETED_PASTE: Final = ("\x1b[?2004h", "\x1b[?2004l")
_MOST_OF_ONE: Final = 4  # rows below for tools, and for prompts that wait


class TerminalFace:
    """What is said goes above; running tools, the plan and open permissions stand in the rows that are redrawn."""

    def __init__(self, out: Output, region: Region) -> None:
        self.editor = Editor()
        self.talk: Talk | None = None
        self.out = out
        self._region = region
        self._above: list[str] = []
        self._wrapped = Wrapped()
        self._style = ""
        self._plan: list[tuple[str, str]] = []
        self._shown: list[str] = []
        self._hint = ""
        self._ring = False

    # What is told (acpctl.chat.chat_client.Face).

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """Show the prompt, unless it is what was just typed."""
        self._flush()
        self._wrapped.restart()
        self._plan = []
        if own and prompt in self._shown:
            self._shown.remove(prompt)
        else:
            self._prompt(">" if own else "«", prompt)

    def text(self, delta: str) -> None:
        """Let it grow."""
        self._grow(delta, "")

    def thought(self, delta: str) -> None:
        """The same, dimmed."""
        self._grow(delta, "dim")

    def tool(self, tool: Tool, *, new: bool) -> None:
        """A tool that has ended goes above; one that runs stands below."""
        del new
        self._flush()
        if tool.over:
            took = duration(time.monotonic() - tool.since)
            self._above.append(self._tool(tool, took).painted)

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """It stands below until the turn ends."""
        self._plan = entries

    def asked(self, ask: Ask) -> None:
        """It stands below until it is answered."""
        del ask
        self._flush()
        self._ring = True

    def ask_ended(self, ask: Ask, outcome: str) -> None:
        """How it ended, where nobody here ended it."""
        if outcome != "selected":
            self._say(f"permission {outcome}: {ask.title}", "dim")

    def notice(self, text: str) -> None:
        """Say it."""
        self._say(text, "yellow")

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """All that stood below goes above."""
        del own
        self._hint = ""
        self._flush()
        for tool in self.talk.tools.values() if self.talk is not None else ():
            if not tool.over:
                self._above.append(self._tool(tool, "not ended").painted)
        self._above += [self.out.paint(line, style) for line, style in plan_lines(self._plan, self.out)]
        self._plan = []
        if words := stop_words(stop_reason, error):
            self._say(words, "alarm" if stop_reason == "error" else "yellow")

    def queued(self, position: int) -> None:
        """Say it."""
        self.told(f"queued: {many(position, 'turn')} before it")

    def refused(self, method: str, failure: Failure) -> None:
        """Say why."""
        del method
        self._say(failure.message, "red")

    def told(self, text: str) -> None:
        """Say it below, for as long as it matters: until the turn ends or something else is said."""
        self._hint = text

    # What a person does.

    def typed(self, text: str) -> None:
        """Show a prompt that was sent; one that waits is shown when its turn comes."""
        if self.talk is not None and not self.talk.busy and len(self.talk.pending) == 1:
            self._shown.append(text)
            self._prompt(">", text)

    def answered(self, ask: Ask, name: str) -> None:
        """Show what was chosen."""
        self._say(f"{ask.title}: {name}", "magenta")

    def say_lines(self, lines: list[str]) -> None:
        """Show what was asked for."""
        for line in lines:
            self._say(line, "dim")

    # Rows.

    def redraw(self) -> None:
        """Bring the terminal up to date."""
        rows = [*self._below(), self._input_row()]
        if len(rows) > self._region.height:
            rows = rows[-self._region.height :]
        above, self._above = self._above, []
        label = self._label()
        _, cursor = self.editor.view(self._region.columns - width(label))
        self._region.draw(above, rows, width(label) + cursor, ring=self._ring)
        self._ring = False

    def close(self) -> None:
        """Leave the terminal with the conversation on it and nothing below."""
        self._flush()
        self._region.draw(self._above, [], 0)
        self._above = []

    def _below(self) -> list[Row]:
        columns = self._region.columns
        rows = []
        if self._wrapped.tail.strip():
            rows.append(self._painted(fit(self._wrapped.tail, columns), self._style))
        talk = self.talk
        if talk is None:
            return rows
        rows += [self._painted(fit(line, columns), style) for line, style in plan_lines(self._plan, self.out)]
        running = [tool for tool in talk.tools.values() if not tool.over]
        now = time.monotonic()
        rows += [self._tool(tool, duration(now - tool.since)) for tool in running[-_MOST_OF_ONE:]]
        waiting = talk.pending[len(self._shown) :]
        for text in waiting[:_MOST_OF_ONE]:
            rows.append(self._painted(fit(f"queued: {clean_lines(text)}".replace("\n", " "), columns), "dim"))
        if talk.open_asks:
            ask = talk.open_asks[0]
            rows.append(self._painted(fit(f"Permission: {ask.title}", columns), "yellow"))
            for number, option in enumerate(ask.options, 1):
                rows.append(self._painted(fit(f"  {number}  {option.name or option.option_id}", columns), "bold"))
        if self._hint:
            rows.append(self._painted(fit(self._hint, columns), "dim"))
        return rows

    def _label(self) -> str:
        talk = self.talk
        arrow = ">"
        if talk is not None and talk.open_asks:
            return f"1-{len(talk.open_asks[0].options)}, y or n {arrow} "
        if talk is not None and talk.busy:
            return f"{duration(time.monotonic() - talk.since)} {arrow} "
        return f"{arrow} "

    def _input_row(self) -> Row:
        label = self._label()
        shown, _ = self.editor.view(self._region.columns - width(label))
        return Row(label + shown, self.out.paint(label, "cyan") + shown)

    def _tool(self, tool: Tool, said: str) -> Row:
        mark = self.out.glyph(*TOOL_MARKS.get(tool.status, TOOL_MARKS["in_progress"]))
        room = self._region.columns - width(mark) - width(said) - 4
        text = f"{mark} {fit(tool.title, room)}"
        return Row(f"{text}  {said}", f"{text}  {self.out.paint(said, 'dim')}")

    def _painted(self, text: str, style: str) -> Row:
        return Row(text, self.out.paint(text, style))

    def _grow(self, delta: str, style: str) -> None:
        if style != self._style:
            self._flush()
            self._style = style
        self._wrapped.add(delta, self._region.columns)
        self._take_rows()

    def _flush(self) -> None:
        self._wrapped.end()
        self._take_rows()

    def _take_rows(self) -> None:
        self._above += [self.out.paint(row, self._style) for row in self._wrapped.taken()]

    def _say(self, text: str, style: str) -> None:
        self._flush()
        wrapped = Wrapped()
        wrapped.add(text, self._region.columns)
        wrapped.end()
        self._above += [self.out.paint(row, style) for row in wrapped.taken()]

    def _prompt(self, mark: str, text: str) -> None:
        self._flush()
        glyph = self.out.glyph(mark, ">")
        wrapped = Wrapped()
        wrapped.add(text, self._region.columns - 2)
        wrapped.end()
        lines = [f"{'  ' if index else glyph + ' '}{row}" for index, row in enumerate(wrapped.taken())]
        self._above += ["", *(self.out.paint(line, "cyan") for line in lines)]


def converse(connection: Connection, talk: Talk, face: TerminalFace, region: Region, terminal: Terminal) -> int:
    """Until somebody leaves; the exit status."""
    face.talk = talk
    terminal.on_stop = region.clear
    terminal.on_resume = face.redraw
    cancelled = False
    while True:
        face.redraw()
        keys, _ = terminal.wait(talk.patience(), connection.fileno())
        for key in keys:
            if key == "ctrl-c":
                if cancelled or not talk.busy:
                    return INTERRUPTED
                cancelled = True
                face.told("cancelling the turn; Ctrl-C again leaves")
                talk.cancel()
            elif _leaves(key, talk, face):
                return DONE
        talk.taking(connection.arrived(0))
        talk.late()
        cancelled = cancelled and talk.busy


def _leaves(key: str, talk: Talk, face: TerminalFace) -> bool:
    if key == "ctrl-d" and face.editor.empty:
        return True
    line = face.editor.take(key)
    if line is None:
        return False
    face.told("")
    return not _entered(line, talk, face)


def open_terminal() -> Terminal:
    """The terminal as :func:`converse` wants it: Ctrl-C and pasted text come as keys."""
    return Terminal(begin=_BRACKETED_PASTE[0], end=_BRACKETED_PASTE[1], interrupts=False)


def _entered(line: str, talk: Talk, face: TerminalFace) -> bool:
    """Do what a line says; whether the chat goes on."""
    match command(line):
        case "quit":
            return False
        case "help":
            face.say_lines(help_lines())
        case "cancel":
            talk.cancel()
        case "status":

            def show(row: Message) -> None:
                face.say_lines(status_lines(row, face.out))

            talk.status(show)
        case _ if talk.open_asks:
            _permit(line, talk, face)
        case _ if line.strip() and talk.say(line):
            face.typed(clean_lines(line))
    return True


def _permit(line: str, talk: Talk, face: TerminalFace) -> None:
    ask = talk.open_asks[0]
    option = ask.chosen(line)
    if option is None:
        face.told(f"answer 1 to {len(ask.options)}, y or n; /cancel stops the turn")
        return
    face.answered(ask, option.name or option.option_id)
    talk.permit(ask, option)
