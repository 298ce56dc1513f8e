"""Sessions whose tasks, listeners or end fail: turn and session end all the same, and a kill can be repeated."""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.runtimes.local.runtime import local_runtime
from acpbot.sessions.turn import UNCHECKED, Turn
from tests.sessions.test_pool import exists
from tests.support.pool import Listener
from tests.support.pool_restarts import rows, started

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.runtime import AgentProcess, LaunchSpec, PlaceRef, Progress, StdoutSink, Usage
    from acpbot.sessions.turn import PermissionRequest, TurnEnd

FAILURES = [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread")]


BROKEN = frozenset({"look", "close_stdin", "terminate", "kill", "kill_all", "aclose"})


class BlindProcess:
    """A real agent's process; while ``failure`` is set, nobody can look at its processes or end them."""

    def __init__(self, process: AgentProcess, failure: Exception) -> None:
        self._process = process
        self.failure: Exception | None = failure

    def __getattr__(self, name: str) -> Any:
        return self._fail if name in BROKEN and self.failure is not None else getattr(self._process, name)

    def _fail(self, *_: object) -> Any:
        assert self.failure is not None
        raise self.failure


class BlindLauncher:
    """Starts real agents as :class:`BlindProcess`; ``processes`` are all of them, oldest first."""

    kind = "local"
    containment = "blind"
    sample_seconds = 2.0
    gives_home = False
    has_files_here = True

    def __init__(self, failure: Exception) -> None:
        self.processes: list[BlindProcess] = []
        self._failure = failure
        self._launcher, _ = local_runtime("auto")

    @property
    def strays(self) -> list[PlaceRef]:
        return self._launcher.strays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, _progress: Progress) -> Any:
        self.processes.append(BlindProcess(await self._launcher.launch(spec, stdout), self._failure))
        return self.processes[-1]

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        return await self._launcher.sample(processes)

    async def forget(self, thread_id: str) -> None:
        del thread_id

    async def aclose(self) -> None:
        await self._launcher.aclose()


async def within(work: Any) -> Any:
    return await asyncio.wait_for(work, 20)


@pytest.mark.parametrize("failure", FAILURES, ids=["no descriptors", "no threads"])
async def test_a_session_whose_end_fails_ends_and_the_next_kill_ends_its_agent(tmp_path, failure):
    launcher = BlindLauncher(failure)
    async with started(tmp_path, launcher=launcher) as harness:
        running = await harness.tool("1001")
        waiting = harness.send("1001", "say next")
        row = harness.row("1001")
        target = harness.target("1001")
        (first,) = await within(harness.pool.kill([target]))
        assert (first.outcome, first.processes_left, first.proof) == ("failed", None, "none")
        assert (running.end.stop_reason, waiting.end.stop_reason) == ("cancelled", "cancelled")
        assert (harness.row("1001").state, harness.pool.rows()) == ("suspended", [])
        assert harness.events.endings == [("1001", "killed", True)]
        await within(harness.pool.quiet())
        left = await harness.killed()
        assert [json.loads(place["ref"])["pid"] for place in rows(left, "places")] == [row.pid], (
            "the next daemon finds it"
        )
        assert exists(row.pid)
        (again,) = await within(harness.pool.kill([target]))
        assert again.outcome == "failed"
        launcher.processes[0].failure = None
        (last,) = await within(harness.pool.kill([target]))
        assert (last.outcome, last.processes_left, last.proof) == ("ended", 0, "system")
        assert not exists(row.pid)
        assert (await harness.pool.kill([target]))[0].outcome == "already_gone"
        assert harness.events.endings == [("1001", "killed", True)]
        left = await harness.killed()
    assert rows(left, "places") == []


async def test_what_a_failed_end_left_is_ended_before_the_threads_next_session_starts(make_harness):
    launcher = BlindLauncher(FAILURES[0])
    harness = make_harness(launcher=launcher)
    await harness.turn("1001", "say a")
    pid = harness.row("1001").pid
    assert (await within(harness.session("1001").end("evicted"))).processes_left is None
    launcher.processes[0].failure = None
    assert (await harness.turn("1001", "say b")).text == "b"
    assert not exists(pid)
    launcher.processes[1].failure = None


async def test_what_a_failed_end_left_is_ended_in_the_background_after_a_while(make_harness):
    launcher = BlindLauncher(FAILURES[0])
    harness = make_harness(launcher=launcher)
    await harness.turn("1001", "say a")
    pid, session = harness.row("1001").pid, harness.pool.get("1001")
    await within(session.end("evicted"))
    launcher.processes[0].failure = None
    harness.pool.tick()
    assert exists(pid)
    harness.clock.move(31)
    harness.pool.tick()
    await within(session.end("evicted"))
    assert not exists(pid)


async def test_a_pool_closes_whose_sessions_can_t_be_ended(make_harness):
    harness = make_harness(launcher=BlindLauncher(FAILURES[0]))
    listener = await harness.tool("1001")
    await within(harness.pool.close(grace_seconds=0.2))
    assert (listener.end.stop_reason, harness.pool.rows()) == ("cancelled", [])


def task_named(name: str) -> asyncio.Task[Any]:
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return task


async def test_a_session_whose_task_is_cancelled_by_nobody_ends_and_another_one_runs_what_waits(harness):
    await harness.turn("1001", "remember the blue door")
    before = harness.session("1001")
    task_named(f"session {before.session_id}: main").cancel()
    assert "the blue door" in (await harness.turn("1001", "recall")).text
    assert harness.session("1001") is not before
    assert harness.events.endings == [("1001", "crashed", True)]


@pytest.mark.parametrize("task", ["main", "reader"])
async def test_a_turn_ends_where_a_task_of_its_session_is_cancelled_by_nobody(harness, task):
    listener = await harness.tool("1001")
    task_named(f"session {harness.session('1001').session_id}: {task}").cancel()
    await within(listener.over.wait())
    assert listener.error == "cannot go on: internal error (UnexpectedEnd), see the log"
    assert (await harness.turn("1001", "say on")).text == "on"


async def test_a_check_of_a_turn_that_is_cancelled_by_nobody_ends_the_turn_and_not_the_session(harness):
    async def cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    listener = Listener()
    turn = Turn([{"type": "text", "text": "say a"}], listener, text="say a", check=cancelled)
    harness.pool.submit("1001", turn, platform="test")
    await within(listener.over.wait())
    assert listener.error == UNCHECKED
    assert harness.row("1001").state == "idle"


async def test_the_end_of_a_session_that_is_cancelled_by_nobody_ends_it_all_the_same(harness):
    listener = await harness.tool("1001")
    session, target = harness.session("1001"), harness.target("1001")
    pid = harness.row("1001").pid
    kill = asyncio.create_task(harness.pool.kill([target]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task_named(f"end of session {session.session_id}: first try").cancel()
    (result,) = await within(kill)
    assert (result.outcome, listener.end.stop_reason) == ("failed", "cancelled")
    assert harness.row("1001").state == "suspended"
    (again,) = await within(harness.pool.kill([target]))
    assert (again.outcome, again.processes_left, exists(pid)) == ("ended", 0, False)


class FailingListener(Listener):
    """Raises where ``at`` says."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def on_started(self) -> None:
        super().on_started()
        if self._at == "start":
            raise RuntimeError(self._at)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        super().on_permission_resolved(ask)
        if self._at == "permission":
            raise RuntimeError(self._at)

    def on_ended(self, end: TurnEnd) -> None:
        super().on_ended(end)
        if self._at == "end":
            raise RuntimeError(self._at)


def send(harness, text: str, listener: Listener) -> None:
    turn = Turn([{"type": "text", "text": text}], listener, text=text)
    harness.pool.submit("1001", turn, platform="test")


async def test_a_crash_of_the_sessions_main_task_ends_the_session_and_its_turn(harness, caplog):
    """Without this the row says idle with one message queued, and nothing ever runs."""
    failing, after = FailingListener("start"), Listener()
    send(harness, "sleep 60", failing)
    send(harness, "say b", after)
    await within(after.over.wait())
    assert failing.error == "cannot go on: internal error (RuntimeError), see the log"
    assert (after.text, harness.events.endings) == ("b", [("1001", "crashed", True)])
    assert "task_crashed" in caplog.messages


@pytest.mark.parametrize("at", ["permission", "end"])
async def test_a_listener_that_fails_at_the_end_stops_no_kill(harness, at):
    failing = FailingListener(at)
    send(harness, "tool sleep 60", failing)
    await within(failing.wants_permission.wait())
    target = harness.target("1001")
    (result,) = await within(harness.pool.kill([target]))
    assert (result.outcome, failing.over.is_set()) == ("ended", True)
    assert (await harness.turn("1001", "say next")).text == "next"


async def test_a_platform_and_a_subscriber_that_fail_stop_no_session(harness):
    class FailingChat:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    def fail(_change: str, _row: Any) -> None:
        raise RuntimeError("subscriber")

    harness.pool.attach("test", FailingChat())
    leave = harness.pool.subscribe(fail)
    assert (await harness.turn("1001", "say a")).text == "a"
    target = harness.target("1001")
    (result,) = await within(harness.pool.kill([target]))
    assert (result.outcome, harness.row("1001").state) == ("ended", "suspended")
    leave()


async def test_a_remembered_choice_that_the_agent_does_not_answer_is_dropped_and_the_thread_goes_on(make_harness):
    demo = f"{sys.executable} -m acpbot.demo.agent"
    deaf = f"if [ -e deaf ]; then grep --line-buffered -v session/set_config_option | {demo}; else exec {demo}; fi"
    harness = make_harness(argv=("/bin/sh", "-c", deaf), start_timeout_seconds=2)
    await harness.turn("1001", "say a")
    await harness.session("1001").choose("mode", "auto")
    await harness.session("1001").choose("model", "shout")
    chosen = harness.pool.thread("1001").chosen
    await within(harness.session("1001").end("expired"))
    folder = harness.tmp_path / "workspaces" / "1001"
    for history in folder.rglob("*.json"):
        history.unlink()  # it holds the choices too: they must be set again
    (folder / "deaf").touch()
    assert (await harness.turn("1001", "say b")).text.lower() == "b"
    assert harness.events.dropped == [("1001", "model", "shout")]
    assert harness.pool.thread("1001").chosen == {"mode": chosen["mode"]}


async def test_a_limit_that_can_t_be_applied_is_logged_once_a_session_and_shown(make_harness, caplog):
    launcher, _ = local_runtime("subreaper")
    harness = make_harness(launcher=launcher, memory_max=1024**3, pids_max=100)
    for text in ("say a", "say b"):
        await harness.turn("1001", text)
    detail = await harness.pool.detail("1001")
    reason = "agents run without a cgroup here"
    assert [(held.limit, held.reason) for held in detail.limits_not_held] == [
        ("memory_max", reason),
        ("pids_max", reason),
    ]
    logged = [record.fields["limit"] for record in caplog.records if record.message == "limit_not_held"]
    assert logged == ["memory_max", "pids_max"]
