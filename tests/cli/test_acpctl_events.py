"""`acpctl events`: its lines, its exit codes, and what it asks the daemon for."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from acpctl import __version__
from tests.cli.test_acpctl_health_and_streams import Running
from tests.fakes.daemon import DaemonProcess
from tests.support.acpctl import HEAVY_MODULES, imported_modules


def event(number: int, kind: str, **members: object) -> dict:
    empty = dict.fromkeys(("thread_id", "session_id", "agent", "reason", "exit_code", "detail"))
    return {"id": number, "at": f"2026-11-24T08:00:{number:02}.000Z", "kind": kind, **empty, **members}


EVENTS = [
    event(1, "daemon_started", detail="version 0.1.0"),
    event(2, "session_started", thread_id="1001", session_id="s-1", agent="claude", reason="resumed"),
    event(3, "session_stuck", thread_id="1001", session_id="s-1", agent="claude", detail="no output for 10 minutes"),
    event(4, "session_ended", thread_id="1001", agent="claude", reason="crashed", exit_code=3, detail="out of memory"),
    event(5, "session_ended", thread_id="1002", agent="claude", reason="crashed", exit_code=-9),
    event(6, "config_refused", detail="cannot use \x1b[31mit"),
    event(7, "something_new"),
]
LINES = """\
2026-11-24T08:00:01.000Z  acpbot started  version 0.1.0
2026-11-24T08:00:02.000Z  started         1001  claude, resumed
2026-11-24T08:00:03.000Z  stuck           1001  no output for 10 minutes
2026-11-24T08:00:04.000Z  ended           1001  crashed (exit code 3): out of memory
2026-11-24T08:00:05.000Z  ended           1002  crashed (signal 9)
2026-11-24T08:00:06.000Z  config refused  cannot use it
2026-11-24T08:00:07.000Z  something new
"""


@pytest.fixture
def events(daemon):
    daemon.on("events.list", lambda *_: {"events": EVENTS})
    return daemon


def test_each_event_is_one_line_with_its_reason(events, acpctl):
    assert acpctl("events", "--no-follow") == (0, LINES, "")
    assert events.asked("events.list") == [{"limit": 20, "follow": False}]
    result = acpctl("events", "--no-follow", "-o", "json")
    assert (result.code, result.err) == (0, "")
    assert [json.loads(line) for line in result.out.splitlines()] == EVENTS


def test_since_takes_a_duration_or_a_time_and_has_no_small_limit(events, acpctl):
    assert acpctl("events", "--no-follow", "--since", "2026-11-24T09:00:00+01:00").code == 0
    assert acpctl("events", "--no-follow", "--since", "2h").code == 0
    fixed, relative = events.asked("events.list")
    assert fixed == {"limit": 1000, "follow": False, "since": "2026-11-24T08:00:00.000Z"}
    age = datetime.now(UTC) - datetime.fromisoformat(relative["since"])
    assert timedelta(hours=2) <= age < timedelta(hours=2, minutes=1)
    wrong = acpctl("events", "--since", "yesterday")
    assert wrong == (2, "", "cannot read 'yesterday' as a time: give 10m, 2h, 3d, or RFC 3339\n")


def test_events_go_on_live_after_the_list_until_ctrl_c(events):
    running = Running("events", "-n", "0")
    events.wait_for("events.list")
    events.notify("events.event", EVENTS[3])
    assert running.line() == LINES.splitlines(keepends=True)[3]
    assert running.interrupted() == (130, "", "")


def test_a_closed_connection_and_a_daemon_without_events_have_their_exit_codes(events, acpctl):
    running = Running("events", "-n", "1")
    running.line()
    events.disconnect()
    code, out, err = running.ended()
    assert (code, out) == (6, "")
    assert err.startswith("cannot go on: acpbot at ")
    events.without("events.list")
    assert acpctl("events").err == f"cannot show events: this acpbot ({__version__}) does not offer events.list\n"


@pytest.mark.usefixtures("events")
def test_on_a_terminal_the_time_is_local_and_trouble_stands_out(terminal):
    screen = terminal("events", "--no-follow", TZ="UTC")
    assert screen.end() == 0
    assert "2026-11-24 08:00:04  ended           1001  crashed (exit code 3): out of memory" in screen.text()
    assert b"\x1b[1;31mended" in screen.raw


def test_a_real_daemon_tells_of_a_crash_a_drain_and_a_reload_and_remembers_them(tmp_path, program):
    def run(*arguments: str):
        return program(*arguments, ACPBOT_SOCKET=str(daemon.socket))

    with DaemonProcess(tmp_path / "d") as daemon:
        with daemon.wire() as wire:
            wire.call("chat.open", thread="demo")
            wire.call("chat.send", thread="demo", text="crash 3")
            wire.event("turn_end")
            wire.event("notice")
        assert run("drain").code == 0
        assert run("reload").code == 0
    with DaemonProcess(tmp_path / "d") as daemon:
        result = run("events", "--since", "1h", "--no-follow")
    assert (result.code, result.err) == (0, "")
    shown = [re.sub(r"^\S+  ", "", line) for line in result.out.splitlines()]
    assert shown[1] == "started         demo  default, new"
    assert shown[2].startswith("ended           demo  crashed (exit code 3)")
    assert shown[3:5] == ["drain started", "reloaded        nothing has changed"]
    assert shown[5].startswith("acpbot started  version ")


@pytest.mark.usefixtures("events")
def test_piped_events_import_no_heavy_module():
    assert imported_modules("events", "--no-follow") & HEAVY_MODULES == set()
