"""One agent's stdin and stdout as a JSON-RPC connection: requests with time limits, and one ordered, bounded stream.

Everything that belongs to a conversation comes out of :meth:`AgentConnection.next_batch` in the order of the wire:
updates, permission requests, the end of a prompt, the end of the agent. When nobody reads the batches, reading stops
and the agent blocks on its stdout: memory stays bounded, nothing is dropped. Updates wait undecoded, since decoded they
may take twenty times as much; :mod:`acpbot.acp.bounds` says what is kept of each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from acpbot.acp import bounds, elicitation, lenient, schema
from acpbot.acp.error_text import error_text
from acpbot.aio import Wakeup
from acpbot.errors import AgentGone, AgentRefused, AgentTimeout
from acpbot.jsonrpc import (
    METHOD_NOT_FOUND,
    Answered,
    ErrorObject,
    LenientDecoder,
    Notification,
    Peer,
    Request,
    Response,
    encode_error,
)
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.jsonrpc import Id, Malformed

log = get_logger(__name__)

HIGH_WATER_ITEMS: Final = 4096
HIGH_WATER_BYTES: Final = 2 * 1024 * 1024
BATCH_BYTES: Final = 256 * 1024
"""Bytes of the lines in one batch, the last one not counted."""
# Nearly all updates begin in one of these ways, with or without spaces. Others go a longer way, to the same end.
_UPDATE_LINES: Final = (
    b'{"jsonrpc":"2.0","method":"session/update","params":',
    b'{"jsonrpc": "2.0", "method": "session/update", "params":',
)
_LOGGED_SINGLY: Final = 4
_DETAIL_LENGTH: Final = 300
_DROPPED_MOST: Final = 100

T = TypeVar("T")


class ByteStream(Protocol):
    """An agent's stdin and stdout, as a connection needs them."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for stdin, in order; never blocks. Raises AgentGone, AgentTimeout (too much is unread)."""

    def pause_reading(self) -> None:
        """Read no more of stdout: the agent blocks once its pipe is full."""

    def resume_reading(self) -> None:
        """Read stdout again."""


class PermissionAsked(msgspec.Struct, frozen=True):
    """The agent waits for an answer to ``session/request_permission``; see :meth:`Agent.answer_permission`.

    ``whole``: ``params`` are all that it sent. ``size``: bytes of what is kept of them.
    """

    request_id: Id
    params: schema.PermissionParams
    whole: bool = True
    size: int = 0


class PermissionUnreadable(msgspec.Struct, frozen=True):
    """The agent asked for a permission in a form that is not ACP's; it has been answered with an error."""

    reason: str


class ElicitationAsked(msgspec.Struct, frozen=True):
    """The agent waits for an answer to ``elicitation/create``; see :meth:`Agent.answer_elicitation`."""

    request_id: Id
    form: elicitation.Elicitation


class ElicitationCompleted(msgspec.Struct, frozen=True):
    """What people were to do at an address is done (``elicitation/complete``)."""

    elicitation_id: str


class RequestCancelled(msgspec.Struct, frozen=True):
    """The agent no longer wants an answer to its request (``$/cancel_request``)."""

    request_id: Id


class PromptEnded(msgspec.Struct, frozen=True):
    """The answer to ``session/prompt``: exactly one of ``stop_reason`` and ``error`` is set."""

    request_id: int
    stop_reason: str | None = None
    error: AgentRefused | None = None


class Closed(msgspec.Struct, frozen=True):
    """The last item: nothing more will come."""


Item = (
    schema.Update
    | PermissionAsked
    | PermissionUnreadable
    | ElicitationAsked
    | ElicitationCompleted
    | RequestCancelled
    | PromptEnded
    | Closed
)


class _UpdateLine(msgspec.Struct, frozen=True, gc=False):
    params: schema.UpdateParams
    method: str
    id: msgspec.Raw | None = None


class AgentConnection:
    """The client's end of ACP over one agent's stdin and stdout.

    ``stream`` is set before anything is sent; whoever reads the agent's stdout calls `data_received` and `eof`.
    ``closed``: stdout has ended, or `close` was called. ``paused``: reading is stopped until `next_batch` is called.
    ``malformed``: how many lines were no message (they are logged and skipped). All methods belong to the event loop's
    thread.
    """

    def __init__(self, *, max_line: int = bounds.LINE_MOST) -> None:
        self.stream: ByteStream | None = None
        self.closed = False
        self.paused = False
        self.malformed = 0
        decoder = LenientDecoder(max_line=max_line, shortener=bounds.line_shortener, deferred=_UPDATE_LINES)
        self._peer = Peer(decoder)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._items: deque[Item | Notification | bytes] = deque()
        self._bytes = 0
        self._news = Wakeup()
        self._muted_by: int | None = None
        self._decode_update = msgspec.json.Decoder(schema.UpdateParams).decode
        self._decode_line = msgspec.json.Decoder(_UpdateLine).decode
        self._bounds = bounds.UpdateBounds()
        self._dropped: set[tuple[str, str]] = set()

    # To the agent.

    async def request(self, method: str, params: Any, result: type[T], *, limit: float, mute: bool = False) -> T:
        """Call the agent and wait at most ``limit`` seconds for its answer.

        With ``mute``, conversation content that comes before the answer is dropped (the replay of ``session/load``).
        Raises AgentTimeout, AgentRefused (an error answer, or one that is not of ACP's form), AgentGone.
        """
        request_id, line = self._peer.request(method, params)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        if mute:
            self._muted_by = request_id
        try:
            self._write(line)
            async with asyncio.timeout(limit):
                raw = await answer
        except TimeoutError:
            raise AgentTimeout(f"cannot go on: the agent did not answer {method} within {limit:g} s") from None
        finally:
            self._peer.forget(request_id)
            del self._waiting[request_id]
            if self._muted_by == request_id:
                self._muted_by = None
        return self._decode(raw, result, method)

    def _write(self, line: bytes) -> None:
        if self.closed or self.stream is None:
            raise AgentGone("cannot reach the agent: it has ended")
        self.stream.write(line)

    def _decode(self, raw: msgspec.Raw, result: type[T], method: str) -> T:
        # Some agents answer null where ACP has an object without members.
        whole, _ = bounds.compact(bytes(raw))
        whole = b"{}" if whole == b"null" else whole
        try:
            made, dropped = lenient.decode(whole, result)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reason = f"cannot use the agent's answer to {method}: {error}"
            raise AgentRefused(reason, code=0) from None
        new = [path for path in dropped if (method, path) not in self._dropped]
        if new and len(self._dropped) < _DROPPED_MOST:
            self._dropped.update((method, path) for path in new)
            log.warning("agent_answer_incomplete", method=method, left_out=", ".join(new)[:_DETAIL_LENGTH])
        return made

    # From the agent.

    async def next_batch(self) -> list[Item]:
        """The next items that have come, in order; waits until there are some. One reader at a time."""
        while True:
            if self._items:
                await asyncio.sleep(0)  # a flood must not keep the event loop from others
            while not self._items:
                await self._news.wait()
            batch = self._take_batch()
            if not self._items:
                self._bytes = 0
                if self.paused and self.stream is not None:
                    self.paused = False
                    self.stream.resume_reading()
            if batch:
                return batch

    def _take_batch(self) -> list[Item]:
        batch: list[Item] = []
        items, left = self._items, BATCH_BYTES
        while items and left > 0:
            item = items.popleft()
            if type(item) is bytes:
                left -= len(item)
                update = self._update_line(item)
            elif type(item) is Notification:
                left -= len(memoryview(item.params))
                update = self._update(item)
            else:
                batch.append(item)  # type: ignore[arg-type]  # all others are items
                continue
            if update is not None:
                batch.append(update)
        return batch

    def data_received(self, data: bytes) -> None:
        """Handle what the agent wrote on its stdout."""
        if self.closed:
            return
        append = self._items.append
        for message in self._peer.receive(data):
            if self._muted_by is None and type(message) is bytes:
                append(message)
            else:
                self._handle(message)
        if not self._items:
            return
        self._bytes += len(data)
        self._news.wake()
        full = self._bytes >= HIGH_WATER_BYTES or len(self._items) >= HIGH_WATER_ITEMS
        if full and not self.paused and self.stream is not None:
            self.paused = True
            self.stream.pause_reading()

    def _update_line(self, line: bytes) -> schema.Update | None:
        """Decode a line that begins as an update: in one step, where it is short and has nothing unusual."""
        if len(line) > bounds.PLAIN_MOST:
            return self._unusual_update(line)
        try:
            message = self._decode_line(line)
            params, kind = message.params, message.params.update["sessionUpdate"]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
            return self._unusual_update(line)
        if message.id is not None or message.method != "session/update":  # members that come twice, or after params
            return self._unusual_update(line)
        if kind == "agent_message_chunk" and self._bounds.idle and bounds.is_plain(line):
            self._bounds.last = "x"
            return schema.Update(params.session_id, kind, params.update)
        return self._bounded(params, cut=False)

    def _unusual_update(self, line: bytes) -> schema.Update | None:
        message = self._peer.message(line)
        if type(message) is Notification and message.method == "session/update":
            return self._update(message)
        if message is not None:
            self._handle(message)
        return None

    def _update(self, message: Notification) -> schema.Update | None:
        """Decode an update; ``None``, and a line in the log, where it is none."""
        try:
            raw, shortened = bounds.compact(bytes(message.params))
            return self._bounded(self._decode_update(raw), cut=message.cut or shortened)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
            self._note_malformed(f"session/update: {error!r}", b"")
            return None

    def _bounded(self, params: schema.UpdateParams, *, cut: bool) -> schema.Update | None:
        body, kind = params.update, params.update["sessionUpdate"]
        if not isinstance(kind, str):
            self._note_malformed("session/update: its kind is not a string", b"")
            return None
        cut = self._bounds.bound(params.session_id, kind, body, cut=cut)
        return schema.Update(params.session_id, kind, body, cut)

    def close(self) -> None:
        """End the stream: open requests fail with AgentGone, the reader gets :class:`Closed` after what has come."""
        if self.closed:
            return
        self.closed = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AgentGone("cannot go on: the agent ended before it answered"))
        self._items.append(Closed())
        self._news.wake()

    eof = close
    """The agent's stdout has ended."""

    def _handle(self, message: Request | Notification | Response | Answered | Malformed | bytes) -> None:
        match message:
            case bytes() | Notification(method="session/update"):
                self._handle_update(message)
            case Answered():
                self._handle_answer(message)
            case Request():
                self._handle_request(message)
            case Notification(method="$/cancel_request"):
                self._handle_cancel(message)
            case Notification(method="elicitation/complete"):
                self._handle_completed(message)
            case Notification():
                log.debug("agent_notification_ignored", method=message.method[:80])
            case Response():
                log.info("agent_answer_unmatched", id=str(message.id)[:80])
            case _:
                self._note_malformed(message.reason, message.preview)
                if isinstance(message.id, int):
                    self._handle_empty_answer(message.id)

    def _handle_update(self, message: Notification | bytes) -> None:
        if self._muted_by is None:
            self._items.append(message)
            return
        update = self._update_line(message) if isinstance(message, bytes) else self._update(message)
        if update is not None and update.kind not in schema.CONTENT_KINDS:
            self._items.append(update)

    def _handle_answer(self, message: Answered) -> None:
        if message.id == self._muted_by:
            self._muted_by = None
        error = None if message.error is None else _refused(message.method, message.error)
        if message.method == "session/prompt":
            reason: str | None = None
            if error is None:
                reason = self._stop_reason(message.result)
            self._items.append(PromptEnded(message.id, stop_reason=reason, error=error))
            return
        future = self._waiting.get(message.id)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(message.result)
        else:
            future.set_exception(error)

    def _stop_reason(self, result: msgspec.Raw) -> str:
        """Why a prompt that was answered has ended; an answer that can't be read has ended it all the same."""
        try:
            ended = self._decode(result, schema.PromptResult, "session/prompt")
        except AgentRefused as unusable:
            log.warning("agent_answer_unusable", reason=str(unusable))
            ended = schema.PromptResult()
        return bounds.reason(ended.stop_reason)

    def _handle_empty_answer(self, request_id: int) -> None:
        """Handle an answer without a result: JavaScript leaves it out where it is undefined."""
        self._peer.forget(request_id)
        if request_id == self._muted_by:
            self._muted_by = None
        future = self._waiting.get(request_id)
        if future is None:
            self._items.append(PromptEnded(request_id, stop_reason=self._stop_reason(msgspec.Raw(b"null"))))
        elif not future.done():
            future.set_result(msgspec.Raw(b"null"))

    def _handle_request(self, message: Request) -> None:
        if message.method == "session/request_permission":
            try:
                params, whole = schema.permission_params(message.params, cut=message.cut)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._refuse(message.id, -32602, f"cannot take these params: {error}")
                self._items.append(PermissionUnreadable(str(error)[:_DETAIL_LENGTH]))
            else:
                size = len(bytes(message.params)) if whole else 0
                self._items.append(PermissionAsked(message.id, params, whole, size))
            return
        if message.cut:
            self._refuse(message.id, -32602, f"cannot take a request of more than {bounds.LINE_MOST:,} bytes")
            return
        if message.method == "elicitation/create":
            try:
                self._items.append(ElicitationAsked(message.id, elicitation.decode(message.params)))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._refuse(message.id, -32602, f"cannot take these params: {error}")
                log.warning("elicitation_unreadable", reason=str(error)[:_DETAIL_LENGTH])
            return
        self._refuse(message.id, METHOD_NOT_FOUND, f"cannot serve {message.method[:80]}: not offered here")

    def _refuse(self, request_id: Id, code: int, reason: str) -> None:
        try:
            self._write(encode_error(request_id, code, reason))
        except (AgentGone, AgentTimeout) as error:
            log.info("agent_refusal_unsent", reason=str(error))

    def _handle_cancel(self, message: Notification) -> None:
        try:
            params = msgspec.json.decode(message.params, type=dict[str, Any])
            self._items.append(RequestCancelled(params["requestId"]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
            self._note_malformed(f"$/cancel_request: {error!r}", b"")

    def _handle_completed(self, message: Notification) -> None:
        try:
            self._items.append(ElicitationCompleted(elicitation.completed(message.params)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._note_malformed(f"elicitation/complete: {error!r}", b"")

    def _note_malformed(self, reason: str, preview: bytes) -> None:
        self.malformed += 1
        if self.malformed & (self.malformed - 1) == 0 or self.malformed <= _LOGGED_SINGLY:
            log.warning(
                "agent_line_malformed",
                count=self.malformed,
                reason=reason,
                line=preview.decode(errors="backslashreplace"),
            )


def _refused(method: str, error: ErrorObject) -> AgentRefused:
    text = error_text(error.message, error.data)
    reason = f"cannot go on: the agent refused {method}: {text.said} ({error.code})"
    return AgentRefused(reason, code=error.code, said=text.said, core=text.core)
