"""Runtimes of daemons in a loopback cluster, and short words for what the tests do with them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.runtimes.kubernetes.claims import claim_name
from acpbot.runtimes.kubernetes.runtime import KubernetesRuntime
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes.server import TOKEN
from tests.support.launched_agents import LIMIT, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.runtimes.kubernetes.process import KubernetesProcess
    from tests.fakes.kubernetes.server import KubernetesServer

DAEMON = "d" * 16
POD = "acpbot-a1b2"
CLAIM = claim_name(DAEMON, "1")
SETTINGS = KubernetesSettings(image="registry.example/agent:1", namespace="agents", home_size="1Gi")
CAT = ("sh", "-c", "while read line; do echo got $line; done")


class Cluster:
    """Runtimes of daemons in one cluster, and short words for what the tests do with them."""

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self.told: list[str] = []
        self.something_told = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        server.add_namespace("agents", {"pod-security.kubernetes.io/enforce": "restricted"})
        server.add_image(str(SETTINGS.image), present=True)

    def daemon(
        self,
        daemon_id: str = "d" * 16,
        *,
        threads: Callable[[], Any] = lambda: None,
        pace: float = 1.0,
        token: str = TOKEN,
        kubeconfig: Path | None = None,
    ) -> KubernetesRuntime:
        """The runtime of a daemon. ``pace`` shortens its limits: where one is to be reached."""
        made = KubernetesRuntime(
            daemon_id=daemon_id,
            environ={"KUBECONFIG": str(kubeconfig or self.server.kubeconfig(token=token))},
            settings=lambda: [SETTINGS],
            threads=threads,
            pace=pace,
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
        process = await asyncio.wait_for(runtime.launch(spec, sink, self._tell), LIMIT)
        self._stack.push_async_callback(process.aclose)
        return process, sink

    def _tell(self, words: str) -> None:
        self.told.append(words)
        self.something_told.set()

    async def aclose(self) -> None:
        await self._stack.aclose()
