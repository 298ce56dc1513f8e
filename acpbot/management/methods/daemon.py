"""``daemon.*``."""

from __future__ import annotations

import math
from typing import Any, Final

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.route import Call, Method, Params

MAX_DEADLINE_SECONDS: Final = 86_400.0


class DaemonDrain(Params, frozen=True):
    """``on``: begin, or take new turns again. ``deadline_seconds``: when running turns are cancelled."""

    on: bool
    deadline_seconds: float | None = None


async def drain(call: Call, params: DaemonDrain) -> dict[str, Any]:
    """Take no new turns, or take them again."""
    call.note(target=f"on={params.on}")
    seconds = params.deadline_seconds
    if seconds is not None and not (math.isfinite(seconds) and 0 <= seconds <= MAX_DEADLINE_SECONDS):
        raise InvalidParams(f"cannot drain with deadline_seconds = {seconds}: 0 to {MAX_DEADLINE_SECONDS:.0f}")
    if call.services.drain is None:
        raise NotFound("cannot drain: this acpbot does not offer it")
    state = await call.services.drain.drain(on=params.on, deadline_seconds=seconds)
    call.note(target=f"on={params.on}", outcome=state)
    return {"state": state}


METHODS: Final = {"daemon.drain": Method("admin", DaemonDrain, drain, lambda services: services.drain is not None)}
