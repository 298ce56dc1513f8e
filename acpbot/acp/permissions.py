"""Which permission option is chosen, by kind.

An agent's options come unordered, with arbitrary ids and repeated kinds, so nothing but the kind can be relied on.
Source: https://agentclientprotocol.com/protocol/tool-calls#requesting-permission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.acp.schema import PermissionOption

Policy = Literal["ask", "allow", "deny"]

ALLOW: Final = ("allow_once", "allow_always")
REJECT: Final = ("reject_once", "reject_always")


def choose(options: Sequence[PermissionOption], kinds: Sequence[str]) -> PermissionOption | None:
    """The first option of the first kind that is offered; ``None`` where none is."""
    return next((option for kind in kinds for option in options if option.kind == kind), None)


def outcome(option: PermissionOption | None) -> dict[str, Any]:
    """The answer to ``session/request_permission``: the option, or ``cancelled`` where there is none to choose."""
    if option is None:
        return {"outcome": {"outcome": "cancelled"}}
    return {"outcome": {"outcome": "selected", "optionId": option.option_id}}
