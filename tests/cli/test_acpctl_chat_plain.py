"""`acpctl chat` without a terminal: stdin has the prompts, stdout gets the answers."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tests.fakes.management import FakeDaemon, WireError, row
from tests.support.acpctl import ACPCTL
from tests.support.chat_terminal import OPTIONS, ScriptedAgent


def test_stdout_has_the_answer_and_nothing_else(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="hello\n")
    assert result == (0, "You said: hello\n", "thread local-1\n")
    assert daemon.asked("chat.open") == [{"thread": "local-1"}]
    daemon.wait_for("chat.leave")


def test_prompts_run_one_after_the_other_to_the_end_of_the_last_turn(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="one\n\n  \ntwo\r\nthree")
    assert (result.code, result.out) == (0, "You said: one\nYou said: two\nYou said: three\n")
    assert [params["text"] for params in daemon.asked("chat.send")] == ["one", "two", "three"]


def test_events_may_come_before_the_answer_to_the_prompt(daemon, program):
    def at_once(params, client):
        client.chat("local-1", "turn_start", prompt=params["text"])
        client.chat("local-1", "text", text="quick")
        client.chat("other", "text", text="not for here")
        client.chat("local-1", "a type of tomorrow", text="?")
        client.chat("local-1", "turn_end", stop_reason="end_turn", text="quick", error=None)
        return {"queued": 0}

    daemon.on("chat.send", at_once)
    assert program("chat", "local-1", text="a\nb\n").out == "quick\nquick\n"


def test_a_new_thread_gets_an_unused_id(daemon, program):
    names = {program("chat", text="").err.splitlines()[0] for _ in range(2)}
    assert len(names) == 2
    assert all(re.fullmatch(r"thread local-[a-z2-7]{6}", name) for name in names)
    assert program("chat", "--agent", "codex", "local-2", text="/help\n").code == 0
    assert daemon.asked("chat.open")[-1] == {"thread": "local-2", "agent": "codex"}


def test_tool_calls_and_plans_are_on_stderr(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="plan think tool\n")
    assert (result.code, result.out) == (0, "You said: plan think tool\n")
    assert result.err.splitlines() == [
        "thread local-1",
        "☑ Read it",
        "▸ Fix it",
        "☐ Test it",
        "🔧 make test",
        "✅ make test",
        "🔧 cat nope",
        "❌ cat nope",
    ]
    result = program("chat", "local-1", text="tool\n", PYTHONIOENCODING="latin-1")
    assert "[tool] make test\n[done] make test" in result.err


def test_permission_requests_are_rejected_with_a_note(daemon, program):
    agent = ScriptedAgent(daemon)
    result = program("chat", "local-1", text="ask\n")
    assert (result.code, result.out) == (0, "You said: ask\n")
    assert agent.answers == ["no"]
    assert "permission refused, there is no terminal to ask on: rm -rf build/ (Reject: Do not)\n" in result.err


def test_without_a_rejecting_option_the_turn_is_cancelled(daemon, program):
    agent = ScriptedAgent(daemon, options=OPTIONS[:2])
    result = program("chat", "local-1", text="ask\n")
    assert result.code == 1
    assert agent.answers == []
    assert "turn cancelled, there is no terminal to ask on and no option that refuses: rm -rf build/\n" in result.err
    assert "the turn was cancelled\n" in result.err


def test_a_failed_turn_makes_the_chat_exit_with_1(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="fail\nwell\n")
    assert (result.code, result.out) == (1, "You said: fail\nYou said: well\n")
    assert "The agent ended unexpectedly.\n" in result.err


def test_a_refused_prompt_ends_the_chat(daemon, program):
    def draining(_params, _client):
        raise WireError(-32005, "draining", "cannot take a turn: acpbot is draining")

    daemon.on("chat.send", draining)
    result = program("chat", "local-1", text="a\nb\n")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("cannot take a turn: acpbot is draining\n")
    assert len(daemon.asked("chat.send")) == 1


def test_a_refused_open_ends_the_chat(daemon, program):
    def denied(_params, _client):
        raise WireError(-32004, "access_denied", "cannot open: your access is read-only")

    daemon.on("chat.open", denied)
    result = program("chat", "local-1", text="a\n")
    assert (result.code, result.out, result.err) == (4, "", "thread local-1\ncannot open: your access is read-only\n")


def test_chat_refuses_a_discord_thread(daemon, program):
    result = program("chat", "<#1310203040506071234>", text="a\n")
    assert (result.code, result.out) == (2, "")
    assert "`acpctl tail 1310203040506071234` follows it" in result.err
    assert daemon.requests == []


def test_a_prompt_that_is_too_long_is_not_sent(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="x" * 70_000 + "\n")
    assert (result.code, result.out) == (1, "")
    assert "cannot send chat.send: it has 70," in result.err
    assert daemon.asked("chat.send") == []


def test_a_queued_prompt_that_never_ran_is_not_waited_for(daemon, program):
    def dropped(_params, client):
        client.afterwards.append(
            lambda: client.chat("local-1", "turn_end", stop_reason="cancelled", text="", error=None)
        )
        return {"queued": 2}

    daemon.on("chat.send", dropped)
    result = program("chat", "local-1", text="a\n")
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[1:] == ["queued, 2 ahead", "the turn was cancelled"]


def test_a_turn_that_was_running_already_is_waited_for_and_is_not_ours(path, program):
    with FakeDaemon(path) as daemon:

        def opened(params, client):
            def go_on():
                client.chat("local-1", "text", text="not asked for here")
                client.chat("local-1", "turn_end", stop_reason="end_turn", text="x not asked for here", error=None)

            client.afterwards.append(go_on)
            return {"session": row(params["thread"], "busy")}

        ScriptedAgent(daemon)
        daemon.on("chat.open", opened)
        assert program("chat", "local-1", text="hello\n").out == "You said: hello\n"


def test_missed_text_is_shown_once(daemon, program):
    def lossy(params, client):
        def turn():
            start = {"prompt": params["text"]}
            client.chat("local-1", "turn_start", **start)
            client.chat("local-1", "text", text="one ")
            client.chat("local-1", "turn_start", **start)
            client.chat("local-1", "text", text="one two ")
            client.chat("local-1", "text", text="three ")
            client.chat("local-1", "turn_end", stop_reason="end_turn", text="one two three four", error=None)

        client.afterwards.append(turn)
        return {"queued": 0}

    daemon.on("chat.send", lossy)
    assert program("chat", "local-1", text="a\n").out == "one two three four\n"


def test_the_daemon_goes_away(daemon, program):
    def gone(_params, client):
        client.close()
        return {}

    daemon.on("chat.send", gone)
    result = program("chat", "local-1", text="a\n")
    assert (result.code, result.out) == (6, "")
    assert result.err.splitlines()[1].startswith("cannot go on: acpbot at ")
    assert "Traceback" not in result.err


def test_a_prompt_without_an_answer_exits_with_7(daemon, program):
    def silent(_params, _client):
        from tests.fakes.management import Silence  # noqa: PLC0415 - used here only

        raise Silence

    daemon.on("chat.send", silent)
    result = program("--timeout", "0.1", "chat", "local-1", text="a\n")
    assert (result.code, result.out) == (7, "")
    assert "cannot get an answer to chat.send within 0.1 s" in result.err


def test_own_commands_run_and_other_commands_go_to_the_agent(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="/help\n/status\n/compact now\n/quit\nnever\n")
    assert (result.code, result.out) == (0, "You said: /compact now\n")
    assert "/status   the session" in result.err


def test_commands_of_the_daemon_run_between_prompts_and_a_space_sends_them_to_the_agent(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="/model opus\n/reset\n /model x\n/reset all\n/OPTIONS effort high\n")
    assert (result.code, result.out) == (0, "You said:  /model x\nYou said: /reset all\n")
    assert "The model is now opus.\n" in result.err
    assert daemon.asked("chat.command") == [
        {"thread": "local-1", "name": "model", "value": "opus"},
        {"thread": "local-1", "name": "reset"},
        {"thread": "local-1", "name": "options", "value": "effort high"},
    ]


def test_now_sends_a_text_that_interrupts_and_without_a_text_what_waits(daemon, program):
    ScriptedAgent(daemon)
    result = program("chat", "local-1", text="/now do this\n/now\n")
    assert (result.code, result.out) == (0, "You said: do this\n")
    assert [params.get("now") for params in daemon.asked("chat.send")] == [True]
    assert daemon.asked("chat.command") == [{"thread": "local-1", "name": "now"}]


def test_a_refused_command_is_said_and_makes_the_chat_exit_with_1(daemon, program):
    ScriptedAgent(daemon)

    def refuse(_params, _client):
        raise WireError(-32602, "invalid", "cannot set model to 'x': this agent offers opus")

    daemon.on("chat.command", refuse)
    result = program("chat", "local-1", text="/model x\nhello\n")
    assert (result.code, result.out) == (1, "You said: hello\n")
    assert "cannot set model to 'x': this agent offers opus\n" in result.err


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_cancels_the_turn_and_then_leaves(daemon, again):
    agent = ScriptedAgent(daemon)
    if again:
        daemon.on("sessions.cancel", lambda _, __: {"outcome": "cancelled"})
    running = subprocess.Popen(
        [ACPCTL, "chat", "local-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write("hang\n")
    running.stdin.flush()
    assert running.stdout.read(10) == "You said: "
    running.send_signal(signal.SIGINT)
    daemon.wait_for("sessions.cancel")
    if again:
        running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    agent.go.set()
    assert "cancelling the turn; Ctrl-C again leaves\n" in err
    assert "Traceback" not in err
    assert (running.returncode, out) == ((130, "") if again else (1, "hang\n"))


@pytest.mark.usefixtures("daemon")
def test_ctrl_c_while_nothing_runs_leaves():
    running = subprocess.Popen(
        [ACPCTL, "chat", "local-1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "thread local-1\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (130, "", "")


def test_a_crash_is_said_once(daemon, program):
    end, notice = "cannot go on: the agent ended (exit code 3)", "The agent crashed (exit code 3). Send a message."

    def crash(params, client):
        client.chat("local-1", "turn_start", prompt=params["text"])
        client.chat("local-1", "turn_end", stop_reason="error", text="", error=end)
        if params["text"] == "crash":
            client.chat("local-1", "notice", text=notice)
        return {"queued": 0}

    daemon.on("chat.send", crash)
    assert program("chat", "local-1", text="crash\n") == (1, "", f"thread local-1\n{notice}\n")
    assert program("chat", "local-1", text="fail\n") == (1, "", f"thread local-1\n{end}\n")


@pytest.mark.parametrize("text", ["", "\n  \n"])
def test_a_chat_without_a_prompt_opens_no_thread(daemon, program, text):
    err = "thread local-1\nit was not opened, and nothing was sent: stdin is empty\n"
    assert program("chat", "local-1", text=text) == (0, "", err)
    assert daemon.requests == []
