"""A kill proves that nothing is left, whatever an agent's tools do to escape. Real processes, both launchers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from acpbot.errors import StartError
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import Cgroup
from acpbot.runtimes.local.runtime import hold_subreaper, is_subreaper, local_runtime, release_subreaper
from tests.support.launched_agents import LIMIT, PYTHON_ENV, Watch, pipe_of, stat_of

# A storm that ends by itself: a test that fails must not take the machine along.
STORM = """
import os, sys, time
end = time.monotonic() + 20
mode, chains = sys.argv[1], int(sys.argv[2])
def away():
    if "setsid" in mode: os.setsid()
def chain():
    turns = 0
    while time.monotonic() < end:
        if os.fork(): os._exit(0)
        away()
        turns += 1
        if turns == 5: os.write(1, b"up\\n")
    os._exit(0)
def tree(tokens):
    while time.monotonic() < end:
        try: os.read(tokens, 1)
        except BlockingIOError: break
        if os.fork() == 0:
            away()
            os.write(1, b"up\\n")
    time.sleep(max(0, end - time.monotonic()))
    os._exit(0)
if "tree" in mode:
    tokens, fill = os.pipe()
    os.set_blocking(tokens, False)
    os.write(fill, b"." * 200)
    tree(tokens)
for _ in range(chains):
    if os.fork() == 0:
        away()
        chain()
time.sleep(20)
"""


def other_child(*argv: str) -> subprocess.Popen:
    """A child of this process that is no agent."""
    return subprocess.Popen(argv, start_new_session=True)


async def ended(process, *, killed: int | None = None, deadline: float = 10.0):
    """Kill, and hold the report against what the system says."""
    report = await process.kill_all(deadline)
    assert report.left == ()
    assert report.settled
    assert report.looks >= 2
    if killed is not None:
        # A subshell that was about to exit by itself may have been met as well.
        assert killed <= report.killed <= killed + 1
    assert await process.look() == []
    return report


async def test_a_kill_ends_a_tool_that_runs_in_a_session_of_its_own(runner):
    process, sink = await runner.sh("setsid sh -c 'echo $$; exec sleep 1000' & read _; exit 0")
    with Watch(int(await sink.line())) as tool:
        process.close_stdin()
        await process.wait()
        assert not tool.ended()
        await ended(process, killed=1)
        assert tool.ended()


async def test_a_kill_ends_a_daemonized_tool(runner):
    script = "setsid sh -c '(setsid sh -c \"echo \\$\\$; exec sleep 1000\" &) ; exit 0'; read _"
    process, sink = await runner.sh(script)
    with Watch(int(await sink.line())) as tool:
        infos = await process.look()
        assert infos[0].pid == process.pid
        assert tool.key in {(info.pid, info.start_time) for info in infos}
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_kill_ends_processes_that_ignore_every_signal(runner):
    process, sink = await runner.sh(
        "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM INT HUP; echo $$; while :; do sleep 1000; done' & "
        "while :; do sleep 1000; done"
    )
    with Watch(int(await sink.line())) as tool:
        process.terminate()
        process.close_stdin()
        await process.look()
        assert process.alive
        await ended(process)
        assert tool.ended()
    assert process.returncode == -signal.SIGKILL


async def test_a_kill_ends_a_stopped_process(runner):
    process, sink = await runner.sh("setsid sh -c 'echo $$; kill -STOP $$' & read _")
    with Watch(int(await sink.line())) as tool:
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_kill_ends_a_process_whose_main_thread_has_ended(runner):
    script = (
        "import ctypes, os, threading\n"
        "os.setsid() if os.fork() == 0 else input()\n"
        "def work():\n"
        "    while ') Z' not in open('/proc/self/stat').read(): pass\n"
        "    print(os.getpid(), flush=True)\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=work).start()\n"
        "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)\n"
    )
    process, sink = await runner.python(script)
    with Watch(int(await sink.line())) as tool:
        assert tool.key.pid in {info.pid for info in await process.look()}
        await ended(process, killed=2)
        assert tool.ended()


@pytest.mark.parametrize("mode", ["tree", "tree setsid", "chain", "chain setsid"])
async def test_no_process_of_a_fork_storm_runs_after_a_proven_kill(runner, mode):
    process, sink = await runner.python(STORM, mode, "2")
    for _ in range(2 if "chain" in mode else 20):
        await sink.line()
    await ended(process)
    survivors = [
        stat
        for stat in procfs.newest_first()
        if not stat.ended and procfs.read_markers(stat.pid)[0] == process.session_id
    ]
    assert survivors == []


async def test_a_process_with_a_clean_environment_is_found_if_a_look_saw_it_before(runner):
    """``env -i`` takes the marker away; the tool is remembered by (pid, start time)."""
    script = (
        "exec 3<&0; "
        "sh -c 'setsid env -i /bin/sh -c \"echo \\$\\$; exec sleep 1000\" & read _ <&3' & "
        "wait; exec sleep 1000"
    )
    process, sink = await runner.sh(script)
    with Watch(int(await sink.line())) as tool:
        assert procfs.read_markers(tool.key.pid) == (None, None)
        assert tool.key in {(info.pid, info.start_time) for info in await process.look()}
        with Watch(stat_of(tool.key.pid).ppid) as parent:
            process.write(b"\n")
            assert parent.ended(LIMIT)
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_process_with_a_clean_environment_is_found_by_its_unix_session(runner):
    process, sink = await runner.sh("(env -i /bin/sh -c 'echo $$; exec sleep 1000' &); read _")
    with Watch(int(await sink.line())) as tool:
        assert stat_of(tool.key.pid).sid == process.pid
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_cgroup_contains_processes_that_no_look_ever_saw(cgroup_runner):
    process, sink = await cgroup_runner.sh("(setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &); exit 0")
    with Watch(int(await sink.line())) as tool:
        await process.wait()
        await ended(process, killed=1)
        assert tool.ended()


async def test_a_process_that_left_its_cgroup_is_still_killed(cgroup_runner):
    process, sink = await cgroup_runner.sh("(setsid sh -c 'echo $$; exec sleep 1000' &); read _")
    cgroup = process._session.cgroup
    with Watch(int(await sink.line())) as tool:
        (cgroup.path.parent.parent / "cgroup.procs").write_text(str(tool.key.pid))
        assert cgroup.members() == [process.pid]
        assert tool.key.pid in {info.pid for info in await process.look()}
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_fork_storm_ends_on_a_kernel_without_cgroup_kill(cgroup_runner):
    """It came with Linux 5.14."""

    class Older(Cgroup):
        def kill(self) -> bool:
            return False

    process, sink = await cgroup_runner.python(STORM, "tree setsid", "2")
    process._session.cgroup = Older(process._session.cgroup.path)
    for _ in range(20):
        await sink.line()
    await ended(process)


async def test_nested_cgroups_are_killed_and_removed(cgroup_runner):
    process, sink = await cgroup_runner.sh("sleep 1000 & echo $!; read _")
    path = process._session.cgroup.path
    inner = path / "inner" / "most"
    inner.mkdir(parents=True)
    with Watch(int(await sink.line())) as tool:
        (inner / "cgroup.procs").write_text(str(tool.key.pid))
        assert {info.pid for info in await process.look()} == {process.pid, tool.key.pid}
        await ended(process, killed=2)
        assert tool.ended()
    await process.aclose()
    assert not path.exists()


async def test_cgroups_are_removed_at_the_end(cgroup_runner):
    process, sink = await cgroup_runner.sh("setsid sleep 1000 & echo up; read _")
    await sink.line()
    path = process._session.cgroup.path
    assert path.is_dir()
    await process.aclose()
    assert not path.exists()
    await cgroup_runner.launcher.aclose()
    assert not path.parent.exists() or any(path.parent.iterdir())


async def test_zombies_of_orphans_are_reaped(runner):
    process, sink = await runner.sh(
        "for i in 1 2 3; do (sh -c 'echo $$; read _ </dev/null' &); done; echo done; read _"
    )
    pids = [line for line in [await sink.line() for _ in range(4)] if line != "done"]
    await runner.launcher.sample([process])
    zombies = []
    for pid in map(int, pids):
        stat = procfs.read_stat(pid)
        if stat is not None and stat.ppid == os.getpid():
            with Watch(pid) as watch:
                assert watch.ended(LIMIT)
            zombies.append(pid)
    await runner.launcher.sample(())
    assert [pid for pid in map(int, pids) if procfs.read_stat(pid) is not None] == []


async def test_a_sample_does_not_reap_a_leader(runner):
    process, _ = await runner.sh("exit 7")
    with Watch(process.pid) as leader:
        assert leader.ended(LIMIT)
    for _ in range(3):
        await runner.launcher.sample(())
    assert await process.wait() == 7


async def test_a_sample_does_not_reap_children_that_others_started(runner):
    """waitpid(-1) would have stolen it."""
    await runner.sh("read _")
    with other_child("sh", "-c", "exit 42") as other:
        with Watch(other.pid) as watch:
            assert watch.ended(LIMIT)
        for _ in range(3):
            await runner.launcher.sample(())
        assert other.wait() == 42


async def test_a_kill_of_one_session_spares_the_other(runner):
    (one, sink_one), (two, sink_two) = [
        await runner.sh("(setsid sh -c 'echo $$; exec sleep 1000' &); read _") for _ in range(2)
    ]
    with Watch(int(await sink_one.line())) as tool_one, Watch(int(await sink_two.line())) as tool_two:
        assert {info.pid for info in await one.look()} == {one.pid, tool_one.key.pid}
        await ended(one, killed=2)
        assert tool_one.ended()
        assert not tool_two.ended()
        assert {info.pid for info in await two.look()} == {two.pid, tool_two.key.pid}
        await ended(two, killed=2)


async def test_twenty_kills_at_once_share_their_looks(runner):
    started = [await runner.sh("(setsid sh -c 'echo $$; exec sleep 1000' &); read _") for _ in range(20)]
    for _, sink in started:
        await sink.line()
    looks = 0
    tracker = runner.launcher._tracker
    scan = tracker._scan

    def counted():
        nonlocal looks
        looks += 1
        return scan()

    tracker._scan = counted
    reports = await asyncio.gather(*(process.kill_all() for process, _ in started))
    assert {(report.killed, report.left, report.settled) for report in reports} == {(2, (), True)}
    assert looks < 20


async def test_a_sample_counts_processes_memory_and_cpu(runner):
    script = (
        "import os, time\nx = bytearray(30_000_000)\nwhile time.process_time() < 0.1: pass\n"
        "print('up', flush=True)\ninput()"
    )
    process, sink = await runner.python(script)
    other, _ = await runner.sh("setsid sleep 1000 & exec sleep 1000")
    await sink.line()
    usage = await runner.launcher.sample([process, other])
    assert set(usage) == {process.session_id, other.session_id}
    busy = usage[process.session_id]
    assert busy.processes == 1
    assert busy.rss_bytes > 30_000_000
    assert 0.08 <= busy.cpu_seconds < 10
    await process.kill_all()
    gone = (await runner.launcher.sample([process]))[process.session_id]
    assert (gone.processes, gone.rss_bytes) == (0, 0)


async def test_a_look_returns_command_parent_group_and_age(runner):
    process, sink = await runner.sh("sh -c 'echo $$; exec sleep 1234' & wait")
    tool = int(await sink.line())
    with Watch(tool):
        leader, child = await process.look()
        while child.command != "sleep 1234":  # the shell is about to become it
            leader, child = await process.look()
    assert leader.pid == process.pid
    assert leader.command.startswith("/")
    assert (child.pid, child.ppid, child.pgid, child.sid) == (tool, process.pid, process.pid, process.pid)
    assert child.state in "SRD"
    assert leader.rss_bytes >= 0
    assert child.cpu_seconds >= 0
    assert 0 <= child.age_seconds < 60
    assert child.start_time == stat_of(tool).start_time


async def test_a_reused_pid_is_not_taken_for_a_remembered_process(runner):
    """What is remembered of a process that is gone must not match the next one with its pid."""
    process, sink = await runner.sh("echo up; read _")
    await sink.line()
    with other_child("sleep", "1000") as other:
        key = stat_of(other.pid).key
        process._session.known[key.pid] = key.start_time - 1
        assert [info.pid for info in await process.look()] == [process.pid]
        process._session.known[key.pid] = key.start_time - 1
        await ended(process, killed=1)
        assert other.poll() is None
        other.kill()


async def test_a_kill_without_time_proves_nothing(runner):
    process, sink = await runner.sh("echo up; read _")
    await sink.line()
    report = await process.kill_all(0.0)
    assert [info.pid for info in report.left] == [process.pid]
    assert not report.settled
    assert (await process.kill_all()).settled


POWERLESS = """
import asyncio, os
from pathlib import Path
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.runtime import LaunchSpec
from acpbot.errors import AgentGone

class Sink:
    def data_received(self, data): pass
    def eof(self): pass

async def main():
    launcher, _ = local_runtime("subreaper")
    spec = LaunchSpec(argv=("sleep", "1000"), cwd=Path("/"), env=dict(os.environ), session_id="others")
    process = await launcher.launch(spec, Sink())
    waiting = asyncio.create_task(process.wait())
    os.setresuid(65534, 65534, 65534)
    process.terminate()
    report = await process.kill_all(0.2)
    print([info.pid for info in report.left] == [process.pid], report.settled, process.alive)
    await process.aclose()
    try:
        await waiting
    except AgentGone as error:
        print(error)
    print(process.pid)
    await launcher.aclose()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have processes that it then may not signal")
def test_a_process_that_may_not_be_signalled_is_reported_as_left(tmp_path):
    """As a tool that runs under sudo."""
    command = [sys.executable, "-c", POWERLESS]
    with subprocess.Popen(command, env=PYTHON_ENV, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as helper:
        out = pipe_of(helper.stdout).read().splitlines()
        assert helper.wait(LIMIT) == 0
    with Watch(int(out[2])) as agent:
        assert not agent.ended()
        os.kill(agent.key.pid, signal.SIGKILL)
        assert agent.ended(LIMIT)
    assert out[0] == "True False True"
    assert out[1].startswith("cannot wait for the agent: ")


def test_this_process_is_a_subreaper_until_the_last_holder_releases_it():
    before = is_subreaper()
    hold_subreaper()
    hold_subreaper()
    release_subreaper()
    assert is_subreaper()
    release_subreaper()
    assert is_subreaper() == before


async def test_local_runtime_explains_its_choice():
    for mode in ("auto", "cgroup", "subreaper"):
        try:
            launcher, reason = local_runtime(mode)
        except StartError as error:
            assert mode == "cgroup"
            assert str(error).startswith("cannot contain agents in cgroups: ")  # noqa: PT017 - only where there are none
            continue
        assert reason.startswith(f"{launcher.kind}: ")
        assert "\n" not in reason
        await launcher.aclose()


SCRUBBED = "(setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &)"
"""A tool without a marker, in a Unix session of its own, without a parent; no look has seen it before."""


async def test_a_kill_ends_a_daemonized_tool_with_a_clean_environment_that_no_look_saw(runner):
    process, sink = await runner.sh(f"{SCRUBBED}; exec sleep 1000")
    with Watch(int(await sink.line())) as tool:
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_kill_ends_a_tool_that_killed_its_leader_first(runner):
    process, sink = await runner.sh('setsid env -i /bin/sh -c "kill -9 $$; echo \\$\\$; exec sleep 1000" & wait')
    with Watch(int(await sink.line())) as tool:
        assert await asyncio.wait_for(process.wait(), LIMIT) == -signal.SIGKILL
        await ended(process, killed=1)
        assert tool.ended()


async def test_a_kill_ends_what_a_tool_collects_that_is_a_subreaper_itself(runner):
    script = (
        "import ctypes, os, subprocess\n"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"
        "subprocess.run(['sh', '-c', \"setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' & :\"])\n"
        "input()\n"
    )
    process, sink = await runner.python(script)
    with Watch(int(await sink.line())) as tool:
        await ended(process, killed=2)
        assert tool.ended()


async def test_a_process_that_moved_to_the_cgroup_of_another_session_is_not_that_sessions(cgroup_runner):
    other, _ = await cgroup_runner.sh("read _")
    procs = other._session.cgroup.path / "cgroup.procs"
    script = f"(setsid env -i /bin/sh -c 'echo 0 > {procs}; echo $$; exec sleep 1000' &); read _; exit 0"
    process, sink = await cgroup_runner.sh(script)
    with Watch(int(await sink.line())) as tool:
        assert tool.key.pid in {info.pid for info in await process.look()}
        assert tool.key.pid not in {info.pid for info in await other.look()}
        await ended(process, killed=2)
        assert tool.ended()
    assert other.alive


async def test_orphans_that_end_leave_no_zombies_below_an_agent_that_reaps_none(runner):
    """Zombies count against the limit of processes."""
    script = f"{SCRUBBED.replace('exec sleep 1000', 'exit 0')}; {SCRUBBED.replace('exec sleep 1000', 'exit 0')}; read _"
    process, sink = await runner.sh(script)
    pids = [int(await sink.line()) for _ in range(2)]
    deadline = time.monotonic() + LIMIT
    while any(procfs.read_stat(pid) is not None for pid in pids):
        assert time.monotonic() < deadline
        await asyncio.sleep(0)
    assert process.alive
