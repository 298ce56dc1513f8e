"""The verbs: what a create, an update, a patch and a delete do to the store."""

from __future__ import annotations

import copy
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes import admission, defaults, errors, patches, validation
from tests.fakes.kubernetes.clock import stamp
from tests.fakes.kubernetes.resources import CLAIMS, NAMESPACES, PODS, QUOTAS, REVIEWS

if TYPE_CHECKING:
    from tests.fakes.kubernetes.admission import User
    from tests.fakes.kubernetes.resources import Kind, Target
    from tests.fakes.kubernetes.store import Object, Store

RETURNED: Final = (PODS, CLAIMS, QUOTAS)  # a delete answers with the object; for all others with a Status


def create(store: Store, target: Target, body: Object, user: User, *, dry_run: bool) -> Object:
    """The new object, as it is stored."""
    kind = target.kind
    one = _checked_kind(kind, body)
    if kind is REVIEWS:
        return _review(one, user)
    meta = one["metadata"]
    if kind.namespaced and meta.get("namespace", target.namespace) != target.namespace:
        raise errors.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    for field in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "managedFields"):
        given = meta.pop(field, None)
        if given and field == "resourceVersion":
            raise errors.bad_request("resourceVersion should not be set on objects to be created")
    one.pop("status", None) if kind in {PODS, CLAIMS, NAMESPACES} else None
    validation.schema(kind, one)
    validation.rules(kind, one)
    defaults.fill(kind, one)
    admission.admit(store, kind, target.namespace, one)
    if not dry_run:
        return store.create(kind, target.namespace if kind.namespaced else "", one)
    if meta.get("name") and store.find(kind, target.namespace if kind.namespaced else "", meta["name"]):
        raise errors.already_exists(kind, meta["name"])
    meta.setdefault("name", f"{meta.get('generateName', '')}xxxxx")
    if kind.namespaced:
        meta["namespace"] = target.namespace
    meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(store.clock.now())}
    return one


def update(store: Store, target: Target, body: Object, *, dry_run: bool) -> Object:
    """PUT: the object as it is now. ApiError 409 where the version in the body is not the newest."""
    kind = target.kind
    old = store.get(kind, target.namespace, target.name)
    new = _checked_kind(kind, body)
    meta = new["metadata"]
    if meta.get("name") != target.name:
        raise errors.bad_request(
            f"the name of the object ({meta.get('name')}) does not match the name on the URL ({target.name})"
        )
    if meta.get("resourceVersion") not in {None, "", old["metadata"]["resourceVersion"]}:
        raise errors.conflict(kind, target.name)
    if target.subresource == "status":
        new = copy.deepcopy(old) | {"status": new.get("status", {})}
    elif "status" in old:
        new["status"] = old["status"]
    for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace"):
        if field in old["metadata"]:
            new["metadata"].setdefault(field, old["metadata"][field])
    validation.schema(kind, new)
    validation.rules(kind, new)
    validation.change(kind, old, new)
    return new if dry_run else store.update(kind, new)


def patch(store: Store, target: Target, body: Any, content_type: str, user: User, *, dry_run: bool) -> Object:
    """PATCH of any type; an apply creates what is not there."""
    kind = target.kind
    old = store.find(kind, target.namespace, target.name)
    if old is None and content_type == patches.APPLY:
        return create(store, target, body, user, dry_run=dry_run)
    if old is None:
        raise errors.not_found(kind, target.name)
    new = patches.apply(old, body, content_type)
    if new == old:
        return old
    return update(store, target, new, dry_run=dry_run)


def delete(store: Store, target: Target, options: dict[str, Any], *, dry_run: bool) -> Object:
    """The object as it is marked, or was; a Status for most kinds."""
    kind = target.kind
    one = store.get(kind, target.namespace, target.name)
    meta = one["metadata"]
    _check_preconditions(kind, one, options.get("preconditions") or {})
    if not dry_run:
        one = _mark(store, kind, one, options.get("gracePeriodSeconds"))
    if kind in RETURNED:
        return one
    details = {"name": target.name, "kind": kind.plural, "uid": meta["uid"]}
    if kind.group:
        details["group"] = kind.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _mark(store: Store, kind: Kind, one: Object, grace: int | None) -> Object:
    """Marks what something else must let go first, and removes everything else."""
    meta, spec = one["metadata"], one.get("spec") or {}
    seconds = 0
    if kind is PODS:
        seconds = spec.get("terminationGracePeriodSeconds", 30) if grace is None else max(0, grace)
        if not spec.get("nodeName") or one.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            seconds = 0
    if kind is NAMESPACES:
        return _terminate_namespace(store, one)
    if seconds == 0 and not meta.get("finalizers"):
        return store.remove(kind, one)
    if "deletionTimestamp" in meta and (kind is not PODS or seconds >= meta["deletionGracePeriodSeconds"]):
        return one

    def write(made: Object) -> None:
        moment = store.clock.now() + timedelta(seconds=seconds)
        made["metadata"] |= {"deletionTimestamp": stamp(moment), "deletionGracePeriodSeconds": seconds}

    return store.edit(kind, meta.get("namespace", ""), meta["name"], write) or one


def _terminate_namespace(store: Store, one: Object) -> Object:
    def write(made: Object) -> None:
        made["metadata"]["deletionTimestamp"] = stamp(store.clock.now())
        made["metadata"].setdefault("finalizers", []).append("kubernetes")
        made["status"] = {"phase": "Terminating"}

    return store.edit(NAMESPACES, "", one["metadata"]["name"], write) or one


def _check_preconditions(kind: Kind, one: Object, wanted: dict[str, str]) -> None:
    meta = one["metadata"]
    for field, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        asked = wanted.get(field)
        if asked is not None and asked != meta[field]:
            why = f"the {title} in the precondition ({asked}) does not match the {title} in record ({meta[field]}). "
            why += "The object might have been deleted and then recreated"
            raise errors.conflict(kind, meta["name"], why)


def _checked_kind(kind: Kind, body: Any) -> Object:
    if not isinstance(body, dict):
        raise errors.bad_request("the body of the request is no object")
    one = copy.deepcopy(body)
    one.setdefault("metadata", {})
    given = (one.setdefault("apiVersion", kind.api_version), one.setdefault("kind", kind.kind))
    if given != (kind.api_version, kind.kind):
        raise errors.bad_request(
            f'{given[1]} in version "{given[0]}" cannot be handled as a {kind.kind}: no kind "{given[1]}" is '
            f'registered for version "{given[0]}"'
        )
    return one


def _review(one: Object, user: User) -> Object:
    """SelfSubjectAccessReview: whether this user may."""
    asked = (one.get("spec") or {}).get("resourceAttributes") or {}
    plural = asked.get("resource", "*")
    resource = f"{plural}/{asked['subresource']}" if asked.get("subresource") else plural
    return one | {"status": {"allowed": user.may(asked.get("verb", "*"), resource, asked.get("namespace", ""))}}
