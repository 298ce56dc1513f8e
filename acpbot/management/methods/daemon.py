"""``daemon.*`` and ``config.get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta, to_builtins

from acpbot.errors import InvalidParams, NotFound
from acpbot.management.method import Call, Method, NoParams, Params

if TYPE_CHECKING:
    from acpbot.management.method import Services

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


async def reload(call: Call, _params: NoParams) -> dict[str, Any]:
    """Read the configuration again, and say what came of it."""
    if call.services.reload is None:
        raise NotFound("cannot reload: this acpbot does not offer it")
    try:
        answer = to_builtins(await call.services.reload())
    except InvalidParams:
        call.audit("daemon", "configuration refused")  # the file is wrong, not the request
        raise
    call.audit("daemon", f"reloaded {', '.join(answer['reloaded']) or 'nothing'}")
    return dict(answer)


def config(call: Call, _params: NoParams) -> dict[str, Any]:
    """The configuration in force, without its secrets."""
    if call.services.config is None:
        raise NotFound("cannot show the configuration: this acpbot does not offer it")
    return call.services.config()


def methods(services: Services) -> dict[str, Method]:
    """The methods that ``services`` carry."""
    offered = {"daemon.drain": services.drain, "daemon.reload": services.reload, "config.get": services.config}
    return {name: method for name, method in METHODS.items() if offered[name] is not None}


METHODS: Final = {
    "daemon.drain": Method("admin", DaemonDrain, drain),
    "daemon.reload": Method("admin", NoParams, reload),
    "config.get": Method("admin", NoParams, config),
}
