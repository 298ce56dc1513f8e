"""`acpctl chat` on a terminal: what a person sees and types."""

from __future__ import annotations

import re
import signal
import termios

import pytest

from acpctl.chat.chat_view import Option
from tests.fakes.management import WireError, row
from tests.support.chat_terminal import OPTIONS, ScriptedAgent


def test_a_turn_is_shown_as_it_grows_and_ctrl_d_leaves(daemon, terminal):
    agent = ScriptedAgent(daemon)
    screen = terminal("chat", "local-1", columns=60, lines=20)
    screen.wait_for("local-1: /help for help, Ctrl-D leaves\n>")
    screen.type("hang plan tool think\n")
    shown = screen.wait_for("You said:")
    assert "\n\n> hang plan tool think\nHm, let me see.\nYou said:\n" in shown
    assert re.search(r"\n\ds >$", shown)
    agent.go.set()
    shown = screen.wait_for("☐ Test it\n>")
    assert shown.splitlines()[2:] == [
        "> hang plan tool think",
        "Hm, let me see.",
        "You said:",
        "✅ make test  0s",
        "❌ cat nope  0s",
        "hang plan tool think",
        "☑ Read it",
        "▸ Fix it",
        "☐ Test it",
        ">",
    ]
    screen.type("\x04")
    assert screen.end() == 0
    assert screen.text().splitlines()[-1] == "left; `acpctl chat local-1` continues it"
    daemon.wait_for("chat.leave")
    assert screen.modes() & termios.ECHO
    assert screen.modes() & termios.ICANON


def test_running_tools_and_the_plan_stay_below_the_text_until_they_end(daemon, terminal):
    def turn(params, client):
        def run():
            client.chat("local-1", "turn_start", prompt=params["text"])
            client.chat("local-1", "text", text="Now I look.")
            client.chat("local-1", "tool", tool_call_id="1", title="make test", kind="execute", status="in_progress")
            client.chat("local-1", "plan", entries=[{"content": "Look", "status": "in_progress", "priority": "low"}])

        client.afterwards.append(run)
        return {"queued": 0}

    daemon.on("chat.send", turn)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("go\n")
    shown = screen.wait_for("▸ Look")
    assert re.search(r"> go\nNow I look\.\n▸ Look\n🔧 make test  \ds\n\ds >$", shown)
    for client in daemon.clients:
        client.chat("local-1", "text", text="And on.")
        client.chat("local-1", "turn_end", stop_reason="end_turn", text="Now I look.And on.", error=None)
    shown = screen.wait_for("🔧 make test  not ended")
    assert "> go\nNow I look.\nAnd on.\n🔧 make test  not ended\n▸ Look\n>" in shown


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [("2", "ever"), ("y", "once"), ("do not", "no")],
)
def test_a_permission_request_is_shown_and_answered(daemon, terminal, typed, chosen):
    agent = ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("ask\n")
    shown = screen.wait_for("1-3, y or n >")
    assert "Run this command?\n  rm -rf build/\nThe agent calls it: Clean up\nAlways covers exactly this" in shown
    assert shown.endswith(
        "Run this command? rm -rf build/\n  1  Allow once\n  2  Always allow this\n  3  Reject: Do not\n1-3, y or n >"
    )
    screen.type(typed + "\n")
    shown = screen.wait_for("ask\n>")
    assert agent.answers == [chosen]
    assert ": rm -rf build/" in shown
    assert "1-3, y or n" not in shown


def test_an_answer_that_matches_no_option_is_not_sent(daemon, terminal):
    agent = ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("ask\n")
    screen.wait_for("1-3, y or n >")
    screen.type("4\nmaybe\n")
    screen.wait_for("answer 1 to 3, y or n; /cancel stops the turn")
    assert agent.answers == []
    screen.type("/cancel\n")
    shown = screen.wait_for("the turn was cancelled")
    assert "permission cancelled: rm -rf build/" in shown
    assert agent.answers == []


def test_a_permission_request_that_was_answered_elsewhere_closes(daemon, terminal):
    def late(_params, _client):
        raise WireError(-32003, "conflict", "cannot answer: this permission request was already selected")

    agent = ScriptedAgent(daemon)
    daemon.on("chat.permit", late)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("ask\n")
    screen.wait_for("1-3, y or n >")
    screen.type("y\n")
    shown = screen.wait_for("cannot answer: this permission request was already selected")
    assert "1-3, y or n" not in shown
    agent._cancel({}, daemon.clients[0])
    screen.wait_for("the turn was cancelled")


def test_ctrl_c_cancels_the_turn(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("hang\n")
    screen.wait_for("You said:")
    screen.type("\x03")
    shown = screen.wait_for("the turn was cancelled")
    assert "Ctrl-C again leaves" not in shown
    assert daemon.asked("sessions.cancel") == [{"thread": "local-1"}]
    screen.type("\x03")
    assert screen.end() == 130
    assert "Traceback" not in screen.text()


def test_a_second_ctrl_c_leaves(daemon, terminal):
    agent = ScriptedAgent(daemon)
    daemon.on("sessions.cancel", lambda _, __: {"outcome": "cancelled"})
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("hang\n")
    screen.wait_for("You said:")
    screen.type("\x03")
    screen.wait_for("cancelling the turn")
    screen.type("\x03")
    assert screen.end() == 130
    assert "the turn was cancelled" not in screen.text()
    agent.go.set()


def test_ctrl_c_clears_a_half_typed_line_and_then_leaves(daemon, terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("half a line")
    screen.wait_for("> half a line")
    screen.type("\x03")
    screen.wait_until_gone("half a line")
    screen.type("\x03")
    assert screen.end() == 130
    assert daemon.asked("chat.send") == []


def test_ctrl_c_clears_a_half_typed_line_and_then_cancels_the_turn(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("hang\n")
    screen.wait_for("You said:")
    screen.type("half a line")
    screen.wait_for("> half a line")
    screen.type("\x03")
    screen.wait_until_gone("half a line")
    assert daemon.asked("sessions.cancel") == []
    screen.type("\x03")
    screen.wait_for("the turn was cancelled")
    assert daemon.asked("sessions.cancel") == [{"thread": "local-1"}]


def test_the_history_keeps_the_line_that_is_being_typed(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    for line in ("first", "second", "second"):
        screen.type(line + "\n")
        screen.wait_for(f"You said: {line}\n>")
        screen.wait_for("\n>")
    screen.type("draft\x1b[A")
    screen.wait_for("\n> second")
    screen.type("\x1b[A")
    screen.wait_for("\n> first")
    screen.type("\x1b[A\x1b[B\x1b[B")
    screen.wait_for("\n> draft")


def test_a_narrower_terminal_keeps_one_input_line(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1", columns=90, lines=20)
    screen.wait_for("\n>")
    screen.type("a" * 70)
    screen.wait_for("a" * 70)
    screen.resize(40, 12)
    screen.wait_until_gone("a" * 40)
    screen.type("\x15short\n")
    screen.wait_for("You said: short\n>")
    assert daemon.wait_for("chat.send")["text"] == "short"


def test_live_rows_fit_the_terminal_after_a_resize(daemon, terminal):
    def open_permission(params, client):
        title = "rm -rf " + "x" * 60 + " end"
        client.afterwards.append(
            lambda: client.chat("local-1", "permission", request="r1", title=title, timeout_seconds=60, options=OPTIONS)
        )
        return {"session": row(params["thread"], "idle")}

    daemon.on("chat.open", open_permission)
    screen = terminal("chat", "local-1", columns=100, lines=12)
    screen.wait_for("x end\n")
    screen.resize(50, 12)
    screen.wait_for("xx…\n")
    screen.resize(100, 12)
    screen.wait_for("x end\n")


@pytest.mark.usefixtures("daemon")
def test_a_terminal_that_goes_away_ends_the_chat(terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.hang_up()
    assert screen.end() in {0, 128 + signal.SIGHUP}  # the end of input and SIGHUP come together


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("daemon")
def test_a_signal_ends_the_chat_and_restores_the_terminal(terminal, number):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("half a line")
    screen.wait_for("half a line")
    screen.signal(number)
    assert screen.end() == 128 + number
    assert screen.modes() & termios.ECHO
    assert "Traceback" not in screen.text()


def test_ctrl_c_while_nothing_runs_leaves(daemon, terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("\x03")
    assert screen.end() == 130
    daemon.wait_for("chat.leave")


def test_a_prompt_typed_during_a_turn_is_queued_and_typing_goes_on(daemon, terminal):
    agent = ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("hang one\n")
    screen.wait_for("You said:")
    screen.type("two\n")
    shown = screen.wait_for("queued: two\nqueued, 1 ahead\n")
    assert "\n> two" not in shown
    screen.type("half a li")
    agent.go.set()
    shown = screen.wait_for("You said: two\n> half a li")
    assert "You said: hang one\n\n> two\nYou said: two\n> half a li" in shown
    assert "queued: two" not in shown


def test_a_refused_prompt_shows_the_error(daemon, terminal):
    def full(_params, _client):
        raise WireError(-32008, "too_many", "cannot queue: 10 messages are waiting")

    daemon.on("chat.send", full)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("one\n")
    screen.wait_for("cannot queue: 10 messages are waiting\n>")
    screen.type("/quit\n")
    assert screen.end() == 0


def test_prompts_of_others_and_notices_are_shown_safely(daemon, terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    client = daemon.clients[0]
    client.chat("local-1", "turn_start", prompt="from elsewhere")
    client.chat("local-1", "text", text="An \x1b[31manswer\x1b[0m\x1b]0;evil\x07 [bold]x[/bold].\x1b[2J")
    client.chat("local-1", "turn_end", stop_reason="refusal", text="", error=None)
    client.chat("local-1", "notice", text="An admin stopped this session.")
    client.chat("local-1", "session", session=row("local-1", "idle", title="New"))
    shown = screen.wait_for("An admin stopped this session.\n>")
    assert "« from elsewhere\nAn answer [bold]x[/bold].\nthe model declined this request\n" in shown


def test_opening_a_thread_shows_its_running_turn(daemon, terminal):
    daemon.on("chat.open", lambda params, _: {"session": row(params["thread"], "busy")})
    screen = terminal("chat", "local-1")
    screen.wait_for("a turn is running\n0s >")
    daemon.clients[0].chat("local-1", "text", text="the end of it")
    daemon.clients[0].chat(
        "local-1", "turn_end", stop_reason="end_turn", text="the beginning and the end of it", error=None
    )
    shown = screen.wait_for("\n>")
    assert shown.splitlines()[1:] == ["the end of it", ">"]


def test_now_interrupts_with_a_text_and_without_one_sends_what_waits(daemon, terminal):
    ScriptedAgent(daemon)
    daemon.on("chat.command", lambda _, __: {"text": "No message is waiting here."})
    screen = terminal("chat", "local-1", lines=40)
    screen.wait_for("\n>")
    screen.type("/now do this\n")
    screen.wait_for("You said: do this")
    screen.type("/now\n")
    screen.wait_for("No message is waiting here.")
    assert [params.get("now") for params in daemon.asked("chat.send")] == [True]
    assert daemon.asked("chat.command") == [{"thread": "local-1", "name": "now"}]


def test_the_chat_knows_its_own_commands(daemon, terminal):
    daemon.rows.append(row("local-1", "idle", cwd="/home/op/x", title="Mine"))
    daemon.on("sessions.cancel", lambda _, __: {"outcome": "idle"})
    screen = terminal("chat", "local-1", lines=40)
    screen.wait_for("\n>")
    screen.type("/help\n")
    screen.wait_for("Anything else goes to the agent")
    screen.type("/status\n")
    shown = screen.wait_for("created")
    assert re.search(r"state +● idle\n", shown)
    assert re.search(r"cwd +~/x\n", shown)
    screen.type("/cancel\n")
    screen.wait_for("no turn is running")
    screen.type("/exit\n")
    assert screen.end() == 0


def test_a_known_thread_shows_its_title_its_agent_and_its_last_lines(daemon, terminal):
    at = {"thread": "local-1", "session_id": "s-1", "at": "2026-11-24T08:00:00.000Z"}
    recent = [
        {**at, "kind": "prompt", "text": "test it"},
        {**at, "kind": "tool", "text": "make test"},
        {**at, "kind": "text", "text": "All\x1b[31m tests pass."},
        {**at, "kind": "turn_end", "text": "end_turn"},
    ]
    of = row("local-1", platform="local", title="Fix the pool", agent="codex")
    daemon.on("chat.open", lambda _, __: {"session": of, "recent": recent})
    screen = terminal("chat", "local-1")
    shown = screen.wait_for("\n>")
    assert shown.splitlines()[0] == "Fix the pool (agent codex)"
    assert shown.splitlines()[1].strip() == "> test it"
    assert shown.splitlines()[2].strip() == "🔧 make test"
    assert "tests pass." in shown.splitlines()[3]
    assert shown.splitlines()[4] == "local-1: /help for help, Ctrl-D leaves"


def test_a_command_of_the_daemon_shows_its_answer_and_its_error(daemon, terminal):
    screen = terminal("chat", "local-1", lines=40)
    screen.wait_for("\n>")
    screen.type("/model opus\n")
    screen.wait_for("The model is now opus.\n>")

    def refuse(_params, _client):
        raise WireError(-32003, "conflict", "cannot set mode now: the session is starting")

    daemon.on("chat.command", refuse)
    screen.type("/mode auto\n")
    screen.wait_for("cannot set mode now: the session is starting\n>")
    assert daemon.asked("chat.send") == []


def test_a_long_answer_is_wrapped_at_words_and_scrolls_away(daemon, terminal):
    text = "\n".join(f"{number} " + "word " * 12 for number in range(30))

    def answer(params, client):
        def run():
            client.chat("local-1", "turn_start", prompt=params["text"])
            for start in range(0, len(text), 7):
                client.chat("local-1", "text", text=text[start : start + 7])
            client.chat("local-1", "turn_end", stop_reason="end_turn", text=text, error=None)

        client.afterwards.append(run)
        return {"queued": 0}

    daemon.on("chat.send", answer)
    screen = terminal("chat", "local-1", columns=40, lines=12)
    screen.wait_for(">")
    screen.type("go\n")
    shown = screen.wait_for("29 word word word word word word word\nword word word word word\n>")
    assert len(shown.splitlines()) == 12
    above = ["".join(line[column].data for column in range(40)).rstrip() for line in screen.screen.history.top]
    whole = " ".join([*above, *shown.splitlines()[:-1]])
    assert " ".join(whole.split()).endswith(" ".join(text.split()))


def test_nothing_is_lost_when_the_user_types_while_text_streams(daemon, terminal):
    words = [f"w{number}" for number in range(400)]
    typed = "typed while the answer streams"
    pieces = {number * 10: character for number, character in enumerate(typed)}

    def answer(params, client):
        def run():
            client.chat("local-1", "turn_start", prompt=params["text"])
            for number, word in enumerate(words):
                if number in pieces:
                    screen.type(pieces[number])
                client.chat("local-1", "text", text=f"{word} ")
            client.chat("local-1", "turn_end", stop_reason="end_turn", text=" ".join(words), error=None)

        client.afterwards.append(run)
        return {"queued": 0}

    daemon.on("chat.send", answer)
    screen = terminal("chat", "local-1", columns=60, lines=12)
    screen.wait_for(">")
    screen.type("go\n")
    shown = screen.wait_for(f"w399\n> {typed}")
    above = ["".join(line[column].data for column in range(60)).rstrip() for line in screen.screen.history.top]
    answered = [word for row in [*above, *shown.splitlines()[:-1]] for word in row.split() if word.startswith("w")]
    assert answered == words


def test_ctrl_z_restores_the_terminal_and_continuing_sets_it_again(daemon, terminal):
    ScriptedAgent(daemon)
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.raw = b""
    # The kernel does not stop an orphaned process group, because nobody could wake it (setpgid(2)): acpctl continues.
    screen.type("\x1a")
    screen.wait_for_bytes(b"\x1b[?2004l\x1b[?2004h")
    screen.type("on\n")
    screen.wait_for("You said: on")
    assert not screen.modes() & termios.ECHO


def test_the_daemon_goes_away(daemon, terminal):
    screen = terminal("chat", "local-1")
    screen.wait_for("\n>")
    screen.type("half a line")
    screen.wait_for("half a line")
    daemon.disconnect()
    assert screen.end() == 6
    last = screen.text().splitlines()[1:]
    assert last[0].startswith("cannot go on: acpbot at ")
    assert "half a line" not in screen.text()
    assert "Traceback" not in screen.text()
    assert screen.modes() & termios.ECHO


def test_the_label_of_an_option_says_what_its_kind_does_whatever_the_agent_calls_it():
    assert Option("a", "Reject", "allow_always").label == "Always allow this"
    assert Option("a", "Yes, all git commands", "allow_always").label == "Always allow: Yes, all git commands"
    assert Option("a", "", "odd").label == "a"


def test_an_answer_that_was_typed_for_a_request_that_has_ended_does_not_answer_the_next(daemon, terminal):
    def open_two(params, client):
        def ask(request, action):
            shown = {"question": "Run this command?", "action": action, "withheld": None}
            client.chat(
                "local-1", "permission", request=request, title="", timeout_seconds=60, options=OPTIONS, **shown
            )

        client.afterwards += [lambda: ask("r1", "git status"), lambda: ask("r2", "rm -rf build/")]
        return {"session": row(params["thread"], "waiting")}

    daemon.on("chat.open", open_two)
    screen = terminal("chat", "local-1")
    shown = screen.wait_for("1-3, y or n >")
    assert "git status" in shown
    assert "rm -rf" not in shown, "it is shown once it is the one that an answer is for"
    screen.type("y")
    screen.wait_for("1-3, y or n > y")
    daemon.clients[0].chat("local-1", "permission_end", request="r1", outcome="expired", option_id=None, reason=None)
    screen.wait_for("Run this command? rm -rf build/")
    screen.type("\n")
    screen.wait_for("answer 1 to 3, y or n")
    assert daemon.asked("chat.permit") == []


def test_a_request_that_can_not_be_allowed_says_why(daemon, terminal):
    def ask(params, client):
        withheld = {"question": "Run this command?", "action": "title: x", "withheld": "it is larger than 1 MiB"}
        options = [option for option in OPTIONS if option["kind"].startswith("reject")]
        event = {"request": "r1", "title": "x", "timeout_seconds": 60, "options": options, **withheld}
        client.afterwards.append(lambda: client.chat("local-1", "permission", **event))
        return {"session": row(params["thread"], "waiting")}

    daemon.on("chat.open", ask)
    screen = terminal("chat", "local-1")
    screen.wait_for("It can't be allowed: it is larger than 1 MiB.")
    screen.type("y\n")
    screen.wait_for("answer 1 to 1, y or n")
    assert daemon.asked("chat.permit") == []
