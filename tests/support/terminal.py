"""A program on a pseudo-terminal, whose screen can be read as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

_LIMIT = 10.0
# The terminal becomes the program's own, so that a typed Ctrl-C is a signal to it, which it takes, as in a shell: what
# runs in the background of one has SIGINT ignored.
_OWN_IT = (
    "import fcntl,os,signal,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


class Tty:
    """Runs ``command`` with a terminal of that size as stdin, stdout and stderr."""

    def __init__(self, command: Sequence[str], columns: int, lines: int, environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, lines, screen=False)
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _OWN_IT, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=dict(environ),
        )
        os.close(slave)

    def resize(self, columns: int, lines: int, *, screen: bool = True) -> None:
        """Make the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if screen:
            self.screen.resize(lines, columns)

    def text(self) -> str:
        """The screen, without the blanks at the ends."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def wait_for(self, text: str) -> str:
        """The screen, once ``text`` is on it."""
        until = time.monotonic() + _LIMIT
        while text not in self.text():
            if not self._read(until - time.monotonic()):
                raise AssertionError(f"{text!r} did not come; the screen is:\n{self.text()}")
        return self.text()

    def wait_until_gone(self, text: str) -> str:
        """The screen, once ``text`` is no longer on it."""
        until = time.monotonic() + _LIMIT
        while text in self.text():
            if not self._read(until - time.monotonic()):
                raise AssertionError(f"{text!r} stayed; the screen is:\n{self.text()}")
        return self.text()

    def end(self) -> int:
        """Read to the end; the exit status."""
        until = time.monotonic() + _LIMIT
        while self._read(until - time.monotonic()):
            continue
        return self._process.wait(max(0.1, until - time.monotonic()))

    def modes(self) -> int:
        """The local flags of the terminal (ECHO, ICANON)."""
        return int(termios.tcgetattr(self._master)[3])

    def close(self) -> None:
        """End the program, where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Read once; whether there was something, within ``seconds``, before the program closed the terminal."""
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            return False  # EIO: the other side has been closed
        self.raw += data
        self._stream.feed(data)
        return bool(data)
