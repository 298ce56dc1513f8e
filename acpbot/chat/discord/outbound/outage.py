"""When Discord's API works again after an outage. Pure: times in, a verdict out."""

from __future__ import annotations

from typing import Final

OUTAGE_SECONDS: Final = 2.0
"""Requests that all fail for so long are an outage.

Without a least time, one thread in which every request fails would be tried again with each request that succeeds
elsewhere.
"""


class Outage:
    """Follows how requests end. Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._failing_since: float | None = None

    def failed(self, now: float) -> None:
        """Note that a request got no answer, or one that says to try later."""
        if self._failing_since is None:
            self._failing_since = now

    def is_over(self, now: float) -> bool:
        """Note that a request got its answer; return whether it is the first one after an outage."""
        since, self._failing_since = self._failing_since, None
        return since is not None and now - since >= OUTAGE_SECONDS
