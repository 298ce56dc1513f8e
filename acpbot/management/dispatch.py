"""From a request to its answer: which method, who may, with what, and what became of it. No I/O."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from acpbot.errors import AccessDenied, AcpbotError, Draining, InvalidParams, TooMany, WireError
from acpbot.jsonrpc import METHOD_NOT_FOUND
from acpbot.logs import get_logger
from acpbot.management import audit
from acpbot.management.method import Call
from acpbot.management.methods import chat, daemon, health, sessions, watch
from acpbot.management.protocol import error_line, result_line

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from acpbot.jsonrpc import Request
    from acpbot.management.method import Client, Method, Services
    from acpbot.management.protocol import Access
    from acpbot.management.stream import Stream

log = get_logger(__name__)

METHODS: Final[Mapping[str, Method]] = {
    **health.METHODS,
    **sessions.METHODS,
    **watch.METHODS,
    **daemon.METHODS,
    **chat.METHODS,
}

_SHOWN: Final = 80


class Answer(NamedTuple):
    """A line to send, and the streams that it opens: they are released once the line is queued."""

    line: bytes
    opened: list[Stream]


class _NoMethod(WireError):
    code = METHOD_NOT_FOUND
    kind = "invalid"


class Dispatcher:
    """Answers requests with the methods that ``services`` carry."""

    def __init__(self, services: Services, *, running: int) -> None:
        self._services = services
        self._running = running
        self._methods = {name: method for name, method in METHODS.items() if method.served(services)}
        self.capabilities = sorted(self._methods)

    def begin(
        self, client: Client, access: Access, running: int, request: Request
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer, or what will give it: never an error. ``running``: requests of this client under way."""
        call = Call(self._services, client)
        try:
            method = self._method(request)
            self._check_access(method, request, client, access)
            params = _params(method, request)
            if not inspect.iscoroutinefunction(method.handler):
                return self._answered(request, call, method.handler(call, params))
            self._check_running(request, running)
            return self._finish(request, call, method.handler(call, params))
        except Exception as error:  # noqa: BLE001 - every failure is answered, and what is not ours is logged
            return self._failed(request, call, error)

    def _method(self, request: Request) -> Method:
        method = self._methods.get(request.method)
        if method is None:
            name = request.method[:_SHOWN]
            raise _NoMethod(f"cannot call {name!r}: there is no such method here; hello lists those that there are")
        return method

    @staticmethod
    def _check_access(method: Method, request: Request, client: Client, access: Access) -> None:
        if method.access == "admin" and access != "admin":
            raise AccessDenied(
                f"cannot call {request.method}: uid {client.peer.uid} may only read; "
                "run as an admin, or name the user in [management] admin_users"
            )

    def _check_running(self, request: Request, running: int) -> None:
        if running >= self._running:
            raise TooMany(
                f"cannot call {request.method}: {running} requests of this connection are under way; wait for an answer"
            )

    async def _finish(self, request: Request, call: Call, result: Any) -> Answer:
        try:
            return self._answered(request, call, await result)
        except asyncio.CancelledError:
            # The server closes and has waited long enough; whatever was begun goes on without an answer.
            return self._failed(request, call, Draining(f"cannot wait for {request.method}: acpbot is stopping"))
        except Exception as error:  # noqa: BLE001 - every failure is answered, and what is not ours is logged
            return self._failed(request, call, error)

    def _answered(self, request: Request, call: Call, result: Any) -> Answer:
        for target, outcome in call.notes:
            audit.record(call.client.peer, request.method, target, outcome)
        return Answer(result_line(request.id, result), call.opened)

    def _failed(self, request: Request, call: Call, error: Exception) -> Answer:
        for stream in call.opened:
            stream.close()
        told = _told(request, error)
        method = self._methods.get(request.method)
        if method is not None and method.access == "admin" and told.kind != "invalid":
            outcome = audit.DENIED if isinstance(error, AccessDenied) else told.kind
            audit.record(call.client.peer, request.method, audit.target_of(request.params), outcome)
        return Answer(error_line(request.id, told), [])


def _told(request: Request, error: Exception) -> WireError:
    """The error as the client is told it."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, AcpbotError):
        log.warning("method_failed", method=request.method, reason=str(error))
        return WireError(str(error))
    log.error("method_crashed", exc_info=error, method=request.method)
    return WireError(f"cannot answer {request.method}: an internal error; acpbot's log tells more")


_PROBLEM: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_TYPE: Final = re.compile(r"\b(?:str|int|float|bool)\b")


def _params(method: Method, request: Request) -> Any:
    """The parameters, converted strictly. Raises InvalidParams, which names the one that is wrong."""
    try:
        return msgspec.convert(request.params, method.params, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"cannot call {request.method}: {_problem(str(error))}") from None


def _problem(text: str) -> str:
    """A validation error of msgspec, in the words of the wire."""
    found = _PROBLEM.fullmatch(text)
    what, path = (text, None) if found is None else found.group("what", "path")
    field = _FIELD.fullmatch(what)
    if field is not None:
        name = f"{path}.{field['name']}" if path else field["name"]
        shown = repr(name[:_SHOWN])
        return (
            f"the parameter {shown} is missing" if field["how"].startswith("missing") else f"unknown parameter {shown}"
        )
    wanted = _TYPE.sub(lambda match: _TYPES[match[0]], what.replace("`", ""))
    return f"the parameter {path!r}: {wanted[0].lower()}{wanted[1:]}"
