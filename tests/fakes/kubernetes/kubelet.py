"""A node and the agent on it, which runs the pods that are bound to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.kubernetes.clock import stamp
from tests.fakes.kubernetes.podrun import PodRun, Timings
from tests.fakes.kubernetes.podspec import Image, MountError
from tests.fakes.kubernetes.resources import CLAIMS, NODES, PODS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.kubernetes.store import Object, Store


class Kubelet:
    """`reports` is whether the API server hears of it; a lost node does not report, and may go on running its pods."""

    def __init__(self, store: Store, name: str, images: dict[str, Image], data: Path, timings: Timings) -> None:
        self.store = store
        self.name = name
        self.images = images
        self.data = data
        self.timings = timings
        self.reports = True
        self.runs: dict[str, PodRun] = {}
        self._addresses = 0

    def image(self, name: str) -> Image:
        """The image in the registry; one that nobody has made there can be pulled, and names no command."""
        return self.images.setdefault(name, Image())

    def address(self) -> str:
        self._addresses += 1
        return f"10.244.{self._addresses >> 8}.{self._addresses & 255}"

    def reconcile(self) -> None:
        """Compares the pods that are bound here with those that run here."""
        if not self.reports:
            return
        bound = {
            pod["metadata"]["uid"]: pod for pod in self.store.list(PODS) if pod["spec"].get("nodeName") == self.name
        }
        for uid, pod in bound.items():
            run = self.runs.get(uid)
            meta = pod["metadata"]
            if run is None:
                run = self.runs[uid] = PodRun(self, pod)
            if "deletionTimestamp" in meta and run.grace != meta["deletionGracePeriodSeconds"]:
                run.grace = meta["deletionGracePeriodSeconds"]
                run.end(meta["deletionGracePeriodSeconds"])
        for uid, run in self.runs.items():
            if uid not in bound:
                run.orphan()

    def check_attached(self, pod: Object) -> None:
        """MountError where a pod on another node has a volume of this one's that allows one node alone."""
        namespace = pod["metadata"]["namespace"]
        mine = claims_of(pod)
        for other in self.store.list(PODS, namespace):
            shared = mine & claims_of(other)
            done = other["status"].get("phase") in {"Succeeded", "Failed"}
            if not shared or done or other["spec"].get("nodeName") in {None, self.name}:
                continue
            for name in shared:
                claim = self.store.get(CLAIMS, namespace, name)
                if set(claim["spec"]["accessModes"]) <= {"ReadWriteOnce", "ReadWriteOncePod"}:
                    volume = claim["spec"].get("volumeName", "")
                    users = f"Volume is already used by pod(s) {other['metadata']['name']}"
                    raise MountError(f'Multi-Attach error for volume "{volume}" {users}')

    def set_condition(self, one: Object, kind: str, true: bool, **more: str) -> None:
        set_condition(one, kind, true, stamp(self.store.clock.now()), **more)

    def register(self, memory: str, cpu: str, labels: dict[str, str]) -> None:
        """Makes its Node object."""
        capacity = {"memory": memory, "cpu": cpu, "pods": "110", "ephemeral-storage": "100Gi"}
        node: dict[str, Any] = {
            "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name, **labels}},
            "spec": {},
            "status": {"capacity": capacity, "allocatable": capacity, "conditions": []},
        }
        self.store.create(NODES, "", node)
        self.report_ready(True)

    def report_ready(self, ready: bool | None) -> None:
        """The node's Ready condition; ``None`` is Unknown."""
        now = stamp(self.store.clock.now())
        reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
        if ready is not None:
            reason, message = "KubeletReady", "kubelet is posting ready status"
        status = "Unknown" if ready is None else str(ready)
        condition = {"type": "Ready", "status": status, "reason": reason, "message": message}
        condition |= {"lastTransitionTime": now, "lastHeartbeatTime": now}
        self.store.edit(NODES, "", self.name, lambda one: one["status"].update(conditions=[condition]))

    async def close(self) -> None:
        for run in self.runs.values():
            await run.close()


def claims_of(pod: Object) -> set[str]:
    """The names of the claims that a pod uses."""
    volumes = pod["spec"].get("volumes") or []
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}


def set_condition(one: Object, kind: str, true: bool, now: str, **more: str) -> None:
    """Writes a condition of a pod; the time of its last transition stays while its status does."""
    conditions = one["status"].setdefault("conditions", [])
    status = "True" if true else "False"
    old = next((condition for condition in conditions if condition["type"] == kind), None)
    made = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": now, **more}
    if old is None:
        conditions.append(made)
        return
    if old["status"] == status:
        made["lastTransitionTime"] = old["lastTransitionTime"]
    conditions[conditions.index(old)] = made
