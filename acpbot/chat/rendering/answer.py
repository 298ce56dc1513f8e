"""One turn's answer: live messages, one below the other. Pure: no I/O, no clock, no platform.

Where something else is posted in the thread during the turn, the live message above it is closed, and the answer goes
on in another one below it. So a thread reads in the order in which things happened, and the end of the answer is the
last of it. A tool stays in the message in which it was first shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.fences import OpenFence
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from acpbot.chat.rendering.live_message import LiveMessage

MESSAGES_MOST: Final = 30
"""Live messages of one answer; what comes after that stays in the last one."""
_CALLS_MOST: Final = 1024


class Answer:
    """``below``: makes the live message that goes on below another, for an answer that has so many full bodies."""

    def __init__(self, first: LiveMessage, below: Callable[[int], LiveMessage] | None = None) -> None:
        self._below = below
        self._now = first
        self._closed: list[LiveMessage] = []
        self._closed_bodies: list[list[str]] = []
        self._calls: dict[str, LiveMessage] = {}
        self._changed: set[int] = set()  # the closed ones to be rendered anew
        self._fence = OpenFence()
        self._plan_is_in: LiveMessage | None = None
        self._is_closed = False

    # What the turn adds.

    def append(self, text: str) -> None:
        """Add a chunk of the agent's text."""
        if not is_blank(text):
            self._go_on()
        self._fence.feed(text)
        self._now.append(text)

    def thought(self, text: str) -> None:
        """Add a chunk of what the agent thinks, where that is shown."""
        if self._now.shows_thoughts and not is_blank(text):
            self._go_on()
        self._now.thought(text)

    def tool(
        self, tool_call_id: str, *, title: str | None, kind: str | None, status: str | None, detail: str | None = None
    ) -> None:
        """Show a tool call or its new status; ``None`` leaves what was known. ``detail``: see :mod:`.tools`."""
        live = self._calls.get(tool_call_id)
        if live is None:
            self._go_on()
            live = self._calls[tool_call_id] = self._now
            if len(self._calls) > _CALLS_MOST:
                del self._calls[next(iter(self._calls))]
        live.tool(tool_call_id, title=title, kind=kind, status=status, detail=detail)
        self._touch(live)

    def tool_waits(self, tool_call_id: str, *, on: bool) -> None:
        """A tool call waits for a person's permission, or does so no more: that is no time that it runs."""
        live = self._calls.get(tool_call_id)
        if live is not None:
            live.tool_waits(tool_call_id, on=on)
            self._touch(live)

    def forget_tool(self, tool_call_id: str) -> None:
        """Leave a tool call out: it is shown as something else."""
        live = self._calls.pop(tool_call_id, None)
        if live is not None:
            live.forget_tool(tool_call_id)
            self._touch(live)

    def plan(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Show the plan in place of the one before: ACP plan entries (``content``, ``status``)."""
        if self._plan_is_in is None:
            self._go_on()
            self._plan_is_in = self._now
        self._plan_is_in.plan(entries)
        self._touch(self._plan_is_in)

    def notice(self, text: str) -> None:
        """Add one plain line of the bot's own at the end."""
        self._go_on()
        self._now.notice(text)

    def footer(self, text: str) -> None:
        """Add one small line of the bot's own below the last text; nothing where there is no text."""
        for live in (self._now, *reversed(self._closed)):
            if not is_blank(live.text):
                live.footer(text)
                self._touch(live)
                return

    def finish(self) -> None:
        """The turn is over: the text has ended, and no tool runs any more."""
        self._now.finish()
        for live in (*self._closed, self._now):
            if live.interrupt():
                self._touch(live)

    def close_here(self) -> None:
        """Something else is below now: what comes next is shown below that."""
        self._is_closed = bool(self._now.bodies())

    # What there is to show.

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(live.text for live in (*self._closed, self._now))

    def messages(self) -> list[list[str]]:
        """The bodies of each live message, in order. A closed one keeps their number."""
        self._changed.update(index for index, live in enumerate(self._closed) if live.shows_time)
        for index in self._changed:
            bodies = self._closed[index].bodies()
            if len(bodies) == len(self._closed_bodies[index]):
                self._closed_bodies[index] = bodies
        self._changed.clear()
        return [*self._closed_bodies, self._now.bodies()]

    def bodies(self) -> list[str]:
        """All bodies, in order."""
        return [body for bodies in self.messages() for body in bodies]

    def if_interrupted(self) -> dict[int, str]:
        """The first bodies of live messages with running tools, as a restart leaves them; by the messages' numbers."""
        first = [live.first_if_interrupted() for live in (*self._closed, self._now)]
        return {number: body for number, body in enumerate(first) if body is not None}

    def overflow(self) -> str | None:
        """The text past the last body, and only that; ``None`` for none."""
        return self._now.overflow()

    # The live messages.

    def _touch(self, live: LiveMessage) -> None:
        if live is not self._now:
            self._changed.add(self._closed.index(live))

    def _go_on(self) -> None:
        """Begin a live message below where this one is closed. One of which a part goes to a file stays the last."""
        if not self._is_closed:
            return
        if self._below is None or len(self._closed) + 1 >= MESSAGES_MOST or self._now.overflow() is not None:
            return
        self._is_closed = False
        self._now.finish()
        self._closed.append(self._now)
        self._closed_bodies.append(self._now.bodies())
        self._now = self._below(sum(len(bodies) - 1 for bodies in self._closed_bodies))
        if opening := self._fence.opening:
            self._now.append(f"{opening}\n")
