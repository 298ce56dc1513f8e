"""`acpctl send`, `permit`, `suspend`, `restart` and `forget` on a real daemon: exit codes, stdout, stderr."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from tests.fakes.daemon import DaemonProcess
from tests.support.acpctl import ACPCTL, HEAVY_MODULES, imported_modules


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with DaemonProcess(tmp_path_factory.mktemp("operate") / "d") as daemon:
        yield daemon


@pytest.fixture
def run(real, program, monkeypatch):
    monkeypatch.setenv("ACPBOT_SOCKET", str(real.socket))
    return program


@pytest.fixture
def thread(real, request):
    """A thread of its own for each test, with an idle session; suspended by `suspend` and gone with the daemon."""
    name = f"t{abs(hash(request.node.name)) % 10**9}-{request.node.name[-20:].lower().replace('_', '-').strip('-')}"
    name = "".join(one for one in name if one.isalnum() or one == "-")
    with real.wire() as wire:
        wire.call("chat.open", thread=name)
        wire.turn(name, "say hello")
    yield name
    with real.wire() as wire:
        session = wire.call("sessions.get", thread=name)["session"]["session_id"] if known(wire, name) else None
        if session is not None:
            wire.call("sessions.kill", targets=[{"thread_id": name, "session_id": session}], grace_seconds=0.1)


def known(wire, name: str) -> bool:
    return any(row["thread_id"] == name for row in wire.call("sessions.list", suspended=True)["sessions"])


def waiting(real, thread: str) -> None:
    """A turn of the thread waits for a permission."""
    with real.wire() as wire:
        wire.call("chat.open", thread=thread)
        wire.call("chat.send", thread=thread, text="tool echo done; say over")
        wire.event("permission")


def session_of(real, thread: str) -> str | None:
    with real.wire() as wire:
        return wire.call("sessions.get", thread=thread)["session"]["session_id"]


def begun(*arguments: str) -> subprocess.Popen[str]:
    """acpctl, while it runs."""
    return subprocess.Popen([ACPCTL, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# send


def test_send_queues_a_prompt_and_returns_at_once(run, thread):
    assert run("send", thread, "say one") == (0, f"{thread}  sent\n", "")
    sent = run("send", thread, "say two", "-o", "json")
    assert (sent.code, sent.err) == (0, "")
    assert json.loads(sent.out)["thread_id"] == thread


def test_send_now_interrupts_the_running_turn(run, thread):
    sending = begun("send", thread, "say begun; stall 60", "--wait")
    assert sending.stderr is not None
    sending.stderr.readline()
    assert run("send", thread, "say now", "--now", "--wait").out == "now\n"
    out, err = sending.communicate(timeout=10)
    assert (sending.returncode, out) == (1, "begun\n")
    assert "Interrupted to send the next message." in err


def test_send_wait_prints_the_answer_and_all_of_stdin_is_one_prompt(run, thread):
    assert run("send", thread, "--wait", text="say one\nsay two\n") == (0, "onetwo\n", f"{thread}  sent\n")
    assert run("send", thread, "-", "--wait", text="say three").out == "three\n"
    answer = run("send", thread, "say four", "--wait", "-o", "json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == {
        "thread_id": thread,
        "queued": 0,
        "stop_reason": "end_turn",
        "text": "four",
        "error": None,
    }


def test_send_allow_waits_and_allows_what_the_turn_asks(run, thread):
    result = run("send", thread, "tool echo done; say over", "--allow")
    assert (result.code, result.out) == (0, "The command completed: doneover\n")
    assert "tool: echo done\n" in result.err
    assert "tool: echo done, completed\n" in result.err
    assert "allowed: echo done\n" in result.err


def test_send_wait_names_the_command_that_answers_a_permission_and_shows_a_rejection(run, thread):
    sending = begun("send", thread, "tool echo done; say over", "--wait")
    assert sending.stderr is not None
    lines = iter(sending.stderr.readline, "")
    assert any(line == f"permission needed: echo done; answer it with `acpctl permit {thread}`\n" for line in lines)
    assert run("permit", thread, "--reject") == (0, f"{thread}  reject once: echo done\n", "")
    out, _ = sending.communicate(timeout=10)
    assert sending.returncode == 0
    assert "over" in out


@pytest.mark.parametrize("output", ["table", "json"])
def test_send_wait_without_a_terminal_does_not_wait_for_a_person_longer_than_timeout(run, thread, output):
    result = run("--timeout", "0.5", "send", thread, "say so; tool echo done; say over", "--wait", "-o", output)
    assert (result.code, result.out) == (7, "so\n" if output == "table" else "")
    assert result.err.splitlines()[-1] == (
        "cannot wait any longer: nobody has answered the permission request: echo done within 0.5 s; the turn goes on; "
        f"answer it with `acpctl permit {thread}` or in the thread, send with --allow, or wait longer with --timeout"
    )
    assert run("permit", thread, "--reject").code == 0


def test_on_a_terminal_send_wait_waits_for_a_person_as_long_as_it_takes(run, thread, terminal):
    screen = terminal("--timeout", "0.2", "send", thread, "tool echo done; say over", "--wait", columns=100)
    screen.wait_for("permission needed")
    assert run("show", thread).code == run("permit", thread, "--allow").code == 0  # each takes about as long
    assert screen.end() == 0
    assert "over" in screen.text()


def test_on_a_terminal_send_wait_asks_for_the_answer_to_a_permission_request(run, thread, terminal):
    screen = terminal("send", thread, "tool echo done; tool echo more; say over", "--wait", columns=100)
    assert "allow once: Allow once" in screen.wait_for("Answer with a number [none]:")
    screen.type("1\r")
    screen.wait_for("tool: echo more")
    screen.wait_for("permission needed: echo more")
    screen.type("maybe\r")
    assert "maybe isn't one of them\nthe request stays open" in screen.wait_for("stays open")
    assert run("permit", thread, "--reject").code == 0
    assert screen.end() == 0
    assert "done" in screen.text()
    assert "over" in screen.text()


def test_on_a_terminal_send_wait_asks_no_more_about_what_others_have_answered(run, thread, terminal):
    screen = terminal("send", thread, "tool echo done; sleep 60", "--wait", columns=100)
    screen.wait_for("Answer with a number [none]:")
    assert run("permit", thread, "--allow").code == 0
    screen.wait_for("it was answered elsewhere")
    screen.wait_for("tool: sleep 60")
    screen.type("\x03")
    assert screen.end() == 130
    assert run("cancel", thread).code == 0


def test_a_question_of_the_agent_bounds_send_wait_too_until_it_is_answered(daemon, program):
    def sent(_params, client):
        client.afterwards += [
            lambda: client.chat("t", "question", request="q1", message="Which branch?"),
            lambda: client.chat("t", "question_end", request="q1", outcome="accept"),
            lambda: client.chat("t", "question", request="q2", message="Which tag?"),
        ]
        return {"thread_id": "t", "queued": 0}

    daemon.on("sessions.send", sent)
    result = program("--timeout", "0.3", "send", "t", "go", "--wait")
    assert (result.code, result.out) == (7, "")
    assert "nobody has answered the agent's question: Which tag? within 0.3 s" in result.err


def test_ctrl_c_leaves_the_turn_running_and_says_how_to_stop_it(run, thread):
    sending = begun("send", thread, "say on; sleep 60", "--wait")
    assert sending.stdout is not None
    assert sending.stdout.read(2) == "on"
    sending.send_signal(signal.SIGINT)
    _, err = sending.communicate(timeout=10)
    assert (sending.returncode, err.splitlines()[-1]) == (130, f"the turn goes on; `acpctl cancel {thread}` stops it")
    assert run("cancel", thread).code == 0


def test_a_failed_or_cancelled_turn_exits_with_1(run, thread):
    crashed = run("send", thread, "crash 3", "--wait")
    assert crashed.code == 1
    assert "exit code 3" in crashed.err


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        ([], None, (2, "cannot send: give a THREAD, or --channel ID")),
        (["no-such-one", "hi"], None, (5, "cannot find a session for thread 'no-such-one'")),
        (
            ["--channel", "12345678", "hi"],
            None,
            (1, "cannot start a thread in a channel: this acpbot has no [discord]"),
        ),
        (["THREAD", "two", "words"], None, (2, "put the prompt in quotes")),
        (["THREAD", " "], None, (2, "cannot send an empty prompt")),
        (["THREAD"], "\n\n", (2, "cannot send an empty prompt")),
        (["THREAD"], "x" * 70_000, (1, "put the text into a file that the agent can read")),
    ],
)
def test_a_wrong_send_says_why(run, thread, arguments, text, expected):
    code, words = expected
    result = run("send", *[thread if one == "THREAD" else one for one in arguments], text=text)
    assert (result.code, result.out) == (code, ""), result
    assert words in result.err
    assert result.err.startswith("cannot ")
    assert result.err.count("\n") == 1


# permit


def test_permit_answers_without_a_question_by_an_option_or_its_kind(real, run, thread):
    waiting(real, thread)
    assert run("permit", thread, "nope").code == 2
    unasked = run("permit", thread)
    assert (unasked.code, unasked.out) == (2, "")
    assert "stdin is not a terminal" in unasked.err
    assert run("permit", thread, "--allow", "--reject").code == 2
    assert run("permit", thread, "--allow", "-o", "json") == (0, "{}\n", "")
    none = run("permit", thread, "--allow")
    assert (none.code, none.err) == (5, f"cannot answer: no permission request is open in {thread}\n")


@pytest.mark.usefixtures("run")
def test_permit_shows_the_whole_request_and_asks(real, terminal, thread):
    waiting(real, thread)
    screen = terminal("permit", thread)
    shown = screen.wait_for("Answer with a number")
    assert "echo done" in shown
    assert "allow once" in shown
    screen.type("\n")
    assert screen.end() == 1
    assert "nothing was answered" in screen.text()
    screen = terminal("permit", thread)
    screen.wait_for("Answer with a number")
    screen.type("1\n")
    assert screen.end() == 0
    assert screen.text().splitlines()[-1] == f"{thread}  allow once: echo done"


# suspend, restart


def test_suspend_ends_the_process_and_the_next_prompt_resumes_the_conversation(run, thread):
    result = run("suspend", thread)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[1].split() == [thread, "ended", "-"]
    again = run("suspend", thread)
    assert (again.code, again.out) == (5, "")
    assert again.err.startswith(f"cannot suspend {thread}: it is suspended; no process runs for it")
    assert run("send", thread, "say back", "--wait").out == "back\n"


def test_restart_starts_another_session_at_once(real, run, thread):
    before = session_of(real, thread)
    result = run("restart", thread, "-o", "json")
    (one,) = json.loads(result.out)["results"]
    assert (result.code, one["thread_id"], one["outcome"]) == (0, thread, "ended")
    assert one["session_id"] == session_of(real, thread) != before


def test_a_busy_session_is_asked_about_like_a_kill(real, run, terminal, thread):
    waiting(real, thread)
    before = session_of(real, thread)
    for verb in ("suspend", "restart"):
        refused = run(verb, thread)
        assert (refused.code, refused.out) == (2, "")
        assert "give --yes and exact ids" in refused.err
    assert "exact ids only" in run("suspend", "--yes", thread[4:]).err
    screen = terminal("suspend", thread)
    screen.wait_for("Suspend this session? [y/N]")
    screen.type("n\n")
    assert screen.end() == 1
    assert session_of(real, thread) == before
    assert run("restart", "--yes", thread).code == 0
    assert session_of(real, thread) != before


def test_of_several_threads_all_are_resolved_before_anything_is_done(real, run, thread):
    before = session_of(real, thread)
    result = run("restart", thread, "nowhere-at-all")
    assert (result.code, result.out) == (5, "")
    assert result.err.splitlines()[-1] == "nothing was done"
    assert session_of(real, thread) == before
    assert run("suspend").code == 2


# forget


def test_forget_drops_a_suspended_conversation_and_asks_before(real, run, terminal, thread):
    running = run("forget", "--yes", thread)
    assert (running.code, running.out) == (5, "")
    assert f"`acpctl kill --forget {thread}`" in running.err
    assert run("suspend", thread).code == 0
    assert run("forget", thread).code == 2
    screen = terminal("forget", thread)
    screen.wait_for("Forget this conversation?")
    screen.type("\n")
    assert screen.end() == 1
    with real.wire() as wire:
        assert known(wire, thread)


def test_forget_without_asking_forgets_once(real, run, thread):
    assert run("suspend", thread).code == 0
    assert json.loads(run("forget", "--yes", thread, "-o", "json").out) == {"results": [{"thread_id": thread}]}
    assert run("forget", "--yes", thread).code == 5
    with real.wire() as wire:
        assert not known(wire, thread)
    assert run("send", thread, "say anew", "--wait").out == "anew\n"
    assert run("suspend", thread).code == 0
    assert run("forget", "--yes", thread) == (0, f"{thread}  forgotten\n", "")


@pytest.mark.usefixtures("run")
def test_piped_commands_import_no_heavy_module(thread):
    assert imported_modules("send", thread, "say hi", "--wait") & HEAVY_MODULES == set()
    assert imported_modules("restart", thread) & HEAVY_MODULES == set()
