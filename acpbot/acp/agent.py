"""One agent: the calls of ACP, over a connection, and the ACP session in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Literal

from acpbot import __version__
from acpbot.acp import schema
from acpbot.errors import AgentError, AgentGone, AgentRefused, AgentStartError, AgentTimeout
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.acp.connection import Connection
    from acpbot.jsonrpc import Id

log = get_logger(__name__)

CALL_SECONDS: Final = 20.0

Opened = Literal["new", "resumed", "loaded"]


class Agent:
    """A started agent. ``session`` is set once a session is open in it."""

    def __init__(self, name: str, connection: Connection, *, start_timeout: float = 60.0) -> None:
        self.name = name
        self.connection = connection
        self.info: schema.Implementation | None = None
        self.capabilities = schema.AgentCapabilities()
        self.session_id: str | None = None
        self.session = schema.SessionResult()
        self._start_timeout = start_timeout

    async def initialize(self) -> None:
        """Agree on the protocol version. Raises AgentError; AgentStartError where the agent speaks another version."""
        result = await self.connection.request(
            "initialize",
            schema.initialize_params(__version__),
            schema.InitializeResult,
            limit=self._start_timeout,
        )
        if result.protocol_version != schema.PROTOCOL_VERSION:
            raise AgentStartError(
                f"cannot start agent {self.name!r}: it speaks ACP version {result.protocol_version}, "
                f"acpbot speaks {schema.PROTOCOL_VERSION}; use a release of it that does"
            )
        self.info = result.agent_info
        self.capabilities = result.agent_capabilities

    @property
    def resumable(self) -> bool:
        """Whether the agent says that it can take a session up again in a new process."""
        return self.capabilities.load_session or self.capabilities.session("resume")

    async def open(self, cwd: Path, previous: str | None = None) -> Opened:
        """Open the session: resume or load ``previous`` where that is possible, else a new one.

        Resume comes first because load replays the history (dropped here). An agent that knows ``previous`` no longer
        says so; where one does not answer in time, nothing new is begun. Raises AgentError.
        """
        if previous is not None and (opened := await self._reopen(cwd, previous)) is not None:
            return opened
        await self._new(cwd)
        return "new"

    async def _new(self, cwd: Path) -> None:
        result = await self._call("session/new", {"cwd": str(cwd), "mcpServers": []})
        if not result.session_id:
            raise AgentRefused("cannot go on: the agent's answer to session/new names no session", code=0)
        self.session_id, self.session = result.session_id, result

    async def _reopen(self, cwd: Path, previous: str) -> Opened | None:
        params = {"sessionId": previous, "cwd": str(cwd), "mcpServers": []}
        ways: list[tuple[str, Opened]] = []
        if self.capabilities.session("resume"):
            ways.append(("session/resume", "resumed"))
        if self.capabilities.load_session:
            ways.append(("session/load", "loaded"))
        slow: AgentTimeout | None = None
        for method, opened in ways:
            try:
                self.session = await self._call(method, params, mute=True)
            except (AgentRefused, AgentTimeout) as error:
                log.info("agent_reopen_failed", method=method, reason=str(error))
                slow = error if isinstance(error, AgentTimeout) else slow
                continue
            # Not ACP, but an agent that goes on under another id says so here, and its updates will carry that one.
            self.session_id = self.session.session_id or previous
            return opened
        if slow is not None:
            raise AgentTimeout(f"{slow}; the conversation is kept: try again, or start a new one")
        return None

    async def call(self, method: str, *, limit: float = CALL_SECONDS, **params: Any) -> dict[str, Any]:
        """Call a method of the open session; ``limit`` in seconds. Raises AgentRefused, AgentTimeout, AgentGone."""
        whole = {"sessionId": self.session_id, **params}
        return await self.connection.request(method, whole, dict[str, Any], limit=limit)

    async def _call(self, method: str, params: Any, *, mute: bool = False) -> schema.SessionResult:
        limit = self._start_timeout
        return await self.connection.request(method, params, schema.SessionResult, limit=limit, mute=mute)

    def prompt(self, blocks: list[dict[str, Any]]) -> int:
        """Send a prompt; the answer comes on the connection. Raises AgentGone, AgentTimeout."""
        return self.connection.prompt({"sessionId": self.session_id, "prompt": blocks})

    def cancel(self) -> None:
        """Ask the agent to stop the running prompt; an agent that is gone needs no asking."""
        with contextlib.suppress(AgentGone, AgentTimeout):
            self.connection.notify("session/cancel", {"sessionId": self.session_id})

    def answer_permission(self, request_id: Id, outcome: dict[str, Any]) -> None:
        """Answer ``session/request_permission``; an agent that is gone wants no answer."""
        with contextlib.suppress(AgentGone, AgentTimeout):
            self.connection.answer(request_id, outcome)

    async def close_session(self, limit: float) -> bool:
        """``session/close`` where it is offered, for at most ``limit`` seconds; whether the agent obeyed."""
        if self.session_id is None or not self.capabilities.session("close"):
            return False
        try:
            await self.connection.request("session/close", {"sessionId": self.session_id}, dict[str, Any], limit=limit)
        except AgentError as error:
            log.debug("agent_close_failed", reason=str(error))
            return False
        return True
