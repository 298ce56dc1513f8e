"""A terminal that is ours for a while: without line editing, and given back as it was, whatever happens."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any, Final, Self

from acpctl.terminal.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_STDIN: Final = 0
_READ: Final = 65_536
_LOCAL_FLAGS: Final = 3  # where termios.tcgetattr has them
_CONTROL_CHARACTERS: Final = 6
_NO_CHARACTER: Final = b"\x00"  # _POSIX_VDISABLE on Linux
_FULL_SCREEN: Final = ("\x1b[?1049h\x1b[?7l\x1b[?25l", "\x1b[?25h\x1b[?7h\x1b[?1049l")


class Terminal:
    """stdin without echo and line editing (where it is a terminal), stdout with ``begin`` and ``end`` written.

    ``interrupts``: whether Ctrl-C still is a signal; else it comes as the key ``ctrl-c``. Ctrl-Z gives the terminal
    back for as long as the process is stopped; SIGTERM and SIGHUP leave by ``SystemExit``.
    """

    def __init__(self, *, begin: str = "", end: str = "", interrupts: bool = True) -> None:
        self.on_stop: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self._begin = begin
        self._end = end
        self._interrupts = interrupts
        self._keys = Keys()
        self._before: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._open = sys.stdin is not None and sys.stdin.isatty()
        self._woken, self._wakes = os.pipe()

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGTSTP, self._stop),
            (signal.SIGTERM, self._leave),
            (signal.SIGHUP, self._leave),
            (signal.SIGWINCH, self._resized),
        ):
            self._handlers[number] = signal.signal(number, handler)
        # A wait goes on after a signal (PEP 475); a byte in this pipe ends it, so that a new size is drawn at once.
        os.set_blocking(self._wakes, False)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._give_back()
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wakes)

    def wait(self, seconds: float | None, also: int | None = None) -> tuple[list[str], bool]:
        """Keys typed, and whether ``also`` (a file descriptor) can be read; waits for at most ``seconds``, or a signal.

        The key ``end`` of a terminal that has gone away is ``ctrl-d``.
        """
        watched = [self._woken, *([_STDIN] if self._open else []), *([] if also is None else [also])]
        ready = select.select(watched, [], [], seconds)[0]
        keys: list[str] = []
        if self._woken in ready:
            os.read(self._woken, _READ)
        if _STDIN in ready:
            data = os.read(_STDIN, _READ)
            self._open = bool(data)
            keys = self._keys.feed(data) if data else ["ctrl-d"]
        return keys, also in ready

    def write(self, text: str) -> None:
        """Write to the terminal at once; a stop (Ctrl-Z) waits until that is done, since it writes there itself."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _take(self) -> None:
        if self._open:
            self._before = termios.tcgetattr(_STDIN)
            mode = termios.tcgetattr(_STDIN)
            mode[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
            if not self._interrupts:
                mode[_CONTROL_CHARACTERS][termios.VINTR] = _NO_CHARACTER
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, mode)
        self.write(self._begin)

    def _give_back(self) -> None:
        self.write(self._end)
        if self._before is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.on_stop is not None:
            self.on_stop()
        self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Here the process is stopped, until SIGCONT.
        signal.signal(number, self._stop)
        self._take()
        if self.on_resume is not None:
            self.on_resume()

    def _resized(self, number: int, frame: FrameType | None) -> None:
        """That it comes is enough: the size is looked up whenever something is drawn."""

    def _leave(self, number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)


class Screen(Terminal):
    """The whole screen, drawn anew each time."""

    def __init__(self) -> None:
        super().__init__(begin=_FULL_SCREEN[0], end=_FULL_SCREEN[1])

    def draw(self, lines: list[str], foot: str) -> None:
        """Show ``lines``, as many as there is room for, and ``foot`` in the last row."""
        room = max(1, shutil.get_terminal_size().lines - 1)
        shown = lines if len(lines) <= room else [*lines[: room - 1], f"… {len(lines) - room + 1} more"]
        # Each row is emptied first: after a row that fills the width, the cursor stands on its last character.
        body = "".join(f"\x1b[2K{line}\r\n" for line in [*shown, *[""] * (room - len(shown))])
        self.write(f"\x1b[H{body}\x1b[2K{foot}")
