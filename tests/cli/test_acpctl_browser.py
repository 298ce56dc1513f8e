"""`acpctl top` and `sessions --watch` on a terminal: lists that scroll, filter, and act on the selected session."""

from __future__ import annotations

import termios

import pytest

from acpctl.terminal.list_view import ListView
from tests.fakes.management import FakeDaemon, WireError, row

BROWSERS = pytest.mark.parametrize("command", [("top",), ("sessions", "--watch")], ids=["top", "watch"])
STATES = {"stuck": 15, "waiting": 5, "busy": 10, "idle": 10}


def crowd() -> list[dict]:
    """40 sessions, those that need a person last."""
    rows: list[dict] = []
    for state in reversed(STATES):
        for number in range(STATES[state]):
            rows.append(
                row(f"13102030405{len(rows):08}", state, title=f"{state} {number}", silent_seconds=number + 0.0)
            )
    return rows


@BROWSERS
@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_stuck_ones_of_many_sessions_are_on_the_screen(path, terminal, command, columns):
    with FakeDaemon(path, *crowd()):
        screen = terminal(*command, columns=columns, lines=24)
        shown = screen.wait_for("q leaves")
        assert len(shown.splitlines()) == 24
        assert [line.split()[2] for line in shown.splitlines()[3:22]] == ["stuck"] * 15 + ["waiting"] * 4
        assert "… 21 more" in shown
        screen.type("q")
        assert screen.end() == 0


@BROWSERS
def test_nothing_of_a_long_list_is_out_of_reach(path, terminal, command):
    with FakeDaemon(path, *crowd()):
        screen = terminal(*command, columns=100, lines=24)
        screen.wait_for("… 21 more")
        screen.type("G")
        assert "idle 9" in screen.wait_for("… 21 above\n")
        screen.type("\x1b[5~" * 2)
        screen.wait_for("… 3 above, 18 more")
        screen.type("g")
        screen.wait_for("… 21 more")
        screen.type("\x1b[6~" * 2 + "j\x1b[B")
        screen.wait_for("… 20 above, 1 more")
        screen.type("q")
        assert screen.end() == 0


@BROWSERS
def test_a_filter_leaves_what_matches_and_esc_drops_it(path, terminal, command):
    with FakeDaemon(path, *crowd()):
        screen = terminal(*command, columns=100, lines=24)
        screen.wait_for("q leaves")
        screen.type("/idle q\x7f9")
        shown = screen.wait_for("  /idle 9\n").splitlines()
        assert shown[0].startswith("1 of 32 sessions: 1 idle  ")
        assert shown[3].split()[2] == "idle"
        screen.type("\n")
        screen.wait_for("q leaves")
        screen.type("/x")
        screen.wait_for("no session matches the filter")
        screen.type("\x1b")
        screen.wait_for("… 21 more")
        screen.type("q")
        assert screen.end() == 0


@BROWSERS
def test_enter_shows_the_selected_session_and_c_cancels_its_turn(path, terminal, command):
    one = row("1310203040506071234", "busy", title="Fix the pool", activity="pytest -q")
    with FakeDaemon(path, row("1310203040506075678"), one) as daemon:
        screen = terminal(*command, columns=80, lines=24)
        screen.wait_for("q leaves")
        screen.type("\n")
        screen.wait_for("select a session first")
        screen.type("j\n")
        shown = screen.wait_for("q goes back")
        assert "1310203040506071234  ● busy" in shown
        assert "Fix the pool" in shown
        screen.type("c")
        screen.wait_for("1310203040506071234: cancelled")
        assert daemon.asked("sessions.cancel") == [
            {"thread": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
        ]
        screen.type("\x1b")
        screen.wait_for("q leaves")
        daemon.on("sessions.cancel", refuse)
        screen.type("c")
        screen.wait_for("cannot cancel: read-only")
        screen.type("q")
        assert screen.end() == 0


def refuse(_params, _client):
    raise WireError(-32004, "access_denied", "cannot cancel: read-only")


@BROWSERS
def test_a_kill_of_the_selected_session_asks_the_usual_question(path, terminal, command):
    one = row("1310203040506071234", "busy", activity="pytest -q")
    target = {"thread_id": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
    with FakeDaemon(path, row("1310203040506075678"), one) as daemon:
        screen = terminal(*command, columns=80, lines=24)
        screen.wait_for("q leaves")
        screen.type("jK")
        shown = screen.wait_for("End this session? [y/N]")
        assert "running tool: 3m12s pytest -q" in shown
        assert screen.modes() & termios.ECHO
        screen.type("\n")
        screen.wait_until_gone("End this session?")
        assert not screen.modes() & termios.ECHO
        screen.type("\n")
        screen.wait_for("q goes back")
        screen.type("k")
        screen.wait_for("End this session? [y/N]")
        assert daemon.asked("sessions.kill") == []
        screen.type("y\n")
        assert "1 session and 3 processes ended; 0 processes left" in screen.wait_for("Enter goes back")
        assert daemon.asked("sessions.kill") == [{"targets": [target]}]
        screen.type("\n")
        screen.wait_until_gone("Enter goes back")
        screen.type("q")
        assert screen.end() == 0


def test_a_session_that_has_changed_meanwhile_is_not_killed(path, terminal):
    with FakeDaemon(path, row("1310203040506075678")) as daemon:
        screen = terminal("top", columns=80, lines=24)
        screen.wait_for("q leaves")
        daemon.details["1310203040506075678"] = row("1310203040506075678", session_id="another")
        screen.type("jK")
        screen.wait_for("has a different session now, or none; nothing was ended")
        screen.type("\nq")
        assert screen.end() == 0
        assert daemon.asked("sessions.kill") == []


def test_a_reader_may_not_kill(path, terminal):
    with FakeDaemon(path, row("1310203040506075678"), access="read") as daemon:
        screen = terminal("top", columns=80, lines=24)
        screen.wait_for("q leaves")
        screen.type("jK")
        screen.wait_for("your access to this acpbot is read-only")
        screen.type("q")
        assert screen.end() == 0
        assert daemon.asked("sessions.kill") == []


def test_a_selected_row_stays_selected_when_rows_move():
    view, rows = ListView(), [{"thread_id": str(number)} for number in range(20)]
    assert view.window(rows, 5) == rows[:5]
    for _ in range(7):
        assert view.key("j", rows, 5)
    assert (view.selected, view.window(rows, 5)) == ("6", rows[2:7])
    moved = [*rows[10:], *rows[:10]]
    assert view.window(moved, 5) == moved[12:17]
    assert view.window(rows[:6], 5) == rows[1:6]
    view.key("k", rows[:6], 5)
    assert view.selected == "1"
    view.key("end", rows, 5)
    assert view.selected == "19"
    assert view.window([], 5) == []
    assert not view.key("x", rows, 5)


def test_a_filter_takes_its_text_in_any_field():
    view = ListView()
    rows = [{"thread_id": "1", "title": "Fix the Parser"}, {"thread_id": "2", "agent": "parser"}, {"thread_id": "3"}]
    for key in ("/", *"the PARSER ", "enter"):
        view.key(key, rows, 5)
    assert view.matching(rows) == rows[:1]
    view.key("escape", rows, 5)
    assert view.matching(rows) == rows
