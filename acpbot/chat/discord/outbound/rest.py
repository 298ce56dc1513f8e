"""Discord's REST API: two kinds of failure, and requests at the pace that the rate limits allow.

The requests go through discord.py's HTTP client, which waits inside the call where a bucket of the rate limits is
empty. This module adds three things: a failure is either final (:class:`RequestRefused`) or worth another try
(:class:`Unreachable`, whatever the library raises); the global limit is kept to before Discord enforces it; and the
bucket of edits is read, so that they can be spread evenly.
Source: https://discord.com/developers/docs/topics/rate-limits.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp
import discord
import msgspec
from discord.http import Route

from acpbot.aio import KeyedLocks
from acpbot.chat.discord import compat
from acpbot.chat.discord.discord_time import DiscordClock
from acpbot.chat.discord.outbound import answers
from acpbot.chat.discord.outbound.outage import Outage
from acpbot.chat.discord.outbound.throttle import Throttle
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yarl import URL

log = get_logger(__name__)

REQUEST_SECONDS: Final = 30.0
UPLOAD_SECONDS: Final = 180.0
FILE_BYTES_MOST: Final = 8 * 1024 * 1024
"""Of one attached file; Discord takes 10 MiB."""

PAGE: Final = 100
"""Messages in one answer."""

BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
TOO_LARGE: Final = 413
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500
UNKNOWN_CHANNEL: Final = 10003
UNKNOWN_MESSAGE: Final = 10008
ARCHIVED: Final = 50083
HAS_THREAD: Final = 160004
LOCKED: Final = frozenset({50083, 160005})
TOO_MANY_THREADS: Final = 160006
WRONG_CHANNEL: Final = 50024
ENTRY_POINT_MISSING: Final = 50240
SUPPRESS_EMBEDS: Final = 1 << 2
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
_CONTENT_CODES: Final = frozenset({20009, 40005, 50035, 200000, 200001, 240000})
"""They are about what is sent: explicit content, too large a request, invalid form body, AutoMod (2), a harmful link.

Source: https://discord.com/developers/docs/topics/opcodes-and-status-codes#json-json-error-codes.
"""
_PLACE_CODES: Final = LOCKED | {ARCHIVED, HAS_THREAD, TOO_MANY_THREADS, WRONG_CHANNEL, UNKNOWN_CHANNEL, UNKNOWN_MESSAGE}
"""They are about where it is sent to, although some of them come with the status 400. Source: as above."""

_PACES_MOST: Final = 4096
_PAGES_MOST: Final = 10
_UNLIMITED: Final = ("/interactions/", "/webhooks/")
_MALFORMED: Final = "an answer that isn't Discord's"


class RequestRefused(Exception):
    """Discord's answer is no, and will stay so: HTTP's ``status``, Discord's own ``code``, and its text.

    ``status`` 0: there is no answer, and no try has worked.
    """

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(f"{status} {text} ({code})" if code else f"{status} {text}")
        self.status = status
        self.code = code

    @property
    def is_about_content(self) -> bool:
        """Whether what the request says is refused, and not who sends it or where to."""
        if self.code in _PLACE_CODES:
            return False
        return self.status in {BAD_REQUEST, TOO_LARGE} or self.code in _CONTENT_CODES


class Unreachable(Exception):
    """There is no answer, or one that says to try later. The request may have taken effect all the same."""


class LibraryFailure(Unreachable):
    """The library has failed in a way that is not known: another try may work, but perhaps none ever does."""


class File(msgspec.Struct, frozen=True):
    """A file to be attached."""

    filename: str
    data: bytes


class Page(NamedTuple):
    """Messages of a channel's history, oldest first.

    ``last_id``: of the last message, ``None`` where there is none. ``is_last``: none follows.
    """

    messages: list[dict[str, Any]]
    last_id: str | None
    is_last: bool


class Rest:
    """The API, by the client that is logged in; calls wait while none is.

    ``wall``: Unix time by this machine; ``now()``: by Discord's clock, once it has answered (:class:`DiscordClock`).
    ``link_previews``: whether Discord may show previews of the links in a new message. ``on_recovery`` is called when a
    request succeeds after an outage.
    """

    def __init__(
        self,
        throttle: Throttle | None = None,
        wall: Callable[[], float] = time.time,
        link_previews: Callable[[], bool] = lambda: True,
    ) -> None:
        self.now = DiscordClock(wall)
        self.client: discord.Client | None = None
        self._logged_in = asyncio.Event()
        self._throttle = throttle or Throttle()
        self._link_previews = link_previews
        self._paces: dict[str, tuple[int, float]] = {}
        self.on_answer: Callable[[str, int], None] = lambda _method, _status: None
        self.on_recovery: Callable[[], None] = lambda: None
        self._outage = Outage()
        self._reacting = KeyedLocks()

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
        """What a client must be made with (``http_trace``) for its requests to be paced, and for :attr:`now`."""
        config = aiohttp.TraceConfig()
        self._throttle.count(config, _is_limited)
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
        pings: str | None = None,
    ) -> str:
        """Post a message; its id. The same nonce within some minutes makes no second message.

        ``pings``: the only user who is notified, where the text mentions that user or the message is a reply to theirs.
        """
        body: dict[str, Any] = {
            "content": content,
            "nonce": nonce,
            "enforce_nonce": True,
            "allowed_mentions": NOBODY if pings is None else {"users": [pings], "replied_user": True},
            "components": list(components),
        }
        if not self._link_previews():
            body["flags"] = SUPPRESS_EMBEDS
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

    async def show_buttons(self, channel_id: str, message_id: str, components: Sequence[dict[str, Any]]) -> None:
        """Replace a message's components; its text stays."""
        path = "/channels/{channel_id}/messages/{message_id}"
        body = {"components": list(components), "allowed_mentions": NOBODY}
        await self.call("PATCH", path, body, urgent=False, channel_id=channel_id, message_id=message_id)

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
        await self._logged_in.wait()
        await self._throttle.admit(urgent=False, spare=spare)
        # The bucket takes one request at a time. The library does not know that of a channel whose first reaction is
        # sent while that of another channel is on its way.
        async with self._reacting.hold(channel_id):
            await self._request(method, path, None, None, channel_id=channel_id, message_id=message_id, emoji=emoji)

    async def typing(self, channel_id: str) -> None:
        """Show for 10 s that something is being written."""
        await self.call("POST", "/channels/{channel_id}/typing", urgent=False, channel_id=channel_id)

    async def message(self, channel_id: str, message_id: str) -> dict[str, Any]:
        """A message as it is now."""
        path = "/channels/{channel_id}/messages/{message_id}"
        found = await self.call("GET", path, urgent=False, channel_id=channel_id, message_id=message_id)
        if not answers.is_message(found):
            raise Unreachable(_MALFORMED)
        return dict(found)

    async def posted_since(self, channel_id: str, message_id: str) -> list[dict[str, Any]]:
        """The messages after this one, oldest first, 1,000 at most."""
        messages: list[dict[str, Any]] = []
        for _ in range(_PAGES_MOST):
            page = await self.page_after(channel_id, message_id)
            messages += page.messages
            if page.is_last or page.last_id is None:
                break
            message_id = page.last_id
        return messages

    async def page_after(self, channel_id: str, message_id: str, *, urgent: bool = True) -> Page:
        """The first messages after this one: :data:`PAGE` of them where there are more.

        One that is not what Discord documents is left out. Raises Unreachable where none of them is.
        """
        path = f"/channels/{{channel_id}}/messages?after={message_id}&limit={PAGE}"
        found = await self.call("GET", path, urgent=urgent, channel_id=channel_id)
        later = [message for message in _readable(found, channel_id) if int(message["id"]) > int(message_id)]
        return Page(later, str(later[-1]["id"]) if later else None, not later or len(found) < PAGE)

    async def page_before(self, channel_id: str, message_id: str, limit: int) -> list[dict[str, Any]]:
        """The last messages before this one, oldest first, ``limit`` at most (100). Raises as :meth:`page_after`."""
        path = f"/channels/{{channel_id}}/messages?before={message_id}&limit={limit}"
        found = await self.call("GET", path, urgent=False, channel_id=channel_id)
        return [message for message in _readable(found, channel_id) if int(message["id"]) < int(message_id)][-limit:]

    async def latest(self, channel_id: str) -> list[dict[str, Any]]:
        """The last messages of a channel, :data:`PAGE` at most. Raises RequestRefused, Unreachable."""
        path = f"/channels/{{channel_id}}/messages?limit={PAGE}"
        return _readable(await self.call("GET", path, urgent=False, channel_id=channel_id), channel_id)

    async def member(self, guild_id: str, user_id: str) -> dict[str, Any]:
        """A member of a server. RequestRefused with NOT_FOUND: the person is none."""
        path = "/guilds/{guild_id}/members/{user_id}"
        answer = await self.call("GET", path, urgent=False, guild_id=guild_id, user_id=user_id)
        if not answers.is_member(answer):
            raise Unreachable(_MALFORMED)
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

    async def open_thread(self, channel_id: str, message_id: str, name: str, *, archive_minutes: int = 1440) -> str:
        """Open a thread from a message, if it has none; the thread's id, which is the message's.

        ``archive_minutes``: 60, 1440, 4320 or 10080.
        """
        path = "/channels/{channel_id}/messages/{message_id}/threads"
        body = {"name": name, "auto_archive_duration": archive_minutes}
        try:
            answer = await self.call("POST", path, body, channel_id=channel_id, message_id=message_id)
        except RequestRefused as error:
            if error.code != HAS_THREAD:
                raise
            return message_id
        return _id_in(answer)

    async def change_thread(self, thread_id: str, **fields: Any) -> None:
        """Rename a thread (``name``), archive it or reopen it (``archived``)."""
        _id_in(await self.call("PATCH", "/channels/{channel_id}", fields, channel_id=thread_id))

    async def in_turn(self) -> None:
        """Return when the library itself may send a request for which nobody waits."""
        await self._throttle.admit(urgent=False, spare=True)

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
        now = asyncio.get_running_loop().time
        try:
            answer = await self._try_request(method, path, body, file, **params)
        except Unreachable:
            self._outage.failed(now())
            raise
        if self._outage.is_over(now()):
            log.info("discord_requests_recovered")
            self.on_recovery()
        return answer

    async def _try_request(self, method: str, path: str, body: Any, file: File | None, **params: str) -> Any:
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
        except Exception as error:
            # Broad: an answer that the library does not expect makes it raise anything.
            log.exception("discord_library_failed", method=method, path=path)
            raise LibraryFailure(f"{type(error).__name__}: {error}"[:200]) from error
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
            self.on_answer(done.method, done.response.status)
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


def _is_limited(url: URL) -> bool:
    """Whether the global limit counts a request: one to the API, and no answer to an interaction.

    Source: https://discord.com/developers/docs/interactions/receiving-and-responding#endpoints.
    """
    text = str(url)
    return text.startswith(Route.BASE) and not text.removeprefix(Route.BASE).startswith(_UNLIMITED)


def _id_in(answer: Any) -> str:
    """The id in Discord's answer. Raises Unreachable."""
    found = answers.id_in(answer)
    if found is None:
        raise Unreachable(_MALFORMED)
    return found


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


def _readable(found: Any, channel_id: str) -> list[dict[str, Any]]:
    """The messages of a page that are what Discord documents, oldest first."""
    if not isinstance(found, list):
        raise Unreachable(_MALFORMED)
    readable = [message for message in found if answers.is_message(message)]
    if len(readable) < len(found):
        log.warning("history_messages_unreadable", channel=channel_id, count=len(found) - len(readable))
        if not readable:
            raise Unreachable(_MALFORMED)
    return sorted(readable, key=lambda message: int(message["id"]))
