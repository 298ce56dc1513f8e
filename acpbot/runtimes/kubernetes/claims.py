"""The claim of a thread: the volume that holds its HOME and its workspace, whichever pod uses it, on whichever node.

A claim is never deleted but with its thread. Source: kubernetes.io/docs/concepts/storage/persistent-volumes.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from lightkube import ApiError
from lightkube.resources.core_v1 import Event, PersistentVolumeClaim

from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes import labels
from acpbot.runtimes.kubernetes.api import asking, said
from acpbot.text import one_line, operator_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.config.runtime_settings import KubernetesSettings
    from acpbot.runtimes.kubernetes.api import Cluster

log = get_logger(__name__)

DAEMON_CHARS: Final = 8
_LEAVING_SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 2.0
_WORDS_LENGTH: Final = 200
_MODE: Final = re.compile(r"access ?mode|SINGLE_NODE|ReadWriteOncePod", re.IGNORECASE)
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_INVALID: Final = 422
# One pod alone where the cluster knows it (1.29, in beta since 1.27), else one node.
MODES: Final = ("ReadWriteOncePod", "ReadWriteOnce")


def claim_name(daemon_id: str, thread_id: str) -> str:
    """Return the name of a thread's claim."""
    return f"acpbot-{daemon_id[:DAEMON_CHARS]}-{labels.thread_label(thread_id)}"


def claim_manifest(place: KubernetesSettings, daemon_id: str, thread_id: str, mode: str) -> dict[str, Any]:
    """Return a thread's claim, as it is sent to the cluster."""
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": place.home_size}}}
    if place.storage_class is not None:
        spec["storageClassName"] = place.storage_class
    own = {"app.kubernetes.io/managed-by": "acpbot", labels.DAEMON: daemon_id}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(daemon_id, thread_id),
            "labels": own | {labels.THREAD: labels.thread_label(thread_id)},
        },
        "spec": spec,
    }


async def storage_words(cluster: Cluster, claim: str) -> str | None:
    """Return why no volume is made for a claim, in the words of its storage; ``None`` where these are not known."""
    found: str | None = None
    fields = {"involvedObject.kind": "PersistentVolumeClaim", "involvedObject.name": claim}
    try:
        with asking():
            async for event in cluster.client.list(Event, fields=dict(fields)):
                if event.reason in {"ProvisioningFailed", "FailedBinding"}:
                    found = one_line(str(event.message or ""), _WORDS_LENGTH)
    except (OSError, ApiError) as error:
        log.debug("events_not_listed", claim=claim, reason=str(error))
    return found


class Claims:
    """The claims of one daemon in one namespace."""

    def __init__(self, cluster: Cluster, daemon_id: str) -> None:
        self._cluster = cluster
        self._daemon_id = daemon_id

    async def ensure(
        self, place: KubernetesSettings, thread_id: str, progress: Callable[[str], None], *, pace: float = 1.0
    ) -> str:
        """Return the name of the thread's claim, made where there is none; wait where an earlier one is being deleted.

        Raises `AgentStartError`, `ClusterUnreachable`, and `ApiError` where a quota allows no more now.
        """
        name = claim_name(self._daemon_id, thread_id)
        deadline = asyncio.get_running_loop().time() + _LEAVING_SECONDS * pace
        while (found := await self._find(name)) is not None:
            meta = found.metadata
            if meta is None or meta.deletionTimestamp is None:
                break
            if asyncio.get_running_loop().time() < deadline:
                progress("Waiting until the thread's old storage is gone")
                await asyncio.sleep(_LOOK_SECONDS * pace)
                continue
            raise AgentStartError(
                operator_line(
                    f"cannot start the agent: its volume, pvc/{name}, is being deleted; wait until it is gone, "
                    "and see with `kubectl describe pvc` what uses it"
                ),
                for_people="This thread's storage is being deleted. Please try again in a minute.",
            )
        if found is None:
            return await self._make(place, thread_id, MODES)
        if ((meta.labels if meta is not None else None) or {}).get(labels.DAEMON) != self._daemon_id:
            raise AgentStartError(
                operator_line(f"cannot start the agent: pvc/{name} belongs to another daemon; find out who made it")
            )
        if await self._has_wrong_mode(found.to_dict()):
            log.info("claim_mode_unknown", claim=name, reason="its storage can't make such a volume")
            with asking():
                await self._cluster.client.delete(PersistentVolumeClaim, name)
            return await self._make(place, thread_id, MODES[1:])
        return name

    async def _has_wrong_mode(self, claim: dict[str, Any]) -> bool:
        """Whether no volume was ever made for a claim because its storage does not know the mode: it is empty."""
        spec, status = claim.get("spec") or {}, claim.get("status") or {}
        if status.get("phase") != "Pending" or spec.get("volumeName") or spec.get("accessModes") != [MODES[0]]:
            return False
        words = await storage_words(self._cluster, claim["metadata"]["name"])
        return words is not None and _MODE.search(words) is not None

    async def remove(self, thread_id: str) -> None:
        """Delete a forgotten thread's claim: the cluster frees it once no pod uses it. What fails is logged."""
        name = claim_name(self._daemon_id, thread_id)
        try:
            found = await self._find(name)
            own = found is not None and found.metadata is not None and found.metadata.labels
            if not own or own.get(labels.DAEMON) != self._daemon_id:
                return
            with asking():
                await self._cluster.client.delete(PersistentVolumeClaim, name)
        except (OSError, ApiError) as error:
            log.warning("claim_not_removed", claim=name, namespace=self._cluster.namespace, reason=str(error))
        else:
            log.info("claim_removed", claim=name, namespace=self._cluster.namespace)

    async def without_thread(self, threads: set[str]) -> list[str]:
        """Return the names of this daemon's claims of no thread that it knows. ``threads``: their ids.

        Raises `ClusterUnreachable`, `ApiError`.
        """
        known = {labels.thread_label(thread) for thread in threads}
        found = []
        with asking():
            async for claim in self._cluster.client.list(
                PersistentVolumeClaim, labels={labels.DAEMON: self._daemon_id}
            ):
                meta = claim.metadata
                if meta is not None and (meta.labels or {}).get(labels.THREAD) not in known:
                    found.append(str(meta.name))
        return found

    async def _find(self, name: str) -> PersistentVolumeClaim | None:
        try:
            with asking():
                return await self._cluster.client.get(PersistentVolumeClaim, name)
        except ApiError as error:
            if error.status.code == _NOT_FOUND:
                return None
            raise

    async def _make(self, place: KubernetesSettings, thread_id: str, modes: Sequence[str]) -> str:
        name = claim_name(self._daemon_id, thread_id)
        for mode in modes:
            made: Any = PersistentVolumeClaim.from_dict(claim_manifest(place, self._daemon_id, thread_id, mode))
            try:
                with asking():
                    await self._cluster.client.create(made)
            except ApiError as error:
                if error.status.code == _CONFLICT:  # made a moment ago: an answer was lost
                    return name
                if error.status.code != _INVALID or mode == MODES[-1]:
                    raise
                log.info("claim_mode_unknown", claim=name, mode=mode, reason=said(error))
            else:
                log.info("claim_made", claim=name, namespace=self._cluster.namespace, mode=mode, size=place.home_size)
                return name
        raise AssertionError  # the last mode has returned or raised
