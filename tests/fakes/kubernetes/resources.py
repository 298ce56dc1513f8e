"""The kinds of object that the server keeps, and how a request names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

EVERYTHING: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
LOOKING: Final = ("get", "list", "watch")


@dataclass(frozen=True)
class Kind:
    """One resource of the API."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    verbs: tuple[str, ...] = EVERYTHING
    short: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @property
    def resource(self) -> str:
        """As errors name it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """As validation errors name it: `Pod`, `Deployment.apps`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    def describe(self) -> list[dict[str, Any]]:
        """The entries of the `APIResourceList`: the resource and its subresources."""
        first: dict[str, Any] = {"name": self.plural, "singularName": self.singular, "namespaced": self.namespaced}
        first |= {"kind": self.kind, "verbs": list(self.verbs)}
        if self.short:
            first["shortNames"] = list(self.short)
        more = [
            {"name": f"{self.plural}/{name}", "singularName": "", "namespaced": self.namespaced, "kind": kind}
            | {"verbs": list(verbs)}
            for name, kind, verbs in self.subresources
        ]
        return [first, *more]


STATUS: Final = ("get", "patch", "update")
POD_FIELDS: Final = (
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)
EVENT_FIELDS: Final = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
)

PODS: Final = Kind(
    "pods",
    "Pod",
    short=("po",),
    fields=POD_FIELDS,
    subresources=(
        ("attach", "PodAttachOptions", ("create", "get")),
        ("eviction", "Eviction", ("create",)),
        ("exec", "PodExecOptions", ("create", "get")),
        ("log", "Pod", ("get",)),
        ("status", "Pod", STATUS),
    ),
)
CLAIMS: Final = Kind(
    "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",), subresources=(("status", "", STATUS),)
)
EVENTS: Final = Kind("events", "Event", short=("ev",), fields=EVENT_FIELDS)
NAMESPACES: Final = Kind("namespaces", "Namespace", namespaced=False, short=("ns",), fields=("status.phase",))
NODES: Final = Kind("nodes", "Node", namespaced=False, short=("no",), fields=("spec.unschedulable",))
QUOTAS: Final = Kind("resourcequotas", "ResourceQuota", short=("quota",), subresources=(("status", "", STATUS),))
SECRETS: Final = Kind("secrets", "Secret", fields=("type",))
CONFIG_MAPS: Final = Kind("configmaps", "ConfigMap", short=("cm",))
ACCOUNTS: Final = Kind("serviceaccounts", "ServiceAccount", short=("sa",))
POLICIES: Final = Kind("networkpolicies", "NetworkPolicy", "networking.k8s.io", short=("netpol",))
DEPLOYMENTS: Final = Kind("deployments", "Deployment", "apps", verbs=LOOKING, short=("deploy",))
LEASES: Final = Kind("leases", "Lease", "coordination.k8s.io")
REVIEWS: Final = Kind(
    "selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io", namespaced=False, verbs=("create",)
)

KINDS: Final = (
    NAMESPACES,
    NODES,
    PODS,
    CLAIMS,
    EVENTS,
    QUOTAS,
    SECRETS,
    CONFIG_MAPS,
    ACCOUNTS,
    POLICIES,
    DEPLOYMENTS,
    LEASES,
    REVIEWS,
)


@dataclass(frozen=True)
class Target:
    """What the path of a request names; `name` and `subresource` are empty for a collection."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def find(group: str, version: str, plural: str) -> Kind | None:
    """The kind, or ``None`` where the server has no such resource."""
    return next((one for one in KINDS if (one.group, one.version, one.plural) == (group, version, plural)), None)


def parse(path: str) -> Target | None:
    """The target of a path (kubernetes.io/docs/reference/using-api/api-concepts); ``None`` where it names none."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    kind = find(group, version, rest[0])
    if kind is None or (namespace and not kind.namespaced):
        return None
    name, subresource = ([*rest[1:], "", ""])[:2]
    return Target(kind, namespace, name, subresource)
