"""The MCP servers that an agent is given with each session, and what happens where it does not take one."""

from __future__ import annotations

import json
import sys

import msgspec
import pytest
from acp.schema import NewSessionRequest

from acpbot.config.mcp_servers import McpServer
from tests.support.pool import FAULTY, faulty

HERE = McpServer(name="here", command=sys.executable, args=("-v",), env={"KEY": "k"})
WEB = McpServer(name="web", url="https://web.example/mcp", headers={"Authorization": "Bearer t"})
SSE = McpServer(name="old", type="sse", url="https://old.example/sse")


def takes(capabilities: str, *refused: str) -> tuple[str, ...]:
    command, *_ = faulty("sound")
    return (command, str(FAULTY), "mcp", capabilities, *refused)


async def test_an_agent_gets_its_servers_with_a_new_session_and_with_one_that_is_resumed(make_harness):
    harness = make_harness(argv=takes('{"http": true, "sse": true}'), mcp_servers=(HERE, WEB, SSE))
    wanted = [
        {"name": "here", "command": sys.executable, "args": ["-v"], "env": [{"name": "KEY", "value": "k"}]},
        {
            "type": "http",
            "name": "web",
            "url": "https://web.example/mcp",
            "headers": [{"name": "Authorization", "value": "Bearer t"}],
        },
        {"type": "sse", "name": "old", "url": "https://old.example/sse", "headers": []},
    ]
    assert NewSessionRequest.model_validate({"cwd": "/", "mcpServers": wanted})
    assert json.loads((await harness.turn("1001", "one")).text) == wanted
    await harness.session("1001").end("suspended")
    assert json.loads((await harness.turn("1001", "two")).text) == wanted
    assert harness.session("1001").turns.reopened


async def test_the_name_of_a_program_becomes_its_path_on_the_agent_s_own_path(make_harness, tmp_path):
    program = tmp_path / "bin" / "docs-mcp"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    servers = tuple(McpServer(name=name, command=name) for name in ("docs-mcp", "not-there"))
    harness = make_harness(argv=takes("{}"), mcp_servers=servers, env={"PATH": str(program.parent)})
    given = json.loads((await harness.turn("1001", "one")).text)
    assert [server["command"] for server in given] == [str(program), "not-there"]


@pytest.mark.parametrize(
    ("capabilities", "named"),
    [('{"http": true}', "old (sse)"), ("{}", "web (http), old (sse)"), ('{"http": "yes", "sse": true}', "web (http)")],
)
async def test_an_agent_that_cannot_reach_a_server_does_not_start(make_harness, caplog, capabilities, named):
    harness = make_harness(argv=takes(capabilities), mcp_servers=(HERE, WEB, SSE))
    assert (await harness.turn("1001", "one")).end.error == "The agent isn't set up correctly. Ask your admin."
    (failed,) = [record for record in caplog.records if record.message == "session_failed"]
    assert f"cannot start agent 'demo': it takes no MCP server of this type: {named};" in str(failed.__dict__)


async def test_an_agent_that_refuses_a_server_keeps_the_conversation_and_names_what_it_was_given(make_harness, caplog):
    harness = make_harness(argv=takes("{}", "here"))
    await harness.turn("1001", "one")
    before = harness.session("1001").agent.session_id
    with_a_server(harness)
    assert [(one.agent, one.keys) for one in harness.pool.outdated()] == [("demo", ("mcp_servers",))]
    await harness.session("1001").end("suspended")
    await harness.turn("1001", "two")
    (failed,) = [record for record in caplog.records if record.message == "session_failed"]
    assert "bad server ['here'] (-32602); it was given the MCP servers here (stdio): `acpbot check`" in str(
        failed.__dict__
    )
    with_a_server(harness, McpServer(name="other", command="c"))
    assert "other" in (await harness.turn("1001", "three")).text
    assert harness.session("1001").agent.session_id == before


def with_a_server(harness, server: McpServer = HERE) -> None:
    agent = msgspec.structs.replace(harness.settings.agents["demo"], mcp_servers=(server,))
    harness.pool.reconfigure(msgspec.structs.replace(harness.settings, agents={"demo": agent}))
