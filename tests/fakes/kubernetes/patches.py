"""The kinds of PATCH (RFC 6902, RFC 7386, and the strategic merge of sig-api-machinery/strategic-merge-patch.md)."""

from __future__ import annotations

import copy
from typing import Any, Final

from tests.fakes.kubernetes.errors import ApiError, bad_request

JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
TYPES: Final = (JSON, MERGE, STRATEGIC, APPLY)

# The lists that are merged by a key; all others are replaced.
MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
}


def apply(given: dict[str, Any], patch: Any, kind: str) -> dict[str, Any]:
    """A new object; ApiError 4xx where the patch does not fit."""
    made = copy.deepcopy(given)
    if kind == JSON:
        return _json(made, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is no object")
    return _merge(made, patch) if kind == MERGE else _strategic(made, patch)


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            old = into.get(key)
            into[key] = _merge(old if isinstance(old, dict) else {}, value)
        else:
            into[key] = value
    return into


def _strategic(into: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        old = into.get(key)
        if key.startswith("$"):
            continue
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            kept = old if isinstance(old, dict) and value.get("$patch") != "replace" else {}
            into[key] = _strategic(kept, value)
        elif isinstance(value, list) and key in MERGE_KEYS and isinstance(old, list):
            into[key] = _merge_lists(old, value, MERGE_KEYS[key])
        elif isinstance(value, list) and key == "finalizers" and isinstance(old, list):
            into[key] = [*old, *(one for one in value if one not in old)]
        else:
            into[key] = value
    for key, gone in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            into[name] = [one for one in into.get(name, []) if one not in gone]
    return into


def _merge_lists(old: list[Any], new: list[Any], key: str) -> list[Any]:
    made = list(old)
    for item in new:
        at = next((index for index, one in enumerate(made) if one.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            made = [one for one in made if one.get(key) != item.get(key)]
        elif at is None:
            made.append({name: value for name, value in item.items() if not name.startswith("$")})
        else:
            made[at] = _strategic(made[at], item)
    return made


def _json(document: Any, operations: Any) -> dict[str, Any]:
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    for one in operations:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
        try:
            parent = document
            for part in parts[:-1]:
                parent = parent[int(part)] if isinstance(parent, list) else parent[part]
            _operate(parent, parts[-1], one)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            text = f"the server rejected our request due to an error in our request: {one['op']} {one['path']}"
            raise ApiError(422, "Invalid", text, {}) from error
    return document


def _operate(parent: Any, last: str, one: dict[str, Any]) -> None:
    index: Any = last
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last)
    match one["op"]:
        case "add" if isinstance(parent, list):
            parent.insert(index, one["value"])
        case "add":
            parent[index] = one["value"]
        case "replace":
            parent[index]
            parent[index] = one["value"]
        case "remove":
            del parent[index]
        case "test":
            if parent[index] != one["value"]:
                raise ValueError(one["path"])
        case other:
            raise ValueError(other)
