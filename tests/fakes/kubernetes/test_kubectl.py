"""The loopback Kubernetes, as `kubectl` sees it: a client that others wrote."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.manifests import claim, pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.fakes.kubernetes.server import KubernetesServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Further ones, as paths with a colon in between: each release asks in its own way.
MORE = os.environ.get("TEST_KUBECTL", "")
CLIENTS = [path for path in (shutil.which("kubectl"), *MORE.split(":")) if path]

pytestmark = [
    pytest.mark.skipif(not CLIENTS, reason="kubectl is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no containers: {sandbox.obstacle()}"),
]
SLEEPER = ("sh", "-c", "trap 'exit 0' TERM; echo hello; while :; do read line; done")


class Kubectl:
    """Runs kubectl against a server, with a HOME of its own."""

    def __init__(self, path: str, server: KubernetesServer, home: Path) -> None:
        self.path = path
        self.server = server
        self.environ = {"HOME": str(home), "PATH": os.environ["PATH"]}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(self.path, "--kubeconfig", str(self.server.kubeconfig()), *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environ,
        )

    async def __call__(self, *arguments: str, given: bytes = b"", code: int = 0) -> str:
        """What it prints; standard error too where `code`, the expected exit code, is not 0."""
        process = await self.start(*arguments)
        out, err = await process.communicate(given)
        assert process.returncode == code, err.decode()
        return (out + err).decode() if code else out.decode()

    async def version(self) -> int:
        shown = yaml.safe_load(await self("version", "--client", "-o", "yaml"))
        return int(shown["clientVersion"]["minor"].rstrip("+"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer(tmp_path / "server", clock=Clock(unit=0.01), tls=True) as made:
        yield made


@pytest.fixture(params=CLIENTS, ids=lambda path: Path(path).name)
def kubectl(request, server: KubernetesServer, tmp_path: Path) -> Kubectl:
    return Kubectl(request.param, server, tmp_path)


async def test_get_prints_the_node_and_the_address(server, kubectl):
    server.create(PODS, "default", pod("one", *SLEEPER, container={"stdin": True}))
    await server.wait_running("default", "one")
    heading, row = (await kubectl("get", "pods", "-o", "wide")).splitlines()
    assert heading.split()[:5] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    name, ready, status, restarts, _age, address, node, *_ = row.split()
    assert (name, ready, status, restarts, address, node) == ("one", "1/1", "Running", "0", "10.244.0.1", "node-1")
    assert "one" not in await kubectl("get", "pods", "-l", "app!=test")


async def test_describe_tells_why_a_pod_waits(server, kubectl):
    server.create(PODS, "default", pod("big", "true", container={"resources": {"limits": {"memory": "100Gi"}}}))
    await server.wait_for(lambda: "FailedScheduling" in server.event_reasons("big"))
    shown = await kubectl("describe", "pod", "big")
    assert "0/1 nodes are available: 1 Insufficient memory." in shown
    assert "memory:  100Gi" in shown
    assert ["Status:", "Pending"] in [line.split() for line in shown.splitlines()]


async def test_get_watch_follows_a_pod_to_its_end(server, kubectl):
    watching = await kubectl.start("get", "pods", "-w", "--no-headers")
    assert watching.stdout is not None
    await server.wait_for(lambda: server.watches.open, what="watch")
    server.create(PODS, "default", pod("one", "sh", "-c", "exit 3"))
    seen = []
    while "Error" not in seen:
        seen.append((await watching.stdout.readline()).split()[2].decode())
    watching.kill()
    await watching.communicate()
    assert seen[0] == "Pending"
    assert "ContainerCreating" in seen


async def test_logs_and_exec_and_delete(server, kubectl):
    server.create(PODS, "default", pod("one", *SLEEPER, container={"stdin": True}))
    await server.wait_running("default", "one")
    container = server.container("default", "one")
    assert await kubectl("logs", "one") == "hello\n"
    if await kubectl.version() >= 31:  # older ones speak SPDY
        script = "read line; echo got $line; echo to stderr >&2; exit 5"
        shown = await kubectl("exec", "-i", "one", "--", "sh", "-c", script, given=b"a line\n", code=5)
        assert shown.splitlines() == ["got a line", "to stderr", "command terminated with exit code 5"]
    assert await kubectl("delete", "pod", "one") == 'pod "one" deleted\n'
    assert container.pids() == []
    assert 'pods "one" not found' in await kubectl("get", "pod", "one", code=1)


async def test_apply_creates_changes_and_refuses(server, kubectl, tmp_path):
    file = tmp_path / "claim.yaml"
    wanted = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim("home")}
    file.write_text(yaml.safe_dump(wanted))
    assert "created" in await kubectl("apply", "-f", str(file))
    wanted["metadata"]["labels"]["more"] = "yes"
    file.write_text(yaml.safe_dump(wanted))
    assert "configured" in await kubectl("apply", "-f", str(file))
    assert server.store.get(CLAIMS, "default", "home")["metadata"]["labels"] == {"app": "test", "more": "yes"}
    wanted["spec"]["accessModes"] = ["ReadWriteMany"]
    file.write_text(yaml.safe_dump(wanted))
    assert "spec is immutable after creation" in await kubectl("apply", "-f", str(file), code=1)


async def test_refusals_read_as_a_real_server_words_them(server, kubectl, tmp_path):
    server.set_quota("default", pods="0")
    file = tmp_path / "pod.yaml"
    wanted = {"apiVersion": "v1", "kind": "Pod", **pod("one", "true")}
    file.write_text(yaml.safe_dump(wanted))
    shown = await kubectl("create", "-f", str(file), code=1)
    assert 'pods "one" is forbidden: exceeded quota: limits, requested: pods=1, used: pods=0, limited: pods=0' in shown
    wanted["spec"]["containers"][0]["volumeMounts"] = [{"name": "none", "mountPath": "/x"}]
    file.write_text(yaml.safe_dump(wanted))
    shown = await kubectl("create", "-f", str(file), code=1)
    assert 'spec.containers[0].volumeMounts[0].name: Not found: "none"' in shown
    server.expire_token()
    assert "You must be logged in to the server" in await kubectl("get", "pods", code=1)
