"""`acpctl drain`: its output and exit codes, and what it does to a real daemon."""

from __future__ import annotations

import signal
import subprocess

import pytest

from acpbot.daemon.drain import REFUSED
from tests.fakes.daemon import DaemonProcess
from tests.fakes.management import WireError, health
from tests.support.acpctl import ACPCTL, HEAVY_MODULES, imported_modules


def pool(**turns: int) -> dict:
    """An answer of ``health.get`` while draining."""
    return health(
        state="draining", pool={"busy": 0, "queued": 0, "waiting": 0, "stuck": 0, "starting": 0, "idle": 5} | turns
    )


def test_drain_and_drain_off_send_their_requests(daemon, acpctl):
    assert acpctl("drain") == (0, "draining\n", "")
    assert acpctl("drain", "--deadline", "30") == (0, "draining\n", "")
    assert acpctl("drain", "--off", "-o", "json") == (0, '{"state":"running"}\n', "")
    assert daemon.asked("daemon.drain") == [{"on": True}, {"on": True, "deadline_seconds": 30.0}, {"on": False}]


def test_drain_wait_returns_when_no_turn_runs_or_is_queued(daemon, acpctl):
    left = [pool(busy=1, waiting=1, queued=1), pool(stuck=1), pool(stuck=1), pool(queued=1), pool()]
    daemon.on("health.get", lambda _, __: left[len(daemon.asked("health.get")) - 1])
    result = acpctl("drain", "--wait")
    assert (result.code, result.out) == (0, "draining, no turn is running\n")
    assert result.err.splitlines() == [
        "draining: 2 turns running, 1 queued",
        "draining: 1 turn running, 0 queued",
        "draining: 0 turns running, 1 queued",
    ]


def test_drain_wait_ends_after_its_deadline(daemon, acpctl):
    daemon.on("health.get", lambda _, __: pool(busy=1))
    result = acpctl("--timeout", "0.1", "drain", "--wait", "--deadline", "0")
    assert (result.code, result.out) == (7, "")
    assert "1 turn left 0 s after the drain began" in result.err


def test_drain_wait_fails_when_somebody_ends_the_drain(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(state="running", pool={"busy": 1}))
    result = acpctl("drain", "--wait")
    assert (result.code, result.out) == (5, "")
    assert result.err == "cannot wait for the drain: somebody has ended it; see `acpctl health`\n"


def test_a_refused_drain_off_exits_with_5(daemon, acpctl):
    def refuse(_params, _client):
        raise WireError(-32003, "conflict", "cannot take new turns again: acpbot is stopping")

    daemon.on("daemon.drain", refuse)
    assert acpctl("drain", "--off") == (5, "", "cannot take new turns again: acpbot is stopping\n")


def test_drain_wait_reports_a_closed_connection(daemon, acpctl):
    def gone(_params, client):
        client.close()
        return pool(busy=1)

    daemon.on("health.get", gone)
    result = acpctl("drain", "--wait")
    assert (result.code, result.out) == (6, "")
    assert result.err.startswith("cannot go on: acpbot at ")


def test_ctrl_c_keeps_the_drain_on_and_says_so(daemon):
    daemon.on("health.get", lambda _, __: pool(busy=1))
    running = subprocess.Popen([ACPCTL, "drain", "--wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    assert running.stderr.readline() == "draining: 1 turn running, 0 queued\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (130, "", "the drain goes on; `acpctl drain --off` ends it\n")
    assert daemon.asked("daemon.drain") == [{"on": True}]


def test_a_piped_drain_imports_no_heavy_module(daemon):
    daemon.on("health.get", lambda _, __: pool(busy=1) if len(daemon.asked("health.get")) == 1 else pool())
    assert imported_modules("drain", "--wait") & HEAVY_MODULES == set()


# A real daemon.


@pytest.fixture
def real(tmp_path):
    with DaemonProcess(tmp_path / "d") as daemon:
        yield daemon


def begin_waiting_turn(wire, thread: str) -> dict:
    """Begin a turn that waits for a permission; return the parameters that give it."""
    wire.call("chat.open", thread=thread)
    wire.call("chat.send", thread=thread, text="tool echo done")
    request = wire.event("permission")
    return {"thread": thread, "request": request["request"], "option": request["options"][0]["option_id"]}


def test_a_real_daemon_drains_and_takes_turns_again(real, program):
    def drain(*arguments: str):
        return program("drain", *arguments, ACPBOT_SOCKET=str(real.socket))

    with real.wire() as wire:
        permit = begin_waiting_turn(wire, "one")
        wire.call("chat.send", thread="one", text="say second")
        assert drain() == (0, "draining\n", "")
        assert program("health", ACPBOT_SOCKET=str(real.socket)).code == 3
        assert wire.refused("chat.send", thread="one", text="say third")["data"] == {"kind": "draining"}
        late = drain("--wait", "--deadline", "0")
        assert (late.code, late.out) == (0, "draining, no turn is running\n")
        ends = [wire.event("turn_end"), wire.event("turn_end")]
        assert [end["stop_reason"] for end in ends] == ["error", "cancelled"]
        assert ends[0]["error"] == REFUSED
        assert wire.refused("chat.permit", **permit)["data"] == {"kind": "not_found"}
        assert drain("--off", "-o", "json") == (0, '{"state":"running"}\n', "")
        assert wire.turn("one", "say again")["text"] == "again"


def test_a_progress_bar_shows_the_turns_that_are_left(real, terminal):
    with real.wire() as wire:
        one, two = begin_waiting_turn(wire, "one"), begin_waiting_turn(wire, "two")
        wire.call("chat.send", thread="two", text="say the last")
        screen = terminal("drain", "--wait", ACPBOT_SOCKET=str(real.socket))
        shown = screen.wait_for("2 turns running, 1 queued")
        assert "━━━━" in shown
        wire.call("chat.permit", **one)
        screen.wait_for("1 turn running, 1 queued")
        wire.call("chat.permit", **two)
        assert screen.end() == 0
    assert screen.text() == "draining, no turn is running"
    assert b"\x1b[?25h" in screen.raw


def test_ctrl_c_during_the_progress_bar_restores_the_terminal(real, terminal):
    with real.wire() as wire:
        begin_waiting_turn(wire, "one")
        screen = terminal("drain", "--wait", ACPBOT_SOCKET=str(real.socket))
        screen.wait_for("1 turn running")
        screen.type("\x03")
        assert screen.end() == 130
        assert screen.text() == "the drain goes on; `acpctl drain --off` ends it"
        assert b"\x1b[?25h" in screen.raw
        with real.wire() as other:
            assert other.hello["params"]["state"] == "draining"


@pytest.mark.parametrize("columns", [40, 80])
def test_the_progress_bar_takes_one_line(real, terminal, columns):
    with real.wire() as wire:
        permit = begin_waiting_turn(wire, "one")
        screen = terminal("drain", "--wait", columns=columns, ACPBOT_SOCKET=str(real.socket))
        assert len(screen.wait_for("1 turn").splitlines()) == 1
        wire.call("chat.permit", **permit)
        assert screen.end() == 0
    assert screen.text() == "draining, no turn is running"
