"""Data on stdout, all else on stderr: colours, JSON, and what is done when nobody reads any more."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from acpctl.exit_codes import Failure
from acpctl.render.table import GAP, Cell, Column, fitted, plain
from acpctl.text import fit_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.text import Text

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "head": "1;2",
    "red": "31",
    "alarm": "1;31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_RICH_STYLES: Final = {"head": "bold dim", "alarm": "bold red"}  # Rich knows the others by the same names
# Characters that JSON lets through and a terminal acts on; in a string they can always be escaped.
_JSON_UNSAFE: Final = (
    "[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_FULL_WIDTH: Final = 1_000_000


class Output:
    """Where a command's words go. Written at once; a reader that has gone ends nothing but the writing."""

    def __init__(self, *, color: bool, environ: Mapping[str, str]) -> None:
        able = environ.get("TERM") != "dumb"
        self.terminal = able and _is_terminal(sys.stdout)
        self.error_terminal = able and _is_terminal(sys.stderr)
        wanted = color and not environ.get("NO_COLOR")
        self._color = wanted and self.terminal
        self._error_color = wanted and self.error_terminal
        self._home = environ.get("HOME", "")
        self._unicode = _speaks_unicode(sys.stdout)
        self._error_unicode = _speaks_unicode(sys.stderr)
        self.reader_gone = False
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    @property
    def home(self) -> str:
        """The home directory that ``~`` stands for; empty where paths are to stand as they are (for programs)."""
        return self._home

    def columns(self, *, error: bool = False) -> int:
        """The width to draw for: the terminal's, and no limit at all where there is none."""
        if not (self.error_terminal if error else self.terminal):
            return _FULL_WIDTH
        return max(20, shutil.get_terminal_size().columns)

    def paint(self, text: str, style: str, *, error: bool = False) -> str:
        """``text`` in a style (a word of the table above; empty for none), where colours are wanted."""
        codes = _STYLES.get(style)
        if not codes or not text or not (self._error_color if error else self._color):
            return text
        return f"\x1b[{codes}m{text}\x1b[0m"

    def mark(self, glyph: str, plain: str = "", *, error: bool = False) -> str:
        """``glyph`` on a terminal that can show it, else ``plain``."""
        shown = self.error_terminal and self._error_unicode if error else self.terminal and self._unicode
        return glyph if shown else plain

    def glyph(self, glyph: str, plain: str, *, error: bool = False) -> str:
        """``glyph`` where the stream's encoding has it, terminal or not; else ``plain``."""
        return glyph if (self._error_unicode if error else self._unicode) else plain

    def data(self, text: str, end: str = "\n") -> None:
        """Write to stdout. ``Failure`` where it can't be written; a reader that has gone is none."""
        if self.reader_gone:
            return
        try:
            if sys.stdout is None:
                raise Failure("cannot write the answer: stdout is closed")
            sys.stdout.write(text + end)
            sys.stdout.flush()
        except BrokenPipeError:
            self.reader_gone = True
            _discard(sys.stdout)
        except OSError as error:
            _discard(sys.stdout)
            raise Failure(f"cannot write the answer: {error.strerror or error}") from None

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines to stdout, in one go."""
        text = "\n".join(lines)
        if text:
            self.data(text)

    def json(self, value: Any, *, line: bool = False) -> None:
        """Write one JSON object: indented on a terminal, else (and with ``line``) in one line."""
        indent = 2 if self.terminal and not line else None
        separators = None if indent else (",", ":")
        text = json.dumps(value, ensure_ascii=not self._unicode, indent=indent, separators=separators)
        if not text.isascii() or "\x7f" in text:
            text = re.sub(_JSON_UNSAFE, _json_escaped, text)
        self.data(text)

    def note(self, text: str, style: str = "", *, end: str = "\n") -> None:
        """Write to stderr."""
        tell(self.paint(text, style, error=True) + end)

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, error: bool = False, indent: int = 0
    ) -> list[str]:
        """A table's lines: on a terminal drawn by Rich, fitted and coloured; else one header and nothing cut."""
        indented = " " * indent
        if not (self.error_terminal if error else self.terminal):
            return [indented + line for line in plain(columns, rows)]
        limit = self.columns(error=error) - indent
        drawn = _drawn(columns, rows, limit, color=self._error_color if error else self._color)
        return [indented + line for line in drawn]

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """What it gives shows on stderr that ``done`` of ``total`` are done, in words too.

        On a terminal a bar, which is gone afterwards; else a line each time when the words are others.
        """
        if not self.error_terminal:
            said = ""

            def tell_words(_done: int, _total: int, words: str) -> None:
                nonlocal said
                if words != said:
                    said = words
                    self.note(f"{title}: {words}")

            yield tell_words
            return
        with _bar(title, color=self._error_color) as show:
            yield show


def _drawn(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], limit: int, *, color: bool) -> list[str]:
    """Lines are longer than ``limit`` only where no column may give up more."""
    from rich.console import Console  # noqa: PLC0415 - Rich is slow to import, only tables on a terminal need it
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    def text(words: str, style: str) -> Text:
        return Text(words, _RICH_STYLES.get(style, style), no_wrap=True, overflow="ellipsis")

    def lines(texts: Sequence[Text]) -> Text:
        return Text("\n", no_wrap=True, overflow="ellipsis").join(texts)

    cells = [[text(column.title, "head"), *(text(*row[i]) for row in rows)] for i, column in enumerate(columns)]
    wanted = [max(cell.cell_len for cell in column) for column in cells]
    shown, most, limit = fitted(columns, wanted, limit)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="")
    for i in shown:
        # "default" rather than "left": that would paint the blanks that fill a cell.
        justify: Literal["right", "default"] = "right" if columns[i].right else "default"
        table.add_column(cells[i][0], justify=justify, no_wrap=not columns[i].shrink, max_width=most[i])
    if rows:
        # A column is one cell of many lines: no text wraps, so they stay side by side, and Rich is quicker by far.
        texts = {i: cells[i][1:] for i in shown}
        table.add_row(*(_Tails(texts[i]) if columns[i].shrink == "head" else lines(texts[i]) for i in shown))
    console = Console(
        file=io.StringIO(),
        width=limit,
        color_system="standard" if color else None,
        no_color=not color,
        force_terminal=False,  # else FORCE_COLOR would decide, and with some TERMs the width too
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as drawn:
        console.print(table)
    return [line.rstrip(" ") for line in drawn.get().rstrip("\n").split("\n")]


@contextlib.contextmanager
def _bar(title: str, *, color: bool) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console  # noqa: PLC0415 - Rich is slow to import, only a bar on a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - the same

    console = Console(
        stderr=True,
        color_system="standard" if color else None,
        no_color=not color,
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    columns = (
        TextColumn(title, markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    progress = Progress(
        *columns,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        task = progress.add_task("", total=None)

        def show(done: int, total: int, words: str) -> None:
            progress.update(task, completed=done, total=total, description=words, refresh=True)

        yield show


class _Tails:
    """Texts whose beginnings are given up when Rich says how much room there is: Rich itself cuts ends only."""

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return max((text.__rich_measure__(console, options) for text in self._texts), key=lambda found: found.maximum)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for text in self._texts:
            shown = text.copy()
            shown.plain = fit_left(shown.plain, options.max_width)
            yield shown


def tell(text: str) -> None:
    """Write to stderr, where there is one; when it can't be written, there is nowhere left to say so."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _speaks_unicode(stream: TextIO | None) -> bool:
    return stream is not None and (stream.encoding or "").lower().replace("-", "") == "utf8"


def _discard(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: the interpreter flushes once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _json_escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f"
