"""Limits without a cgroup for each session: acpbot looks, ends who takes more, and says so; memory that is short."""

from __future__ import annotations

import os
import signal

import pytest

from acpbot.runtimes.local.limits import Limits, OomKills, memory_of
from acpbot.runtimes.local.procfs import read_file
from acpbot.runtimes.local.runtime import LocalRuntime
from acpbot.runtimes.runtime import Usage
from tests.support.launched_agents import AgentRunner, stat_of

MIB = 1024 * 1024
EATS = "import signal; kept = bytearray(64 << 20); print('eaten', flush=True); signal.pause()"


@pytest.fixture
async def events(tmp_path):
    file = tmp_path / "memory.events"
    file.write_text("low 0\nhigh 0\nmax 0\noom 0\noom_kill 3\n")
    return file


@pytest.fixture
async def runner(tmp_path, events):
    launcher = LocalRuntime(oom_kills=OomKills(events))
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


async def test_an_agent_that_takes_more_memory_than_it_may_is_ended_and_memory_is_the_reason(runner):
    process, sink = await runner.python(EATS, memory_max=32 * MIB)
    assert await sink.line() == "eaten"
    await runner.launcher.sample([process])
    assert await process.wait() == -signal.SIGKILL
    assert process.end_reason == "out of memory: it and its tools took more than 32 MiB"


async def test_a_tool_that_has_left_the_agents_group_counts_too(runner):
    script = f'setsid python3 -c "{EATS}" & read _'
    process, sink = await runner.sh(script, memory_max=32 * MIB)
    assert await sink.line() == "eaten"
    await runner.launcher.sample([process])
    assert await process.wait() == -signal.SIGKILL
    assert await process.look() == []


async def test_memory_that_processes_share_counts_once(runner):
    forks = "import os, sys; kept = bytearray(24 << 20); [os.fork() and None for _ in range(2)]; "
    forks += "print('up', flush=True); sys.stdin.read()"
    process, sink = await runner.python(forks, memory_max=64 * MIB)
    for _ in range(4):
        assert await sink.line() == "up"
    usage = (await runner.launcher.sample([process]))[process.session_id]
    assert usage.rss_bytes > 64 * MIB
    assert process.returncode is None
    assert 24 * MIB < memory_of([stat_of(info.pid) for info in await process.look()]) < 64 * MIB


async def test_an_agent_with_more_processes_than_it_may_have_is_ended(runner):
    process, sink = await runner.sh("for i in 1 2 3 4 5; do sleep 100 & done; echo up; read _", pids_max=4)
    assert await sink.line() == "up"
    await runner.launcher.sample([process])
    assert await process.wait() == -signal.SIGKILL
    assert process.end_reason == "it and its tools were more than 4 processes"


async def test_an_agent_within_its_limits_goes_on(runner):
    process, sink = await runner.sh("echo up; read answer; echo $answer", memory_max=1 << 30, pids_max=64)
    assert await sink.line() == "up"
    await runner.launcher.sample([process])
    process.write(b"on\n")
    assert await sink.line() == "on"


async def test_a_kill_by_the_kernel_for_want_of_memory_is_the_reason(runner, events):
    process, sink = await runner.sh("echo up; read _")
    await sink.line()
    await runner.launcher.sample([process])
    events.write_text("oom 1\noom_kill 4\n")
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert process.end_reason == "out of memory: the machine or the container in which it ran had none left"


async def test_another_kill_is_none_for_want_of_memory(runner, events):
    events.write_text("oom_kill 9\n")
    process, sink = await runner.sh("echo up; read _")
    await sink.line()
    os.kill(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    assert process.end_reason == "SIGKILL"


async def test_a_kill_of_acpbot_is_none_for_want_of_memory(runner, events):
    process, sink = await runner.sh("echo up; read _")
    await sink.line()
    events.write_text("oom_kill 4\n")
    await process.kill_all()
    assert process.end_reason == "SIGKILL"


async def test_the_kernel_takes_an_agent_before_it_takes_acpbot(runner):
    process, sink = await runner.sh("cat /proc/self/oom_score_adj; (cat /proc/self/oom_score_adj); read _")
    assert (await sink.line(), await sink.line()) == ("1000", "1000")
    assert read_file("/proc/self/oom_score_adj") != b"1000\n"
    await process.kill_all()


def test_what_the_kernel_holds_is_not_held_twice():
    assert Limits().exceeded(Usage(10**6, 10**15, 0.0)) is None
    assert Limits(memory_max=5).exceeded(Usage(1, 5, 0.0)) is None
    assert Limits(pids_max=5).exceeded(Usage(5, 10, 0.0)) is None


def test_a_count_that_is_not_there_is_none(tmp_path):
    assert OomKills(tmp_path / "away").count() == 0
    assert OomKills().count() >= 0
