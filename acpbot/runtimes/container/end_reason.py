"""How a container has ended, in words, from its engine's record of it. Pure."""

from __future__ import annotations

import signal
from typing import Final, NamedTuple

import msgspec

from acpbot.runtimes.container.engine import EngineUnreachable
from acpbot.runtimes.ends import limit_words, out_of_memory
from acpbot.runtimes.runtime import exit_text

_NEVER: Final = "0001-01-01"


class State(NamedTuple):
    """What the engine says of a container.

    ``started``: it has run at some time. ``ended``: the engine has recorded how it has ended; until then its exit code
    is 0, also while it is being stopped or removed.
    """

    running: bool
    started: bool
    ended: bool
    exit_code: int
    oom_killed: bool
    pid: int
    error: str


class _Wire(msgspec.Struct):
    Running: bool = False
    OOMKilled: bool = False
    ExitCode: int = 0
    Pid: int = 0
    Error: str = ""
    StartedAt: str = ""
    FinishedAt: str = ""


def read_state(text: str) -> State:
    """Return the state from the JSON of `inspect`. Raises EngineUnreachable where it is none."""
    try:
        wire = msgspec.json.decode(text, type=_Wire)
    except msgspec.DecodeError as error:
        raise EngineUnreachable(None, "the container engine's answer can't be read") from error
    started, finished = (bool(text) and not text.startswith(_NEVER) for text in (wire.StartedAt, wire.FinishedAt))
    ended = not wire.Running and (finished or not started)
    return State(wire.Running, started, ended, wire.ExitCode, wire.OOMKilled, wire.Pid, wire.Error)


def end_reason(state: State | None, status: int, *, memory_max: int | None, killed: bool) -> str:
    """Return why it has ended. ``killed``: acpbot itself has sent SIGKILL."""
    if state is not None and state.oom_killed:
        return out_of_memory(memory_max)
    if state is not None and state.error and not state.started:
        return state.error
    if status == -signal.SIGKILL and memory_max is not None and not killed:
        # Not every engine sees it (Podman with cgroups v1 does not).
        limit = limit_words(memory_max)
        return f"SIGKILL, which the kernel sends where more memory is taken than memory_max allows{limit}"
    return exit_text(status)
