"""Waits until a pod runs, and says what it waits for; ends the wait where that is of no use, or takes too long."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from lightkube import ApiError
from lightkube.resources.core_v1 import Event, Pod

from acpbot.aio import Backoff
from acpbot.logs import get_logger
from acpbot.runtimes.kubernetes import start_words
from acpbot.runtimes.kubernetes.api import ClusterUnreachable, asking, said
from acpbot.runtimes.kubernetes.claims import storage_words
from acpbot.runtimes.kubernetes.end_words import fate_of
from acpbot.runtimes.kubernetes.pod_ref import PodRef
from acpbot.runtimes.kubernetes.start_words import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.errors import AgentStartError
    from acpbot.runtimes.kubernetes.api import Cluster

log = get_logger(__name__)

_NOT_FOUND: Final = 404
_GONE: Final = 410  # a watch began too long ago
_IDLE_SECONDS: Final = 600.0
_PULL_SECONDS: Final = 3600.0
_UNREACHABLE_SECONDS: Final = 60.0
_RETRIES: Final = Backoff(first=0.5, most=5.0)
_UNREACHABLE: Final = Problem(
    "the cluster does not answer",
    "check that `kubectl get pods` works",
    "The cluster doesn't answer. Please try again later.",
    "Waiting for the cluster",
    _UNREACHABLE_SECONDS,
)
_TOO_LONG: Final = Problem(
    "its pod does not start, and the cluster gives no reason",
    "see `kubectl describe pod` and the kubelet of its node",
    "The agent didn't start in time. Please try again later.",
)


class Waiting:
    """The start of one pod, which exists already. ``pace``: how long each limit is, as a factor."""

    def __init__(self, cluster: Cluster, pod: Pod, progress: Callable[[str], None], *, pace: float = 1.0) -> None:
        meta = pod.metadata
        self._cluster = cluster
        self._claim = _claim_of(pod.to_dict())
        self._name = "" if meta is None else str(meta.name)
        self._uid = "" if meta is None else str(meta.uid)
        self._progress = progress
        self._pace = pace
        self._problem: Problem | None = None
        self._since = asyncio.get_running_loop().time()
        self._is_of_event = False
        self._pull_error: str | None = None
        self._pulling = False
        self._told = ""
        self._changed = asyncio.Event()
        self._ref: PodRef | None = None
        self._error: AgentStartError | None = None

    async def until_it_runs(self) -> PodRef:
        """Wait; return which pod runs, and where. Raises AgentStartError with the reason and the way out."""
        tasks = [
            asyncio.create_task(self._follow_pod(), name=f"pod {self._name}"),
            asyncio.create_task(self._follow_events(), name=f"events {self._name}"),
        ]
        loop = asyncio.get_running_loop()
        try:
            while self._ref is None:
                self._changed.clear()
                if self._error is not None:
                    raise self._error
                if loop.time() >= self._deadline():
                    raise (await self._explained(self._problem or _TOO_LONG)).error()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._deadline()):
                        await self._changed.wait()
            return self._ref
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _explained(self, problem: Problem) -> Problem:
        """The problem, with what the storage says where that makes no volume."""
        if problem.seconds != start_words.CLAIM_SECONDS or self._claim is None:
            return problem
        words = await storage_words(self._cluster, self._claim)
        return problem if words is None else problem._replace(reason=f"{problem.reason}: {words}")

    def _deadline(self) -> float:
        if self._problem is not None:
            return self._since + self._problem.seconds * self._pace
        return self._since + (_PULL_SECONDS if self._pulling else _IDLE_SECONDS) * self._pace

    def _is(self, problem: Problem | None, *, of_event: bool = False) -> None:
        """Note what keeps it from running now. A limit holds from when a problem of its kind began."""
        self._is_of_event = of_event
        same = problem is not None and self._problem is not None and problem.people == self._problem.people
        if problem != self._problem:
            if not same:
                self._since = asyncio.get_running_loop().time()
                if problem is not None:
                    log.info("pod_waits", pod=self._name, reason=problem.reason)
            self._problem = problem
            self._changed.set()
        if problem is not None:
            self._tell(problem.progress)

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            self._told = words
            self._progress(words)

    # what is seen

    def saw_pod(self, pod: dict[str, Any] | None) -> None:
        """Take the pod's object as it is now; ``None``: there is none any more."""
        fate = fate_of(pod, self._uid)
        if pod is None or fate.alive is None:
            reason = fate.reason or "its pod is gone"
            self._fail(
                Problem(
                    f"{reason} before it ran", "try again", "The agent was stopped by the cluster. Please try again."
                )
            )
        elif fate.alive is False:
            self._fail(self._of_end(pod, fate.reason or "its pod has ended"))
        elif "running" in (start_words.container_status(pod).get("state") or {}):
            self._ref = PodRef(self._name, self._uid, self._cluster.namespace, pod["spec"].get("nodeName"))
            self._changed.set()
        else:
            self._pull_error = start_words.is_pull_error(start_words.waiting_state(pod)) or self._pull_error
            found = start_words.of_pod(pod, self._pull_error)
            if found is not None or not self._is_of_event:  # what an event has said holds until the next one
                self._is(found)

    def _of_end(self, pod: dict[str, Any], reason: str) -> Problem:
        ended = (start_words.container_status(pod).get("state") or {}).get("terminated") or {}
        if ended.get("reason") in {"StartError", "ContainerCannotRun"}:
            image = str(start_words.container_status(pod).get("image") or "of the agent")
            return start_words.of_failed_container(str(ended["reason"]), str(ended.get("message") or ""), image)
        return Problem(
            f"its pod has ended before the agent began: {reason}",
            "see `kubectl describe pod`, and try again",
            "The agent ended before it could begin. Please try again.",
        )

    def _fail(self, problem: Problem) -> None:
        self._error = problem.error()
        self._changed.set()

    def saw_event(self, reason: str, message: str) -> None:
        """Take an event about the pod."""
        found = start_words.of_event(reason, message)
        if isinstance(found, Problem):
            self._is(found, of_event=True)
        elif found is not None:
            self._pulling = reason == "Pulling"
            if self._is_of_event:
                self._is(None)
            if self._problem is None:  # else the pod itself says what it waits for: this event is older
                self._tell(found)

    # the streams

    async def _follow_pod(self) -> None:
        def take(kind: str, one: dict[str, Any]) -> bool:
            self.saw_pod(None if kind == "DELETED" else one)
            return False

        failures = 0
        while True:
            try:
                with asking():
                    pod = await self._cluster.client.get(Pod, self._name)
                failures = 0
                self.saw_pod(pod.to_dict())
                version = None if pod.metadata is None else pod.metadata.resourceVersion
                await self._cluster.watch(Pod, {"metadata.name": self._name}, version, take)
            except ApiError as error:
                if error.status.code == _NOT_FOUND:
                    self.saw_pod(None)
                    return
                log.debug("pod_watch_ended", pod=self._name, reason=str(error))
                failures += 1
                if error.status.code != _GONE:
                    self._is(_UNREACHABLE._replace(reason=f"the cluster does not say how its pod is: {said(error)}"))
            except ClusterUnreachable as error:
                log.warning("pod_not_watched", pod=self._name, reason=str(error))
                failures += 1
                self._is(_UNREACHABLE._replace(reason=str(error)))
            if failures:
                await _RETRIES.pause(failures)

    async def _follow_events(self) -> None:
        failures = 0

        def take(_: str, event: dict[str, Any]) -> bool:
            nonlocal failures
            failures = 0
            self.saw_event(str(event.get("reason") or ""), str(event.get("message") or ""))
            return False

        while True:
            try:
                await self._cluster.watch(Event, {"involvedObject.uid": self._uid}, None, take)
            except (ApiError, ClusterUnreachable) as error:
                failures += 1
                log.debug("events_not_watched", pod=self._name, reason=str(error))
                await _RETRIES.pause(failures)


def _claim_of(pod: dict[str, Any]) -> str | None:
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            return str(claim.get("claimName"))
    return None
