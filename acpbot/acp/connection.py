"""One agent's stdio as an ACP connection: requests with time limits, and one ordered, bounded stream of what it says.

Everything that belongs to a conversation comes out of :meth:`Connection.next_batch` in the order of the wire: updates,
permission requests, the end of a prompt, the end of the agent. When nobody takes it, reading stops and the agent
blocks on its stdout: memory stays bounded, nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from acpbot.acp import schema
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
    encode_notification,
    encode_result,
)
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.jsonrpc import Id, Malformed

log = get_logger(__name__)

HIGH_WATER_ITEMS: Final = 4096
HIGH_WATER_BYTES: Final = 8 * 1024 * 1024
_GOES_ON: Final = 4
_DETAIL_LENGTH: Final = 300

T = TypeVar("T")


class ByteStream(Protocol):
    """What a connection needs of an agent's stdin and stdout."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for stdin, in order; never blocks. Raises AgentGone, AgentTimeout (too much is unread)."""

    def pause_reading(self) -> None:
        """Take no more of stdout: the agent blocks once its pipe is full."""

    def resume_reading(self) -> None:
        """Take stdout again."""


class PermissionAsked(msgspec.Struct, frozen=True):
    """The agent waits for an answer to ``session/request_permission``; see :meth:`Connection.answer`."""

    request_id: Id
    params: schema.PermissionParams


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


Item = schema.Update | PermissionAsked | RequestCancelled | PromptEnded | Closed


class Connection:
    """The client's end of ACP over one agent's stdio; which also takes what its stdout says.

    Not bound to a stream until :meth:`attach`. All methods belong to the event loop's thread.
    """

    def __init__(self, *, max_line: int = 32 * 1024 * 1024) -> None:
        self._peer = Peer(LenientDecoder(max_line=max_line))
        self._stream: ByteStream | None = None
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._paused = False
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self._muted_by: int | None = None
        self._decode_update = msgspec.json.Decoder(schema.UpdateParams).decode
        self.malformed = 0
        """How many lines were no message (they are logged and passed over)."""

    @property
    def closed(self) -> bool:
        """Whether the agent's stdout has ended, or :meth:`close` was called."""
        return self._closed

    @property
    def paused(self) -> bool:
        """Whether reading waits for somebody to take what has come."""
        return self._paused

    def attach(self, stream: ByteStream) -> None:
        """Bind to the stream whose stdout feeds this connection."""
        self._stream = stream
        if self._paused:
            stream.pause_reading()

    # What we say.

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
        return self._convert(raw, result, method)

    def prompt(self, params: Any) -> int:
        """Send ``session/prompt``; its answer comes as :class:`PromptEnded`, after all updates before it.

        Raises AgentGone, AgentTimeout (the agent does not read its stdin).
        """
        request_id, line = self._peer.request("session/prompt", params)
        self._write(line)
        return request_id

    def notify(self, method: str, params: Any) -> None:
        """Send a notification. Raises AgentGone, AgentTimeout."""
        self._write(encode_notification(method, params))

    def answer(self, request_id: Id, result: Any) -> None:
        """Answer a request of the agent's. Raises AgentGone, AgentTimeout."""
        self._write(encode_result(request_id, result))

    def refuse(self, request_id: Id, code: int, message: str) -> None:
        """Answer a request of the agent's with an error. Raises AgentGone, AgentTimeout."""
        self._write(encode_error(request_id, code, message))

    def _write(self, line: bytes) -> None:
        if self._closed or self._stream is None:
            raise AgentGone("cannot reach the agent: it has ended")
        self._stream.write(line)

    @staticmethod
    def _convert(raw: msgspec.Raw, result: type[T], method: str) -> T:
        # Some agents answer null where ACP has an object without members.
        whole = b"{}" if bytes(raw) == b"null" else raw
        try:
            return msgspec.json.decode(whole, type=result)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reason = f"cannot use the agent's answer to {method}: {error}"
            raise AgentRefused(reason, code=0) from None

    # What the agent says.

    async def next_batch(self) -> list[Item]:
        """All that has come since the last call, in order; waits until there is something. One reader at a time."""
        while not self._items:
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        batch = list(self._items)
        self._items.clear()
        self._bytes = 0
        if self._paused:
            self._paused = False
            if self._stream is not None:
                self._stream.resume_reading()
        return batch

    def data_received(self, data: bytes) -> None:
        """Take what the agent wrote on its stdout (stdout sink)."""
        if self._closed:
            return
        append = self._items.append
        for message in self._peer.receive(data):
            if type(message) is Notification and message.method == "session/update":
                try:
                    params = self._decode_update(message.params)
                    kind = params.update["sessionUpdate"]
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
                    self._note_malformed(f"session/update: {error!r}", b"")
                    continue
                if not isinstance(kind, str):
                    self._note_malformed("session/update: its kind is not a string", b"")
                elif self._muted_by is None or kind not in schema.CONTENT_KINDS:
                    append(schema.Update(params.session_id, kind, params.update))
            else:
                self._take(message)
        self._bytes += len(data)
        if self._items:
            self._rouse()
        if not self._paused and (self._bytes >= HIGH_WATER_BYTES or len(self._items) >= HIGH_WATER_ITEMS):
            self._hold()

    def eof(self) -> None:
        """The agent's stdout has ended (stdout sink)."""
        self.close()

    def close(self) -> None:
        """End the stream: open requests fail with AgentGone, the reader gets :class:`Closed` after what has come."""
        if self._closed:
            return
        self._closed = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AgentGone("cannot go on: the agent ended before it answered"))
        self._items.append(Closed())
        self._rouse()

    def _hold(self) -> None:
        if not self._items:
            self._bytes = 0
            return
        self._paused = True
        if self._stream is not None:
            self._stream.pause_reading()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _take(self, message: Request | Notification | Response | Answered | Malformed) -> None:
        match message:
            case Answered():
                self._take_answer(message)
            case Request():
                self._take_request(message)
            case Notification(method="$/cancel_request"):
                self._take_cancel(message)
            case Notification():
                log.debug("agent_notification_ignored", method=message.method[:80])
            case Response():
                log.info("agent_answer_unmatched", id=str(message.id)[:80])
            case _:
                self._note_malformed(message.reason, message.preview)
                if isinstance(message.id, int):
                    self._take_empty(message.id)

    def _take_answer(self, message: Answered) -> None:
        if message.id == self._muted_by:
            self._muted_by = None
        if message.method == "session/prompt":
            self._items.append(self._prompt_ended(message))
            return
        future = self._waiting.get(message.id)
        if future is None or future.done():
            return
        if message.error is None:
            future.set_result(message.result)
        else:
            future.set_exception(_refused(message.method, message.error))

    def _take_empty(self, request_id: int) -> None:
        """Take an answer without a result: JavaScript leaves it out where it is undefined."""
        self._peer.forget(request_id)
        if request_id == self._muted_by:
            self._muted_by = None
        future = self._waiting.get(request_id)
        if future is None:
            reason = "cannot use the agent's answer to session/prompt: it has no result"
            self._items.append(PromptEnded(request_id, error=AgentRefused(reason, code=0)))
        elif not future.done():
            future.set_result(msgspec.Raw(b"null"))

    def _prompt_ended(self, message: Answered) -> PromptEnded:
        if message.error is not None:
            return PromptEnded(message.id, error=_refused(message.method, message.error))
        try:
            result = self._convert(message.result, schema.PromptResult, message.method)
        except AgentRefused as error:
            return PromptEnded(message.id, error=error)
        return PromptEnded(message.id, stop_reason=result.stop_reason)

    def _take_request(self, message: Request) -> None:
        if message.method == "session/request_permission":
            try:
                params = msgspec.json.decode(message.params, type=schema.PermissionParams)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._refuse_quietly(message.id, -32602, f"cannot take these params: {error}")
            else:
                self._items.append(PermissionAsked(message.id, params))
            return
        self._refuse_quietly(message.id, METHOD_NOT_FOUND, f"cannot serve {message.method[:80]}: not offered here")

    def _refuse_quietly(self, request_id: Id, code: int, reason: str) -> None:
        try:
            self.refuse(request_id, code, reason)
        except (AgentGone, AgentTimeout) as error:
            log.info("agent_refusal_unsent", reason=str(error))

    def _take_cancel(self, message: Notification) -> None:
        try:
            params = msgspec.json.decode(message.params, type=dict[str, Any])
            self._items.append(RequestCancelled(params["requestId"]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
            self._note_malformed(f"$/cancel_request: {error!r}", b"")

    def _note_malformed(self, reason: str, preview: bytes) -> None:
        self.malformed += 1
        if self.malformed & (self.malformed - 1) == 0 or self.malformed <= _GOES_ON:
            log.warning(
                "agent_line_malformed",
                count=self.malformed,
                reason=reason,
                line=preview.decode(errors="backslashreplace"),
            )


def _refused(method: str, error: ErrorObject) -> AgentRefused:
    detail = _detail(error.data)
    told = f"{error.message}: {detail}" if detail and detail not in error.message else error.message
    way_out = "; sign in first: run its own login once, as this user" if error.code == schema.AUTH_REQUIRED else ""
    reason = f"cannot go on: the agent refused {method}: {told} ({error.code}){way_out}"
    return AgentRefused(reason, code=error.code, data=error.data)


def _detail(data: Any) -> str:
    """The reason that some agents put into an error's data while its message only says 'Internal error'."""
    if isinstance(data, dict):
        data = data.get("message") or data.get("details") or data.get("error")
    return " ".join(data.split())[:_DETAIL_LENGTH] if isinstance(data, str) else ""
