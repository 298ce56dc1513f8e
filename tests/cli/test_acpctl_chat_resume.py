"""`acpctl chat --resume`: a conversation of the agent is picked, or named, and the thread takes it up."""

from __future__ import annotations

import subprocess

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.management import WireError
from tests.support.acpctl import ACPCTL
from tests.support.chat_terminal import ScriptedAgent

KNOWN = {
    "agent": "codex",
    "cwd": "/srv/work",
    "conversations": [
        {"acp_session_id": "s-new", "title": "Fix\x1b[31m it", "updated_at": "2026-11-24T08:00:00Z", "thread_id": None},
        {"acp_session_id": "s-old", "title": None, "updated_at": None, "thread_id": "1310203040506071234"},
    ],
    "more": True,
}


@pytest.fixture
def knowing(daemon):
    daemon.on("chat.conversations", lambda _params, _client: KNOWN)
    return daemon


def test_one_of_the_list_is_picked_by_its_number(knowing, terminal):
    screen = terminal("chat", "local-1", "--resume")
    shown = screen.wait_for("Which one? [1-2, Enter for none]")
    lines = shown.splitlines()
    assert lines[0] == "conversations of codex in /srv/work:"
    assert lines[1].startswith("1  2026-11-24 ")
    assert "\x1b" not in shown
    assert lines[2].split() == ["2", "-", "-", "s-old", "(thread", "1310203040506071234)"]
    screen.type("7\n1\n")
    screen.wait_for("local-1: /help for help, Ctrl-D leaves")
    assert knowing.asked("chat.open") == [{"thread": "local-1"}, {"thread": "local-1", "resume": "s-new"}]
    assert knowing.asked("chat.conversations") == [{"thread": "local-1"}]


@pytest.mark.usefixtures("knowing")
def test_an_empty_answer_takes_nothing_up(terminal):
    screen = terminal("chat", "local-1", "--resume", "--agent", "codex")
    screen.wait_for("Which one?")
    screen.type("\n")
    assert screen.end() == 1
    assert "nothing was resumed" in screen.text()


def test_an_agent_that_knows_no_other_conversation_is_said(daemon, terminal):
    nothing = {"agent": "codex", "cwd": "/srv/work/local-1", "conversations": [], "more": False}
    daemon.on("chat.conversations", lambda _params, _client: nothing)
    screen = terminal("chat", "local-1", "--resume", columns=200)
    assert screen.end() == 5
    text = " ".join(screen.text().split())
    assert "the agent codex has no other one in /srv/work/local-1; each thread has a folder of its own" in text


def test_without_a_terminal_the_conversation_is_named(knowing, program):
    ScriptedAgent(knowing)
    result = program("chat", "local-1", "--resume", "s-old", text="hello\n")
    assert (result.code, result.out) == (0, "You said: hello\n")
    assert knowing.asked("chat.open") == [{"thread": "local-1", "resume": "s-old"}]
    result = program("chat", "local-1", "--resume", text="hello\n")
    assert (result.code, result.out) == (2, "")
    assert result.err == "cannot ask which conversation: there is no terminal; name it: `acpctl chat --resume ID`\n"


def test_a_conversation_that_can_not_be_taken_up_ends_the_chat(knowing, program):
    def refuse(_params, _client):
        raise WireError(-32003, "conflict", "cannot resume 's-old': thread 1310203040506071234 has it")

    knowing.on("chat.open", refuse)
    result = program("chat", "--resume", "s-old", text="hello\n")
    assert (result.code, result.out) == (5, "")
    assert "cannot resume 's-old': thread 1310203040506071234 has it" in result.err


def test_an_older_daemon_is_named(daemon, program):
    daemon.without("chat.conversations")
    result = program("chat", "--resume", "s-old", text="")
    assert result.code == 1
    assert "does not offer chat.conversations" in result.err


def test_a_real_daemon_takes_a_conversation_up_for_a_new_thread(tmp_path):
    config = f'[pool]\nworkspace_mode = "shared"\n\n{DEMO_AGENT}'
    with DaemonProcess(tmp_path / "d", config) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="one")
        wire.turn("one", "remember the blue door")
        row = wire.call("sessions.get", thread="one")["session"]
        target = {"thread_id": "one", "session_id": row["session_id"]}
        wire.call("sessions.kill", targets=[target], forget=True)
        done = subprocess.run(
            [ACPCTL, "--socket", daemon.socket, "chat", "two", "--resume", row["acp_session_id"]],
            input="/model shout\nrecall\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        assert "THE BLUE DOOR" in done.stdout.upper()
        assert "The model is now shout." in done.stderr
