"""`acpctl kill`: who is asked, what is sent, what is told, and how it ends."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.management import FakeDaemon, WireError, ended, row

BUSY = {"thread_id": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
IDLE = {"thread_id": "1310203040506075678", "session_id": "s-1310203040506075678-1"}


def refused(ran, code, *parts):
    """It ended with ``code``, every line says 'cannot' or that nothing was ended, and stdout is empty."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert all(line.startswith(("cannot ", "nothing was ended")) for line in ran.err.splitlines())
    for part in parts:
        assert part in ran.err, ran.err


def test_without_a_terminal_it_can_not_ask(daemon, program):
    refused(program("kill", "1310203040506071234", text="y\n"), 2, "stdin is not a terminal", "--yes")
    refused(program("kill", "--all", text="2\n"), 2, "stdin is not a terminal", "--yes --expect N")
    assert daemon.requests == []


def test_yes_ends_an_exact_id(daemon, acpctl):
    ran = acpctl("kill", "--yes", "1310203040506071234")
    assert ran.code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]
    header, line = ran.out.splitlines()
    assert re.split(r"  +", header) == ["THREAD", "OUTCOME", "REACHED", "ENDED", "LEFT", "SECONDS"]
    assert re.split(r"  +", line) == ["1310203040506071234", "ended", "eof", "3", "0", "0.04s"]
    assert ran.err == "1 session and 3 processes ended; 0 processes left\n"


def test_yes_takes_a_mention_and_a_url(daemon, acpctl):
    assert acpctl("kill", "--yes", "<#1310203040506071234>").code == 0
    assert acpctl("kill", "--yes", "https://discord.com/channels/1/1310203040506075678").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}, {"targets": [IDLE]}]


def test_yes_takes_no_suffix(daemon, acpctl):
    refused(acpctl("kill", "--yes", "1234"), 2, "exact ids only, and this one is 1310203040506071234")
    assert daemon.asked("sessions.kill") == []


def test_a_thread_named_twice_is_ended_once(daemon, acpctl):
    assert acpctl("kill", "--yes", "1310203040506071234", "<#1310203040506071234>").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]


def test_of_several_all_are_found_first(daemon, acpctl):
    ran = acpctl("kill", "--yes", "1310203040506071234", "88888888", "99999999")
    refused(ran, 5, "cannot find thread 88888888", "cannot find thread 99999999", "nothing was ended")
    assert daemon.asked("sessions.kill") == []


def test_a_suspended_session_can_not_be_ended(daemon, acpctl):
    refused(acpctl("kill", "--yes", "local-abc123"), 5, "cannot end local-abc123: it is suspended; no process runs")
    assert daemon.asked("sessions.kill") == []


def test_grace_and_forget_are_passed_on(daemon, acpctl):
    assert acpctl("kill", "--yes", "--grace", "0.5", "--forget", "1310203040506071234").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY], "grace_seconds": 0.5, "forget": True}]


def test_a_kill_waits_for_its_grace_and_the_timeout(daemon, acpctl):
    def never(_params, client):
        client.close()
        return {}

    daemon.on("sessions.kill", never)
    assert acpctl("kill", "--yes", "1310203040506071234").code == 6

    def late(_params, _client):
        raise WireError(-32006, "timeout", "cannot end it in time")

    daemon.on("sessions.kill", late)
    assert acpctl("kill", "--yes", "1310203040506071234") == (7, "", "cannot end it in time\n")


def test_no_answer_to_a_kill_within_grace_and_timeout(daemon, acpctl):
    def silent(_params, _client):
        from tests.fakes.management import Silence  # noqa: PLC0415 - used here only

        raise Silence

    daemon.on("sessions.kill", silent)
    refused(acpctl("--timeout", "0.1", "kill", "--yes", "--grace", "0.1", BUSY["thread_id"]), 7, "within 0.2 s")


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
def test_what_does_not_go_together_touches_nothing(daemon, acpctl, arguments):
    refused(acpctl("kill", *arguments), 2)
    assert daemon.requests == []


def test_all_without_a_terminal_wants_their_number(daemon, acpctl):
    assert acpctl("kill", "--all", "--yes", "--expect", "2").code == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY, IDLE]}]


def test_a_wrong_number_touches_nothing(daemon, acpctl):
    refused(acpctl("kill", "--all", "--yes", "--expect", "3"), 2, "2 sessions found, 3 expected; nothing was ended")
    assert daemon.asked("sessions.kill") == []


def test_all_of_none_is_a_success_that_says_so(daemon, acpctl):
    daemon.rows = [row("local-abc123", "suspended")]
    told = "no sessions: there is nothing to end\n"
    assert acpctl("kill", "--all", "--yes", "--expect", "0") == (0, "", told)
    assert acpctl("kill", "--all", "--yes", "--expect", "0", "-o", "json") == (0, '{"results":[]}\n', "")
    assert daemon.asked("sessions.kill") == []


@pytest.mark.parametrize(
    ("results", "code", "said"),
    [
        ([ended(BUSY), ended(IDLE, "already_gone")], 0, "1 had already gone"),
        ([ended(BUSY), ended(IDLE, "conflict")], 5, "1 replaced meanwhile by a new session, which was not touched"),
        ([ended(BUSY, "failed"), ended(IDLE, "conflict")], 1, "1 failed"),
        ([ended(BUSY, processes_left=1), ended(IDLE)], 1, "1 process left"),
        ([ended(BUSY, processes_left=None), ended(IDLE)], 1, "1 process left"),
        ([ended(BUSY), ended(IDLE, "outcome of tomorrow")], 1, "1 session"),
    ],
)
def test_only_what_has_ended_without_a_rest_is_a_success(daemon, acpctl, results, code, said):
    daemon.on("sessions.kill", lambda _, __: {"results": results})
    ran = acpctl("kill", "--all", "--yes", "--expect", "2")
    assert ran.code == code
    assert said in ran.err
    ran = acpctl("kill", "--all", "--yes", "--expect", "2", "-o", "json")
    assert (ran.code, ran.err) == (code, "")
    assert json.loads(ran.out) == {"results": results}


def test_an_answer_that_leaves_a_session_out_is_no_success(daemon, acpctl):
    daemon.on("sessions.kill", lambda _, __: {"results": [ended(BUSY)]})
    ran = acpctl("kill", "--all", "--yes", "--expect", "2")
    assert ran.code == 1
    assert "leaves sessions out" in ran.err


def test_many_sessions_go_in_requests_that_the_daemon_takes(daemon, acpctl):
    daemon.rows = [row(f"{number:019}", session_id=f"{number:032x}") for number in range(1500)]
    ran = acpctl("kill", "--all", "--yes", "--expect", "1500", "-o", "json")
    assert ran.code == 0
    sent = [params["targets"] for params in daemon.asked("sessions.kill")]
    assert len(sent) > 1
    assert all(len(targets) <= 1000 for targets in sent)
    assert [target for targets in sent for target in targets] == [
        {"thread_id": one["thread_id"], "session_id": one["session_id"]} for one in daemon.rows
    ]
    assert len(json.loads(ran.out)["results"]) == 1500


def test_what_has_ended_is_told_where_the_rest_could_not_be_asked_for(daemon, acpctl):
    daemon.rows = [row(f"{number:019}", session_id=f"{number:032x}") for number in range(1500)]

    def once(params, _client):
        if len(daemon.asked("sessions.kill")) > 1:
            raise WireError(-32603, "internal", "cannot go on")
        return {"results": [ended(target) for target in params["targets"]]}

    daemon.on("sessions.kill", once)
    ran = acpctl("kill", "--all", "--yes", "--expect", "1500", "-o", "json")
    assert (ran.code, ran.err) == (1, "cannot go on\n")
    assert json.loads(ran.out)["results"]


def test_read_access_is_told_before_anybody_is_asked(path, acpctl):
    with FakeDaemon(path, row("1234"), access="read") as daemon:
        refused(acpctl("kill", "--yes", "1234"), 4, "read-only", "admin_users")
        assert daemon.requests == []


def test_a_daemon_that_offers_no_kill(path, acpctl):
    with FakeDaemon(path, row("1234"), capabilities=["sessions.list"]):
        refused(acpctl("kill", "--yes", "1234"), 1, "this acpbot (0.1.0) does not offer sessions.kill")


# On a terminal.


def test_it_shows_what_will_end_and_yes_ends_just_that(daemon, terminal):
    screen = terminal("kill", "1234")
    shown = screen.wait_for("End this session? [y/N]")
    for said in ("1310203040506071234", "● busy", "running tool: 3m12s pytest -q", "3 processes will end", "~/work"):
        assert said in shown
    assert "  4242  S  39M   2s  3m10s  node agent.js" in shown
    assert "    └ node server.js" in shown
    assert daemon.asked("sessions.kill") == []
    screen.type("y\n")
    assert screen.end() == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY]}]
    assert "1 session and 3 processes ended; 0 processes left" in screen.text()


def test_it_sends_the_session_that_it_showed(daemon, terminal):
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


def test_ctrl_c_at_the_question(daemon, terminal):
    screen = terminal("kill", "1234")
    screen.wait_for("[y/N]")
    screen.type("\x03")
    assert screen.end() == 130
    assert "nothing was ended" in screen.text()
    assert "Traceback" not in screen.text()
    assert daemon.asked("sessions.kill") == []


def test_all_shows_every_row_and_wants_their_number(daemon, terminal):
    screen = terminal("kill", "--all")
    shown = screen.wait_for("type their number:")
    assert "1310203040506071234" in shown
    assert "1310203040506075678" in shown
    assert "2 sessions and 6 processes will end" in shown
    screen.type("2\n")
    assert screen.end() == 0
    assert daemon.asked("sessions.kill") == [{"targets": [BUSY, IDLE]}]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [("3\n", 2, "there are 2, not 3; nothing was ended"), ("y\n", 1, "nothing"), ("\x04", 1, "nothing")],
)
def test_all_with_anything_but_their_number(daemon, terminal, typed, code, said):
    screen = terminal("kill", "--all")
    screen.wait_for("type their number:")
    screen.type(typed)
    assert screen.end() == code
    assert said in screen.text()
    assert daemon.asked("sessions.kill") == []


def test_all_of_none_on_a_terminal_asks_nothing(daemon, terminal):
    daemon.rows = []
    screen = terminal("kill", "--all")
    assert screen.end() == 0
    assert screen.text() == "no sessions: there is nothing to end"
