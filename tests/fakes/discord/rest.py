"""The REST side's frame: each call is read, recorded, authorised, limited, perhaps failed on demand, and answered."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.discord import errors
from tests.fakes.discord.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.multipart import BodyPartReader

    from tests.fakes.discord.faults import Fault, Faults
    from tests.fakes.discord.limits import LimitResult, Limits, Rule
    from tests.fakes.discord.world import World

API = "/api/v10"

# The routes that tests name (faults, `requests_to`).
MESSAGES = "/channels/{channel_id}/messages"
MESSAGE = "/channels/{channel_id}/messages/{message_id}"
REACTION = "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/{user_id}"
THREADS = "/channels/{channel_id}/threads"
MESSAGE_THREADS = "/channels/{channel_id}/messages/{message_id}/threads"
CHANNEL = "/channels/{channel_id}"
TYPING = "/channels/{channel_id}/typing"
ME = "/users/@me"
MY_GUILDS = "/users/@me/guilds"
APPLICATION = "/oauth2/applications/@me"
MEMBER = "/guilds/{guild_id}/members/{user_id}"
COMMANDS = "/applications/{application_id}/commands"
GUILD_COMMANDS = "/applications/{application_id}/guilds/{guild_id}/commands"
CALLBACK = "/interactions/{interaction_id}/{token}/callback"
FOLLOWUPS = "/webhooks/{application_id}/{token}"
ORIGINAL = "/webhooks/{application_id}/{token}/messages/@original"
FOLLOWUP = "/webhooks/{application_id}/{token}/messages/{message_id}"
CDN = "/attachments/{channel_id}/{attachment_id}/{filename}"


@dataclass(eq=False)
class Upload:
    """One file, of a multipart body or of an answer."""

    filename: str
    data: bytes
    content_type: str
    encoding: str = ""

    @property
    def headers(self) -> dict[str, str]:
        sent = {"Content-Type": self.content_type, "Content-Encoding": self.encoding}
        return {name: value for name, value in sent.items() if value}


@dataclass(eq=False, repr=False)
class Call:
    """One request as it came, and what became of it: `finished` without a `status` is a connection that was cut."""

    method: str
    route: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    at: float
    body: Any = None
    uploads: dict[str, Upload] = field(default_factory=dict)
    status: int | None = None
    code: int | None = None
    answer: Any = None
    limited: bool = False
    global_limited: bool = False
    faults: list[Fault] = field(default_factory=list)
    finished: bool = False

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} -> {self.status} {self.code or ''}>"

    @property
    def json(self) -> dict[str, Any]:
        """The body where a JSON object is needed."""
        if not isinstance(self.body, dict):
            raise errors.bad_json()
        return self.body

    def number(self, name: str) -> int:
        """The path parameter `name` as an id."""
        text = self.params[name]
        if not text.isdigit():
            raise errors.invalid(name, "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')
        return int(text)


@dataclass(frozen=True)
class Endpoint:
    """What serves a route; with `bot` it needs the token and counts globally, `limit` gives its (rule, sub-rule)."""

    handle: Callable[[Call], Awaitable[Any]]
    bot: bool = True
    limit: Callable[[Call], tuple[Rule, Rule | None]] | None = None


class Rest:
    """The table of routes and the way through it."""

    def __init__(self, world: World, limits: Limits, faults: Faults, token: str) -> None:
        self.world = world
        self.limits = limits
        self.faults = faults
        self.token = token
        self.calls: list[Call] = []

    def register(self, app: web.Application, table: dict[tuple[str, str], Endpoint]) -> None:
        """Adds every (method, route) of `table`; what is not in it answers 404 and is recorded as route ``?``."""
        for (method, route), endpoint in table.items():
            prefix = "" if route == CDN else API
            app.router.add_route(method, prefix + route, self._handler(route, endpoint))
        app.router.add_route("*", "/{unserved:.*}", self._handler("?", Endpoint(self._unserved, bot=False)))

    @staticmethod
    async def _unserved(_call: Call) -> Any:
        raise errors.not_found()

    def _handler(self, route: str, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            call = Call(
                request.method,
                route,
                request.path,
                dict(request.match_info),
                dict(request.query),
                dict(request.headers),
                time.monotonic(),
            )
            try:
                return await self._serve(request, call, endpoint)
            finally:
                call.finished = True
                self.world.notify()

        return handle

    async def _serve(self, request: web.Request, call: Call, endpoint: Endpoint) -> web.StreamResponse:
        await read_body(request, call)
        self.calls.append(call)
        self.world.notify()
        call.faults = self.faults.take(call)
        for fault in call.faults:
            if fault.when == "before":
                failed = await self._fail(request, call, fault)
                if failed is not None:
                    return failed
        headers: dict[str, str] = {}
        try:
            if endpoint.bot:
                self._authorise(call)
            refusal = self._limit(call, endpoint, headers)
            status, answer = (429, refusal.body()) if refusal is not None else await self._answer(call, endpoint)
        except ApiError as error:
            status, answer = error.status, error.body()
        for fault in call.faults:
            if fault.when == "after":
                failed = await self._fail(request, call, fault)
                if failed is not None:
                    return failed
        return self._reply(call, status, answer, headers)

    def _authorise(self, call: Call) -> None:
        if call.headers.get("Authorization") != f"Bot {self.token}":
            raise errors.unauthorized()

    def _limit(self, call: Call, endpoint: Endpoint, headers: dict[str, str]) -> LimitResult | None:
        """Fills `headers`; the verdict when it is a refusal."""
        if not endpoint.bot:
            return None
        verdict = self.limits.take_global()
        if not verdict.refused and endpoint.limit is not None:
            rule, sub = endpoint.limit(call)
            verdict = self.limits.take(rule, call.params["channel_id"], sub)
        headers.update(verdict.headers)
        call.limited = verdict.refused
        call.global_limited = verdict.refused and verdict.scope == "global"
        return verdict if verdict.refused else None

    @staticmethod
    async def _answer(call: Call, endpoint: Endpoint) -> tuple[int, Any]:
        """A handler returns the JSON of a 200, None for a 204, or (status, JSON)."""
        answer = await endpoint.handle(call)
        if answer is None:
            return 204, None
        return answer if isinstance(answer, tuple) else (200, answer)

    async def _fail(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse | None:
        """Does what `fault` says; None when the call goes on."""
        await fault.wait()
        if fault.abort:
            cut(request, reset=fault.reset)
            return web.Response()
        if fault.status is None:
            return None
        if fault.cut_short:
            return await send_half(request, fault)
        return self._reply(call, fault.status, fault.body, fault.headers)

    @staticmethod
    def _reply(call: Call, status: int, answer: Any, headers: dict[str, str]) -> web.StreamResponse:
        call.status, call.answer = status, answer
        call.code = answer.get("code") if status >= 400 and isinstance(answer, dict) else None
        sent = {"Via": "1.1 google", **headers}
        sent = {name: value for name, value in sent.items() if value}
        if isinstance(answer, Upload):
            return web.Response(body=answer.data, headers={**sent, **answer.headers})
        if answer is None:
            return web.Response(status=status, headers=sent)
        if isinstance(answer, str):
            return web.Response(status=status, text=answer, content_type="text/html", headers=sent)
        if isinstance(answer, bytes):  # an odd body: sent as it is, with the type that Discord's answers have
            return web.Response(status=status, body=answer, headers={"Content-Type": "application/json", **sent})
        # Without a charset: discord.py compares the header with "application/json" to the letter.
        body = json.dumps(answer).encode()
        return web.Response(status=status, body=body, headers={**sent, "Content-Type": "application/json"})


async def send_half(request: web.Request, fault: Fault) -> web.StreamResponse:
    """Begins an answer, and drops the connection before the end that its Content-Length announces."""
    answer = web.StreamResponse(status=fault.status or 200, headers={"Content-Type": "application/json"})
    answer.content_length = len(fault.body) + 100
    await answer.prepare(request)
    await answer.write(fault.body)
    cut(request, reset=False)
    return answer


def cut(request: web.Request, *, reset: bool) -> None:
    """Drops the connection, with `reset` so that the peer's next read fails by ECONNRESET."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def read_body(request: web.Request, call: Call) -> None:
    """JSON, or multipart with `payload_json` and ``files[n]``; anything else is left out."""
    if request.content_type == "application/json":
        raw = await request.read()
        try:
            call.body = json.loads(raw) if raw else None
        except ValueError:
            call.body = None
    elif request.content_type == "multipart/form-data":
        reader = await request.multipart()
        async for part in reader:
            await _read_part(part, call)
    else:
        await request.read()


async def _read_part(part: BodyPartReader | Any, call: Call) -> None:
    name = part.name or ""
    data = bytes(await part.read(decode=False))
    if name == "payload_json":
        call.body = json.loads(data)
    elif name.startswith("files[") and name.endswith("]"):
        kind = part.headers.get("Content-Type", "application/octet-stream")
        call.uploads[name[6:-1]] = Upload(part.filename or "file", data, kind)


async def with_limit(awaitable: Awaitable[Any], seconds: float, what: Callable[[], str]) -> Any:
    """The result, or an AssertionError that says `what` when it has not come after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        raise AssertionError(what()) from None
