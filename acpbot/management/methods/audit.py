"""``audit.list``."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Final

from msgspec import Meta

from acpbot.errors import NotFound
from acpbot.management.method import Call, Method, Params

MAX_ENTRIES: Final = 1000


class AuditList(Params, frozen=True):
    """``before``: an id; older entries than this one. ``thread``: what is about this thread."""

    limit: Annotated[int, Meta(ge=1, le=MAX_ENTRIES)] = 100
    before: Annotated[int, Meta(ge=0)] | None = None
    thread: str | None = None


async def list_entries(call: Call, params: AuditList) -> dict[str, Any]:
    """The newest entries, the newest first."""
    thread = params.thread
    if thread is not None:
        with contextlib.suppress(NotFound):  # the audit may tell of a thread that is forgotten
            thread = call.services.pool.resolve(thread)
    entries = await call.services.audit.entries(limit=params.limit + 1, before=params.before, thread=thread)
    return {"entries": entries[: params.limit], "more": len(entries) > params.limit}


METHODS: Final = {"audit.list": Method("admin", AuditList, list_entries)}
