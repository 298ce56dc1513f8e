"""Small objects to begin a test with."""

from __future__ import annotations

from typing import Any


def pod(name: str, *command: str, claim: str = "", mount: str = "/data", **spec: Any) -> dict[str, Any]:
    """A pod with one container, `main`, whose spec has `container`'s fields too; a claim is mounted at `mount`."""
    container: dict[str, Any] = {"name": "main", "image": "tools:1", "command": list(command)}
    container |= spec.pop("container", {})
    volumes: list[dict[str, Any]] = spec.pop("volumes", [])
    if claim:
        volumes = [*volumes, {"name": claim, "persistentVolumeClaim": {"claimName": claim}}]
        container.setdefault("volumeMounts", []).append({"name": claim, "mountPath": mount})
    labels = spec.pop("labels", {"app": "test"})
    settings = {"restartPolicy": "Never", "automountServiceAccountToken": False, "volumes": volumes, **spec}
    return {"metadata": {"name": name, "labels": labels}, "spec": {**settings, "containers": [container]}}


def claim(name: str, *, size: str = "1Gi", mode: str = "ReadWriteOnce") -> dict[str, Any]:
    """A claim of `size`."""
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name, "labels": {"app": "test"}}, "spec": spec}
