"""An agent's three pipes, without a thread and without a wait.

Nothing here depends on a pipe's end: a grandchild may hold stdout open for hours after its agent has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from typing import TYPE_CHECKING, Final

from acpbot.errors import AgentGone, AgentTimeout

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_BACKLOG: Final = 8 * 1024 * 1024
"""Bytes that an agent may leave unread on its stdin."""

_READ_BYTES: Final = 64 * 1024  # what a pipe holds by default (pipe(7))
_BURST_BYTES: Final = 256 * 1024
_WRITES_AT_ONCE: Final = 16


class PipeReader:
    """Reads a pipe on the event loop and hands each chunk to ``on_data``, the end to ``on_eof``, once.

    Takes the descriptor over. Chunks have up to 64 KiB; a pipe that was found full is made larger, so that a stream
    comes in chunks of up to 256 KiB while 200 idle sessions stay within the kernel's allowance for pipes (pipe(7),
    pipe-user-pages-soft).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        descriptor: int,
        on_data: Callable[[bytes], None],
        on_eof: Callable[[], None],
    ) -> None:
        os.set_blocking(descriptor, False)
        self._loop = loop
        self._descriptor = descriptor
        self._on_data = on_data
        self._on_eof = on_eof
        self._size = _READ_BYTES
        self._reading = False
        self._open = True
        self.resume()

    def resume(self) -> None:
        """Read again."""
        if self._open and not self._reading:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._read)

    def pause(self) -> None:
        """Leave what comes in the pipe; its writer blocks once it is full."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def drain(self, limit: int = 1024 * 1024) -> None:
        """Read what is there now, unless reading is paused; ``limit`` bytes, for a grandchild may write on and on."""
        while self._reading and limit > 0:
            taken = self._read()
            if not taken:
                return
            limit -= taken

    def close(self) -> None:
        """Read no more; ``on_eof`` is not called."""
        self.pause()
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def _read(self) -> int:
        try:
            data = os.read(self._descriptor, self._size)
        except BlockingIOError:
            return 0
        if not data:
            self.close()
            self._on_eof()
            return 0
        if len(data) == _READ_BYTES == self._size:
            self._size = _BURST_BYTES
            with contextlib.suppress(OSError):  # the user's allowance is used up: the pipe works as it is
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _BURST_BYTES)
        self._on_data(data)
        return len(data)


class PipeWriter:
    """Writes to a pipe on the event loop, in order, from a bounded queue. Takes the descriptor over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int, *, max_backlog: int = MAX_BACKLOG) -> None:
        os.set_blocking(descriptor, False)
        self._loop = loop
        self._descriptor = descriptor
        self._max_backlog = max_backlog
        self._queue: deque[memoryview] = deque()
        self._open = True
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self.backlog = 0
        """Bytes queued that the pipe did not take yet."""

    def write(self, data: bytes) -> None:
        """Write now what the pipe takes, queue the rest; never block.

        Raises `AgentGone` where the pipe is closed on either side, and `AgentTimeout` where ``data`` would bring the
        backlog over its limit (one message of any size is taken while nothing is queued).
        """
        if not self._open or self._closing:
            raise AgentGone("cannot write to the agent: its stdin is closed; start a new session")
        if self.backlog and self.backlog + len(data) > self._max_backlog:
            raise AgentTimeout(
                f"cannot write to the agent: it has not read its stdin, {self.backlog} bytes are waiting; "
                "end its session if it does not recover"
            )
        view = memoryview(data)
        if not self._queue:
            view = view[self._push(view) :]
            if not self._open:
                raise AgentGone("cannot write to the agent: it has closed its stdin; start a new session")
            if not view:
                return
            self._loop.add_writer(self._descriptor, self._flush)
        self._queue.append(view)
        self.backlog += len(view)

    def close(self, flush_seconds: float = 0.0) -> None:
        """Close the pipe once the queue is written, or after ``flush_seconds`` with the rest dropped."""
        if not self._open:
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
        if not self._open:
            return
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self.backlog = 0
        self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
