"""The same hostile texts through every command of acpctl: nothing that it prints hides anything."""

from __future__ import annotations

import pytest

from tests.fakes.management import FakeDaemon, detail, health, row
from tests.support.hidden_text import HIDDEN, ORDINARY, hides_nothing

COMMANDS = {
    "sessions": ["sessions"],
    "sessions, wide": ["sessions", "-o", "wide"],
    "sessions, JSON": ["sessions", "-o", "json"],
    "show": ["show", "12345678"],
    "show, JSON": ["show", "12345678", "-o", "json"],
    "health": ["health"],
    "doctor": ["doctor"],
    "kill": ["kill", "12345678", "--yes"],
    "audit": ["audit"],
    "events": ["events", "--no-follow"],
    "config": ["config"],
    "reload": ["reload"],
    "send": ["send", "12345678", "hi", "--allow"],
    "permit": ["permit", "12345678", "--allow"],
    "suspend": ["suspend", "12345678", "--yes"],
}
TEXTS = [text for text in (*HIDDEN, *ORDINARY) if "\ud800" not in text]


def hostile(text: str) -> dict:
    members = {
        "title": text,
        "activity": text,
        "waiting_for": text,
        "cwd": f"/srv/{text}",
        "agent": text,
        "owner": text,
    }
    return row("12345678", "busy", **members)


def audit_entry(text: str) -> dict:
    return {"id": 1, "at": text, "uid": None, "pid": None, "method": text, "target": text, "outcome": text}


def event(text: str) -> dict:
    return {"at": text, "kind": text, "thread_id": text, "agent": text, "reason": text, "detail": text}


def options(text: str) -> list[dict]:
    return [{"option_id": text, "name": text, "kind": "allow_once"}]


def send(client, text: str) -> dict:
    """A turn in which everything holds ``text``."""

    def events() -> None:
        for event in (
            {"type": "notice", "text": text},
            {"type": "text", "text": text},
            {"type": "tool", "tool_call_id": text, "title": text, "status": text},
            {"type": "permission", "request": "p", "action": text, "withheld": text, "options": options(text)},
            {"type": "question", "request": "q", "message": text},
            {"type": "turn_end", "stop_reason": text, "text": text, "error": text},
        ):
            client.notify("chat.event", {"thread": "12345678", **event})

    client.afterwards.append(events)
    return {"thread_id": text, "queued": 1}


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_a_command_prints_hides_anything(path, acpctl, name):
    calls = [{"tool_call_id": text, "title": text, "kind": text, "status": text, "seconds": 1.0} for text in TEXTS]
    current = [""]
    with FakeDaemon(path, *map(hostile, TEXTS[:1])) as daemon:
        daemon.on("health.get", lambda *_: health(version=current[0]))
        daemon.on("sessions.send", lambda _, client: send(client, current[0]))
        daemon.on("audit.list", lambda *_: {"entries": [audit_entry(current[0])], "more": False})
        daemon.on("events.list", lambda *_: {"events": [event(current[0])]})
        daemon.on("config.get", lambda *_: {"path": current[0], "config": {current[0]: [current[0]]}})
        daemon.on("daemon.reload", lambda *_: {"reloaded": [current[0]], "needs_restart": [current[0]]})
        daemon.on("sessions.permit", lambda *_: {})
        daemon.on("sessions.suspend", lambda *_: {"outcome": current[0], "session_id": current[0]})
        for text in TEXTS:
            current[0] = text
            daemon.rows = [hostile(text)]
            asked = {
                "request": "p",
                "title": text,
                "question": text,
                "action": text,
                "withheld": text,
                "options": options(text),
            }
            details = detail(hostile(text), stderr=[text], tool_calls=calls, permission=asked)
            daemon.details = {"12345678": details}
            result = acpctl(*COMMANDS[name])
            assert hides_nothing(result.out), ascii(text)
            assert hides_nothing(result.err), ascii(text)
