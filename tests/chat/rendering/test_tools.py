from __future__ import annotations

from typing import Any

import pytest

from acpbot.acp.schema import Update
from acpbot.chat.conversation import Conversation
from acpbot.chat.rendering.answer import Answer
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.tools import detail, todos, tool_text, within
from tests.chat.test_conversation import Silent
from tests.support.pool import Clock


def update(kind: str, **members: Any) -> Update:
    return Update("s", kind, {"sessionUpdate": kind, **members})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"rawInput": {"command": "npm test", "timeout": 1}}, "npm test"),
        ({"rawInput": {"command": ["bash", "-lc", "npm test | tee x"]}}, "npm test | tee x"),
        ({"rawInput": {"command": ["ls", "a b"]}}, "ls 'a b'"),
        ({"rawInput": {"filePath": "/w/a.py", "content": "x"}}, "/w/a.py"),
        ({"rawInput": {"pattern": "TODO", "path": ""}}, "TODO"),
        ({"rawInput": {"url": "https://a.b"}}, "https://a.b"),
        ({"rawInput": {"command": 3}, "locations": [{"path": "/w/b.py"}]}, "/w/b.py"),
        ({"rawInput": {"command": "x" * 1000}}, "x" * 600),
        ({}, None),
        ({"rawInput": "x"}, None),
        ({"rawInput": {}, "locations": [1]}, None),
        ({"locations": {}}, None),
    ],
)
def test_what_a_tool_call_is_about(body, found):
    assert detail(body) == found


def test_paths_are_shown_as_they_are_called_in_the_agents_folder():
    folder = "/state/workspaces/12"
    assert within("Read /state/workspaces/12/src/a.py", folder) == "Read src/a.py"
    assert within("diff /state/workspaces/12/a /etc/hosts", folder) == "diff a /etc/hosts"
    assert within("/backup/state/workspaces/12/a", folder) == "/backup/state/workspaces/12/a"
    assert within("/state/workspaces/12/", folder) is None
    assert within("/a/b", "/") == "/a/b"
    assert within(None, folder) is None


@pytest.mark.parametrize(
    ("title", "about", "shown"),
    [
        ("npm test", "npm test", "`npm test`"),
        ("`npm test`", "npm test", "`npm test`"),
        ("bash", "npm test", "bash: `npm test`"),
        ("npm", "npm test", "`npm test`"),
        ("Run the *tests*", "npm test", r"Run the \*tests\*: `npm test`"),
        ("Read a.py", "/work/src/a.py", "`Read a.py`"),
        ("grep", "a`b", "grep: `a'b`"),
        ("", "/w/a.py", "`/w/a.py`"),
        ("false", "ls", "false: `ls`"),
        ("", "", "`execute`"),
        ("bash", "cd a\nls", "bash:\n```sh\ncd a\nls\n```"),
        ("cd a ls", "cd a\nls", "Run:\n```sh\ncd a\nls\n```"),
        ("bash", "1\n2\n3\n4\n5\n6\n7\n```", "bash:\n```sh\n1\n2\n3\n4\n5\n6\n…\n```"),
    ],
)
def test_a_tool_line_says_what_the_tool_does_once(title, about, shown):
    assert tool_text(title, "execute", about) == shown


def test_a_tool_that_runs_for_long_shows_its_time():
    clock = Clock()
    live = LiveMessage(clock=clock)
    live.tool("1", title="bash", kind="execute", status="in_progress", detail="make")
    assert live.bodies() == ["🔧 bash: `make`"]
    clock.move(12)
    assert live.bodies() == ["🔧 bash: `make` · running 12 s"]
    live.append("Text.")
    clock.move(120)
    assert live.bodies() == ["🔧 bash: `make` · running 2 min\nText."]
    live.tool("1", title=None, kind=None, status="completed")
    clock.move(1000)
    live.tool("1", title="build it", kind=None, status="completed")
    assert live.bodies() == ["✅ build it: `make` · 2 min\nText."]


def test_the_time_that_a_tool_waits_for_a_permission_is_not_shown_as_time_that_it_runs():
    clock = Clock()
    answer = Answer(LiveMessage(clock=clock), lambda _full: LiveMessage(clock=clock))
    answer.tool("1", title="make", kind="execute", status="pending")
    answer.tool_waits("1", on=True)
    answer.close_here()
    answer.append("Text.")
    clock.move(300)
    assert answer.bodies() == ["🔧 `make`", "Text."]
    answer.tool_waits("1", on=False)
    clock.move(7)
    assert answer.bodies() == ["🔧 `make` · running 7 s", "Text."]
    answer.tool_waits("unknown", on=True)
    answer.tool_waits("1", on=True)
    clock.move(300)
    answer.tool("1", title=None, kind=None, status="failed")
    answer.tool_waits("1", on=False)
    assert answer.bodies() == ["❌ `make` · 7 s", "Text."]


def test_a_command_of_several_lines_is_a_block_or_one_line_where_there_is_one_line_for_all():
    clock = Clock()
    full, compact = LiveMessage(clock=clock), LiveMessage(clock=clock, tool_display="compact")
    for live in (full, compact):
        live.tool("1", title="bash", kind="execute", status="in_progress", detail="a\nb")
    clock.move(12)
    assert full.bodies() == ["🔧 bash · running 12 s:\n```sh\na\nb\n```"]
    assert compact.bodies() == ["🔧 bash: `a b` · running 12 s"]


def test_no_tool_runs_after_the_end():
    clock = Clock()
    live = LiveMessage(clock=clock)
    live.tool("1", title="make", kind="execute", status="in_progress")
    clock.move(60)
    assert live.bodies() == ["🔧 `make` · running 60 s"]
    assert live.first_if_interrupted() == "⏹️ `make` · 60 s"
    assert live.shows_time
    live.finish()
    assert live.interrupt()
    clock.move(60)
    assert live.bodies() == ["⏹️ `make` · 60 s"]
    assert (live.shows_time, live.interrupt()) == (False, False)


def test_the_time_of_a_tool_changes_no_text_below_it():
    clock = Clock()
    live = LiveMessage(limit=400, clock=clock)
    live.tool("1", title="x\ny", kind="execute", status="in_progress", detail="a\n" * 10)
    live.append("words " * 100)
    before = [part.shown for part in live.parts()]
    for _ in range(30):
        clock.move(17)
        assert [part.shown for part in live.parts()] == before
        assert all(len(body) <= 400 for body in live.bodies())


def test_a_list_of_tasks_is_a_plan_and_no_tool():
    shown = Conversation(Silent(), LiveMessage())
    shown.on_update(update("tool_call", toolCallId="1", title="todowrite", status="pending", rawInput={}))
    tasks = [{"content": "Look", "status": "completed"}, {"content": "Do", "status": "in_progress"}, {"id": "3"}]
    shown.on_update(update("tool_call_update", toolCallId="1", status="in_progress", rawInput={"todos": tasks}))
    shown.on_update(update("tool_call_update", toolCallId="1", status="completed", title="2 todos"))
    shown.on_update(update("tool_call", toolCallId="2", title="bash", rawInput={"command": "ls"}))
    assert shown.live.bodies() == ["🔧 bash: `ls`\n☑ Look\n▶ Do"]
    assert todos({"rawInput": {"todos": "x"}}) is None


def thinking(*chunks: tuple[str, str]) -> list[str]:
    shown = Conversation(Silent(), LiveMessage(tables="code", thoughts=True))
    for kind, text in chunks:
        shown.on_update(update(f"agent_{kind}_chunk", content={"type": "text", "text": text}))
    return shown.live.bodies()


def test_thoughts_are_small_text_in_their_place():
    assert thinking(
        ("thought", "**Plan**\n\nLook at *it* | "), ("thought", "now"), ("message", "Text."), ("thought", "# Hm\n\n")
    ) == ["-# Plan\n-# Look at \\*it\\* \\| now\nText.\n-# \\# Hm"]
    assert thinking(("message", "One.\n\n"), ("thought", "a | b\n--|--"), ("message", "\n\nTwo.")) == [
        "One.\n\n-# a \\| b\n-# \\--\\|--\n\n\nTwo."
    ]


def test_thoughts_are_bounded_and_leave_code_alone():
    code = "```py\nx = 1"
    assert thinking(("message", code), ("thought", "Hm"), ("message", "2\n```")) == [f"{code}2\n```"]
    bodies = thinking(("thought", "t" * 1990), ("thought", "u" * 100), ("thought", "v"))
    assert "".join(bodies).replace(" ", "") == f"-#{'t' * 1990}{'u' * 10}…"
    shown = Conversation(Silent(), LiveMessage(tables="code"))
    shown.on_update(update("agent_thought_chunk", content={"type": "text", "text": "Hm"}))
    assert shown.live.bodies() == []
