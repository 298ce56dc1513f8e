"""Pods of the loopback cluster whose first process is the dead-man, and what a runtime would say of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from acpbot.runtimes.kubernetes import deadman
from acpbot.runtimes.kubernetes.pod_ref import ExecTarget, Fate, PodRef
from acpbot.runtimes.kubernetes.process import start_process
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import PODS
from tests.support.launched_agents import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.runtimes.kubernetes.process import KubernetesProcess
    from tests.fakes.kubernetes.server import KubernetesServer


class PlainPods:
    """Opens streams without a client library; reads the fate of a pod from the server's own store.

    ``asked``: that was done; ``unreachable``: nobody can ask. ``removed``: the pods that may
    go; they do where it ``deletes``.
    """

    context: str | None = None

    def __init__(self, server: KubernetesServer) -> None:
        self.server = server
        self.unreachable = False
        self.deletes = False
        self.asked = asyncio.Event()
        self.removed: list[PodRef] = []
        self.processes: list[KubernetesProcess] = []

    async def exec_target(self, pod: str, command: Sequence[str], *, stdin: bool) -> ExecTarget:
        fields = [("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", "true")]
        return self._target(pod, "exec", [*fields, *(("command", word) for word in command)])

    async def attach_target(self, pod: str) -> ExecTarget:
        return self._target(pod, "attach", [("stdin", "true")])

    def _target(self, pod: str, verb: str, fields: list[tuple[str, str]]) -> ExecTarget:
        return ExecTarget(
            f"{self.server.url}/api/v1/namespaces/default/pods/{pod}/{verb}?{urlencode(fields)}", {}, None
        )

    async def fate(self, pod: PodRef) -> Fate:
        self.asked.set()
        if self.unreachable:
            raise OSError(None, "the cluster can't be reached")
        found = self.server.store.find(PODS, "default", pod.name)
        if found is None:
            return Fate(None, "the pod was deleted")
        status: dict[str, Any] = found["status"]
        states = [one["state"] for one in status.get("containerStatuses", [])]
        ended = status.get("phase") in {"Failed", "Succeeded"} or any("terminated" in state for state in states)
        if ended and states and all("terminated" in state for state in states):
            deleted = "the pod is being deleted" if "deletionTimestamp" in found["metadata"] else None
            reason = deleted or status.get("reason") or states[0]["terminated"]["reason"]
            return Fate(False, f"{reason}: {status['message']}" if status.get("message") else reason)
        if "deletionTimestamp" in found["metadata"] or status.get("reason"):
            return Fate(None, status.get("reason") or "the pod is being deleted")
        return Fate(True)

    def gone(self, pod: PodRef) -> None:
        self.removed.append(pod)
        if self.deletes and "deletionTimestamp" not in self.server.pod("default", pod.name)["metadata"]:
            self.server.delete(PODS, "default", pod.name, grace=1)

    async def pod(self, name: str = "one", first_process: Sequence[str] = deadman.COMMAND) -> PodRef:
        """A pod that runs and waits for its agent."""
        container = {"name": "agent", "stdin": True, "stdinOnce": True}
        self.server.create(PODS, "default", pod(name, *first_process, container=container))
        found = await self.server.wait_running("default", name)
        return PodRef(name, found["metadata"]["uid"], "default", found["spec"]["nodeName"])

    async def start(
        self, *argv: str, name: str = "one", pace: float = 1.0, **more: Any
    ) -> tuple[KubernetesProcess, Sink]:
        """An agent in a pod of its own."""
        sink = Sink()
        process = await start_process(self, self, await self.pod(name), self.spec(*argv, **more), sink, pace=pace)
        self.processes.append(process)
        return process, sink

    async def aclose(self) -> None:
        """Release what the tests have left."""
        for process in self.processes:
            await process.release()

    def spec(self, *argv: str, **more: Any) -> LaunchSpec:
        return LaunchSpec(argv=argv, **{"cwd": Path("/tmp"), "env": {}, "session_id": "s1", **more})
