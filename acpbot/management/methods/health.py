"""``health.get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot import health
from acpbot.management.route import Call, Method, NoParams

if TYPE_CHECKING:
    from acpbot.health import Report


def get(call: Call, _params: NoParams) -> Report:
    """The facts, and the verdicts with their reasons."""
    return health.report(call.services.facts())


METHODS: Final = {"health.get": Method("read", NoParams, get)}
