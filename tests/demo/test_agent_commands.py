from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from acpbot.demo.agent_commands import COMMANDS, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.demo_agent import Driver


def read(prompt: str) -> list[tuple[str | None, list[str]]]:
    return [(word.name if word else None, arguments) for word, arguments in parse(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("help", [("help", [])]),
        (" /HELP ", [("help", [])]),
        ("stream", [("stream", [])]),
        ("stream 3; pid", [("stream", ["3"]), ("pid", [])]),
        ("pid then pid\npid", [("pid", []), ("pid", []), ("pid", [])]),
        ("say one; two", [("say", ["one"]), (None, ["two"])]),
        ('say "one; two then\\nthree" ; pid', [("say", ["one; two then\nthree"]), ("pid", [])]),
        ('say "no string', [("say", ['"no string'])]),
        ('say "a" b', [("say", ['"a" b'])]),
        ('title ""', [("title", ['""'])]),
        ("tool", [("tool", [""])]),
        ("tool ls -l", [("tool", ["ls -l"])]),
        ("blast 3 100", [("blast", ["3", "100"])]),
        ("blast", [(None, ["blast"])]),
        ("plan a trip to Rome", [(None, ["plan a trip to Rome"])]),
        ("sleep well", [(None, ["sleep well"])]),
        ("sleep 0.5", [("sleep", ["0.5"])]),
        ("sleep 1e9", [(None, ["sleep 1e9"])]),
        ("Fix it.\nThen test; then\ttell me", [(None, ["Fix it.\nThen test; then\ttell me"])]),
        ("Fix it\npid\nand go on", [(None, ["Fix it"]), ("pid", []), (None, ["and go on"])]),
        (" \n;; then \n", []),
        ("authentication", [(None, ["authentication"])]),
    ],
)
def test_how_a_prompt_is_parsed(prompt, expected):
    assert read(prompt) == expected


def test_help_lists_every_command(agent: Driver):
    text = agent.prompt(agent.new(), "help").text
    assert "I have no model" in text
    assert {match.split()[0] for match in re.findall(r"^- `([^`]+)`", text, re.MULTILINE)} == set(COMMANDS)


def test_other_text_is_echoed(agent: Driver):
    turn = agent.prompt(agent.new(), "Please write\na poem")
    assert turn.text.startswith("I'm the demo agent, and I have no model. You said: Please write\na poem\n")
    assert len(turn.chunks) > 10


def test_the_last_text_block_is_the_prompt(agent: Driver):
    session = agent.new()
    assert agent.finish(agent.start(session, "context; pid", "say mine")).text == "mine"


@pytest.mark.parametrize("count", [1, 11, 16, 18, 40])
def test_stream_sends_markdown_in_exactly_n_chunks(agent: Driver, count):
    turn = agent.prompt(agent.new(), f"stream {count}")
    assert len(turn.chunks) == count
    assert turn.text.count("```") % 2 == 0
    assert turn.text.startswith("## ")
    if count == 40:
        assert "\n- second\n" in turn.text
        assert "```python\n" in turn.text


def test_blast_sends_all_numbered_chunks(agent: Driver):
    turn = agent.prompt(agent.new(), "blast 3000 20; say end")
    assert turn.chunks == [f"{n:.<19}\n" for n in range(3000)] + ["end"]


def test_long_sends_exactly_n_characters(agent: Driver):
    turn = agent.prompt(agent.new(), "long 1234")
    assert len(turn.text) == 1234
    assert [len(chunk) for chunk in turn.chunks] == [10] * 123 + [4]
    assert len(set(turn.chunks)) == 124


def test_say_sends_exactly_the_text(agent: Driver):
    text = "  two  blanks, \t a tab,\r\n```py\nx = 'é \U0001f468\u200d\U0001f469\u200d\U0001f467'\n```\n"
    assert agent.prompt(agent.new(), f"say {json.dumps(text)}").text == text


def test_thoughts_are_not_part_of_the_answer(agent: Driver):
    turn = agent.prompt(agent.new(), "think")
    assert len(turn.kind("agent_thought_chunk")) == 4
    assert "thought" not in {chunk.strip() for chunk in turn.chunks}


def test_a_tool_asks_runs_and_shows_its_output(agent: Driver):
    session = agent.new()
    turn = agent.prompt(session, "tool")
    assert turn.tool_statuses == ["pending", "in_progress", "in_progress", "completed"]
    first, last = turn.kind("tool_call")[0], turn.kind("tool_call_update")[-1]
    assert first["title"] == first["rawInput"]["command"] == "echo hello from a real subprocess"
    assert first["kind"] == "execute"
    assert last["content"][0]["content"]["text"] == "hello from a real subprocess\n"
    (asked,) = turn.asked
    assert asked["toolCall"]["toolCallId"] == first["toolCallId"]
    kinds = {option["kind"] for option in asked["options"]}
    assert kinds == {"allow_once", "allow_always", "reject_once", "reject_always"}


def test_a_failed_tool_is_reported(agent: Driver):
    turn = agent.prompt(agent.new(), "tool echo oh no >&2 && exit 3")
    assert turn.tool_statuses[-1] == "failed"
    assert turn.kind("tool_call_update")[-1]["rawOutput"] == {"exitCode": 3}
    assert turn.text == "The command failed with status 3: oh no"


def test_a_tool_ends_while_a_grandchild_keeps_its_output_open(agent: Driver):
    turn = agent.prompt(agent.new(), "tool (setsid sleep 20 &) && echo started")
    assert turn.tool_statuses[-1] == "completed"
    assert turn.kind("tool_call_update")[-1]["content"][0]["content"]["text"] == "started\n"


def test_a_tool_with_too_much_output_is_cut(agent: Driver):
    turn = agent.prompt(agent.new(), "tool yes | head -c 1000000")
    assert len(turn.kind("tool_call_update")[-1]["content"][0]["content"]["text"]) == 10_000
    assert len(turn.kind("tool_call_update")) < 30


@pytest.mark.parametrize("option", ["reject-once", "reject-always", "no-such-option"])
def test_a_tool_that_is_not_allowed_is_not_run(agent: Driver, option):
    agent.decide = lambda _params: option
    turn = agent.prompt(agent.new(), f"tool touch {agent.cwd}/made")
    assert turn.tool_statuses == ["pending", "failed"]
    assert turn.text == "You didn't allow it, so nothing was run."
    assert not (agent.cwd / "made").exists()


def test_a_tool_in_a_removed_working_directory_fails(agent: Driver):
    session = agent.call("session/new", {"cwd": "/no/such/folder", "mcpServers": []})["result"]["sessionId"]
    turn = agent.prompt(session, "sleep 1")
    assert turn.tool_statuses[-1] == "failed"
    assert "cannot run sleep: No such file or directory" in turn.text


def test_a_permission_request_that_the_client_cancels(agent: Driver):
    agent.decide = lambda _params: None
    number = agent.start(agent.new(), "tool; permit")
    for _ in range(2):
        asked = agent.until(lambda message: message.get("method") == "session/request_permission")
        agent.answer(asked, {"outcome": {"outcome": "cancelled"}})
    assert agent.finish(number).text.endswith("nothing was run.\nYou chose: none.")


def test_permit_asks_without_a_tool_call(agent: Driver):
    agent.decide = lambda _params: "allow-always"
    turn = agent.prompt(agent.new(), "permit")
    assert turn.text == "You chose: allow_always."
    assert len(turn.asked) == 1
    assert turn.kind("tool_call", "tool_call_update") == []


def test_edit_shows_a_diff_and_writes_nothing(agent: Driver):
    turn = agent.prompt(agent.new(), "edit")
    (diff,) = turn.kind("tool_call_update")[-1]["content"]
    assert diff["type"] == "diff"
    assert diff["path"] == str(agent.cwd / "greeting.txt")
    assert not (agent.cwd / "greeting.txt").exists()


def test_a_plan_completes_its_entries(agent: Driver):
    plans = [
        [entry["status"] for entry in update["entries"]] for update in agent.prompt(agent.new(), "plan").kind("plan")
    ]
    assert plans == [
        ["in_progress", "pending", "pending"],
        ["completed", "in_progress", "pending"],
        ["completed", "completed", "in_progress"],
        ["completed", "completed", "completed"],
    ]


def test_error_refuse_and_max_end_the_turn(agent: Driver):
    session = agent.new()
    assert agent.prompt(session, "refuse; say never").stop == "refusal"
    maximum = agent.prompt(session, "say before; max")
    assert (maximum.stop, maximum.text) == ("max_tokens", "before")
    failed = agent.prompt(session, "error")
    assert failed.answer["error"]["message"] == "cannot answer: this is the error that you asked for"
    assert agent.prompt(session, "say still here").text == "still here"


def test_title_mode_model_and_commands_send_updates(agent: Driver):
    turn = agent.prompt(agent.new(), "title A name; mode auto; model shout; commands; mode none; model none")
    assert [update["title"] for update in turn.kind("session_info_update")][-1] == "A name"
    assert turn.kind("current_mode_update")[0]["currentModeId"] == "auto"
    assert turn.kind("config_option_update")[0]["configOptions"][0]["currentValue"] == "shout"
    assert len(turn.kind("available_commands_update")[0]["availableCommands"]) == len(COMMANDS)
    assert "I have no mode 'none'" in turn.text


def test_what_describes_the_content_blocks(agent: Driver):
    session = agent.new()
    blocks = [
        {"type": "image", "mimeType": "image/png", "data": "AAAA"},
        {"type": "resource", "resource": {"uri": "file:///a.txt", "mimeType": "text/plain", "text": "abcde"}},
        {"type": "resource_link", "uri": "file:///b", "name": "b"},
        {"type": "strange"},
    ]
    number = agent.send("session/prompt", {"sessionId": session, "prompt": blocks})
    assert agent.finish(number).text == (
        "I received 1. image, image/png, 3 bytes; 2. resource file:///a.txt, text/plain, 5 characters; "
        "3. link file:///b; 4. strange, which I don't know."
    )
    assert agent.prompt(session, "what").text == "I received 1. text, 4 characters."
    assert agent.prompt(session, "image").text == "I received 1. text, 5 characters."


def test_env_and_pid_describe_the_process(start: Callable[..., Driver]):
    agent = start(env={"SECRET_TOKEN": "hunter2"})
    turn = agent.prompt(agent.new(), "pid then env")
    assert f"My pid is {agent.process.pid}." in turn.text
    assert f"Working directory: {agent.cwd}" in turn.text
    assert "SECRET_TOKEN" in turn.text
    assert "hunter2" not in turn.text


def test_garbage_writes_noise_on_stdout(agent: Driver):
    turn = agent.prompt(agent.new(), "garbage; say on")
    assert turn.text == "I wrote 9 lines of noise.on"
    assert len(agent.noise) == 9
    assert b"\xff\xfe\xfd\n" in agent.noise


def test_stderr_writes_lines_on_stderr(agent: Driver):
    agent.prompt(agent.new(), "stderr 5")
    agent.end_input()
    lines = agent.stderr().splitlines()
    assert len(lines) == 5
    assert lines[4] == b"\x1b[35mdemo agent: line 5\x1b[0m"


def test_a_chunk_after_the_answer(agent: Driver):
    session = agent.new()
    assert agent.prompt(session, "late; say in time").text == "in time"
    assert agent.until_update("agent_message_chunk")["content"]["text"] == "This chunk comes late."


def test_memory_is_per_session(agent: Driver):
    one, other = agent.new(), agent.new()
    agent.prompt(one, "remember one; remember two")
    assert agent.prompt(one, "recall").text == "You told me to remember: one; two"
    assert agent.prompt(other, "recall").text == "You told me to remember nothing."
