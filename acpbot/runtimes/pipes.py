"""An agent's three pipes on the event loop: no thread, and no method that waits.

Nothing here depends on a pipe's end: a grandchild may keep stdout open for hours after its agent has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from acpbot.errors import AgentGone, AgentTimeout
from acpbot.logs import get_logger
from acpbot.text import terminal_text

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import IO

log = get_logger(__name__)

MAX_BACKLOG: Final = 8 * 1024 * 1024
"""Bytes that an agent may leave unread on its stdin."""

_READ_BYTES: Final = 64 * 1024  # what a pipe holds by default (pipe(7))
_BURST_BYTES: Final = 256 * 1024
_WRITES_AT_ONCE: Final = 16


def check_backlog(waiting: int, size: int, most: int) -> None:
    """Raise `AgentTimeout` where ``size`` more bytes would be too many; anything is accepted while nothing waits."""
    if waiting and waiting + size > most:
        raise AgentTimeout(
            f"cannot write to the agent: it has not read its stdin, {waiting} bytes are waiting; "
            "end its session if it does not recover"
        )


class PipeReader:
    """Reads a pipe on the event loop: calls ``on_data`` with each chunk and ``on_eof`` at the end, once.

    Owns the pipe and closes it. A chunk has up to 64 KiB. A pipe that was full is made larger, so that a fast stream
    comes in chunks of up to 256 KiB while 200 idle sessions stay within the kernel's allowance for pipes (pipe(7),
    pipe-user-pages-soft).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: IO[bytes],
        on_data: Callable[[bytes], None],
        on_eof: Callable[[], None] | None = None,
    ) -> None:
        self._loop = loop
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._on_data = on_data
        self._on_eof = on_eof
        self._size = _READ_BYTES
        self._reading = True
        os.set_blocking(self._descriptor, False)
        loop.add_reader(self._descriptor, self._read)

    def resume(self) -> None:
        """Read again."""
        if not self._reading and not self._pipe.closed:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._read)

    def pause(self) -> None:
        """Leave what comes in the pipe; the agent blocks once it is full."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def drain(self, limit: int = 1024 * 1024) -> None:
        """Read what is there now, unless reading is paused; ``limit`` bytes, as a grandchild may never stop writing."""
        while self._reading and limit > 0:
            size = self._read()
            if not size:
                return
            limit -= size

    def close(self) -> None:
        """Read no more; ``on_eof`` is not called."""
        if not self._pipe.closed:
            self._reading = False
            self._loop.remove_reader(self._descriptor)
            self._pipe.close()

    def _read(self) -> int:
        try:
            data = os.read(self._descriptor, self._size)
        except BlockingIOError:
            return 0
        except OSError as error:
            log.warning("pipe_failed", reason=str(error))
            data = b""
        if not data:
            self._end()
            return 0
        if len(data) == _READ_BYTES == self._size:
            self._size = _BURST_BYTES
            with contextlib.suppress(OSError):  # the user's allowance is used up: the pipe works as it is
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _BURST_BYTES)
        try:
            self._on_data(data)
        except Exception:
            # Broad: a callback of the event loop fails unseen, and what follows in the stream can't be trusted.
            log.exception("pipe_reader_failed")
            if self._on_eof is not None:
                self._end()
        return len(data)

    def _end(self) -> None:
        self.close()
        if self._on_eof is not None:
            self._on_eof()


class PipeWriter:
    """Writes to a pipe on the event loop, in order, from a bounded queue. Owns the pipe and closes it.

    ``backlog``: bytes queued that the pipe did not accept yet.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: IO[bytes], *, max_backlog: int = MAX_BACKLOG) -> None:
        self.backlog = 0
        self._loop = loop
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._max_backlog = max_backlog
        self._queue: deque[memoryview] = deque()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        os.set_blocking(self._descriptor, False)

    def write(self, data: bytes) -> None:
        """Write now what the pipe accepts, queue the rest; never block.

        Raises `AgentGone` where the pipe is closed on either side, and `AgentTimeout` where
        ``data`` would bring the backlog over its limit (one message of any size is accepted while nothing is queued).
        """
        if self._pipe.closed or self._closing:
            raise AgentGone("cannot write to the agent: its stdin is closed; start a new session")
        check_backlog(self.backlog, len(data), self._max_backlog)
        view = memoryview(data)
        if not self._queue:
            view = view[self._push(view) :]
            if self._pipe.closed:
                raise AgentGone("cannot write to the agent: it has closed its stdin; start a new session")
            if not view:
                return
            self._loop.add_writer(self._descriptor, self._flush)
        self._queue.append(view)
        self.backlog += len(view)

    def close(self, flush_seconds: float = 1.0) -> None:
        """Close the pipe once the queue is written, or after ``flush_seconds``, when the rest is dropped."""
        if self._pipe.closed:
            return
        self._closing = True
        if not self._queue or flush_seconds <= 0:
            self._shut()
        elif self._timer is None:
            self._timer = self._loop.call_later(flush_seconds, self._shut)

    def _push(self, view: memoryview) -> int:
        try:
            return os.write(self._descriptor, view)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self._shut()
            return 0

    def _flush(self) -> None:
        for _ in range(_WRITES_AT_ONCE):
            if not self._queue:
                break
            written = self._push(self._queue[0])
            if not written:
                return
            self.backlog -= written
            self._queue[0] = self._queue[0][written:]
            if not self._queue[0]:
                self._queue.popleft()
        if self._queue:
            return
        if self._closing:
            self._shut()
        else:
            self._loop.remove_writer(self._descriptor)

    def _shut(self) -> None:
        if self._pipe.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.backlog = 0
        self._loop.remove_writer(self._descriptor)
        self._pipe.close()


class StderrRing:
    """The last lines that an agent wrote to its stderr, as plain text.

    Lines are cleaned only when they are asked for: a chatty agent costs a split and a bounded copy. ``listener``, where
    set, is called on the event loop with the cleaned lines that each read completed (of a burst the last ``limit``);
    it must not raise.
    """

    def __init__(self, *, limit: int = 200, width: int = 2_000) -> None:
        self._ring: deque[bytes] = deque(maxlen=limit)
        self._limit = limit
        self._width = width
        self._raw_width = width * 4  # a character has at most four bytes in UTF-8
        self._partial = b""
        self.listener: Callable[[list[str]], None] | None = None

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        parts = data.rsplit(b"\n", self._limit + 1)
        rest = parts.pop()
        if parts:
            # With more breaks than the ring has lines, parts[0] is several lines in one; it drops out at once.
            parts[0] = self._partial + parts[0]
            fresh = [line[: self._raw_width] for line in parts]
            self._ring.extend(fresh)
            self._partial = b""
            if self.listener is not None:
                self.listener(list(map(self._clean, fresh[-self._limit :])))
        rest = self._partial + rest
        if len(rest) > self._raw_width:
            rest = rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :][: self._raw_width]
        self._partial = rest

    def lines(self) -> list[str]:
        """Return the last lines, oldest first, the unfinished one included.

        Each is cut at ``width`` characters. Escape sequences and control characters are removed, bad UTF-8 is
        replaced, and a line that was redrawn with carriage returns (a progress bar) is shown in its last state.
        """
        raw = [*self._ring, self._partial] if self._partial else [*self._ring]
        return list(map(self._clean, raw[-self._limit :]))

    def _clean(self, line: bytes) -> str:
        text = line.decode(errors="replace").rstrip("\r")
        text = text[text.rfind("\r") + 1 :]
        return terminal_text(text)[: self._width]
