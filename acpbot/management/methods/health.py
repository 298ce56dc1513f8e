"""``health.get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from acpbot.management.method import Call, Method, NoParams

if TYPE_CHECKING:
    from msgspec import Struct


def get(call: Call, _params: NoParams) -> Struct:
    """The checks with their reasons, and what they are based on; how safe the installation is, for admins only."""
    report = call.services.health()
    return report if call.client.access == "admin" else structs.replace(report, security=None)


METHODS: Final = {"health.get": Method("read", NoParams, get)}
