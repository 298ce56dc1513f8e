"""``[agents.NAME.bubblewrap]``, ``.container`` and ``.kubernetes``: the places where an agent may run."""

from __future__ import annotations

import types
from collections.abc import Mapping  # noqa: TC003 - read at run time, through typing.get_type_hints
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from acpbot.config import field_types as ft
from acpbot.config import pod_values

RuntimeKind = Literal["local", "bubblewrap", "container", "kubernetes"]

_ONCE = {"uniqueItems": True}
_IN_HOME = r"\A(?!/)(?!(?:.*/)?\.\.(?:/|\Z))[^\x00-\x1f\x7f:]{1,200}\Z"

Shared = Annotated[
    tuple[
        Annotated[
            str,
            ft.text,
            Meta(pattern=_IN_HOME, description="a path below HOME", examples=[".config/agent/auth.json"]),
        ],
        ...,
    ],
    Meta(description="a list of paths below HOME", extra_json_schema=_ONCE),
]
Paths = Annotated[
    tuple[
        Annotated[
            Path,
            ft.path,
            Meta(description="an absolute path (or begin with ~/)", examples=["/srv/cache"]),
        ],
        ...,
    ],
    Meta(description="a list of absolute paths", extra_json_schema=_ONCE),
]


Image = Annotated[
    str,
    ft.text,
    Meta(
        pattern=r"\A[A-Za-z0-9][!-~]{0,399}\Z",
        description="the name of an image",
        examples=["localhost/agent:1"],
    ),
]


class BubblewrapSettings(Struct, frozen=True, kw_only=True):
    """``[agents.NAME.bubblewrap]``: what a sandbox shows beside the workspace and the thread's own HOME.

    ``shared``: login files below HOME that all threads share, beside those that are known for common agents.
    ``writable`` and ``readable``: paths of this machine. ``network``: ``False`` gives it none.
    """

    shared: Shared = ()
    writable: Paths = ()
    readable: Paths = ()
    network: bool = True


class ContainerSettings(Struct, frozen=True, kw_only=True):
    """``[agents.NAME.container]``: the container of each session.

    ``engine``: ``None`` takes the first that is found on PATH. ``image`` must hold the agent. ``shared``: as for
    bubblewrap. ``volumes`` are in the engine's form, ``SOURCE:TARGET[:OPTIONS]``. ``network``: the engine's default,
    none, or one that the engine knows by this name. ``cpus``: how many processors it may use; ``None`` sets no limit.
    ``pull``: when the image is fetched.
    """

    engine: Literal["podman", "docker"] | None = None
    image: Image | None = None
    shared: Shared = ()
    volumes: Annotated[
        tuple[
            Annotated[
                str,
                ft.text,
                Meta(
                    pattern=r"\A[^:\x00-\x1f\x7f]+:/[^:\x00-\x1f\x7f]*(?::[a-zA-Z,]+)?\Z",
                    description="SOURCE:TARGET or SOURCE:TARGET:OPTIONS",
                    examples=["/srv/cache:/cache:ro"],
                ),
            ],
            ...,
        ],
        Meta(description="a list of volumes", extra_json_schema=_ONCE),
    ] = ()
    network: Annotated[
        str,
        ft.text,
        Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z", description="the name of a network", examples=["none"]),
    ] = "default"
    cpus: Annotated[float, Meta(ge=0.01, le=4096, description="a number of processors")] | None = None
    pull: Literal["missing", "always", "newer", "never"] = "missing"


# Source: kubernetes.io/docs/concepts/overview/working-with-objects/names, DNS Subdomain Names.
_NAME: Final = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"


def _object_name(example: str) -> Meta:
    return Meta(pattern=rf"\A{_NAME}\Z", description="the name of an object in the cluster", examples=[example])


class KubernetesSettings(Struct, frozen=True, kw_only=True):
    """``[agents.NAME.kubernetes]``: the pod of each thread.

    ``image`` must hold the agent, a shell and the usual programs. ``namespace``: of the pods; ``None`` takes the
    daemon's own, or that of the context. ``context``: one of the kubeconfig; ``None`` takes the cluster that the daemon
    runs in, else the kubeconfig's current one. ``service_account``: its name; no pod gets a token of it. ``home_size``
    and ``storage_class`` are of the claim that holds a thread's HOME and workspace. ``secrets``: a Secret, all keys of
    which become environment variables, or ``VARIABLE=SECRET/KEY``. ``resources``, ``node_selector``, ``runtime_class``:
    as in the spec of a pod; what ``memory_max`` says goes before. ``pod_template`` is merged into the pod: what acpbot
    sets itself wins. ``max_sessions``: how many pods of this agent there may be; ``None``: as ``[pool]`` allows.
    """

    image: Image | None = None
    namespace: (
        Annotated[
            str,
            ft.text,
            Meta(
                pattern=r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z",
                description="the name of a namespace",
                examples=["acpbot-agents"],
            ),
        ]
        | None
    ) = None
    context: (
        Annotated[
            str,
            ft.text,
            Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,300}\Z", description="a context of the kubeconfig", examples=["test"]),
        ]
        | None
    ) = None
    service_account: Annotated[str, ft.text, _object_name("agents")] | None = None
    home_size: Annotated[
        str,
        ft.text,
        Meta(pattern=rf"\A(?=.*[1-9]){pod_values.QUANTITY}\Z", description="an amount of storage", examples=["10Gi"]),
    ] = "10Gi"
    storage_class: Annotated[str, ft.text, _object_name("fast")] | None = None
    secrets: Annotated[
        tuple[
            Annotated[
                str,
                ft.text,
                Meta(
                    pattern=rf"\A(?:{_NAME}|[A-Za-z_][A-Za-z0-9_]{{0,127}}={_NAME}/[A-Za-z0-9._-]{{1,253}})\Z",
                    description="the name of a Secret, or VARIABLE=SECRET/KEY",
                    examples=["agent-keys"],
                ),
            ],
            ...,
        ],
        Meta(description="a list of Secrets", extra_json_schema=_ONCE),
    ] = ()
    resources: Annotated[
        Mapping[str, Mapping[str, str]],
        pod_values.resources,
        Meta(
            description="a table with requests and limits, each a table of amounts",
            examples=[{"requests": {"cpu": "500m"}}],
        ),
    ] = types.MappingProxyType({})
    node_selector: Annotated[
        Mapping[str, str],
        pod_values.labels,
        Meta(description="a table of labels of nodes", examples=[{"kubernetes.io/arch": "amd64"}]),
    ] = types.MappingProxyType({})
    runtime_class: Annotated[str, ft.text, _object_name("gvisor")] | None = None
    pod_template: Annotated[
        Mapping[str, Any],
        pod_values.pod_template,
        Meta(
            description="a table with metadata and spec of a pod",
            examples=[{"spec": {"priorityClassName": "agents"}}],
        ),
    ] = types.MappingProxyType({})
    max_sessions: Annotated[int, Meta(ge=1, le=10_000)] | None = None


PLACES: Final[Mapping[str, type[BubblewrapSettings | ContainerSettings | KubernetesSettings]]] = types.MappingProxyType(
    {"bubblewrap": BubblewrapSettings, "container": ContainerSettings, "kubernetes": KubernetesSettings}
)
"""The tables of an agent's places, by the kind of runtime that reads each."""
