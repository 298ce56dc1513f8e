from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from acpbot import __version__
from tests.support.demo_agent import Driver, ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROTOCOL = [
    ("no/such_method", {}, -32601),
    ("session/fork", {"sessionId": "x"}, -32601),
    ("initialize", {}, -32602),
    ("session/new", {"cwd": "relative", "mcpServers": []}, -32602),
    ("session/new", {}, -32602),
    ("session/prompt", {"sessionId": "demo-unknown", "prompt": []}, -32002),
    ("session/load", {"sessionId": "demo-unknown", "cwd": "/", "mcpServers": []}, -32002),
    ("session/resume", {"sessionId": "../../etc/passwd", "cwd": "/"}, -32002),
    ("session/close", {"sessionId": "demo-unknown"}, -32002),
    ("session/set_mode", {"sessionId": "demo-unknown", "modeId": "ask"}, -32002),
    ("session/prompt", {"prompt": []}, -32602),
]


def test_initialize_names_the_agent(agent: Driver):
    result = agent.call("initialize", {"protocolVersion": 99})["result"]
    assert result["protocolVersion"] == 1
    assert result["agentInfo"] == {
        "name": "acpbot-demo-agent",
        "title": "Demo agent (no model)",
        "version": __version__,
    }
    assert result["agentCapabilities"]["loadSession"] is True
    assert result["agentCapabilities"]["sessionCapabilities"] == {"list": {}, "resume": {}, "close": {}}
    assert result["agentCapabilities"]["promptCapabilities"] == {"image": True, "audio": False, "embeddedContext": True}
    assert agent.call("authenticate", {"methodId": "any"})["result"] == {}


@pytest.mark.parametrize(("method", "params", "code"), PROTOCOL)
def test_bad_requests_get_an_error(agent: Driver, method, params, code):
    assert agent.call(method, params)["error"]["code"] == code


@pytest.mark.parametrize(
    ("line", "code"),
    [(b"{\n", -32700), (b"\xff\n", -32700), (b"[]\n", -32600), (b"7\n", -32600), (b'{"id":3}\n', -32600)],
)
def test_bad_lines_get_an_error_and_the_connection_goes_on(agent: Driver, line, code):
    agent.write(b"\n  \n" + line)
    refused = agent.receive()
    assert refused is not None
    assert refused["error"]["code"] == code
    assert "result" in agent.call("session/list")


def test_unknown_notifications_and_stray_answers_are_ignored(agent: Driver):
    agent.send("no/such_method", {}, notify=True)
    agent.cancel("demo-unknown")
    agent.write(b'{"jsonrpc":"2.0","id":77,"result":{}}\n{"jsonrpc":"2.0","id":[],"result":{}}\n')
    assert "result" in agent.call("session/list")
    assert len(agent.seen) == 2, "only the answers to initialize and to session/list"


def test_a_new_session_has_modes_options_and_then_commands(agent: Driver):
    result = agent.call("session/new", {"cwd": str(agent.cwd), "mcpServers": []})["result"]
    assert result["modes"]["currentModeId"] == "ask"
    assert result["configOptions"][0]["currentValue"] == result["models"]["currentModelId"] == "plain"
    commands = agent.until_update("available_commands_update")["availableCommands"]
    assert {"help", "stream", "tool", "hang"} <= {command["name"] for command in commands}


def test_modes_and_options_are_set_and_kept(agent: Driver):
    session = agent.new()
    assert agent.call("session/set_mode", {"sessionId": session, "modeId": "auto"})["result"] == {}
    answer = agent.call("session/set_config_option", {"sessionId": session, "configId": "model", "value": "shout"})
    assert answer["result"]["configOptions"][0]["currentValue"] == "shout"
    assert "You said: WHO ARE YOU" in agent.prompt(session, "who are you").text
    assert agent.prompt(session, "tool").asked == []
    resumed = agent.call("session/resume", {"sessionId": session, "cwd": str(agent.cwd)})["result"]
    assert resumed["modes"]["currentModeId"] == "auto"
    assert resumed["configOptions"][0]["currentValue"] == "shout"
    assert agent.call("session/set_model", {"sessionId": session, "modelId": "plain"})["result"] == {}
    assert "You said: who" in agent.prompt(session, "who").text
    for method, params in [
        ("session/set_mode", {"modeId": "none"}),
        ("session/set_config_option", {"configId": "model", "value": "none"}),
        ("session/set_config_option", {"configId": "none", "value": "plain"}),
    ]:
        assert agent.call(method, {"sessionId": session, **params})["error"]["code"] == -32602


def test_the_first_prompt_names_the_session(agent: Driver):
    session = agent.new()
    first = agent.prompt(session, "Tell me  \nmore")
    assert [update["title"] for update in first.kind("session_info_update")] == ["Tell me"]
    assert first.updates[-1]["sessionUpdate"] == "usage_update"
    assert first.updates[-1]["used"] == len("Tell me  \nmore") + len(first.text)
    assert agent.prompt(session, "pid").kind("session_info_update") == []
    listed = agent.call("session/list", {"cwd": str(agent.cwd)})["result"]["sessions"]
    assert [(row["sessionId"], row["title"]) for row in listed] == [(session, "Tell me")]
    assert agent.call("session/list", {"cwd": "/elsewhere"})["result"]["sessions"] == []


def test_a_session_runs_one_turn_at_a_time(agent: Driver):
    session = agent.new()
    number = agent.start(session, "say begun; stall 600")
    agent.until_update("agent_message_chunk")
    assert agent.call("session/prompt", {"sessionId": session, "prompt": []})["error"]["code"] == -32600
    params = {"sessionId": session, "cwd": str(agent.cwd), "mcpServers": []}
    assert agent.call("session/load", params)["error"]["code"] == -32600
    other = agent.new()
    assert agent.prompt(other, "say elsewhere").text == "elsewhere"
    agent.cancel(session)
    assert agent.finish(number).stop == "cancelled"


def test_close_ends_the_turn_first_and_the_session_can_be_loaded_again(agent: Driver):
    session = agent.new()
    agent.start(session, "say begun; sleep 600")
    agent.until_update("tool_call_update", status="in_progress")
    assert agent.call("session/close", {"sessionId": session})["result"] == {}
    stops = [message["result"].get("stopReason") for message in agent.seen if "result" in message]
    assert stops == ["cancelled", None]
    assert agent.call("session/prompt", {"sessionId": session, "prompt": []})["error"]["code"] == -32002
    assert "modes" in agent.call("session/resume", {"sessionId": session, "cwd": str(agent.cwd)})["result"]


def test_another_process_loads_with_the_history_before_the_answer(start: Callable[..., Driver]):
    first = start()
    session = first.new()
    said = first.prompt(session, "remember the milk; say \u00e9\U0001f600").text
    first.prompt(session, "long 2345")
    assert first.end_input() == 0

    second = start()
    second.seen.clear()
    answer = second.call("session/load", {"sessionId": session, "cwd": str(second.cwd), "mcpServers": []})
    assert answer["result"]["modes"]["currentModeId"] == "ask"
    replayed = [message["params"]["update"] for message in second.seen[:-1]]
    assert [update["sessionUpdate"] for update in replayed] == ["user_message_chunk", "agent_message_chunk"] * 2
    assert [update["content"]["text"] for update in replayed[:3]] == [
        "remember the milk; say \u00e9\U0001f600",
        said,
        "long 2345",
    ]
    assert len(replayed[3]["content"]["text"]) == 2345
    second.until_update("available_commands_update")
    turn = second.prompt(session, "recall")
    assert turn.text == "You told me to remember: the milk"
    assert turn.kind("session_info_update") == []


def test_resume_replays_nothing(start: Callable[..., Driver]):
    first = start(env={"ACPBOT_DEMO_STATE": "kept"})
    session = first.new()
    first.prompt(session, "remember me")
    first.process.kill()
    second = start(env={"ACPBOT_DEMO_STATE": "kept"})
    second.seen.clear()
    second.call("session/resume", {"sessionId": session, "cwd": str(second.cwd)})
    assert len(second.seen) == 1
    assert second.prompt(session, "recall").text == "You told me to remember: me"
    assert [path.name for path in (second.cwd / "kept").iterdir()] == [f"{session}.json"]


def test_a_state_folder_that_cannot_be_written_is_reported_once(start: Callable[..., Driver]):
    agent = start(env={"ACPBOT_DEMO_STATE": "/proc/none"})
    session = agent.new()
    assert agent.prompt(session, "say works").text == "works"
    agent.end_input()
    assert agent.stderr().startswith(b"cannot keep the history in /proc/none: ")
    assert agent.stderr().count(b"\n") == 0, "it was read above, and there was one line"


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acpbot.demo.agent", *arguments]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_the_command_line_options():
    version = run("--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"acpbot-demo-agent {__version__}\n", "")
    usage = run("--help")
    assert usage.returncode == 0
    assert usage.stdout.startswith("usage: ")
    unknown = run("--model")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr == "cannot start: unknown argument '--model'; see --help\n"
    pace = run(ACPBOT_DEMO_PACE="slow")
    assert (pace.returncode, pace.stderr) == (2, "cannot start: ACPBOT_DEMO_PACE is not a number of seconds\n")


def test_the_agent_imports_no_heavy_modules():
    code = "import acpbot.demo.agent, sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, check=True).stdout)
    heavy = {"asyncio", "typing", "subprocess", "pathlib", "dataclasses", "argparse", "msgspec", "socket", "tempfile"}
    assert heavy.isdisjoint(loaded)
    ours = {name for name in loaded if name.startswith("acpbot.")}
    assert ours == {
        "acpbot.demo",
        *(f"acpbot.demo.agent{part}" for part in ("", "_input", "_session", "_turn", "_commands")),
    }


def test_on_a_terminal_it_prints_a_hint(tmp_path: Path):
    import pty  # noqa: PLC0415 - only this test opens a terminal

    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "acpbot.demo.agent"],
        cwd=tmp_path,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        import os  # noqa: PLC0415 - the same

        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"This is acpbot's demo agent: an ACP agent without a model.")
        os.write(master, b'{"jsonrpc":"2.0","id":1,"method":"session/list"}\n')
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["result"] == {"sessions": []}
        os.close(slave)
        os.close(master)
        assert ended(process.pid)
