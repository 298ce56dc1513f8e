"""Names, error kinds and limits of the management wire; docs/protocol.md is its description for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from acpbot import jsonrpc

if TYPE_CHECKING:
    from acpbot.errors import WireError
    from acpbot.jsonrpc import Id

SERVER: Final = "acpbot"
PROTOCOL: Final = 1

Access = Literal["read", "admin"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a client; the defaults are the documented ones. Sizes are bytes, times are seconds.

    ``admin_connections``: how many of ``connections`` only admins get. ``uid_connections``: how many one user may have
    who may only read. ``line_seconds``: from a line's first byte to its newline. ``running``: requests of one
    connection that may be under way at a time. ``streams``: subscriptions of one connection, ``reader_streams`` of one
    that may only read: each event is encoded for each of them. ``unsent``: how much a client may leave unread before
    its connection is aborted; streams skip events from half of it on. ``stall_seconds``: how long a client that sends
    requests may leave all answers unread. ``lookup_seconds``: for the lookup of a peer's user and groups.
    ``close_seconds``: how long a closing server waits for running requests, and then for their answers to be read.
    """

    max_line: int = 65_536
    max_depth: int = 32
    connections: int = 32
    admin_connections: int = 8
    uid_connections: int = 8
    running: int = 16
    streams: int = 64
    reader_streams: int = 8
    line_seconds: float = 10.0
    unsent: int = 1024 * 1024
    stall_seconds: float = 10.0
    lookup_seconds: float = 5.0
    close_seconds: float = 0.5


def result_line(request_id: Id, result: Any) -> bytes:
    """The line that answers a request."""
    try:
        return jsonrpc.encode_result(request_id, result)
    except UnicodeEncodeError:
        return jsonrpc.encode_result(request_id, _printable(msgspec.to_builtins(result)))


def notification_line(method: str, params: Any) -> bytes:
    """The line of a notification."""
    try:
        return jsonrpc.encode_notification(method, params)
    except UnicodeEncodeError:
        return jsonrpc.encode_notification(method, _printable(msgspec.to_builtins(params)))


def error_line(request_id: Id | None, error: WireError) -> bytes:
    """The line that refuses a request. ``request_id`` is ``None`` where nobody can say which request it is."""
    return jsonrpc.encode_error(request_id, error.code, _printable(str(error)), error.kind)


def _printable(value: Any) -> Any:
    """The value with every lone surrogate, which UTF-8 does not encode, written as an escape.

    Commands and paths of the system need not be UTF-8, and one of them must not spoil a list of all sessions.
    """
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_printable(key): _printable(member) for key, member in value.items()}
        case list() | tuple():
            return [_printable(member) for member in value]
    return value
