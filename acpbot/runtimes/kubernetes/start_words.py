"""Why a pod does not run yet, or never will: from its object, its events and the cluster's refusals, in words. Pure.

Sources: kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle, kubernetes.io/docs/concepts/policy/resource-quotas,
kubernetes.io/docs/concepts/containers/images.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpbot.errors import AgentStartError
from acpbot.runtimes.kubernetes.pod_spec import CONTAINER
from acpbot.text import one_line, operator_line

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTH: Final = 300
_ASK_ADMIN: Final = "An admin can check the log."
_LATER: Final = "Please try again later."

# How long, in seconds, what may pass by itself may last.
QUOTA_SECONDS: Final = 300.0
NODE_SECONDS: Final = 300.0
CLAIM_SECONDS: Final = 90.0
MISSING_CLAIM_SECONDS: Final = 15.0
VOLUME_SECONDS: Final = 480.0  # a cluster takes a volume from a node that does not answer after 360
IMAGE_SECONDS: Final = 120.0
CONFIG_SECONDS: Final = 10.0
SANDBOX_SECONDS: Final = 120.0

_PULL_IS_REFUSED: Final = re.compile(
    r"not found|manifest unknown|unauthorized|denied|forbidden|authentication required|does not exist", re.IGNORECASE
)
_NO_SHELL: Final = re.compile(r"exec: \"?/bin/sh|/bin/sh: no such file|\"?/bin/sh\"?: (?:no such|stat)", re.IGNORECASE)
_ROOM: Final = {
    "Insufficient memory": "not enough free memory",
    "Insufficient cpu": "not enough free CPU",
    "Insufficient ephemeral-storage": "not enough free disk space",
    "Insufficient": "not enough of what it needs",
    "Too many pods": "too many agents run already",
}


_NO_ROOM: Final = ("Waiting for a free machine", "Waiting for room in the cluster")


class Problem(NamedTuple):
    """What keeps a pod from running.

    ``reason`` and ``way_out`` are clauses for operators, ``people`` is a sentence for people, where the start fails.
    ``progress``: what is said while it lasts. ``seconds``: how long it may last; 0: waiting is of no use.
    """

    reason: str
    way_out: str
    people: str
    progress: str = ""
    seconds: float = 0.0

    def error(self) -> AgentStartError:
        """Return the error of a start that has failed because of it."""
        return AgentStartError(
            operator_line(f"cannot start the agent: {self.reason}; {self.way_out}"), for_people=self.people
        )


def lacks_room(progress: str) -> bool:
    """Return whether a start that says this waits for room that the end of another pod may give."""
    return progress.startswith(_NO_ROOM)


def of_pod(pod: Mapping[str, Any], pull_error: str | None = None) -> Problem | None:
    """Return what keeps this pod from running, as its status says. ``pull_error``: what a pull has failed with."""
    status = pod.get("status") or {}
    waiting = waiting_state(pod)
    if waiting is not None and (problem := _of_waiting(waiting, _image(pod), pull_error)) is not None:
        return problem
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return of_scheduler(str(condition.get("message") or condition.get("reason") or "no reason given"))
    return None


def container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the kubelet says of the agent's container; empty where it has said nothing."""
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one.get("name") == CONTAINER:
            found: Mapping[str, Any] = one
            return found
    return {}


def waiting_state(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return why a container of the pod waits: the agent's own, or one that begins before it; ``None``: none does."""
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or ()), container_status(pod)]:
        waiting: Mapping[str, Any] | None = (one.get("state") or {}).get("waiting")
        if waiting is not None and waiting.get("reason") != "PodInitializing":
            return waiting
    return None


def is_pull_error(waiting: Mapping[str, Any] | None) -> str | None:
    """Return what a pull has failed with, where this state says it."""
    if waiting is None or waiting.get("reason") != "ErrImagePull":
        return None
    return one_line(str(waiting.get("message") or ""), _LENGTH)


def _of_waiting(waiting: Mapping[str, Any], image: str, pull_error: str | None) -> Problem | None:
    reason = str(waiting.get("reason") or "")
    message = one_line(str(waiting.get("message") or reason), _LENGTH)
    if reason in {"ErrImagePull", "ImagePullBackOff"}:
        told = pull_error or message
        return Problem(
            f"the image {image} can't be fetched: {told}",
            "check that the image exists, and that the cluster's nodes may pull it",
            f"The agent's image can't be fetched. {_ASK_ADMIN}",
            "The image can't be fetched, trying again",
            0.0 if _PULL_IS_REFUSED.search(told) else IMAGE_SECONDS,
        )
    if reason in {"InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}:
        return Problem(
            f"the image {image}: {reason}: {message}",
            "correct image, or the pull policy in pod_template",
            f"The agent's image can't be used. {_ASK_ADMIN}",
        )
    if reason == "CreateContainerConfigError":
        return Problem(
            f"its container can't be created: {message}",
            "check that its secrets are in the namespace, and that the image runs without root",
            f"The agent can't be started. {_ASK_ADMIN}",
            seconds=CONFIG_SECONDS,
        )
    if reason in {
        "CreateContainerError",
        "RunContainerError",
        "StartError",
        "ContainerCannotRun",
        "PostStartHookError",
    }:
        return of_failed_container(reason, message, image)
    return None


def of_failed_container(reason: str, message: str, image: str) -> Problem:
    """Return the problem of a container that could not begin."""
    if _NO_SHELL.search(message):
        return Problem(
            f"the image {image} has no /bin/sh",
            "install a shell in the image",
            f"The agent's image can't be used. {_ASK_ADMIN}",
        )
    return Problem(
        f"its container can't be started: {reason}: {one_line(message, _LENGTH)}",
        "correct its settings or the image",
        f"The agent can't be started. {_ASK_ADMIN}",
    )


def of_scheduler(message: str) -> Problem:
    """Return why no node takes the pod, from the scheduler's words."""
    shown = one_line(message, _LENGTH)
    if "persistentvolumeclaim" in message and "not found" in message:
        return Problem(
            f"its volume is missing: {shown}",
            "restore the claim from a backup, or the next message makes a new one, which is empty",
            f"This thread's storage is missing. {_ASK_ADMIN}",
            "Waiting for the thread's storage",
            MISSING_CLAIM_SECONDS,
        )
    if "ReadWriteOncePod" in message:
        return _volume_in_use(shown)
    if "PersistentVolumeClaim" in message or "persistentvolumeclaim" in message:
        return Problem(
            f"its volume is not ready: {shown}",
            "see `kubectl describe pvc`, and check that the cluster has this storage_class",
            f"This thread's storage isn't ready. {_ASK_ADMIN}",
            "Waiting for the thread's storage",
            CLAIM_SECONDS,
        )
    if "volume node affinity" in message:
        return Problem(
            f"no node that can reach its volume has room: {shown}",
            "make room on the nodes of its zone",
            f"The cluster has no room for the agent near this thread's storage. {_LATER}",
            f"{_NO_ROOM[0]} near the thread's storage",
            NODE_SECONDS,
        )
    room = next((words for said, words in _ROOM.items() if said in message), "")
    return Problem(
        f"no node can take its pod: {shown}",
        "make room in the cluster, or lower memory_max or resources",
        f"The cluster has no room for the agent right now{f': {room}' if room else ''}. {_LATER}",
        f"{_NO_ROOM[0]}{f': {room}' if room else ''}",
        NODE_SECONDS,
    )


def _volume_in_use(shown: str) -> Problem:
    return Problem(
        f"its volume is still in use: {shown}",
        "wait until the earlier pod is gone; if its node is lost, remove the node from the cluster",
        "This thread's storage is still in use by its earlier agent. Please try again in a few minutes.",
        "Waiting for the earlier agent to release the thread's storage",
        VOLUME_SECONDS,
    )


def of_event(reason: str, message: str) -> Problem | str | None:
    """Return what an event about the pod means: a problem, what is done now, or ``None``: nothing to tell."""
    shown = one_line(message, _LENGTH)
    if reason == "Pulling":
        return "Fetching the image"
    if reason in {"Scheduled", "SuccessfulAttachVolume", "Pulled", "Created", "Started"}:
        return ""
    if reason == "TriggeredScaleUp":
        return "Waiting for a new machine"
    if reason in {"FailedAttachVolume", "FailedMount"}:
        if "Multi-Attach" in message or "already used by" in message or "volume attachment" in message:
            return _volume_in_use(shown)
        return Problem(
            f"its volume can't be mounted: {shown}",
            "see `kubectl describe pod` and the storage of the cluster",
            f"This thread's storage can't be used right now. {_ASK_ADMIN}",
            "Waiting for the thread's storage",
            VOLUME_SECONDS,
        )
    if reason in {"FailedCreatePodSandBox", "NetworkNotReady"}:
        return Problem(
            f"its pod can't be set up: {shown}",
            "check the node's network, and that the cluster has this runtime_class",
            f"The agent can't be started. {_ASK_ADMIN}",
            "Waiting for the machine",
            SANDBOX_SECONDS,
        )
    return None


def of_refusal(code: int, message: str) -> Problem:
    """Return why the cluster does not make an object, from its answer."""
    shown = one_line(message, _LENGTH)
    no_right = f"The agent can't be started in the cluster. {_ASK_ADMIN}"
    if "exceeded quota" in message:
        return Problem(
            f"the quota of its namespace is used up: {shown}",
            "raise the quota, or end other sessions",
            f"The cluster has no room for the agent right now. {_LATER}",
            _NO_ROOM[1],
            QUOTA_SECONDS,
        )
    if "failed quota" in message:
        way_out = "set memory_max, and whatever else the quota requires in resources"
        return Problem(f"the quota of its namespace requires more limits: {shown}", way_out, no_right)
    if "PodSecurity" in message:
        return Problem(
            f"the namespace does not allow its pod: {shown}", "correct pod_template, or the namespace", no_right
        )
    if code == 404:  # noqa: PLR2004 - HTTP: not found
        return Problem(f"the cluster has no such namespace: {shown}", "create it, or correct namespace", no_right)
    if code in {401, 403}:
        return Problem(
            f"the cluster does not allow it: {shown}",
            "check acpbot's Role, and the settings of this agent",
            no_right,
        )
    return Problem(f"the cluster refuses its pod: {shown}", "correct its settings", no_right)


def _image(pod: Mapping[str, Any]) -> str:
    for one in (pod.get("spec") or {}).get("containers") or ():
        if one.get("name") == CONTAINER:
            return str(one.get("image"))
    return "of the agent"
