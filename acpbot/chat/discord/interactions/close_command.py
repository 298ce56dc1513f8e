"""`/close`: ends a thread's session, keeps its conversation, and archives the thread. The next message reopens both."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from acpbot.chat.discord.interactions.command_text import CLOSED, NOT_ENDED, THREAD_LEFT_LINE
from acpbot.chat.thread_commands import next_text

if TYPE_CHECKING:
    from acpbot.chat.discord.interactions.call import Call
    from acpbot.chat.discord.outbound.threads import Threads
    from acpbot.chat.thread_commands import CommandedEnds
    from acpbot.sessions.pool import Pool
    from acpbot.storage.records import ThreadRecord


class CloseCommand:
    """Who may give it is checked before."""

    def __init__(self, pool: Pool, threads: Threads, ends: CommandedEnds) -> None:
        self._pool = pool
        self._threads = threads
        self._ends = ends

    async def run(self, call: Call, thread: ThreadRecord) -> str:
        """Close a known thread; the answer. It is archived once the person has the answer."""
        if call.source.is_thread:
            self.archive(call)
        left = self._pool.withdraw_from_line(call.thread_id, by=call.user_id)
        session = self._pool.get(call.thread_id)
        what_next = next_text(resumable=thread.resumable)
        if session is None:
            return THREAD_LEFT_LINE if left else f"No agent is running here. {what_next}"
        end = partial(self._pool.suspend, call.thread_id, session.session_id)
        result = await self._ends.end(call.thread_id, f"<@{call.user_id}> closed this session. {what_next}", end)
        return f"Done. {what_next}" if result.outcome != "failed" else f"{NOT_ENDED} {what_next}"

    def archive(self, call: Call) -> str:
        """Archive a thread that has no conversation; the answer."""
        call.after_answer = partial(self._threads.archive, call.thread_id, is_wanted=partial(self._is_unused, call))
        return CLOSED

    def _is_unused(self, call: Call) -> bool:
        """Whether nobody has written in the thread since."""
        thread = self._pool.thread(call.thread_id)
        return self._pool.get(call.thread_id) is None and (thread is None or not self._pool.row(call.thread_id).queued)
