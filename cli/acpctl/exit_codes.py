"""Exit codes of acpctl. Every command uses the same ones, in every output format."""

from typing import Final

DONE: Final = 0
FAILED: Final = 1  # or the user declined
USAGE: Final = 2  # or acpctl cannot ask for a confirmation
NOT_READY: Final = 3
DENIED: Final = 4
NOT_FOUND: Final = 5  # or ambiguous, or a conflict
UNREACHABLE: Final = 6  # or the peer at that socket is not acpbot, or speaks another protocol version
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130
