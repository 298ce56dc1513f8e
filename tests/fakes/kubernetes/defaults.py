"""What the server and its admission plugins write into a new object."""

from __future__ import annotations

import secrets
from typing import Any

from tests.fakes.kubernetes.resources import CLAIMS, NAMESPACES, PODS, Kind
from tests.fakes.kubernetes.store import SUFFIX, Object

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


def fill(kind: Kind, one: Object) -> None:
    """The defaults of a new object, written into it."""
    if kind is PODS:
        _pod(one)
    elif kind is CLAIMS:
        one["spec"].setdefault("volumeMode", "Filesystem")
        one["spec"].setdefault("storageClassName", "standard")
        one["metadata"].setdefault("finalizers", []).append("kubernetes.io/pvc-protection")
        one["status"] = {"phase": "Pending"}
    elif kind is NAMESPACES:
        one["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = one["metadata"].get("name", "")
        one["spec"] = {"finalizers": ["kubernetes"]}
        one["status"] = {"phase": "Active"}


def _pod(one: Object) -> None:
    spec = one["spec"]
    for key, value in {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }.items():
        spec.setdefault(key, value)
    spec["serviceAccount"] = spec["serviceAccountName"]
    have = {(taint.get("key"), taint.get("effect")) for taint in spec.setdefault("tolerations", [])}
    spec["tolerations"] += [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        if (key, "NoExecute") not in have
    ]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        _container(container)
    if spec.get("automountServiceAccountToken", True):
        _mount_token(spec)
    one["status"] = {"phase": "Pending", "qosClass": quality(spec)}


def _container(container: dict[str, Any]) -> None:
    latest = container["image"].endswith(":latest") or ":" not in container["image"].rpartition("/")[2]
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    resources = container.setdefault("resources", {})
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _mount_token(spec: dict[str, Any]) -> None:
    name = "kube-api-access-" + "".join(secrets.choice(SUFFIX) for _ in range(5))
    source = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": [source], "defaultMode": 420}})
    for container in spec["containers"]:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_FOLDER}
        container.setdefault("volumeMounts", []).append(mount)


def quality(spec: dict[str, Any]) -> str:
    """The QoS class (kubernetes.io/docs/concepts/workloads/pods/pod-qos)."""
    resources = [container.get("resources") or {} for container in spec["containers"]]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(one.get("limits") or {}) and one.get("requests") == one.get("limits")
        for one in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"
