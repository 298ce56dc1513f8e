"""Events, as the scheduler, the kubelet and the controllers record them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.fakes.kubernetes.clock import stamp
from tests.fakes.kubernetes.resources import EVENTS

if TYPE_CHECKING:
    from tests.fakes.kubernetes.store import Object, Store


def record(
    store: Store,
    about: Object,
    reason: str,
    message: str,
    *,
    warning: bool = False,
    by: str = "kubelet",
    host: str = "",
) -> None:
    """Adds the event to the namespace of `about`, or counts one more where the same is there."""
    meta = about["metadata"]
    namespace = meta.get("namespace", "default")
    now = stamp(store.clock.now())
    for old in store.list(EVENTS, namespace):
        same = (old["involvedObject"].get("uid"), old["reason"], old["message"]) == (meta["uid"], reason, message)
        if same:
            store.edit(
                EVENTS,
                namespace,
                old["metadata"]["name"],
                lambda one: one.update(count=one["count"] + 1, lastTimestamp=now),
            )
            return
    source = {"component": by, "host": host} if host else {"component": by}
    event = {
        "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}"},
        "involvedObject": {
            "kind": about["kind"],
            "namespace": namespace,
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        },
        "reason": reason,
        "message": message,
        "source": source,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": "Warning" if warning else "Normal",
        "eventTime": None,
        "reportingComponent": by,
        "reportingInstance": host,
    }
    store.create(EVENTS, namespace, event)
