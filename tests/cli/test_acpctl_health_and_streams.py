"""`acpctl health`, `doctor`, `tail`, `events`: exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pytest

from acpctl import __version__
from tests.fakes.management import METHODS, FakeDaemon, WireError, health, row
from tests.support.acpctl import ACPCTL


def test_health_shows_a_ready_daemon(daemon, acpctl):
    result = acpctl("health")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("ready  acpbot 0.1.0, running, up 3d04h\n\n")
    for expected in (
        "  chat      ok\n",
        "  gateway   latency 42 ms, heartbeat 12s ago\n",
        "  sessions  2 of 32: 1 idle, 1 busy, 4 suspended\n",
        "  loop lag  0.4 ms\n",
        "  memory    58M\n",
    ):
        assert expected in result.out
    assert daemon.asked("health.get") == [{}]


def test_health_says_why_a_daemon_is_not_ready(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(ready=False))
    result = acpctl("health")
    assert result.code == 3
    assert result.out.startswith("not ready  ")
    assert "  chat      failed: disconnected for 42 s\n" in result.out
    result = acpctl("health", "-o", "json")
    assert (result.code, json.loads(result.out)) == (3, health(ready=False))


def test_health_with_missing_keys_is_shown(daemon, acpctl):
    daemon.on("health.get", lambda _, __: {"ready": True, "checks": [1], "chat": None, "pool": {}})
    result = acpctl("health")
    assert result.code == 0
    assert result.out.startswith("ready  acpbot ?, ?, up -\n")


def test_health_counts_the_places_that_wait_without_an_agent(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health() | {"warm_places": 2})
    words = acpctl("health").out.split("warm places", 1)[1].split("\n", 1)[0]
    assert words.strip() == "2 without an agent, for the next threads"


def test_a_missing_method_is_reported_in_one_line(path, acpctl):
    with FakeDaemon(path, row("1310203040506071234"), capabilities=["sessions.list", "sessions.get"]):
        for command, method in {
            ("tail", "1234"): "sessions.tail",
            ("events",): "events.list",
            ("health",): "health.get",
            ("drain",): "daemon.drain",
            ("cancel", "1234"): "sessions.cancel",
            ("chat",): "chat.open",
        }.items():
            result = acpctl(*command)
            assert (result.code, result.out) == (1, "")
            assert result.err.startswith("cannot ")
            assert result.err.endswith(f": this acpbot ({__version__}) does not offer {method}\n")


@pytest.mark.usefixtures("daemon")
def test_doctor_finds_nothing_wrong(acpctl, path):
    path.chmod(0o600)
    result = acpctl("doctor")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert all(line.startswith(("ok  ", "-   ")) for line in lines), result.out
    assert f"ok    socket {path} (from ACPBOT_SOCKET)  " in lines[0]
    assert lines[0].endswith("0600, folder root 0700") or os.getuid() != 0
    assert f"ok    daemon  acpbot {__version__}, protocol 1, running" in lines
    assert "ok    access  admin" in lines
    assert f"ok    versions  acpctl {__version__}, acpbot {__version__}" in lines
    assert lines[-2:] == ["ok    sessions  2 sessions, none stuck", "ok    summary  10 ok, 0 warnings, 0 failed"]


def test_doctor_says_what_to_do(path, acpctl):
    stuck = row("1310203040506071234", "stuck", activity="npm run dev", silent_seconds=743.0)
    with FakeDaemon(path, stuck, version="9.0.0", access="read", state="draining") as daemon:
        daemon.on("health.get", lambda _, __: health(ready=False))
        path.chmod(0o666)
        result = acpctl("doctor")
        as_json = acpctl("doctor", "-o", "json")
    assert result.code == 1
    for expected in (
        "chmod it to 0600",
        "fail  daemon  acpbot 9.0.0, protocol 1, draining",
        "`acpctl drain --off`",
        "-     access  read",
        "admin_users",
        f"fail  versions  acpctl {__version__}, acpbot 9.0.0",
        "fail  health: chat  disconnected for 42 s",
        "fail  stuck  1310203040506071234 silent for 12m23s: npm run dev",
        "`acpctl kill 1310203040506071234`",
    ):
        assert expected in result.out
    answer = json.loads(as_json.out)
    assert (as_json.code, answer["ok"]) == (1, False)
    assert {"name": "access", "ok": None, "detail": "read"}.items() <= answer["checks"][2].items()


FINDINGS = [
    {"name": "root", "level": "warning", "detail": "acpbot runs as root", "advice": "run it as another user"},
    {"name": "containment", "level": "note", "detail": "a cgroup \x1b[31mfor each session", "advice": ""},
]


def test_doctor_shows_what_the_daemon_finds_of_its_security(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(security=FINDINGS))
    result = acpctl("doctor")
    assert result.code == 0, "a warning is no failure"
    assert "warn  security: root  acpbot runs as root\n      run it as another user\n" in result.out
    assert "-     security: containment  a cgroup for each session\n" in result.out
    shown = [check for check in json.loads(acpctl("doctor", "-o", "json").out)["checks"] if check["level"]]
    assert [(check["name"], check["level"], check["ok"]) for check in shown] == [
        ("security: root", "warning", None),
        ("security: containment", "note", None),
    ]


RESTART = {"name": "config", "ok": False, "reason": "a restart is needed for [log] format"}
STUCK = {"name": "stuck", "ok": False, "reason": "1 session is stuck; see `acpctl sessions --stuck`"}


def test_a_check_that_only_warns_is_no_failure(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(checks=[RESTART, STUCK], warnings=["config", "stuck"]))
    shown = acpctl("health")
    assert shown.code == 0
    assert "  config    warning: a restart is needed for [log] format\n" in shown.out
    assert "  stuck     warning: 1 session is stuck; see `acpctl sessions --stuck`\n" in shown.out
    doctor = acpctl("doctor")
    assert doctor.code == 0
    assert "warn  health: config  a restart is needed for [log] format\n" in doctor.out
    assert doctor.out.endswith(", 1 warning, 0 failed\n")


def test_doctor_ends_with_the_number_of_failures_and_the_next_step(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(ready=False))
    done = acpctl("doctor")
    assert done.code == 1
    assert re.search(r"\nfail  summary  \d+ ok, 0 warnings, 1 failed\n      start with the first line", done.out)


def test_doctor_says_who_sees_the_security_part(daemon, acpctl):
    daemon.on("health.get", lambda _, __: health(security=None))
    assert "-     security  only admins see this part\n" in acpctl("doctor").out


def test_doctor_checks_every_default_path(acpctl, tmp_path, system_path, monkeypatch):
    monkeypatch.delenv("ACPBOT_SOCKET")
    result = acpctl("doctor")
    assert (result.code, result.err) == (6, "")
    last = tmp_path / f"acpbot-{os.getuid()}" / "acpbot.sock"
    assert result.out.splitlines()[:2] == [
        f"-     socket {system_path}  no such file",
        f"-     socket {last}  no such file",
    ]
    assert "start it with `acpbot run`" in result.out
    last.parent.mkdir()
    last.write_text("")
    assert "it is not a socket" in acpctl("doctor").out


def test_doctor_reports_a_listener_that_is_not_acpbot(path, acpctl):
    with FakeDaemon(path, greeting=b"SSH-2.0\n"):
        result = acpctl("doctor")
    assert result.code == 6
    assert "it is not an acpbot" in result.out


def test_doctor_reports_error_answers(daemon, acpctl):
    def broken(_params, _client):
        raise WireError(-32603, "internal", "cannot read the pool; see the log")

    daemon.on("health.get", broken)
    result = acpctl("doctor")
    assert result.code == 1
    assert "fail  answers  cannot read the pool\n      see the log" in result.out


OUTPUT = {"thread": "1310203040506071234", "session_id": "s", "at": "2026-11-24T08:00:00.123Z"}


def test_tail_prints_the_last_lines(daemon, acpctl):
    lines = [
        {**OUTPUT, "kind": "text", "text": "Looking."},
        {**OUTPUT, "kind": "stderr", "text": "\x1b[31mwarn\x1b[0m\x07"},
    ]
    more = [{**OUTPUT, "kind": kind, "text": kind} for kind in ("prompt", "plan", "permission", "turn_end")]
    daemon.on("sessions.tail", lambda _, __: {"lines": more})
    shown = [line[26:] for line in acpctl("tail", "1234", "--no-follow").out.splitlines()]
    assert shown == ["prompt  prompt", "plan    plan", "permit  permission", "end     turn_end"]
    daemon.requests.clear()
    daemon.on("sessions.tail", lambda _, __: {"lines": lines})
    result = acpctl("tail", "1234", "--no-follow", "-n", "2")
    assert result == (
        0,
        "2026-11-24T08:00:00.123Z  text    Looking.\n2026-11-24T08:00:00.123Z  stderr  warn\\x07\n",
        "",
    )
    assert daemon.asked("sessions.tail") == [{"thread": "1310203040506071234", "lines": 2}]
    result = acpctl("tail", "1234", "--no-follow", "-o", "json")
    assert [json.loads(line) for line in result.out.splitlines()] == lines


class Running:
    """A running acpctl whose stdout the test reads line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [ACPCTL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupted(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, err


def test_tail_follows_until_ctrl_c(daemon):
    def tail(_params, client):
        client.notify("sessions.output", {**OUTPUT, "kind": "text", "text": "early"})
        return {"lines": [{**OUTPUT, "kind": "text", "text": "before"}]}

    daemon.on("sessions.tail", tail)
    running = Running("tail", "1234")
    assert running.line().endswith("before\n")
    assert running.line().endswith("early\n")
    daemon.notify("sessions.output", {**OUTPUT, "kind": "notice", "text": "later"})
    assert running.line().endswith("notice  later\n")
    assert running.interrupted() == (130, "", "")


def test_tail_of_several_threads_names_the_thread_of_each_line_in_the_order_of_time(daemon, acpctl):
    recent = {"1310203040506071234": ["1", "3"], "local-abc123": ["2"]}

    def tail(params, _client):
        thread = params["thread"]
        line = {"thread": thread, "session_id": "s", "kind": "text"}
        return {"lines": [{**line, "text": at, "at": f"2026-11-24T08:00:0{at}.000Z"} for at in recent[thread]]}

    daemon.on("sessions.tail", tail)
    result = acpctl("tail", "1234", "local-abc123", "--no-follow", "--since", "2026-11-24T08:00:00Z")
    assert result == (
        0,
        (
            "2026-11-24T08:00:01.000Z  1310203040506071234  text    1\n"
            "2026-11-24T08:00:02.000Z  local-abc123         text    2\n"
            "2026-11-24T08:00:03.000Z  1310203040506071234  text    3\n"
        ),
        "",
    )
    since = "2026-11-24T08:00:00.000Z"
    assert [asked["since"] for asked in daemon.asked("sessions.tail")] == [since, since]
    nowhere = acpctl("tail", "1234", "99999999")
    assert (nowhere.code, nowhere.out) == (5, "")
    assert acpctl("tail").code == 2
    assert acpctl("tail", "1234", "--since", "soon").code == 2


def test_a_stream_reports_a_closed_connection(daemon):
    daemon.on("sessions.tail", lambda _, __: {"lines": [{**OUTPUT, "kind": "text", "text": "before"}]})
    running = Running("tail", "1234")
    running.line()
    daemon.disconnect()
    code, out, err = running.ended()
    assert (code, out) == (6, "")
    assert err.startswith("cannot go on: acpbot at ")
    assert err.count("\n") == 1


def test_sessions_watch_writes_one_object_a_line(daemon):
    running = Running("sessions", "--watch", "--state", "busy")
    first = json.loads(running.line())
    assert (first["max_sessions"], [one["thread_id"] for one in first["sessions"]]) == (32, ["1310203040506071234"])
    busy = row("1310203040506075678", "busy")
    daemon.notify("sessions.event", {"seq": 1, "event": "changed", "session": busy})
    second = json.loads(running.line())
    assert [one["thread_id"] for one in second["sessions"]] == ["1310203040506071234", "1310203040506075678"]
    assert second["sessions"][0]["turn_seconds"] > 192.0
    daemon.notify("sessions.event", {"seq": 2, "event": "gone", "session": {**busy, "session_id": "an older one"}})
    assert len(json.loads(running.line())["sessions"]) == 2
    daemon.notify("sessions.event", {"seq": 3, "event": "gone", "session": busy})
    assert len(json.loads(running.line())["sessions"]) == 1
    daemon.notify("sessions.event", {"seq": 9, "event": "snapshot", "sessions": [busy], "max_sessions": 16})
    last = json.loads(running.line())
    assert (last["max_sessions"], len(last["sessions"])) == (16, 1)
    assert running.interrupted() == (130, "", "")


def test_sessions_watch_polls_a_daemon_without_events(path):
    offered = [method for method in METHODS if method != "sessions.watch"]
    with FakeDaemon(path, row("1"), capabilities=offered) as daemon:
        running = Running("sessions", "--watch")
        assert len(json.loads(running.line())["sessions"]) == 1
        daemon.rows.append(row("2"))
        assert len(json.loads(running.line())["sessions"]) == 2
        assert daemon.asked("sessions.watch") == []
        assert running.interrupted() == (130, "", "")


def test_health_watch_writes_one_object_a_line(daemon):
    running = Running("health", "--watch")
    assert json.loads(running.line()) == health()
    daemon.on("health.get", lambda _, __: health(ready=False))
    assert json.loads(running.line())["ready"] is False
    daemon.disconnect()
    code, _, err = running.ended()
    assert code == 6
    assert err.startswith("cannot go on: ")


def test_a_watch_ends_quietly_when_the_reader_closes_the_pipe(daemon):
    command = f"{ACPCTL} sessions --watch | head -1"
    running = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    daemon.wait_for("sessions.watch")
    for number in range(200):
        daemon.notify("sessions.event", {"seq": number, "event": "changed", "session": daemon.rows[0]})
        try:
            running.wait(0.05)
            break
        except subprocess.TimeoutExpired:
            continue
    out, err = running.communicate(timeout=10)
    assert (running.returncode, json.loads(out)["max_sessions"], err) == (0, 32, "")


@pytest.mark.parametrize(
    ("command", "method"),
    [
        ("sessions --watch", "sessions.watch"),
        ("events -n 1", "events.list"),
        ("tail 1310203040506071234", "sessions.tail"),
    ],
)
def test_a_stream_ends_as_soon_as_its_reader_does_and_not_with_the_next_line(daemon, command, method):
    daemon.on("events.list", lambda *_: {"events": [{"at": "2026-11-24T08:00:00Z", "kind": "daemon_started"}]})
    daemon.on("sessions.tail", lambda *_: {"lines": [{**OUTPUT, "kind": "text", "text": "one"}]})
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{ACPCTL} {command} | head -1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert len(daemon.asked(method)) == 1
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")
