"""Exec and attach over a WebSocket: the channels, the close of one direction, and the status at the end. Pure.

Each binary message begins with the number of its channel. Sources: k8s.io/apimachinery/pkg/util/remotecommand, and for
version 5, which can close stdin alone, kubernetes/enhancements KEP-4006.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
STATUS: Final = 3
_CLOSE: Final = 255

V5: Final = "v5.channel.k8s.io"
V4: Final = "v4.channel.k8s.io"
PROTOCOLS: Final = (V5, V4)
"""What is offered; the server takes the first that it knows (v5 from Kubernetes 1.30 on)."""

CLOSE_STDIN: Final = bytes((_CLOSE, STDIN))
"""The message that ends stdin and nothing else; v5 alone."""

_MESSAGE_CHARACTERS: Final = 1_000
_CODE_DIGITS: Final = 3


class ExecStatus(NamedTuple):
    """How a program has ended. ``code``: its exit code, 128 + n for signal n, ``None`` where it did not run at all."""

    code: int | None
    message: str


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class _Status(msgspec.Struct):
    status: str = ""
    reason: str = ""
    message: str = ""
    details: _Details | None = None


def stdin_message(data: bytes | memoryview) -> bytes:
    """Return the message that carries this to stdin."""
    return bytes((STDIN,)) + data


def read_status(data: bytes) -> ExecStatus:
    """Return what the message on the channel of the status says."""
    try:
        status = msgspec.json.decode(data, type=_Status)
    except msgspec.DecodeError:
        return ExecStatus(None, "its status can't be read")
    if status.status == "Success":
        return ExecStatus(0, "")
    message = status.message[:_MESSAGE_CHARACTERS]
    causes = status.details.causes if status.details is not None else []
    if status.reason == "NonZeroExitCode":
        for cause in causes:
            if cause.reason == "ExitCode" and cause.message.isdecimal() and len(cause.message) <= _CODE_DIGITS:
                return ExecStatus(int(cause.message), message)
    return ExecStatus(None, message or "it gives no reason")
