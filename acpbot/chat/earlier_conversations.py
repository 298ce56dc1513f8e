"""Conversations that an agent knows beside those of acpbot: they are listed, and a thread takes one up.

They are the operator's own, begun in an editor or a terminal of this machine, so only admins may see them. Source:
https://agentclientprotocol.com/protocol/session-list.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import msgspec

from acpbot.aio import DISK
from acpbot.chat.thread_commands import started_session
from acpbot.errors import AgentError, AgentTimeout, Conflict, Draining, InvalidParams, NotFound, TimedOut
from acpbot.logs import get_logger
from acpbot.sessions.titles import without_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.thread_commands import CommandedEnds
    from acpbot.sessions.pool import Pool
    from acpbot.sessions.session import Session

log = get_logger(__name__)

_ID_MOST = 256


class KnownConversation(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation of an agent. ``updated_at``: RFC 3339. ``thread_id``: the thread of acpbot that has it."""

    acp_session_id: str
    title: str | None
    updated_at: str | None
    thread_id: str | None


class KnownConversations(msgspec.Struct, frozen=True, kw_only=True):
    """Those of one folder, the latest first; ``more``: there are others, which are left out."""

    agent: str
    cwd: str
    conversations: list[KnownConversation]
    more: bool


class EarlierConversations:
    """Lists the conversations of a thread's agent and has the thread take one up; ``platform`` is the threads'.

    ``announce`` tells a thread what concerns all its readers.
    """

    def __init__(self, pool: Pool, platform: str, ends: CommandedEnds, announce: Callable[[str, str], object]) -> None:
        self._pool = pool
        self._platform = platform
        self._ends = ends
        self._announce = announce

    async def list(self, thread_id: str) -> KnownConversations:
        """What the agent of the thread's session knows for the thread's folder; waits for a session that starts.

        Raises NotFound (no session), Conflict (the agent does not list conversations, or refuses to), TimedOut.
        """
        session = await started_session(self._pool, thread_id)
        if session is None or session.agent is None:
            raise NotFound(f"cannot list the conversations: no agent runs for {thread_id[:80]} now")
        name = session.agent_settings.name
        if not session.agent.can_list or not session.agent.can_resume:
            raise Conflict(f"cannot list the conversations: the agent {name!r} does not offer to list and resume them")
        try:
            # Agents name a folder as it was given, or without its symbolic links.
            real = await DISK.run(os.path.realpath, session.cwd)
            found, more = await session.agent.list_sessions(session.cwd, real)
        except AgentTimeout as error:
            raise TimedOut(str(error)) from None
        except AgentError as error:
            raise Conflict(str(error)) from None
        holders = self._holders()
        known = {each["sessionId"]: _known(each, holders.get(each["sessionId"])) for each in found}
        known.pop(session.thread.acp_session_id or "", None)  # the one that it has now
        latest = sorted(known.values(), key=_age)
        return KnownConversations(agent=name, cwd=session.cwd, conversations=latest, more=more)

    def _holders(self) -> dict[str, str]:
        """The threads of acpbot that have a conversation, by its id: two agents may be the same program."""
        rows = self._pool.rows(suspended=True)
        return {row.acp_session_id: row.thread_id for row in rows if row.acp_session_id is not None}

    async def take_up(self, thread_id: str, acp_session_id: str, *, owner: str, agent: str | None, by: str) -> Session:
        """Start a session of the thread that continues this conversation, in place of the one that the thread has.

        Where the agent does not know it, a new conversation begins, and the thread reads so. ``owner``: that of a
        new thread. ``by``: who does it, for those who read the thread. Raises Conflict (a turn runs, or another thread
        has the conversation), and as :meth:`Pool.ensure`.
        """
        if self._pool.draining:
            raise Draining("cannot resume a conversation: acpbot is about to stop or restart; try again in a moment")
        known, session = self._pool.thread(thread_id), self._pool.get(thread_id)
        name = agent if agent is not None or known is None else known.agent
        # All that is wrong is said before anything ends.
        if not 0 < len(acp_session_id) <= _ID_MOST:
            raise InvalidParams(f"cannot resume {acp_session_id[:80]!r}: an id has 1 to {_ID_MOST} characters")
        if name is not None and name not in self._pool.agents:
            names = ", ".join(sorted(self._pool.agents))
            raise InvalidParams(f"cannot use agent {name[:40]!r}: the agents are {names}")
        holder = self._holders().get(acp_session_id)
        if holder == thread_id:
            return self._pool.ensure(thread_id, platform=self._platform, owner=owner, agent=agent)
        if holder is not None:
            raise Conflict(f"cannot resume {acp_session_id[:80]!r}: thread {holder} has it")
        if session is not None and (session.turns.turn is not None or session.turns.queue):
            raise Conflict(f"cannot resume another conversation: a turn is running in {thread_id}; cancel it first")
        if known is not None:
            text = f"{by} switched this thread to another conversation."
            if not await self._ends.forget(thread_id, text):
                self._announce(thread_id, text)
            owner = known.owner or owner
        if self._pool.get(thread_id) is not None:
            raise Conflict(
                f"cannot resume another conversation: a message came to {thread_id} in the meantime; try again"
            )
        channel = None if known is None else known.channel
        session = self._pool.ensure(thread_id, platform=self._platform, owner=owner, agent=name, channel=channel)
        # In the same step of the event loop: the session's start has not read it yet.
        thread = session.thread
        thread.acp_session_id, thread.resumable, thread.adopted = acp_session_id, True, True
        self._pool.session_changed(session)
        log.info("conversation_taken_up", thread=thread_id, by=by, agent=thread.agent, acp_session_id=acp_session_id)
        return session


def _known(found: dict[str, Any], thread_id: str | None) -> KnownConversation:
    title, updated_at = found.get("title"), found.get("updatedAt")
    return KnownConversation(
        acp_session_id=found["sessionId"],
        title=(without_context(title) or None) if isinstance(title, str) else None,
        updated_at=updated_at if _point(updated_at) is not None else None,
        thread_id=thread_id,
    )


def _point(text: object) -> float | None:
    """A point in time as Unix time; ``None`` where it is none."""
    if not isinstance(text, str):
        return None
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _age(known: KnownConversation) -> float:
    return -(_point(known.updated_at) or 0.0)
