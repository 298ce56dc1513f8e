"""How a daemon drains and stops, and what it reports to systemd: real processes, real signals."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import datetime

import pytest

from acpbot.daemon.drain import REFUSED
from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess, Wire, marked_processes

pytestmark = pytest.mark.service


def config(**shutdown: float) -> str:
    drain, grace = shutdown.get("drain", 300), shutdown.get("grace", 5)
    return f"{DEMO_AGENT}[pool]\ngrace_seconds = {grace}\n[shutdown]\ndrain_seconds = {drain}\n"


def wait_for_permission(wire: Wire, thread: str = "demo") -> dict[str, str]:
    """Begin a turn that goes on until the params that this gives are permitted."""
    wire.call("chat.open", thread=thread)
    wire.call("chat.send", thread=thread, text='tool true; say "all done"')
    asked = wire.event("permission")
    return {"thread": thread, "request": asked["request"], "option": asked["options"][0]["option_id"]}


def session_of(wire: Wire, thread: str = "demo") -> str:
    return wire.call("sessions.get", thread=thread)["session"]["session_id"]


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def logged_seconds(daemon: DaemonProcess, first: str, last: str) -> float:
    """The time between two events of the log."""
    at = {}
    for line in daemon.log.read_text().splitlines():
        time, _, event, *_ = line.split()
        at[event] = datetime.fromisoformat(time)
    return (at[last] - at[first]).total_seconds()


def test_a_stdin_that_can_t_be_watched_is_refused_in_one_line(tmp_path):
    config = tmp_path / "config.toml"
    paths = f'[pool]\nworkspace = "{tmp_path}/w"\n[store]\npath = "{tmp_path}/db"\n[management]\nenabled = false\n'
    config.write_text(DEMO_AGENT + paths)
    argv = [sys.executable, "-m", "acpbot", "run", "--stop-at-eof", "--config", str(config)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cannot wait for the end of stdin: ")
    assert "Traceback" not in done.stderr


def test_systemd_gets_the_states_from_start_to_stop_in_order(tmp_path):
    with DaemonProcess(tmp_path / "d", config(), ready=False, WATCHDOG_USEC="400000") as daemon:
        assert daemon.message() == {"READY": "1", "STATUS": "running: 0 sessions, 0 busy, 0 queued"}
        assert daemon.message() == {"WATCHDOG": "1"}
        with daemon.wire() as wire:
            permit = wait_for_permission(wire)
            daemon.wait_for(b"STATUS=running: 1 session, 0 busy, 1 waiting, 0 queued")
            daemon.process.send_signal(signal.SIGTERM)
            while "WATCHDOG" in (message := daemon.message()):
                pass
            assert message["STOPPING"] == "1"
            assert message["STATUS"] == "draining: 1 session, 0 busy, 1 waiting, 0 queued"
            assert int(message["EXTEND_TIMEOUT_USEC"]) >= 5_000_000
            assert int(daemon.reported("EXTEND_TIMEOUT_USEC")) >= 5_000_000
            assert daemon.reported("WATCHDOG") == "1"
            wire.call("chat.permit", **permit)
            assert daemon.process.wait(LIMIT) == 0
        assert not any("READY" in message or "STOPPING" in message for message in daemon.messages())


def test_a_turn_that_ends_within_the_drain_time_is_not_interrupted(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    probes = f'[management.probes]\nenabled = true\nbind = "127.0.0.1:{port}"\n'
    with DaemonProcess(tmp_path / "d", config() + probes) as daemon, daemon.wire() as wire:
        permit = wait_for_permission(wire)
        wire.call("chat.send", thread="demo", text="say and the queued one too")
        session = session_of(wire)
        assert status(port, "/readyz") == 200
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for(b"STOPPING=1")
        assert (status(port, "/readyz"), status(port, "/livez"), status(port, "/healthz")) == (503, 200, 200)
        with daemon.wire() as other:
            assert other.hello["params"]["state"] == "draining"
            assert other.refused("chat.open", thread="other")["data"] == {"kind": "draining"}
            assert other.refused("daemon.drain", on=False)["data"] == {"kind": "conflict"}
            assert other.call("daemon.drain", on=True) == {"state": "draining"}
        assert wire.refused("chat.send", thread="demo", text="say no")["data"] == {"kind": "draining"}
        wire.call("chat.permit", **permit)
        first, second = wire.event("turn_end"), wire.event("turn_end")
        assert (first["stop_reason"], first["text"][-8:]) == ("end_turn", "all done")
        assert (second["stop_reason"], second["text"]) == ("end_turn", "and the queued one too")
        assert daemon.process.wait(LIMIT) == 0
        while wire.lines.readline():
            pass
        assert marked_processes([session]) == []
        assert not daemon.socket.exists()
    assert "Traceback" not in daemon.log.read_text()


def test_an_idle_daemon_stops_at_once(tmp_path):
    with DaemonProcess(tmp_path / "d", config()) as daemon:
        with daemon.wire() as wire:
            wire.call("chat.open", thread="demo")
            wire.turn("demo", "say a")
            assert daemon.stop() == 0
        assert logged_seconds(daemon, "daemon_draining", "daemon_stopping") < 1


def test_a_turn_that_exceeds_the_drain_time_ends_with_an_error(tmp_path):
    drain, grace = 0.2, 0.5
    with DaemonProcess(tmp_path / "d", config(drain=drain, grace=grace)) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "orphan 300")
        wire.call("chat.send", thread="demo", text="ignore; hang")
        wire.event("turn_start")
        session = session_of(wire)
        assert daemon.stop() == 0
        end = wire.event("turn_end")
        assert (end["stop_reason"], end["error"]) == ("error", "I'm restarting, so this answer is incomplete.")
        assert marked_processes([session]) == []
        assert drain <= logged_seconds(daemon, "daemon_draining", "daemon_stopped") < drain + grace + 2
        assert "processes_left=0" in daemon.log.read_text()


def test_neither_a_long_kill_nor_a_client_that_does_not_read_delays_the_stop(tmp_path):
    drain, grace = 0.1, 0.3
    with (
        DaemonProcess(tmp_path / "d", config(drain=drain, grace=grace)) as daemon,
        daemon.wire() as chat,
        daemon.wire() as admin,
        daemon.wire() as deaf,
    ):
        chat.call("chat.open", thread="demo")
        chat.call("chat.send", thread="demo", text="ignore; say up; hang")
        chat.event("text")
        target = {"thread_id": "demo", "session_id": session_of(admin)}
        deaf.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # until nothing more is read of what it sends
            while True:
                deaf.send("sessions.list")
        chat.call("sessions.watch")
        kill = admin.send("sessions.kill", targets=[target], grace_seconds=300)
        while (event := chat.read()["params"]).get("event") != "changed" or event["session"]["state"] != "closing":
            pass
        assert daemon.stop() == 0
        (result,) = admin.answer(kill)["result"]["results"]
        assert (result["outcome"], result["processes_left"]) == ("ended", 0)
        assert logged_seconds(daemon, "daemon_draining", "daemon_stopped") < drain + grace + 2


def test_a_second_signal_ends_the_drain_and_all_grace_periods(tmp_path):
    with DaemonProcess(tmp_path / "d", config(drain=300, grace=300)) as daemon, daemon.wire() as wire:
        for thread in ("demo", "other"):
            wire.call("chat.open", thread=thread)
            wire.call("chat.send", thread=thread, text="ignore; hang")
            wire.event("turn_start")
        wire.call("chat.send", thread="demo", text="say never")
        sessions = [session_of(wire, "demo"), session_of(wire, "other")]
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for(b"STOPPING=1")
        assert daemon.stop() == 0
        ends = [wire.event("turn_end") for _ in range(3)]
        assert sorted(end["stop_reason"] for end in ends) == ["error", "error", "kept"]
        assert {end["error"].partition(";")[0] for end in ends} == {
            "I'm restarting",
            "I'm restarting, so this answer is incomplete.",
        }
        assert marked_processes(sessions) == []
    log = daemon.log.read_text()
    assert "daemon_forced" in log
    assert "crashed" not in log


def test_an_operator_begins_and_ends_a_drain(tmp_path):
    with DaemonProcess(tmp_path / "d", config()) as daemon, daemon.wire() as chat, daemon.wire() as admin:
        permit = wait_for_permission(chat)
        assert admin.call("daemon.drain", on=True) == {"state": "draining"}
        daemon.wait_for(b"STATUS=draining: 1 session, 0 busy, 1 waiting, 0 queued")
        health = admin.call("health.get")
        assert (health["state"], health["ready"], health["live"]) == ("draining", False, True)
        with daemon.wire() as late:
            assert late.hello["params"]["state"] == "draining"
        assert chat.refused("chat.send", thread="demo", text="say no")["data"] == {"kind": "draining"}
        chat.call("chat.permit", **permit)
        assert chat.event("turn_end")["text"].endswith("all done")
        assert admin.call("daemon.drain", on=False) == {"state": "running"}
        assert admin.call("daemon.drain", on=False) == {"state": "running"}
        assert admin.call("health.get")["ready"] is True
        assert chat.turn("demo", "say again")["text"] == "again"
        assert not any("EXTEND_TIMEOUT_USEC" in message for message in daemon.messages())


def test_at_the_deadline_running_turns_are_cancelled_and_queued_ones_get_the_reason(tmp_path):
    with DaemonProcess(tmp_path / "d", config()) as daemon, daemon.wire() as chat, daemon.wire() as admin:
        wait_for_permission(chat)
        chat.call("chat.send", thread="demo", text="say never")
        assert admin.call("daemon.drain", on=True, deadline_seconds=86_400) == {"state": "draining"}
        assert admin.call("daemon.drain", on=True) == {"state": "draining"}
        assert admin.call("daemon.drain", on=True, deadline_seconds=0.01) == {"state": "draining"}
        queued, running = chat.event("turn_end"), chat.event("turn_end")
        assert (queued["stop_reason"], running["stop_reason"]) == ("error", "cancelled")
        assert queued["error"] == REFUSED
        assert admin.call("health.get")["state"] == "draining"
        assert admin.call("daemon.drain", on=False) == {"state": "running"}
        assert chat.turn("demo", "say again")["text"] == "again"


def test_ending_a_drain_cancels_its_deadline(tmp_path):
    with DaemonProcess(tmp_path / "d", config()) as daemon, daemon.wire() as chat, daemon.wire() as admin:
        permit = wait_for_permission(chat)
        assert admin.call("daemon.drain", on=True, deadline_seconds=0.05) == {"state": "draining"}
        assert admin.call("daemon.drain", on=False) == {"state": "running"}
        with daemon.wire() as other:  # a turn that is longer than the deadline was
            other.call("chat.open", thread="other")
            assert other.turn("other", "sleep 0.1")["stop_reason"] == "end_turn"
        chat.call("chat.permit", **permit)
        assert chat.event("turn_end")["stop_reason"] == "end_turn"


def test_a_drained_daemon_stops(tmp_path):
    with DaemonProcess(tmp_path / "d", config()) as daemon:
        with daemon.wire() as wire:
            wire.call("daemon.drain", on=True)
        assert daemon.stop() == 0


@pytest.mark.parametrize("deadline", [0, 60])
def test_a_drain_of_an_idle_daemon_has_no_other_effect(tmp_path, deadline):
    with DaemonProcess(tmp_path / "d", config()) as daemon, daemon.wire() as wire:
        assert wire.call("daemon.drain", on=True, deadline_seconds=deadline) == {"state": "draining"}
        assert wire.call("daemon.drain", on=False) == {"state": "running"}
        wire.call("chat.open", thread="demo")
        assert wire.turn("demo", "say a")["text"] == "a"
