"""What names a pod and a stream into it, and what is known of a pod's end. Plain structs only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PodRef:
    """One pod. A later pod may have its name; the uid is its own for ever. ``node``: where it runs, once known."""

    name: str
    uid: str
    namespace: str
    node: str | None = None

    @property
    def place(self) -> str:
        """Where it is, in the words of kubectl."""
        return f"pod/{self.name}" + ("" if self.node is None else f" on {self.node}")


@dataclass(frozen=True, slots=True)
class Fate:
    """What the cluster says of a pod.

    ``alive``: ``True`` while it runs; ``False`` once its kubelet has reported that its container has ended; ``None``
    where nobody can tell: the object is gone or is being deleted, or its node does not report. ``reason``: why, in a
    few words. ``exit_code``: of the container's first process, which is not the agent.
    """

    alive: bool | None
    reason: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class ExecTarget:
    """What opens a stream into a pod by WebSocket: ``url`` (https) with its query, and what proves who asks."""

    url: str
    headers: Mapping[str, str]
    ssl: ssl.SSLContext | None
