"""Every command in every output form, with every kind of daemon: its exit code, stdout and stderr.

The commands and their forms come from acpctl itself: a new one without a row here fails.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any, NamedTuple

import pytest
import typer

from acpctl import command_line
from acpctl.command_line import COMMANDS, app
from acpctl.text import width
from tests.fakes.daemon import DaemonProcess
from tests.fakes.management import FakeDaemon, Raw, WireError, detail, health, row

THREAD = "1310203040506071234"


class Case(NamedTuple):
    """How a command is called without a question, and how it exits.

    ``alone``: with no session at all; ``many``: with 41, some of them stuck; ``denied``: for those who may only read;
    ``lost``: where the daemon dies during its first request; ``unready``: where the daemon is not ready. ``stream``:
    JSON is an object a line.
    """

    words: tuple[str, ...] = ()
    alone: int = 0
    many: int = 0
    denied: int = 0
    lost: int = 6
    unready: int = 0
    stream: bool = False


CHANGE = Case(alone=5, denied=4)
MATRIX = {
    "sessions": Case(),
    "show": Case((THREAD,), alone=5),
    "kill": CHANGE._replace(words=(THREAD, "--yes")),
    "cancel": CHANGE._replace(words=(THREAD,)),
    "send": CHANGE._replace(words=(THREAD, "say hello")),
    "permit": CHANGE._replace(words=(THREAD, "--allow")),
    "suspend": CHANGE._replace(words=(THREAD, "--yes")),
    "restart": CHANGE._replace(words=(THREAD, "--yes")),
    "forget": CHANGE._replace(words=(THREAD, "--yes")),
    "health": Case(unready=3),
    "chat": Case((THREAD,), denied=4, lost=0),
    "drain": Case(denied=4),
    "reload": Case(denied=4),
    "config": Case(denied=4),
    "tail": Case((THREAD, "--no-follow"), alone=5, stream=True),
    "events": Case(("--no-follow",), stream=True),
    "audit": Case(denied=4),
    "top": Case(alone=2, many=2, denied=2, lost=2, unready=2),  # only on a terminal
    "doctor": Case(many=1, lost=6, unready=1),
}
PIPED_ONLY = {"top", "chat"}  # on a terminal they are screens, with tests of their own


def forms(command: str) -> list[tuple[str, ...]]:
    """The ways in which a command can be told to print, from its own options."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("acpctl", ["health"])
    parameters = group.get_command(context, command).params
    context.close()
    found: list[tuple[str, ...]] = [()]
    for one in parameters:
        if "-o" in one.opts:
            found += [("-o", value) for value in one.type.choices if value != one.default]
        if "-q" in one.opts:
            found.append(("-q",))
    return found


ALL = [pytest.param(name, form, id=" ".join((name, *form))) for name in COMMANDS for form in forms(name)]


def test_every_command_has_a_row():
    assert set(MATRIX) == set(COMMANDS)


class Screen(io.StringIO):
    """A terminal, as far as output goes."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def sessions(count: int, command: str) -> list[dict]:
    """So many sessions; the first is the one that commands name, in the state that the command is for."""
    state = {"forget": "suspended", "permit": "waiting"}.get(command, "idle")
    named = [row(THREAD, state, title="Fix the pool", last_end={"at": "2026-11-24T08:00:00Z", "reason": "crashed"})]
    others = [row(f"14{number:017}", ("busy", "stuck", "idle")[number % 3], queued=number) for number in range(40)]
    return [*named, *others][:count]


@pytest.fixture
def daemon(path):
    def sent(*_):
        if not running.rows:
            raise WireError(-32001, "not_found", f"cannot find thread {THREAD}")
        return {"thread_id": THREAD, "queued": 0}

    with FakeDaemon(path) as running:
        running.on("sessions.send", sent)
        for method in ("sessions.suspend", "sessions.restart"):
            running.on(method, lambda *_: {"outcome": "ended", "session_id": None})
        running.on("sessions.permit", lambda *_: {})
        running.on("sessions.forget", lambda *_: {})
        running.on("daemon.reload", lambda *_: {"reloaded": ["pool"], "needs_restart": []})
        running.on("config.get", lambda *_: {"path": "/etc/acpbot/config.toml", "config": {"pool": {"warm": 0}}})
        running.on("audit.list", lambda *_: {"entries": [ENTRY], "more": False})
        running.on("events.list", lambda *_: {"events": [{"at": "2026-11-24T08:00:00Z", "kind": "daemon_started"}]})
        running.on("sessions.tail", lambda *_: {"lines": [LINE]})
        yield running


ENTRY = {
    "id": 1,
    "at": "2026-11-24T08:00:00.000Z",
    "uid": 0,
    "pid": 7,
    "method": "sessions.kill",
    "target": THREAD,
    "outcome": "ended",
}
LINE = {"thread": THREAD, "session_id": "s-1", "kind": "text", "text": "hello", "at": "2026-11-24T08:00:00.000Z"}


def filled(daemon: FakeDaemon, command: str, count: int) -> None:
    daemon.rows = sessions(count, command)
    options = [{"option_id": "a", "name": "Allow", "kind": "allow_once"}]
    permission = {"request": "p1", "question": "Allow this?", "title": "ls", "action": "ls", "options": options}
    if daemon.rows:
        daemon.details = {THREAD: detail(daemon.rows[0], permission=permission if command == "permit" else None)}


def check(command: str, form: tuple[str, ...], code: int, result: Any) -> None:
    """The rules that hold for all of them."""
    assert result.code == code, result.err
    assert "Traceback" not in result.err
    assert "\x1b" not in result.out + result.err
    if code not in {0, 3} and command != "doctor":
        assert result.out == ""
        assert result.err.startswith("cannot ")
    elif "json" in form:
        lines = result.out.splitlines() if MATRIX[command].stream else [result.out]
        assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize(("command", "form"), ALL)
@pytest.mark.parametrize("count", [0, 1, 41], ids=["no session", "one session", "many sessions"])
def test_each_form_through_a_pipe(daemon, acpctl, command, form, count):
    filled(daemon, command, count)
    case = MATRIX[command]
    found = acpctl(command, *case.words, *form)
    check(command, form, {0: case.alone, 1: 2 if command == "top" else 0, 41: case.many}[count], found)


@pytest.mark.parametrize(("command", "form"), [one for one in ALL if one.values[0] not in PIPED_ONLY])
@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200, 300])
def test_each_form_fits_a_terminal(daemon, monkeypatch, command, form, columns):
    filled(daemon, command, 41)
    monkeypatch.setenv("COLUMNS", str(columns))
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    code = command_line.run([command, *MATRIX[command].words, *form], system_path="/nonexistent")
    assert code == MATRIX[command].many, err.getvalue()
    if "json" in form:
        text = out.getvalue()
        lines = text.splitlines() if MATRIX[command].stream else [text]
        assert all(isinstance(json.loads(line), dict) for line in lines)
    elif columns >= 80 and "wide" not in form:
        plain = (out.getvalue() + err.getvalue()).replace("\x1b", "\n\x1b").splitlines()
        assert all(width(line.partition("m")[2] if line[:1] == "\x1b" else line) <= columns for line in plain)


@pytest.mark.parametrize(("command", "form"), ALL)
def test_each_form_without_a_daemon(acpctl, command, form):
    code = {"doctor": 6, "top": 2}.get(command, 6)
    found = acpctl(command, *MATRIX[command].words, *form)
    check(command, form, code, found)
    if code == 6 and command != "doctor":
        assert found.err.startswith("cannot reach acpbot at ")
        assert found.err.count("\n") == 1


@pytest.mark.parametrize(("command", "form"), ALL)
def test_each_form_for_somebody_who_may_only_read(daemon, acpctl, command, form):
    daemon.hello["access"] = "read"

    def denied(*_):
        raise WireError(-32004, "access_denied", "cannot do this: your access is read-only")

    for method in ("cancel", "forget", "kill", "permit", "restart", "send", "suspend"):
        daemon.on(f"sessions.{method}", denied)
    for method in ("audit.list", "chat.open", "config.get", "daemon.drain", "daemon.reload"):
        daemon.on(method, denied)
    filled(daemon, command, 1)
    found = acpctl(command, *MATRIX[command].words, *form)
    check(command, form, MATRIX[command].denied, found)
    assert ("your access to this acpbot is read-only; run acpctl as" in found.err) == (found.code == 4)


@pytest.mark.parametrize(("command", "form"), ALL)
def test_each_form_where_the_daemon_is_not_ready(daemon, acpctl, command, form):
    daemon.on("health.get", lambda *_: health(ready=False))
    filled(daemon, command, 1)
    found = acpctl(command, *MATRIX[command].words, *form)
    check(command, form, MATRIX[command].unready, found)


@pytest.mark.parametrize(("command", "form"), ALL)
def test_each_form_where_the_daemon_dies_meanwhile(daemon, acpctl, command, form):
    def dies(*_):
        raise Raw(b"", close=True)

    filled(daemon, command, 1)
    for method in daemon.hello["capabilities"]:
        daemon.on(method, dies)
    found = acpctl(command, *MATRIX[command].words, *form)
    check(command, form, MATRIX[command].lost, found)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with DaemonProcess(tmp_path_factory.mktemp("matrix") / "d") as daemon:
        yield daemon


@pytest.mark.parametrize(("command", "form"), ALL)
def test_each_form_on_a_real_daemon(real, acpctl, monkeypatch, command, form):
    monkeypatch.setenv("ACPBOT_SOCKET", str(real.socket))
    thread = f"matrix-{command}-{'-'.join(form) or 'plain'}".replace("--", "-")
    words = [thread if word == THREAD else word for word in MATRIX[command].words]
    if THREAD in MATRIX[command].words:
        with real.wire() as wire:
            wire.call("chat.open", thread=thread)
            if command == "permit":
                wire.call("chat.send", thread=thread, text="tool echo done; say over")
                wire.event("permission")
            else:
                wire.turn(thread, "say hello")
            if command == "forget":
                session = wire.call("sessions.get", thread=thread)["session"]["session_id"]
                wire.call("sessions.suspend", thread=thread, session_id=session)
            found = acpctl(command, *words, *form)
    else:
        found = acpctl(command, *words, *form)
    if command == "drain":
        with real.wire() as wire:
            wire.call("daemon.drain", on=False)
    check(command, form, 2 if command == "top" else 0, found)
