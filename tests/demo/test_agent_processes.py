from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.demo_agent import LIMIT, Driver, alive, ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pids(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - a /proc file
        return int(file.read().rpartition(")")[2].split()[1])


def tool(command: str) -> str:
    return f"tool {json.dumps(command)}"


def output(agent: Driver) -> str:
    """The first output of the running tool."""
    while not (update := agent.until_update("tool_call_update", status="in_progress")).get("content"):
        pass
    return update["content"][0]["content"]["text"]


@pytest.fixture
def doomed() -> Iterator[list[int]]:
    """Processes that a test leaves on purpose: they are killed at its end."""
    left: list[int] = []
    yield left
    for pid in left:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


ENDLESS = ["stall 600", "sleep 600", "tool sleep 600", "stream 1000000", "blast 100000000", "say a then sleep 600"]


@pytest.mark.parametrize("words", ENDLESS)
def test_a_cancel_stops_at_once(start: Callable[..., Driver], words):
    agent = start(pace="0.01")
    session = agent.new()
    number = agent.start(session, f"think; {words}; say never")
    agent.until_update("agent_thought_chunk")
    if "sleep" in words:
        agent.until_update("tool_call_update", status="in_progress")
    agent.cancel(session)
    turn = agent.finish(number)
    assert turn.stop == "cancelled"
    assert "never" not in turn.text
    assert turn.tool_statuses[-1:] == (["failed"] if "sleep" in words else [])
    assert agent.prompt(session, "say next").text == "next"


def test_a_cancel_ends_the_whole_group_of_a_tool(agent: Driver):
    session = agent.new()
    number = agent.start(session, tool("trap '' TERM; sleep 600 & echo $! $$; wait"))
    running = pids(output(agent))
    assert len(running) == 2
    assert all(map(alive, running))
    assert os.getsid(running[1]) == running[1]
    agent.cancel(session)
    assert agent.finish(number).stop == "cancelled"
    assert all(map(ended, running))


def test_a_cancel_ends_an_open_permission(agent: Driver):
    agent.decide = lambda _params: None
    session = agent.new()
    number = agent.start(session, "tool")
    asked = agent.until(lambda message: message.get("method") == "session/request_permission")
    agent.cancel(session)
    turn = agent.finish(number)
    assert turn.stop == "cancelled"
    assert turn.tool_statuses == ["pending", "failed"]
    agent.answer(asked, {"outcome": {"outcome": "cancelled"}})
    assert agent.prompt(session, "say next").text == "next"


def test_processes_in_the_group_of_a_tool_end_with_it(agent: Driver):
    turn = agent.prompt(agent.new(), tool("sleep 600 & echo $!"))
    assert turn.tool_statuses[-1] == "completed"
    (left,) = pids(turn.kind("tool_call_update")[-1]["content"][0]["content"]["text"])
    assert ended(left)


@pytest.mark.parametrize("way", ["eof", "sigterm", "exit", "sighup"])
def test_the_exit_of_the_agent_kills_tools_and_sleepers(agent: Driver, way):
    session = agent.new()
    sleepers = pids(agent.prompt(session, "fork 3").text)[1:]
    assert len(sleepers) == 3
    assert [os.getsid(pid) for pid in sleepers] == sleepers
    agent.start(session, tool("echo $$; sleep 600; true"))
    running = [*sleepers, *pids(output(agent))]
    if way == "eof":
        assert agent.end_input() == 0
    elif way == "exit":
        other = agent.new()
        agent.start(other, "exit")
        assert agent.process.wait(LIMIT) == 0
    else:
        signum = getattr(signal, way.upper())
        agent.process.send_signal(signum)
        assert agent.process.wait(LIMIT) == 128 + signum
    assert all(map(ended, running))
    assert agent.stderr() == b""


def test_sigint_is_ignored_by_the_agent_but_not_by_its_tools(agent: Driver):
    session = agent.new()
    agent.process.send_signal(signal.SIGINT)
    turn = agent.prompt(session, tool("kill -INT $$; echo survived"))
    assert turn.kind("tool_call_update")[-1]["rawOutput"] == {"exitCode": -signal.SIGINT}


def test_a_hanging_agent_answers_nothing_but_exits_at_signals(agent: Driver):
    session = agent.new()
    agent.start(session, "say last words; hang")
    agent.until_update("agent_message_chunk", content={"type": "text", "text": "words"})
    while not agent.is_silent():
        pass
    agent.cancel(session)
    agent.send("session/list", {})
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(LIMIT) == 128 + signal.SIGTERM
    assert agent.receive() is None


def test_a_hanging_agent_exits_at_the_end_of_stdin(agent: Driver):
    agent.start(agent.new(), "hang")
    assert agent.end_input() == 0


def test_ignore_makes_the_agent_ignore_sigterm_cancel_and_end_of_stdin(agent: Driver, doomed: list[int]):
    session = agent.new()
    said = agent.prompt(session, "ignore").text
    doomed += pids(said)
    number = agent.start(session, "say begun; stall 0.2; say finished")
    agent.until_update("agent_message_chunk")
    agent.cancel(session)
    agent.process.send_signal(signal.SIGTERM)
    os.kill(doomed[0], signal.SIGTERM)
    assert agent.process.stdin is not None
    agent.process.stdin.close()
    turn = agent.finish(number)
    assert turn.stop == "end_turn"
    assert turn.text.endswith("finished")
    assert agent.process.poll() is None
    assert alive(doomed[0])
    assert os.getsid(doomed[0]) != os.getsid(agent.process.pid)
    agent.process.kill()
    assert agent.process.wait(LIMIT) == -signal.SIGKILL
    assert alive(doomed[0])


def test_an_orphan_survives_the_agent(agent: Driver, doomed: list[int]):
    doomed += pids(agent.prompt(agent.new(), "orphan").text)
    assert parent(doomed[0]) != agent.process.pid
    assert agent.end_input() == 0
    os.kill(doomed[0], signal.SIGTERM)
    assert alive(doomed[0])
    assert os.getsid(doomed[0]) not in {doomed[0], os.getsid(0)}


def test_an_orphan_exits_after_its_time(agent: Driver):
    (orphan,) = pids(agent.prompt(agent.new(), "orphan 0").text)
    assert ended(orphan)


@pytest.mark.parametrize(("words", "code"), [("crash", 1), ("crash 42", 42)])
def test_a_crash_writes_half_a_line(agent: Driver, words, code):
    agent.start(agent.new(), f"say before; {words}; say never")
    assert [message["params"]["update"]["sessionUpdate"] for message in agent.messages()][-1] == "agent_message_chunk"
    assert agent.noise == [b'{"jsonrpc":"2.0","method":"session/upd']
    assert agent.process.wait(LIMIT) == code
    assert agent.stderr() == b""


def test_the_agent_exits_where_its_client_stops_reading(tmp_path: Path):
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "acpbot.demo.agent"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        stdin, stderr = process.stdin, process.stderr
        assert stdin is not None
        assert stderr is not None
        stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/"}}\n')
        stdin.flush()
        with open(reading, "rb") as stdout:  # noqa: PTH123 - a descriptor
            assert b'"id":1' in stdout.readline()
            assert b"available_commands_update" in stdout.readline()
        stdin.write(b'{"jsonrpc":"2.0","id":2,"method":"session/list"}\n')
        stdin.flush()
        assert process.wait(LIMIT) == 0
        assert stderr.read() == b""
