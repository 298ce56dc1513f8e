"""One run of an engine's command-line client: its three pipes, its exit code, and its end.

The client is started by a spawn server of its own, below a supervisor (`acpbot.runtimes.local.spawn_server`). So what a
client leaves, such as the monitor of a Podman container, is below that server and never among the agents' processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Final

from acpbot.aio import Threads
from acpbot.runtimes.local.spawner import Spawner
from acpbot.runtimes.pipes import PipeReader, PipeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from acpbot.runtimes.local.spawner import Child

_REPORT_BYTES: Final = 64
_EXIT_CODE_LOST: Final = 255
_STARTS_AT_ONCE: Final = 8


class Client:
    """A client that runs. ``on_exit`` is called once, after what it wrote until then has been delivered.

    ``on_exit`` gets the exit code, minus the number of the signal that ended it.
    """

    def __init__(
        self,
        child: Child,
        *,
        on_stdout: Callable[[bytes], None],
        on_stdout_end: Callable[[], None] | None = None,
        on_stderr: Callable[[bytes], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = child.pid
        self._control = child.control
        self._on_exit = on_exit
        self._ended = False
        self.stdin = PipeWriter(self._loop, child.stdin)
        self.stdout = PipeReader(self._loop, child.stdout, on_stdout, on_stdout_end)
        self.stderr = PipeReader(self._loop, child.stderr, on_stderr)
        child.control.setblocking(False)
        self._loop.add_reader(child.control, self._on_report)

    def kill(self) -> None:
        """End the client at once. What it has asked of the engine may go on."""
        if not self._ended:  # until it is released, its supervisor keeps its pid from being given to others
            try:
                os.kill(self._pid, signal.SIGKILL)
            except ProcessLookupError:  # somebody has killed the supervisor
                return

    def close(self) -> None:
        """End the client where it runs, without a report, and release the pipes."""
        self.kill()
        self.stdin.close(0.0)
        self.stdout.close()
        self.stderr.close()
        self._release()

    def _on_report(self) -> None:
        try:
            report = self._control.recv(_REPORT_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            report = b""
        self._release()
        self.stderr.drain()
        self.stdout.drain()
        self._on_exit(int(report) if report else _EXIT_CODE_LOST)

    def _release(self) -> None:
        if not self._ended:
            self._ended = True
            self._loop.remove_reader(self._control)
            self._control.close()


class Clients:
    """Starts clients, with ``environ`` and nothing else in their environment."""

    def __init__(self, environ: Mapping[str, str], cwd: Path) -> None:
        self.environ = environ
        self._cwd = cwd
        self._spawner = Spawner({})
        self._threads = Threads("engine-start", _STARTS_AT_ONCE)

    async def start(self, argv: Sequence[str], more: Mapping[str, str] | None = None) -> Child:
        """Start a client, ``argv[0]`` its path; ``more`` is added to its environment. Cancelled, it leaves none.

        Raises `OSError` where it can't be started, and `ValueError` for arguments that no program can have.
        """
        env = {**self.environ, **(more or {})}
        try:
            starting = asyncio.wrap_future(self._threads.submit(self._spawner.start, argv, self._cwd, env))
        except RuntimeError as error:
            raise OSError(None, str(error)) from error
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_discard)
            raise

    def close(self) -> None:
        """Let the server end. Clients that run go on."""
        self._threads.shutdown()
        self._spawner.close()


def _discard(starting: asyncio.Future[Child]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        child = starting.result()
        os.kill(child.pid, signal.SIGKILL)  # its supervisor keeps the pid until `control` is closed
        child.close()


class Output:
    """What a client writes, bounded: of more than ``most`` bytes the last ones are kept."""

    def __init__(self, most: int, on_line: Callable[[str], None] | None = None) -> None:
        self._most = most
        self._on_line = on_line
        self._data = bytearray()
        self._line = b""
        self.cut = False

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        self._data += data
        if len(self._data) > self._most:
            del self._data[: len(self._data) - self._most]
            self.cut = True
        if self._on_line is None:
            return
        *lines, rest = (self._line + data).replace(b"\r", b"\n").split(b"\n")
        self._line = rest[-self._most :]
        for line in lines:
            self._on_line(line.decode(errors="replace"))

    def text(self) -> str:
        """Return it as text."""
        return self._data.decode(errors="replace")
