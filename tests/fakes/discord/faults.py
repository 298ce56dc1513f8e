"""Faults on demand: what a test asks the server to do to the n-th call of a route."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.discord.rest import Call

When = Literal["before", "after"]

# What Discord answers with when nothing more particular is asked for.
MESSAGES = {
    403: (50013, "Missing Permissions"),
    404: (10008, "Unknown Message"),
    429: (0, "You are being rate limited."),
    500: (0, "500: Internal Server Error"),
    502: (0, "502: Bad Gateway"),
    503: (0, "503: Service Unavailable"),
}


@dataclass
class Fault:
    """One rule. It counts the calls that match and acts on `times` of them from the `nth` (the first is 1)."""

    method: str
    route: str
    when: When = "before"
    nth: int = 1
    times: int = 1
    where: Callable[[Call], bool] | None = None
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    abort: bool = False
    reset: bool = False
    cut_short: bool = False
    delay: float = 0.0
    held: bool = False
    matched: int = 0
    hits: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, call: Call) -> bool:
        """Whether this call is one to fail; counts it when it matches."""
        if self.method not in ("*", call.method) or self.route not in ("*", call.route):
            return False
        if self.where is not None and not self.where(call):
            return False
        self.matched += 1
        if not self.nth <= self.matched < self.nth + self.times:
            return False
        self.hits += 1
        return True

    def release(self) -> None:
        """Lets held calls go on, this one and those to come."""
        self.released.set()

    async def wait(self) -> None:
        """The delay and the hold, where there are any."""
        self.arrived.set()
        if self.held:
            await self.released.wait()
        if self.delay:
            await asyncio.sleep(self.delay)


class Faults:
    """All the rules. `route` is a template without the API prefix, as in :mod:`tests.fakes.discord.rest`, or ``*``."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.rules.append(fault)
        return fault

    def status(self, status: int, method: str, route: str, *, body: Any = None, **options: Any) -> Fault:
        """Answers `status`, with Discord's JSON or `body`; `when` is "before" or "after" the effect.

        A `body` of bytes is sent as it is, as `application/json`; with ``cut_short`` the connection ends within it.
        """
        if body is None:
            code, message = MESSAGES.get(status, (0, f"{status}: Error"))
            body = {"message": message, "code": code}
        return self.add(Fault(method, route, status=status, body=body, **options))

    def too_many(
        self, method: str, route: str, *, retry_after: float, is_global: bool = False, via: bool = True, **options: Any
    ) -> Fault:
        """A 429 with `retry_after` real seconds. Without `via` it is what a proxy in front of Discord sends."""
        body = {"message": "You are being rate limited.", "retry_after": retry_after, "global": is_global}
        headers = {"Retry-After": str(int(retry_after) + 1), "X-RateLimit-Scope": "global" if is_global else "shared"}
        if not via:
            headers["Via"] = ""
        return self.status(429, method, route, body=body, headers=headers, **options)

    def abort(self, method: str, route: str, *, reset: bool = False, **options: Any) -> Fault:
        """Cuts the connection instead of answering; with `reset` by a RST (the client sees ECONNRESET).

        aiohttp tries GET, PUT and DELETE again by itself, once: to fail one of those give ``times=2``.
        """
        return self.add(Fault(method, route, abort=True, reset=reset, **options))

    def delay(self, seconds: float, method: str, route: str, **options: Any) -> Fault:
        """Waits `seconds` before the effect, or with ``when="after"`` before the answer."""
        return self.add(Fault(method, route, delay=seconds, **options))

    def hold(self, method: str, route: str, **options: Any) -> Fault:
        """Keeps the call until `release()`; `arrived` is set when one is there. No clock is involved."""
        return self.add(Fault(method, route, held=True, **options))

    def take(self, call: Call) -> list[Fault]:
        """The rules that act on this call, in the order in which they were made."""
        return [rule for rule in self.rules if rule.takes(call)]

    def clear(self) -> None:
        """Forgets every rule and lets go what is held."""
        for rule in self.rules:
            rule.release()
        self.rules.clear()
