"""From a request to its answer: which method, who may call it, with which parameters. No I/O."""

from __future__ import annotations

import asyncio
import inspect
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.errors import AccessDenied, AcpbotError, Draining, InvalidParams, TooMany, WireError
from acpbot.jsonrpc import METHOD_NOT_FOUND
from acpbot.logs import get_logger
from acpbot.management import audit
from acpbot.management.connection import Answer
from acpbot.management.method import Call
from acpbot.management.methods import audit as audit_methods
from acpbot.management.methods import chat, daemon, events, health, operator, sessions, watch
from acpbot.management.protocol import error_line, result_line
from acpbot.storage.store import DENIED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from acpbot.jsonrpc import Request
    from acpbot.management.connection import ClientConnection
    from acpbot.management.method import Method, Services

log = get_logger(__name__)

_SHOWN: Final = 80


class _NoMethod(WireError):
    code = METHOD_NOT_FOUND
    kind = "invalid"


class Dispatcher:
    """Answers requests with the methods that ``services`` carry.

    A connection may have ``running`` requests of coroutine handlers at a time.
    """

    def __init__(self, services: Services, *, running: int) -> None:
        self._services = services
        self._running = running
        self.methods: dict[str, Method] = {
            **health.METHODS,
            **sessions.METHODS,
            **watch.METHODS,
            **audit_methods.METHODS,
            **daemon.methods(services),
        }
        if services.chat is not None:
            self.methods |= chat.METHODS
        if services.events is not None:
            self.methods |= events.METHODS
        if services.operator is not None:
            self.methods |= operator.METHODS

    def begin(self, client: ClientConnection, request: Request) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer, or the coroutine that returns it. Nothing is raised: an error is an answer too."""
        call = Call(self._services, client, request.method)
        try:
            return self._call(request, call)
        except Exception as error:  # noqa: BLE001 - every failure is answered; one that is a defect is logged
            return self._failed(request, call, error)

    def _call(self, request: Request, call: Call) -> Answer | Coroutine[Any, Any, Answer]:
        method, client = self.methods.get(request.method), call.client
        if method is None:
            name = request.method[:_SHOWN]
            raise _NoMethod(f"cannot call {name!r}: there is no such method here; hello lists those that there are")
        if method.access == "admin" and client.access != "admin":
            raise _denied(request, client)
        if method.access == "admin" and client.peer_ended:
            raise AccessDenied(f"cannot call {request.method}: the process that connected has ended; connect again")
        params = _convert(method, request)
        if not inspect.iscoroutinefunction(method.handler):
            return Answer(result_line(request.id, method.handler(call, params)), call.opened)
        if client.running >= self._running:
            raise TooMany(
                f"cannot call {request.method}: {client.running} requests of this connection are under way; "
                "wait for an answer"
            )
        return self._finish(request, call, method.handler(call, params))

    async def _finish(self, request: Request, call: Call, result: Awaitable[Any]) -> Answer:
        try:
            return Answer(result_line(request.id, await result), call.opened)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # something that the handler waited for was cancelled
                log.exception("method_crashed", method=request.method)
                return self._failed(request, call, WireError(_INTERNAL.format(request.method)))
            # The server closes and has waited long enough; what the handler began goes on without an answer.
            return self._failed(request, call, Draining(f"cannot wait for {request.method}: acpbot is stopping"))
        except Exception as error:  # noqa: BLE001 - every failure is answered; one that is a defect is logged
            return self._failed(request, call, error)

    def _failed(self, request: Request, call: Call, error: Exception) -> Answer:
        for stream in call.opened:
            stream.close()
        answer = _wire_error(request, error)
        method = self.methods.get(request.method)
        if method is not None and method.access == "admin" and answer.kind != "invalid":
            outcome = DENIED if isinstance(error, AccessDenied) else answer.kind
            call.audit(audit.target_of(request.params), outcome)
        return Answer(error_line(request.id, answer), [])


def _denied(request: Request, client: ClientConnection) -> AccessDenied:
    uid, problem = client.peer.uid, client.access_problem
    if problem is not None:
        return AccessDenied(
            f"cannot call {request.method}: whether uid {uid} is an admin could not be looked up ({problem}); "
            "connect again, or run as root"
        )
    return AccessDenied(
        f"cannot call {request.method}: uid {uid} may only read; "
        "run as an admin, or name the user in [management] admin_users"
    )


def _wire_error(request: Request, error: Exception) -> WireError:
    """The error that the client gets."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, AcpbotError):
        log.warning("method_failed", method=request.method, reason=str(error))
        return WireError(str(error))
    log.error("method_crashed", exc_info=error, method=request.method)
    return WireError(_INTERNAL.format(request.method))


_INTERNAL: Final = "cannot answer {}: an internal error; see acpbot's log"
_PROBLEM: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_TYPE: Final = re.compile(r"\b(?:str|int|float|bool)\b")


def _convert(method: Method, request: Request) -> Any:
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
