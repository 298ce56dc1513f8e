"""What a client asks before it asks for anything: versions, groups, resources, OpenAPI."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from tests.fakes.kubernetes.resources import KINDS, Kind

PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# gnostic's openapi_v2.Document by hand: swagger "2.0", info (title and version), no paths, no definitions
DOCUMENT: Final = b"\x0a\x032.0" + b"\x12\x10" + b"\x0a\x0aKubernetes" + b"\x12\x02v1" + b"\x42\x00" + b"\x4a\x00"


def answer(path: str, minor: int) -> web.Response | None:
    """The answer for a path of discovery; ``None`` for any other. `minor` is the version: 20 for Kubernetes 1.20."""
    if path in {"/healthz", "/livez", "/readyz"}:
        return web.Response(text="ok")
    if path == "/openapi/v2":
        return web.Response(body=DOCUMENT, headers={"Content-Type": PROTOBUF})
    found = _json(path, minor)
    return None if found is None else web.Response(body=json.dumps(found).encode(), content_type="application/json")


def _json(path: str, minor: int) -> dict[str, Any] | None:
    if path == "/version":
        return {"major": "1", "minor": str(minor), "gitVersion": f"v1.{minor}.0", "platform": "linux/amd64"} | {
            "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "gc"
        }  # fmt: skip
    groups: dict[str, str] = {kind.group: kind.version for kind in KINDS if kind.group}
    match path.strip("/").split("/"):
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*item) for item in groups.items()]}
        case ["apis", group] if group in groups:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis", group, version] if groups.get(group) == version:
            return _resources(group, version)
        case ["openapi", "v3"] if minor >= 27:
            paths = ["api/v1", *(f"apis/{group}/{version}" for group, version in groups.items())]
            return {"paths": {one: {"serverRelativeURL": f"/openapi/v3/{one}"} for one in paths}}
        case ["openapi", "v3", *rest] if minor >= 27:
            return _schema("/".join(rest))
    return None


def _group(group: str, version: str) -> dict[str, Any]:
    entry = {"groupVersion": f"{group}/{version}", "version": version}
    return {"name": group, "versions": [entry], "preferredVersion": entry}


def _resources(group: str, version: str) -> dict[str, Any]:
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    entries = [entry for kind in kinds for entry in kind.describe()]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": entries}


def _schema(path: str) -> dict[str, Any]:
    """OpenAPI v3 of one group, as far as kubectl reads it: that PATCH knows `fieldValidation`."""

    def operation(kind: Kind) -> dict[str, Any]:
        parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
        which = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        return {"patch": {"parameters": [parameter], "x-kubernetes-group-version-kind": which}}

    kinds = [kind for kind in KINDS if (f"apis/{kind.group}/{kind.version}" if kind.group else "api/v1") == path]
    paths = {f"/{path}/{kind.plural}/{{name}}": operation(kind) for kind in kinds}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1"}, "paths": paths, "components": {}}
