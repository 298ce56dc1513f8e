"""A blocking client of the management protocol (docs/protocol.md): one connection, one deadline per exchange."""

from __future__ import annotations

import _socket as socket  # what the module `socket` wraps: its tables of names take a twentieth of the start-up
import json
import math
import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from acpctl import __version__
from acpctl.errors import CliError, DaemonError
from acpctl.exit_codes import DENIED, FAILED, TIMED_OUT, UNREACHABLE
from acpctl.socket_paths import check_server, foreign_link, unreachable
from acpctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

PROTOCOL: Final = 1
REQUEST_LIMIT: Final = 65_536  # bytes of a request line with its newline: the daemon takes no longer one
IN_TURN: Final = frozenset({"busy", "waiting", "stuck"})  # the states of a session whose turn runs
_ANSWER_LIMIT: Final = 100_000_000  # bytes of a line from the daemon
_CHUNK: Final = 262_144  # bytes read at once

Message = dict[str, Any]


def objects(value: object) -> list[Message]:
    """The JSON objects in a JSON array; empty where ``value`` is no array."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


class DaemonConnection:
    """One connection to the daemon. Not thread-safe. Keeps notifications until :meth:`receive` is called.

    Connects at once and reads the daemon's hello; ``timeout`` seconds limit this and the first exchange, and each later
    one. ``access``: ``admin`` or ``read``, as the daemon says. ``reader``: the descriptor of a pipe whose reader
    :meth:`receive` watches. ``early``: a method that only reads, and its params, sent without waiting for the hello;
    :meth:`early_result` returns the result. ``clock``: monotonic seconds. Raises ``CliError``: exit 6 where acpbot is
    not at ``path`` or speaks another protocol version, 4 where it denies access, 7 after ``timeout``.
    """

    def __init__(
        self,
        path: str,
        timeout: float,
        *,
        reader: int | None = None,
        early: tuple[str, Message] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.hello: Message = {}
        self._timeout = timeout
        self._clock = clock
        self._reader = reader
        self._deadline = clock() + timeout
        self._exchange_over = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer that are known to hold no newline
        self._notifications: deque[Message] = deque()
        self._last_id = 0
        try:
            self._connect()
            self._early = early and (early[0], self.send(*early))
            self._read_hello()
        except BaseException:
            self.close()
            raise
        self.access = clean(self.hello.get("access"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, for ``select``."""
        return self._socket.fileno()

    # Connecting.

    def _read_hello(self) -> None:
        try:
            hello = self._read_message("hello")
        except _InvalidMessage:
            raise self._not_acpbot() from None
        if hello is None:
            raise CliError(
                f"cannot reach acpbot at {clean(self.path)}: it closed the connection without a hello; "
                "see acpbot's log, or run `acpctl doctor`",
                UNREACHABLE,
            )
        if isinstance(hello.get("error"), dict):
            raise _daemon_error(hello["error"], "connect")
        params = hello.get("params")
        if hello.get("method") != "hello" or not isinstance(params, dict) or params.get("server") != "acpbot":
            raise self._not_acpbot()
        self.hello = params
        if (protocol := params.get("protocol")) != PROTOCOL:
            raise CliError(
                f"cannot talk to acpbot {self.version} at {clean(self.path)}: it speaks protocol {clean(protocol)}, "
                f"and this acpctl ({__version__}) speaks {PROTOCOL}; use the acpctl that came with it",
                UNREACHABLE,
            )

    def _connect(self) -> None:
        """Connect, and send nothing to a stranger's socket."""
        try:
            if reason := foreign_link(self.path):
                raise CliError(f"cannot use the socket at {clean(self.path)}: {reason}; remove that link", UNREACHABLE)
            self._connect_socket()
            check_server(self.path, self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError as error:
            raise unreachable(self.path, error) from None

    def _connect_socket(self) -> None:
        self._socket.settimeout(self._seconds_left("connect"))
        try:
            self._socket.connect(self.path)
        except BlockingIOError:
            # unix(7): connecting to a full backlog fails at once on a non-blocking socket, and Python's timeouts make
            # it one. A blocking socket waits for as long as SO_SNDTIMEO says (socket(7)).
            import struct  # noqa: PLC0415 - needed only here, which is rare

            left = self._seconds_left("connect")
            self._socket.settimeout(None)
            limit = struct.pack("ll", int(left), int(left % 1 * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            try:
                self._socket.connect(self.path)
            except BlockingIOError:
                self._raise_timeout("connect")
        except TimeoutError:
            self._raise_timeout("connect")

    def _not_acpbot(self) -> CliError:
        advice = "name acpbot's socket with --socket or ACPBOT_SOCKET"
        return CliError(
            f"cannot talk to what listens at {clean(self.path)}: it is not an acpbot; {advice}",
            UNREACHABLE,
        )

    # What hello says.

    @property
    def version(self) -> str:
        """The daemon's version."""
        return clean(self.hello.get("version") or "of unknown version")

    def offers(self, method: str) -> bool:
        """Whether this daemon has ``method``."""
        capabilities = self.hello.get("capabilities")
        return isinstance(capabilities, list) and method in capabilities

    def require(self, method: str, verb: str) -> None:
        """Raise ``CliError`` where the daemon does not have ``method``; ``verb`` says what the user wants to do."""
        if not self.offers(method):
            raise CliError(f"cannot {verb}: this acpbot ({self.version}) does not offer {method}")

    def require_admin(self, verb: str) -> None:
        """Raise ``CliError`` (exit 4) for those who may only read, before they are asked anything."""
        if self.access == "read":
            raise CliError(
                f"cannot {verb}: your access to this acpbot is read-only; run acpctl as root or as acpbot's user, "
                "or be named in [management] admin_users",
                DENIED,
            )

    # Requests.

    def reset_deadline(self, timeout: float | None = None) -> None:
        """Begin a new exchange, which must end within ``timeout`` seconds (``None``: as many as before)."""
        self._timeout = self._timeout if timeout is None else timeout
        self._deadline = self._clock() + self._timeout
        self._exchange_over = False

    def call(self, method: str, params: Message | None = None) -> Message:
        """Send a request and return its result. Notifications that come meanwhile are kept for :meth:`receive`.

        Raises ``DaemonError`` for an error response, ``CliError`` (exit 6 or 7) where no response comes.
        """
        return self._result(method, self.send(method, params))

    def early_result(self) -> Message:
        """The result of the request that was sent with the connection; raises as :meth:`call` does."""
        if self._early is None:
            raise TypeError("no early request was sent")
        return self._result(*self._early)

    def _result(self, method: str, request_id: int) -> Message:
        while True:
            try:
                message = self._read_message(method)
            except _InvalidMessage as error:
                raise self._malformed(method, str(error)) from None
            if message is None:
                raise self._closed()
            if "method" in message:
                self._notifications.append(message)
            elif message.get("id") == request_id or message.get("id") is None:
                self._exchange_over = True
                return self.parse_result(message, method)

    def send(self, method: str, params: Message | None = None) -> int:
        """Send a request and return its id. :meth:`receive` returns the response."""
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params or {}}
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise CliError(f"cannot send {method}: it has {len(line):,} bytes, and acpbot takes {REQUEST_LIMIT:,}")
        if self._exchange_over:
            self.reset_deadline()
        try:
            self._socket.settimeout(self._seconds_left(method))
            self._socket.sendall(line)
        except TimeoutError:
            self._raise_timeout(method)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon has closed the connection: the next read finds its last messages, then the end
        except OSError as error:
            raise unreachable(self.path, error) from None
        return self._last_id

    def parse_result(self, response: Message, method: str) -> Message:
        """The result of a response to ``method``.

        Raises ``DaemonError`` for an error response, ``CliError`` for a response without a result.
        """
        if isinstance(response.get("error"), dict):
            raise _daemon_error(response["error"], method)
        result = response.get("result")
        if not isinstance(result, dict):
            raise self._malformed(method, "there is no result in it")
        return result

    def parse_rows(self, result: Message, key: str, method: str) -> list[Message]:
        """The array of objects at ``key`` of a result. Raises ``CliError`` where there is none."""
        rows = objects(result.get(key))
        if not isinstance(result.get(key), list) or len(rows) != len(result[key]):
            raise self._malformed(method, f"{key} is missing or isn't a list of objects")
        return rows

    # Messages that come at any time.

    def receive(self, seconds: float | None = None) -> list[Message]:
        """All messages that have come; waits at most ``seconds`` (``None``: for ever) for the first one.

        Raises ``CliError`` (exit 6) where the daemon has closed the connection, ``BrokenPipeError`` where nobody reads
        the pipe at ``reader`` any more.
        """
        messages = self._buffered()
        while not messages and self._readable(seconds):
            if not self._fill_buffer():
                raise self._closed()
            messages = self._buffered()
        return messages

    def _readable(self, seconds: float | None) -> bool:
        """Whether the daemon sends something within ``seconds``, or ends the connection."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        if self._reader is not None:
            waiting.register(self._reader, 0)  # poll(2): POLLERR comes unasked, once a pipe has no reader
        ready = waiting.poll(None if seconds is None else max(0, math.ceil(seconds * 1000)))
        if any(descriptor == self._reader for descriptor, _ in ready):
            raise BrokenPipeError
        return bool(ready)

    def _buffered(self) -> list[Message]:
        """The messages that are read already."""
        messages = list(self._notifications)
        self._notifications.clear()
        try:
            while (line := self._next_line()) is not None:
                messages.append(_parse(line))
        except _InvalidMessage as error:
            raise self._malformed("a stream", str(error)) from None
        return messages

    # Lines.

    def _read_message(self, method: str) -> Message | None:
        """The next message of the socket; ``None`` at the end of the stream."""
        while (line := self._next_line()) is None:
            self._socket.settimeout(self._seconds_left(method))
            try:
                if not self._fill_buffer():
                    return None
            except TimeoutError:
                self._raise_timeout(method)
        return _parse(line)

    def _next_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > _ANSWER_LIMIT:
                raise CliError(f"cannot read acpbot's answer: it is a line over {_ANSWER_LIMIT:,} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def _fill_buffer(self) -> bool:
        """Read once; whether anything came before the end of the stream."""
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    # Errors.

    def _seconds_left(self, method: str) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            self._raise_timeout(method)
        return left

    def _raise_timeout(self, method: str) -> NoReturn:
        raise CliError(
            f"cannot get an answer from acpbot at {clean(self.path)} within {self._timeout:g} s ({method}); "
            "wait longer with --timeout, or look at its log",
            TIMED_OUT,
        )

    def _closed(self) -> CliError:
        return CliError(
            f"cannot go on: acpbot at {clean(self.path)} closed the connection; "
            "was it stopped? look at its log, or run `acpctl doctor`",
            UNREACHABLE,
        )

    def _malformed(self, method: str, why: str) -> CliError:
        return CliError(
            f"cannot understand acpbot's answer to {method}: {why}; "
            f"is acpctl ({__version__}) of the same version as acpbot ({self.version})?",
            FAILED,
        )


class _InvalidMessage(ValueError):
    """A line is not a JSON object."""


def _reject_constant(name: str) -> NoReturn:
    raise _InvalidMessage(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_reject_constant)


def _parse(line: bytes) -> Message:
    try:
        message = _DECODER.decode(line.decode("utf-8"))
    except _InvalidMessage:
        raise
    except (ValueError, RecursionError):
        raise _InvalidMessage("it is not JSON") from None
    if not isinstance(message, dict):
        raise _InvalidMessage("it is not a JSON object")
    return message


def _daemon_error(error: Message, method: str) -> DaemonError:
    """The exception for an error response; its message begins 'cannot ...'."""
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, dict) else None
    message = clean(error.get("message")) or "acpbot gave no reason"
    if not message.startswith("cannot "):
        message = f"cannot {method}: {message}"
    return DaemonError(message, kind=kind if isinstance(kind, str) else "", code=error.get("code"))
