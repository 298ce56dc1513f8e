"""``[agents.NAME.bubblewrap]`` and ``[agents.NAME.container]``: the places where an agent may run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from acpbot.config import field_types as ft

RuntimeKind = Literal["local", "bubblewrap", "container"]

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
    image: (
        Annotated[
            str,
            ft.text,
            Meta(pattern=r"\A[!-~]{1,400}\Z", description="the name of an image", examples=["localhost/agent:1"]),
        ]
        | None
    ) = None
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
