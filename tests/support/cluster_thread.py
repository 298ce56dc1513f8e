"""A loopback cluster in a thread of its own, for tests that talk with a daemon in another process and block."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.fakes.kubernetes.server import KubernetesServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

T = TypeVar("T")
LIMIT = 20.0


class ClusterThread:
    """Runs the cluster's loop. ``server`` belongs to that loop: what is done to it goes through these methods."""

    def __init__(self, server: KubernetesServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.kubeconfig = ""
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Await it in the cluster's loop; return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    def call(self, work: Callable[[], T]) -> T:
        """Call it in the cluster's loop; return its result."""

        async def called() -> T:
            return work()

        return self.run(called())

    def wait_for(self, predicate: Callable[[], T | None], what: str = "") -> T:
        """The first true value of ``predicate``, asked in the cluster's loop after each change."""
        return self.run(self.server.wait_for(predicate, what=what))

    def pods(self, namespace: str) -> dict[str, dict[str, Any]]:
        """The pods of a namespace by name."""
        return self.call(lambda: {one["metadata"]["name"]: one for one in self.server.store.list(PODS, namespace)})

    def claims(self, namespace: str) -> list[str]:
        """The names of the claims of a namespace."""
        return self.call(lambda: [one["metadata"]["name"] for one in self.server.store.list(CLAIMS, namespace)])

    def folder(self, namespace: str, claim: str) -> Path:
        """Where the files of a claim are on this machine."""
        return self.call(lambda: self.server.folder(namespace, claim))


@contextmanager
def cluster_in_a_thread(folder: Path, *, unit: float = 0.01) -> Iterator[ClusterThread]:
    """A cluster with the namespace "agents", which takes restricted pods alone. ``unit``: see `Clock`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="cluster")
    thread.start()
    try:
        cluster = ClusterThread(KubernetesServer(folder, clock=Clock(unit=unit)), loop)
        cluster.run(cluster.server.start())
        try:
            restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
            cluster.call(lambda: cluster.server.add_namespace("agents", restricted))
            cluster.kubeconfig = str(cluster.call(cluster.server.kubeconfig))
            yield cluster
        finally:
            cluster.run(cluster.server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
