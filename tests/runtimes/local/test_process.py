"""One agent: start, streams, exit, end. Real processes, the same tests for both kinds of launcher."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.errors import AgentGone, AgentStartError, AgentTimeout
from acpbot.runtimes.local import procfs, spawn_server
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.runtime import AgentProcess, LimitNotHeld, Runtime
from tests.support.launched_agents import LIMIT, AgentRunner, Sink, Watch, open_descriptors, stat_of


def write_on(process, data: bytes) -> None:
    for _ in range(100):
        process.write(data)


async def waited(process) -> int:
    return await asyncio.wait_for(process.wait(), LIMIT)


async def test_an_agent_reads_writes_and_exits(runner):
    process, sink = await runner.sh('read -r word; echo "heard $word"; echo "to you" >&2; exit 3')
    assert process.alive
    assert process.returncode is None
    process.write(b"hello\n")
    assert await sink.line() == "heard hello"
    assert await waited(process) == 3
    assert not process.alive
    assert process.returncode == 3
    assert process.stderr.lines() == ["to you"]


async def test_the_local_runtime_implements_the_protocols(runner):
    process, _ = await runner.sh("read _")
    launcher: Runtime = runner.launcher
    agent: AgentProcess = process
    assert launcher.kind == "local"
    assert runner.launcher.containment in {"cgroup", "subreaper"}
    for protocol, served in ((AgentProcess, agent), (Runtime, launcher)):
        missing = [name for name in vars(protocol) if not name.startswith("_") and not hasattr(served, name)]
        assert not missing


async def test_an_agent_runs_in_its_directory_with_its_environment_and_a_session_of_its_own(runner, tmp_path):
    process, sink = await runner.sh(
        'pwd; echo "$ACPBOT_SESSION $ACPBOT_DAEMON $COLOR ${HOME:-none}"; read _',
        env={"COLOR": "blue", "ACPBOT_SESSION": "forged", "ACPBOT_DAEMON": "1:2:3"},
    )
    assert await sink.line() == str(tmp_path)
    assert await sink.line() == f"{process.session_id} {procfs.Identity.own()} blue none"
    (info,) = await process.look()
    assert info.pid == info.pgid == info.sid == process.pid


async def test_variables_that_a_shell_would_drop_reach_the_agent(runner):
    script = "import os; print(os.environ['npm.config'], os.environ['a-b'], flush=True); input()"
    process, sink = await runner.python(script, env={"npm.config": "dotted", "a-b": "dashed"})
    assert await sink.line() == "dotted dashed"
    if runner.launcher.containment == "cgroup":
        assert process._session.cgroup.members() == [process.pid]


@pytest.mark.parametrize("code", [0, 1, 77])
async def test_wait_returns_the_exit_code_to_every_caller(runner, code):
    process, _ = await runner.sh(f"exit {code}")
    assert await asyncio.gather(*(waited(process) for _ in range(5))) == [code] * 5
    assert await waited(process) == code


async def test_a_signal_is_a_negative_exit_code(runner):
    process, _ = await runner.sh("kill -ABRT $$")
    assert await waited(process) == -signal.SIGABRT


async def test_a_cancelled_wait_does_not_disturb_another(runner):
    process, _ = await runner.sh("read _")
    given_up = asyncio.create_task(process.wait())
    other = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    given_up.cancel()
    process.close_stdin()
    assert await asyncio.wait_for(other, LIMIT) == 1


async def test_an_exit_is_seen_while_a_grandchild_keeps_stdout_open(runner):
    process, sink = await runner.sh("setsid sleep 1000 & echo last words; exit 5")
    assert await waited(process) == 5
    assert not sink.ended.is_set()
    assert bytes(sink.data) == b"last words\n"
    report = await process.kill_all()
    assert (report.killed, report.left, report.settled) == (1, (), True)
    await asyncio.wait_for(sink.ended.wait(), LIMIT)


async def test_a_closed_stdout_is_not_an_exit(runner):
    process, sink = await runner.sh("exec >&-; read _; exit 4")
    await asyncio.wait_for(sink.ended.wait(), LIMIT)
    assert process.alive
    process.close_stdin()
    assert await waited(process) == 4


async def test_output_before_the_exit_is_delivered_before_wait_returns(runner):
    process, sink = await runner.sh("head -c 60000 /dev/zero; echo done >&2; exit 0")
    await waited(process)
    assert len(sink.data) == 60_000
    assert process.stderr.lines() == ["done"]


async def test_ten_megabytes_of_stderr_do_not_block_the_agent_and_are_not_kept(runner):
    script = (
        "import sys\n"
        "for number in range(100_000): print(f'{number:06d}', 'x' * 93, file=sys.stderr)\n"
        "print('through', flush=True)\n"
    )
    process, sink = await runner.python(script)
    assert await sink.line() == "through"
    await waited(process)
    lines = process.stderr.lines()
    assert [line[:6] for line in lines] == [f"{number:06d}" for number in range(99_800, 100_000)]


async def test_a_fast_stdout_arrives_complete_in_large_chunks(runner):
    size = 32 * 1024 * 1024
    script = f"import os\nblock = bytes(range(256)) * 4096\nfor _ in range({size >> 20}):\n    os.write(1, block)"
    process, sink = await runner.python(script)
    await sink.size(size)
    await waited(process)
    assert bytes(sink.data) == bytes(range(256)) * (size // 256)
    assert size / sink.chunks > 20_000


async def test_a_paused_stdout_blocks_the_agent(runner):
    process, sink = await runner.python("import os\nwhile True: os.write(1, b'x' * 65536)")
    await sink.size(100_000)
    process.pause_reading()
    held = len(sink.data)
    await process.look()
    await process.look()
    assert len(sink.data) == held
    process.resume_reading()
    await sink.size(held + 1_000_000)


async def test_write_raises_where_the_agent_reads_nothing(runner):
    process, sink = await runner.sh("echo up; exec sleep 1000")
    await sink.line()
    with pytest.raises(AgentTimeout, match="cannot write to the agent: it has not read its stdin") as caught:
        write_on(process, b"x" * 1_000_000)
    (unread,) = (int(word) for word in str(caught.value).split() if word.isdigit())
    assert 7_000_000 < unread <= 8 * 1024 * 1024
    process.close_stdin(flush_seconds=0.01)
    report = await process.kill_all()
    assert report.settled
    assert await waited(process) == -signal.SIGKILL


async def test_eof_follows_the_queued_data(runner):
    process, sink = await runner.sh("echo up; read _; wc -c")
    await sink.line()
    process.write(b"go\n" + b"x" * 3_000_000)
    process.close_stdin(flush_seconds=LIMIT)
    assert (await sink.line()).strip() == "3000000"
    assert await waited(process) == 0


async def test_write_raises_once_the_agent_has_ended(runner):
    process, _ = await runner.sh("exit 2")
    await waited(process)
    with pytest.raises(AgentGone, match=r"cannot write to the agent: it has ended \(exit code 2\)"):
        process.write(b"hello\n")
    other, sink = await runner.sh("echo up; read _")
    await sink.line()
    other.kill()
    await waited(other)
    with pytest.raises(AgentGone, match="SIGKILL"):
        other.write(b"hello\n")


async def test_a_signal_goes_to_the_whole_group(runner):
    process, sink = await runner.sh("trap 'exit 9' TERM; sh -c 'echo $$; exec sleep 1000'; wait")
    with Watch(int(await sink.line())) as child:
        process.terminate()
        assert await waited(process) == 9
        assert child.ended(LIMIT)


async def test_a_group_whose_leader_has_ended_can_still_be_signalled(runner):
    """The leader is often a wrapper; its number is kept from being given away."""
    process, sink = await runner.sh("sh -c 'echo $$; exec sleep 1000' & read _; exit 0")
    with Watch(int(await sink.line())) as child:
        process.close_stdin()
        assert await waited(process) == 0
        assert not child.ended()
        process.terminate()
        assert child.ended(LIMIT)
    assert stat_of(process.pid).ended
    report = await process.kill_all()
    assert report.settled
    assert procfs.read_stat(process.pid) is None
    process.kill()  # nothing, and nobody else


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "its command is empty"),
        (("no-such-agent",), "no-such-agent was not found in "),
        (("./no-such-agent",), r"there is no program \./no-such-agent"),
        (("/etc",), "there is no program /etc"),
        (("./plain.txt",), r"\./plain\.txt is not executable; run chmod \+x"),
        (("./script",), r"\./script needs /no/such/interpreter, which is not there; install it"),
        (("sh", "-c", "x\0y"), "embedded null byte; correct its arguments"),
    ],
)
async def test_a_command_that_cannot_be_started_raises_one_clear_line(runner, tmp_path, argv, words):
    (tmp_path / "plain.txt").write_text("hello")
    (tmp_path / "script").write_text("#!/no/such/interpreter -x\n")
    (tmp_path / "script").chmod(0o755)
    before = open_descriptors()
    with pytest.raises(AgentStartError, match=f"^cannot start the agent: .*{words}") as caught:
        await runner.start(*argv, session_id="same")
    assert "\n" not in str(caught.value)
    assert open_descriptors() == before
    process, _ = await runner.sh("exit 0", session_id="same")
    assert await waited(process) == 0


async def test_a_missing_working_directory_is_named(runner, tmp_path):
    with pytest.raises(
        AgentStartError, match=r"^cannot start the agent: its working directory \S+/gone does not exist"
    ):
        await runner.sh("exit 0", cwd=tmp_path / "gone")


async def test_a_command_is_looked_up_in_its_own_path_and_directory(runner, tmp_path):
    (tmp_path / "tools").mkdir()
    for name, says in (("tools/agent", "from PATH"), ("agent", "from here")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    _, sink = await runner.start("agent", env={"PATH": f"tools:{runner.spec('x').env['PATH']}"})
    assert await sink.line() == "from PATH"
    _, sink = await runner.start("./agent")
    assert await sink.line() == "from here"


@pytest.mark.parametrize("session_id", ["", "a/b", "..", "-x", "_daemon", "a\nb", "x" * 129])
async def test_a_session_id_that_could_be_a_path_is_refused(runner, session_id):
    with pytest.raises(ValueError, match="cannot launch session"):
        await runner.sh("exit 0", session_id=session_id)


async def test_a_session_is_launched_once(runner):
    await runner.sh("read _", session_id="one")
    with pytest.raises(ValueError, match="it is already registered"):
        await runner.sh("read _", session_id="one")


async def test_a_cancelled_launch_leaves_no_process(runner):
    for turns in range(4):
        spec = runner.spec("sh", "-c", "setsid sleep 1000 & exec sleep 1000", session_id="given-up")
        launch = asyncio.create_task(runner.launcher.launch(spec, Sink()))
        for _ in range(turns):
            await asyncio.sleep(0)
        launch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(launch, LIMIT)
        marked = [stat for stat in procfs.newest_first() if procfs.read_markers(stat.pid)[0] == "given-up"]
        assert marked == []


async def test_a_launch_that_is_cancelled_twice_leaves_no_process_after_close(runner):
    spec = runner.spec("sh", "-c", "setsid sleep 1000 & exec sleep 1000", session_id="given-up")
    launch = asyncio.create_task(runner.launcher.launch(spec, Sink()))
    await asyncio.sleep(0)
    launch.cancel()
    await asyncio.sleep(0)
    launch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launch
    await runner.launcher.aclose()
    marked = [stat for stat in procfs.newest_first() if procfs.read_markers(stat.pid)[0] == "given-up"]
    assert marked == []


async def test_a_closed_launcher_launches_nothing(runner):
    await runner.launcher.aclose()
    with pytest.raises(AgentStartError, match="the daemon is stopping"):
        await runner.sh("read _")


async def test_aclose_kills_everything_and_may_be_repeated(runner):
    process, sink = await runner.sh("setsid sh -c 'echo $$; exec sleep 1000' & wait")
    with Watch(int(await sink.line())) as tool:
        await asyncio.gather(process.aclose(), process.aclose())
        assert tool.ended()
    await process.aclose()
    assert process.returncode == -signal.SIGKILL
    assert procfs.read_stat(process.pid) is None
    assert await waited(process) == -signal.SIGKILL


async def test_ten_agents_leak_no_descriptor(runner):
    async def run_one() -> None:
        process, sink = await runner.sh("setsid sleep 1000 & echo up; echo err >&2; read _")
        await sink.line()
        process.close_stdin()
        await waited(process)
        assert (await process.kill_all()).settled
        await process.aclose()

    await run_one()
    before = open_descriptors()
    for _ in range(10):
        await run_one()
    assert open_descriptors() == before
    runner.processes.clear()


async def test_the_event_loop_runs_while_an_agent_is_started(runner):
    launch = asyncio.create_task(runner.sh("read _"))
    turns = 0
    while not launch.done():
        await asyncio.sleep(0)
        turns += 1
    await launch
    assert turns > 2


async def test_limits_that_do_not_hold_are_listed(runner):
    process, sink = await runner.sh("echo up; read _", memory_max=1 << 30, pids_max=64)
    await sink.line()
    if runner.launcher.containment == "subreaper":
        assert process.limits_not_held == (
            LimitNotHeld("memory_max", "agents run without a cgroup here"),
            LimitNotHeld("pids_max", "agents run without a cgroup here"),
        )
    else:
        path = process._session.cgroup.path
        for controller, value in (("memory", 1 << 30), ("pids", 64)):
            said = [missing for missing in process.limits_not_held if missing.limit == f"{controller}_max"]
            limit = path / f"{controller}.max"
            assert bool(said) != (limit.exists() and limit.read_text().strip() == str(value))
    unlimited, _ = await runner.sh("read _")
    assert unlimited.limits_not_held == ()


async def test_the_environment_of_the_daemon_is_not_inherited(runner, monkeypatch):
    monkeypatch.setitem(os.environ, "DISCORD_TOKEN", "secret")
    process, sink = await runner.sh('echo "${DISCORD_TOKEN:-nothing}"')
    assert await sink.line() == "nothing"
    await waited(process)


async def test_odd_arguments_and_variables_reach_the_agent_unchanged(runner):
    odd = ["", "=", "a=b=c", " two\nlines ", "\udcff", "ü"]
    script = 'printf "%s|" "$#" "$@"; printenv ODD; read _'
    process, sink = await runner.start("sh", "-c", script, "sh", *odd, env={"ODD": "x=y=\udcfe"})
    expected = "6||=|a=b=c| two\nlines |\udcff|ü|x=y=\udcfe\n".encode("utf-8", "surrogateescape")
    await sink.size(len(expected))
    assert bytes(sink.data) == expected
    process.close_stdin()
    await waited(process)


def test_the_spawn_server_imports_nothing_that_delays_the_first_agent():
    program = "import sys; sys.path.append(sys.argv[1]); import spawn_server; print(*sys.modules)"
    folder = Path(spawn_server.__file__).parent
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, folder], capture_output=True, text=True, check=True
    )
    assert not {"socket", "signal", "json", "typing", "enum", "re", "contextlib", "pathlib"} & set(done.stdout.split())


async def test_an_agent_gets_the_limit_of_open_files_that_the_launcher_was_given(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    launcher, _ = local_runtime("subreaper", open_files=(200, hard))
    runner = AgentRunner(launcher, tmp_path)
    process, sink = await runner.sh("read _; ulimit -S -n; ulimit -H -n")
    process.write(b"\n")
    assert [await sink.line(), await sink.line()] == ["200", str(hard)]
    await runner.aclose()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_spawn_server_that_somebody_has_ended_or_stopped_is_replaced(runner, monkeypatch, signum):
    monkeypatch.setattr("acpbot.runtimes.local.spawner._ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("acpbot.runtimes.local.spawner._END_SECONDS", 0.0)
    await runner.sh("read _")
    server = runner.launcher._spawner.pid
    os.kill(server, signum)
    process, sink = await runner.sh("echo up; read _")
    assert await sink.line() == "up"
    assert runner.launcher._spawner.pid != server
    assert process.alive
