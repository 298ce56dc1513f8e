"""The pod of one session, as the manifest that is sent to the cluster. Pure.

It is made of three layers: what acpbot proposes, over it the ``pod_template`` of the settings, and over both what must
hold: the restricted pod security standard, the first process, the volume of the thread, and the labels by which a pod
is found again. Sources: kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1,
kubernetes.io/docs/concepts/security/pod-security-standards.
"""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpbot.runtimes import labels
from acpbot.runtimes.runtime import LaunchSpec, LimitNotHeld

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from acpbot.config.runtime_settings import KubernetesSettings
    from acpbot.config.settings import AgentSettings

CONTAINER: Final = "agent"
TMP: Final = "/tmp"  # noqa: S108 - in the pod
USER_ID: Final = 1000
"""The user and the group of the agent where ``pod_template`` names no other."""

ACTIVE_SECONDS: Final = 7 * 24 * 3600
"""After so long the cluster ends a pod, whatever acpbot does."""

_GRACE_SECONDS: Final = 5
_EXAMPLE: Final = Path("/home/acpbot-check")
_VOLUME: Final = "thread"
_HASH_CHARS: Final = 32
_POD_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,53}[a-z0-9])?")
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
# By which key the items of a list belong together. Source: the patch strategies in the reference of the API.
_CONTAINERS: Final = ("containers", "initContainers")
_KEYS: Final = {"volumeMounts": "mountPath", "hostAliases": "ip"} | dict.fromkeys(
    (*_CONTAINERS, "volumes", "env", "imagePullSecrets"), "name"
)
_PROFILES: Final = {"RuntimeDefault", "Localhost"}


class Owner(NamedTuple):
    """What the pod goes with: where this object is deleted, the cluster deletes the pod."""

    api_version: str
    kind: str
    name: str
    uid: str


def pod_name(session_id: str) -> str:
    """Return the name of a session's pod."""
    return f"acpbot-{session_id if _POD_NAME.fullmatch(session_id) else _hash(session_id)}"


def pod_labels(daemon_id: str, session_id: str, thread_id: str) -> dict[str, str]:
    """Return the labels of a session's pod."""
    session = session_id if _LABEL.fullmatch(session_id) else _hash(session_id)
    return {
        "app.kubernetes.io/managed-by": "acpbot",
        labels.DAEMON: daemon_id,
        labels.SESSION: session,
        labels.THREAD: labels.thread_label(thread_id),
    }


def manifest(
    spec: LaunchSpec,
    place: KubernetesSettings,
    *,
    daemon_id: str,
    first_process: Sequence[str],
    claim: str | None,
    owner: Owner | None,
    near: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the pod. Without a ``claim`` its HOME and its workspace end with it. ``near``: nodes that suit it best."""
    pod = merged(merged(_proposed(place), copy.deepcopy(dict(place.pod_template))), _required(spec, place, claim))
    if preferred := [_on_node(name) for name in near]:
        affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
        pod = merged(pod, {"spec": {"affinity": affinity}})
    pod["metadata"] = {
        **{key: value for key, value in pod.get("metadata", {}).items() if key in {"labels", "annotations"}},
        "name": pod_name(spec.session_id),
    }
    pod["metadata"]["labels"] = pod["metadata"].get("labels", {}) | pod_labels(
        daemon_id, spec.session_id, spec.thread_id
    )
    if owner is not None:
        api_version, kind, name, uid = owner
        pod["metadata"]["ownerReferences"] = [{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}]
    agent = next(one for one in pod["spec"]["containers"] if one.get("name") == CONTAINER)
    agent.pop("args", None)
    agent["command"] = list(first_process)
    agent["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    for context in (pod["spec"]["securityContext"], agent["securityContext"]):
        if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in _PROFILES:
            context["seccompProfile"] = {"type": "RuntimeDefault"}
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def placeholder(
    spec: LaunchSpec,
    place: KubernetesSettings,
    *,
    daemon_id: str,
    first_process: Sequence[str],
    owner: Owner | None,
) -> dict[str, Any]:
    """Return a pod that takes the room and fetches the images of a session's pod, and holds no agent and no secret."""
    pod = manifest(spec, place, daemon_id=daemon_id, first_process=first_process, claim=None, owner=owner)
    marks = pod["metadata"]["labels"]
    del marks[labels.SESSION], marks[labels.THREAD]
    marks[labels.WARM] = spec.agent if _LABEL.fullmatch(spec.agent) else _hash(spec.agent)
    for agent in pod["spec"]["containers"]:
        if agent.get("name") == CONTAINER:
            agent.pop("env", None)
            agent.pop("envFrom", None)
    return pod


def example(settings: AgentSettings, session_id: str) -> LaunchSpec:
    """Return a start of this agent in no thread, to see what its pod is like."""
    return LaunchSpec(
        argv=(settings.command, *settings.args),
        cwd=settings.working_dir or _EXAMPLE / "workspace",
        env={},
        session_id=session_id,
        memory_max=settings.memory_max,
        agent=settings.name,
        home=_EXAMPLE / "home",
        kubernetes=settings.kubernetes,
    )


def _on_node(name: str) -> dict[str, Any]:
    """The wish to be on this node: it is followed only where the pod, its volume and the room there allow it."""
    match = {"key": "metadata.name", "operator": "In", "values": [name]}
    return {"weight": 100, "preference": {"matchFields": [match]}}


def _proposed(place: KubernetesSettings) -> dict[str, Any]:
    """What ``pod_template`` may replace."""
    return {
        "spec": {
            "terminationGracePeriodSeconds": _GRACE_SECONDS,
            "activeDeadlineSeconds": ACTIVE_SECONDS,
            "securityContext": {
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{"name": CONTAINER, "securityContext": {"readOnlyRootFilesystem": True}}],
            **({"nodeSelector": dict(place.node_selector)} if place.node_selector else {}),
        }
    }


def _required(spec: LaunchSpec, place: KubernetesSettings, claim: str | None) -> dict[str, Any]:
    """What ``pod_template`` can't replace."""
    source = {"emptyDir": {}} if claim is None else {"persistentVolumeClaim": {"claimName": claim}}
    mounts = {str(spec.cwd): "workspace", TMP: "tmp"}
    if spec.home is not None:
        mounts[str(spec.home)] = "home"
    agent = {
        "name": CONTAINER,
        "image": place.image,
        "stdin": True,
        "stdinOnce": True,
        "tty": False,
        "resources": _resources(spec, place),
        "securityContext": {"allowPrivilegeEscalation": False, "privileged": False, "runAsNonRoot": True},
        "volumeMounts": [
            {"name": _VOLUME, "mountPath": path, "subPath": folder} for path, folder in sorted(mounts.items())
        ],
        **_secrets(place.secrets),
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,  # the first process must be the one that ends all others
        "hostPID": False,
        "hostIPC": False,
        "hostNetwork": False,
        "securityContext": {"runAsNonRoot": True},
        "containers": [agent],
        "volumes": [{"name": _VOLUME, **source}],
    }
    if place.service_account is not None:
        pod["serviceAccountName"] = place.service_account
    if place.runtime_class is not None:
        pod["runtimeClassName"] = place.runtime_class
    return {"spec": pod}


def _resources(spec: LaunchSpec, place: KubernetesSettings) -> dict[str, dict[str, str]]:
    """``memory_max`` is the limit, and what is asked for where ``resources`` asks for nothing else."""
    made = {kind: dict(amounts) for kind, amounts in place.resources.items()}
    if spec.memory_max is not None:
        made.setdefault("limits", {})["memory"] = str(spec.memory_max)
        made.setdefault("requests", {}).setdefault("memory", str(spec.memory_max))
    return made


def _secrets(names: Iterable[str]) -> dict[str, Any]:
    """Secrets as variables of the container, by reference: acpbot never reads them."""
    env: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    for name in names:
        variable, is_one, rest = name.partition("=")
        if is_one:
            secret, _, key = rest.partition("/")
            env.append({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
        else:
            whole.append({"secretRef": {"name": name}})
    return {**({"env": env} if env else {}), **({"envFrom": whole} if whole else {})}


def limits_not_held(spec: LaunchSpec) -> tuple[LimitNotHeld, ...]:
    """Return the limits that the spec of a pod can't hold."""
    if spec.pids_max is None:
        return ()
    reason = "a pod has no such limit of its own; set podPidsLimit of the kubelet"
    return (LimitNotHeld("pids_max", reason),)


def unknown_fields(sent: Any, known: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each field of a manifest that is missing in what its model has kept."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            here = f"{path}.{key}" if path else str(key)
            if isinstance(known, dict) and key in known:
                yield from unknown_fields(value, known[key], here)
            elif value not in ({}, [], None):
                yield here
    elif isinstance(sent, list) and isinstance(known, list):
        for index, (value, kept) in enumerate(zip(sent, known, strict=False)):
            yield from unknown_fields(value, kept, f"{path}[{index}]")


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, merged in depth: what is above wins. Items of lists that the API knows by a key are merged by it."""
    made = dict(below)
    for key, value in above.items():
        old = made.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            made[key] = merged(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            made[key] = _merged_lists(key, old, value)
        else:
            made[key] = value
    return made


def _merged_lists(name: str, below: list[Any], above: list[Any]) -> list[Any]:
    key = _KEYS.get(name)
    if key is None or not all(isinstance(item, dict) for item in [*below, *above]):
        return [*below, *above]
    by_key = {item.get(key): item for item in below}
    for item in above:
        # Others are replaced as a whole: a volume or a variable has one source.
        old = by_key.get(item.get(key), {}) if name in _CONTAINERS else {}
        by_key[item.get(key)] = merged(old, item)
    return list(by_key.values())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]
