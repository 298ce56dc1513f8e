from __future__ import annotations

from typing import Any

from acpbot.chat.rendering.tool_log import CALLS_MOST, RESULTS_MOST, ToolLog
from tests.support.pool import Clock


def call(number: int | str, **members: Any) -> dict[str, Any]:
    return {"sessionUpdate": "tool_call", "toolCallId": str(number), **members}


def content(text: str) -> list[dict[str, Any]]:
    return [{"type": "content", "content": {"type": "text", "text": text}}]


def test_the_log_has_names_times_and_results():
    clock = Clock()
    log = ToolLog(clock)
    log.note(call(1, title="bash", rawInput={"command": "cd a\nmake"}))
    log.note(call(2, title="Read a.py"))
    clock.move(12)
    log.note(call(1, status="completed", content=content("one\n\x1b[31mtwo\n")))
    log.note(call(3, title="x", status="failed", rawOutput={"stdout": "out", "stderr": "err", "exit": 1}))
    log.note({"title": "no id"})
    assert log.count == 3
    assert log.text() == (
        "1. bash (completed, 12 s)\n   cd a\n   make\n   | one\n   | two\n\n"
        "2. Read a.py (not finished)\n\n3. x (failed, 0 s)\n   | out\n   | err\n"
    )


def test_the_time_that_a_tool_waits_for_a_permission_does_not_count():
    clock = Clock()
    log = ToolLog(clock)
    log.note(call(1, title="make"))
    log.waits("1", on=True)
    log.waits("unknown", on=True)
    clock.move(300)
    log.waits("1", on=False)
    clock.move(7)
    log.note(call(1, status="completed"))
    assert log.text() == "1. make (completed, 7 s)\n"


def test_the_log_is_bounded():
    log = ToolLog(Clock())
    for number in range(CALLS_MOST + 50):
        log.note(call(number, title="t" * 1000, status="completed", content=content("r" * 100_000)))
    text = log.text()
    assert len(text) < RESULTS_MOST + CALLS_MOST * 300
    assert text.endswith("50 more tool calls are not in this list.\n")
    assert "[96,000 characters are left out here]" in text
