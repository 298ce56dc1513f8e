"""The demo agent as the Python ACP SDK's own client sees it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import acp
import pytest
from acp import schema

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 20.0


class SdkClient:
    """Implements the part of acp.Client that the agent calls: collects updates, allows every permission request."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.began = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **_kwargs: Any) -> None:
        assert session_id.startswith("demo-")
        self.updates.append(update)
        if isinstance(update, schema.ToolCallProgress):
            self.began.set()

    async def request_permission(self, session_id, tool_call, options, **_kwargs):
        assert session_id.startswith("demo-")
        assert tool_call.status == "pending"
        (option,) = [option for option in options if option.kind == "allow_once"]
        outcome = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
        return schema.RequestPermissionResponse(outcome=outcome)

    def of(self, kind: type) -> list[Any]:
        return [update for update in self.updates if isinstance(update, kind)]

    def text(self, kind: type = schema.AgentMessageChunk) -> str:
        return "".join(update.content.text for update in self.of(kind))


def spawn(client: Any, cwd: Path) -> Any:
    env = {"PATH": os.environ["PATH"], "ACPBOT_DEMO_PACE": "0"}
    command = (sys.executable, "-m", "acpbot.demo.agent")
    return acp.spawn_agent_process(client, *command, env=env, cwd=cwd)


async def prompt(connection: Any, session: str, text: str) -> schema.PromptResponse:
    blocks = [schema.TextContentBlock(type="text", text=text)]
    async with asyncio.timeout(LIMIT):
        return await connection.prompt(session_id=session, prompt=blocks)


async def test_a_conversation_with_the_sdk_client(tmp_path: Path):
    client = SdkClient()
    async with spawn(client, tmp_path) as (connection, process):
        initialized = await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        assert initialized.protocol_version == 1
        assert initialized.agent_info.name == "acpbot-demo-agent"
        assert initialized.agent_capabilities.session_capabilities.resume is not None
        opened = await connection.new_session(cwd=str(tmp_path), mcp_servers=[])
        session = opened.session_id
        assert {mode.id for mode in opened.modes.available_modes} == {"ask", "auto"}
        assert opened.config_options[0].category == "model"

        words = "stream 20; think; tool; edit; plan; commands; mode auto; model shout; title A name; permit"
        answer = await prompt(connection, session, words)
        assert answer.stop_reason == "end_turn"
        assert "**without a model**" in client.text()
        assert "no model here" in client.text(schema.AgentThoughtChunk)
        statuses = [update.status for update in client.of(schema.ToolCallStart)]
        assert statuses == ["pending", "pending"]
        assert [update.status for update in client.of(schema.ToolCallProgress)].count("completed") == 2
        kinds = [schema.AgentPlanUpdate, schema.AvailableCommandsUpdate, schema.CurrentModeUpdate]
        kinds += [schema.ConfigOptionUpdate, schema.SessionInfoUpdate, schema.UsageUpdate]
        assert all(client.of(kind) for kind in kinds)

        assert (await prompt(connection, session, "refuse")).stop_reason == "refusal"
        with pytest.raises(acp.RequestError, match="cannot answer: this is the error that you asked for"):
            await prompt(connection, session, "error")
        listed = await connection.list_sessions(cwd=str(tmp_path))
        assert [(row.session_id, row.title) for row in listed.sessions] == [(session, "A name")]
        await connection.set_session_mode(session_id=session, mode_id="ask")
        changed = await connection.set_config_option(session_id=session, config_id="model", value="plain")
        assert changed.config_options[0].current_value == "plain"
        await connection.close_session(session_id=session)
    assert process.returncode == 0


async def test_a_cancel_with_the_sdk_client(tmp_path: Path):
    client = SdkClient()
    async with spawn(client, tmp_path) as (connection, _process):
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = (await connection.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
        turn = asyncio.create_task(prompt(connection, session, "sleep 600"))
        async with asyncio.timeout(LIMIT):
            await client.began.wait()
            await connection.cancel(session_id=session)
        assert (await turn).stop_reason == "cancelled"
        assert client.of(schema.ToolCallProgress)[-1].status == "failed"


async def test_another_process_loads_the_session(tmp_path: Path):
    first = SdkClient()
    async with spawn(first, tmp_path) as (connection, _process):
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = (await connection.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
        await prompt(connection, session, "remember the milk")

    second = SdkClient()
    async with spawn(second, tmp_path) as (connection, _process):
        await connection.initialize(protocol_version=acp.PROTOCOL_VERSION)
        await connection.load_session(cwd=str(tmp_path), session_id=session, mcp_servers=[])
        assert second.text(schema.UserMessageChunk) == "remember the milk"
        assert second.text() == first.text() == "I keep: the milk"
        second.updates.clear()
        await connection.resume_session(cwd=str(tmp_path), session_id=session)
        await prompt(connection, session, "recall")
        assert second.text() == "You told me to remember: the milk"
        with pytest.raises(acp.RequestError) as unknown:
            await connection.load_session(cwd=str(tmp_path), session_id="demo-unknown", mcp_servers=[])
        assert unknown.value.code == -32002
