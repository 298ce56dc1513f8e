"""A terminal without echo and line editing. However the program ends, the terminal gets its old modes back."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
from typing import TYPE_CHECKING, Any, Final, Self

from acpctl.terminal.keys import KeyParser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

_STDIN: Final = 0
_CHUNK: Final = 65_536  # bytes read at once
_LOCAL_FLAGS: Final = 3  # the index of lflag in what termios.tcgetattr returns


class RawTerminal:
    """Sets the modes of stdin (where it is a terminal) and writes ``begin`` and ``end`` to stdout around its use.

    Ctrl-C is a signal as ever. Ctrl-Z restores the terminal for as long as the process is stopped. SIGTERM and SIGHUP
    raise ``SystemExit``.
    """

    def __init__(self, *, begin: str = "", end: str = "") -> None:
        self._begin = begin
        self._end = end
        self._keys = KeyParser()
        self._old_modes: list[Any] | None = None
        self._old_handlers: dict[int, Any] = {}
        self._open = sys.stdin is not None and sys.stdin.isatty()
        self._wakeup_read, self._wakeup_write = os.pipe()

    def __enter__(self) -> Self:
        for number, handler in (
            (signal.SIGTSTP, self._on_stop),
            (signal.SIGTERM, self._on_end),
            (signal.SIGHUP, self._on_end),
            (signal.SIGWINCH, self._on_resize),
        ):
            self._old_handlers[number] = signal.signal(number, handler)
        # After a signal, select() continues (PEP 475). A byte in this pipe ends it, so that a resize redraws at once.
        os.set_blocking(self._wakeup_write, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self._set_modes()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore_modes()
        signal.set_wakeup_fd(-1)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)

    def wait(self, seconds: float, descriptor: int) -> list[str]:
        """Wait for a key, a signal, or data at ``descriptor``, at most ``seconds``; return the typed keys.

        Returns the key ``ctrl-d`` where the terminal has gone away.
        """
        watched = [self._wakeup_read, descriptor, *([_STDIN] if self._open else [])]
        ready = select.select(watched, [], [], seconds)[0]
        if self._wakeup_read in ready:
            os.read(self._wakeup_read, _CHUNK)
        if _STDIN not in ready:
            return []
        data = os.read(_STDIN, _CHUNK)
        self._open = bool(data)
        return self._keys.feed(data) if data else ["ctrl-d"]

    def write(self, text: str) -> None:
        """Write to the terminal at once. Delays Ctrl-Z until that is done, because its handler writes there too."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Give the terminal its old modes meanwhile."""
        self._restore_modes()
        try:
            yield
        finally:
            self._set_modes()

    def _set_modes(self) -> None:
        if self._open:
            self._old_modes = termios.tcgetattr(_STDIN)
            modes = termios.tcgetattr(_STDIN)
            modes[_LOCAL_FLAGS] &= ~(termios.ECHO | termios.ICANON)
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, modes)
        self.write(self._begin)

    def _restore_modes(self) -> None:
        self.write(self._end)
        if self._old_modes is not None:
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._old_modes)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._restore_modes()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The process is stopped here, until SIGCONT.
        signal.signal(number, self._on_stop)
        self._set_modes()

    def _on_resize(self, number: int, frame: FrameType | None) -> None:
        """Nothing to do: the signal ends :meth:`wait`, and every drawing asks for the size."""

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)
