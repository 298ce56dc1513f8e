"""Discord's rate limits (docs/topics/rate-limits), as a server keeps them: windows that open with their first call."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Rule:
    """`limit` calls in `per` seconds of Discord's time (a `unit` scales them)."""

    name: str
    limit: int
    per: float


SENDS = Rule("sends", 5, 5.0)
EDITS = Rule("edits", 5, 5.0)
REACTIONS = Rule("reactions", 1, 0.25)
CHANNEL_EDITS = Rule("channel-edits", 5, 5.0)
# Not announced by any header until it is hit, as on the real one: a "sub-limit" of the channel's own bucket.
RENAMES = Rule("renames", 2, 600.0)
GLOBAL = Rule("global", 50, 1.0)


@dataclass
class Window:
    """One open window of one rule for one channel."""

    rule: Rule
    opened: float
    closes: float
    used: int = 0

    @property
    def remaining(self) -> int:
        return max(0, self.rule.limit - self.used)


@dataclass(frozen=True)
class LimitResult:
    """What one call gets: its headers, and when it is refused the seconds until it may come back."""

    headers: dict[str, str]
    retry_after: float | None = None
    scope: str = "user"

    @property
    def refused(self) -> bool:
        return self.retry_after is not None

    def body(self) -> dict[str, object]:
        """The JSON of a 429."""
        who = "The resource is" if self.scope == "shared" else "You are"
        return {
            "message": f"{who} being rate limited.",
            "retry_after": self.retry_after,
            "global": self.scope == "global",
        }


def up_to_ms(seconds: float) -> float:
    """Rounded up: a client that comes back exactly then must find the window closed."""
    return math.ceil(seconds * 1000) / 1000


@dataclass
class Limits:
    """Every window of the server. `unit` is how many real seconds one second of Discord's takes."""

    unit: float = 1.0
    clock: Callable[[], float] = time.monotonic
    windows: dict[tuple[str, str], Window] = field(default_factory=dict)

    def _window(self, rule: Rule, major: str) -> Window:
        now = self.clock()
        key = (rule.name, major)
        window = self.windows.get(key)
        if window is None or now >= window.closes:
            window = self.windows[key] = Window(rule, now, now + rule.per * self.unit)
        return window

    def _headers(self, window: Window) -> dict[str, str]:
        left = up_to_ms(max(0.0, window.closes - self.clock()))
        # The bucket's name is the same in every channel; the client adds the channel (the major parameter) itself.
        bucket = hashlib.blake2b(window.rule.name.encode(), digest_size=16).hexdigest()
        return {
            "X-RateLimit-Limit": str(window.rule.limit),
            "X-RateLimit-Remaining": str(window.remaining),
            "X-RateLimit-Reset": f"{time.time() + left:.3f}",
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Bucket": bucket,
        }

    def _refusal(self, window: Window, headers: dict[str, str], scope: str) -> LimitResult:
        retry_after = up_to_ms(max(0.001, window.closes - self.clock()))
        sent = {**headers, "Retry-After": str(math.ceil(retry_after)), "X-RateLimit-Scope": scope}
        if scope == "global":
            sent["X-RateLimit-Global"] = "true"
        return LimitResult(sent, retry_after, scope)

    def take_global(self) -> LimitResult:
        """One call of the 50 a second that the whole application has."""
        window = self._window(GLOBAL, "")
        if not window.remaining:
            return self._refusal(window, {}, "global")
        window.used += 1
        return LimitResult({})

    def take(self, rule: Rule, major: str, sub: Rule | None = None) -> LimitResult:
        """One call in the bucket `rule` of the channel `major`, and in the unannounced limit `sub`."""
        window = self._window(rule, major)
        if not window.remaining:
            return self._refusal(window, self._headers(window), "user")
        hidden = None if sub is None else self._window(sub, major)
        if hidden is not None and not hidden.remaining:
            return self._refusal(hidden, self._headers(window), "shared")
        window.used += 1
        if hidden is not None:
            hidden.used += 1
        return LimitResult(self._headers(window))
