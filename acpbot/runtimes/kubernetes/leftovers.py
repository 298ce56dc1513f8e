"""Pods of this daemon that belong to no session, and its claims that belong to no thread: found by their labels.

Pods are ended, claims only reported. What has another daemon's label is never touched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from lightkube import ApiError

from acpbot.logs import get_logger
from acpbot.runtimes import labels
from acpbot.runtimes.kubernetes.api import ClusterUnreachable
from acpbot.runtimes.kubernetes.end_words import fate_of
from acpbot.runtimes.kubernetes.pod_ref import PodRef
from acpbot.runtimes.runtime import Leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from acpbot.runtimes.kubernetes.claims import Claims
    from acpbot.runtimes.kubernetes.pods import Pods
    from acpbot.runtimes.runtime import StoredPlace

log = get_logger(__name__)

KIND: Final = "kubernetes"
_WAIT_SECONDS: Final = 10.0  # a kubelet reports an end within 5
_AT_ONCE: Final = 20


class Reported:
    """What was reported already: it may stay there for days."""

    def __init__(self) -> None:
        self.pods: set[str] = set()
        self.claims: set[str] = set()


async def end_pods(pods: Pods, spared: Callable[[], Collection[str]], reported: Reported) -> list[Leftover]:
    """End the pods of this daemon that are neither ``spared``, by their names, nor on their way out.

    Return what was found. ``spared`` is called once the list is there: sessions start meanwhile. Raises
    `ClusterUnreachable`.
    """
    listed = await pods.all()
    kept = spared()
    metas = [(one["metadata"], one) for one in listed]
    found = [one for meta, one in metas if meta["name"] not in kept and not pods.is_leaving(meta["uid"])]
    reported.pods &= {one["metadata"]["uid"] for one in listed}
    limit = asyncio.Semaphore(_AT_ONCE)

    async def end(one: dict[str, Any]) -> Leftover | None:
        meta = one["metadata"]
        ref = PodRef(meta["name"], meta["uid"], meta["namespace"], (one.get("spec") or {}).get("nodeName"))
        was_reported = ref.uid in reported.pods
        if was_reported and meta.get("deletionTimestamp"):
            # Nothing is forced: where its node is lost, nobody can tell whether it runs.
            if fate_of(one, ref.uid).alive is not False or ref.uid not in pods.unconfirmed:
                return None
            del pods.unconfirmed[ref.uid]
        async with limit:
            ended = await pods.delete(ref, seconds=_WAIT_SECONDS)
        if ended is None:
            pods.unconfirmed[ref.uid] = ref
            pods.gone(ref)
        reported.pods.add(ref.uid)
        session = (meta.get("labels") or {}).get(labels.SESSION)
        log.warning("pod_leftover", pod=ref.name, namespace=ref.namespace, node=ref.node, ended=ended)
        return Leftover(KIND, ref.place, _image(one), session, ended=ended)

    results = await asyncio.gather(*(end(one) for one in found))
    return [left for left in results if left is not None]


async def report_claims(claims: Claims, threads: Collection[str], namespace: str, reported: Reported) -> None:
    """Log each claim of this daemon whose thread is unknown, once: it may hold what somebody still wants."""
    try:
        found = set(await claims.without_thread(set(threads)))
    except (ApiError, ClusterUnreachable) as error:
        log.warning("claims_not_listed", namespace=namespace, reason=str(error))
        return
    for name in sorted(found - reported.claims):
        log.warning("claim_without_thread", claim=name, namespace=namespace, kept=True)
    reported.claims = found


def unknown(stored: Sequence[StoredPlace], context: str | None, namespace: str) -> list[Leftover]:
    """Return the stored pods of a namespace that can't be asked: nobody can tell whether they run."""
    return [
        Leftover(KIND, f"pod/{place.ref.get('name')}", "", place.session_id, ended=None)
        for place in stored
        if (place.ref.get("context"), place.ref.get("namespace")) == (context, namespace)
    ]


def _image(pod: dict[str, Any]) -> str:
    containers = (pod.get("spec") or {}).get("containers") or [{}]
    return str(containers[0].get("image") or "")
