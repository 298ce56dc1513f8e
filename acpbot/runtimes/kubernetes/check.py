"""What an operator must know before an agent is started in a pod: the cluster, its rights there, what it would refuse.

The pod and the claim are sent as a dry run: the cluster checks them as it does real ones, and makes nothing.
Source: kubernetes.io/docs/reference/using-api/api-concepts (Dry-run).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lightkube import ApiError
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from acpbot.errors import AgentStartError
from acpbot.runtimes.kubernetes import start_words
from acpbot.runtimes.kubernetes.api import ClusterUnreachable, asking, said
from acpbot.runtimes.kubernetes.pod_spec import unknown_fields

if TYPE_CHECKING:
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.kubernetes.api import Cluster

_INVALID: Final = 422


async def check(cluster: Cluster, settings: AgentSettings, pod: dict[str, Any], claim: dict[str, Any]) -> list[str]:
    """Return one clause for each thing. Raises AgentStartError where agents can't run, with reason and way out."""
    where = f"{cluster.server}{'' if cluster.context is None else f' (context {cluster.context})'}"
    if (unknown := next(unknown_fields(pod, Pod.from_dict(pod).to_dict()), None)) is not None:
        raise AgentStartError(f"cannot run agents in pods: a pod has no field {unknown}; correct pod_template")
    clauses = [f"in pods of the namespace {cluster.namespace} of {where}"]
    try:
        refused = await _try(cluster, Pod.from_dict(pod))
        refused_claim = await _try(cluster, PersistentVolumeClaim.from_dict(claim))
    except ClusterUnreachable as error:
        raise AgentStartError(
            f"cannot run agents in pods: {error.strerror}; "
            f"check that `kubectl get pods --namespace {cluster.namespace}` works, or correct context"
        ) from error
    if refused is not None:
        clauses.append(_or_raise(refused, "pod"))
    if refused_claim is not None and refused_claim.status.code != _INVALID:  # ReadWriteOncePod is unknown there
        clauses.append(_or_raise(refused_claim, "claim"))
    if settings.memory_max is None and "memory" not in settings.kubernetes.resources.get("limits", {}):
        clauses.append("warning: memory_max is not set: one pod may take all memory of its node")
    if settings.pids_max is not None:
        clauses.append("warning: pids_max can't be held: a pod has no such limit; set podPidsLimit of the kubelet")
    if settings.warm:
        pods = "1 pod holds" if settings.warm == 1 else f"{settings.warm} pods hold"
        clauses.append(f"{pods} room for the next threads, each with what a session's pod requests")
    if settings.process_namespace:
        clauses.append("process_namespace has no effect: a pod has one of its own")
    return clauses


def _or_raise(error: ApiError, what: str) -> str:
    """A warning for what passes by itself. Raises AgentStartError for what does not."""
    problem = start_words.of_refusal(error.status.code or 0, said(error))
    if problem.seconds:
        return f"warning: the {what} would have to wait now: {problem.reason}"
    raise AgentStartError(f"cannot run agents in pods: {problem.reason}; {problem.way_out}") from error


async def _try(cluster: Cluster, one: Any) -> ApiError | None:
    """What the cluster would refuse it with. Raises ClusterUnreachable."""
    try:
        with asking():
            await cluster.client.create(one, dry_run=True)
    except ApiError as error:
        return error
    return None
