"""Programs in containers: started, read, written to, signalled, and counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tty
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fakes.kubernetes.sandbox import READY, Setup, obstacle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Output = Callable[[int, bytes], object]

CHUNK: Final = 32 * 1024
STDOUT, STDERR = 1, 2


class CannotStart(Exception):
    """The program did not start; the text is what the container runtime says."""


class Program:
    """One running program and its streams: PID 1 of a container, or what an exec started beside it."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int | None = None) -> None:
        self.process = process
        self.stdin = process.stdin
        self._terminal = terminal
        self._killed = False

    @classmethod
    async def start(cls, command: Sequence[str], environ: dict[str, str], *, stdin: bool, on_tty: bool) -> Program:
        """CannotStart where the program is not there, or its namespaces cannot be made."""
        master = slave = None
        if on_tty:
            master, slave = os.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=slave if slave is not None else asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                stdout=slave if slave is not None else asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
        finally:
            if slave is not None:
                os.close(slave)
        made = cls(process, master)
        assert process.stderr is not None
        first = await process.stderr.readline()
        if first != READY:
            await made.close()
            text = first.decode(errors="replace").strip() or f"the container ended with status {process.returncode}"
            raise CannotStart(text)
        return made

    @property
    def pid(self) -> int | None:
        """The program as a process of this machine; ``None`` when it has ended."""
        if obstacle():
            return self.process.pid if self.process.returncode is None else None
        try:
            text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        except OSError:
            return None
        return int(text.split()[0]) if text.split() else None

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    async def read(self, output: Output) -> int:
        """Hands on all that it writes, waits for its end, and returns its exit code: 128 + n for signal n."""
        assert self.process.stderr is not None

        async def pump(stream: asyncio.StreamReader, channel: int) -> None:
            while data := await stream.read(CHUNK):
                if asyncio.iscoroutine(waiting := output(channel, data)):
                    await waiting

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(self.process.stderr, STDERR))
            if self.process.stdout is not None:
                group.create_task(pump(self.process.stdout, STDOUT))
            if self._terminal is not None:
                group.create_task(self._pump_terminal(output))
        code = await self.process.wait()
        if self._killed and code == 1:
            return 128 + signal.SIGKILL  # unshare(1) reports a child that SIGKILL ended by 1
        return code if code >= 0 else 128 - code

    async def _pump_terminal(self, output: Output) -> None:
        assert self._terminal is not None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        pipe = os.fdopen(os.dup(self._terminal), "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            # Linux reports the end of a terminal as EIO, not as the end of a file.
            with contextlib.suppress(OSError):
                while data := await reader.read(CHUNK):
                    if asyncio.iscoroutine(waiting := output(STDOUT, data)):
                        await waiting
        finally:
            transport.close()

    async def write(self, data: bytes) -> None:
        """Writes to its standard input; what it does not read any more is dropped."""
        if self._terminal is not None:
            os.write(self._terminal, data)
            return
        if self.stdin is None or self.stdin.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            self.stdin.write(data)
            await self.stdin.drain()

    def write_eof(self) -> None:
        """Closes its standard input."""
        if self._terminal is not None:
            os.write(self._terminal, b"\x04")
        elif self.stdin is not None:
            self.stdin.close()

    def resize(self, columns: int, rows: int) -> None:
        """Tells its terminal the size of the window."""
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                tty.tcsetwinsize(self._terminal, (rows, columns)) if hasattr(tty, "tcsetwinsize") else None

    def signal(self, number: signal.Signals) -> None:
        """Signals the program; SIGKILL to PID 1 ends every process of the container."""
        pid = self.pid
        self._killed = self._killed or number == signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            if obstacle() and number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            elif pid is not None:
                os.kill(pid, number)
            elif self.process.returncode is None:
                self.process.kill()

    async def close(self) -> None:
        """Kills it, and gives back what it holds."""
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
        await self.process.wait()
        if self.stdin is not None:
            self.stdin.close()
        self._close_transport()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def _close_transport(self) -> None:
        # A pipe that a process outside keeps open would keep the transport open: only without namespaces.
        self.process._transport.close()  # type: ignore[attr-defined]  # there is no public way


async def run_beside(setup: Setup, pid: int, argv: list[str], *, stdin: bool, on_tty: bool) -> Program:
    """A further program in the container whose PID 1 is process `pid` of this machine."""
    command = setup.enter(pid, argv, tty=on_tty)
    return await Program.start(command, setup.environ, stdin=stdin, on_tty=on_tty)


def pids_with(pid: int) -> list[int]:
    """All processes in the process namespace of `pid`, as this machine numbers them; empty when it has ended."""
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - it is no path
    except OSError:
        return []
    return pids_in(wanted)


def pids_in(namespace: str) -> list[int]:
    """All processes of a process namespace, which is named as /proc/PID/ns/pid reads."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(entry / "ns/pid") == namespace:  # noqa: PTH115
                    found.append(int(entry.name))
    return sorted(found)


def resident(pid: int) -> int:
    """Bytes of memory that the process holds; 0 when it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


__all__ = ["STDERR", "STDOUT", "CannotStart", "Program", "Setup", "pids_in", "pids_with", "resident", "run_beside"]
