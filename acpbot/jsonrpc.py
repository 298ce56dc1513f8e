"""JSON-RPC 2.0 over newline-delimited JSON, without I/O: bytes in, messages out.

There are two decoders, which differ in what they do with a bad line:

- :class:`StrictDecoder` (the management socket) accepts only requests. For any other line it returns a
  :class:`Malformed` that says what to answer.
- :class:`LenientDecoder` (an agent's stdout) reports a bad line and reads the next one. Parameters and results stay
  undecoded (:class:`msgspec.Raw`), so that a message costs a microsecond or two.

:class:`Peer` numbers requests and matches answers with them. Nothing here uses a socket or a clock.
Source: https://www.jsonrpc.org/specification, https://github.com/ndjson/ndjson-spec.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from acpbot.lines import PREVIEW, LineSplitter, Overlong

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.lines import LineShortener

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
LINE_TOO_LONG: Final = -32007

Id = int | str

ID_MOST: Final = 1024
"""Characters of a request's id that we keep to send it back."""
_ERROR_MOST: Final = 64 * 1024


class ErrorObject(msgspec.Struct, frozen=True):
    """The ``error`` member of a response."""

    code: int
    message: str
    data: Any = None


class Request(msgspec.Struct, frozen=True):
    """A call that needs an answer. ``params``: a dict (strict), or undecoded JSON (lenient).

    ``cut``: the line was too long, and is here without some of its members or parts of its strings.
    """

    id: Id
    method: str
    params: Any
    cut: bool = False


class Notification(msgspec.Struct, frozen=True):
    """A call that gets no answer. ``params`` and ``cut`` as in :class:`Request`."""

    method: str
    params: Any
    cut: bool = False


class Response(msgspec.Struct, frozen=True):
    """An answer: ``result``, or ``error`` where that is set. ``id`` is ``None`` where the sender could not read it."""

    id: Id | None
    result: Any = None
    error: ErrorObject | None = None


class Malformed(msgspec.Struct, frozen=True):
    """A line that is not a valid message.

    ``code``, ``kind`` and ``reason`` are the error to answer, ``id`` the id of the request (``None``: unknown).
    ``fatal``: no line can be read after this one; close the connection after the answer. ``preview`` holds the first
    bytes of the line, for the log.
    """

    code: int
    kind: str
    reason: str
    fatal: bool = False
    id: Id | None = None
    preview: bytes = b""


Message = Request | Notification | Response | Malformed

_dump = msgspec.json.Encoder().encode


def encode_request(request_id: Id, method: str, params: Any) -> bytes:
    """One request line, newline included; structs are encoded by their field names."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}\n' % (_dump(request_id), _dump(method), _dump(params))


def encode_notification(method: str, params: Any) -> bytes:
    """One notification line, newline included."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}\n' % (_dump(method), _dump(params))


def encode_result(request_id: Id | None, result: Any) -> bytes:
    """One success line, newline included."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (_dump(request_id), _dump(result))


def encode_error(request_id: Id | None, code: int, message: str, kind: str | None = None) -> bytes:
    """One error line, newline included; ``kind`` becomes ``data.kind``."""
    error: dict[str, Any] = {"code": code, "message": message}
    if kind is not None:
        error["data"] = {"kind": kind}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (_dump(request_id), _dump(error))


class _InvalidJson(ValueError):
    """The strict decoder does not accept this JSON; the text says why."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _InvalidJson(f"the key {name[:40]!r} occurs twice in one object")
            seen.add(name)
    return members


_INT64_DIGITS = 19
_INT64 = range(-(2**63), 2**63)


def _bounded_int(digits: str) -> int:
    if len(digits) > _INT64_DIGITS + 1 or (number := int(digits)) not in _INT64:
        raise _InvalidJson("a number is beyond 64 bits")
    return number


def _finite_float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise _InvalidJson("a number is beyond the range of a double")
    return number


def _no_constant(name: str) -> Any:
    raise _InvalidJson(f"{name} is not JSON")


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


def _deeper_than(line: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than ``limit``, counted without parsing, which would overflow the parser's stack."""
    if line.count(b"[") + line.count(b"{") <= limit:
        return False
    depth = 0
    for byte in _STRING.sub(b"", line):
        if byte in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


class StrictDecoder:
    """Decodes requests only, one object a line: the server's side of the management socket.

    ``max_line`` is in bytes, newline included; ``max_depth`` counts nested brackets. Blank lines are skipped.
    """

    def __init__(self, *, max_line: int = 65_536, max_depth: int = 32) -> None:
        self._max_line = max_line
        self._max_depth = max_depth
        self._lines = LineSplitter(max_line)
        self._lost = False
        self._json = json.JSONDecoder(
            object_pairs_hook=_no_duplicates,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            parse_constant=_no_constant,
        )

    @property
    def mid_line(self) -> bool:
        """Whether part of a line has been received, but not its newline."""
        return self._lines.mid_line

    def receive(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes; after a fatal one, none."""
        messages: list[Message] = []
        if self._lost:
            return messages
        for line in self._lines.feed(data):
            if isinstance(line, Overlong):
                self._lost = True
                reason = f"cannot read a line over {self._max_line:,} bytes; send shorter requests"
                messages.append(Malformed(LINE_TOO_LONG, "line_too_long", reason, fatal=True, preview=line.preview))
                break
            if line.strip(b" \t\r"):
                messages.append(self._decode(line))
        return messages

    def _decode(self, line: bytes) -> Message:
        try:
            value = self._parse(line)
        except (ValueError, RecursionError) as error:
            reason = f"cannot read a line as JSON: {error}"
            return Malformed(PARSE_ERROR, "invalid", reason, preview=line[:PREVIEW])
        return _strict_request(value, line)

    def _parse(self, line: bytes) -> Any:
        if b"\0" in line:
            raise _InvalidJson("it holds a NUL byte")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise _InvalidJson(f"byte {error.start} is not UTF-8") from None
        if _deeper_than(line, self._max_depth):
            raise _InvalidJson(f"it nests deeper than {self._max_depth} levels")
        text = text.strip(" \t\r")
        try:
            value, end = self._json.raw_decode(text)
        except json.JSONDecodeError as error:
            raise _InvalidJson(f"{error.msg} at character {error.pos}") from None
        if end != len(text):
            raise _InvalidJson(f"extra data at character {end}")
        if "\\u" in text:
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise _InvalidJson("a string holds half of a surrogate pair") from None
        return value


_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params"})


def _strict_request(value: Any, line: bytes) -> Message:
    def refuse(reason: str, request_id: Id | None = None) -> Malformed:
        return Malformed(INVALID_REQUEST, "invalid", reason, id=request_id, preview=line[:PREVIEW])

    if isinstance(value, list):
        return refuse("cannot take a batch: send one object per line")
    if not isinstance(value, dict):
        return refuse("cannot take this line: a request must be a JSON object")
    if "id" not in value:
        return refuse("cannot take a notification: every request needs an id")
    request_id = value["id"]
    if isinstance(request_id, bool) or not isinstance(request_id, int | str):
        return refuse("cannot take this id: it must be a string or an integer")
    if value.get("jsonrpc") != "2.0":
        return refuse('cannot take this request: it lacks "jsonrpc": "2.0"', request_id)
    method = value.get("method")
    if not isinstance(method, str):
        return refuse("cannot take this request: method must be a string", request_id)
    if unknown := sorted(value.keys() - _ENVELOPE):
        return refuse(f"cannot take this request: unknown member {unknown[0][:40]!r}", request_id)
    params = value.get("params", {})
    if not isinstance(params, dict):
        reason = "cannot take these params: they must be an object"
        return Malformed(INVALID_PARAMS, "invalid", reason, id=request_id, preview=line[:PREVIEW])
    return Request(request_id, method, params)


_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


HALVES: Final = 0x10F800
"""In the chunks of a text, the half U+D800 + N of a surrogate pair becomes this private character + N.

So whoever puts the chunks together can put the halves together too; these characters are used by nobody else.
"""
_CHUNK: Final = re.compile(rb'"sessionUpdate"\s*:\s*"(?:user|agent)_(?:message|thought)_chunk"')


def _replace_half_pair(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["half"] else escape[0]


def _mark_half_pair(escape: re.Match[bytes]) -> bytes:
    half = escape["half"]
    return chr(HALVES + int(half[1:], 16) - 0xD800).encode() if half else escape[0]


_ABSENT = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    method: str | None = None
    params: msgspec.Raw = _ABSENT
    id: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class LenientDecoder:
    """Decodes what an agent writes on its stdout: it reports a bad line and goes on with the next.

    ``max_line`` is in bytes, newline included; a longer line is dropped while it arrives, or shortened by what
    ``shortener`` returns. ``params`` and ``result`` are :class:`msgspec.Raw` (empty where absent). A line that
    begins with one of ``deferred`` is returned as it is: its reader decodes it when it needs it, by :meth:`message` or
    by itself.
    """

    def __init__(
        self,
        *,
        max_line: int = 1024 * 1024,
        shortener: Callable[[], LineShortener] | None = None,
        deferred: tuple[bytes, ...] = (),
    ) -> None:
        self._max_line = max_line
        self._deferred = deferred
        self._lines = LineSplitter(max_line, shortener)
        self._decode = msgspec.json.Decoder(_Envelope).decode

    def receive(self, data: bytes) -> list[Message | bytes]:
        """The messages that ``data`` completes, in order; blank lines are skipped."""
        messages: list[Message | bytes] = []
        append, deferred = messages.append, self._deferred
        for line in self._lines.feed(data):
            if type(line) is bytes and line.startswith(deferred):
                append(line)
            elif (message := self.message(line)) is not None:
                append(message)
        return messages

    def message(self, line: bytes | Overlong) -> Message | None:
        """What one line says; ``None`` for a blank one."""
        try:
            envelope = self._decode(line)  # type: ignore[arg-type]  # an Overlong is not bytes: TypeError below
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
            return self._unusual(line, error)
        return _answer_or_request(envelope, line)

    def _unusual(self, line: bytes | Overlong, error: Exception) -> Message | None:
        """What a line says that is too long, holds half of a surrogate pair or begins with a byte order mark.

        ``None`` for a blank one. Agents in JavaScript cut strings inside a pair: each half becomes U+FFFD, or is marked
        in a chunk of a text.
        """
        text = line.short if isinstance(line, Overlong) else line
        if text is None:
            return self._malformed(line, error)
        replace = _replace_half_pair if _CHUNK.search(text) is None else _mark_half_pair
        whole = _ESCAPES.sub(replace, text.removeprefix(codecs.BOM_UTF8))
        if whole == line:
            return self._malformed(line, error)
        try:
            envelope = self._decode(whole)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._malformed(line, error)
        return _answer_or_request(envelope, whole, cut=isinstance(line, Overlong))

    def _malformed(self, line: bytes | Overlong, error: Exception) -> Malformed | None:
        if isinstance(line, Overlong):
            reason = f"a line over {self._max_line:,} bytes was dropped"
            return Malformed(LINE_TOO_LONG, "line_too_long", reason, preview=line.preview)
        if not line.strip():
            return None
        return Malformed(PARSE_ERROR, "invalid", f"not a JSON-RPC message: {error}", preview=line[:PREVIEW])


def _answer_or_request(envelope: _Envelope, line: Any, *, cut: bool = False) -> Message:
    """A message of any kind. An error that is not a JSON-RPC error object is kept as far as possible."""
    try:
        request_id = _id_of(envelope.id)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Malformed(INVALID_REQUEST, "invalid", "an id is a string or an integer", preview=line[:PREVIEW])
    if envelope.method is not None:
        if request_id is None:
            return Notification(envelope.method, envelope.params, cut=cut)
        return Request(request_id, envelope.method, envelope.params, cut)
    if envelope.error is not _ABSENT and bytes(envelope.error) != b"null":
        return Response(request_id, error=_error_object(envelope.error))
    if envelope.result is _ABSENT:
        reason = "neither a method nor a result nor an error"
        return Malformed(INVALID_REQUEST, "invalid", reason, id=request_id, preview=line[:PREVIEW])
    return Response(request_id, envelope.result)


_decode_id = msgspec.json.Decoder(int | Annotated[str, msgspec.Meta(max_length=ID_MOST)] | None).decode


def _id_of(raw: msgspec.Raw) -> Id | None:
    return None if raw is _ABSENT else _decode_id(raw)


class _LongError(msgspec.Struct, frozen=True):
    code: int = INTERNAL_ERROR
    message: str = "an error that is too long to be read"


def _error_object(raw: msgspec.Raw) -> ErrorObject:
    """The error; what is no error object becomes its message. One that is very long is read without its data."""
    if memoryview(raw).nbytes > _ERROR_MOST:
        try:
            long = msgspec.json.decode(raw, type=_LongError)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            long = _LongError()
        return ErrorObject(long.code, long.message[:_ERROR_MOST])
    error = msgspec.json.decode(raw)
    if not isinstance(error, dict):
        return ErrorObject(INTERNAL_ERROR, str(error), None)
    code, message = error.get("code"), error.get("message")
    if isinstance(code, bool) or not isinstance(code, int):
        code = INTERNAL_ERROR
    return ErrorObject(code, message if isinstance(message, str) else str(error), error.get("data"))


class Answered(msgspec.Struct, frozen=True):
    """A :class:`Response` matched with the request that it answers."""

    id: int
    method: str
    result: Any
    error: ErrorObject | None


class Peer:
    """The client's end of a connection: numbers the requests and matches the answers.

    Ids count up from 1. An answer whose id is the same number as a string matches too; an answer to no open request
    is returned as a plain :class:`Response`.
    """

    def __init__(self, decoder: LenientDecoder) -> None:
        self._decoder = decoder
        self._open: dict[int, str] = {}
        self._last = 0

    def request(self, method: str, params: Any) -> tuple[int, bytes]:
        """A new request: its id, and the line to send."""
        self._last += 1
        self._open[self._last] = method
        return self._last, encode_request(self._last, method, params)

    def forget(self, request_id: int) -> None:
        """Stop waiting for the answer: a late one is returned as a plain :class:`Response`."""
        self._open.pop(request_id, None)

    def receive(self, data: bytes) -> list[Message | Answered | bytes]:
        """The messages that ``data`` completes, in order, answers matched; deferred lines are not decoded."""
        return [self._matched(one) if type(one) is Response else one for one in self._decoder.receive(data)]

    def message(self, line: bytes) -> Message | Answered | None:
        """What a deferred line says."""
        message = self._decoder.message(line)
        return self._matched(message) if type(message) is Response else message

    def _matched(self, message: Response) -> Response | Answered:
        request_id = message.id
        if isinstance(request_id, str) and request_id.isdecimal() and len(request_id) <= _INT64_DIGITS:
            request_id = int(request_id)
        if isinstance(request_id, int) and (method := self._open.pop(request_id, None)) is not None:
            return Answered(request_id, method, message.result, message.error)
        return message
