"""`acpctl sessions`, `show`, `cancel`: exit codes, stdout and stderr."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.fakes.management import Raw, WireError, detail, row


@pytest.mark.usefixtures("daemon")
def test_a_piped_table_has_one_header_and_columns_two_spaces_apart(acpctl):
    result = acpctl("sessions")
    assert (result.code, result.err) == (0, "")
    header, *lines = result.out.splitlines()
    assert re.split(r"  +", header) == ["THREAD", "STATE", "IDLE", "QUEUE", "ACTIVITY", "TITLE", "CWD"]
    assert [re.split(r"  +", line) for line in lines] == [
        ["1310203040506071234", "busy", "-", "0", "3m12s pytest -q", "Fix the pool", "/home/op/work"],
        ["1310203040506075678", "idle", "42s", "0", "-", "-", "/srv/work/1310203040506075678"],
    ]


def test_a_piped_table_cuts_nothing(daemon, acpctl):
    daemon.rows = [row("9" * 64, cwd="/" + "d" * 300, title="t" * 300)]
    result = acpctl("sessions")
    assert "9" * 64 in result.out
    assert "/" + "d" * 300 in result.out
    assert "t" * 300 in result.out


def test_agent_text_cannot_act_on_a_terminal_or_break_a_table(daemon, acpctl):
    daemon.rows = [row("1", title="a\x1b[31mb\x1b]0;evil\x07c\u202ed\ne  f\x9b31m[bold]g[/bold]\x00")]
    line = acpctl("sessions").out.splitlines()[1]
    assert line.split("  ")[-2].strip() == r"abc\u202ed e f\x9b31m[bold]g[/bold]\x00"


def test_json_output_is_the_documented_result_in_one_object(daemon, acpctl):
    result = acpctl("sessions", "-o", "json")
    assert result.code == 0
    assert json.loads(result.out) == {"sessions": daemon.rows[:2], "max_sessions": 32, "suspended": 1}
    assert result.out.count("\n") == 1


def test_json_output_escapes_characters_that_act_on_a_terminal(daemon, acpctl):
    title = "ü日\x1b\x7f\x9b\u202e\u2028"
    daemon.rows = [row("1", title=title)]
    result = acpctl("sessions", "-o", "json")
    assert json.loads(result.out)["sessions"][0]["title"] == title
    assert "ü日" in result.out
    assert not set("\x1b\x7f\x9b\u202e\u2028") & set(result.out)


def test_a_lone_surrogate_in_a_title_is_escaped(daemon, program):
    def surrogate(_params, _client):
        raise Raw(rb'{"jsonrpc":"2.0","id":1,"result":{"sessions":[{"thread_id":"1","title":"\ud800"}]}}' + b"\n")

    daemon.on("sessions.list", surrogate)
    result = program("sessions", "-o", "json")
    assert (result.code, json.loads(result.out)["sessions"][0]["title"]) == (0, "\ud800")
    assert "\\ud800" in program("sessions").out


def test_a_row_without_some_keys_is_shown_with_dashes(daemon, acpctl):
    daemon.rows = [{"thread_id": "1", "state": "idle", "new_key": {}}]
    result = acpctl("sessions", "-o", "wide")
    assert result.code == 0
    assert re.split(r"  +", result.out.splitlines()[1])[:3] == ["1", "idle", "-"]


def test_impossible_numbers_are_shown_as_unknown(daemon, acpctl):
    def huge(_params, _client):
        raise Raw(
            b'{"jsonrpc":"2.0","id":1,"result":{"max_sessions":1e400,"sessions":[{"thread_id":"1","state":"idle",'
            b'"idle_seconds":1e400,"queued":' + b"9" * 400 + b',"rss_bytes":-1e999,"processes":true}]}}\n'
        )

    daemon.on("sessions.list", huge)
    result = acpctl("sessions", "-o", "wide")
    assert (result.code, result.err) == (0, "")
    assert re.split(r"  +", result.out.splitlines()[1])[:9] == ["1", "idle", "-", "0", "-", "-", "-", "-", "-"]


@pytest.mark.usefixtures("daemon")
def test_quiet_prints_ids_only(acpctl):
    assert acpctl("sessions", "-q") == (0, "1310203040506071234\n1310203040506075678\n", "")


def test_all_shows_suspended_sessions_too(daemon, acpctl):
    assert acpctl("sessions", "-q", "--all").out.splitlines()[-1] == "local-abc123"
    assert daemon.asked("sessions.list") == [{"suspended": True}]


def test_state_suspended_asks_the_daemon_for_suspended_sessions(daemon, acpctl):
    assert acpctl("sessions", "-q", "--state", "suspended").out == "local-abc123\n"
    assert daemon.asked("sessions.list") == [{"state": "suspended", "suspended": True}]


def test_stuck_shows_only_stuck_sessions(daemon, acpctl):
    daemon.rows.append(row("1310203040506079999", "stuck", activity="npm run dev", silent_seconds=743.0))
    result = acpctl("sessions", "--stuck")
    assert daemon.asked("sessions.list") == [{"state": "stuck"}]
    assert [line.split()[:2] for line in result.out.splitlines()[1:]] == [["1310203040506079999", "stuck"]]
    assert "silent 12m23s: npm run dev" in result.out


def test_several_states_may_be_given(daemon, acpctl):
    daemon.rows += [row("1", "stuck"), row("2", "waiting")]
    assert acpctl("sessions", "--state", "waiting", "--state", "stuck", "-q").out == "1\n2\n"
    assert acpctl("sessions", "--stuck", "--state", "suspended", "-q").out == "1\nlocal-abc123\n"
    assert daemon.asked("sessions.list") == [{}, {"suspended": True}]
    nothing = acpctl("sessions", "--state", "closing", "--state", "gone")
    assert nothing == (0, "", "no session is closing or gone\n")


def test_the_beginning_of_an_id_and_words_of_a_title_are_answered_with_what_to_give(daemon, acpctl):
    def not_found(params, _client):
        raise WireError(-32001, "not_found", f"cannot find thread {params['thread']}")

    daemon.on("sessions.get", not_found)
    for given, advice in (
        ("13102030", "2 threads begin like that: give the end of an id; see `acpctl sessions --all`"),
        ("local-", "did you mean local-abc123?"),
        ("the POOL", "did you mean 1310203040506071234?"),
        ("pool2", "see `acpctl sessions --all`"),
    ):
        assert acpctl("show", given) == (5, "", f"cannot find thread {given}; {advice}\n")
    daemon.rows[1]["title"] = "Drain the pool"
    advice = "did you mean 1310203040506071234 or 1310203040506075678?"
    assert acpctl("kill", "the pool", "--yes").err == f"cannot find thread the pool; {advice}\n"


def test_a_list_without_rows_says_how_many_are_suspended(daemon, acpctl):
    daemon.rows = [row(f"local-{number}", "suspended") for number in range(57)]
    assert acpctl("sessions") == (0, "", "no sessions run; 57 suspended (--all)\n")
    assert acpctl("sessions", "-q") == (0, "", "no sessions run; 57 suspended (--all)\n")
    assert acpctl("sessions", "--agent", "default").err == "no session matches; 57 suspended (--all)\n"
    assert acpctl("sessions", "--older-than", "2020-01-01", "--all").err == "no session matches\n"


def test_threads_that_are_suspended_after_a_failure_are_counted_where_they_are_not_listed(daemon, acpctl):
    end = {"at": "2026-11-24T08:00:00Z", "reason": "crashed", "exit_code": 3, "detail": None}
    daemon.rows = [row(f"local-{number}", "suspended", last_end=end if number < 2 else None) for number in range(57)]
    assert acpctl("sessions").err == "no sessions run; 57 suspended, 2 of them after a failure (--all)\n"
    daemon.rows = [row(f"local-{number}", "suspended", last_end=end) for number in range(201)]
    assert acpctl("sessions").err == "no sessions run; 201 suspended (--all)\n"
    assert acpctl("sessions", "-o", "json").code == 0
    assert len(daemon.asked("sessions.list")) == 4


def test_what_needs_a_person_comes_first_and_then_what_lasts_longest(daemon, acpctl):
    daemon.rows = [
        row("1", "suspended", idle_seconds=90_000.0),
        row("2", "idle", idle_seconds=5.0),
        row("3", "idle", idle_seconds=500.0),
        row("4", "busy", turn_seconds=10.0),
        row("5", "busy", turn_seconds=20.0),
        row("6", "waiting", turn_seconds=1.0),
        row("7", "stuck", silent_seconds=700.0, turn_seconds=2000.0),
        row("8", "stuck", silent_seconds=900.0, turn_seconds=1000.0),
    ]
    assert acpctl("sessions", "--all", "-q").out.split() == ["8", "7", "6", "5", "4", "3", "2", "1"]
    shown = json.loads(acpctl("sessions", "--all", "-o", "json").out)
    assert [one["thread_id"] for one in shown["sessions"]] == ["8", "7", "6", "5", "4", "3", "2", "1"]
    assert "1d01h" in acpctl("sessions", "--all").out.splitlines()[-1]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        *(("memory", "321"), ("cpu", "312"), ("queue", "213"), ("age", "132"), ("title", "231"), ("agent", "312")),
        *(("owner", "321"), ("cost", "321"), ("thread", "123"), ("time", "321"), ("idle", "321"), ("cwd", "123")),
    ],
)
def test_rows_are_sorted_by_a_key(daemon, acpctl, key, order):
    cost = {"currency": "USD"}
    daemon.rows = [
        row("1", rss_bytes=1, cpu_seconds=2, queued=1, created_at="2026-01-01T00:00:00Z", title="z", agent="b"),
        row("2", rss_bytes=2, cpu_seconds=1, queued=2, created_at="2026-03-01T00:00:00Z", title="A", agent="c"),
        row("3", rss_bytes=3, cpu_seconds=3, queued=0, created_at="2026-02-01T00:00:00Z", title="b", agent="A"),
    ]
    for number, one in enumerate(daemon.rows):
        one["cost"] = {"amount": float(number), **cost}
        one["idle_seconds"] = float(number)
    assert acpctl("sessions", "--sort", key, "-q").out.split() == list(order)


def test_an_unknown_sort_key_and_an_unreadable_time_exit_with_2(daemon, acpctl):
    for arguments in (("--sort", "colour"), ("--older-than", "yesterday"), ("--older-than", "10")):
        result = acpctl("sessions", *arguments)
        assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
        assert result.err.startswith("cannot ")
    assert daemon.requests == []


def test_agent_and_owner_are_selected_by_the_daemon(daemon, acpctl):
    acpctl("sessions", "--agent", "codex", "--owner", "80351110224678912")
    assert daemon.asked("sessions.list")[0] == {"agent": "codex", "owner": "80351110224678912"}


def test_older_than_shows_threads_that_began_before(daemon, acpctl):
    daemon.rows = [row("1", created_at="2026-01-01T00:00:00.000Z"), row("2", created_at="9999-01-01T00:00:00.000Z")]
    assert acpctl("sessions", "--older-than", "10m", "-q").out == "1\n"
    assert acpctl("sessions", "--older-than", "1h30m", "-q").out == "1\n"
    assert acpctl("sessions", "--older-than", "2026-01-01T00:00:01Z", "-q").out == "1\n"
    assert acpctl("sessions", "--older-than", "2025-12-31T23:59:59Z", "-q").out == ""


def test_the_agent_has_a_column_where_there_are_two(daemon, acpctl):
    assert "AGENT" not in acpctl("sessions").out
    daemon.rows[1]["agent"] = "codex"
    header, _, line = acpctl("sessions").out.splitlines()
    assert re.split(r"  +", header)[4] == "AGENT"
    assert re.split(r"  +", line)[4] == "codex"


def test_the_runtime_has_a_column_where_there_are_two(daemon, acpctl):
    assert "RUNTIME" not in acpctl("sessions").out
    daemon.rows[1] |= {"runtime": "kubernetes", "place": "pod/acpbot-1a2b on node-3"}
    header, _, line = acpctl("sessions").out.splitlines()
    assert re.split(r"  +", header)[4] == "RUNTIME"
    assert re.split(r"  +", line)[4] == "kubernetes"
    assert "runtime      kubernetes, pod/acpbot-1a2b on node-3\n" in acpctl("show", daemon.rows[1]["thread_id"]).out
    assert "runtime      local\n" in acpctl("show", daemon.rows[0]["thread_id"]).out


@pytest.mark.parametrize(
    ("silent", "words"), [(0.4, "3m12s working"), (30.0, "3m12s silent for 30s"), (192.0, "3m12s no output yet")]
)
def test_a_turn_without_a_tool_is_not_said_to_think(daemon, acpctl, silent, words):
    daemon.rows = [row("1", "busy", silent_seconds=silent)]
    assert words in acpctl("sessions").out


def test_an_ended_session_says_how_it_ended(daemon, acpctl):
    at = (datetime.now(UTC) - timedelta(minutes=2, seconds=5)).isoformat()
    end = {"at": at, "reason": "crashed", "exit_code": 3, "detail": "out of tokens"}
    daemon.rows = [row("local-1", "suspended", last_end=end)]
    assert "exited with 3, 2 minutes ago: out of tokens" in acpctl("sessions", "--all").out
    assert "last end     exited with 3, 2 minutes ago: out of tokens\n" in acpctl("show", "local-1").out
    for changes, words in (
        ({"exit_code": -9}, "ended by SIGKILL, 2 minutes ago"),
        ({"exit_code": None}, "crashed, 2 minutes ago"),
        ({"reason": "killed", "detail": None}, "killed, 2 minutes ago"),
        ({"reason": "expired", "at": "?"}, "ended while idle: out of tokens"),
        ({"reason": "start_failed", "exit_code": 1}, "could not start, exited with 1, 2 minutes ago"),
        ({"reason": "of tomorrow"}, "of tomorrow, 2 minutes ago"),
    ):
        daemon.rows[0]["last_end"] = {**end, **changes}
        assert words in acpctl("sessions", "--all").out
    daemon.rows = [row("local-1", "busy", last_end=end)]
    assert "exited" not in acpctl("sessions").out
    assert "last end     exited with 3, 2 minutes ago: out of tokens\n" in acpctl("show", "local-1").out


def test_an_empty_list_succeeds_with_a_note_on_stderr(daemon, acpctl):
    daemon.rows = []
    assert acpctl("sessions") == (0, "", "no sessions\n")
    assert acpctl("sessions", "-q") == (0, "", "no sessions\n")
    assert acpctl("sessions", "--state", "busy") == (0, "", "no session is busy\n")
    assert acpctl("sessions", "-o", "json") == (0, '{"sessions":[],"max_sessions":32,"suspended":0}\n', "")


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


def test_quiet_excludes_other_formats(acpctl):
    for arguments in (("-q", "-o", "json"), ("-q", "--watch")):
        result = acpctl("sessions", *arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("cannot ")
        assert result.err.count("\n") == 1


def test_show_prints_all_parts_of_a_session(daemon, acpctl):
    call = {"tool_call_id": "c", "title": "pytest -q", "kind": "execute", "status": "in_progress", "seconds": 62.0}
    held = {"limits_not_held": [{"limit": "pids_max", "reason": "agents run without a cgroup here"}]}
    unset = {"options_not_set": [{"option": "effort", "value": "high", "reason": "it offers low"}]}
    daemon.details["1310203040506071234"] = detail(daemon.rows[0], tool_calls=[call], **held, **unset)
    result = acpctl("show", "1234")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1310203040506071234  busy\n")
    for expected in (
        "title        Fix the pool\n",
        "cwd          /home/op/work\n",
        "mode         ask\n",
        "model        opus\n",
        "context      34,000 of 200,000 tokens (17%)\n",
        "cost         0.2500 USD\n",
        "not set      pids_max: agents run without a cgroup here\n",
        "not set      effort: it offers low\n",
        "turn         running for 3m12s, silent for 12s\n",
        "  pytest -q (execute), in_progress for 1m02s\n",
        "  4251  R  39M   2s  3m10s    - node server.js\n",
        "STDERR (the last 2 lines)\n  listening on stdio\n  warning: slow disk\n",
    ):
        assert expected in result.out


def test_show_prints_the_answer_as_json(daemon, acpctl):
    assert json.loads(acpctl("show", "1234", "-o", "json").out) == {"session": detail(daemon.rows[0])}


def test_show_of_a_suspended_session(daemon, acpctl):
    daemon.details["local-abc123"] = detail(daemon.rows[2], stderr=[], process_tree=[])
    result = acpctl("show", "local-abc123")
    assert (result.code, result.out.splitlines()[0]) == (0, "local-abc123  suspended")
    assert "process      no process\n" in result.out
    assert "PROCESSES" not in result.out


@pytest.mark.usefixtures("daemon")
def test_an_unknown_thread_exits_with_5(acpctl):
    assert acpctl("show", "77777777") == (5, "", "cannot find thread 77777777; see `acpctl sessions --all`\n")
    assert "a suffix needs four characters or more" in acpctl("show", "234").err


def test_an_ambiguous_suffix_exits_with_5(daemon, acpctl):
    daemon.rows.append(row("2000000000000001234"))
    result = acpctl("show", "1234")
    assert (result.code, result.out, result.err) == (5, "", "cannot tell which thread ends with 1234: 2 do\n")


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
    result = acpctl("show", "<#1234>")
    assert (result.code, result.err) == (5, "cannot find thread 1234; see `acpctl sessions --all`\n")


def test_an_invalid_thread_is_refused_before_any_request(daemon, acpctl):
    for form in ("<@1234>", "https://example.com/1234", "", "   ", "a\nb", "9" * 300):
        result = acpctl("show", form)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("cannot read ")
        assert result.err.count("\n") == 1
    assert daemon.requests == []


def test_cancel_sends_the_id_of_the_session_that_it_found(daemon, acpctl):
    assert acpctl("cancel", "1234") == (0, "1310203040506071234  cancelled: pytest -q\n", "")
    assert daemon.asked("sessions.cancel") == [
        {"thread": "1310203040506071234", "session_id": "s-1310203040506071234-1"}
    ]


def test_cancel_of_an_idle_session_succeeds(daemon, acpctl):
    daemon.on("sessions.cancel", lambda _, __: {"outcome": "idle"})
    assert acpctl("cancel", "5678") == (0, "1310203040506075678  no turn is running\n", "")
    assert acpctl("cancel", "5678", "-o", "json") == (0, '{"outcome":"idle"}\n', "")


def test_cancel_of_several_threads_finds_all_of_them_before_it_cancels_any(daemon, acpctl):
    result = acpctl("cancel", "1234", "99999999")
    assert (result.code, result.out, daemon.asked("sessions.cancel")) == (5, "", [])
    assert result.err == "cannot find thread 99999999; see `acpctl sessions --all`\nnothing was done\n"
    assert acpctl("cancel").code == 2
    result = acpctl("cancel", "1234", "5678", "1234", "-o", "json")
    assert json.loads(result.out) == {
        "results": [
            {"thread_id": "1310203040506071234", "outcome": "cancelled"},
            {"thread_id": "1310203040506075678", "outcome": "cancelled"},
        ]
    }


def test_cancel_of_a_replaced_session_exits_with_5(daemon, acpctl):
    def replaced(_params, _client):
        raise WireError(-32003, "conflict", "cannot cancel: the session was replaced meanwhile")

    daemon.on("sessions.cancel", replaced)
    assert acpctl("cancel", "1234").code == 5


PERMISSION = {
    "request": "p1",
    "title": "Tidy up",
    "question": "Run this command?",
    "options": [{"option_id": "a", "name": "Yes", "kind": "allow_once"}],
    "withheld": None,
    "expires_at": "2026-11-24T08:05:00.000Z",
    "action": "command: rm -rf data\ncwd: /srv\x9b",
    "raw_input": {"command": "rm -rf data"},
}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {},
            [
                "  Run this command?",
                "    command: rm -rf data",
                r"    cwd: /srv\x9b",
                "  The agent calls it: Tidy up",
                "  Answers: allow_once; it expires at 2026-11-24T08:05:00.000Z.",
            ],
        ),
        (
            {"withheld": "it is larger than 1 MiB", "options": [], "action": None, "raw_input": None},
            [
                "  Run this command?",
                "  The agent calls it: Tidy up",
                "  It can't be allowed: it is larger than 1 MiB.",
                "  Answers: none; it expires at 2026-11-24T08:05:00.000Z.",
            ],
        ),
    ],
    ids=["an admin", "a reader"],
)
def test_show_says_what_a_permission_is_wanted_for(daemon, acpctl, changes, lines):
    waiting = {**detail(daemon.rows[0]), "permission": {**PERMISSION, **changes}}
    daemon.on("sessions.get", lambda _params, _client: {"session": waiting})
    shown = acpctl("show", "1234").out.splitlines()
    start = shown.index("PERMISSION")
    assert shown[start + 1 : start + 1 + len(lines)] == lines
    assert shown[start + 1 + len(lines)].startswith("  Answer it with `acpctl permit ")


def test_show_says_what_the_agent_asks(daemon, acpctl):
    field = {"name": "color", "label": "Color", "kind": "choice", "hint": None, "required": True}
    choices = [
        {"value": "r", "label": "Red", "description": ""},
        {"value": "g", "label": "Gr\x9been", "description": ""},
    ]
    question = {
        "request": "q1",
        "message": "Which color?\nAnd why?",
        "mode": "form",
        "fields": [{**field, "choices": choices}],
        "url": None,
        "host": None,
        "unusable": "its form is too large",
        "expires_at": "2026-11-24T08:05:00.000Z",
    }
    waiting = {**detail(daemon.rows[0]), "question": question}
    daemon.on("sessions.get", lambda _params, _client: {"session": waiting})
    shown = acpctl("show", "1234").out.splitlines()
    start = shown.index("QUESTION")
    assert shown[start + 1 : start + 6] == [
        "  Which color?",
        "  And why?",
        r"    Color: Red / Gr\x9been (required)",
        "  It can't be answered: its form is too large.",
        "  It expires at 2026-11-24T08:05:00.000Z.",
    ]


def test_figures_that_nobody_knows_are_said_to_be_unknown(daemon, acpctl):
    daemon.rows = [
        row("1", processes=2, rss_bytes=None, cpu_seconds=None),
        row("2", rss_bytes=0),
        row("3", rss_bytes=5),
    ]
    assert acpctl("sessions", "--sort", "memory", "-q").out.split() == ["3", "2", "1"]
    assert "2 processes, memory unknown, CPU time unknown" in acpctl("show", "1").out
