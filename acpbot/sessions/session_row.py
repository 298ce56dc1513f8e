"""What a session's row says, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acpbot.sessions.session import Session


def members(session: Session) -> dict[str, Any]:
    """The members of its :class:`Row`."""
    thread, usage = session.thread, session.usage
    process = session.process
    in_turn = session.turn is not None
    return {
        "thread_id": thread.thread_id,
        "session_id": session.session_id,
        "platform": thread.platform,
        "agent": thread.agent,
        "state": session.state,
        "alive": process is not None and process.alive,
        "cwd": str(thread.cwd),
        "title": thread.title,
        "owner": thread.owner,
        "created_at": thread.created_at,
        "idle_seconds": 0.0 if in_turn else round(session.seconds_since(session.idle_since), 3),
        "turn_seconds": round(session.turn_seconds, 3) if in_turn else None,
        "silent_seconds": round(session.silent_seconds, 3) if in_turn else None,
        "activity": session.activity,
        "waiting_for": next((ask.title for ask in session.asks.all()), None),
        "queued": session.queued,
        "turns": thread.turns,
        "pid": None if process is None else process.pid,
        "processes": None if usage is None else usage.processes,
        "rss_bytes": None if usage is None else usage.rss_bytes,
        "cpu_seconds": None if usage is None else round(usage.cpu_seconds, 2),
        "acp_session_id": thread.acp_session_id,
        "resumable": thread.resumable,
    }
