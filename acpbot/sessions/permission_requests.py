"""The permission requests of a session: policy, time limit, and what ``allow_always`` remembers."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final

from acpbot.acp import permissions
from acpbot.errors import NotFound
from acpbot.sessions.turn import PermissionRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.connection import PermissionAsked
    from acpbot.acp.permissions import Policy
    from acpbot.acp.schema import PermissionOption
    from acpbot.jsonrpc import Id


MOST_OPEN: Final = 16
"""Requests that may be open at once in a session: a person can't answer more, an agent gone wild sends thousands."""


class PermissionRequests:
    """Decides by policy, or keeps a request open until somebody answers, its time runs out, or the turn ends.

    Beyond :data:`MOST_OPEN` open ones a request is rejected.
    ``answer`` sends the chosen option to the agent (``None``: cancelled) and is called once a request, before
    ``closed``, which is called for the requests that were open. ``allow_always`` is remembered for the same kind of
    tool with the same title, since the title is what the person was shown.
    """

    def __init__(
        self,
        *,
        prefix: str,
        policy: Policy,
        seconds: float,
        answer: Callable[[PermissionRequest, PermissionOption | None], None],
        closed: Callable[[PermissionRequest], None],
    ) -> None:
        self._prefix = prefix
        self._policy = policy
        self._seconds = seconds
        self._answer = answer
        self._closed = closed
        self._numbers = itertools.count(1)
        self._open: dict[str, tuple[PermissionRequest, asyncio.TimerHandle]] = {}
        self._remembered: set[tuple[str | None, str]] = set()

    def take(self, asked: PermissionAsked, *, refuse: bool) -> PermissionRequest | None:
        """Decide, or open a request and return it. ``refuse``: nobody is there to ask; answered ``cancelled``."""
        name = f"{self._prefix}-{next(self._numbers)}"
        ask = PermissionRequest(name, asked, timeout_seconds=self._seconds, settle=self._settled)
        if refuse:
            ask.settle("cancelled", None)
        elif self._policy == "allow" or (ask.kind, ask.title) in self._remembered:
            ask.settle("selected", permissions.choose(ask.options, permissions.ALLOW))
        elif self._policy == "deny" or len(self._open) >= MOST_OPEN:
            ask.reject("selected")
        else:
            timer = asyncio.get_running_loop().call_later(self._seconds, ask.reject, "expired")
            self._open[name] = (ask, timer)
            return ask
        return None

    def get(self, request: str) -> PermissionRequest:
        """The open request of that name. Raises NotFound."""
        if request not in self._open:
            raise NotFound(f"cannot answer: no permission request {request[:80]!r} is open in this session")
        return self._open[request][0]

    def all(self) -> tuple[PermissionRequest, ...]:
        """The open requests, oldest first."""
        return tuple(ask for ask, _ in self._open.values())

    def cancel_all(self) -> None:
        """Answer every open request ``cancelled``."""
        for ask in self.all():
            ask.settle("cancelled", None)

    def withdraw(self, request_id: Id) -> None:
        """The agent no longer wants an answer to its request."""
        for ask in self.all():
            if ask.asked.request_id == request_id:
                ask.settle("cancelled", None)

    def _settled(self, ask: PermissionRequest, option: PermissionOption | None) -> None:
        if option is not None and option.kind == "allow_always" and ask.titled:
            self._remembered.add((ask.kind, ask.title))
        self._answer(ask, option)
        _, timer = self._open.pop(ask.request, (ask, None))
        if timer is not None:
            timer.cancel()
            self._closed(ask)
