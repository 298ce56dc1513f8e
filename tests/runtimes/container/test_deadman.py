"""The dead-man by itself: it ends the containers of one run of a daemon once nobody holds its pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acpbot.runtimes.container import deadman_program
from tests.runtimes.conformance import places
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.container_engine import IMAGE
from tests.support.launched_agents import pipe_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 60.0
DEAF = """
import signal
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def deadman(program: str, label: str, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One that runs; the pipe from the daemon is its stdin."""
    argv = [sys.executable, "-I", "-S", deadman_program.__file__, program, label]
    with subprocess.Popen(argv, env={**os.environ, **environ}, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def ignores(pid: int, number: int) -> bool:
    """Whether a process ignores a signal (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(mask >> (number - 1) & 1)


@pytest.mark.runtimes
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_agent_that_ignores_everything_ends_with_the_daemon_that_has_started_it(name, request):
    """No client holds its stdin, so that no end of a stream reaches it. Those of another run go on."""
    engine = request.getfixturevalue(name)
    own, other = (f"acpbot.run={name}-{os.getpid()}-{number}" for number in (1, 2))
    for label in (own, other):
        engine.run("run", "--detach", "--init", "--label", label, IMAGE, "python3", "-c", DEAF)

    def running(label: str) -> int:
        return len(engine.run("ps", "--quiet", "--filter", f"label={label}").split())

    try:
        with deadman(engine.program, own, dict(engine.environ)) as process:
            while not ignores(process.pid, signal.SIGTERM):
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert (running(own), running(other)) == (1, 1), "the daemon lives, as far as it knows"
            pipe_of(process.stdin).close()
            assert process.wait(LIMIT) == 0
        assert (running(own), running(other)) == (0, 1)
        assert engine.run("ps", "--all", "--quiet", "--filter", f"label={own}") == ""
    finally:
        for label in (own, other):
            found = engine.run("ps", "--all", "--quiet", "--filter", f"label={label}").split()
            if found:
                engine.run("rm", "--force", *found)


def deadmen() -> set[int]:
    """The dead-men that this process has started, by their pids."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if deadman_program.__file__.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                pid = parent = int(entry.name)
                while parent not in {0, os.getpid()}:
                    parent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
                if parent:
                    found.add(pid)
    return found


@pytest.mark.runtimes
@pytest.mark.timeout(240)
async def test_one_that_somebody_has_ended_is_started_again_within_a_minute(podman, tmp_path):
    before = deadmen()
    place = places.PODMAN.with_engine(podman.environ)
    async with place.runtime(new_word()) as runtime:
        scene = Scene(place, runtime, tmp_path)
        agent = await scene.start()
        (first,) = deadmen() - before
        os.kill(first, signal.SIGKILL)
        while not (after := deadmen() - before - {first}):
            await runtime.leftovers([], [agent.word])  # as each minute
        assert len(after) == 1
        assert await agent.ask("echo 1") == "echo 1"
        await scene.aclose()
    assert deadmen() == before


ENGINE = """#!/bin/sh
echo "$*" >> '{folder}/calls'
case $(wc -l < '{folder}/calls') in
    1 | 2) echo 'cannot connect' >&2; exit 125 ;;
    3) echo one; echo two ;;
esac
"""


def test_it_asks_again_where_the_engine_fails_and_until_nothing_comes_any_more(tmp_path: Path):
    program = tmp_path / "engine"
    program.write_text(ENGINE.format(folder=tmp_path))
    program.chmod(0o755)
    pauses: list[float] = []
    deadman_program.end_containers(str(program), "acpbot.run=1", pauses.append)
    calls = (tmp_path / "calls").read_text().splitlines()
    look = "ps --all --no-trunc --quiet --filter label=acpbot.run=1"
    assert calls == [look, look, look, "rm --force --volumes one two", look, look, look]
    assert len(pauses) == 4
