"""Where a command writes: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from acpctl.errors import CliError
from acpctl.render.renderer import Renderer
from acpctl.text import escape_json

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
        self.data(escape_json(json.dumps(value, ensure_ascii=not self.unicode, indent=indent, separators=separators)))

    def note(self, text: str, style: str = "", *, end: str = "\n") -> None:
        """Write to stderr."""
        write_stderr(self.err.paint(text, style) + end)

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


def write_stderr(text: str) -> None:
    """Write to stderr where there is one. Ignores an error: there is no other place to report it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        redirect_to_null(sys.stderr)


def redirect_to_null(stream: TextIO) -> None:
    """Discard what ``stream`` still buffers: the interpreter flushes it once more when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
