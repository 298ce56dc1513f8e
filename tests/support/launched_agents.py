"""Real agents for tests of the package that runs and ends them: shell and Python scripts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.procfs import Identity
from acpbot.runtimes.runtime import LaunchSpec

if TYPE_CHECKING:
    from typing import IO, TypeVar

    from acpbot.runtimes.local.procfs import Stat
    from acpbot.runtimes.runtime import AgentProcess

    Text = TypeVar("Text", str, bytes)

LIMIT = 15.0
PATH = os.environ.get("PATH", os.defpath)
ROOT = Path(__file__).parents[2]
PYTHON_ENV = {"PATH": PATH, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
"""For programs that import this package and these tests, installed or not."""


def stat_of(pid: int) -> Stat:
    """The stat of a process that exists."""
    stat = procfs.read_stat(pid)
    assert stat is not None, f"no process {pid}"
    return stat


def pipe_of(pipe: IO[Text] | None) -> IO[Text]:
    """A pipe that was asked for."""
    assert pipe is not None
    return pipe


class Sink:
    """Keeps an agent's stdout; tests wait for its lines."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.chunks = 0
        self.ended = asyncio.Event()
        self._news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.chunks += 1
        self._news.set()

    def eof(self) -> None:
        assert not self.ended.is_set()
        self.ended.set()
        self._news.set()

    async def line(self) -> str:
        """The next line."""
        async with asyncio.timeout(LIMIT):
            while b"\n" not in self.data:
                assert not self.ended.is_set(), f"stdout ended: {bytes(self.data)!r}"
                self._news.clear()
                await self._news.wait()
        line, _, rest = bytes(self.data).partition(b"\n")
        self.data[:] = rest
        return line.decode()

    async def size(self, count: int) -> None:
        """Wait for so many bytes."""
        async with asyncio.timeout(LIMIT):
            while len(self.data) < count:
                self._news.clear()
                await self._news.wait()


class AgentRunner:
    """Launches scripts with one launcher, each in a session of its own."""

    def __init__(self, launcher, cwd: Path) -> None:
        self.launcher = launcher
        self.cwd = cwd
        self.processes: list[AgentProcess] = []
        self._number = 0

    def spec(self, *argv: str, env=None, **more) -> LaunchSpec:
        self._number += 1
        session_id = more.pop("session_id", f"t{os.getpid()}-{self._number}")
        return LaunchSpec(
            argv=argv, cwd=more.pop("cwd", self.cwd), env={"PATH": PATH, **(env or {})}, session_id=session_id, **more
        )

    async def start(self, *argv: str, **more):
        sink = Sink()
        process = await self.launcher.launch(self.spec(*argv, **more), sink)
        self.processes.append(process)
        return process, sink

    async def sh(self, script: str, **more):
        return await self.start("sh", "-c", script, **more)

    async def python(self, script: str, *args: str, **more):
        return await self.start(sys.executable, "-S", "-c", script, *args, **more)

    async def aclose(self) -> None:
        for process in self.processes:
            await process.aclose()
        await self.launcher.aclose()


class Watch:
    """Refers to one process by a pidfd, so that a test asserts that it has ended, not that its pid is free."""

    def __init__(self, pid: int) -> None:
        self.key = stat_of(pid).key
        self._pidfd = os.pidfd_open(pid)

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, within so many seconds."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1_000))

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        os.close(self._pidfd)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


DAEMON = """
import asyncio, os, sys
from pathlib import Path
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.runtime import LaunchSpec

class Sink:
    def data_received(self, data): os.write(1, data)
    def eof(self): pass

async def main(kind, script):
    launcher, _ = local_runtime(kind, owns_children=True)
    spec = LaunchSpec(argv=("sh", "-c", script), cwd=Path.cwd(), env=dict(os.environ), session_id="left-over")
    process = await launcher.launch(spec, Sink())
    loop = asyncio.get_running_loop()
    words = asyncio.Queue()
    loop.add_reader(0, lambda: words.put_nowait(os.read(0, 100).decode().strip()))
    while (word := await words.get()):
        if word == "strays":
            print("strays", *(info.pid for info in await launcher.look_for_strays()), flush=True)
        elif word == "sample":
            usage = await launcher.sample([process])
            print("sampled", usage["left-over"].processes, flush=True)
        elif word == "write":
            process.write(b"\\n")
        elif word == "close-session":
            await process.aclose()
            print("closed", flush=True)
    await launcher.aclose()
    print("stopped", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Daemon:
    """A process of its own that runs agents, as the daemon does."""

    def __init__(self, kind: str, script: str, cwd) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", DAEMON, kind, script],
            cwd=cwd,
            env=PYTHON_ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.start_time = stat_of(self.popen.pid).start_time
        self.identity = Identity.own()._replace(pid=self.popen.pid, start_time=self.start_time)

    def line(self) -> str:
        return pipe_of(self.popen.stdout).readline().strip()

    def ask(self, word: str) -> str:
        pipe_of(self.popen.stdin).write(word + "\n")
        return self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe_of(self.popen.stdin).close()
        try:
            self.popen.wait(LIMIT)
        finally:
            self.popen.kill()
            self.popen.wait()
            pipe_of(self.popen.stdout).close()
