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


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_a_command_prints_hides_anything(path, acpctl, name):
    calls = [{"tool_call_id": text, "title": text, "kind": text, "status": text, "seconds": 1.0} for text in TEXTS]
    current = [""]
    with FakeDaemon(path, *map(hostile, TEXTS[:1])) as daemon:
        daemon.on("health.get", lambda *_: health(version=current[0]))
        for text in TEXTS:
            current[0] = text
            daemon.rows = [hostile(text)]
            daemon.details = {"12345678": detail(hostile(text), stderr=[text], tool_calls=calls)}
            result = acpctl(*COMMANDS[name])
            assert hides_nothing(result.out), ascii(text)
            assert hides_nothing(result.err), ascii(text)
