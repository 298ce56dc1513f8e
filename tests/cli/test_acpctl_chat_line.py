"""`acpctl chat` on a terminal: the line that a person edits."""

from __future__ import annotations

import pytest

from tests.support.chat_terminal import ScriptedAgent


def test_the_line_can_be_edited(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("wrold\x1b[D\x1b[D\x1b[D\x1b[D\x1b[3~\x1b[C\x1b[D\x1b[C\x7f\x1b[Hhello \x05d!!\x7f\x7f\x15")
    screen.wait_until_gone("hello")
    screen.type("one two\x17\x01zero \x05three\n")
    screen.wait_for("You said: zero one three")
    screen.type("\x1b[A\x1b[A\x1b[B")
    assert "\n> " in screen.wait_for("You said: zero one three\n>")
    screen.type("\x1b[A and more\n")
    screen.wait_for("You said: zero one three and more")
    assert [params["text"] for params in daemon.asked("chat.send")] == ["zero one three", "zero one three and more"]


def test_pasted_lines_are_one_message(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("\x1b[200~def f():\r\treturn 1\x1b[201~")
    screen.wait_for("> def f():⏎    return 1")
    screen.type("\x1b\nend\n")
    screen.wait_for("> def f():\n      return 1\n  end")
    assert daemon.wait_for("chat.send")["text"] == "def f():\n    return 1\nend"


@pytest.mark.usefixtures("daemon")
def test_the_cursor_is_where_the_next_character_goes(terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("ab日本")
    screen.wait_for("> ab日本")
    assert screen.cursor() == (len("> ab") + 4, 1)
    screen.type("\x1b[D\x1b[DX")
    screen.wait_for("> abX日本")
    assert screen.cursor() == (len("> abX"), 1)


def test_editing_keys_work_on_all_lines_of_a_pasted_text(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("\x1b[200~one\ntwo three\x1b[201~")
    screen.wait_for("> one⏎two three")
    screen.type("\x17\x17")
    screen.wait_until_gone("two")
    screen.type("\x01zero \x05end")
    screen.wait_for("> zero one⏎end")
    screen.type("\x15\x15short\n")
    screen.wait_for("You said: short\n>")
    assert [params["text"] for params in daemon.asked("chat.send")] == ["short"]


def test_a_long_line_scrolls_under_the_cursor(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1", columns=30)
    screen.wait_for("\n>")
    screen.type("x" * 40 + "END")
    shown = screen.wait_for("END")
    assert all(len(line) < 30 for line in shown.splitlines()[1:])
    screen.type("\x01START")
    assert "END" not in screen.wait_for("> START")
    screen.type("\n")
    assert daemon.wait_for("chat.send")["text"] == "START" + "x" * 40 + "END"
