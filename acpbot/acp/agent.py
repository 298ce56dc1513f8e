"""An ACP client: the calls of the protocol to one agent, and the ACP session that is open in it."""

from __future__ import annotations

import asyncio
import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from acpbot import __version__
from acpbot.acp import bounds, mcp, schema, sign_in
from acpbot.acp.connection import AgentConnection
from acpbot.errors import AgentError, AgentGone, AgentNotSignedIn, AgentRefused, AgentStartError, AgentTimeout
from acpbot.jsonrpc import encode_notification, encode_result
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from acpbot.config.mcp_servers import McpServer
    from acpbot.jsonrpc import Id

log = get_logger(__name__)

CALL_SECONDS: Final = 20.0
_PAGES_MOST: Final = 16
_CURSOR_MOST: Final = 4096

NOT_SET_UP: Final = "The agent isn't set up correctly. Ask your admin."
"""What people in a chat read of an agent whose configuration does not fit it."""

Opened = Literal["new", "resumed", "loaded"]


class Agent(AgentConnection):
    """One agent. ``session_id`` is set once a session is open in it, the capabilities after `initialize`.

    ``can_resume``: whether the agent says that it can continue a session in a new process. ``can_close``,
    ``can_delete``, ``can_list``: whether it offers ``session/close``, ``session/delete``, ``session/list``. ``environ``
    is its environment, ``auth_method`` the sign-in method that the configuration names; ``signed_in_by``: the method by
    which acpbot has signed it in. ``mcp_servers`` are given to each session; ``programs``: the absolute paths of their
    commands, by these, ``None`` where nobody can look.
    """

    def __init__(
        self,
        name: str = "",
        *,
        start_timeout: float = 60.0,
        environ: Mapping[str, str] = MappingProxyType({}),
        auth_method: str | None = None,
        mcp_servers: Sequence[McpServer] = (),
        programs: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.info: schema.Implementation | None = None
        self.capabilities = schema.AgentCapabilities()
        self.can_resume = self.can_close = self.can_delete = self.can_list = False
        self.session_id: str | None = None
        self.session = schema.SessionResult()
        self.auth_methods: list[dict[str, Any]] = []
        self.signed_in_by: str | None = None
        self._start_timeout = start_timeout
        self._environ = environ
        self._auth_method = auth_method
        self.mcp_servers = mcp_servers
        self._programs = programs

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
        self.can_delete = offered.get("delete") is not None
        self.can_list = offered.get("list") is not None

    async def open(self, cwd: Path, previous: str | None = None) -> Opened:
        """Open the session: resume or load ``previous`` where that is possible, else a new one.

        Resume comes first because load replays the history (dropped here). Where the agent answers that it does not
        know ``previous``, a new session is opened; where it does not answer in time, none is. Raises AgentError;
        AgentStartError where it cannot reach one of the MCP servers: without its tools its answers would be others.
        """
        if missing := mcp.not_reachable(self.mcp_servers, self.capabilities.mcp_capabilities):
            problem = f"it takes no MCP server of this type: {mcp.described(missing)}"
            way_out = "use one that is started by a command, or remove it from mcp_servers"
            raise AgentStartError(f"cannot start agent {self.name!r}: {problem}; {way_out}", for_people=NOT_SET_UP)
        if previous is not None and (opened := await self._reopen(cwd, previous)) is not None:
            return opened
        params = {"cwd": str(cwd), "mcpServers": self._servers(self.mcp_servers)}
        try:
            result = await self._open("session/new", params)
        except AgentNotSignedIn:
            raise
        except (AgentRefused, AgentTimeout) as error:
            if not self.mcp_servers:
                raise
            given = f"{error}; it was given the MCP servers {mcp.described(self.mcp_servers)}"
            if isinstance(error, AgentTimeout):
                raise AgentTimeout(f"{given}, and may wait for one of them") from None
            told = f"{given}: `acpbot check` says whether it refuses one of them"
            raise AgentRefused(told, code=error.code, said=error.said, core=error.core) from None
        if not result.session_id:
            raise AgentRefused("cannot go on: the agent's answer to session/new names no session", code=0)
        self.session_id, self.session = result.session_id, result
        return "new"

    async def refused_servers(self, cwd: Path) -> list[McpServer]:
        """The MCP servers with which the agent opens no session though it opens one without; it opens several.

        One with which it does not answer in time is among them. Raises AgentRefused where it opens none without them
        either; AgentTimeout, AgentGone.
        """
        await self._open("session/new", {"cwd": str(cwd), "mcpServers": []})
        refused = []
        for server in self.mcp_servers:
            try:
                await self._open("session/new", {"cwd": str(cwd), "mcpServers": self._servers([server])})
            except (AgentRefused, AgentTimeout):
                refused.append(server)
        return refused

    @property
    def unknown_programs(self) -> list[str]:
        """The commands of MCP servers that were looked for and not found; the agent gets them as they are."""
        commands = [server.command for server in self.mcp_servers if server.command is not None]
        return [] if self._programs is None else [one for one in commands if one not in self._programs]

    def _servers(self, servers: Sequence[McpServer]) -> list[dict[str, Any]]:
        return [mcp.on_the_wire(server, self._programs or {}) for server in servers]

    async def _reopen(self, cwd: Path, previous: str) -> Opened | None:
        params = {"sessionId": previous, "cwd": str(cwd), "mcpServers": self._servers(self.mcp_servers)}
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

    async def sign_in_again(self, refused: AgentRefused) -> None:
        """Sign in for a prompt that the agent has ``refused`` for that, by the rule of :meth:`open`.

        A sign-in may have come to its end, so one that worked before is tried again. Raises AgentNotSignedIn where no
        method works without a person; AgentTimeout, AgentGone.
        """
        self.signed_in_by = None
        await self._sign_in(refused)

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
        params = {"sessionId": self.session_id, "prompt": schema.apart(blocks)}
        request_id, line = self._peer.request("session/prompt", params)
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

    async def list_sessions(
        self, cwd: str, real: str, limit: float = CALL_SECONDS
    ) -> tuple[list[dict[str, Any]], bool]:
        """The sessions that the agent knows for this folder, as ACP's ``SessionInfo``, and whether there are more.

        ``real``: the folder without symbolic links. 256 sessions at most, of 16 pages at most; ``limit`` in seconds for
        all together. Raises AgentRefused, AgentTimeout,
        AgentGone.
        """
        found: list[dict[str, Any]] = []
        cursors: set[str] = set()
        cursor: str | None = None
        deadline = asyncio.get_running_loop().time() + limit
        while len(cursors) < _PAGES_MOST and len(found) < bounds.SESSIONS_MOST:
            params = {"cwd": cwd, **({} if cursor is None else {"cursor": cursor})}
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            page = await self.request("session/list", params, schema.SessionPage, limit=left)
            found += bounds.sessions(page.sessions, (cwd, real))
            cursor = page.next_cursor
            if cursor is None or cursor in cursors or len(cursor) > _CURSOR_MOST:
                break
            cursors.add(cursor)
        return found[: bounds.SESSIONS_MOST], cursor is not None or len(found) > bounds.SESSIONS_MOST

    async def delete_session(self, limit: float) -> None:
        """Call ``session/delete`` and wait at most ``limit`` seconds for the answer; a failure is logged."""
        try:
            await self.request("session/delete", {"sessionId": self.session_id}, dict[str, Any], limit=limit)
        except AgentError as error:
            log.warning("agent_delete_failed", agent=self.name, reason=str(error))
