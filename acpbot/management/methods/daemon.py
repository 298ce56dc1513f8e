"""``daemon.*``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.method import Call, Method, Params

MAX_DEADLINE_SECONDS: Final = 86_400


class DaemonDrain(Params, frozen=True):
    """``on``: begin, or take new turns again. ``deadline_seconds``: when running turns are cancelled."""

    on: bool
    deadline_seconds: Annotated[float, Meta(ge=0, le=MAX_DEADLINE_SECONDS)] | None = None


def drain(call: Call, params: DaemonDrain) -> dict[str, Any]:
    """Take no new turns, or take them again."""
    if call.services.drain is None:
        raise NotFound("cannot drain: this acpbot does not offer it")
    if params.deadline_seconds is not None and not params.on:
        raise InvalidParams("cannot call daemon.drain: the parameter 'deadline_seconds' goes with on = true only")
    state = call.services.drain(on=params.on, deadline_seconds=params.deadline_seconds)
    call.audit("daemon", state)
    return {"state": state}


METHODS: Final = {"daemon.drain": Method("admin", DaemonDrain, drain)}
