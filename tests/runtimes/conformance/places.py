"""Each place that the suite runs in: how it is made, and what differs there. Nothing else of it knows their kinds."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from acpbot.config.runtime_settings import BubblewrapSettings, ContainerSettings, KubernetesSettings
from acpbot.config.settings import AgentSettings
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from tests.support import kubernetes_cluster
from tests.support.container_engine import IMAGE
from tests.support.container_image import PYTHON as PYTHON_OF_IMAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from acpbot.runtimes.runtime import Runtime

PYTHON: Final = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of place. ``name`` is what the tests are called after, ``kind`` what the settings say.

    ``environ``: variables of the daemon that its engine needs. ``python``: Python's path in the place. ``engine``: the
    fixture of its engine, and the program, ``None`` where it needs none. ``proofs``: who may prove a kill.
    ``ends_with_daemon``: an agent whose daemon is killed ends without another daemon, whatever it ignores.
    ``tells_eof``: nothing between acpbot and an agent keeps its stdout open where it has closed it. ``odd_folder``: a
    name that a workspace may have.
    """

    name: str
    kind: str
    engine: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    python: str = PYTHON
    tables: Mapping[str, Any] = field(default_factory=dict)
    proofs: frozenset[str] = frozenset({"system"})
    ends_with_daemon: bool = True
    tells_eof: bool = False
    odd_folder: str = 'with, "odd" = name; é'

    def with_engine(self, environ: Mapping[str, str]) -> Place:
        """Return this place, on the engine that these variables name."""
        return replace(self, environ=environ)

    def settings(self, **more: Any) -> AgentSettings:
        """Return the settings of an agent there."""
        return AgentSettings(name="suite", command=self.python, **{"runtime": self.kind, **self.tables, **more})

    def prepare(self, thread_id: str, workspace: Path, home: Path) -> None:
        """Have a thread's folders be these, where they are not on this machine anyway."""
        if self.kind == "kubernetes":
            kubernetes_cluster.share({**os.environ, **self.environ}, thread_id, workspace, home)

    @contextlib.asynccontextmanager
    async def runtime(self, daemon_id: str) -> AsyncIterator[Runtime]:
        """The runtime of a daemon with this id."""
        environ = {**os.environ, **self.environ}
        local, _ = local_runtime("auto", environ=environ)
        runtimes = Runtimes(local, daemon_id=daemon_id, agents=lambda: [self.settings()])
        try:
            yield runtimes.of(self.kind)
        finally:
            await runtimes.aclose()


LOCAL: Final = Place(name="local", kind="local", ends_with_daemon=False, tells_eof=True)
BUBBLEWRAP: Final = Place(
    name="bubblewrap",
    kind="bubblewrap",
    tables={"bubblewrap": BubblewrapSettings()},
    ends_with_daemon=False,
)
PODMAN: Final = Place(
    name="podman",
    kind="container",
    engine="podman",
    python=PYTHON_OF_IMAGE,
    tables={"container": ContainerSettings(engine="podman", image=IMAGE)},
    proofs=frozenset({"system", "engine"}),
)
DOCKER: Final = replace(
    PODMAN,
    name="docker",
    engine="docker",
    tables={"container": ContainerSettings(engine="docker", image=IMAGE)},
    odd_folder="with 'odd' = name; é",  # Podman's service of Docker's API reads a mount as a line of CSV without quotes
)
KUBERNETES: Final = Place(
    name="kubernetes",
    kind="kubernetes",
    engine="kubernetes",
    python=kubernetes_cluster.python_of_pods(),
    tables={
        "kubernetes": KubernetesSettings(
            image=kubernetes_cluster.IMAGE, namespace=kubernetes_cluster.NAMESPACE, home_size="1Gi"
        )
    },
    proofs=frozenset({"engine"}),
)
PLACES: Final = {place.name: place for place in (LOCAL, BUBBLEWRAP, PODMAN, DOCKER, KUBERNETES)}
