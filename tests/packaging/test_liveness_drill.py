"""A drill: Discord's gateway is down for five minutes while a kubelet probes as the rendered manifests say.

The probes' HTTP server, discord.py with the loopback server, the pool and its agents are real; only the time is not:
the test moves the clocks. A second kubelet has a liveness probe that asks for readiness, the mistake that
restarts a pod at each outage: it shows that the drill can see a restart.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.config import loader
from acpbot.daemon import health
from acpbot.management.probes import Probes
from tests.support.discord_scene import staged
from tests.support.packaging.rendered import TOKEN, each

if TYPE_CHECKING:
    from acpbot.config.settings import ProbeSettings
    from tests.support.discord_scene import Scene

pytestmark = pytest.mark.service

OUTAGE_SECONDS = 300
LIMIT = 20


@dataclass
class Probe:
    """One probe of a container's manifest, and the state that the kubelet keeps of it."""

    path: str
    period: int
    failure_threshold: int
    statuses: list[tuple[int, int]] = field(default_factory=list)
    failures: int = 0

    @classmethod
    def of(cls, manifest: dict[str, Any]) -> Probe:
        return cls(manifest["httpGet"]["path"], manifest["periodSeconds"], manifest["failureThreshold"])


class Kubelet:
    """Probes one container as kubernetes/pkg/kubelet/prober does, each second that the test reports to it."""

    def __init__(self, probes: dict[str, dict[str, Any]], address: tuple[str, int]) -> None:
        self.startup, self.liveness, self.readiness = (
            Probe.of(probes[name]) for name in ("startupProbe", "livenessProbe", "readinessProbe")
        )
        self.address = address
        self.started = False
        self.restarts = 0
        self.ready_at: list[tuple[int, bool]] = [(0, False)]

    async def second(self, now: int) -> None:
        if not self.started:
            self.started = await self._passes(self.startup, now) is True
            return
        if (
            await self._passes(self.liveness, now) is False
            and self.liveness.failures >= self.liveness.failure_threshold
        ):
            self.restarts += 1
            self.liveness.failures = 0
        passed = await self._passes(self.readiness, now)
        if passed is True or (passed is False and self.readiness.failures >= self.readiness.failure_threshold):
            self._note(now, ready=passed)

    def _note(self, now: int, *, ready: bool) -> None:
        if ready != self.ready_at[-1][1]:
            self.ready_at.append((now, ready))

    async def _passes(self, probe: Probe, now: int) -> bool | None:
        """Whether the probe passed; ``None`` where it is not due."""
        if now % probe.period:
            return None
        status = await self._get(probe.path)
        probe.statuses.append((now, status))
        passed = 200 <= status < 400
        probe.failures = 0 if passed else probe.failures + 1
        return passed

    async def _get(self, path: str) -> int:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), LIMIT)
        writer.close()
        return int(answer.split()[1])


class Drill:
    """A scene, the probes of a daemon around it, and the time."""

    def __init__(self, scene: Scene, settings: ProbeSettings) -> None:
        self.scene = scene
        self.grace = settings.grace_seconds
        self.probes = Probes(lambda: health.readiness(self.facts()), "127.0.0.1", 0)
        self.kubelets: list[Kubelet] = []
        self.now = 0

    def facts(self) -> health.HealthInputs:
        pool = self.scene.pool
        return health.HealthInputs(
            version="0",
            state="running",
            uptime_seconds=self.scene.clock(),
            chat=self.scene.chat.facts(),
            pool=pool.counts(),
            grace_seconds=self.grace,
        )

    async def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.scene.clock.ahead += 1
            self.scene.harness.clock.move(1)
            self.scene.pool.tick()
            for kubelet in self.kubelets:
                await kubelet.second(self.now)


@each(("kustomize", "probes"), ("helm", "on"))
async def test_an_outage_of_the_gateway_restarts_nothing_and_loses_nothing(rendered, tmp_path):
    (tmp_path / "discord-token").write_text(TOKEN)
    settings = loader.parse(rendered.config_text, str(tmp_path / "config.toml"), {"HOME": "/nowhere"})
    wrong = copy.deepcopy(rendered.probes)
    wrong["livenessProbe"]["httpGet"]["path"] = wrong["readinessProbe"]["httpGet"]["path"]
    async with staged(tmp_path, patience=0.3) as scene:
        drill = Drill(scene, settings.management.probes)
        await drill.probes.start()
        try:
            right, mistaken = (Kubelet(probes, drill.probes.address) for probes in (rendered.probes, wrong))
            drill.kubelets = [right, mistaken]
            idle = await scene.opens("remember the blue door")
            await scene.idle(idle, 1)
            scene.asks("say begun; hang")
            (busy,) = await scene.server.wait_for(
                lambda: [one for one in scene.server.threads_of(scene.channel) if one is not idle], what="a thread"
            )
            await scene.says(busy, "begun")
            sessions = {str(one.id): scene.harness.row(str(one.id)).session_id for one in (idle, busy)}
            await drill.pass_seconds(60)
            assert right.ready_at[1:] == [(right.ready_at[-1][0], True)]

            scene.server.gateway.refuse()
            scene.server.gateway.cut()
            await scene.server.wait_for(lambda: scene.server.gateway.refused > 0, what="an attempt in vain")
            lost = drill.now
            await drill.pass_seconds(OUTAGE_SECONDS)
            assert not scene.chat.facts().connected

            scene.server.gateway.accept()
            await scene.server.wait_until_connected()
            scene.ada.says(idle, "recall")
            await scene.idle(idle, 2)
            back = drill.now
            await drill.pass_seconds(60)

            # Liveness: no probe failed before, during or after the outage.
            assert {status for _, status in right.liveness.statuses} == {200}
            assert len(right.liveness.statuses) >= (60 + OUTAGE_SECONDS + 60) // right.liveness.period - 1
            assert right.restarts == 0
            # Readiness: it passes within the grace, then fails, and passes again by itself.
            failed = [second for second, status in right.readiness.statuses if status != 200]
            assert lost + drill.grace - 1 <= min(failed) <= lost + drill.grace + right.readiness.period
            assert max(failed) <= back
            (_, gone), (_, came) = right.ready_at[2:]
            assert (gone, came) == (False, True)
            assert right.ready_at[3][0] <= back + right.readiness.period
            # No session is lost: the same processes, one with its memory, the other still working.
            rows = {thread: scene.harness.row(thread) for thread in sessions}
            assert {thread: row.session_id for thread, row in rows.items()} == sessions
            assert [row.state for row in rows.values()] == ["idle", "busy"]
            assert scene.text(idle).count("the blue door") == 2, "the answer was repeated after the outage"
            assert scene.harness.events.endings == []
            # And the other kubelet has restarted a healthy pod, again and again.
            assert mistaken.restarts > 1
        finally:
            await drill.probes.close()
