"""What an engine's number says of an agent's end. Pure."""

from __future__ import annotations

import signal
from typing import Final

from acpbot.text import size_words

_SIGNALLED: Final = 128


def exit_status(code: int) -> int:
    """Return the exit code, minus the signal's number where a signal ended the agent.

    An init process and a shell tell a signal as 128 and its number.
    """
    if code > _SIGNALLED and code - _SIGNALLED in set(signal.Signals):
        return _SIGNALLED - code
    return code


def out_of_memory(memory_max: int | None) -> str:
    """Return why an agent has ended that took too much memory; ``memory_max`` is in bytes."""
    return f"OOMKilled: it took more memory than memory_max allows{limit_words(memory_max)}"


def limit_words(memory_max: int | None) -> str:
    """Return the limit, to be appended to a clause; nothing where there is none."""
    return "" if memory_max is None else f" ({size_words(memory_max)})"
