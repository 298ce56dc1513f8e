"""Faults on demand: what a test asks the server to do to the n-th request of a kind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.errors import ApiError

if TYPE_CHECKING:
    from tests.fakes.kubernetes.clock import Clock

MESSAGES = {
    401: ("Unauthorized", "Unauthorized"),
    403: ("Forbidden", "forbidden"),
    500: ("InternalError", "Internal error occurred: etcdserver: leader changed"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within requested timeout - context deadline exceeded"),
}


@dataclass
class Fault:
    """One rule, for requests with this verb (create, watch ...) and this resource (`pods`, `pods/exec`), or ``*``.

    It counts the requests that match and acts on `times` of them from the `nth` (the first is 1).
    """

    verb: str
    resource: str
    nth: int = 1
    times: int = 1
    after: bool = False
    error: ApiError | None = None
    abort: bool = False
    delay: float = 0.0
    held: bool = False
    matched: int = 0
    hits: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def takes(self, verb: str, resource: str) -> bool:
        """Whether this request is one to fail; counts it when it matches."""
        if self.verb not in ("*", verb) or self.resource not in ("*", resource):
            return False
        self.matched += 1
        if not self.nth <= self.matched < self.nth + self.times:
            return False
        self.hits += 1
        return True

    def release(self) -> None:
        """Lets held requests go on, this one and those to come."""
        self.released.set()

    async def wait(self, clock: Clock) -> None:
        """The delay and the hold, where there are any."""
        self.arrived.set()
        if self.held:
            await self.released.wait()
        if self.delay:
            await clock.sleep(self.delay)


class Faults:
    """The rules. `after=True` acts when the effect has happened: the object is there, and the answer is lost."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self.rules.append(fault)
        return fault

    def fail(self, code: int, verb: str = "*", resource: str = "*", *, message: str = "", **options: Any) -> Fault:
        """Answers with this status."""
        reason, usual = MESSAGES.get(code, ("", ""))
        return self.add(Fault(verb, resource, error=ApiError(code, reason, message or usual), **options))

    def throttle(self, verb: str = "*", resource: str = "*", *, seconds: int = 1, **options: Any) -> Fault:
        """Answers 429 with a Retry-After of whole `seconds`."""
        return self.add(Fault(verb, resource, error=errors.too_many_requests(seconds), **options))

    def abort(self, verb: str = "*", resource: str = "*", **options: Any) -> Fault:
        """Cuts the connection instead of answering."""
        return self.add(Fault(verb, resource, abort=True, **options))

    def delay(self, seconds: float, verb: str = "*", resource: str = "*", **options: Any) -> Fault:
        return self.add(Fault(verb, resource, delay=seconds, **options))

    def hold(self, verb: str = "*", resource: str = "*", *, times: int = 1_000_000, **options: Any) -> Fault:
        """The server hangs: it takes requests and answers none until `release()`. No clock is involved."""
        return self.add(Fault(verb, resource, held=True, times=times, **options))

    def take(self, verb: str, resource: str) -> list[Fault]:
        """The rules that act on this request, in the order in which they were made."""
        return [rule for rule in self.rules if rule.takes(verb, resource)]

    def clear(self) -> None:
        """Forgets every rule and lets go what is held."""
        for rule in self.rules:
            rule.release()
        self.rules.clear()
