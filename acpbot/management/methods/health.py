"""``health.get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.management.method import Call, Method, NoParams

if TYPE_CHECKING:
    from acpbot.management.health_report import HealthReport


def get(call: Call, _params: NoParams) -> HealthReport:
    """The facts, and the verdicts with their reasons."""
    return call.services.health()


METHODS: Final = {"health.get": Method("read", NoParams, get)}
