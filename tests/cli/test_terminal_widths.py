"""Every command that prints a table, a page or a screen, on a pseudo-terminal of four widths, with 40 sessions.

One process on one terminal runs all of them: what it starts with is as expensive as the rest.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import NamedTuple

import pytest

from acpctl.command_line import COMMANDS
from acpctl.text import width
from tests.fakes.management import FakeDaemon, detail, row
from tests.support.terminal import Terminal

# Runs one command after the other, each once a line has come, and says how it has ended.
DRIVER = """
import json, sys
from acpctl.command_line import run
for words in map(json.loads, iter(sys.stdin.readline, "")):
    code = run(words, system_path="/nonexistent")
    print(f"[exit {code}]", flush=True)
"""
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[=>78])")
STUCK, WAITING, BUSY, CRASHED = "1310203040506071001", "1310203040506071002", "1310203040506071003", "local-crashed"
TITLE = "Rename the module parser to reader, in all of the project and its documentation"
END = {"at": "2026-11-24T08:00:00Z", "reason": "crashed", "exit_code": 3, "detail": "out of memory " * 8}


class Case(NamedTuple):
    """A command, what the screen shows in every width, and what is typed once which text is there."""

    words: str
    shows: tuple[str, ...]
    keys: tuple[tuple[str, str], ...] = ()
    code: int = 0


LEAVE = (("q leaves", "q"),)
CASES = (
    Case(
        "sessions",
        (
            f"{STUCK} .*stuck",
            "40 of 32 sessions: 10 stuck.*, 10 waiting",
            "idle +.*42s",
            "1 suspended, 1 of them after a",
        ),
    ),
    Case("sessions --all", (f"{CRASHED} .*suspended", "exited with")),
    Case("sessions --stuck", (f"{STUCK} .*stuck .*silent 12m23s",)),
    Case("sessions --watch", (f"{STUCK} .*stuck", r"… \d+ more"), LEAVE),
    Case("top", (f"{STUCK} .*stuck", "RSS", "TIME", r"… \d+ more"), LEAVE),
    Case(
        "top",
        (f"{STUCK} .*stuck", r"4242 +S", "End this session", "nothing was ended|q leaves"),
        (("q leaves", "j"), ("q leaves", "K"), ("[y/N]", "n\r"), ("q leaves", "q")),
    ),
    Case("top", ("PROCESSES",), (("q leaves", "j"), ("q leaves", "\r"), ("q goes back", "q"), ("q leaves", "q"))),
    Case("show 1001", (f"{STUCK} ● stuck", "activity +silent 12m23s: npm", "PROCESSES", "STDERR")),
    Case(f"show {CRASHED}", ("last end +exited with 3", "suspended")),
    Case("kill 1001", (f"{STUCK} .*stuck", "0 processes left"), (("[y/N]", "y\r"),)),
    Case("kill --all", (STUCK, "nothing was ended"), (("their number:", "no\r"),), code=1),
    Case("cancel 1003", (BUSY,)),
    Case("send 1003 hello", (f"{BUSY} +sent",)),
    Case("permit 1002", ("Allow this", "rm -rf", "maybe isn't one of"), (("[none]:", "maybe\r"),), code=1),
    Case("suspend 1001", (f"{STUCK} .*stuck",), (("[y/N]", "y\r"),)),
    Case("restart 1001", (f"{STUCK} .*stuck",), (("[y/N]", "y\r"),)),
    Case(f"forget {CRASHED}", (CRASHED,), (("[y/N]", "y\r"),)),
    Case("health", ("ready", "memory")),
    Case("health --watch", ("ready", "memory"), LEAVE),
    Case("drain", ("drain",)),
    Case("reload", ("pool",)),
    Case("config", (r"\[pool\]",)),
    Case("tail 1003 --no-follow", ("text +hello",)),
    Case("events --no-follow", ("acpbot started", "crashed")),
    Case("audit", ("sessions.kill",)),
    Case("doctor", ("acpbot",), code=1),
    Case("--help", ("Commands", "sessions")),
)


@pytest.fixture
def daemon(path):
    rows = [
        row(STUCK, "stuck", activity="npm run dev", silent_seconds=743.0, title=TITLE),
        row(WAITING, "waiting", waiting_for="rm -rf build/ dist/ node_modules/ and what else there is", title=TITLE),
        row(BUSY, "busy", activity="pytest -q tests/sessions --maxfail=1 -k 'not slow'", title=TITLE, queued=2),
        *(
            row(f"14{number:017}", ("stuck", "waiting", "busy", "idle")[number % 4], title=TITLE[: number * 3] or None)
            for number in range(3, 40)
        ),
        row(CRASHED, "suspended", last_end=END, title="日本語のタイトル " * 6),
    ]
    options = [{"option_id": "a", "name": "Allow", "kind": "allow_once"}]
    asked = {"request": "p1", "question": "Allow this?", "title": "rm", "action": "rm -rf build/", "options": options}
    at = "2026-11-24T08:00:00.000Z"
    done = {"id": 1, "at": at, "uid": 0, "pid": 7, "method": "sessions.kill", "target": STUCK, "outcome": "ended"}
    events = [
        {"at": at, "kind": "daemon_started"},
        {"at": at, "kind": "session_ended", "thread_id": CRASHED, **END},
    ]
    line = {"thread": BUSY, "session_id": "s-1", "kind": "text", "text": "hello " * 60, "at": at}
    with FakeDaemon(path, *rows) as running:
        running.details = {WAITING: detail(rows[1], permission=asked)}
        for method in ("sessions.suspend", "sessions.restart"):
            running.on(method, lambda *_: {"outcome": "ended", "session_id": None})
        running.on("sessions.send", lambda *_: {"thread_id": BUSY, "queued": 0})
        running.on("sessions.forget", lambda *_: {})
        running.on("daemon.reload", lambda *_: {"reloaded": ["pool"], "needs_restart": []})
        running.on("config.get", lambda *_: {"path": "/etc/acpbot/config.toml", "config": {"pool": {"warm": 0}}})
        running.on("audit.list", lambda *_: {"entries": [done], "more": False})
        running.on("events.list", lambda *_: {"events": events})
        running.on("sessions.tail", lambda *_: {"lines": [line]})
        yield running


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_what_commands_print_fits_a_terminal_and_screens_can_be_left(columns):
    terminal = Terminal([sys.executable, "-c", DRIVER], columns, 24, dict(os.environ))
    try:
        problems = [problem for case in CASES for problem in run_case(terminal, case, columns)]
    finally:
        terminal.close()
    assert not problems, "\n\n".join(problems)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_fits_a_terminal(acpctl, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, err = acpctl(command, "--help")
    assert (code, err) == (0, "")
    assert f"acpctl {command} " in out
    # An example is a line to copy, and stays whole.
    assert [line for line in out.splitlines() if width(line) > columns and line.split()[0] != "acpctl"] == []
    assert all(width(line) <= max(columns, 80) for line in out.splitlines())


def run_case(terminal: Terminal, case: Case, columns: int) -> list[str]:
    """What is wrong with what the command shows."""
    begun = len(terminal.raw)
    terminal.screen.reset()
    terminal.type(json.dumps(case.words.split()) + "\r")
    for expected, keys in case.keys:
        terminal.wait_for(expected)
        terminal.screen.reset()
        terminal.type(keys)
    terminal.wait_for("[exit ")
    drawn = terminal.raw[begun:].decode().replace("\r", "")
    for moved in ("\x1b[H", "\x1b[?1049l"):
        drawn = drawn.replace(moved, "\n")
    plain = ESCAPE.sub("", drawn).split("\n", 1)[1]
    joined = " ".join(plain.split())
    missing = [one for one in (*case.shows, rf"\[exit {case.code}\]") if not re.search(one, joined)]
    lines = [line.removesuffix(f"[exit {case.code}]") for line in plain.splitlines()]
    too_long = [line for line in lines if width(line) > columns and "/acpbot.sock" not in line]  # a path stays whole
    what = f"acpctl {case.words}, {columns} columns: "
    return [f"{what}no {one!r} in\n{plain}" for one in missing] + [f"{what}too long: {line}" for line in too_long]
