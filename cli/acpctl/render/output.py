"""Where a command writes: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from acpctl.render.renderer import Renderer
from acpctl.standard_streams import redirect_to_null, write_error, write_stderr
from acpctl.text import escape_json, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Output(Renderer):
    """Renders for stdout (``err`` renders for stderr), and writes to both. Flushes every write.

    Once nobody reads stdout any more, writes to it do nothing.
    """

    def __init__(self, *, color: bool, environ: Mapping[str, str]) -> None:
        super().__init__(sys.stdout, color=color, environ=environ)
        self.err = Renderer(sys.stderr, color=color, environ=environ)
        self.reader_gone = False
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def data(self, text: str, end: str = "\n") -> None:
        """Write to stdout. Raises ``CliError`` where that fails, but not where nobody reads any more."""
        if self.reader_gone:
            return
        try:
            sys.stdout.write(text + end)
            sys.stdout.flush()
        except BrokenPipeError:
            self.reader_gone = True
            redirect_to_null(sys.stdout)
        except OSError as error:
            raise write_error(error) from None

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines to stdout, in one write."""
        text = "\n".join(lines)
        if text:
            self.data(text)

    def result(self, thread: str, text: str) -> None:
        """Write to stdout what became of a thread, word-wrapped on a terminal."""
        first, *others = self.beside(width(thread) + 2, text)
        self.lines([f"{thread}  {first}".rstrip(), *others])

    def json(self, value: Any, *, line: bool = False) -> None:
        """Write one JSON object to stdout: indented on a terminal, else (and with ``line``) on one line."""
        indent = 2 if self.terminal and not line else None
        separators = None if indent else (",", ":")
        self.data(escape_json(json.dumps(value, ensure_ascii=not self.unicode, indent=indent, separators=separators)))

    def note(self, text: str, style: str = "", *, end: str = "\n") -> None:
        """Write to stderr, word-wrapped on a terminal."""
        lines = self.err.wrap(text) if end == "\n" and "\x1b" not in text and "\n" not in text else [text]
        write_stderr("\n".join(self.err.paint(line, style) for line in lines) + end)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """A function that shows (done, total, description) on stderr.

        It draws a bar on a terminal, which disappears at the end; else it writes a line per new description.
        """
        if self.err.terminal:
            from acpctl.render.rich_progress import progress_bar  # noqa: PLC0415 - importing Rich takes long

            with progress_bar(title, color=self.err.color) as update:
                yield update
            return
        last = ""

        def write_description(_done: int, _total: int, description: str) -> None:
            nonlocal last
            if description != last:
                last = description
                self.note(f"{title}: {description}")

        yield write_description
