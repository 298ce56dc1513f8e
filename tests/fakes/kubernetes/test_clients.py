"""The loopback Kubernetes by two client libraries that others wrote: lightkube and kubernetes_asyncio."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes_asyncio.client import CoreV1Api  # type: ignore[import-untyped]
from kubernetes_asyncio.client.configuration import Configuration  # type: ignore[import-untyped]
from kubernetes_asyncio.stream import WsApiClient  # type: ignore[import-untyped]
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.manifests import claim, pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.fakes.kubernetes.server import TOKEN, KubernetesServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse

pytestmark = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no containers: {sandbox.obstacle()}")
WAITS = ("sh", "-c", "trap 'exit 0' TERM; while :; do read line; done")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer(tmp_path, clock=Clock(unit=0.01)) as made:
        yield made


@pytest.fixture
async def light(server: KubernetesServer) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(config=KubeConfig.from_file(server.kubeconfig()), namespace="default", trust_env=False)
    yield client
    await client._client._client.aclose()


async def test_lightkube_creates_watches_and_deletes_a_pod(light):
    spec = PodSpec(
        restartPolicy="Never", containers=[Container("main", image="tools:1", command=["sh", "-c", "exit 7"])]
    )
    made = await light.create(Pod(metadata=ObjectMeta(generateName="agent-", labels={"thread": "1"}), spec=spec))
    assert made.metadata.name.startswith("agent-")
    phases = []
    async for event, seen in light.watch(Pod, labels={"thread": "1"}):
        assert seen.metadata.uid == made.metadata.uid
        phases.append(f"{event} {seen.status.phase}")
        if seen.status.phase == "Failed":
            assert seen.status.containerStatuses[0].state.terminated.exitCode == 7
            break
    assert phases[0] == "ADDED Pending"
    assert "MODIFIED Running" in phases
    await light.delete(Pod, made.metadata.name)
    with pytest.raises(ApiError, match="not found") as refused:
        await light.get(Pod, made.metadata.name)
    assert refused.value.status.code == 404


async def test_lightkube_execs_with_input_that_ends(server, light):
    server.create(PODS, "default", pod("one", *WAITS, container={"stdin": True}))
    await server.wait_running("default", "one")
    out = io.BytesIO()
    answer = await light.exec(
        "one", command=["sh", "-c", "cat; echo done; exit 3"], stdin="a line\n", stdout=out, stderr=True
    )
    assert (answer.exit_code, out.getvalue()) == (3, b"a line\ndone\n")
    with pytest.raises(ApiError, match="executable file not found"):
        await light.exec("one", command=["no-such-program"], stdout=True)


async def test_lightkube_patches_and_lists_claims(server, light):
    server.create(CLAIMS, "default", claim("home"))
    server.create(CLAIMS, "default", claim("other"))
    await light.patch(PersistentVolumeClaim, "home", {"metadata": {"labels": {"thread": "5"}}})
    assert [one.metadata.name async for one in light.list(PersistentVolumeClaim, labels={"thread": "5"})] == ["home"]
    assert [one.metadata.name async for one in light.list(PersistentVolumeClaim, chunk_size=1)] == ["home", "other"]


async def read_channel(ws: ClientWebSocketResponse, channel: int) -> bytes:
    """The next data that is not empty on one channel."""
    while True:
        data = await ws.receive_bytes()
        if data[0] == channel and data[1:]:
            return data[1:]


async def test_kubernetes_asyncio_talks_with_a_program_over_v4(server):
    server.create(PODS, "default", pod("one", *WAITS, container={"stdin": True}))
    await server.wait_running("default", "one")
    configuration = Configuration(host=server.url)
    configuration.api_key = {"BearerToken": f"Bearer {TOKEN}"}
    async with WsApiClient(configuration) as client:
        core: Any = CoreV1Api(client)  # its annotations know one command and no WebSocket
        script = "while read line; do echo got $line; [ $line = end ] && exit 4; done"
        options = {"stdin": True, "stdout": True, "stderr": True, "tty": False}
        opening = await core.connect_get_namespaced_pod_exec(
            "one", "default", command=["sh", "-c", script], _preload_content=False, **options
        )
        async with opening as ws:
            assert server.streams.open[0].ws.ws_protocol == "v4.channel.k8s.io"
            await ws.send_bytes(b"\x00one\n")
            assert await read_channel(ws, 1) == b"got one\n"
            await ws.send_bytes(b"\x00end\n")
            assert await read_channel(ws, 1) == b"got end\n"
            assert client.parse_error_data(await read_channel(ws, 3)) == 4


async def test_kubernetes_asyncio_attaches_and_hears_success_for_exit_code_7(server):
    server.create(
        PODS, "default", pod("one", "sh", "-c", "read line; echo got $line; exit 7", container={"stdin": True})
    )
    await server.wait_running("default", "one")
    async with WsApiClient(Configuration(host=server.url)) as client:
        core: Any = CoreV1Api(client)
        opening = await core.connect_get_namespaced_pod_attach(
            "one", "default", stdin=True, stdout=True, stderr=True, _preload_content=False
        )
        async with opening as ws:
            await ws.send_bytes(b"\x00hello\n")
            assert await read_channel(ws, 1) == b"got hello\n"
            assert client.parse_error_data(await read_channel(ws, 3)) == 0
    await server.wait_for(lambda: server.phase("default", "one") == "Failed")
    assert server.pod("default", "one")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
