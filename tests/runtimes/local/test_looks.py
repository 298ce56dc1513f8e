"""Looks at all processes: the event loop never waits for one, and one that fails never reads as 'nothing is left'."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from acpbot.runtimes.local.cgroup import Cgroup
from tests.support.launched_agents import LIMIT, PYTHON_ENV

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acpbot.runtimes.local.process import LocalProcess


@asynccontextmanager
async def scan_held_open(process: LocalProcess, folder: Path) -> AsyncIterator[asyncio.Task[object]]:
    """A scan that waits in the middle: the list of a session's processes is a pipe to which nobody writes.

    The session's real cgroup is put back afterwards.
    """
    real = process._session.cgroup
    os.mkfifo(folder / "cgroup.procs")
    process._session.cgroup = Cgroup(folder)
    scan = asyncio.create_task(process.look())
    writer = await asyncio.wait_for(asyncio.to_thread(os.open, folder / "cgroup.procs", os.O_WRONLY), LIMIT)
    process._session.cgroup = real
    try:
        yield scan
    finally:
        os.close(writer)
        await asyncio.wait_for(scan, LIMIT)


async def test_sessions_begin_and_end_while_a_scan_runs(runner, tmp_path):
    """Each of these is done on the event loop."""
    folder = tmp_path / "held"
    folder.mkdir()
    process, _ = await runner.sh("read _")
    ended, _ = await runner.sh("exit 3")
    assert await asyncio.wait_for(ended.wait(), LIMIT) == 3
    tracker = runner.launcher._tracker

    def begin_and_end() -> None:
        tracker.unregister(tracker.register("meanwhile"))
        tracker.unregister(ended._session)

    async with scan_held_open(process, folder) as scan:
        worker = threading.Thread(target=begin_and_end, daemon=True)
        worker.start()
        await asyncio.to_thread(worker.join, 2.0)
        assert not worker.is_alive(), "it waits for the scan"
        assert not scan.done()
        other, sink = await asyncio.wait_for(runner.sh("echo up; read _"), LIMIT)
        assert await sink.line() == "up"
        other.close_stdin()
        assert await asyncio.wait_for(other.wait(), LIMIT) == 1
        assert not scan.done()


OUT_OF_DESCRIPTORS = """
import asyncio, os, resource, signal
from pathlib import Path
from acpbot.runtimes.local import cgroup, leftovers, peer, procfs
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.local.procfs import Identity
from acpbot.runtimes.runtime import LaunchSpec

class Sink:
    def __init__(self): self.up = asyncio.Event()
    def data_received(self, data): self.up.set()
    def eof(self): pass

def take_all():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    taken = []
    while True:
        try: taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: return taken

async def raised(name, look):
    try: result = look()
    except OSError as error: result = error
    try: result = await result if asyncio.iscoroutine(result) else result
    except OSError as error: result = error
    print(name, type(result).__name__ if isinstance(result, OSError) else result)

async def main():
    launcher, _ = local_runtime("subreaper")
    env = dict(os.environ, COLUMNS="80")
    script = "setsid sleep 1000 & echo up; read _"
    sink = Sink()
    spec = LaunchSpec(argv=("sh", "-c", script), cwd=Path.cwd(), env=env, session_id="poor")
    process = await launcher.launch(spec, sink)
    await sink.up.wait()
    own = Identity.own()
    key = procfs.read_stat(process.pid).key
    tool = next(stat for stat in procfs.newest_first() if stat.ppid == process.pid)
    os.mkdir("acpbot-1-2-3")
    take_all()
    print("look", len(await process.look()))
    print("sample", (await launcher.sample([process]))["poor"].processes)
    await raised("read_stat", lambda: procfs.read_stat(process.pid))
    await raised("living", lambda: procfs.living(key))
    await raised("read_markers", lambda: procfs.read_markers(process.pid))
    await raised("signal_process", lambda: procfs.signal_process(key, signal.SIGCONT))
    await raised("boot_id", procfs.boot_id)
    await raised("members", lambda: cgroup.Cgroup(Path.cwd()).members())
    await raised("sessions_of", lambda: cgroup.sessions_of(Path.cwd()))
    await raised("leftovers", lambda: cgroup.leftovers(Path.cwd(), own))
    print("is_of_an_agent", peer.is_of_an_agent(os.getppid()))
    try: leftovers.kill_orphans()
    except Exception as error: print("kill_orphans", type(error).__name__)
    launcher._tracker._free_reserve()
    taken = take_all()
    await raised("kill without a reserve", process.kill_all)
    await raised("aclose without a reserve", process.aclose)
    for descriptor in taken: os.close(descriptor)
    report = await process.kill_all()
    print("kill_all", report.left, report.settled, procfs.living(tool.key))
    await process.aclose()
    await launcher.aclose()

asyncio.run(main())
"""


def test_without_a_free_descriptor_no_look_says_that_nothing_is_there(tmp_path):
    """The tracker's own looks and kills use reserved descriptors, and are still a proof.

    Where even those are gone, a kill fails; to close the process frees its pipes, and is a proof again.
    """
    command = [sys.executable, "-c", OUT_OF_DESCRIPTORS]
    result = subprocess.run(
        command, env=PYTHON_ENV, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    looks = ["read_stat", "living", "read_markers", "signal_process"]
    looks += ["boot_id", "members", "sessions_of", "leftovers"]
    assert result.stdout.splitlines() == [
        "look 2",
        "sample 2",
        *(f"{name} OSError" for name in looks),
        "is_of_an_agent None",
        "kill_orphans StartError",
        "kill without a reserve OSError",
        "aclose without a reserve None",
        "kill_all () True False",
    ], result.stderr
