"""Accepts the connections of a listening socket, a few in each pass of the event loop, also when descriptors run out.

asyncio's own servers accept a hundred connections in one pass, and where no descriptor is left they log a hundred
errors a second and leave every client without an answer. Source: accept(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet
from acpbot.logs import SeldomLogger, get_logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

log = get_logger(__name__)

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_AT_ONCE: Final = 64
_SERVED_AT_ONCE: Final = 8
_RESERVED: Final = 8
_LENT: Final = 3
_PAUSE_SECONDS: Final = 1.0


class Acceptor:
    """Serves each connection with a protocol that ``factory`` makes, until :meth:`close`.

    ``refusal`` returns a line for a connection that is closed at once, which costs a tenth of serving it. ``wait``
    returns how many seconds the next connection has to wait.
    A few descriptors are reserved for the time when no other is left. Connections accepted then find :attr:`short`
    true; an owner that closes most of them goes on answering. It calls :meth:`refill` when a connection has ended.
    """

    def __init__(
        self,
        listening: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        name: str,
        refusal: Callable[[socket.socket], bytes | None] = lambda _: None,
        wait: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._listening = listening
        self._factory = factory
        self._refusal = refusal
        self._wait = wait
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskSet(name)
        self._log = SeldomLogger(log)
        self._reserve: list[int] = []
        self._loans = 0
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False
        self.refill()
        self._update_reading()

    def close(self) -> None:
        """Accept no more, and close the listening socket."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        self._update_reading()
        self._listening.close()
        self._tasks.cancel_soon()
        while self._reserve:
            os.close(self._reserve.pop())

    @property
    def short(self) -> bool:
        """Whether descriptors of the reserve are in use: there are no others left."""
        return len(self._reserve) < _RESERVED

    @property
    def exhausted(self) -> bool:
        """Whether what is left of the reserve is needed to examine and to refuse clients: serve no other one."""
        return len(self._reserve) <= _LENT + 1

    @contextlib.contextmanager
    def lend(self) -> Iterator[None]:
        """Leave some of the reserve to the code in the block, if there are no other descriptors.

        Nothing is accepted meanwhile: it would use them up. Blocks that overlap share them.
        """
        if not self.short and _are_free(_LENT):
            yield
            return
        self._loans += 1
        if self._loans == 1:
            self._update_reading()
            for descriptor in self._reserve[:_LENT]:
                os.close(descriptor)
            del self._reserve[:_LENT]
        try:
            yield
        finally:
            self._loans -= 1
            self.refill()
            self._update_reading()

    def refill(self) -> None:
        """Reserve descriptors again, as far as there are any."""
        if self._loans:
            return
        try:
            while self.short and not self._closed:
                self._reserve.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self._log.warning("descriptors_exhausted", socket=self._name, reason=error.strerror)

    def _accept(self) -> None:
        if self.short:
            self.refill()
        if (seconds := self._wait()) > 0:
            self._pause(seconds)
            return
        served = 0
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
                self._accept_from_reserve(error)
                return
            served += self._serve(connection)
            if served == _SERVED_AT_ONCE:
                return

    def _accept_from_reserve(self, error: OSError) -> None:
        """Accept one connection with a reserved descriptor; where that fails too, pause."""
        self._log.warning("descriptors_exhausted", socket=self._name, reason=error.strerror)
        if self._reserve:
            os.close(self._reserve.pop())
            try:
                connection, _address = self._listening.accept()
            except OSError:
                pass  # another process was faster, or the client has gone: the pause is the answer to both
            else:
                self._serve(connection)
                return
        self._pause(_PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        self._resume = self._loop.call_later(seconds, self._on_resume)
        self._update_reading()

    def _on_resume(self) -> None:
        self._resume = None
        self._update_reading()

    def _update_reading(self) -> None:
        if self._closed or self._loans or self._resume is not None:
            self._loop.remove_reader(self._listening.fileno())
        else:
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def _serve(self, connection: socket.socket) -> bool:
        """Serve the connection, or refuse it; returns whether it is served."""
        connection.setblocking(False)
        if (line := self._refusal(connection)) is not None:
            with contextlib.suppress(OSError):  # the client has gone already
                connection.send(line)
            connection.close()
            return False
        self._tasks.start(self._loop.connect_accepted_socket(self._factory, connection), name="accept")
        return True


def _are_free(count: int) -> bool:
    """Whether so many descriptors can be opened now."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True
