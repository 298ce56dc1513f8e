"""An agent's end always has a result: whatever fails on the way, and it never says 'nothing is left' unproven."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.acp.agent import Agent
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.sessions.terminate import terminate
from tests.support.launched_agents import LIMIT, AgentRunner, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from acpbot.runtimes.runtime import AgentProcess

OUT_OF_DESCRIPTORS = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/proc")
OUT_OF_THREADS = RuntimeError("can't start new thread")
EVERYTHING = ("look", "close_stdin", "terminate", "kill", "kill_all", "aclose")


class BrokenProcess:
    """A process of which some methods raise an error; the others are the real ones."""

    def __init__(self, real: AgentProcess, broken: tuple[str, ...], error: Exception) -> None:
        self._real = real
        self._broken = broken
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return self._fail if name in self._broken else getattr(self._real, name)

    def _fail(self, *_: object) -> Any:
        raise self._error


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[AgentRunner]:
    launcher, _ = local_runtime("auto")
    runner = AgentRunner(launcher, tmp_path)
    yield runner
    await runner.aclose()


@pytest.mark.parametrize("error", [OUT_OF_DESCRIPTORS, OUT_OF_THREADS], ids=["descriptors", "threads"])
@pytest.mark.parametrize(
    ("broken", "left"),
    [
        (("look",), 0),
        (("close_stdin", "terminate", "kill"), 0),
        (("aclose",), 0),
        (("kill_all",), None),
        (EVERYTHING, None),
    ],
    ids=lambda value: value[0] if value != EVERYTHING and isinstance(value, tuple) else None,
)
async def test_a_step_that_fails_is_logged_and_the_next_one_follows(runner, caplog, broken, left, error):
    """0 processes are left only where a look has proved it."""
    real, sink = await runner.sh("echo $$; trap '' TERM; while :; do sleep 1000; done")
    with Watch(int(await sink.line())) as leader:
        result = await asyncio.wait_for(terminate(Agent(), BrokenProcess(real, broken, error), grace=0.1), LIMIT)
        assert (result.processes_left, result.proof) == (left, "none" if left is None else "system")
        assert leader.ended() == (broken != EVERYTHING)
    assert "termination_step_failed" in caplog.messages or "termination_look_failed" in caplog.messages
    assert any(record.exc_info is not None and record.exc_info[1] is error for record in caplog.records)


async def test_looks_that_fail_are_not_repeated_until_the_deadline(runner, caplog):
    real, sink = await runner.sh("echo up; read _; exit 0")
    await sink.line()
    process = BrokenProcess(real, ("look",), OUT_OF_DESCRIPTORS)
    result = await asyncio.wait_for(terminate(Agent(), process, grace=2 * LIMIT), LIMIT)
    assert (result.reached, result.processes_left) == ("sigkill", 0)
    assert caplog.messages.count("termination_look_failed") <= 5


async def test_an_agent_that_obeys_ends_without_a_signal(runner):
    process, sink = await runner.sh("echo up; read _; exit 0")
    await sink.line()
    result = await terminate(Agent(), process, grace=LIMIT)
    assert (result.reached, result.processes_ended, result.processes_left) == ("eof", 1, 0)
