"""What people in a chat read of the end of an agent."""

from __future__ import annotations

import pytest

from acpbot.runtimes.ends import crash_words, out_of_memory
from acpbot.runtimes.local.limits import OUT_OF_MEMORY, Limits

CLUSTER = "The cluster stopped the agent, or lost contact with it."
MEMORY = "The agent ran out of memory."


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (None, "The agent crashed."),
        ("exit code 3", "The agent crashed (exit code 3)."),
        ("SIGSEGV", "The agent crashed (SIGSEGV)."),
        ("signal 63", "The agent crashed (signal 63)."),
        (OUT_OF_MEMORY, MEMORY),
        (out_of_memory(1 << 26), MEMORY),
        (Limits(memory_max=1 << 26).words("memory_max"), MEMORY),
        ("SIGKILL, which the kernel sends where more memory is taken than memory_max allows (64 MiB)", MEMORY),
        (Limits(pids_max=9).words("pids_max"), "The agent stopped unexpectedly."),
        ("its container was removed by somebody else", "The agent stopped unexpectedly."),
        ("Evicted: usage of /var/lib/x exceeds the limit", CLUSTER),
        ("drained: its pod was evicted from its node", CLUSTER),
        ("the cluster can't be reached", CLUSTER),
    ],
)
def test_people_read_why_an_agent_crashed_without_keys_and_paths(reason: str | None, words: str) -> None:
    assert crash_words(reason) == words
