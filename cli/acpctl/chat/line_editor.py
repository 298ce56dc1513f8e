"""The input line of the chat: prompt_toolkit edits it in the terminal's last row, below the conversation.

Rows of the conversation are written above it. prompt_toolkit's own ways to do that (``patch_stdout``,
``run_in_terminal``) switch the terminal out of raw mode for every write, which echoes keys, and draw the erased and the
new input line in two writes, which flickers. :mod:`acpctl.chat.frame_output` sends each frame in one write instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prompt_toolkit.application import Application
from prompt_toolkit.application.run_in_terminal import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Point
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, UIContent, Window

from acpctl.chat.frame_output import Drawn, FrameOutput
from acpctl.text import clean, clean_lines, prefix
from acpctl.text import width as text_width

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.key_binding import KeyPressEvent

# A newline in the buffer. It is not "\n", so that Home, Ctrl-U, Up and the like work on the whole input, which is shown
# in one row. Pasted text never contains it: `clean_lines` escapes it.
_NEWLINE: Final = "\u2028"
_NEWLINE_SHOWN: Final = "⏎"
_MIN_COLUMNS: Final = 20
_ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


class Frame(NamedTuple):
    """What to draw: ``finished`` rows scroll away, ``live`` ones stay above the ``label`` of the input. All painted.

    ``seconds``: when to ask for the next frame, whether or not anything happens; ``None``: never.
    """

    finished: list[str]
    live: list[str]
    label: str
    bell: bool
    seconds: float | None


def scroll_line(text: str, cursor: int, columns: int) -> tuple[str, int]:
    """The part of a buffer's ``text`` to show in ``columns``, and the cursor's index in it."""
    shown = text.replace(_NEWLINE, _NEWLINE_SHOWN)
    before = shown[:cursor]
    limit = max(1, columns - 1)
    start = 0
    while text_width(before[start:]) > limit:
        start += max(1, limit // 2) if text_width(before[start:]) > 2 * limit else 1
    return prefix(shown[start:], limit), len(before[start:])


class LineEditor:
    """Edits line after line, with the keys of Emacs and readline, a history, and several lines in one (Alt-Enter).

    ``frame`` returns what to draw. ``on_line`` gets every line; Ctrl-C and Ctrl-D on an empty line call
    ``on_interrupt`` and ``on_end``. :meth:`run` raises what any of them raises.
    """

    def __init__(
        self,
        frame: Callable[[], Frame],
        *,
        on_line: Callable[[str], None],
        on_interrupt: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._frame = frame
        self._shown = Frame([], [], "", bell=False, seconds=None)
        self._on_line = on_line
        self._on_interrupt = on_interrupt
        self._on_end = on_end
        self._ended = False
        self._drawn_columns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._output = FrameOutput()
        self._buffer = Buffer(multiline=False)
        self._input = _InputControl(self._buffer, lambda: self._shown.label, self.columns)
        self._app: Application[int] = Application(
            layout=Layout(
                HSplit(
                    [
                        Window(
                            FormattedTextControl(lambda: ANSI("\n".join(self._shown.live))),
                            height=lambda: len(self._shown.live),
                        ),
                        Window(self._input, height=1),
                    ]
                ),
                focused_element=self._input,
            ),
            key_bindings=self._key_bindings(),
            output=self._output,
            erase_when_done=True,
            after_render=self._after_render,
        )

    def columns(self) -> int:
        """How many columns a row may take: all but the last, so that no terminal wraps it."""
        return max(_MIN_COLUMNS, self._output.get_size().columns) - 1

    @property
    def text(self) -> str:
        """What is typed so far."""
        return self._buffer.text

    def clear(self) -> None:
        """Drop what is typed so far."""
        self._buffer.reset()

    def run(self, descriptor: int, on_readable: Callable[[], None]) -> int:
        """Edit lines until :meth:`exit`, and return its ``status``.

        Calls ``on_readable`` whenever ``descriptor`` has data. Raises ``EOFError`` where the terminal goes away.
        """

        def receive() -> None:
            if not self._ended:
                on_readable()
                self._redraw()

        def before_run() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(self._on_error)
            for number in _ENDING_SIGNALS:
                loop.add_signal_handler(number, self.exit, 128 + number)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
            loop.add_reader(descriptor, receive)
            receive()  # what came before the event loop watches the descriptor

        return self._app.run(pre_run=before_run, set_exception_handler=False)

    def exit(self, status: int) -> None:
        """End :meth:`run`, which returns ``status``."""
        if not self._ended:
            self._ended = True
            self._app.exit(result=status)

    def _redraw(self) -> None:
        if self._ended:
            return
        live_before = len(self._shown.live)
        self._drawn_columns = self.columns()
        self._shown = self._frame()
        max_live = self._output.get_size().rows - 2
        self._shown = self._shown._replace(live=self._shown.live[-max_live:] if max_live > 0 else [])
        if self._timer is not None:
            self._timer.cancel()
        if self._shown.seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._shown.seconds, self._redraw)
        # Erases the last frame where the new one has fewer rows: prompt_toolkit itself never reduces its height.
        if self._shown.finished or len(self._shown.live) < live_before:
            self._output.begin_frame()
            self._app.renderer.erase()
            self._output.write_raw("".join(f"{row}\r\n" for row in self._shown.finished))
        if self._shown.bell:
            self._output.write_raw("\a")
        self._app.invalidate()

    def write_last(self, rows: list[str]) -> None:
        """Write rows after :meth:`run` has ended."""
        self._output.end_frame()
        self._output.write_raw("".join(f"{row}\r\n" for row in rows))
        self._output.flush()

    def _after_render(self, _app: Application[int]) -> None:
        self._output.end_frame()
        self._output.drawn = Drawn(
            self._output.get_size().columns,
            [text_width(clean(row)) for row in self._shown.live],
            self._input.cursor_column,
        )
        if self._drawn_columns != self.columns():  # a resize: the rows need another width
            asyncio.get_running_loop().call_soon(self._redraw)

    def _on_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self._ended:
            self._ended = True
            self._app.exit(exception=context.get("exception") or RuntimeError(context["message"]))

    def _suspend(self, *, group: bool = False) -> None:
        """Stop the process (``group``: with all of its group, as the terminal does for Ctrl-Z) until SIGCONT."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self._output.end_frame()
            loop.remove_signal_handler(signal.SIGTSTP)
            os.kill(0 if group else os.getpid(), signal.SIGTSTP)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)

        run_in_terminal(stop)

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        empty = Condition(lambda: not self._buffer.text)

        @bindings.add("enter")
        def _submit(_event: KeyPressEvent) -> None:
            line = self._buffer.text.replace(_NEWLINE, "\n")
            if line.strip():
                self._buffer.append_to_history()
            self._buffer.reset()
            self._on_line(line)
            self._redraw()

        @bindings.add("escape", "enter")
        @bindings.add("escape", "c-j")
        def _insert_newline(_event: KeyPressEvent) -> None:
            self._buffer.insert_text(_NEWLINE)

        @bindings.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            lines = clean_lines(event.data.replace("\r\n", "\n").replace("\r", "\n"))
            self._buffer.insert_text(lines.replace("\n", _NEWLINE))

        @bindings.add("c-c")
        @bindings.add(Keys.SIGINT)
        def _interrupt(_event: KeyPressEvent) -> None:
            if self._buffer.text:
                self._buffer.reset()
            else:
                self._on_interrupt()
                self._redraw()

        @bindings.add("c-d", filter=empty)
        def _end(_event: KeyPressEvent) -> None:
            self._on_end()

        @bindings.add("c-z")
        def _stop(_event: KeyPressEvent) -> None:
            self._suspend(group=True)

        return bindings


class _InputControl(BufferControl):
    """Shows the label and the buffer in one row, which scrolls under the cursor."""

    def __init__(self, buffer: Buffer, label: Callable[[], str], columns: Callable[[], int]) -> None:
        super().__init__(buffer)
        self._label = label
        self._columns = columns
        self.cursor_column = 0

    def create_content(self, width: int, height: int, preview_search: bool = False) -> UIContent:  # noqa: FBT001, FBT002 - the base class has it so
        """The row as prompt_toolkit draws it."""
        del width, height, preview_search
        self.buffer.load_history_if_not_yet_loaded()
        label = to_formatted_text(ANSI(self._label()))
        used = sum(len(part[1]) for part in label)
        shown, cursor = scroll_line(self.buffer.text, self.buffer.cursor_position, self._columns() - used)
        self.cursor_column = used + text_width(shown[:cursor])
        row = [*label, ("", shown + " ")]  # the cursor needs a character after the text
        return UIContent(lambda _: row, line_count=1, cursor_position=Point(x=used + cursor, y=0))
