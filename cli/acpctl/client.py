"""A blocking client of the management wire (DESIGN section 4): one connection, one deadline for a whole exchange."""

from __future__ import annotations

import json
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from acpctl import __version__
from acpctl.exit_codes import FAILED, TIMED_OUT, UNREACHABLE, Failure, Refused
from acpctl.socket_paths import unreachable
from acpctl.text import clean

if TYPE_CHECKING:
    from types import TracebackType

PROTOCOL: Final = 1
REQUEST_LIMIT: Final = 65_536  # bytes of a request line with its newline: what the daemon takes
_ANSWER_LIMIT: Final = 100_000_000  # bytes of a line from the daemon
_CHUNK: Final = 262_144

Message = dict[str, Any]


def connect(path: str, timeout: float) -> Connection:
    """A connection whose hello has been read; ``timeout`` seconds are for this and all calls until :meth:`renew`.

    Raises ``Failure``: exit 6 where there is no acpbot or one of another protocol, 4 where it lets nobody in, 7.
    """
    connection = Connection(path, timeout)
    try:
        connection.open()
    except BaseException:
        connection.close()
        raise
    return connection


class Connection:
    """One connection to the daemon. Not thread-safe. Requests are answered in any order; notifications are kept."""

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self.hello: Message = {}
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._scanned = 0
        self._kept: deque[Message] = deque()
        self._last_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the daemon notices."""
        self._socket.close()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    # The first line.

    def open(self) -> None:
        """Connect and read hello."""
        try:
            self._connect()
        except OSError as error:
            raise unreachable(self.path, error) from None
        try:
            hello = self._next("hello")
        except _Garbled:
            raise self._not_acpbot() from None
        if hello is None:
            raise Failure(
                f"cannot reach acpbot at {clean(self.path)}: it closed the connection without a hello; "
                "see acpbot's log, or run `acpctl doctor`",
                UNREACHABLE,
            )
        if isinstance(hello.get("error"), dict):
            raise _refused(hello["error"], "connect")
        params = hello.get("params")
        if hello.get("method") != "hello" or not isinstance(params, dict) or params.get("server") != "acpbot":
            raise self._not_acpbot()
        self.hello = params
        if (protocol := params.get("protocol")) != PROTOCOL:
            raise Failure(
                f"cannot talk to acpbot {self.version} at {clean(self.path)}: it speaks protocol {clean(protocol)}, "
                f"and this acpctl ({__version__}) speaks {PROTOCOL}; use the acpctl that came with it",
                UNREACHABLE,
            )

    def _connect(self) -> None:
        self._socket.settimeout(self._left("connect"))
        try:
            self._socket.connect(self.path)
        except BlockingIOError:
            # unix(7): a full backlog fails at once on a socket that does not block. A blocking one waits, for as
            # long as SO_SNDTIMEO says (socket(7)).
            import struct  # noqa: PLC0415 - needed only here, which is rare

            left = self._left("connect")
            self._socket.settimeout(None)
            limit = struct.pack("ll", int(left), int(left % 1 * 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            try:
                self._socket.connect(self.path)
            except BlockingIOError:
                self._late("connect")
        except TimeoutError:
            self._late("connect")

    def _not_acpbot(self) -> Failure:
        advice = "name acpbot's socket with --socket or ACPBOT_SOCKET"
        return Failure(
            f"cannot talk to what listens at {clean(self.path)}: it is not an acpbot; {advice}",
            UNREACHABLE,
        )

    # What hello said.

    @property
    def version(self) -> str:
        """The daemon's version, as it calls it."""
        return clean(self.hello.get("version") or "of unknown version")

    @property
    def access(self) -> str:
        """``admin`` or ``read``."""
        return clean(self.hello.get("access"))

    def offers(self, method: str) -> bool:
        """Whether this daemon serves ``method``."""
        capabilities = self.hello.get("capabilities")
        return isinstance(capabilities, list) and method in capabilities

    def need(self, method: str, verb: str) -> None:
        """Raise ``Failure`` where ``method`` is not served; ``verb`` is what the user wanted to do."""
        if not self.offers(method):
            raise Failure(f"cannot {verb}: this acpbot ({self.version}) does not offer {method}")

    # Requests.

    def renew(self, timeout: float | None = None) -> None:
        """A new exchange begins: ``timeout`` seconds from now (as before where it is ``None``)."""
        self._timeout = self._timeout if timeout is None else timeout
        self._deadline = time.monotonic() + self._timeout

    def call(self, method: str, params: Message | None = None) -> Message:
        """The result of a request. Notifications that come before it are kept for :meth:`arrived`.

        Raises ``Refused`` for an error answer, ``Failure`` (6 or 7) where none comes.
        """
        number = self.send(method, params)
        while True:
            try:
                message = self._next(method)
            except _Garbled as garbled:
                raise self._unclear(method, str(garbled)) from None
            if message is None:
                raise self.lost()
            if "method" in message:
                self._kept.append(message)
            elif message.get("id") == number or message.get("id") is None:
                return self.result(message, method)

    def send(self, method: str, params: Message | None = None) -> int:
        """Send a request and return its id; the answer is among what :meth:`arrived` gives."""
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params or {}}
        line = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise Failure(f"cannot send {method}: it has {len(line):,} bytes, and acpbot takes {REQUEST_LIMIT:,}")
        try:
            self._socket.settimeout(self._left(method))
            self._socket.sendall(line)
        except TimeoutError:
            self._late(method)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon has closed: what it said before, and that it closed, is found by reading
        except OSError as error:
            raise unreachable(self.path, error) from None
        return self._last_id

    def result(self, message: Message, method: str) -> Message:
        """The result in an answer to ``method``. Raises ``Refused`` for an error, ``Failure`` for what is neither."""
        if isinstance(message.get("error"), dict):
            raise _refused(message["error"], method)
        result = message.get("result")
        if not isinstance(result, dict):
            raise self._unclear(method, "there is no result in it")
        return result

    def rows(self, result: Message, key: str, method: str) -> list[Message]:
        """The list of objects under ``key`` of a result. Raises ``Failure`` where it is not one."""
        rows = result.get(key)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._unclear(method, f"{key} is missing or no list of objects")
        return rows

    # Streams.

    def taken(self) -> list[Message]:
        """The messages that were read already."""
        kept = list(self._kept)
        self._kept.clear()
        try:
            while (line := self._line()) is not None:
                kept.append(_parsed(line))
        except _Garbled as garbled:
            raise self._unclear("a stream", str(garbled)) from None
        return kept

    def arrived(self, seconds: float | None = None) -> list[Message]:
        """The messages that have come, waiting at most ``seconds`` for one (``None``: for ever); then empty.

        Raises ``Failure`` (6) where the daemon has gone away.
        """
        messages = self.taken()
        while not messages and select.select([self._socket], [], [], seconds)[0]:
            if not self._fill():
                raise self.lost()
            messages = self.taken()
        return messages

    def lost(self) -> Failure:
        """What to tell when the daemon has closed the connection."""
        return Failure(
            f"cannot go on: acpbot at {clean(self.path)} closed the connection; "
            "was it stopped? look at its log, or run `acpctl doctor`",
            UNREACHABLE,
        )

    # Lines.

    def _next(self, what: str) -> Message | None:
        """The next message, kept ones left out; ``None`` at the end of the stream."""
        while (line := self._line()) is None:
            self._socket.settimeout(self._left(what))
            try:
                if not self._fill():
                    return None
            except TimeoutError:
                self._late(what)
        return _parsed(line)

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._scanned > _ANSWER_LIMIT:
                raise Failure(f"cannot read acpbot's answer: it is a line over {_ANSWER_LIMIT:,} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionResetError:
            return False
        self._buffer += data
        return bool(data)

    def _left(self, what: str) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._late(what)
        return left

    def _late(self, what: str) -> NoReturn:
        waited = f"{self._timeout:g} s"
        raise Failure(
            f"cannot get an answer from acpbot at {clean(self.path)} within {waited} ({what}); "
            "wait longer with --timeout, or look at its log",
            TIMED_OUT,
        )

    def _unclear(self, method: str, why: str) -> Failure:
        return Failure(
            f"cannot understand acpbot's answer to {method}: {why}; "
            f"is acpctl ({__version__}) of the same version as acpbot ({self.version})?",
            FAILED,
        )


class _Garbled(ValueError):
    """A line that is not a JSON object."""


def _refuse_constant(name: str) -> NoReturn:
    raise _Garbled(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _parsed(line: bytes) -> Message:
    try:
        message = _DECODER.decode(line.decode("utf-8"))
    except _Garbled:
        raise
    except (ValueError, RecursionError):
        raise _Garbled("it is not JSON") from None
    if not isinstance(message, dict):
        raise _Garbled("it is not a JSON object")
    return message


def _refused(error: Message, what: str) -> Refused:
    """An error answer as an exception: its message in one line, beginning 'cannot ...'."""
    data = error.get("data")
    kind = data.get("kind") if isinstance(data, dict) else None
    message = clean(error.get("message")) or "acpbot gave no reason"
    if not message.startswith("cannot "):
        message = f"cannot {what}: {message}"
    return Refused(message, kind=kind if isinstance(kind, str) else "", number=error.get("code"))
