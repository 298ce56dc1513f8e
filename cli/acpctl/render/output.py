"""Where a command writes: data on stdout, everything else on stderr, coloured on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from acpctl.errors import CliError
from acpctl.render.table import Cell, Column, plain_table
from acpctl.text import escape_json, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "head": "1;2",
    "red": "31",
    "alert": "1;31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_UNLIMITED: Final = 1_000_000  # columns


class Output:
    """stdout and stderr of a command. Flushes every write; once nobody reads stdout, writes to it do nothing."""

    def __init__(self, *, color: bool, environ: Mapping[str, str]) -> None:
        capable = environ.get("TERM") != "dumb"
        self.terminal = capable and _is_terminal(sys.stdout)
        self.error_terminal = capable and _is_terminal(sys.stderr)
        wanted = color and not environ.get("NO_COLOR")
        self._color = wanted and self.terminal
        self._error_color = wanted and self.error_terminal
        self.home = environ.get("HOME", "")  # the folder that ``~`` means
        self._unicode = _is_utf8(sys.stdout)
        self._error_unicode = _is_utf8(sys.stderr)
        self.reader_gone = False
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def columns(self, *, error: bool = False) -> int:
        """The width of the terminal; without a terminal there is no limit."""
        if not (self.error_terminal if error else self.terminal):
            return _UNLIMITED
        return max(20, shutil.get_terminal_size().columns)

    def paint(self, text: str, style: str, *, error: bool = False) -> str:
        """``text`` in a style of the table above (empty: none), where the user wants colours."""
        codes = _STYLES.get(style)
        if not codes or not text or not (self._error_color if error else self._color):
            return text
        return f"\x1b[{codes}m{text}\x1b[0m"

    def terminal_glyph(self, glyph: str, plain: str = "", *, error: bool = False) -> str:
        """``glyph`` on a terminal whose encoding has it, else ``plain``."""
        capable = self.error_terminal and self._error_unicode if error else self.terminal and self._unicode
        return glyph if capable else plain

    def glyph(self, glyph: str, plain: str, *, error: bool = False) -> str:
        """``glyph`` where the stream's encoding has it, on a terminal or not; else ``plain``."""
        return glyph if (self._error_unicode if error else self._unicode) else plain

    def data(self, text: str, end: str = "\n") -> None:
        """Write to stdout. Raises ``CliError`` where that fails, but not where nobody reads any more."""
        if self.reader_gone:
            return
        try:
            if sys.stdout is None:
                raise CliError("cannot write the answer: stdout is closed")
            sys.stdout.write(text + end)
            sys.stdout.flush()
        except BrokenPipeError:
            self.reader_gone = True
            redirect_to_null(sys.stdout)
        except OSError as error:
            redirect_to_null(sys.stdout)
            raise CliError(f"cannot write the answer: {error.strerror or error}") from None

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines to stdout, in one write."""
        text = "\n".join(lines)
        if text:
            self.data(text)

    def json(self, value: Any, *, line: bool = False) -> None:
        """Write one JSON object to stdout: indented on a terminal, else (and with ``line``) on one line."""
        indent = 2 if self.terminal and not line else None
        separators = None if indent else (",", ":")
        self.data(escape_json(json.dumps(value, ensure_ascii=not self._unicode, indent=indent, separators=separators)))

    def note(self, text: str, style: str = "", *, end: str = "\n") -> None:
        """Write to stderr."""
        write_stderr(self.paint(text, style, error=True) + end)

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, error: bool = False, indent: int = 0
    ) -> list[str]:
        """A table's lines: on a terminal Rich fits and colours them; else there is a header and nothing is cut."""
        indented = " " * indent
        if not (self.error_terminal if error else self.terminal):
            return [indented + line for line in plain_table(columns, rows)]
        from acpctl.render.rich_table import draw_table  # noqa: PLC0415 - importing Rich takes long

        limit = self.columns(error=error) - indent
        drawn = draw_table(columns, rows, limit, color=self._error_color if error else self._color)
        return [indented + line for line in drawn]

    def fields(self, pairs: Sequence[tuple[str, Cell]], *, indent: int = 2) -> list[str]:
        """Lines of a name and a value each, the values below each other."""
        names = max((width(name) for name, _ in pairs), default=0)
        return [f"{' ' * indent}{self.paint(name.ljust(names), 'dim')}  {self.paint(*cell)}" for name, cell in pairs]

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """A function that shows (done, total, description) on stderr.

        It draws a bar on a terminal, which disappears at the end; else it writes a line per new description.
        """
        if self.error_terminal:
            from acpctl.render.rich_progress import progress_bar  # noqa: PLC0415 - importing Rich takes long

            with progress_bar(title, color=self._error_color) as update:
                yield update
            return
        last = ""

        def write_description(_done: int, _total: int, description: str) -> None:
            nonlocal last
            if description != last:
                last = description
                self.note(f"{title}: {description}")

        yield write_description


def write_stderr(text: str) -> None:
    """Write to stderr where there is one. Ignores an error: there is no other place to report it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        redirect_to_null(sys.stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _is_utf8(stream: TextIO | None) -> bool:
    return stream is not None and (stream.encoding or "").lower().replace("-", "") == "utf8"


def redirect_to_null(stream: TextIO) -> None:
    """Discard what ``stream`` still buffers: the interpreter flushes it once more when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
