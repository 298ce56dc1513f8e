"""An agent in a pod of the loopback cluster: how it ends, what is told of it, and the proof that nothing is left."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from acpbot.errors import AgentGone, AgentStartError
from acpbot.runtimes.kubernetes import deadman
from acpbot.runtimes.kubernetes.pod_ref import PodRef
from acpbot.runtimes.kubernetes.process import start_process
from tests.fakes.kubernetes.resources import PODS
from tests.runtimes.conformance.outside import Watched
from tests.support.launched_agents import Sink

LIMIT = 15.0
ECHO = "trap '' TERM; while read line; do echo $line; done; exit 7"
FAMILY = "sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &); " + ECHO


async def ended(process):
    async with asyncio.timeout(LIMIT):
        return await process.wait()


def inside(server, name="one"):
    """The processes of a pod but for its first one, as this machine numbers them."""
    container = server.container("default", name)
    return set(container.pids()) - {container.pid}


async def test_an_agent_talks_ends_and_tells_its_exit_code(pods):
    process, sink = await pods.start("sh", "-c", ECHO)
    assert (process.alive, process.returncode, process.end_reason) == (True, None, None)
    assert process.place == "pod/one on node-1"
    assert process.place_ref == {
        "context": None,
        "namespace": "default",
        "name": "one",
        "uid": process.pod.uid,
    }
    process.write(b"hello\n")
    assert await sink.line() == "hello"
    process.close_stdin()
    assert (await ended(process), process.alive, process.end_reason) == (7, False, "exit code 7")
    assert not pods.asked.is_set(), "the agent's own exit needs no question"
    with pytest.raises(AgentGone):
        process.write(b"x")


async def test_no_request_and_no_log_has_the_agents_environment_or_words(server, pods):
    process, sink = await pods.start("sh", "-c", "echo $KEY $0; read line", "word-of-it", env={"KEY": "a-secret"})
    assert await sink.line() == "a-secret word-of-it"
    await process.kill_all()
    said = str([(call.path, call.query, call.body) for call in server.calls])
    assert "/exec" in said
    assert "a-secret" not in said
    assert "word-of-it" not in said
    assert server.container("default", "one").log == []


async def test_a_kill_leaves_nothing_and_then_the_pod_may_go(server, pods):
    process, sink = await pods.start("sh", "-c", FAMILY)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    assert watched.count == 5, "with the shell above the agent"
    report = await process.kill_all()
    assert watched.running() == 0
    assert (report.left, report.settled, report.proof, report.killed) == ((), True, "engine", 4)
    assert (process.alive, process.returncode, process.end_reason) == (False, -9, "SIGKILL")
    assert pods.removed == [process.pod]
    again = await process.kill_all()
    assert (again.settled, again.proof, again.killed) == (True, "engine", 0)
    assert await process.look() == []
    watched.close()


async def test_a_grandchild_that_keeps_the_output_open_does_not_delay_the_exit(pods):
    process, sink = await pods.start("sh", "-c", "setsid sleep 1000 & head -c 1000000 /dev/zero; exit 5")
    async with asyncio.timeout(3):
        assert await process.wait() == 5
    assert len(sink.data) == 1_000_000
    assert [info.command for info in await process.look()] == ["sleep 1000"]


async def test_what_a_grandchild_writes_after_the_exit_comes_before_the_end_of_the_output(pods):
    process, sink = await pods.start("sh", "-c", "setsid sh -c 'sleep 1; echo late' & exit 5")
    assert await ended(process) == 5
    assert not sink.ended.is_set()
    assert await sink.line() == "late"
    async with asyncio.timeout(LIMIT):
        await sink.ended.wait()


async def test_an_exit_is_told_once_the_output_is_read_again(pods):
    process, sink = await pods.start("sh", "-c", "setsid sleep 1000 & echo up; read line; exit 5")
    assert await sink.line() == "up"
    process.pause_reading()
    process.write(b"go\n")
    process.resume_reading()
    assert await ended(process) == 5


async def test_sigterm_reaches_the_agent_and_its_group(server, pods):
    process, sink = await pods.start("sh", "-c", "trap 'exit 43' TERM; sleep 1000 & echo up; wait")
    await sink.line()
    watched = Watched(inside(server))
    process.terminate()
    assert await ended(process) == 43
    assert await asyncio.to_thread(watched.running, LIMIT) == 0
    watched.close()


@pytest.mark.parametrize("server", [20], indirect=True)
async def test_where_stdin_cannot_be_ended_the_agent_is_told_to_end(pods):
    process, sink = await pods.start("sh", "-c", "trap 'exit 43' TERM; sleep 1000 & echo up; wait")
    await sink.line()
    process.close_stdin()
    assert await ended(process) == 43


@pytest.mark.parametrize(
    ("argv", "more", "named"),
    [
        (("no-such-program",), {}, "no-such-program"),
        (("/etc/passwd",), {}, "/etc/passwd"),
        (("true",), {"cwd": Path("/no/such/folder")}, "/no/such/folder"),
        (("true",), {"env": {"A-B": "1"}}, "A-B"),
    ],
)
async def test_a_start_that_fails_names_the_cause_and_ends_the_pod(server, pods, argv, more, named):
    with pytest.raises(AgentStartError, match=r"^cannot start the agent: ") as error:
        await pods.start(*argv, **more)
    assert named in str(error.value)
    if "env" not in more:  # there nobody has attached yet, and nobody will within 60 s
        await server.wait_for(lambda: server.phase("default", "one") == "Succeeded")


async def test_a_start_in_a_pod_that_is_gone_fails(pods):
    with pytest.raises(AgentStartError, match=r"404.*kubectl describe"):
        await start_process(pods, pods, PodRef("gone", "u", "default"), pods.spec("true"), Sink())


async def test_a_start_that_is_not_allowed_names_the_right(server, pods):
    pod = await pods.pod()
    server.faults.fail(403, "*", "pods/attach")
    with pytest.raises(AgentStartError, match=r"403.*pods/exec and pods/attach$"):
        await start_process(pods, pods, pod, pods.spec("true"), Sink())


async def test_a_start_in_a_pod_that_ends_meanwhile_fails(server, pods):
    hold = server.faults.hold("*", "pods/exec")
    start = asyncio.create_task(pods.start("true"))
    await hold.arrived.wait()
    server.container("default", "one").kill()
    await server.wait_for(lambda: server.phase("default", "one") == "Failed")
    hold.release()
    with pytest.raises(AgentStartError):
        await start


# Cuts


async def test_a_cut_is_not_taken_for_an_end_while_nobody_can_ask(server, pods):
    process, sink = await pods.start("sh", "-c", FAMILY)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    pods.unreachable = True
    server.streams.cut("one", "exec")
    await pods.asked.wait()
    assert (process.alive, process.returncode, sink.ended.is_set()) == (None, None, False)
    with pytest.raises(AgentGone):
        process.write(b"x")
    pods.unreachable = False
    assert await ended(process) == 255
    assert process.alive is None
    assert process.end_reason == "the connection to the pod was cut"
    report = await process.kill_all()
    assert (report.settled, report.proof, process.alive) == (True, "engine", False)
    assert watched.running() == 0
    watched.close()


async def test_a_cut_of_everything_has_the_dead_man_end_the_pod(server, pods):
    process, sink = await pods.start("sh", "-c", FAMILY)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    server.streams.cut("one")
    assert await asyncio.to_thread(watched.running, LIMIT) == 0
    watched.close()
    assert await ended(process) == 255
    await server.wait_for(lambda: server.phase("default", "one") == "Succeeded")
    report = await process.kill_all()
    assert (report.settled, report.proof, report.looks) == (True, "engine", 0), "by the word of the kubelet"


async def test_streams_that_fall_silent_are_cut(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO, pace=0.005)
    while min(one.pings for one in server.streams.open) < 2:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    server.streams.stall("one", deaf=True)
    assert await ended(process) == 255
    assert (process.alive, process.end_reason) == (None, "the connection to the pod was cut")
    server.streams.cut()
    assert (await process.kill_all()).settled


async def test_slow_streams_bring_everything(server, pods):
    process, sink = await pods.start("sh", "-c", "read line; head -c 200000 /dev/zero; exit 3")
    server.streams.bytes_per_second = 2_000_000 / 100  # in the server's seconds, of which one is 10 ms
    process.write(b"go\n")
    assert await ended(process) == 3
    assert len(sink.data) == 200_000


async def test_where_no_command_can_be_run_the_dead_man_ends_the_pod_and_the_kubelet_proves_it(server, pods):
    process, sink = await pods.start("sh", "-c", FAMILY)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    server.faults.fail(500, "*", "pods/exec", times=1_000)
    report = await process.kill_all()
    assert watched.running() == 0
    watched.close()
    assert (report.settled, report.proof, report.looks) == (True, "engine", 0)


async def test_where_no_kill_inside_works_the_kubelet_ends_the_pod(server, pods):
    """Its first process is another one, and the agent keeps it from hearing the end of its stdin."""
    other = ("sh", "-c", "while read line; do :; done")
    pod, sink = await pods.pod(first_process=other), Sink()
    process = await start_process(pods, pods, pod, pods.spec("sh", "-c", "exec 9>/proc/1/fd/0; " + FAMILY), sink)
    pods.processes.append(process)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    server.timings.removal = 100.0  # the object stays for a second, with what its kubelet has said
    pods.deletes = True
    report = await process.kill_all()
    assert watched.running() == 0
    watched.close()
    assert (report.settled, report.proof, report.looks) == (True, "engine", 0)


async def test_an_eviction_is_no_success_and_is_named(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO)
    server.evict("default", "one")
    assert await ended(process) != 0
    assert "Evicted" in (process.end_reason or "")


async def test_a_drain_is_no_success_and_is_named(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO)
    server.drain("default", "one")
    assert await ended(process) != 0
    assert process.end_reason in {"the pod is being deleted", "the pod was deleted"}


async def test_a_pod_out_of_memory_is_named(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO)
    server.oom_kill("default", "one")
    assert await ended(process) in {-9, 255}
    assert process.end_reason is not None
    assert "OOMKilled" in process.end_reason


# Nodes


async def test_nothing_is_proved_and_nothing_forced_while_the_node_is_away(server, pods):
    process, sink = await pods.start("sh", "-c", FAMILY)
    process.write(b"up\n")
    await sink.line()
    watched = Watched(inside(server))
    server.lose_node()
    report = await process.kill_all(0.5)
    assert (report.left, report.settled, report.proof) == ((), False, "none")
    assert process.alive is not False
    assert not server.calls_to("delete", "pods")
    with pytest.raises(OSError, match="500"):
        await process.look()
    server.return_node()
    report = await process.kill_all()
    assert (report.settled, report.proof, process.alive) == (True, "engine", False)
    assert watched.running() == 0
    watched.close()


async def test_an_object_that_was_deleted_by_force_proves_nothing(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO)
    server.lose_node()
    server.delete(PODS, "default", "one", grace=0)
    report = await process.kill_all(0.3)
    assert (report.settled, report.proof, pods.removed) == (False, "none", [])
    assert process.alive is not False
    server.return_node()


async def test_a_kill_that_nobody_can_ask_for_raises(server, pods):
    process, _ = await pods.start("sh", "-c", ECHO)
    await server.unreachable()
    pods.unreachable = True
    with pytest.raises(OSError, match="reached"):
        await process.kill_all(0.3)
    assert not process.settled
    await server.listen()
    pods.unreachable = False
    assert (await process.kill_all()).settled


# The dead-man


def test_the_dead_man_ends_when_it_hears_nothing_and_when_it_hears_the_end():
    for stdin in (subprocess.PIPE, subprocess.DEVNULL):
        with subprocess.Popen(deadman.command(1), stdin=stdin) as silent:
            assert silent.wait(LIMIT) == 0


async def test_orphans_that_end_are_reaped_by_the_dead_man(server, pods):
    await pods.start("sh", "-c", "(setsid sh -c 'exit 0' &); " + ECHO)
    container = server.container("default", "one")
    async with asyncio.timeout(LIMIT):
        while not zombies(container):  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
        container.program.stdin.write(b"\n")
        while zombies(container):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def zombies(container):
    found = set()
    for pid in container.pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.add(pid)
    return found
