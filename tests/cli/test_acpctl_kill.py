"""`acpctl kill`: its questions, requests, results and exit codes."""

from __future__ import annotations

import json
import re

import pytest

from acpctl import __version__
from tests.fakes.management import FakeDaemon, Silence, WireError, ended, row

BUSY = {"thread_id": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
IDLE = {"thread_id": "1310203040506075678", "session_id": "s-1310203040506075678-1"}


def check_error(result, code, *parts):
    """Check the exit code, that stdout is empty, and that each line of stderr is an error or a note."""
    assert (result.code, result.out) == (code, ""), result
    assert all(line.startswith(("cannot ", "nothing was ended")) for line in result.err.splitlines())
    for part in parts:
        assert part in result.err, result.err


def test_kill_without_a_terminal_or_yes_exits_with_2(daemon, program):
    check_error(program("kill", "1310203040506071234", text="y\n"), 2, "stdin is not a terminal", "--yes")
    check_error(program("kill", "--all", text="2\n"), 2, "stdin is not a terminal", "--yes --expect N")
    assert daemon.requests == []


def test_yes_ends_an_exact_id(daemon, acpctl):
    result = acpctl("kill", "--yes", "1310203040506071234")
    assert result.code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]
    header, line = result.out.splitlines()
    assert re.split(r"  +", header) == ["THREAD", "OUTCOME", "REACHED", "ENDED", "LEFT", "SECONDS"]
    assert re.split(r"  +", line) == ["1310203040506071234", "ended", "eof", "3", "0", "0.04s"]
    assert result.err == "1 session and 3 processes ended; 0 processes left\n"


def test_yes_takes_a_mention_and_a_url(daemon, acpctl):
    assert acpctl("kill", "--yes", "<#1310203040506071234>").code == 0
    assert acpctl("kill", "--yes", "https://discord.com/channels/1/1310203040506075678").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}, {"targets": [IDLE]}]


def test_yes_takes_no_suffix(daemon, acpctl):
    check_error(acpctl("kill", "--yes", "1234"), 2, "exact ids only, and this one is 1310203040506071234")
    assert daemon.asked("sessions.kill") == []


def test_a_thread_named_twice_is_ended_once(daemon, acpctl):
    assert acpctl("kill", "--yes", "1310203040506071234", "<#1310203040506071234>").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]


def test_kill_finds_every_thread_before_it_ends_any(daemon, acpctl):
    result = acpctl("kill", "--yes", "1310203040506071234", "88888888", "99999999")
    check_error(result, 5, "cannot find thread 88888888", "cannot find thread 99999999", "nothing was ended")
    assert daemon.asked("sessions.kill") == []


def test_a_suspended_session_cannot_be_ended(daemon, acpctl):
    check_error(acpctl("kill", "--yes", "local-abc123"), 5, "cannot end local-abc123: it is suspended; no process runs")
    assert daemon.asked("sessions.kill") == []


def test_grace_and_forget_are_sent(daemon, acpctl):
    assert acpctl("kill", "--yes", "--grace", "0.5", "--forget", "1310203040506071234").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY], "grace_seconds": 0.5, "forget": True}]


def test_seconds_may_have_a_unit(daemon, acpctl):
    acpctl("--timeout", "1m", "kill", "1310203040506071234", "--yes", "--grace", "1m5s")
    assert daemon.asked("sessions.kill")[0]["grace_seconds"] == 65


def test_a_closed_connection_and_a_timeout_error_have_their_exit_codes(daemon, acpctl):
    def never(_params, client):
        client.close()
        return {}

    daemon.on("sessions.kill", never)
    assert acpctl("kill", "--yes", "1310203040506071234").code == 6

    def late(_params, _client):
        raise WireError(-32006, "timeout", "cannot end it in time")

    daemon.on("sessions.kill", late)
    assert acpctl("kill", "--yes", "1310203040506071234") == (7, "", "cannot end it in time\n")


def test_a_kill_without_an_answer_waits_grace_plus_timeout(daemon, acpctl):
    def silent(_params, _client):
        from tests.fakes.management import Silence  # noqa: PLC0415 - used here only

        raise Silence

    daemon.on("sessions.kill", silent)
    check_error(acpctl("--timeout", "0.1", "kill", "--yes", "--grace", "0.1", BUSY["thread_id"]), 7, "within 0.2 s")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "1234"),
        ("--all", "--yes"),
        ("--expect", "2", "1234"),
        ("--all", "--expect", "2"),
        ("--yes", "--grace", "-1", "1234"),
        ("--yes", "--grace", "301", "1234"),
        ("--yes", "--grace", "nan", "1234"),
        ("--yes", "--expect", "-1", "--all"),
    ],
)
def test_contradicting_options_send_nothing(daemon, acpctl, arguments):
    check_error(acpctl("kill", *arguments), 2)
    assert daemon.requests == []


def test_all_with_yes_and_expect_ends_every_session(daemon, acpctl):
    assert acpctl("kill", "--all", "--yes", "--expect", "2").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY, IDLE]}]


def test_a_wrong_expected_number_ends_nothing(daemon, acpctl):
    check_error(acpctl("kill", "--all", "--yes", "--expect", "3"), 2, "2 sessions found, 3 expected; nothing was ended")
    assert daemon.asked("sessions.kill") == []


def test_all_without_any_session_succeeds(daemon, acpctl):
    daemon.rows = [row("local-abc123", "suspended")]
    note = "no sessions to end\n"
    assert acpctl("kill", "--all", "--yes", "--expect", "0") == (0, "", note)
    assert acpctl("kill", "--all", "--yes", "--expect", "0", "-o", "json") == (0, '{"results":[]}\n', "")
    assert daemon.asked("sessions.kill") == []


@pytest.mark.parametrize(
    ("results", "code", "expected"),
    [
        ([ended(BUSY), ended(IDLE, "already_gone")], 0, "1 had already gone"),
        ([ended(BUSY), ended(IDLE, "conflict")], 5, "1 replaced meanwhile by a new session, which was not touched"),
        ([ended(BUSY, "failed"), ended(IDLE, "conflict")], 1, "1 failed"),
        ([ended(BUSY, processes_left=1), ended(IDLE)], 1, "1 process left"),
        ([ended(BUSY, processes_left=None), ended(IDLE)], 1, "could not verify that nothing of 1 session is left"),
        (
            [ended(one, processes_left=None, proof="none") for one in (BUSY, IDLE)],
            1,
            "; acpbot could not verify that nothing is left",
        ),
        ([ended(BUSY, proof="system"), ended(IDLE, proof="system")], 0, "; 0 processes left"),
        ([ended(BUSY), ended(IDLE, "outcome of tomorrow")], 1, "1 session"),
    ],
)
def test_kill_succeeds_only_where_no_process_is_left(daemon, acpctl, results, code, expected):
    daemon.on("sessions.kill", lambda _, __: {"results": results})
    result = acpctl("kill", "--all", "--yes", "--expect", "2")
    assert result.code == code
    assert expected in result.err
    result = acpctl("kill", "--all", "--yes", "--expect", "2", "-o", "json")
    assert (result.code, result.err) == (code, "")
    assert json.loads(result.out) == {"results": results}


def test_processes_of_no_known_session_are_named_and_change_no_exit_code(daemon, acpctl):
    results = [ended(BUSY), ended(IDLE)]
    daemon.on("sessions.kill", lambda _, __: {"results": results, "strays": 2})
    result = acpctl("kill", "--all", "--yes", "--expect", "2")
    assert (result.code, "0 processes left; 2 processes of no known session" in result.err) == (0, True)
    result = acpctl("kill", "--all", "--yes", "--expect", "2", "-o", "json")
    assert json.loads(result.out) == {"results": results, "strays": 2}


def test_an_answer_without_a_session_exits_with_1(daemon, acpctl):
    daemon.on("sessions.kill", lambda _, __: {"results": [ended(BUSY)]})
    result = acpctl("kill", "--all", "--yes", "--expect", "2")
    assert result.code == 1
    assert "leaves sessions out" in result.err


def test_many_sessions_are_sent_in_batches(daemon, acpctl):
    daemon.rows = [row(f"{number:019}", session_id=f"{number:032x}") for number in range(1500)]
    result = acpctl("kill", "--all", "--yes", "--expect", "1500", "-o", "json")
    assert result.code == 0
    sent = [params["targets"] for params in daemon.asked("sessions.kill")]
    assert len(sent) > 1
    assert all(len(targets) <= 1000 for targets in sent)
    assert [target for targets in sent for target in targets] == [
        {"thread_id": one["thread_id"], "session_id": one["session_id"]} for one in daemon.rows
    ]
    assert len(json.loads(result.out)["results"]) == 1500


def test_results_are_printed_where_a_later_batch_fails(daemon, acpctl):
    daemon.rows = [row(f"{number:019}", session_id=f"{number:032x}") for number in range(1500)]

    def once(params, _client):
        if len(daemon.asked("sessions.kill")) > 1:
            raise WireError(-32603, "internal", "cannot go on")
        return {"results": [ended(target) for target in params["targets"]]}

    daemon.on("sessions.kill", once)
    result = acpctl("kill", "--all", "--yes", "--expect", "1500", "-o", "json")
    assert (result.code, result.err) == (1, "cannot go on\n")
    assert json.loads(result.out)["results"]


def test_read_access_exits_with_4_before_any_question(path, acpctl):
    with FakeDaemon(path, row("1234"), access="read") as daemon:
        check_error(acpctl("kill", "--yes", "1234"), 4, "read-only", "admin_users")
        assert daemon.requests == []


def test_a_daemon_without_kill_exits_with_1(path, acpctl):
    with FakeDaemon(path, row("1234"), capabilities=["sessions.list"]):
        check_error(acpctl("kill", "--yes", "1234"), 1, f"this acpbot ({__version__}) does not offer sessions.kill")


# On a terminal.


def test_kill_shows_what_will_end_and_yes_ends_exactly_that(daemon, terminal):
    screen = terminal("kill", "1234")
    shown = screen.wait_for("End this session? [y/N]")
    for expected in (
        "1310203040506071234",
        "● busy",
        "running tool: 3m12s pytest -q",
        "3 processes will end",
        "~/work",
    ):
        assert expected in shown
    assert "  4242  S  39M   2s  3m10s  node agent.js" in shown
    assert "    └ node server.js" in shown
    assert daemon.asked("sessions.kill") == []
    screen.type("y\n")
    assert screen.end() == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]
    assert "1 session and 3 processes ended; 0 processes left" in screen.text()


@pytest.mark.parametrize(
    ("state", "changes", "line"),
    [
        ("stuck", {"silent_seconds": 1158.0}, "a turn has run for 3m12s, without a tool, silent for 19m18s"),
        ("stuck", {"activity": "npm run dev"}, "running tool: 3m12s npm run dev, silent for 12s"),
        ("busy", {}, "a turn has run for 3m12s, without a tool"),
        ("waiting", {"activity": "rm", "waiting_for": "rm -rf x"}, "waiting for an answer: rm -rf x"),
    ],
)
def test_the_question_says_what_runs(daemon, terminal, state, changes, line):
    daemon.rows = [row("1310203040506071234", state, **changes)]
    screen = terminal("kill", "1234")
    shown = screen.wait_for("[y/N]")
    assert f"\n  {line}\n" in shown
    assert shown.count("running tool") == line.count("running tool")
    screen.type("\n")
    assert screen.end() == 1


def test_kill_sends_the_session_id_that_it_showed(daemon, terminal):
    screen = terminal("kill", "1234")
    screen.wait_for("[y/N]")
    daemon.rows[0] = row("1310203040506071234", session_id="a-new-one")
    screen.type("yes\n")
    assert screen.end() == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]


@pytest.mark.parametrize("typed", ["\n", "yep\n", "\x04", "y\x04\x04"])
def test_anything_but_yes_declines(daemon, terminal, typed):
    screen = terminal("kill", "1234", "5678")
    screen.wait_for("End these 2 sessions? [y/N]")
    screen.type(typed)
    assert screen.end() == 1
    assert "nothing was ended" in screen.text()
    assert daemon.asked("sessions.kill") == []


def test_ctrl_c_at_the_question_ends_nothing(daemon, terminal):
    screen = terminal("kill", "1234")
    screen.wait_for("[y/N]")
    screen.type("\x03")
    assert screen.end() == 130
    assert "nothing was ended" in screen.text()
    assert "Traceback" not in screen.text()
    assert daemon.asked("sessions.kill") == []


def test_ctrl_c_while_sessions_end_says_that_they_go_on_to(daemon, terminal):
    def silent(*_):
        raise Silence

    daemon.on("sessions.kill", silent)
    screen = terminal("kill", "1234")
    screen.wait_for("[y/N]")
    screen.type("y\r")
    daemon.wait_for("sessions.kill")
    screen.type("\x03")
    assert screen.end() == 130
    assert "acpbot keeps ending them; see `acpctl sessions`" in screen.text()


def test_all_shows_every_session_and_asks_for_their_number(daemon, terminal):
    screen = terminal("kill", "--all")
    shown = screen.wait_for("type their number:")
    assert "1310203040506071234" in shown
    assert "1310203040506075678" in shown
    assert "2 sessions and 6 processes will end" in shown
    screen.type("2\n")
    assert screen.end() == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY, IDLE]}]


@pytest.mark.parametrize(
    ("typed", "code", "expected"),
    [("3\n", 2, "there are 2, not 3; nothing was ended"), ("y\n", 1, "nothing"), ("\x04", 1, "nothing")],
)
def test_all_with_another_answer_than_their_number_ends_nothing(daemon, terminal, typed, code, expected):
    screen = terminal("kill", "--all")
    screen.wait_for("type their number:")
    screen.type(typed)
    assert screen.end() == code
    assert expected in screen.text()
    assert daemon.asked("sessions.kill") == []


def test_all_without_any_session_asks_nothing(daemon, terminal):
    daemon.rows = []
    screen = terminal("kill", "--all")
    assert screen.end() == 0
    assert screen.text() == "no sessions to end"
