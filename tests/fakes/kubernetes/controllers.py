"""What works on the objects in the background: scheduler, claim binder, garbage collector, quota and namespaces."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes import admission, events, objects
from tests.fakes.kubernetes.clock import stamp
from tests.fakes.kubernetes.kubelet import Kubelet, claims_of, set_condition
from tests.fakes.kubernetes.podspec import folder_of
from tests.fakes.kubernetes.quantities import quantity, written
from tests.fakes.kubernetes.resources import ACCOUNTS, CLAIMS, KINDS, NAMESPACES, NODES, PODS, QUOTAS, Target

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.kubernetes.store import Object, Store

SAME_CLAIM: Final = "with the same name and ReadWriteOncePod access mode"


class Controllers:
    """`unschedulable`: what the scheduler says to every pod, whatever fits; empty where it decides itself.

    `binds_claims`: whether new claims get a volume. `collects`: whether objects without an owner go.
    """

    def __init__(self, store: Store, kubelets: dict[str, Kubelet], data: Path) -> None:
        self.store = store
        self.kubelets = kubelets
        self.data = data
        self.unschedulable = ""
        self.binds_claims = True
        self.collects = True
        self._said: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="controllers")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            before = self.store.revision
            self.reconcile()
            if self.store.revision == before:
                await self.store.change()
            await asyncio.sleep(0)

    def reconcile(self) -> None:
        """One look at everything."""
        self._namespaces()
        self._claims()
        self._pods()
        self._quotas()
        if self.collects:
            self._collect()
        for kubelet in self.kubelets.values():
            kubelet.reconcile()

    # pods

    def _pods(self) -> None:
        for pod in self.store.list(PODS):
            if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
                continue
            node, why = self._place(pod)
            if node is not None:
                self._bind(pod, node)
            elif self._said.get(pod["metadata"]["uid"]) != why:
                self._said[pod["metadata"]["uid"]] = why
                self._refuse(pod, why)

    def _bind(self, pod: Object, node: str) -> None:
        meta = pod["metadata"]

        def write(one: Object) -> None:
            one["spec"]["nodeName"] = node
            now = stamp(self.store.clock.now())
            set_condition(one, "PodScheduled", True, now)

        self.store.edit(PODS, meta["namespace"], meta["name"], write)
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
        events.record(self.store, pod, "Scheduled", text, by="default-scheduler")

    def _refuse(self, pod: Object, why: str) -> None:
        meta = pod["metadata"]

        def write(one: Object) -> None:
            now = stamp(self.store.clock.now())
            set_condition(one, "PodScheduled", False, now, reason="Unschedulable", message=why)

        self.store.edit(PODS, meta["namespace"], meta["name"], write)
        events.record(self.store, pod, "FailedScheduling", why, warning=True, by="default-scheduler")

    def _place(self, pod: Object) -> tuple[str | None, str]:
        """A node for the pod, or why there is none, in the scheduler's words."""
        if self.unschedulable:
            return None, self.unschedulable
        namespace = pod["metadata"]["namespace"]
        for name in sorted(claims_of(pod)):
            claim = self.store.find(CLAIMS, namespace, name)
            if claim is None:
                return None, f'persistentvolumeclaim "{name}" not found'
            if "deletionTimestamp" in claim["metadata"]:
                return None, f'persistentvolumeclaim "{name}" is being deleted'
            if claim["status"]["phase"] != "Bound":
                return None, "pod has unbound immediate PersistentVolumeClaims"
        nodes = sorted(self.store.list(NODES), key=lambda node: -_wish(pod, node["metadata"]["name"]))
        whys = [self._why_not(pod, node) for node in nodes]
        for node, why in zip(nodes, whys, strict=True):
            if not why:
                return node["metadata"]["name"], ""
        counted = ", ".join(f"{whys.count(why)} {why}" for why in sorted({why for why in whys if why}))
        return (
            None,
            f"0/{len(nodes)} nodes are available: {counted}." if nodes else "no nodes available to schedule pods",
        )

    def _why_not(self, pod: Object, node: Object) -> str:
        name, spec = node["metadata"]["name"], node["spec"]
        if spec.get("unschedulable"):
            return "node(s) were unschedulable"
        if not self.kubelets[name].reports:
            return "node(s) had untolerated taint {node.kubernetes.io/unreachable: }"
        wanted = (pod["spec"].get("nodeSelector") or {}).items()
        if not wanted <= (node["metadata"].get("labels") or {}).items():
            return "node(s) didn't match Pod's node affinity/selector"
        here = [one for one in self.store.list(PODS) if one["spec"].get("nodeName") == name]
        asked = admission.usage(PODS, pod)
        for resource in ("cpu", "memory"):
            used = sum(admission.usage(PODS, one)[resource] for one in here)
            if asked[resource] and used + asked[resource] > quantity(node["status"]["allocatable"][resource]):
                return f"Insufficient {resource}"
        mine = claims_of(pod)
        for other in self.store.list(PODS, pod["metadata"]["namespace"]):
            if other["spec"].get("nodeName") and other["status"]["phase"] not in {"Succeeded", "Failed"}:
                for claim in mine & claims_of(other):
                    modes = self.store.get(CLAIMS, pod["metadata"]["namespace"], claim)["spec"]["accessModes"]
                    if "ReadWriteOncePod" in modes:
                        return f"node has pod using PersistentVolumeClaim {SAME_CLAIM}"
        return ""

    # claims

    def _claims(self) -> None:
        used = {
            (pod["metadata"]["namespace"], name)
            for pod in self.store.list(PODS)
            if pod["status"].get("phase") not in {"Succeeded", "Failed"}
            for name in claims_of(pod)
        }
        for claim in self.store.list(CLAIMS):
            meta = claim["metadata"]
            if "deletionTimestamp" in meta and (meta["namespace"], meta["name"]) not in used:
                self.store.edit(CLAIMS, meta["namespace"], meta["name"], _release)
                shutil.rmtree(folder_of(claim, self.data), ignore_errors=True)
            elif claim["status"]["phase"] == "Pending" and self.binds_claims:
                folder_of(claim, self.data)
                self.store.edit(CLAIMS, meta["namespace"], meta["name"], _bind_claim)
                text = f"Successfully provisioned volume pvc-{meta['uid']}"
                events.record(self.store, claim, "ProvisioningSucceeded", text, by="csi-provisioner")

    # the rest

    def _quotas(self) -> None:
        for quota in self.store.list(QUOTAS):
            meta, hard = quota["metadata"], quota["spec"].get("hard") or {}
            used = admission.used_in(self.store, meta["namespace"])
            status = {"hard": hard, "used": {name: written(quantity(str(used.get(name, 0)))) for name in hard}}
            if quota.get("status") != status:
                self.store.edit(QUOTAS, meta["namespace"], meta["name"], _setter(status))

    def _collect(self) -> None:
        """Deletes what had owners and has none left (kubernetes.io/docs/concepts/architecture/garbage-collection)."""
        known = {one["metadata"]["uid"] for kind in KINDS for one in self.store.list(kind)}
        for kind in KINDS:
            for one in self.store.list(kind):
                meta = one["metadata"]
                owners = meta.get("ownerReferences") or []
                if owners and "deletionTimestamp" not in meta and not any(owner["uid"] in known for owner in owners):
                    objects.delete(self.store, Target(kind, meta.get("namespace", ""), meta["name"]), {}, dry_run=False)

    def _namespaces(self) -> None:
        for place in self.store.list(NAMESPACES):
            name = place["metadata"]["name"]
            if "deletionTimestamp" not in place["metadata"]:
                if self.store.find(ACCOUNTS, name, "default") is None:
                    self.store.create(ACCOUNTS, name, {"metadata": {"name": "default"}})
                continue
            left = [(kind, one) for kind in KINDS if kind.namespaced for one in self.store.list(kind, name)]
            for kind, one in left:
                if "deletionTimestamp" not in one["metadata"]:
                    objects.delete(self.store, Target(kind, name, one["metadata"]["name"]), {}, dry_run=False)
            if not left:
                self.store.remove(NAMESPACES, place)


def _wish(pod: Object, node: str) -> int:
    """How much the pod prefers this node, by the fields of its preferred affinity."""
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "preferredDuringSchedulingIgnoredDuringExecution"
    )
    total = 0
    for term in affinity or ():
        matches = term["preference"].get("matchFields") or ()
        if matches and all(match["key"] == "metadata.name" and node in match["values"] for match in matches):
            total += term["weight"]
    return total


def _release(claim: Object) -> None:
    claim["metadata"]["finalizers"] = []


def _bind_claim(claim: Object) -> None:
    spec = claim["spec"]
    spec["volumeName"] = f"pvc-{claim['metadata']['uid']}"
    claim["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["resources"]["requests"]}


def _setter(status: dict[str, Any]) -> Any:
    return lambda one: one.update(status=status)
