"""The MCP servers that an agent is given: their form on the wire, and which of them it cannot take. Pure.

Source: https://agentclientprotocol.com/protocol/session-setup#mcp-servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from acpbot.acp.schema import McpCapabilities
    from acpbot.config.mcp_servers import McpServer


def on_the_wire(server: McpServer, programs: Mapping[str, str]) -> dict[str, Any]:
    """``server`` as `session/new` has it; ``programs`` are the absolute paths of commands, where they are known."""
    if server.command is not None:
        command = programs.get(server.command, server.command)
        made = {"name": server.name, "command": str(command), "args": [str(one) for one in server.args]}
        return {**made, "env": _pairs(server.env)}
    return {"type": server.type, "name": server.name, "url": str(server.url), "headers": _pairs(server.headers)}


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def not_reachable(servers: Iterable[McpServer], capabilities: McpCapabilities) -> list[McpServer]:
    """The servers whose transport the agent does not advertise; every agent takes stdio."""
    offered = {"stdio": True, "http": capabilities.http, "sse": capabilities.sse}
    return [server for server in servers if not offered[server.transport]]


def described(servers: Sequence[McpServer]) -> str:
    """The servers by name and transport, on one line."""
    return ", ".join(f"{server.name} ({server.transport})" for server in servers)
