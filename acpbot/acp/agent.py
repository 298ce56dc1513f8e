"""An ACP client: the calls of the protocol to one agent, and the ACP session that is open in it."""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from acpbot import __version__
from acpbot.acp import bounds, schema, sign_in
from acpbot.acp.connection import AgentConnection
from acpbot.errors import AgentError, AgentGone, AgentNotSignedIn, AgentRefused, AgentStartError, AgentTimeout
from acpbot.jsonrpc import encode_notification, encode_result
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from acpbot.jsonrpc import Id

log = get_logger(__name__)

CALL_SECONDS: Final = 20.0

Opened = Literal["new", "resumed", "loaded"]


class Agent(AgentConnection):
    """One agent. ``session_id`` is set once a session is open in it, the capabilities after `initialize`.

    ``can_resume``: whether the agent says that it can continue a session in a new process. ``can_close``: whether it
    offers ``session/close``. ``environ`` is its environment, ``auth_method`` the sign-in method that the configuration
    names; ``signed_in_by``: the method by which acpbot has signed it in.
    """

    def __init__(
        self,
        name: str = "",
        *,
        start_timeout: float = 60.0,
        environ: Mapping[str, str] = MappingProxyType({}),
        auth_method: str | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.info: schema.Implementation | None = None
        self.capabilities = schema.AgentCapabilities()
        self.can_resume = self.can_close = False
        self.session_id: str | None = None
        self.session = schema.SessionResult()
        self.auth_methods: list[dict[str, Any]] = []
        self.signed_in_by: str | None = None
        self._start_timeout = start_timeout
        self._environ = environ
        self._auth_method = auth_method

    async def initialize(self) -> None:
        """Agree on the protocol version. Raises AgentError; AgentStartError where the agent speaks another version."""
        params = {
            "protocolVersion": schema.PROTOCOL_VERSION,
            # The agent works in its own directory: it gets neither our file system nor our terminals.
            # Without the last one, an agent may not offer options that are on or off.
            "clientCapabilities": {
                "fs": {"readTextFile": False, "writeTextFile": False},
                "terminal": False,
                "session": {"configOptions": {"boolean": {}}},
                "elicitation": {"form": {}, "url": {}},
            },
            "clientInfo": {"name": "acpbot", "title": "acpbot", "version": __version__},
        }
        result = await self.request("initialize", params, schema.InitializeResult, limit=self._start_timeout)
        if result.protocol_version != schema.PROTOCOL_VERSION:
            raise AgentStartError(
                f"cannot start agent {self.name!r}: it speaks ACP version {result.protocol_version}, "
                f"acpbot speaks {schema.PROTOCOL_VERSION}; use a release of it that does"
            )
        self.info = None if result.agent_info is None else bounds.implementation(result.agent_info)
        self.auth_methods = result.auth_methods
        self.capabilities = result.agent_capabilities
        offered = self.capabilities.session_capabilities
        self.can_resume = self.capabilities.load_session or offered.get("resume") is not None
        self.can_close = offered.get("close") is not None

    async def open(self, cwd: Path, previous: str | None = None) -> Opened:
        """Open the session: resume or load ``previous`` where that is possible, else a new one.

        Resume comes first because load replays the history (dropped here). Where the agent answers that it does not
        know ``previous``, a new session is opened; where it does not answer in time, none is. Raises AgentError.
        """
        if previous is not None and (opened := await self._reopen(cwd, previous)) is not None:
            return opened
        params = {"cwd": str(cwd), "mcpServers": []}
        result = await self._open("session/new", params)
        if not result.session_id:
            raise AgentRefused("cannot go on: the agent's answer to session/new names no session", code=0)
        self.session_id, self.session = result.session_id, result
        return "new"

    async def _reopen(self, cwd: Path, previous: str) -> Opened | None:
        params = {"sessionId": previous, "cwd": str(cwd), "mcpServers": []}
        ways: list[tuple[str, Opened]] = []
        if self.capabilities.session_capabilities.get("resume") is not None:
            ways.append(("session/resume", "resumed"))
        if self.capabilities.load_session:
            ways.append(("session/load", "loaded"))
        slow: AgentTimeout | None = None
        for method, opened in ways:
            try:
                self.session = await self._open(method, params, mute=True)
            except AgentNotSignedIn:
                raise  # the conversation is kept until somebody has signed in
            except (AgentRefused, AgentTimeout) as error:
                log.info("agent_reopen_failed", method=method, reason=str(error))
                slow = error if isinstance(error, AgentTimeout) else slow
                continue
            # Not in ACP, but an agent that continues under another id names it here, and its updates carry that one.
            self.session_id = self.session.session_id or previous
            return opened
        if slow is not None:
            raise AgentTimeout(f"{slow}; the conversation is kept: try again, or start a new one")
        return None

    async def _open(self, method: str, params: dict[str, Any], *, mute: bool = False) -> schema.SessionResult:
        """Call a method that opens a session; where the agent asks for it, sign in and call it again, once."""
        limit = self._start_timeout
        try:
            return await self.request(method, params, schema.SessionResult, limit=limit, mute=mute)
        except AgentRefused as error:
            if error.code != schema.AUTH_REQUIRED:
                raise
            await self._sign_in(error)
        try:
            return await self.request(method, params, schema.SessionResult, limit=limit, mute=mute)
        except AgentRefused as error:
            if error.code == schema.AUTH_REQUIRED:
                raise AgentNotSignedIn(error, sign_in.described(self.auth_methods)) from None
            raise

    async def _sign_in(self, refused: AgentRefused) -> None:
        """Sign in by a method that needs no person. Raises AgentNotSignedIn where there is none, or it fails."""
        methods = sign_in.described(self.auth_methods)
        method = sign_in.choose(self.auth_methods, self._environ, self._auth_method)
        if method is None or self.signed_in_by is not None:
            raise AgentNotSignedIn(refused, methods)
        try:
            await self.request("authenticate", {"methodId": method}, dict[str, Any], limit=self._start_timeout)
        except AgentRefused as error:
            raise AgentNotSignedIn(error, methods) from None
        self.signed_in_by = method
        log.info("agent_signed_in", agent=self.name, method=method[:80])

    async def call(self, method: str, *, limit: float = CALL_SECONDS, **params: Any) -> dict[str, Any]:
        """Call a method of the open session; ``limit`` in seconds. Raises AgentRefused, AgentTimeout, AgentGone."""
        whole = {"sessionId": self.session_id, **params}
        return await self.request(method, whole, dict[str, Any], limit=limit)

    def prompt(self, blocks: list[dict[str, Any]]) -> int:
        """Send ``session/prompt``; return its id. The answer is a `PromptEnded`, after all updates before it.

        Raises AgentGone, AgentTimeout (the agent does not read its stdin).
        """
        request_id, line = self._peer.request("session/prompt", {"sessionId": self.session_id, "prompt": blocks})
        self._write(line)
        return request_id

    def cancel(self) -> None:
        """Ask the agent to stop the running prompt; nothing happens where the agent is gone."""
        with contextlib.suppress(AgentGone, AgentTimeout):
            self._write(encode_notification("session/cancel", {"sessionId": self.session_id}))

    def answer_permission(self, request_id: Id, outcome: dict[str, Any]) -> None:
        """Answer ``session/request_permission``; nothing happens where the agent is gone."""
        with contextlib.suppress(AgentGone, AgentTimeout):
            self._write(encode_result(request_id, outcome))

    def answer_elicitation(self, request_id: Id, reply: dict[str, Any]) -> None:
        """Answer ``elicitation/create``; nothing happens where the agent is gone."""
        with contextlib.suppress(AgentGone, AgentTimeout):
            self._write(encode_result(request_id, reply))

    async def close_session(self, limit: float) -> None:
        """Call ``session/close`` and wait at most ``limit`` seconds for the answer; a failure is logged."""
        try:
            await self.request("session/close", {"sessionId": self.session_id}, dict[str, Any], limit=limit)
        except AgentError as error:
            log.debug("agent_close_failed", reason=str(error))
