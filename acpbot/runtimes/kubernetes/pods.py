"""The pods of one daemon in one namespace: made, asked about, and deleted until the kubelet says that they are gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from lightkube import ApiError
from lightkube.resources.core_v1 import Event, Pod

from acpbot.aio import Backoff
from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes import labels
from acpbot.runtimes.kubernetes import end_words, start_words
from acpbot.runtimes.kubernetes.api import ClusterUnreachable, asking, said
from acpbot.runtimes.kubernetes.end_words import fate_of
from acpbot.runtimes.kubernetes.pod_ref import Fate, PodRef
from acpbot.runtimes.kubernetes.pod_spec import unknown_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.aio import TaskSet
    from acpbot.runtimes.kubernetes.api import Cluster

log = get_logger(__name__)

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_GRACE_SECONDS: Final = 1  # 0 removes the object at once, and nobody says any more whether its processes have ended
_CHUNK: Final = 500
_CREATE_SECONDS: Final = 60.0
_ROOM: Final = Backoff(first=2.0, most=10.0)
_RETRIES: Final = Backoff(first=0.5, most=5.0)
_END_SECONDS: Final = 90.0
_CONFIRMED_MOST: Final = 1_000


class Pods:
    """An `acpbot.runtimes.kubernetes.process.Pods`. ``tasks`` hold what goes on after a process was closed."""

    def __init__(self, cluster: Cluster, daemon_id: str, tasks: TaskSet, *, pace: float = 1.0) -> None:
        self.unconfirmed: dict[str, PodRef] = {}
        """The pods that were deleted and of which no kubelet has said that they have ended, by uid."""
        self._cluster = cluster
        self._daemon_id = daemon_id
        self._tasks = tasks
        self._pace = pace
        self._leaving: set[str] = set()
        self._confirmed: dict[str, None] = {}  # uids of pods whose kubelet has said that they have ended, the latest

    async def create(self, manifest: dict[str, Any], progress: Callable[[str], None]) -> Pod:
        """Make a pod; where a quota allows no more now, wait for room. Raises AgentStartError, ClusterUnreachable."""
        pod: Any = Pod.from_dict(manifest)
        unknown = next(unknown_fields(manifest, pod.to_dict()), None)
        if unknown is not None:
            raise AgentStartError(
                f"cannot start the agent: a pod has no field {unknown}; correct pod_template",
            )
        made: Pod = await self.wait_for_room(lambda: self._create(pod), progress)
        return made

    async def wait_for_room(self, make: Callable[[], Awaitable[Any]], progress: Callable[[str], None]) -> Any:
        """Await ``make()`` until the quota allows it; return its result. Raises AgentStartError, ClusterUnreachable."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        failures = 0
        while True:
            try:
                return await make()
            except ApiError as error:
                problem = start_words.of_refusal(error.status.code or 0, said(error))
                failures += 1
                if loop.time() - began >= problem.seconds * self._pace:
                    raise problem.error() from error
                progress(problem.progress)
                if failures == 1:
                    log.info("pod_waits", reason=problem.reason, namespace=self._cluster.namespace)
                pauses = _ROOM
            except ClusterUnreachable:
                failures += 1
                if loop.time() - began >= _CREATE_SECONDS * self._pace:
                    raise
                progress("Waiting for the cluster")
                pauses = _RETRIES
            await asyncio.sleep(pauses.seconds(failures) * self._pace)

    async def _create(self, pod: Pod) -> Pod:
        try:
            with asking():
                return await self._cluster.client.create(pod)
        except ApiError as error:
            meta = pod.metadata
            if error.status.code != _CONFLICT or meta is None:
                raise
            found = await self.find(str(meta.name))
            has = {} if found is None else found["metadata"].get("labels") or {}
            if found is not None and (meta.labels or {}).items() <= has.items():  # the cluster may add some
                made: Any = Pod.from_dict(found)
                return cast("Pod", made)  # it was made, and the answer was lost
            raise AgentStartError(
                f"cannot start the agent: there is a pod {meta.name} already; find out who made it, and delete it"
            ) from error

    async def find(self, name: str) -> dict[str, Any] | None:
        """Return a pod's object, ``None`` where there is none. Raises `ClusterUnreachable`."""
        try:
            with asking():
                found = await self._cluster.client.get(Pod, name)
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise ClusterUnreachable(f"the cluster does not report the state of its pod: {said(error)}") from error
        return found.to_dict()

    async def all(self) -> list[dict[str, Any]]:
        """Return all pods of this daemon. Raises `ClusterUnreachable`."""
        own: dict[str, Any] = {labels.DAEMON: self._daemon_id}
        try:
            with asking():
                found = self._cluster.client.list(Pod, labels=own, chunk_size=_CHUNK)
                return [pod.to_dict() async for pod in found]
        except ApiError as error:
            raise ClusterUnreachable(f"the cluster does not list its pods: {said(error)}") from error

    async def fate(self, pod: PodRef) -> Fate:
        """Return what the cluster says of a pod now, or has said of its end. Raises `ClusterUnreachable`."""
        if pod.uid in self._confirmed:
            return Fate(alive=False, reason=end_words.DELETED)
        found = await self.find(pod.name)
        fate = fate_of(found, pod.uid)
        if fate.alive is not True and fate.reason in end_words.BY_NOBODY:
            by = await self._who_ended(pod.uid)
            fate = Fate(fate.alive, by or fate.reason, fate.exit_code)
        return fate

    async def _who_ended(self, uid: str) -> str | None:
        try:
            with asking():
                async for event in self._cluster.client.list(Event, fields={"involvedObject.uid": uid}):
                    by = end_words.of_event(str(event.reason or ""), str(event.message or ""))
                    if by is not None:
                        return by
        except (ApiError, ClusterUnreachable) as error:
            log.debug("events_not_listed", reason=str(error))
        return None

    def is_leaving(self, uid: str) -> bool:
        """Whether a pod is being removed, or has ended and its object is yet to go."""
        return uid in self._leaving or uid in self._confirmed

    def gone(self, pod: PodRef) -> None:
        """Delete a pod, and watch until its kubelet has said that it has ended; in the background."""
        if not self.is_leaving(pod.uid):
            self._leaving.add(pod.uid)
            self._tasks.start(self._until_gone(pod), name=f"delete {pod.name}")

    async def _until_gone(self, pod: PodRef) -> None:
        try:
            if await self.delete(pod):
                return
            self.unconfirmed[pod.uid] = pod
            log.warning("pod_end_unconfirmed", pod=pod.name, namespace=pod.namespace, node=pod.node)
            while await self._is_there(pod):  # its node may come back
                if await self.delete(pod):
                    log.info("pod_end_confirmed", pod=pod.name, namespace=pod.namespace, node=pod.node)
                    return
        finally:
            self._leaving.discard(pod.uid)

    async def _is_there(self, pod: PodRef) -> bool:
        """Whether the cluster still has the object, as far as is known."""
        try:
            found = await self.find(pod.name)
        except ClusterUnreachable:
            return True
        return found is not None and found["metadata"].get("uid") == pod.uid

    async def discard(self, name: str) -> None:
        """Delete the pod of a start that has failed, where it was made."""
        try:
            found = await self.find(name)
        except ClusterUnreachable as error:  # a later look finds it by its labels
            log.warning("pod_not_deleted", pod=name, reason=str(error))
            return
        meta = {} if found is None else found["metadata"]
        if (meta.get("labels") or {}).get(labels.DAEMON) == self._daemon_id:
            self.gone(PodRef(name, meta["uid"], meta["namespace"], ((found or {}).get("spec") or {}).get("nodeName")))

    async def delete(self, pod: PodRef, *, seconds: float = _END_SECONDS) -> bool | None:
        """Delete a pod and watch it until it has ended. Return whether it has; ``None`` where nobody can tell."""
        ended: bool | None = None
        try:
            async with asyncio.timeout(seconds * self._pace):
                failures = 0
                while True:
                    try:
                        ended = await self._delete_and_watch(pod)
                        break
                    except ClusterUnreachable as error:
                        failures += 1
                        log.warning("pod_not_deleted", pod=pod.name, reason=str(error), failures=failures)
                    await _RETRIES.pause(failures)
        except TimeoutError:
            log.debug("pod_does_not_end", pod=pod.name, node=pod.node)
        if ended:
            self.unconfirmed.pop(pod.uid, None)
            self._confirmed[pod.uid] = None
            if len(self._confirmed) > _CONFIRMED_MOST:
                del self._confirmed[next(iter(self._confirmed))]
        return ended

    async def _delete_and_watch(self, pod: PodRef) -> bool | None:
        found = await self.find(pod.name)
        while found is not None and found["metadata"].get("uid") == pod.uid:
            if not found["metadata"].get("deletionTimestamp"):
                await self._delete(pod.name)
            last, is_there = found, True

            def take(kind: str, one: dict[str, Any]) -> bool:
                nonlocal last, is_there
                last, is_there = one, kind != "DELETED"
                return not is_there or fate_of(one, pod.uid).alive is False

            if fate_of(found, pod.uid).alive is not False:
                try:
                    fields = {"metadata.name": pod.name}
                    await self._cluster.watch(Pod, fields, found["metadata"].get("resourceVersion"), take)
                except ApiError as error:
                    raise ClusterUnreachable(
                        f"the cluster does not report the state of its pod: {said(error)}"
                    ) from error
            # Before an object goes, its kubelet reports the end; of a pod without a node nothing has ever run.
            if fate_of(last, pod.uid).alive is False or not (last.get("spec") or {}).get("nodeName"):
                return True
            found = await self.find(pod.name) if is_there else None
        return True if pod.node is None and found is None else None

    async def _delete(self, name: str) -> None:
        try:
            with asking():
                await self._cluster.client.delete(Pod, name, grace_period=_GRACE_SECONDS)
        except ApiError as error:
            if error.status.code != _NOT_FOUND:
                raise ClusterUnreachable(f"the cluster does not delete its pod: {said(error)}") from error
