"""Agents in pods of the loopback cluster, by its API alone: starts, waits, ends, leftovers and volumes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.runtimes.kubernetes.claims import claim_name
from acpbot.runtimes.kubernetes.runtime import KubernetesRuntime
from acpbot.runtimes.runtime import LaunchSpec
from tests.support.launched_agents import LIMIT, Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acpbot.runtimes.kubernetes.process import KubernetesProcess
    from tests.fakes.kubernetes.server import KubernetesServer

SETTINGS = KubernetesSettings(image="registry.example/agent:1", namespace="agents", home_size="1Gi")
CAT = ("sh", "-c", "while read line; do echo got $line; done")


class Cluster:
    """Runtimes of daemons in one cluster, and short words for what the tests do with them."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self.told: list[str] = []
        self._stack = contextlib.AsyncExitStack()
        server.add_namespace("agents", {"pod-security.kubernetes.io/enforce": "restricted"})

    def daemon(self, daemon_id: str = "d" * 16, threads: Callable[[], Any] = lambda: None) -> KubernetesRuntime:
        """The runtime of a daemon. Its waits are a hundredth of the usual ones, as the server's are."""
        made = KubernetesRuntime(
            daemon_id=daemon_id,
            environ={"KUBECONFIG": str(self.server.kubeconfig())},
            settings=lambda: [SETTINGS],
            threads=threads,
            pace=0.01,
        )
        self._stack.push_async_callback(made.aclose)
        return made

    async def launch(
        self, runtime: KubernetesRuntime, *argv: str, settings: KubernetesSettings = SETTINGS, **more: Any
    ) -> tuple[KubernetesProcess, Sink]:
        sink = Sink()
        spec = LaunchSpec(
            argv=argv,
            **{
                "cwd": Path("/srv/work/1"),
                "home": Path("/srv/homes/1"),
                "env": {"HOME": "/srv/homes/1", "NAME": "it's"},
                "session_id": "a1b2",
                "thread_id": "1",
                "kubernetes": settings,
                **more,
            },
        )
        return await asyncio.wait_for(runtime.launch(spec, sink, self.told.append), LIMIT), sink

    async def aclose(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def cluster(server) -> AsyncIterator[Cluster]:
    made = Cluster(server)
    yield made
    await made.aclose()


async def test_an_agent_runs_in_a_restricted_pod_with_a_volume_of_its_thread(cluster, server):
    script = 'echo x >~/kept; echo "$HOME $NAME $PWD $(id -u)"; cat'
    process, sink = await cluster.launch(cluster.daemon(), "sh", "-c", script)
    assert await sink.line() == "/srv/homes/1 it's /srv/work/1 1000"
    assert (process.place, process.place_ref) == (
        "pod/acpbot-a1b2 on node-1",
        {"context": None, "namespace": "agents", "name": "acpbot-a1b2", "uid": process.pod.uid},
    )
    report = await process.kill_all()
    assert (report.settled, report.proof, process.end_reason) == (True, "engine", "SIGKILL")
    await server.wait_for(lambda: not server.phase("agents", "acpbot-a1b2"), what="removal")
    folder = server.folder("agents", claim_name("d" * 16, "1"))
    assert (folder / "home" / "kept").read_text() == "x\n"
