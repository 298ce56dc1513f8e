"""How long the start of a new thread takes in a full cluster, with and without a pod that waits.

The cluster is a thread of this process, and its pods are processes of this machine. Another program takes the whole
node; where no node has room, a new one is there after `NODE_SECONDS`. The image is fetched within `PULL_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.config.settings import AgentSettings
from acpbot.runtimes.kubernetes.runtime import KubernetesRuntime
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import PODS
from tests.support.cluster_thread import ClusterThread, cluster_in_a_thread
from tests.support.launched_agents import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE_SECONDS = 2.0
PULL_SECONDS = 2.0
GIB = 1024**3
IMAGE = "registry.example/agent:1"
PLACE = KubernetesSettings(image=IMAGE, namespace="agents", home_size="1Gi")


def fill(cluster: ClusterThread) -> None:
    """Let another program take the node."""
    container = {
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"memory": "4Gi"}},
    }
    context = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    other = pod("other", "sleep", "1000", container=container, securityContext=context)
    cluster.call(lambda: cluster.server.create(PODS, "agents", other))
    cluster.wait_for(lambda: cluster.server.phase("agents", "other") == "Running" or None, what="other program")


async def autoscale(cluster: ClusterThread, memory: str) -> None:
    """Add a node of this size some time after a pod has found none."""

    def no_room() -> bool | None:
        pods = cluster.server.store.list(PODS, "agents")
        return any("FailedScheduling" in cluster.server.event_reasons(one["metadata"]["name"]) for one in pods) or None

    await asyncio.to_thread(cluster.wait_for, no_room, "pod without a node")
    await asyncio.sleep(NODE_SECONDS)
    cluster.call(lambda: cluster.server.add_node("node-2", memory=memory))


async def start(runtime: KubernetesRuntime) -> float:
    """Return the seconds until the agent of a new thread answers."""
    sink = Sink()
    spec = LaunchSpec(
        argv=("cat",),
        cwd=Path("/srv/work/1"),
        home=Path("/srv/homes/1"),
        env={},
        session_id="first",
        thread_id="1",
        agent="a",
        memory_max=GIB,
        kubernetes=PLACE,
    )
    began = time.perf_counter()
    process = await runtime.launch(spec, sink, lambda _: None)
    process.write(b"x\n")
    await sink.line()
    seconds = time.perf_counter() - began
    await process.kill_all()
    await process.aclose()
    return seconds


async def measure(cluster: ClusterThread, *, warm: int, memory: str) -> float:
    """Return the seconds of the start, with so many pods that wait; the new node has so much ``memory``."""
    fill(cluster)
    cluster.call(lambda: cluster.server.add_image(IMAGE, pull_seconds=PULL_SECONDS))
    runtime = KubernetesRuntime(daemon_id="d" * 16, environ={"KUBECONFIG": cluster.kubeconfig})
    scaling = asyncio.create_task(autoscale(cluster, memory))
    if warm:
        agent = AgentSettings(
            name="a", command="cat", runtime="kubernetes", warm=warm, memory_max=GIB, kubernetes=PLACE
        )
        runtime.hold_places([agent])
        while runtime.warm_places < warm:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
    seconds = await start(runtime)
    await scaling
    await runtime.aclose()
    return seconds


@contextlib.contextmanager
def own_cluster() -> Iterator[ClusterThread]:
    """One whose seconds are real ones."""
    with tempfile.TemporaryDirectory() as folder, cluster_in_a_thread(Path(folder), unit=1.0) as cluster:
        yield cluster


def seconds_of_starts() -> tuple[float, float, float] | None:
    """Without a pod that waits, with one that has to give way, and with one beside which there is room.

    ``None`` where no pods can be made here.
    """
    if sandbox.obstacle():
        return None
    found = []
    for warm, memory in ((0, "1Gi"), (1, "1Gi"), (1, "4Gi")):
        with own_cluster() as cluster:
            found.append(asyncio.run(measure(cluster, warm=warm, memory=memory)))
    return found[0], found[1], found[2]


if __name__ == "__main__":
    sys.stdout.write(f"{seconds_of_starts()}\n")
