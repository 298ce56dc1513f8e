"""Whether a pod runs and why it has ended, from its object alone. Pure.

Sources: kubernetes.io/docs/concepts/workloads/pods/disruptions (Pod disruption conditions),
kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction, .../architecture/nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.runtimes.ends import exit_status, out_of_memory
from acpbot.runtimes.kubernetes.pod_ref import Fate
from acpbot.runtimes.kubernetes.start_words import container_status
from acpbot.runtimes.runtime import exit_text
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH: Final = 200
_DISRUPTIONS: Final = {
    "EvictionByEvictionAPI": "drained: its pod was evicted from its node",
    "PreemptionByScheduler": "preempted: a pod of a higher priority took its place",
    "DeletionByTaintManager": "its node was lost or tainted, and the cluster deleted its pod",
    "DeletionByPodGC": "its node is no longer in the cluster",
    "TerminationByKubelet": "its node ended it: it is short of resources, or is shutting down",
}
_PHASES: Final = {
    "Evicted": "Evicted",
    "DeadlineExceeded": "DeadlineExceeded: its pod ran longer than its deadline allows",
    "Terminated": "its node is shutting down",
    "Shutdown": "its node is shutting down",
    "NodeShutdown": "its node is shutting down",
    "NodeLost": "its node is lost",
    "Preempting": "preempted: a pod of a higher priority took its place",
}


DELETED: Final = "its pod was deleted"
_LEAVING: Final = "its pod is being deleted"
BY_NOBODY: Final = frozenset({DELETED, _LEAVING})
"""The reasons that don't say who has ended the pod: an event may."""


def fate_of(pod: Mapping[str, Any] | None, uid: str) -> Fate:
    """Return what the cluster's object says of a pod. ``pod`` is ``None`` where there is no object of its name."""
    if pod is None or (pod.get("metadata") or {}).get("uid") != uid:
        return Fate(alive=None, reason=DELETED)
    status = pod.get("status") or {}
    ended = (container_status(pod).get("state") or {}).get("terminated")
    running = "running" in (container_status(pod).get("state") or {})
    if ended is not None or status.get("phase") in {"Succeeded", "Failed"}:
        # The phase is also written by controllers, and by a kubelet that has yet to end the container.
        told = ended is not None or not (running or _by_a_controller(pod))
        reason = _end_reason(pod, ended or {})
        return Fate(alive=False if told else None, reason=reason, exit_code=(ended or {}).get("exitCode"))
    if pod["metadata"].get("deletionTimestamp"):
        return Fate(alive=None, reason=disruption(pod) or _LEAVING)
    ready = _condition(pod, "Ready")
    # Who notes that a node is silent gives no reason; a kubelet gives one, as for a container beside the agent.
    silent = running and ready.get("status") == "False" and not ready.get("reason")
    if status.get("reason") == "NodeLost" or silent:
        return Fate(alive=None, reason="its node does not answer")
    return Fate(alive=True)


def disruption(pod: Mapping[str, Any]) -> str | None:
    """Return who has ended the pod, where the cluster says so."""
    found = _condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    return _DISRUPTIONS.get(str(found.get("reason"))) or f"the cluster ended its pod: {found.get('reason')}"


def _by_a_controller(pod: Mapping[str, Any]) -> bool:
    """Whether the cluster has given the pod up, whatever runs on its node."""
    return _condition(pod, "DisruptionTarget").get("reason") in {"DeletionByPodGC", "DeletionByTaintManager"}


def of_event(reason: str, message: str) -> str | None:
    """Return who has ended a pod, from an event: clusters before 1.26 have no condition for it."""
    if reason == "Evicted":
        return f"Evicted: {one_line(message.strip(), _LENGTH)}"
    by = {"TaintManagerEviction": "DeletionByTaintManager", "Preempted": "PreemptionByScheduler"}.get(reason)
    return None if by is None else _DISRUPTIONS[by]


def _end_reason(pod: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    if ended.get("reason") == "OOMKilled":
        return out_of_memory(_memory_limit(pod))
    if status.get("reason"):
        reason = str(status["reason"])
        words = _PHASES.get(reason, reason)
        message = one_line(str(status.get("message") or "").strip(), _LENGTH)
        return f"{words}: {message}" if message and words == reason else words
    if (by := disruption(pod)) is not None:
        return by
    if pod["metadata"].get("deletionTimestamp"):
        return DELETED
    if "exitCode" in ended:
        return f"its pod has ended ({exit_text(exit_status(int(ended['exitCode'])))})"
    return "its pod has ended"


def _condition(pod: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == kind:
            found: Mapping[str, Any] = one
            return found
    return {}


def _memory_limit(pod: Mapping[str, Any]) -> int | None:
    """The limit in bytes, where acpbot has set it: it writes it without a unit."""
    for one in (pod.get("spec") or {}).get("containers") or ():
        if one.get("name") == "agent":
            text = str(((one.get("resources") or {}).get("limits") or {}).get("memory", ""))
            return int(text) if text.isdecimal() else None
    return None
