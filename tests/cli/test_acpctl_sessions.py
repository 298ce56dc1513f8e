"""`acpctl sessions`, `show`, `cancel`: exit status, stdout and stderr."""

from __future__ import annotations

import json
import re

import pytest

from tests.fakes.management import Raw, WireError, detail, row


@pytest.mark.usefixtures("daemon")
def test_a_piped_table_has_one_header_and_columns_two_spaces_apart(acpctl):
    ran = acpctl("sessions")
    assert (ran.code, ran.err) == (0, "")
    header, *lines = ran.out.splitlines()
    assert re.split(r"  +", header) == ["THREAD", "STATE", "IDLE", "QUEUE", "ACTIVITY", "CWD", "TITLE"]
    assert [re.split(r"  +", line) for line in lines] == [
        ["1310203040506071234", "busy", "-", "0", "3m12s pytest -q", "/home/op/work", "Fix the pool"],
        ["1310203040506075678", "idle", "42s", "0", "-", "/srv/work/1310203040506075678", "-"],
    ]


def test_a_piped_table_cuts_nothing(daemon, acpctl):
    daemon.rows = [row("9" * 64, cwd="/" + "d" * 300, title="t" * 300)]
    ran = acpctl("sessions")
    assert "9" * 64 in ran.out
    assert "/" + "d" * 300 in ran.out
    assert "t" * 300 in ran.out


def test_text_of_agents_can_do_nothing_to_a_terminal_or_a_table(daemon, acpctl):
    daemon.rows = [row("1", title="a\x1b[31mb\x1b]0;evil\x07c\u202ed\ne  f\x9b31m[bold]g[/bold]\x00")]
    line = acpctl("sessions").out.splitlines()[1]
    assert line.split("  ")[-1] == r"abc\u202ed e f\x9b31m[bold]g[/bold]\x00"


def test_json_is_the_result_as_documented_in_one_object(daemon, acpctl):
    ran = acpctl("sessions", "-o", "json")
    assert ran.code == 0
    assert json.loads(ran.out) == {"sessions": daemon.rows[:2], "max_sessions": 32}
    assert ran.out.count("\n") == 1


def test_json_says_what_a_terminal_would_act_on_in_escapes(daemon, acpctl):
    title = "ü日\x1b\x7f\x9b\u202e\u2028"
    daemon.rows = [row("1", title=title)]
    ran = acpctl("sessions", "-o", "json")
    assert json.loads(ran.out)["sessions"][0]["title"] == title
    assert "ü日" in ran.out
    assert not set("\x1b\x7f\x9b\u202e\u2028") & set(ran.out)


def test_a_lone_surrogate_is_no_reason_to_fail(daemon, program):
    def surrogate(_params, _client):
        raise Raw(rb'{"jsonrpc":"2.0","id":1,"result":{"sessions":[{"thread_id":"1","title":"\ud800"}]}}' + b"\n")

    daemon.on("sessions.list", surrogate)
    ran = program("sessions", "-o", "json")
    assert (ran.code, json.loads(ran.out)["sessions"][0]["title"]) == (0, "\ud800")
    assert "\\ud800" in program("sessions").out


def test_a_row_that_lacks_keys_is_shown_as_far_as_it_goes(daemon, acpctl):
    daemon.rows = [{"thread_id": "1", "state": "idle", "new_key": {}}]
    ran = acpctl("sessions", "-o", "wide")
    assert ran.code == 0
    assert re.split(r"  +", ran.out.splitlines()[1])[:3] == ["1", "idle", "-"]


def test_numbers_that_measure_nothing_are_unknown(daemon, acpctl):
    def huge(_params, _client):
        raise Raw(
            b'{"jsonrpc":"2.0","id":1,"result":{"max_sessions":1e400,"sessions":[{"thread_id":"1","state":"idle",'
            b'"idle_seconds":1e400,"queued":' + b"9" * 400 + b',"rss_bytes":-1e999,"processes":true}]}}\n'
        )

    daemon.on("sessions.list", huge)
    ran = acpctl("sessions", "-o", "wide")
    assert (ran.code, ran.err) == (0, "")
    assert re.split(r"  +", ran.out.splitlines()[1])[:9] == ["1", "idle", "-", "0", "-", "-", "-", "-", "-"]


@pytest.mark.usefixtures("daemon")
def test_quiet_prints_ids_only(acpctl):
    assert acpctl("sessions", "-q") == (0, "1310203040506071234\n1310203040506075678\n", "")


def test_suspended_sessions_are_shown_with_all(daemon, acpctl):
    assert acpctl("sessions", "-q", "--all").out.splitlines()[-1] == "local-abc123"
    assert daemon.asked("sessions.list") == [{"suspended": True}]


def test_asking_for_the_suspended_ones_asks_for_them_too(daemon, acpctl):
    assert acpctl("sessions", "-q", "--state", "suspended").out == "local-abc123\n"
    assert daemon.asked("sessions.list") == [{"state": "suspended", "suspended": True}]


def test_stuck_is_a_state_to_look_for(daemon, acpctl):
    daemon.rows.append(row("1310203040506079999", "stuck", activity="npm run dev", silent_seconds=743.0))
    ran = acpctl("sessions", "--stuck")
    assert daemon.asked("sessions.list") == [{"state": "stuck"}]
    assert [line.split()[:2] for line in ran.out.splitlines()[1:]] == [["1310203040506079999", "stuck"]]
    assert "silent 12m23s: npm run dev" in ran.out


def test_an_empty_list_is_a_success_that_says_so_on_stderr(daemon, acpctl):
    daemon.rows = []
    assert acpctl("sessions") == (0, "", "no sessions\n")
    assert acpctl("sessions", "-q") == (0, "", "no sessions\n")
    assert acpctl("sessions", "--state", "busy") == (0, "", "no session is busy\n")
    assert acpctl("sessions", "-o", "json") == (0, '{"sessions":[],"max_sessions":32}\n', "")


@pytest.mark.usefixtures("daemon")
def test_wide_adds_processes_ids_and_owner(acpctl):
    header, first = acpctl("sessions", "-o", "wide").out.splitlines()[:2]
    named = dict(zip(re.split(r"  +", header), re.split(r"  +", first), strict=True))
    assert named["PID"] == "4242"
    assert named["PROCS"] == "3"
    assert named["RSS"] == "118M"
    assert named["CPU"] == "7s"
    assert named["SESSION"] == "s-1310203040506071234-1"
    assert named["OWNER"] == "80351110224678912"


def test_ids_only_goes_with_no_other_format(acpctl):
    for arguments in (("-q", "-o", "json"), ("-q", "--watch"), ("--stuck", "--state", "idle")):
        ran = acpctl("sessions", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("cannot ")
        assert ran.err.count("\n") == 1


def test_show_tells_a_session_whole(daemon, acpctl):
    call = {"tool_call_id": "c", "title": "pytest -q", "kind": "execute", "status": "in_progress", "seconds": 62.0}
    daemon.details["1310203040506071234"] = detail(daemon.rows[0], tool_calls=[call])
    ran = acpctl("show", "1234")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("1310203040506071234  busy\n")
    for said in (
        "title        Fix the pool\n",
        "cwd          /home/op/work\n",
        "turn         running for 3m12s, silent for 12s\n",
        "  pytest -q (execute), in_progress for 1m02s\n",
        "  4251  R  39M   2s  3m10s    - node server.js\n",
        "STDERR (the last 2 lines)\n  listening on stdio\n  warning: slow disk\n",
    ):
        assert said in ran.out


def test_show_prints_the_answer_as_json(daemon, acpctl):
    assert json.loads(acpctl("show", "1234", "-o", "json").out) == {"session": detail(daemon.rows[0])}


def test_show_of_a_suspended_session(daemon, acpctl):
    daemon.details["local-abc123"] = detail(daemon.rows[2], stderr=[], process_tree=[])
    ran = acpctl("show", "local-abc123")
    assert (ran.code, ran.out.splitlines()[0]) == (0, "local-abc123  suspended")
    assert "process      no process\n" in ran.out
    assert "PROCESSES" not in ran.out


@pytest.mark.usefixtures("daemon")
def test_a_thread_that_is_not_there(acpctl):
    assert acpctl("show", "77777777") == (5, "", "cannot find thread 77777777; see `acpctl sessions --all`\n")
    assert "a suffix needs four characters or more" in acpctl("show", "234").err


def test_an_ambiguous_suffix(daemon, acpctl):
    daemon.rows.append(row("2000000000000001234"))
    ran = acpctl("show", "1234")
    assert (ran.code, ran.out, ran.err) == (5, "", "cannot tell which thread ends with 1234: 2 do\n")


def test_a_mention_or_a_url_is_an_exact_id(daemon, acpctl):
    for form in (
        "<#1310203040506071234>",
        "https://discord.com/channels/1/1310203040506071234",
        "https://canary.discord.com/channels/@me/1310203040506071234/99?x=1",
        "https://discord.com/channels/1/2/threads/1310203040506071234",
    ):
        assert acpctl("show", form).code == 0
        assert daemon.asked("sessions.get")[-1] == {"thread": "1310203040506071234"}


@pytest.mark.usefixtures("daemon")
def test_a_mention_is_never_taken_as_a_suffix(acpctl):
    ran = acpctl("show", "<#1234>")
    assert (ran.code, ran.err) == (5, "cannot find thread 1234; see `acpctl sessions --all`\n")


def test_what_can_be_no_thread_is_refused_before_anything_is_sent(daemon, acpctl):
    for form in ("<@1234>", "https://example.com/1234", "", "   ", "a\nb", "9" * 300):
        ran = acpctl("show", form)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("cannot read ")
        assert ran.err.count("\n") == 1
    assert daemon.requests == []


def test_cancel_names_the_session_that_it_found(daemon, acpctl):
    assert acpctl("cancel", "1234") == (0, "1310203040506071234  cancelled: pytest -q\n", "")
    assert daemon.asked("sessions.cancel") == [
        {"thread": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
    ]


def test_cancel_of_an_idle_session_is_done_already(daemon, acpctl):
    daemon.on("sessions.cancel", lambda _, __: {"outcome": "idle"})
    assert acpctl("cancel", "5678") == (0, "1310203040506075678  no turn is running\n", "")
    assert acpctl("cancel", "5678", "-o", "json") == (0, '{"outcome":"idle"}\n', "")


def test_cancel_of_a_session_that_was_replaced(daemon, acpctl):
    def replaced(_params, _client):
        raise WireError(-32003, "conflict", "cannot cancel: the session was replaced meanwhile")

    daemon.on("sessions.cancel", replaced)
    assert acpctl("cancel", "1234").code == 5
