"""Exit statuses, the same in every output format, and the one exception that carries one to the user."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1  # or declined
USAGE: Final = 2  # or a confirmation that can't be asked for
NOT_READY: Final = 3
DENIED: Final = 4
NOT_FOUND: Final = 5  # or ambiguous, or a conflict
UNREACHABLE: Final = 6  # or no acpbot, or another protocol number, at that socket
TIMED_OUT: Final = 7
INTERRUPTED: Final = 130

_BY_KIND: Final = {
    "not_found": NOT_FOUND,
    "ambiguous": NOT_FOUND,
    "conflict": NOT_FOUND,
    "access_denied": DENIED,
    "timeout": TIMED_OUT,
}
_BY_CODE: Final = {-32001: NOT_FOUND, -32002: NOT_FOUND, -32003: NOT_FOUND, -32004: DENIED, -32006: TIMED_OUT}


class Failure(Exception):
    """What went wrong, in one line for people that begins 'cannot ...', and the exit status that says so."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Refused(Failure):
    """An error answer of the daemon; ``kind`` is its stable ``data.kind`` (empty where it sent none)."""

    def __init__(self, message: str, *, kind: str, number: object) -> None:
        code = _BY_KIND.get(kind)
        if code is None:
            code = _BY_CODE.get(number, FAILED) if isinstance(number, int) and not kind else FAILED
        super().__init__(message, code)
        self.kind = kind
