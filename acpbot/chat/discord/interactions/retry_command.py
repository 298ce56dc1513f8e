"""`/retry`: has the agent answer the last prompt of the thread again, for one of those who control the thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.markdown import code
from acpbot.errors import Draining
from acpbot.logs import get_logger
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.chat.discord.interactions.call import Call
    from acpbot.chat.discord.last_prompts import LastPrompts
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

BUSY: Final = "The agent is working here. Wait for its answer, or stop it with `/cancel`."
UNKNOWN: Final = "I no longer have this thread's last message. Please send it again."
RESTARTING: Final = "I'm restarting. Please try again in a moment."
FILES_LOST: Final = "I no longer have its files. Please attach them again if they matter."
_SHOWN: Final = 80


class RetryCommand:
    """``run_again`` queues a message as a turn."""

    def __init__(self, pool: Pool, prompts: LastPrompts, run_again: Callable[[IncomingMessage], int]) -> None:
        self._pool = pool
        self._prompts = prompts
        self._run_again = run_again

    async def run(self, call: Call) -> str:
        """Queue the last prompt of a known thread again; the answer. Raises as :meth:`Pool.submit`, but Draining."""
        if self._is_busy(call.thread_id):
            return BUSY
        last = await self._prompts.get(call.thread_id)
        if last is None:
            return UNKNOWN
        thread = self._pool.thread(call.thread_id)
        if thread is None or self._is_busy(call.thread_id):  # a message, or a reset, came meanwhile
            return BUSY if thread is not None else UNKNOWN
        message = last.message
        if last.files_lost and message.only_files:
            return UNKNOWN
        try:
            self._run_again(_asked_by(call.user_id, message))
        except Draining:
            return RESTARTING
        log.info("prompt_retried", user=call.user_id, thread=call.thread_id, message=message.key)
        shown = one_line(message.text, _SHOWN)
        answer = f"Running it again: {code(shown)}" if shown else "Running it again."
        return f"{answer}\n{FILES_LOST}" if last.files_lost else answer

    def _is_busy(self, thread_id: str) -> bool:
        """Whether a turn runs in the thread, or waits."""
        session = self._pool.get(thread_id)
        runs = session is not None and session.turns.turn is not None
        return runs or (self._pool.thread(thread_id) is not None and self._pool.row(thread_id).queued > 0)


def _asked_by(user_id: str, last: IncomingMessage) -> IncomingMessage:
    """The same prompt, for the person who wants it run: their access counts, and their limits."""
    return IncomingMessage(
        thread_id=last.thread_id,
        text=last.text,
        owner=user_id,
        key=last.key,
        origin=last.origin,
        channel=last.channel,
        title=last.title,
        context=last.context,
        blocks=last.blocks,
        only_files=last.only_files,
    )
