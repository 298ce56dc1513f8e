"""``health.get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.management.method import Call, Method, NoParams

if TYPE_CHECKING:
    from msgspec import Struct


def get(call: Call, _params: NoParams) -> Struct:
    """The checks with their reasons, and what they are based on."""
    return call.services.health()


METHODS: Final = {"health.get": Method("read", NoParams, get)}
