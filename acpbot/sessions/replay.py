"""The history of a conversation that an agent sends after its answer to `session/load` or `session/resume`.

It has to come before the answer (https://agentclientprotocol.com/protocol/session-setup), but some agents are late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import Update
    from acpbot.sessions.pauses import Pauses

_TIMES: Final = 10
"""Of a pause: the longest time that is waited for an agent that sends history without end."""

_HELD_MOST: Final = 1000


class Replay:
    """Tells history from the answer to the first prompt. ``deliver`` gets what is no history."""

    def __init__(self, pauses: Pauses, deliver: Callable[[Update], None]) -> None:
        self._pauses = pauses
        self._deliver = deliver
        self._reopened = self._prompted = False
        self._held: list[Update] = []
        self._last = self._prompted_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def reopened(self) -> None:
        """The session was opened by `session/load` or `session/resume`."""
        self._reopened = True
        self._last = asyncio.get_running_loop().time()

    async def wait_until_quiet(self) -> None:
        """Wait before the first prompt until no history comes any more; not at all where the session is new."""
        if not self._reopened or self._prompted:
            return
        loop, pause = asyncio.get_running_loop(), self._pauses.quiet
        until = loop.time() + _TIMES * pause
        while (wait := min(self._last + pause, until) - loop.time()) > 0:  # noqa: ASYNC110 - history makes it wait longer
            await asyncio.sleep(wait)

    def prompted(self) -> None:
        """A prompt is sent now."""
        if self._reopened and not self._prompted:
            self._prompted = True
            self._prompted_at = asyncio.get_running_loop().time()
            self._hold()

    def takes(self, update: Update) -> bool:
        """Whether an update of the conversation is history, or may still turn out to be."""
        if not self._reopened:
            return False
        self._last = asyncio.get_running_loop().time()
        if not self._prompted:
            return True
        if update.kind == "user_message_chunk":
            self._held.clear()
            self._hold()
            return True
        self._held.append(update)
        if len(self._held) >= _HELD_MOST:
            self.release()
        return True

    def release(self) -> None:
        """What is held is the answer, and so is all that follows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._prompted:
            return
        self._reopened = False
        held, self._held = self._held, []
        for update in held:
            self._deliver(update)

    def _hold(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop, pause = asyncio.get_running_loop(), self._pauses.replay
        self._timer = loop.call_at(min(loop.time() + pause, self._prompted_at + _TIMES * pause), self.release)
