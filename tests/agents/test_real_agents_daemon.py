"""Real agents below a whole daemon: its process, its socket, its configuration file."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.daemon import DaemonProcess, Wire, marked_processes
from tests.support.agent_stack import LIMIT, Gate, running
from tests.support.real_agents import configuration, recipe

pytestmark = pytest.mark.real_agents


@pytest.fixture
async def daemon(agent_name, tmp_path, model):
    async with Gate() as gate:
        config = configuration(*recipe(agent_name, tmp_path / "home", model.base_url, gate.url))
        with DaemonProcess(tmp_path / "d", config) as process:
            yield process
            await asyncio.to_thread(process.stop)
        assert running(HOME=str(tmp_path / "home")) == []
        assert gate.tried == []


def prompt(wire: Wire, text: str) -> None:
    wire.call("chat.send", thread="t", text=text)


def answer(wire: Wire, kinds: tuple[str, ...]) -> None:
    asked = wire.event("permission")
    option = next(o["option_id"] for kind in kinds for o in asked["options"] if o["kind"] == kind)
    wire.call("chat.permit", thread="t", request=asked["request"], option=option)


def converse(daemon: DaemonProcess) -> None:
    """One conversation, from the first words to the words after a kill."""
    with daemon.wire() as wire, daemon.wire() as admin:
        for side in (wire, admin):
            side.socket.settimeout(LIMIT)
        wire.call("chat.open", thread="t")
        prompt(wire, "say the blue door is open")
        assert wire.event("turn_end")["text"] == "the blue door is open"
        (row,) = admin.call("sessions.list")["sessions"]

        prompt(wire, "run echo hi > yes.txt")
        answer(wire, ("allow_once", "allow_always"))
        assert wire.event("turn_end")["stop_reason"] == "end_turn"
        prompt(wire, "run echo hi > no.txt")
        answer(wire, ("reject_once", "reject_always"))
        wire.event("turn_end")
        workspace = daemon.folder / "state" / "acpbot" / "workspaces" / "t"
        assert (workspace / "yes.txt").read_text() == "hi\n"
        assert not (workspace / "no.txt").exists()

        prompt(wire, "slow")
        wire.event("text")
        assert admin.call("sessions.cancel", thread="t", session_id=row["session_id"]) == {"outcome": "cancelled"}
        assert wire.event("turn_end")["stop_reason"] == "cancelled"

        prompt(wire, "run sleep 300")
        answer(wire, ("allow_once", "allow_always"))
        while not any(
            "sleep 300" in process["command"]
            for process in admin.call("sessions.get", thread="t")["session"]["process_tree"]
        ):
            continue
        target = {"thread_id": "t", "session_id": row["session_id"]}
        (result,) = admin.call("sessions.kill", targets=[target])["results"]
        assert (result["outcome"], result["processes_left"]) == ("ended", 0)
        assert result["processes_ended"] >= 2
        assert marked_processes([row["session_id"]]) == []
        wire.event("notice")

        prompt(wire, "recall")
        assert "the blue door is open" in wire.event("turn_end")["text"]


async def test_a_whole_conversation_through_the_daemon(daemon):
    await asyncio.to_thread(converse, daemon)
