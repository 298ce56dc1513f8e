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
    from acpbot.acp.schema import PermissionOption
    from acpbot.config.in_force import SettingsInForce
    from acpbot.jsonrpc import Id


MOST_OPEN: Final = 16
"""Requests that may be open at once in a session: a person can't answer more; a faulty agent sends thousands."""


class PermissionRequests:
    """Decides by policy, or keeps a request open until somebody answers, its time runs out, or the turn ends.

    Beyond :data:`MOST_OPEN` open ones a request is rejected. ``answer`` sends the chosen option to the agent (``None``:
    cancelled); it is called once for each request, before ``on_closed``, which is called for those that were open.
    ``allow_always`` is remembered for the same kind of tool with the same title, since the title is what the person
    saw. ``open`` are the open requests by name, oldest first.
    """

    def __init__(
        self,
        settings: SettingsInForce,
        *,
        prefix: str,
        answer: Callable[[PermissionRequest, PermissionOption | None], None],
        on_closed: Callable[[PermissionRequest], None],
    ) -> None:
        self.open: dict[str, PermissionRequest] = {}
        self._settings = settings
        self._prefix = prefix
        self._answer = answer
        self._on_closed = on_closed
        self._numbers = itertools.count(1)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._remembered: set[tuple[str | None, str]] = set()

    def add(self, asked: PermissionAsked, *, refuse: bool) -> PermissionRequest | None:
        """Decide, or open a request and return it. ``refuse``: there is nobody to ask, the answer is ``cancelled``."""
        name = f"{self._prefix}-{next(self._numbers)}"
        settings = self._settings.now.permissions
        seconds = settings.timeout_seconds
        request = PermissionRequest(name, asked, timeout_seconds=seconds, on_resolved=self._resolved)
        if refuse:
            request.resolve("cancelled", None)
        elif settings.policy == "allow" or (settings.policy == "ask" and self._is_remembered(request)):
            request.resolve("selected", permissions.choose(request.options, permissions.ALLOW))
        elif settings.policy == "deny" or len(self.open) >= MOST_OPEN:
            request.reject("selected")
        else:
            self._timers[name] = asyncio.get_running_loop().call_later(seconds, request.reject, "expired")
            self.open[name] = request
            return request
        return None

    def get(self, request: str) -> PermissionRequest:
        """The open request of that name. Raises NotFound."""
        if request not in self.open:
            raise NotFound(f"cannot answer: no permission request {request[:80]!r} is open in this session")
        return self.open[request]

    def apply_policy(self) -> None:
        """Reject the open requests where the policy has become ``deny``: nobody may answer them any more."""
        if self._settings.now.permissions.policy == "deny":
            for request in tuple(self.open.values()):
                request.reject("cancelled")

    def _is_remembered(self, request: PermissionRequest) -> bool:
        return (request.kind, request.title) in self._remembered

    def cancel_all(self) -> None:
        """Answer every open request ``cancelled``."""
        for request in tuple(self.open.values()):
            request.resolve("cancelled", None)

    def withdraw(self, request_id: Id) -> None:
        """Close the request to which the agent no longer wants an answer."""
        for request in tuple(self.open.values()):
            if request.asked.request_id == request_id:
                request.resolve("cancelled", None)

    def _resolved(self, request: PermissionRequest, option: PermissionOption | None) -> None:
        if option is not None and option.kind == "allow_always" and request.titled:
            self._remembered.add((request.kind, request.title))
        self._answer(request, option)
        if self.open.pop(request.request, None) is not None:
            self._timers.pop(request.request).cancel()
            self._on_closed(request)
