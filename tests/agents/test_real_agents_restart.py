"""Real agents over a restart of the whole daemon: what was said before is in what the agent asks the model after it."""

from __future__ import annotations

import asyncio
import signal

import pytest

from acpbot.chat.conversation import INTERRUPTED
from tests.fakes.daemon import DaemonProcess, Wire, marked_processes
from tests.support.agent_stack import LIMIT, Gate, running
from tests.support.pool_restarts import rows
from tests.support.real_agents import ASKING, configuration, recipe

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]

FACT = "the harbour is blue"
NAP = "sleep 300"


class Restarts:
    """Daemons one after the other, in one folder, with one thread. A stop waits for no turn."""

    def __init__(self, folder, home, config: str) -> None:
        self.home = home
        self._folder = folder
        self._config = f"{config}[shutdown]\ndrain_seconds = 0\n"

    def start(self) -> DaemonProcess:
        return DaemonProcess(self._folder, self._config)


@pytest.fixture
async def restarts(agent_name, tmp_path, model):
    async with Gate() as gate:
        home = tmp_path / "home"
        argv, env = recipe(agent_name, home, model.base_url, gate.url)
        yield Restarts(tmp_path / "d", home, configuration(argv, env, ASKING.get(agent_name)))
        assert running(HOME=str(home)) == []
        assert gate.tried == []
        assert model.unknown == []


def opened(daemon: DaemonProcess) -> Wire:
    wire = daemon.wire()
    wire.socket.settimeout(LIMIT)
    wire.call("chat.open", thread="t")
    return wire


def turn(wire: Wire, text: str) -> list[dict]:
    """Send a prompt; all events that have come since the thread was opened, the end of the turn the last one."""
    wire.call("chat.send", thread="t", text=text)
    events: list[dict] = []
    while not events or events[-1]["type"] != "turn_end":
        message = wire.notifications.pop(0) if wire.notifications else wire.read()
        events.append(message["params"])
    return events


def row(wire: Wire) -> dict:
    (found,) = wire.call("sessions.list", suspended=True)["sessions"]
    return found


def until_idle(daemon: DaemonProcess, _wire: Wire) -> None:
    """Between two turns: it is on disk, too, that the last one is over."""
    while rows(daemon.folder / "state" / "acpbot" / "acpbot.sqlite3", "turns"):
        continue


def into_an_answer(_daemon: DaemonProcess, wire: Wire) -> None:
    wire.call("chat.send", thread="t", text="slow")
    assert wire.event("text")["text"] == "Thinking"


def into_a_tool(_daemon: DaemonProcess, wire: Wire) -> None:
    """A tool of the agent's runs, in a session of its own, so that no process group holds it."""
    wire.call("chat.send", thread="t", text=f"run setsid --wait {NAP}")
    asked = wire.event("permission")
    option = next(o["option_id"] for o in asked["options"] if o["kind"] == "allow_once")
    wire.call("chat.permit", thread="t", request=asked["request"], option=option)
    while NAP not in [one["command"] for one in wire.call("sessions.get", thread="t")["session"]["process_tree"]]:
        continue


def converse(restarts: Restarts, model, moment, signum: int) -> None:
    interrupted = moment is not until_idle and signum == signal.SIGKILL
    with restarts.start() as daemon, opened(daemon) as wire:
        assert turn(wire, f"say {FACT}")[-1]["text"] == FACT
        moment(daemon, wire)
        before = row(wire)
        assert marked_processes([before["session_id"]])
        status = daemon.stop(signum)
        assert status == (0 if signum == signal.SIGTERM else -signum)
    if signum == signal.SIGTERM:
        assert running(HOME=str(restarts.home)) == [], "an orderly end leaves no process"
    asked = len(model.requests)

    with restarts.start() as daemon:
        assert running(HOME=str(restarts.home)) == [], (
            "nothing of the first daemon is left, and nothing was started yet"
        )
        with daemon.wire() as wire:
            after = row(wire)
        assert (after["state"], after["acp_session_id"]) == ("suspended", before["acp_session_id"])
        with opened(daemon) as wire:
            *events, end = turn(wire, "recall")
            assert (end["stop_reason"], end["text"]) == ("end_turn", f"You told me: {FACT}")
            notices = [event["text"] for event in events if event["type"] == "notice"]
            assert [text.startswith(INTERRUPTED) for text in notices] == [True] * interrupted
            after = row(wire)
        assert after["acp_session_id"] == before["acp_session_id"]
        assert after["session_id"] != before["session_id"]
        later = [request for request in model.requests[asked:] if request.tools]
        assert {request.words[0] for request in later} == {"recall"}, "no prompt of the first daemon is sent again"
        assert all(f"say {FACT}" in "\n".join(request.users) for request in later)
        assert daemon.stop() == 0


@pytest.mark.parametrize("moment", [until_idle, into_an_answer, into_a_tool])
async def test_the_conversation_continues_after_the_daemon_is_killed(restarts, model, moment):
    await asyncio.to_thread(converse, restarts, model, moment, signal.SIGKILL)


@pytest.mark.parametrize("moment", [until_idle, into_a_tool])
async def test_the_conversation_continues_after_the_daemon_is_stopped(restarts, model, moment):
    await asyncio.to_thread(converse, restarts, model, moment, signal.SIGTERM)
