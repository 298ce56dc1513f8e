"""The errors that end a command. :func:`acpctl.command_line.run` prints their message and exits with their code.

CliError        acpctl cannot do what the user wants
└ DaemonError   the daemon answered with a JSON-RPC error
"""

from __future__ import annotations

from typing import Final

from acpctl.exit_codes import DENIED, FAILED, NOT_FOUND, TIMED_OUT

_BY_KIND: Final = {
    "not_found": NOT_FOUND,
    "ambiguous": NOT_FOUND,
    "conflict": NOT_FOUND,
    "access_denied": DENIED,
    "timeout": TIMED_OUT,
}
_BY_CODE: Final = {-32001: NOT_FOUND, -32002: NOT_FOUND, -32003: NOT_FOUND, -32004: DENIED, -32006: TIMED_OUT}


class CliError(Exception):
    """``message`` is one line that begins 'cannot ...'; ``exit_code`` is one of :mod:`acpctl.exit_codes`."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class DaemonError(CliError):
    """An error response of the daemon (docs/protocol.md, errors).

    ``kind`` is its ``data.kind``, empty where it sent none; then ``code``, the JSON-RPC error code, decides how
    acpctl exits.
    """

    def __init__(self, message: str, *, kind: str, code: object) -> None:
        exit_code = _BY_KIND.get(kind)
        if exit_code is None:
            exit_code = _BY_CODE.get(code, FAILED) if isinstance(code, int) and not kind else FAILED
        super().__init__(message, exit_code)
        self.kind = kind
