"""Watches: the changes after a version, as lines of JSON, until the client or the server ends it."""

from __future__ import annotations

import asyncio
import bisect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.kubernetes.resources import Kind
    from tests.fakes.kubernetes.store import Change, Object, Store


@dataclass(eq=False)
class Watch:
    """One watch that somebody has open. `cut`: it ends without the end of the HTTP message."""

    kind: Kind
    closing: bool = False
    cut: bool = False
    silent: bool = False
    bookmark: bool = False


class Watches:
    """All that are open, and what a test does to them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.open: set[Watch] = set()

    def close(self, *, cut: bool = False) -> None:
        """Ends them all, as the server does after its timeout; with `cut` by breaking the connection."""
        for one in self.open:
            one.closing, one.cut = True, cut
        self.store.notify()

    def silence(self) -> None:
        """From now on the open ones bring nothing, and do not end: a dead connection that nobody has noticed."""
        for one in self.open:
            one.silent = True

    def send_bookmarks(self) -> None:
        """Sends a BOOKMARK to those that asked for them."""
        for one in self.open:
            one.bookmark = True
        self.store.notify()

    async def serve(
        self,
        request: web.Request,
        kind: Kind,
        namespace: str,
        accepts: Callable[[Object], bool],
        *,
        as_table: bool,
    ) -> web.StreamResponse:
        """Answers a request with ``watch=1``."""
        query = request.query
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        response.enable_chunked_encoding()
        await response.prepare(request)
        one = Watch(kind)
        self.open.add(one)
        self.store.notify()  # for a test that waits for the watch
        timer = None
        if seconds := int(query.get("timeoutSeconds") or 0):
            timer = asyncio.create_task(self._expire(one, seconds))
        try:
            await self._send(request, response, one, namespace, accepts, as_table=as_table)
        except ConnectionError:
            return response  # the client has gone
        finally:
            self.open.discard(one)
            if timer is not None:
                timer.cancel()
        return response

    async def _expire(self, one: Watch, seconds: float) -> None:
        await self.store.clock.sleep(seconds)
        one.closing = True
        self.store.notify()

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        one: Watch,
        namespace: str,
        accepts: Callable[[Object], bool],
        *,
        as_table: bool,
    ) -> None:
        headings = True

        async def send(event: str, thing: dict[str, Any]) -> None:
            nonlocal headings
            if as_table and event in {"ADDED", "MODIFIED", "DELETED"}:
                thing = table(one.kind, [thing], self.store.clock.now(), headings=headings)
                headings = False
            await response.write(json.dumps({"type": event, "object": thing}).encode() + b"\n")

        asked = request.query.get("resourceVersion") or "0"
        bookmarks = request.query.get("allowWatchBookmarks") in {"1", "true"}
        cursor = self.store.revision
        if asked == "0" or request.query.get("sendInitialEvents") == "true":
            for found in self.store.list(one.kind, namespace):
                if accepts(found):
                    await send("ADDED", found)
            if request.query.get("sendInitialEvents") == "true":
                await send("BOOKMARK", _bookmark(one.kind, cursor, initial=True))
        elif int(asked) < self.store.compacted:
            await send("ERROR", errors.gone(f"too old resource version: {asked} ({self.store.compacted})").body())
            return
        else:
            cursor = int(asked)
        while not one.closing and request.transport is not None:
            if not one.silent:
                for change in self._after(cursor):
                    cursor = change.revision
                    if (event := _event(change, one.kind, namespace, accepts)) is not None:
                        await send(*event)
                if one.bookmark and bookmarks:
                    await send("BOOKMARK", _bookmark(one.kind, self.store.revision))
            one.bookmark = False
            if one.closing or (cursor < self.store.revision and not one.silent and self._after(cursor)):
                continue
            await self.store.change()
        if one.cut and request.transport is not None:
            request.transport.abort()  # type: ignore[attr-defined]
            raise ConnectionResetError

    def _after(self, cursor: int) -> list[Change]:
        history = self.store.history
        return history[bisect.bisect_right(history, cursor, key=lambda change: change.revision) :]


def _event(change: Change, kind: Kind, namespace: str, accepts: Callable[[Object], bool]) -> tuple[str, Object] | None:
    """How a watch with a selector sees a change: what stops to match is DELETED for it."""
    if change.kind is not kind or (namespace and change.now["metadata"].get("namespace") != namespace):
        return None
    is_one = change.type != "DELETED" and accepts(change.now)
    was_one = change.before is not None and accepts(change.before)
    if is_one:
        return ("MODIFIED" if was_one else "ADDED"), change.now
    return ("DELETED", change.now) if was_one else None


def _bookmark(kind: Kind, revision: int, *, initial: bool = False) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
