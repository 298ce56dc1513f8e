"""`acpbot check`: what is said of each agent, and of the installation's security."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from acpbot.commands.check import check
from tests.support.pool import faulty

if TYPE_CHECKING:
    from pathlib import Path

DEMO = (sys.executable, "-m", "acpbot.demo.agent")


def checked(
    folder: Path, keys: str = "", *, argv: tuple[str, ...] = DEMO, more: str = "", starts: str = "agent "
) -> tuple[bool, list[str]]:
    """Whether all is well, and the lines that are about the agent, without its name."""
    path = folder / "config.toml"
    path.write_text(f"[agent]\ncommand = {json.dumps(argv[0])}\nargs = {json.dumps(argv[1:])}\n{keys}\n{more}")
    path.chmod(0o600)
    lines: list[str] = []
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "ACPBOT_SOCKET": str(folder / "s")}
    well = check(path, environ, lines.append, online=False)
    return well, [line.removeprefix("agent default: ") for line in lines if line.startswith(starts)]


def test_the_mode_and_the_model_in_force_are_named(tmp_path: Path):
    well, lines = checked(tmp_path, 'model = "Shout"')
    assert well
    assert lines[1:] == [
        "sign-in: unknown; it offers no sign-in method, but some agents only ask at the first message",
        "mode: ask (Ask): Asks before it runs the command of `tool`",
        "model: shout (Shout): No model either: the echo repeats them in capitals",
    ]


def test_a_mode_that_does_not_ask_is_warned_of_with_those_that_do(tmp_path: Path):
    well, lines = checked(tmp_path, 'mode = "auto"')
    assert well
    assert lines[-1] == (
        'warning: [permissions] policy is "ask", but in this mode it does not always ask ("auto"); set its mode to ask'
    )
    assert "mode: auto (Auto): Runs the command of `tool` without asking" in lines


def test_the_agent_s_own_first_mode_is_warned_of_too(tmp_path: Path):
    argv = faulty("modes auto")
    _, lines = checked(tmp_path, argv=argv)
    assert [line for line in lines if line.startswith("warning: ")]
    _, lines = checked(tmp_path, 'mode = "Ask me"', argv=argv)
    assert [line for line in lines if line.startswith("warning: ")] == []
    assert "mode: ask (Ask me)" in lines


@pytest.mark.parametrize("policy", ["allow", "deny"])
def test_a_mode_that_does_not_ask_is_no_surprise_where_people_are_not_asked(tmp_path: Path, policy: str):
    _, lines = checked(tmp_path, 'mode = "auto"', more=f'[permissions]\npolicy = "{policy}"')
    assert [line for line in lines if line.startswith("warning: ")] == []


def test_a_mode_that_the_agent_does_not_have_is_an_error_with_those_that_it_has(tmp_path: Path):
    well, lines = checked(tmp_path, 'mode = "plan"')
    assert not well
    assert lines[-1] == (
        "cannot start agent 'default': it has no mode 'plan', it offers ask, auto; "
        "correct its mode in the configuration, or remove it there"
    )


def test_an_option_that_the_agent_does_not_take_is_a_warning(tmp_path: Path):
    well, lines = checked(tmp_path, 'options = { effort = "huge", footer = true }')
    assert well
    assert lines[-1] == "warning: effort is not set: it has no effort 'huge', it offers low, high"


def test_an_agent_without_modes_is_said_to_have_none(tmp_path: Path):
    _, lines = checked(tmp_path, argv=faulty("sound"))
    assert "mode: none; its own configuration decides whether it asks before it acts" in lines


METHODS = '[{"id":"web","name":"Log in"},{"type":"env_var","id":"key","name":"Key","vars":[{"name":"SOME_KEY"}]}]'


def test_how_the_agent_was_signed_in_is_named(tmp_path: Path):
    argv = (*faulty("wants_sign_in"), METHODS, "key")
    well, lines = checked(tmp_path, 'env = { SOME_KEY = "k" }', argv=argv)
    assert well
    assert "sign-in: signed in by key" in lines


def test_an_agent_that_is_not_signed_in_is_named_with_its_methods_and_the_command(tmp_path: Path):
    well, (line,) = checked(tmp_path, argv=(*faulty("wants_sign_in"), METHODS, "key"))
    assert not well
    assert "it isn't signed in (Authentication required); it offers web (Log in), key (Key); run `acpbot exec" in line


def mcp(capabilities: str, *refused: str) -> tuple[str, ...]:
    return (*faulty("mcp"), capabilities, *refused)


SERVERS = """mcp_servers = [
    { name = "a", command = "sh", env = { KEY = "hidden-key" } },
    { name = "b", url = "https://b.example", headers = { Authorization = "hidden-key" } },
]"""


def test_the_mcp_servers_that_the_agent_took_are_named(tmp_path: Path):
    well, lines = checked(tmp_path, SERVERS, argv=mcp('{"http": true}'))
    assert well
    assert lines[0].endswith("prompts: text; MCP servers: stdio, http")
    assert "MCP servers: a (stdio), b (http); it accepted them, but doesn't report whether they work" in lines
    assert "hidden-key" not in "".join(lines)


def test_the_mcp_server_that_the_agent_refuses_is_named(tmp_path: Path):
    well, lines = checked(tmp_path, SERVERS, argv=mcp('{"http": true}', "b"))
    assert not well
    assert lines[-1] == "MCP servers: it rejects b (http); correct it, or remove it from mcp_servers"
    assert "the agent refused session/new: bad server ['b'] (-32602)" in lines[-2]


def test_mcp_servers_are_not_blamed_where_no_session_opens_without_them(tmp_path: Path):
    well, lines = checked(tmp_path, SERVERS, argv=mcp('{"http": true}', "always"))
    assert not well
    assert lines[-1] == "MCP servers: not the cause, or not the only one: it doesn't open a session without them either"


def test_an_mcp_server_that_the_agent_cannot_reach_is_named(tmp_path: Path):
    well, (line,) = checked(tmp_path, SERVERS, argv=mcp("{}"))
    assert not well
    assert line.startswith("cannot start agent 'default': it takes no MCP server of this type: b (http); use one")


def test_a_program_of_an_mcp_server_that_is_not_there_is_a_warning(tmp_path: Path):
    well, lines = checked(tmp_path, 'mcp_servers = [{ name = "a", command = "no-such-mcp" }]')
    assert well
    assert "warning: no-such-mcp of its MCP servers isn't a program here; install it, or give its path" in lines


def of_channels(folder: Path, table: str) -> tuple[bool, list[str]]:
    """Whether all is well, and the lines about the channel 5, without its name."""
    path = folder / "config.toml"
    agent = f"[agent]\ncommand = {json.dumps(DEMO[0])}\nargs = {json.dumps(DEMO[1:])}\n"
    path.write_text(f'{agent}[discord]\nbot_token = "t"\nallowed_users = ["1"]\n[discord.channels."5"]\n{table}\n')
    path.chmod(0o600)
    lines: list[str] = []
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "ACPBOT_SOCKET": str(folder / "s")}
    well = check(path, environ, lines.append, online=False)
    assert f'[discord.channels."5"]\n# agent is not set\n{table}' in "\n".join(lines)
    return well, [line.removeprefix("channel 5: ") for line in lines if line.startswith("channel ")]


def test_the_mode_of_a_channel_is_tried(tmp_path: Path):
    well, lines = of_channels(tmp_path, f'working_dir = "{tmp_path}"\nmode = "auto"')
    assert well
    assert "agent default: mode: auto (Auto): Runs the command of `tool` without asking" in lines
    well, lines = of_channels(tmp_path, f'working_dir = "{tmp_path}"\nmode = "plan"')
    assert not well
    assert lines[-1].endswith(
        "it has no mode 'plan', it offers ask, auto; correct its mode in the configuration, or remove it there"
    )


def test_a_channel_s_folder_that_is_not_there_is_an_error(tmp_path: Path):
    well, lines = of_channels(tmp_path, f'working_dir = "{tmp_path}/none"')
    assert not well
    way_out = 'create it, or correct [discord.channels."5"] working_dir'
    assert lines == [f"cannot work in {tmp_path}/none: it is not a directory; {way_out}"]


def test_it_is_said_where_processes_will_wait_for_threads(tmp_path: Path):
    _, lines = checked(tmp_path, "warm = 2", starts="warm of agent ")
    where, how = "2 processes will wait in [pool] workspace", "it must take each thread's folder from session/new alone"
    assert lines == [f"warm of agent default: {where}; {how}"]
    assert checked(tmp_path, starts="warm of agent ")[1] == []


def test_an_agent_of_this_machine_is_said_to_be_isolated_from_nothing(tmp_path: Path):
    _, lines = checked(tmp_path, starts="runtime of agent ")
    (line,) = lines
    assert line.startswith("runtime of agent default: local: it can read and change whatever acpbot can")
