"""An agent made with the Python ACP SDK: an implementation of the other end that is not ours."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import acp
from acp import schema

OPTIONS = [
    schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
    schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
]


class SdkAgent(acp.Agent):
    """Streams, asks for a permission on `ask`, for a form on `question`, waits for a cancel on `wait`."""

    def __init__(self) -> None:
        self._cancelled = asyncio.Event()

    def on_connect(self, conn: acp.Client) -> None:
        self._client = conn

    async def initialize(self, protocol_version, client_capabilities=None, client_info=None, **_):
        assert client_info is not None
        assert client_info.name == "acpbot"
        assert not client_capabilities.terminal
        assert client_capabilities.elicitation.form is not None
        assert client_capabilities.elicitation.url is not None
        return acp.InitializeResponse(
            protocol_version=protocol_version,
            agent_info=schema.Implementation(name="sdk-agent", version="1"),
            agent_capabilities=schema.AgentCapabilities(),
        )

    async def new_session(self, cwd, additional_directories=None, mcp_servers=None, **_):
        assert not additional_directories
        assert mcp_servers == []
        return acp.NewSessionResponse(session_id=f"sdk:{cwd}")

    async def _say(self, session_id: str, text: str) -> None:
        await self._client.session_update(session_id, acp.update_agent_message_text(text))

    async def prompt(self, session_id, prompt, **_):
        self._cancelled.clear()
        words = prompt[0].text
        for piece in ("You ", "said: ", words):
            await self._say(session_id, piece)
        if words == "ask":
            call = schema.ToolCallUpdate(tool_call_id="t1", title="touch a file", kind="edit", status="pending")
            await self._client.session_update(session_id, acp.start_tool_call("t1", "touch a file", kind="edit"))
            answer = await self._client.request_permission(session_id, call, OPTIONS)
            await self._client.session_update(session_id, acp.update_tool_call("t1", status="completed"))
            await self._say(session_id, f" -> {answer.outcome.outcome} {getattr(answer.outcome, 'option_id', '')}")
        if words == "question":
            form = schema.ElicitationSchema(
                properties={
                    "size": schema.ElicitationIntegerPropertySchema(type="integer", title="Size", minimum=1),
                    "color": schema.ElicitationStringPropertySchema(type="string", enum=["red", "green"]),
                },
                required=["size"],
            )
            mode = schema.ElicitationFormSessionMode(session_id=session_id, requested_schema=form)
            reply = await self._client.create_elicitation("How large?", mode)
            await self._say(session_id, f" -> {reply.action} {reply.content}")
        if words == "wait":
            await self._cancelled.wait()
            return acp.PromptResponse(stop_reason="cancelled")
        return acp.PromptResponse(stop_reason="end_turn")

    async def cancel(self, session_id, **_):
        assert session_id.startswith("sdk:")
        self._cancelled.set()


if __name__ == "__main__":
    sys.stderr.write("an agent made with the SDK\n")
    agent: Any = SdkAgent  # the SDK calls only the methods of what is advertised; the others stay abstract
    asyncio.run(acp.run_agent(agent()))
