"""What an engine's number says of an agent's end, and what people in a chat read of it. Pure."""

from __future__ import annotations

import re
import signal
from typing import Final

from acpbot.text import size_words

_SIGNALLED: Final = 128
_OUT_OF_MEMORY: Final = re.compile(r"\bmemory_max\b|\bout of memory\b|^OOMKilled\b")
_BY_ITSELF: Final = re.compile(r"exit code \d+|SIG[A-Z0-9]+|signal \d+")
_BY_CLUSTER: Final = re.compile(r"\b(?:pod|node|cluster)\b|^Evicted\b")


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


def crash_words(reason: str | None) -> str:
    """Return the sentence that people in a chat read of a crash; ``reason`` is `end_reason` of the process.

    What an engine, a cluster or a key is called is for operators, who read the reason itself.
    """
    if reason is None:
        return "The agent crashed."
    if _BY_ITSELF.fullmatch(reason):
        return f"The agent crashed ({reason})."
    if _OUT_OF_MEMORY.search(reason):
        return "The agent ran out of memory."
    if _BY_CLUSTER.search(reason):
        return "The cluster stopped the agent, or lost contact with it."
    return "The agent stopped unexpectedly."
