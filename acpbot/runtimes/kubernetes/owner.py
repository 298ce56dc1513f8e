"""What acpbot's own pod belongs to, so that the pods of agents go with it where all of acpbot is removed.

An owner is in the namespace of what it owns. Source: kubernetes.io/docs/concepts/overview/working-with-objects
/owners-dependents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightkube import ApiError
from lightkube.resources.apps_v1 import ReplicaSet
from lightkube.resources.core_v1 import Pod

from acpbot.logs import get_logger
from acpbot.runtimes.kubernetes.api import asking, said
from acpbot.runtimes.kubernetes.pod_spec import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightkube.models.meta_v1 import ObjectMeta

    from acpbot.runtimes.kubernetes.api import Cluster

log = get_logger(__name__)


async def find_owner(cluster: Cluster, environ: Mapping[str, str]) -> Owner | None:
    """Return the Deployment that acpbot's own pod belongs to, else what owns the pod itself, else ``None``.

    ``None`` too where the agents' pods are in another namespace. Raises `ClusterUnreachable`.
    """
    name = environ.get("HOSTNAME")
    if not name or cluster.own_namespace != cluster.namespace:
        return None
    try:
        with asking():
            own = _controller((await cluster.client.get(Pod, name)).metadata)
            if own is None or own.kind != "ReplicaSet":
                return own
    except ApiError as error:
        log.info("owner_unknown", pod=name, reason=said(error))
        return None
    try:
        with asking():
            return _controller((await cluster.client.get(ReplicaSet, own.name)).metadata) or own
    except ApiError as error:  # its Role need not allow that: a ReplicaSet stays as long as its Deployment
        log.debug("owner_unknown", replica_set=own.name, reason=said(error))
        return own


def _controller(meta: ObjectMeta | None) -> Owner | None:
    for one in (meta.ownerReferences if meta is not None else None) or ():
        if one.controller:
            return Owner(one.apiVersion, one.kind, one.name, one.uid)
    return None
