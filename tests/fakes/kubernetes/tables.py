"""Tables, which `kubectl get` prints (kubernetes.io/docs/reference/using-api/api-concepts, 'Receiving resources')."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes.resources import CLAIMS, EVENTS, NAMESPACES, PODS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fakes.kubernetes.store import Object

MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
COLUMNS: Final = {
    PODS: ("Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*"),
    CLAIMS: ("Name", "Status", "Volume", "Capacity", "Access Modes", "StorageClass", "Age", "VolumeMode*"),
    NAMESPACES: ("Name", "Status", "Age"),
    EVENTS: ("Last Seen", "Type", "Reason", "Object", "Message", "Name*"),
}


def table(kind: Kind, objects: Iterable[Object], now: datetime, *, headings: bool = True) -> dict[str, Any]:
    """The objects as rows. The columns with priority 1 are printed with `-o wide` alone."""
    definitions = [
        {"name": name.rstrip("*"), "type": "string", "format": "name" if name == "Name" else "", "description": ""}
        | {"priority": int(name.endswith("*"))}
        for name in COLUMNS.get(kind, ("Name", "Age"))
    ]
    rows = [
        {
            "cells": _cells(kind, one, now),
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]},
        }
        for one in objects
    ]
    answer: dict[str, Any] = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    return answer | {"columnDefinitions": definitions if headings else None, "rows": rows}


def age(moment: str | None, now: datetime) -> str:
    """A duration as the server writes it: 5s, 3m, 2h, 4d."""
    if not moment:
        return "<unknown>"
    seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    for size, suffix in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{suffix}"
    return f"{seconds}s"


def _cells(kind: Kind, one: Object, now: datetime) -> list[Any]:
    meta, spec, status = one["metadata"], one.get("spec") or {}, one.get("status") or {}
    old = age(meta.get("creationTimestamp"), now)
    if kind is PODS:
        states = status.get("containerStatuses") or []
        ready = f"{sum(state['ready'] for state in states)}/{len(spec['containers'])}"
        restarts = sum(state["restartCount"] for state in states)
        more = [status.get("podIP", "<none>"), spec.get("nodeName", "<none>"), "<none>", "<none>"]
        return [meta["name"], ready, shown_status(one), str(restarts), old, *more]
    if kind is CLAIMS:
        size = (status.get("capacity") or {}).get("storage", "")
        modes = ",".join(MODES[mode] for mode in status.get("accessModes") or [])
        phase = "Terminating" if "deletionTimestamp" in meta else status["phase"]
        more = [spec.get("storageClassName", ""), old, spec["volumeMode"]]
        return [meta["name"], phase, spec.get("volumeName", ""), size, modes, *more]
    if kind is NAMESPACES:
        return [meta["name"], status["phase"], old]
    if kind is EVENTS:
        about = one["involvedObject"]
        named = f"{about['kind'].lower()}/{about['name']}"
        last = age(one.get("lastTimestamp"), now)
        return [last, one["type"], one["reason"], named, one["message"], meta["name"]]
    return [meta["name"], old]


def shown_status(one: Object) -> str:
    """The STATUS of a pod: its phase, or what its containers say instead."""
    status = one.get("status") or {}
    shown = status.get("reason") or status.get("phase", "Pending")
    for state in status.get("containerStatuses") or []:
        now = state["state"]
        if reason := (now.get("waiting") or now.get("terminated") or {}).get("reason"):
            shown = reason
    return "Terminating" if "deletionTimestamp" in one["metadata"] else str(shown)
