"""Discord's REST API: two kinds of failure, and requests at the pace that the rate limits allow.

The requests go through discord.py's HTTP client, which waits inside the call where a bucket of the rate limits is
empty. This module adds three things: a failure is either final (:class:`RequestRefused`) or worth another try
(:class:`Unreachable`); the global limit is kept to before Discord enforces it; and the bucket of edits is read, so that
they can be spread evenly.
Source: https://discord.com/developers/docs/topics/rate-limits.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import discord
import msgspec
from discord.http import Route

from acpbot.chat.discord import compat
from acpbot.chat.discord.discord_time import DiscordClock
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = get_logger(__name__)

REQUEST_SECONDS: Final = 30.0
UPLOAD_SECONDS: Final = 180.0
FILE_BYTES_MOST: Final = 8 * 1024 * 1024
"""Of one attached file; Discord takes 10 MiB."""

PAGE: Final = 100
"""Messages in one answer."""

GLOBAL_LIMIT: Final = 45
"""Requests in a second; Discord allows a bot 50 in all."""

BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
UNKNOWN_MESSAGE: Final = 10008
ARCHIVED: Final = 50083
HAS_THREAD: Final = 160004
NOBODY: Final[dict[str, list[str]]] = {"parse": []}

NO_ANSWER: Final = (
    *(discord.HTTPException, aiohttp.ClientError, OSError, TimeoutError),
    *(ValueError, LookupError, TypeError, AttributeError),
)
"""What discord.py's own calls raise where Discord does not answer, or answers with an error.

The second line is what they raise for a body that is not what its status and type announce: an empty or truncated one,
one that is not UTF-8, a proxy's page, an object without a field.
"""

CLOSED: Final = RuntimeError
"""What they raise where the client has been closed."""

_EDIT: Final = re.compile(r"/channels/(\d+)/messages/\d+$")
_FINAL: Final = frozenset({400, 403, 404, 405, 413})
_PACES_MOST: Final = 4096
_PAGES_MOST: Final = 10
_MALFORMED: Final = "an answer that is none of Discord's"


class RequestRefused(Exception):
    """Discord's answer is no, and will stay so: HTTP's ``status``, Discord's own ``code``, and its text."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(f"{status} {text} ({code})" if code else f"{status} {text}")
        self.status = status
        self.code = code


class Unreachable(Exception):
    """There is no answer, or one that says to try later. The request may have taken effect all the same."""


class File(msgspec.Struct, frozen=True):
    """A file to be attached."""

    filename: str
    data: bytes


class Throttle:
    """Admits ``limit`` requests in any ``per`` seconds: urgent ones first, spare ones last, each kind in order."""

    def __init__(self, limit: int = GLOBAL_LIMIT, per: float = 1.0) -> None:
        self._limit = limit
        self._per = per
        self._admitted: deque[float] = deque()
        self._blocked_until = 0.0
        # Those that are urgent, the others, and those for which nobody waits.
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque(), deque())
        self._timer: asyncio.TimerHandle | None = None

    async def admit(self, *, urgent: bool, spare: bool = False) -> None:
        """Return when a request may be sent. ``spare``: after all others that wait."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[0 if urgent else 2 if spare else 1].append(future)
        self._admit_next()
        await future

    def block(self, seconds: float) -> None:
        """Admit none for so long."""
        self._blocked_until = max(self._blocked_until, asyncio.get_running_loop().time() + seconds)

    def _admit_next(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._admitted and now - self._admitted[0] >= self._per:
            self._admitted.popleft()
        for waiting in self._waiting:
            while waiting and now >= self._blocked_until and len(self._admitted) < self._limit:
                future = waiting.popleft()
                if not future.done():
                    self._admitted.append(now)
                    future.set_result(None)
        if self._timer is None and any(self._waiting):
            free = self._admitted[0] + self._per if len(self._admitted) >= self._limit else now
            self._timer = loop.call_at(max(free, self._blocked_until), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._admit_next()


class Rest:
    """The API, by the client that is logged in; calls wait while none is.

    ``wall``: Unix time by this machine; ``now()``: by Discord's clock, once it has answered (:class:`DiscordClock`).
    """

    def __init__(self, throttle: Throttle | None = None, wall: Callable[[], float] = time.time) -> None:
        self.now = DiscordClock(wall)
        self.client: discord.Client | None = None
        self._logged_in = asyncio.Event()
        self._throttle = throttle or Throttle()
        self._paces: dict[str, tuple[int, float]] = {}

    def use(self, client: discord.Client | None) -> None:
        """Send by this client from now on; ``None``: there is none."""
        self.client = client
        if client is None:
            self._logged_in.clear()
        else:
            self._logged_in.set()

    async def logged_in(self) -> None:
        """Return once a client is logged in: then Discord has answered, and its time is known."""
        await self._logged_in.wait()

    def trace(self) -> aiohttp.TraceConfig:
        """What a client must be made with (``http_trace``) for its edits to be paced, and for :attr:`now`."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._seen)
        return config

    # Messages.

    async def send(
        self,
        channel_id: str,
        content: str,
        *,
        nonce: str,
        components: Sequence[dict[str, Any]] = (),
        file: File | None = None,
        reply_to: str | None = None,
    ) -> str:
        """Post a message that pings nobody; its id. The same nonce within some minutes makes no second message."""
        body: dict[str, Any] = {
            "content": content,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": NOBODY,
            "components": list(components),
        }
        if reply_to is not None:
            body["message_reference"] = {"message_id": reply_to, "fail_if_not_exists": False}
        answer = await self.call("POST", "/channels/{channel_id}/messages", body, file=file, channel_id=channel_id)
        return _id_in(answer)

    async def edit(
        self,
        channel_id: str,
        message_id: str,
        latest: Callable[[], tuple[str, Sequence[dict[str, Any]]]],
        *,
        urgent: bool,
    ) -> tuple[str, Sequence[dict[str, Any]]]:
        """Replace a message's text and components by ``latest()``, called when the request may be sent; its result."""
        await self._logged_in.wait()
        await self._throttle.admit(urgent=urgent)
        content, components = latest()
        body = {"content": content, "components": list(components), "allowed_mentions": NOBODY}
        path = "/channels/{channel_id}/messages/{message_id}"
        _id_in(await self._request("PATCH", path, body, None, channel_id=channel_id, message_id=message_id))
        return content, components

    async def delete(self, channel_id: str, message_id: str) -> None:
        """Delete a message; one that is gone already is fine."""
        path = "/channels/{channel_id}/messages/{message_id}"
        try:
            await self.call("DELETE", path, channel_id=channel_id, message_id=message_id)
        except RequestRefused as error:
            if error.code != UNKNOWN_MESSAGE:
                raise

    async def react(self, channel_id: str, message_id: str, emoji: str, *, add: bool, spare: bool = False) -> None:
        """Put a reaction of ours on a message, or take it off; a custom emoji is ``<:name:id>``, or ``name:id``.

        ``spare``: after all other requests that wait.
        """
        emoji = emoji.strip("<>").removeprefix("a:").removeprefix(":")
        path = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me"
        method = "PUT" if add else "DELETE"
        await self.call(
            method, path, urgent=False, spare=spare, channel_id=channel_id, message_id=message_id, emoji=emoji
        )

    async def typing(self, channel_id: str) -> None:
        """Show for 10 s that something is being written."""
        await self.call("POST", "/channels/{channel_id}/typing", urgent=False, channel_id=channel_id)

    async def message(self, channel_id: str, message_id: str) -> dict[str, Any]:
        """A message as it is now."""
        path = "/channels/{channel_id}/messages/{message_id}"
        found = await self.call("GET", path, urgent=False, channel_id=channel_id, message_id=message_id)
        return _messages_in([found])[0]

    async def posted_since(self, channel_id: str, message_id: str) -> list[dict[str, Any]]:
        """The messages after this one, oldest first, 1,000 at most."""
        messages: list[dict[str, Any]] = []
        for _ in range(_PAGES_MOST):
            found = await self.page_after(channel_id, message_id)
            messages += found
            if len(found) < PAGE:
                break
            message_id = str(messages[-1]["id"])
        return messages

    async def page_after(self, channel_id: str, message_id: str, *, urgent: bool = True) -> list[dict[str, Any]]:
        """The first messages after this one, oldest first: :data:`PAGE` of them where there are more."""
        path = f"/channels/{{channel_id}}/messages?after={message_id}&limit={PAGE}"
        found = _messages_in(await self.call("GET", path, urgent=urgent, channel_id=channel_id))
        later = [message for message in found if int(message["id"]) > int(message_id)]
        return sorted(later, key=lambda message: int(message["id"]))

    async def latest(self, channel_id: str) -> list[dict[str, Any]]:
        """The last messages of a channel, :data:`PAGE` at most. Raises RequestRefused, Unreachable."""
        path = f"/channels/{{channel_id}}/messages?limit={PAGE}"
        return _messages_in(await self.call("GET", path, urgent=False, channel_id=channel_id))

    async def member(self, guild_id: str, user_id: str) -> dict[str, Any]:
        """A member of a server. RequestRefused with NOT_FOUND: the person is none."""
        path = "/guilds/{guild_id}/members/{user_id}"
        answer = await self.call("GET", path, urgent=False, guild_id=guild_id, user_id=user_id)
        try:
            msgspec.convert(answer, _Member)
        except msgspec.ValidationError as error:
            raise Unreachable(_MALFORMED) from error
        return dict(answer)

    # Threads.

    async def exists(self, channel_id: str) -> bool:
        """Whether Discord has the channel, visible to us or not. False where Discord can't be asked now."""
        try:
            await self.call("GET", "/channels/{channel_id}", channel_id=channel_id)
        except RequestRefused as error:
            return error.status == FORBIDDEN
        except Unreachable:
            return False
        return True

    async def open_thread(self, channel_id: str, message_id: str, name: str) -> str:
        """Open a thread from a message, if it has none; the thread's id, which is the message's."""
        path = "/channels/{channel_id}/messages/{message_id}/threads"
        body = {"name": name, "auto_archive_duration": 1440}
        try:
            answer = await self.call("POST", path, body, channel_id=channel_id, message_id=message_id)
        except RequestRefused as error:
            if error.code != HAS_THREAD:
                raise
            return message_id
        return _id_in(answer)

    async def change_thread(self, thread_id: str, **fields: Any) -> None:
        """Rename a thread (``name``), or reopen an archived one (``archived=False``)."""
        _id_in(await self.call("PATCH", "/channels/{channel_id}", fields, channel_id=thread_id))

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        file: File | None = None,
        urgent: bool = True,
        spare: bool = False,
        **params: str,
    ) -> Any:
        """One request, its JSON answer; an empty text where there is none. Raises RequestRefused, Unreachable."""
        await self._logged_in.wait()
        await self._throttle.admit(urgent=urgent, spare=spare)
        return await self._request(method, path, body, file, **params)

    async def _request(self, method: str, path: str, body: Any, file: File | None, **params: str) -> Any:
        client = self.client
        if client is None:
            raise Unreachable("not logged in")
        route = Route(method, path, **params)
        extra: dict[str, Any] = {} if body is None else {"json": body}
        if file is not None:
            extra = _multipart(body, file)
        try:
            compat.to_json(body)
        except (TypeError, ValueError) as error:  # such as half of a surrogate pair: no other try would be better
            raise RequestRefused(BAD_REQUEST, 0, f"the text cannot be sent: {error}"[:300]) from error
        try:
            async with asyncio.timeout(REQUEST_SECONDS if file is None else UPLOAD_SECONDS):
                answer = await client.http.request(route, **extra)
        except asyncio.CancelledError:
            compat.open_global_gate(client.http)  # until the limit is over our own throttle blocks
            raise
        except discord.HTTPException as error:
            if error.status in _FINAL:
                raise RequestRefused(error.status, error.code, error.text[:300]) from error
            raise Unreachable(f"{error.status} {error.text[:100]}") from error
        except (*NO_ANSWER, CLOSED) as error:
            raise Unreachable(f"{type(error).__name__}: {error}"[:200]) from error
        if isinstance(answer, str) and answer:
            raise Unreachable(_MALFORMED)  # a page of some proxy
        return answer

    # The pace of edits.

    def edit_delay(self, channel_id: str) -> float:
        """Seconds to wait before the next edit in a channel, so that edits are spread over the rate limit's window.

        The last edit of a window is kept in reserve, so that the end of an answer need not wait.
        """
        remaining, until = self._paces.get(channel_id, (1, 0.0))
        left = until - asyncio.get_running_loop().time()
        return left / max(remaining, 1) if left > 0 else 0.0

    async def _seen(self, _session: aiohttp.ClientSession, _context: Any, done: aiohttp.TraceRequestEndParams) -> None:
        try:
            self._read_limits(done)
        except ValueError as error:  # no number: the answer itself is read all the same
            log.debug("discord_limits_unreadable", error=str(error))
        # Files come from another host, whose answers may be copies that were made days ago.
        if str(done.url).startswith(Route.BASE):
            self.now.read(done.response.headers.get("Date", ""))

    def _read_limits(self, done: aiohttp.TraceRequestEndParams) -> None:
        if done.response.status == TOO_MANY and done.response.headers.get("X-RateLimit-Scope") == "global":
            self._throttle.block(float(done.response.headers.get("Retry-After", "1")))
        if done.method != "PATCH" or (found := _EDIT.search(done.url.path)) is None:
            return
        headers = done.response.headers
        remaining, after = headers.get("X-RateLimit-Remaining"), headers.get("X-RateLimit-Reset-After")
        if remaining is None or after is None:
            return
        now = asyncio.get_running_loop().time()
        self._paces[found[1]] = (int(remaining), now + float(after))
        if len(self._paces) > _PACES_MOST:
            self._paces = {channel: pace for channel, pace in self._paces.items() if pace[1] > now}


class _WithId(msgspec.Struct):
    id: str


class _User(_WithId):
    username: str
    discriminator: str


class _NamedFile(msgspec.Struct):
    filename: str


class _Emoji(msgspec.Struct):
    name: str | None
    id: str | None = None


class _Reaction(msgspec.Struct):
    emoji: _Emoji
    me: bool = False


class _Member(msgspec.Struct):
    """The fields of a member that discord.py needs."""

    user: _User
    roles: list[str]
    flags: int


class _Message(_WithId):
    """The fields of a message that acpbot reads."""

    content: str
    author: _WithId
    attachments: list[_NamedFile]
    reactions: list[_Reaction] = []


def _id_in(answer: Any) -> str:
    """The id in Discord's answer. Raises Unreachable."""
    try:
        return msgspec.convert(answer, _WithId).id
    except msgspec.ValidationError as error:
        raise Unreachable(_MALFORMED) from error


def _messages_in(answer: Any) -> list[dict[str, Any]]:
    """The messages of Discord's answer, each with the fields of :class:`_Message`. Raises Unreachable."""
    try:
        if all(message.id.isdecimal() for message in msgspec.convert(answer, list[_Message])):
            return list(answer)
    except msgspec.ValidationError as error:
        raise Unreachable(_MALFORMED) from error
    raise Unreachable(_MALFORMED)


def _multipart(body: dict[str, Any] | None, file: File) -> dict[str, Any]:
    described = {**(body or {}), "attachments": [{"id": 0, "filename": file.filename}]}
    upload = discord.File(io.BytesIO(file.data), filename=file.filename)
    form: list[dict[str, Any]] = [
        {"name": "payload_json", "value": json.dumps(described)},
        {
            "name": "files[0]",
            "value": upload.fp,
            "filename": upload.filename,
            "content_type": "application/octet-stream",
        },
    ]
    return {"files": [upload], "form": form}
