"""What an operator must know before an agent is started in a container: the engine, the image, the program in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from acpbot.errors import AgentStartError
from acpbot.runtimes.container.engine import EngineUnreachable
from acpbot.runtimes.container.words import Ids, confinement

if TYPE_CHECKING:
    from acpbot.config.runtime_settings import ContainerSettings
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.container.engine import Engine
    from acpbot.runtimes.container.images import Images

_LOOK_SECONDS: Final = 30.0
_FOUND: Final = "acpbot:found"
_MISSING: Final = "acpbot:missing"
_SCRIPT: Final = f'command -v -- "$1" >/dev/null 2>&1 && echo {_FOUND} || echo {_MISSING}'


async def check(engine: Engine, images: Images, settings: AgentSettings, place: ContainerSettings) -> list[str]:
    """Return one clause for each thing. Raises AgentStartError where agents can't run, with reason and way out."""
    image = str(place.image)
    try:
        info = await engine.info()
        here = await images.is_here(image)
    except EngineUnreachable as error:
        problem = f"{engine.title} can't be used: {error.strerror}"
        raise AgentStartError(
            f"cannot run agents in containers: {problem}; check that `{engine.name} info` works"
        ) from error
    clauses = [f"in containers of {engine.title}{', without root' if info.rootless else ''}"]
    limits = {"memory_max": settings.memory_max, "pids_max": settings.pids_max, "cpus": place.cpus}
    names = {"memory_max": "memory", "pids_max": "pids", "cpus": "cpu"}
    for key, value in limits.items():
        if value is not None and names[key] not in info.limits:
            clauses.append(f"warning: {key} can't be held: the engine has no such limit here; use cgroups v2, or root")
    if place.network == "host":
        clauses.append('warning: network = "host" lets the agent reach what listens on this machine')
    if not here:
        if place.pull == "never":
            raise AgentStartError(
                f'cannot run agents in containers: the image {image} is not here, and pull is "never"; '
                f"run `{engine.name} pull {image}`"
            )
        return [*clauses, f"the image {image} is not here yet: the first start fetches it"]
    found = await _has_program(engine, settings.command, image, confinement(info, Ids(os.getuid(), os.getgid())))
    if found is False:
        raise AgentStartError(
            f"cannot run agents in containers: the image {image} has no program {settings.command}; "
            "correct its command, or install it in the image"
        )
    if found is None:
        clauses.append(f"it is unknown whether {settings.command} is in the image: the image has no shell")
    return clauses


async def _has_program(engine: Engine, program: str, image: str, confined: list[str]) -> bool | None:
    """Whether the image has the program, looked up by its own shell; ``None`` where it has none."""
    words = ["run", "--rm", "--pull=never", *confined, "--network", "none", "--entrypoint", "sh", image]
    try:
        result = await engine.call(*words, "-c", _SCRIPT, "sh", program, seconds=_LOOK_SECONDS)
    except EngineUnreachable:
        return None
    said = result.out.split()
    return True if _FOUND in said else False if _MISSING in said else None
