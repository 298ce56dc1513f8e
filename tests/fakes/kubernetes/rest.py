"""The HTTP side: who asks, for what, and the answer."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml
from aiohttp import web

from tests.fakes.kubernetes import discovery, errors, objects, patches, selectors
from tests.fakes.kubernetes.admission import User, authorize
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.resources import PODS, Target, parse
from tests.fakes.kubernetes.tables import table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fakes.kubernetes.faults import Faults
    from tests.fakes.kubernetes.store import Store
    from tests.fakes.kubernetes.watch import Watches

    Part = Callable[[web.Request, Target], Awaitable[web.StreamResponse]]

VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
ANYONE: Final = User("system:admin")


@dataclass(frozen=True)
class Call:
    """One request: `verb` and `resource` as rights name them, empty for discovery."""

    method: str
    path: str
    verb: str
    resource: str
    name: str
    query: dict[str, str]
    user: str
    body: Any


class Rest:
    """Answers every request. `parts` serve the subresources of pods by name: exec, attach, log, eviction."""

    def __init__(self, store: Store, watches: Watches, faults: Faults, minor: int) -> None:
        self.store = store
        self.watches = watches
        self.faults = faults
        self.minor = minor
        self.users: dict[str, User] = {}
        self.anonymous: User | None = None
        self.parts: dict[str, Part] = {}
        self.calls: list[Call] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The one handler of the application."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return web.Response(
                status=error.code,
                body=json.dumps(error.body()).encode(),
                content_type="application/json",
                headers=error.headers,
            )

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = parse(request.path)
        verb = _verb(request, target)
        resource = "" if target is None else "/".join(filter(None, (target.kind.plural, target.subresource)))
        faults = self.faults.take(verb, resource)
        for fault in faults:
            if not fault.after:
                await fault.wait(self.store.clock)
                _act(fault, request)
        user = self._user(request)
        streaming = target is not None and target.subresource in {"exec", "attach", "log"}
        body = None if streaming else await _body(request)
        name = "" if target is None else target.name
        self.calls.append(
            Call(request.method, request.path, verb, resource, name, dict(request.query), user.name, body)
        )
        if target is None:
            found = discovery.answer(request.path, self.minor)
            if found is None:
                raise errors.no_such_path()
            return found
        authorize(user, verb, target)
        response = await self._serve(request, target, verb, body, user)
        for fault in faults:
            if fault.after:
                await fault.wait(self.store.clock)
                _act(fault, request)
        return response

    def _user(self, request: web.Request) -> User:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self.users.get(token) if kind.lower() == "bearer" else self.anonymous
        if user is None or user.expired:
            raise errors.unauthorized()
        return user

    async def _serve(
        self, request: web.Request, target: Target, verb: str, body: Any, user: User
    ) -> web.StreamResponse:
        if target.subresource and target.subresource != "status":
            part = self.parts.get(target.subresource) if target.kind is PODS else None
            if part is None:
                raise errors.no_such_path()
            return await part(request, target)
        if verb not in target.kind.verbs:
            raise errors.method_not_allowed()
        query = request.query
        dry_run = "All" in query.getall("dryRun", []) or "All" in (
            (isinstance(body, dict) and body.get("dryRun")) or []
        )
        if verb in {"list", "watch", "deletecollection"}:
            return await self._collection(request, target, verb, body, dry_run=dry_run)
        if verb == "get":
            return self._one(request, target, self.store.get(target.kind, target.namespace, target.name))
        if verb == "create":
            made = objects.create(self.store, target, body, user, dry_run=dry_run)
            return self._one(request, target, made, status=201)
        if verb == "update":
            return self._one(request, target, objects.update(self.store, target, body, dry_run=dry_run))
        if verb == "patch":
            kind = request.content_type
            if kind not in patches.TYPES:
                raise errors.unsupported_media(kind, list(patches.TYPES))
            return self._one(request, target, objects.patch(self.store, target, body, kind, user, dry_run=dry_run))
        return _json(objects.delete(self.store, target, _options(request, body), dry_run=dry_run))

    async def _collection(
        self, request: web.Request, target: Target, verb: str, body: Any, *, dry_run: bool
    ) -> web.StreamResponse:
        kind, query = target.kind, request.query
        by_label = selectors.labels(query.get("labelSelector", ""))
        by_field = selectors.fields(kind, query.get("fieldSelector", ""))

        def accepts(one: dict[str, Any]) -> bool:
            return (not target.name or one["metadata"]["name"] == target.name) and by_label(one) and by_field(one)

        if verb == "watch":
            return await self.watches.serve(request, kind, target.namespace, accepts, as_table=_wants_table(request))
        found = [one for one in self.store.list(kind, target.namespace) if accepts(one)]
        listed = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
        if verb == "deletecollection":
            for one in found:
                where = Target(kind, one["metadata"].get("namespace", ""), one["metadata"]["name"])
                objects.delete(self.store, where, _options(request, body), dry_run=dry_run)
            return _json(listed | {"metadata": {"resourceVersion": str(self.store.revision)}, "items": found})
        page, meta = self._page(found, query.get("limit"), query.get("continue"))
        if _wants_table(request):
            return _json(table(kind, page, self.store.clock.now()) | {"metadata": meta})
        bare = [{key: value for key, value in one.items() if key not in {"kind", "apiVersion"}} for one in page]
        return _json(listed | {"metadata": meta, "items": bare})

    def _page(self, found: list[Any], limit: str | None, token: str | None) -> tuple[list[Any], dict[str, Any]]:
        """One page of a list; ApiError 410 where the version that the token names is compacted."""
        revision, begin = self.store.revision, 0
        if token:
            revision, begin = json.loads(base64.b64decode(token))
            if revision < self.store.compacted:
                text = "The provided continue parameter is too old to display a consistent list result. You can start a"
                raise errors.gone(f"{text} new list without the continue parameter.")
        end = begin + int(limit or 0) if int(limit or 0) else len(found)
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if end < len(found):
            meta["continue"] = base64.b64encode(json.dumps([revision, end]).encode()).decode()
            meta["remainingItemCount"] = len(found) - end
        return found[begin:end], meta

    def _one(self, request: web.Request, target: Target, one: dict[str, Any], status: int = 200) -> web.Response:
        if _wants_table(request):
            return _json(table(target.kind, [one], self.store.clock.now()), status)
        return _json(one, status)


def _verb(request: web.Request, target: Target | None) -> str:
    if target is None:
        return ""
    if request.method == "GET":
        if request.query.get("watch") in {"1", "true"}:
            return "watch"
        return "get" if target.name else "list"
    verb = VERBS.get(request.method, request.method.lower())
    return "deletecollection" if verb == "delete" and not target.name else verb


def _act(fault: Any, request: web.Request) -> None:
    if fault.abort and request.transport is not None:
        request.transport.abort()  # type: ignore[attr-defined]
        raise ConnectionResetError("cut on demand")
    if fault.error is not None:
        raise fault.error


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    if not raw:
        return None
    if "protobuf" in request.content_type:
        raise errors.unsupported_media(request.content_type, ["application/json", "application/yaml", *patches.TYPES])
    try:
        if request.content_type == patches.APPLY or "yaml" in request.content_type:
            return yaml.safe_load(raw)
        return json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"error parsing the body: {error}") from error


def _options(request: web.Request, body: Any) -> dict[str, Any]:
    """DeleteOptions, from the body or the query."""
    options = dict(body) if isinstance(body, dict) else {}
    if "gracePeriodSeconds" in request.query:
        options["gracePeriodSeconds"] = int(request.query["gracePeriodSeconds"])
    return options


def _wants_table(request: web.Request) -> bool:
    return "as=Table" in request.headers.get("Accept", "")


def _json(value: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(value).encode(), content_type="application/json")
