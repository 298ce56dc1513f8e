"""stdin, stdout and stderr: closed, full, or a terminal; and what goes to stderr."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING, Final, TextIO

from acpctl.errors import CliError
from acpctl.text import wrap

if TYPE_CHECKING:
    from collections.abc import Mapping

_DUMB: Final = ("dumb", "unknown")  # terminals that understand no escape sequence (terminfo(5))
# What a write to a standard stream fails with: write(2).
WRITE_ERRORS: Final = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


def is_terminal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is a terminal that can be drawn on."""
    return stream is not None and environ.get("TERM", "") not in _DUMB and stream.isatty()


def write_stderr(text: str) -> None:
    """Write to stderr where there is one. Ignores an error: there is no other place to report it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        redirect_to_null(sys.stderr)


class ClosedStream(io.TextIOBase):
    """Stands for a standard stream that is closed: each write fails, where ``None`` would lose the text in silence."""

    encoding = "utf-8"
    errors = "strict"

    def writable(self) -> bool:
        """Say that it can be written, so that somebody tries."""
        return True

    def write(self, text: str) -> int:
        """Raise OSError."""
        del text
        raise OSError(errno.EBADF, "stdout is closed")


def open_standard_streams() -> None:
    """Make sure that descriptors 0 to 2 are open, and that writes to a closed stdout fail.

    Else the next file or socket would get such a number, and be taken for the standard stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one: open(2)
    if sys.stdout is None:
        sys.stdout = ClosedStream()


def stdout_pipe() -> int | None:
    """The descriptor of stdout where that is a pipe, whose reader may end before us; else ``None``."""
    try:
        descriptor = sys.stdout.fileno()
        return descriptor if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None
    except (OSError, ValueError):  # closed, or not a file: io.UnsupportedOperation is both
        return None


def write_error(error: OSError) -> CliError:
    """What to raise where a write to stdout has failed. Discards what is still buffered."""
    if not isinstance(sys.stdout, ClosedStream):
        redirect_to_null(sys.stdout)
    return CliError(f"cannot write the answer: {error.strerror or error}")


def write_problem(line: str) -> None:
    """Write a line to stderr that says why a command fails, word-wrapped on a terminal."""
    lines = wrap(line, shutil.get_terminal_size().columns) if is_terminal(sys.stderr, os.environ) else [line]
    write_stderr("\n".join(lines) + "\n")


def redirect_to_null(stream: TextIO) -> None:
    """Discard what ``stream`` still buffers: the interpreter flushes it once more when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
