"""Who may do what, and what a namespace allows: rights, quotas, pod security."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.quantities import quantity, written
from tests.fakes.kubernetes.resources import ACCOUNTS, CLAIMS, NAMESPACES, PODS, QUOTAS, Kind

if TYPE_CHECKING:
    from decimal import Decimal

    from tests.fakes.kubernetes.resources import Target
    from tests.fakes.kubernetes.store import Object, Store


@dataclass(frozen=True)
class Rule:
    """Allows `verbs` on `resources` (`pods`, `pods/exec`, `deployments`); without a namespace in all of them."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    namespace: str = ""

    def allows(self, verb: str, resource: str, namespace: str) -> bool:
        return (
            bool({"*", verb} & set(self.verbs))
            and bool({"*", resource} & set(self.resources))
            and self.namespace in {"", namespace}
        )


@dataclass
class User:
    """Who a token stands for. `rules` is ``None`` for an administrator."""

    name: str
    rules: list[Rule] | None = None
    expired: bool = False

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        return self.rules is None or any(rule.allows(verb, resource, namespace) for rule in self.rules)


def authorize(user: User, verb: str, target: Target) -> None:
    """ApiError 403 in the words of the RBAC authorizer."""
    kind, part = target.kind, target.subresource
    resource = f"{kind.plural}/{part}" if part else kind.plural
    if not user.may(verb, resource, target.namespace):
        raise errors.no_right(user.name, verb, kind, subresource=part, namespace=target.namespace, name=target.name)


def admit(store: Store, kind: Kind, namespace: str, one: Object) -> None:
    """ApiError 403 or 404 for a new object that its namespace does not allow."""
    if not kind.namespaced:
        return
    name = one["metadata"].get("name") or one["metadata"].get("generateName", "")
    place = store.get(NAMESPACES, "", namespace)
    if "deletionTimestamp" in place["metadata"]:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise errors.forbidden(kind, name, why)
    if kind is PODS:
        account = one["spec"]["serviceAccountName"]
        if store.find(ACCOUNTS, namespace, account) is None:
            why = f'error looking up service account {namespace}/{account}: serviceaccount "{account}" not found'
            raise errors.forbidden(kind, name, why)
        level = (place["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
        if level == "restricted" and (found := violations(one["spec"])):
            raise errors.forbidden(kind, name, f'violates PodSecurity "restricted:latest": {", ".join(found)}')
    _within_quotas(store, kind, namespace, one, name)


def violations(spec: dict[str, Any]) -> list[str]:
    """What the restricted pod security standard does not allow, in the words of its admission plugin."""
    pod = spec.get("securityContext") or {}
    found: list[str] = []
    for container in spec["containers"]:
        own = container.get("securityContext") or {}
        who = f'container "{container["name"]}" must set'
        either = f'pod or container "{container["name"]}" must set'
        profile = own.get("seccompProfile") or pod.get("seccompProfile") or {}
        if own.get("allowPrivilegeEscalation") is not False:
            who_sets = f"{who} securityContext.allowPrivilegeEscalation=false"
            found.append(f"allowPrivilegeEscalation != false ({who_sets})")
        if "ALL" not in ((own.get("capabilities") or {}).get("drop") or []):
            found.append(f'unrestricted capabilities ({who} securityContext.capabilities.drop=["ALL"])')
        if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
            found.append(f"runAsNonRoot != true ({either} securityContext.runAsNonRoot=true)")
        if profile.get("type") not in {"RuntimeDefault", "Localhost"}:
            text = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
            found.append(f"seccompProfile ({either} {text})")
        if own.get("privileged"):
            found.append(f'privileged (container "{container["name"]}" must not set securityContext.privileged=true)')
    paths = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    found += [f'restricted volume types (volume "{name}" uses restricted volume type "hostPath")' for name in paths]
    return found


def usage(kind: Kind, one: Object) -> Counter[str]:
    """What an object takes from a quota, by the quota's names of resources."""
    used: Counter[str] = Counter({f"count/{kind.resource}": 1})  # type: ignore[dict-item]
    if kind is PODS:
        if one.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            return Counter()
        used["pods"] += 1
        for container in one["spec"]["containers"]:
            for which, prefix in (("requests", "requests."), ("limits", "limits.")):
                for resource, amount in ((container.get("resources") or {}).get(which) or {}).items():
                    used[f"{prefix}{resource}"] += quantity(amount)  # type: ignore[assignment]
                    if which == "requests":
                        used[resource] += quantity(amount)  # type: ignore[assignment]
    elif kind is CLAIMS:
        used["persistentvolumeclaims"] += 1
        used["requests.storage"] += quantity(one["spec"]["resources"]["requests"]["storage"])  # type: ignore[assignment]
    else:
        used[kind.plural] += 1
    return used


def used_in(store: Store, namespace: str) -> dict[str, Decimal]:
    """What the namespace uses now."""
    total: Counter[str] = Counter()
    for kind in (PODS, CLAIMS):
        for one in store.list(kind, namespace):
            total.update(usage(kind, one))
    return total  # type: ignore[return-value]


def _within_quotas(store: Store, kind: Kind, namespace: str, one: Object, name: str) -> None:
    quotas = store.list(QUOTAS, namespace)
    if not quotas or kind not in {PODS, CLAIMS}:
        return
    used, wanted = used_in(store, namespace), usage(kind, one)
    for quota in quotas:
        hard = {resource: quantity(limit) for resource, limit in (quota["spec"].get("hard") or {}).items()}
        title = quota["metadata"]["name"]
        compute = ("requests.", "limits.", "cpu", "memory")
        unset = [which for which in hard if kind is PODS and which.startswith(compute) and which not in wanted]
        unset = [which for which in unset if which != "requests.storage"]
        if unset:
            listed = "; ".join(f"{which} for: {one['spec']['containers'][0]['name']}" for which in sorted(unset))
            raise errors.forbidden(kind, name, f"failed quota: {title}: must specify {listed}")
        over = sorted(which for which in hard if wanted[which] and used.get(which, 0) + wanted[which] > hard[which])
        if over:
            asked = ",".join(f"{which}={written(quantity(str(wanted[which])))}" for which in over)
            taken = ",".join(f"{which}={written(quantity(str(used.get(which, 0))))}" for which in over)
            limit = ",".join(f"{which}={quota['spec']['hard'][which]}" for which in over)
            why = f"exceeded quota: {title}, requested: {asked}, used: {taken}, limited: {limit}"
            raise errors.forbidden(kind, name, why)
