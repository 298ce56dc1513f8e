"""acpctl on a terminal: tables that fit, colours, screens that are redrawn."""

from __future__ import annotations

import signal
import termios

import pytest

from acpctl import __version__
from acpctl.text import width
from tests.fakes.management import FakeDaemon, row

ROWS = [
    row("1310203040506070801", "busy", activity="pytest -q tests/sessions --maxfail=1", cwd="/home/op/work/acpbot"),
    row("1310203040506070992", "waiting", waiting_for="rm -rf build/ node_modules/", cwd="/srv/acpbot/a/long/way/down"),
    row("1310203040506071234", "stuck", activity="npm run dev", silent_seconds=743.0, title="日本語のタイトル"),
    row("local-k3x7qa", queued=2, title="Fix the parser, and all that hangs together with it"),
]


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (40, "THREAD STATE ACTIVITY"),
        (60, "THREAD STATE ACTIVITY TITLE"),
        (80, "THREAD STATE QUEUE ACTIVITY TITLE"),
        (120, "THREAD STATE IDLE QUEUE ACTIVITY TITLE CWD"),
        (200, "THREAD STATE IDLE QUEUE ACTIVITY TITLE CWD"),
    ],
)
def test_a_table_fits_its_terminal_and_cuts_no_id(path, terminal, columns, header):
    with FakeDaemon(path, *ROWS):
        screen = terminal("sessions", columns=columns, lines=24)
        assert screen.end() == 0
    shown = screen.text()
    for one in ROWS:
        assert one["thread_id"] in shown
        assert one["state"] in shown
    if columns >= 60:
        first, *lines = shown.splitlines()
        assert first.split() == header.split()
        assert len(lines) == len(ROWS) + 1
        assert lines[-1] == "4 of 32 sessions: 1 stuck, 1 waiting, 1 busy, 1 idle"
        assert all(width(line) <= columns for line in lines)
        assert [line.split()[2] for line in lines[:4]] == ["stuck", "waiting", "busy", "idle"]
        assert "Fix the" in lines[3]
    assert ("Fix the parser, and all that hangs together with it" in shown) == (columns == 200)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_folder_that_repeats_its_thread_takes_no_room(path, terminal, columns):
    one = row("1310203040506071234", "busy", activity="pytest -q", title="Fix the pool")
    header, line = table_lines(path, terminal, one, columns=columns)
    assert "CWD" not in header
    assert "3m12s pytest" in line
    assert "Fix the pool" in line
    elsewhere = row("local-k3x7qa", cwd="/srv/elsewhere")
    header, _, line = table_lines(path, terminal, one, elsewhere, columns=columns)
    assert ("/srv/elsewhere" in line) == ("CWD" in header) == (columns >= 120)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_agent_is_shown_where_there_are_two(path, terminal, columns):
    rows = [row("1310203040506071234", agent="claude"), row("1310203040506070992", agent="codex")]
    header, *lines = table_lines(path, terminal, *rows, columns=columns)
    assert "AGENT" in header
    assert ["claude" in lines[0], "codex" in lines[1]] == [True, True]
    assert "TITLE" in header


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_how_long_a_session_is_idle_is_shown_at_every_width(path, terminal, columns):
    rows = [row("1310203040506071234", "waiting", waiting_for="make"), row("1310203040506070992")]
    header, waiting, idle = table_lines(path, terminal, *rows, columns=columns)
    assert ("IDLE" in header) == (columns >= 80)
    assert "3m12s asks: make" in waiting
    assert "  42s  " in idle if columns >= 80 else " for 42s" in idle
    rows[0]["waiting_for"] = "rm -rf build/ dist/"
    header, waiting, idle = table_lines(path, terminal, *rows, columns=columns)
    assert ("IDLE" in header) == (columns >= 120)
    assert "3m12s asks: rm -rf build/ dist/" in waiting or columns == 60
    assert "  42s  " in idle if columns >= 120 else " for 42s" in idle


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_the_runtime_is_shown_where_there_are_two_and_room(path, terminal, columns):
    rows = [row("1310203040506071234", runtime="bubblewrap"), row("1310203040506070992", runtime="kubernetes")]
    header, *lines = table_lines(path, terminal, *rows, columns=columns)
    assert ("RUNTIME" in header) == ("bubblewrap" in lines[0]) == ("kubernetes" in lines[1]) == (columns >= 120)
    header, *lines = table_lines(path, terminal, *rows[:1], columns=columns)
    assert "RUNTIME" not in header


def test_a_path_loses_its_start_and_shows_home_as_a_tilde(path, terminal):
    with FakeDaemon(path, *ROWS):
        screen = terminal("sessions", columns=158)
        assert screen.end() == 0
    assert "~/work/acpbot" in screen.text()
    assert "…" in screen.text()
    assert "way/down\n" in screen.text()


def colours(screen, word: str) -> set[str]:
    line = next(index for index, text in enumerate(screen.screen.display) if word in text)
    start = screen.screen.display[line].index(word)
    return {screen.screen.buffer[line][start + offset].fg for offset in range(len(word))}


def test_states_are_coloured_words(path, terminal):
    with FakeDaemon(path, *ROWS):
        screen = terminal("sessions")
        assert screen.end() == 0
    assert [colours(screen, f"● {state}") for state in ("busy", "waiting", "stuck", "idle")] == [
        {"cyan"},
        {"brown"},
        {"red"},
        {"green"},
    ]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--no-color", "sessions"), {}), (("sessions",), {"NO_COLOR": "1"}), (("sessions",), {"TERM": "dumb"})],
)
def test_colours_can_be_switched_off(path, terminal, arguments, environment):
    with FakeDaemon(path, *ROWS):
        screen = terminal(*arguments, **environment)
        assert screen.end() == 0
    assert b"\x1b" not in screen.raw
    assert "busy" in screen.text()


def test_an_empty_no_color_keeps_colours(path, terminal):
    with FakeDaemon(path, *ROWS):
        screen = terminal("sessions", NO_COLOR="")
        assert screen.end() == 0
    assert b"\x1b[" in screen.raw


def test_json_on_a_terminal_is_indented(path, terminal):
    with FakeDaemon(path, ROWS[0]):
        screen = terminal("sessions", "-o", "json", lines=50)
        assert screen.end() == 0
    assert screen.text().startswith('{\n  "sessions": [\n    {\n      "thread_id": "1310203040506070801"')
    assert b"\x1b" not in screen.raw


def test_a_watch_redraws_at_each_event_until_q(path, terminal):
    with FakeDaemon(path, *ROWS) as daemon:
        screen = terminal("sessions", "--watch", lines=12)
        shown = screen.wait_for("q leaves")
        assert shown.splitlines()[0] == f"4 of 32 sessions: 1 stuck, 1 waiting, 1 busy, 1 idle  acpbot {__version__}"
        daemon.notify("sessions.event", {"seq": 1, "event": "changed", "session": {**ROWS[3], "state": "suspended"}})
        screen.wait_for("○ suspended")
        daemon.notify("sessions.event", {"seq": 2, "event": "gone", "session": ROWS[3]})
        screen.wait_until_gone("local-k3x7qa")
        assert not screen.modes() & termios.ECHO
        screen.type("q")
        assert screen.end() == 0
    assert screen.modes() & termios.ECHO
    assert screen.raw.endswith(b"\x1b[?25h\x1b[?7h\x1b[?1049l")


def test_a_watch_fits_the_terminal_after_a_resize(path, terminal):
    with FakeDaemon(path, *(row(f"{number:019}") for number in range(50))):
        screen = terminal("sessions", "--watch", columns=90, lines=12)
        shown = screen.wait_for("q leaves")
        assert len(shown.splitlines()) == 12
        assert "… 43 more" in shown
        screen.resize(120, 30)
        assert "… 25 more" in screen.wait_for("… 25 more")
        screen.type("\x03")
        assert screen.end() == 130
    assert "Traceback" not in screen.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(path, terminal, number):
    with FakeDaemon(path, *ROWS):
        screen = terminal("sessions", "--watch")
        screen.wait_for("q leaves")
        screen.signal(number)
        assert screen.end() == 128 + number
    assert screen.raw.endswith(b"\x1b[?1049l")
    assert screen.modes() & termios.ECHO


def test_a_watch_reports_a_closed_connection_on_the_normal_screen(path, terminal):
    with FakeDaemon(path, *ROWS) as daemon:
        screen = terminal("sessions", "--watch")
        screen.wait_for("q leaves")
        daemon.disconnect()
        assert screen.end() == 6
    assert screen.raw.split(b"\x1b[?1049l")[-1].startswith(b"cannot go on: acpbot at ")


def test_health_watch_redraws_until_q(daemon, terminal):
    screen = terminal("health", "--watch")
    assert "● ready" in screen.wait_for("q leaves")
    daemon.wait_for("health.get")
    screen.type("q")
    assert screen.end() == 0


def test_top_shows_and_sorts_the_use_of_each_session(path, terminal):
    hungry = row("1310203040506075678", rss_bytes=900_000_000, cpu_seconds=10.0)
    with FakeDaemon(path, *ROWS, hungry) as daemon:
        screen = terminal("top")
        shown = screen.wait_for("q leaves")
        assert "sorted by state" in shown
        assert shown.splitlines()[3].startswith("1310203040506071234")
        assert "858M" in shown
        screen.type("m")
        shown = screen.wait_for("sorted by memory")
        assert shown.splitlines()[3].startswith("1310203040506075678")
        screen.type("p")
        screen.wait_for("sorted by cpu")
        busier = {**ROWS[2], "cpu_seconds": 900.0}
        daemon.notify("sessions.event", {"seq": 1, "event": "changed", "session": busier})
        screen.wait_for("1310203040506071234  ● stuck    ")
        daemon.wait_for("sessions.list")
        screen.type("q")
        assert screen.end() == 0


def table_lines(path, terminal, *rows, columns: int) -> list[str]:
    with FakeDaemon(path, *rows):
        screen = terminal("--no-color", "sessions", columns=columns)
        assert screen.end() == 0
    lines = screen.raw.decode().replace("\r\n", "\n").split("\n")
    return lines[: len(rows) + 1]


@pytest.mark.parametrize(("columns", "placed"), [(108, False), (120, True)])
def test_a_table_drops_the_folder_before_others_get_narrow(path, terminal, columns, placed):
    one = row("1310203040506071234", "busy", activity="a" * 60, cwd="/srv/" + "c" * 20, title="t" * 60)
    header, line = table_lines(path, terminal, one, columns=columns)
    assert ("CWD" in header) == placed
    assert len(line) == columns
    assert line.count("a") >= 22
    assert line.count("t") >= 19
    assert ("ccc" in line) == placed


@pytest.mark.parametrize("columns", range(72, 132, 4))
def test_a_table_is_as_wide_as_the_terminal(path, terminal, columns):
    long = row("1310203040506071234", "busy", activity="a" * 90, cwd="/srv/" + "c" * 90, title="t" * 90)
    header, *lines = table_lines(path, terminal, long, row("local-k3x7qa"), columns=columns)
    assert [line.split()[0] for line in lines] == ["1310203040506071234", "local-k3x7qa"]
    assert len(lines[0]) == columns
    assert all(width(line) <= columns for line in [header, *lines])
    assert lines[0].count("a") >= 6
    assert lines[0].count("t") >= 10


def test_a_table_that_cannot_fit_keeps_its_ids_and_states(path, terminal):
    header, line = table_lines(path, terminal, ROWS[1], columns=30)
    assert header.split() == ["THREAD", "STATE", "ACTIVITY"]
    assert line.split()[:3] == ["1310203040506070992", "●", "waiting"]
    assert "3m12s" in line


def test_a_table_shows_markup_as_text(path, terminal):
    one = row("1310203040506071234", "busy", activity="[red]:smile:[/red] [0]", title="[link=x]")
    _, line = table_lines(path, terminal, one, columns=160)
    assert "[red]:smile:[/red] [0]" in line
    assert "[link=x]" in line


def test_a_table_aligns_wide_and_combining_characters(path, terminal):
    wide = [row("日本", "busy", activity="日本語 " * 20), row("e\u0301te", "busy", activity="e\u0301" * 70)]
    header, *lines = table_lines(path, terminal, *wide, columns=80)
    starts = {width(line[: line.index("●")]) for line in lines}
    assert starts == {header.index("STATE")}
    assert all(width(line) <= 80 for line in lines)


def crowd(count: int, stuck: int) -> list[dict]:
    named = [row(f"13102030405060{number:05}", "idle") for number in range(count)]
    for one in named[-stuck:]:
        one.update(row(one["thread_id"], "stuck", activity="pytest -q tests", silent_seconds=743.0))
    return named


def test_a_list_that_is_longer_than_the_screen_ends_with_the_option_that_shows_what_is_stuck(path, terminal):
    with FakeDaemon(path, *crowd(40, 15)):
        screen = terminal("sessions", columns=80, lines=24)
        assert screen.end() == 0
        assert screen.text().splitlines()[-1] == "40 of 32 sessions: 15 stuck (--stuck shows them), 25 idle"
        screen = terminal("sessions", "--stuck", columns=80, lines=24)
        assert screen.end() == 0
        assert screen.text().count("stuck") == 15


def test_at_80_columns_other_columns_give_way_to_what_a_session_does(path, terminal):
    rows = [
        row("1310203040506070992", "waiting", waiting_for="rm -rf build/ dist/", title="Clean the build folder"),
        row("1310203040506071234", "stuck", silent_seconds=1743.0, title="Refactor the parser"),
    ]
    _, stuck, waiting = table_lines(path, terminal, *rows, columns=80)
    assert "silent 29m03s: no tool runs" in stuck
    assert "3m12s asks: rm -rf build/ dist/" in waiting
    assert "Refactor" in stuck


def test_a_crashed_thread_comes_first_among_those_without_a_process_and_stands_out(path, terminal):
    end = {"at": "2026-11-24T08:00:00.000Z", "exit_code": 3, "detail": "out of memory"}
    rows = [
        row("1310203040506070001", "suspended", last_end={**end, "reason": "suspended"}),
        row("1310203040506070002", "suspended", last_end={**end, "reason": "crashed"}),
    ]
    with FakeDaemon(path, *rows):
        screen = terminal("sessions", "--all", columns=100)
        assert screen.end() == 0
    _, first, second, last = screen.text().splitlines()
    assert "0002  ○ suspended" in first
    assert "exited with 3" in first
    assert "0001  ○ suspended" in second
    assert last == "0 of 32 sessions: 2 suspended, 1 of them after a failure"
    assert colours(screen, "exited with 3") == {"red"}


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("command", [("top",), ("sessions", "--watch")])
def test_a_narrow_screen_shows_whole_facts_and_keys_and_a_page_with_all_keys(path, terminal, command, columns):
    with FakeDaemon(path, *crowd(40, 15)):
        screen = terminal(*command, columns=columns, lines=24)
        shown = screen.wait_for("q leaves").splitlines()
        assert shown[0].startswith("40 of 32 sessions: 15 stuck, 25 idle"[:columns])
        assert "? all keys" in shown[-1]
        assert "…" not in shown[0] + shown[-1]
        assert not shown[-1].endswith(",")
        screen.type("?")
        keys = screen.wait_for("any key goes back")
        assert "cancel its turn" in keys
        assert "kill it, after a question" in keys
        assert ("sort by memory" in keys) == (command == ("top",))
        screen.type("x")
        screen.wait_for("q leaves")
        screen.type("q")
        assert screen.end() == 0


def test_tail_breaks_long_lines_between_words_and_below_their_text(path, terminal):
    text = "the quick brown fox jumps over the lazy dog and then rests for a while below the old oak"
    line = {"thread": ROWS[0]["thread_id"], "session_id": "s-1", "kind": "text", "at": "2026-11-24T08:00:01.000Z"}
    with FakeDaemon(path, ROWS[0]) as daemon:
        daemon.on("sessions.tail", lambda *_: {"lines": [{**line, "text": text}]})
        screen = terminal("tail", ROWS[0]["thread_id"], "--no-follow", columns=60)
        assert screen.end() == 0
    first, *others = screen.text().splitlines()
    start = first.index("the quick")
    assert others
    assert all(one[:start].isspace() for one in others)
    assert " ".join(one[start:] for one in (first, *others)) == text


@pytest.mark.parametrize("lines", [4, 5, 7, 10])
def test_a_low_screen_still_shows_sessions_and_scrolls(path, terminal, lines):
    with FakeDaemon(path, *crowd(12, 3)):
        screen = terminal("top", columns=60, lines=lines)
        assert "stuck" in screen.wait_for("q leaves").splitlines()[2 if lines < 8 else 3]
        for _ in range(12):
            screen.type("j")
        screen.wait_for("1310203040506000008")
        screen.type("q")
        assert screen.end() == 0
