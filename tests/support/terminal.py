"""Runs a program on a pseudo-terminal, and shows the screen that a person would see."""

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
    from collections.abc import Callable, Mapping, Sequence

_TIMEOUT = 10.0  # seconds
# Makes the terminal the controlling one, so that a typed Ctrl-C sends SIGINT, and lets SIGINT end the program: a shell
# ignores it in background jobs.
_LAUNCHER = (
    "import fcntl,os,signal,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Runs ``command`` with a terminal of that size as stdin, stdout and stderr."""

    def __init__(self, command: Sequence[str], columns: int, lines: int, environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, lines, screen=False)
        self.screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _LAUNCHER, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=dict(environ),
        )
        os.close(slave)

    def resize(self, columns: int, lines: int, *, screen: bool = True) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if screen:
            self.screen.resize(lines, columns)

    def text(self) -> str:
        """The screen, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def cursor(self) -> tuple[int, int]:
        """The cursor's column and row, from 0."""
        return self.screen.cursor.x, self.screen.cursor.y

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Close the terminal, as a person closes its window."""
        os.close(self._master)
        self._master = -1

    def wait_for(self, text: str) -> str:
        """The screen, once ``text`` is on it."""
        self._read_until(lambda: text in self.text(), f"{text!r} did not come")
        return self.text()

    def wait_until_gone(self, text: str) -> str:
        """The screen, once ``text`` is no longer on it."""
        self._read_until(lambda: text not in self.text(), f"{text!r} stayed")
        return self.text()

    def wait_for_line_editor(self) -> None:
        """Return once the program reads each key itself: what was typed before that is lost."""
        self._read_until(lambda: not self.modes() & termios.ICANON, "the program does not read keys")

    def wait_for_bytes(self, data: bytes) -> None:
        """Return once the program has written ``data``."""
        self._read_until(lambda: data in self.raw, f"{data!r} did not come")

    def end(self) -> int:
        """Read until the program ends; its exit code."""
        until = time.monotonic() + _TIMEOUT
        while self._master >= 0 and self._read(until - time.monotonic()):
            continue
        return self._process.wait(max(0.1, until - time.monotonic()))

    def modes(self) -> int:
        """The local flags of the terminal (ECHO, ICANON)."""
        return int(termios.tcgetattr(self._master)[3])

    def close(self) -> None:
        """Kill the program, where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._master >= 0:
            os.close(self._master)

    def _read_until(self, condition: Callable[[], bool], problem: str) -> None:
        until = time.monotonic() + _TIMEOUT
        while not condition():
            if not self._read(until - time.monotonic()):
                raise AssertionError(f"{problem}; the screen is:\n{self.text()}")

    def _read(self, seconds: float) -> bool:
        """Read once; false where nothing came within ``seconds``, or the program has closed the terminal."""
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._master, 65_536)
        except OSError:
            return False  # EIO: the other end is closed
        self.raw += data
        self._stream.feed(data)
        return bool(data)
