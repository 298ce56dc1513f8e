"""How a container has ended, in words, from its engine's record of it. Pure.

The engine gives one number: an init process (--init) turns the signal that ended the agent into 128 and its number, as
a shell does.
"""

from __future__ import annotations

import signal
from typing import Final, NamedTuple

import msgspec

from acpbot.runtimes.container.engine import EngineUnreachable
from acpbot.runtimes.runtime import exit_text
from acpbot.text import size_words

_SIGNALLED: Final = 128
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


def exit_status(code: int) -> int:
    """Return the exit code, minus the signal's number where a signal ended the agent."""
    if code > _SIGNALLED and code - _SIGNALLED in set(signal.Signals):
        return _SIGNALLED - code
    return code


def end_reason(state: State | None, status: int, *, memory_max: int | None, killed: bool) -> str:
    """Return why it has ended. ``killed``: acpbot itself has sent SIGKILL."""
    limit = "" if memory_max is None else f" ({size_words(memory_max)})"
    if state is not None and state.oom_killed:
        return f"OOMKilled: it took more memory than memory_max allows{limit}"
    if state is not None and state.error and not state.started:
        return state.error
    if status == -signal.SIGKILL and memory_max is not None and not killed:
        # Not every engine sees it (Podman with cgroups v1 does not).
        return f"SIGKILL, which the kernel sends where more memory is taken than memory_max allows{limit}"
    return exit_text(status)
