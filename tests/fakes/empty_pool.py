"""A pool without sessions: what the metrics need of the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.pool import make_health_inputs

if TYPE_CHECKING:
    from acpbot.sessions.views import PoolCounts


class EmptyPool:
    """Offers one agent, `claude`."""

    max_sessions = 4

    def __init__(self) -> None:
        self.agents: dict[str, Any] = {"claude": None}

    def rows(self) -> list[Any]:
        return []

    def of_platform(self, _name: str) -> list[Any]:
        return []

    def counts(self) -> PoolCounts:
        return make_health_inputs().pool
