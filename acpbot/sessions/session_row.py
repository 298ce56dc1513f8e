"""A session as others see it: its row, and its detail with a look at the system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from acpbot.sessions.views import (
    Detail,
    Row,
    permission_row,
    process_rows,
    question_row,
    tree_members,
)

if TYPE_CHECKING:
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.runtime import AgentProcess, Usage
    from acpbot.sessions.options import Options
    from acpbot.sessions.permission_requests import PermissionRequests
    from acpbot.sessions.questions import Questions
    from acpbot.sessions.turn_runner import TurnRunner
    from acpbot.sessions.views import SessionState
    from acpbot.storage.records import ThreadRecord


class ShownSession(Protocol):
    """What is shown of a session: `acpbot.sessions.session` imports this module, and so it is not imported here."""

    session_id: str
    cwd: str
    thread: ThreadRecord
    agent_settings: AgentSettings
    turns: TurnRunner
    process: AgentProcess | None
    usage: Usage | None
    options: Options

    @property
    def state(self) -> SessionState:
        """As in its row."""

    @property
    def progress(self) -> str:
        """What a start does now."""

    @property
    def permission_requests(self) -> PermissionRequests:
        """Those that are open, and more."""

    @property
    def questions(self) -> Questions:
        """Those that are open, and more."""

    def row(self) -> Row:
        """A snapshot."""


def session_row(session: ShownSession, now: float) -> Row:
    """A snapshot; ``now``: monotonic seconds, of the session's clock."""
    turns, process, usage, options = session.turns, session.process, session.usage, session.options
    thread, in_turn = session.thread, turns.turn is not None
    lines = [one.line for asked in (session.permission_requests, session.questions) for one in asked.open.values()]
    # Name by name: a list has hundreds of rows, and any other way takes three times as long.
    return Row(
        thread_id=thread.thread_id,
        platform=thread.platform,
        agent=thread.agent,
        title=thread.title,
        owner=thread.owner,
        created_at=thread.created_at,
        turns=thread.turns,
        acp_session_id=thread.acp_session_id,
        resumable=thread.resumable,
        last_end=thread.last_end,
        cwd=session.cwd,
        session_id=session.session_id,
        state=session.state,
        runtime=session.agent_settings.runtime,
        place=None if process is None else process.place,
        alive=False if process is None else process.alive,
        idle_seconds=0.0 if in_turn else round(now - turns.idle_since, 3),
        turn_seconds=round(turns.turn_seconds, 3) if in_turn else None,
        silent_seconds=round(turns.silent_seconds, 3) if in_turn else None,
        activity=session.progress or turns.calls.activity,
        waiting_for=lines[0] if lines else None,
        queued=len(turns.queue),
        mode=options.mode,
        model=options.model,
        context_used=options.usage.context_used,
        context_size=options.usage.context_size,
        cost=options.usage.cost,
        pid=None if process is None else process.pid,
        processes=None if usage is None else usage.processes,
        rss_bytes=None if usage is None else usage.rss_bytes,
        cpu_seconds=None if usage is None or usage.cpu_seconds is None else round(usage.cpu_seconds, 2),
    )


async def session_detail(session: ShownSession) -> Detail:
    """A snapshot with stderr, open tool calls and the process tree as they are now."""
    process = session.process
    permission = next(iter(session.permission_requests.open.values()), None)
    question = next(iter(session.questions.open.values()), None)
    tree = [] if process is None else process_rows(await process.look())
    members = msgspec.structs.asdict(session.row()) | tree_members(tree)
    return Detail(
        **members,
        stderr=[] if process is None else process.stderr.lines(),
        tool_calls=session.turns.calls.rows(),
        process_tree=tree,
        permission=None if permission is None else permission_row(permission),
        question=None if question is None else question_row(question),
        limits_not_held=() if process is None else process.limits_not_held,
        options_not_set=session.options.not_set,
    )
