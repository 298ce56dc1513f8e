"""Pods that hold room for the next threads: `[agents.NAME] warm` where agents run in pods."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from acpbot.config.settings import AgentSettings
from acpbot.runtimes.kubernetes import pod_spec
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.runtimes.kubernetes.daemons import CAT, DAEMON, POD, SETTINGS
from tests.support.launched_agents import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.runtimes

GIB = 1024**3
AGENT = AgentSettings(
    name="a",
    command="cat",
    runtime="kubernetes",
    warm=1,
    memory_max=GIB,
    kubernetes=structs.replace(SETTINGS, secrets=("keys", "KEY=keys/key")),
)


class Held:
    """A daemon that looks at its warm pods a hundred times a second, for the agents that it has now."""

    def __init__(self, cluster, *agents: AgentSettings, daemon_id: str = DAEMON) -> None:
        self.server = cluster.server
        self.daemon_id = daemon_id
        self.runtime = cluster.daemon(daemon_id, pace=0.05)
        self.agents = agents
        self.looked = asyncio.Event()
        self.task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.runtime.hold_places(self.agents)
            self.looked.set()
            await asyncio.sleep(0.01)

    @property
    def names(self) -> list[str]:
        """Those of its pods that are not being deleted."""
        own = [one["metadata"] for one in self.server.store.list(PODS, "agents")]
        own = [meta for meta in own if meta.get("labels", {}).get("acpbot.daemon") == self.daemon_id]
        return [meta["name"] for meta in own if "acpbot.warm" in meta["labels"] and "deletionTimestamp" not in meta]

    async def until(self, predicate: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not predicate():
                self.looked.clear()
                await self.looked.wait()

    async def wait(self, count: int) -> list[str]:
        """The names of the warm pods, once so many wait."""
        await self.until(lambda: self.runtime.warm_places == len(self.names) == count)
        return self.names


@pytest.fixture
async def hold(cluster):
    made = []

    def start(*agents: AgentSettings, daemon_id: str = DAEMON) -> Held:
        made.append(Held(cluster, *agents, daemon_id=daemon_id))
        return made[-1]

    yield start
    for one in made:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in made), return_exceptions=True)


def fill(server, memory: str) -> None:
    """Let another program take so much of the node."""
    container = {
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"memory": memory}},
    }
    context = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    server.create(PODS, "agents", pod("other", "sleep", "1000", container=container, securityContext=context))


def test_a_warm_pod_has_the_place_of_a_session_and_no_secret_volume_or_label_of_a_thread():
    spec = pod_spec.example(AGENT, "warm-1")
    made = pod_spec.placeholder(spec, AGENT.kubernetes, daemon_id=DAEMON, first_process=("x",), owner=None)
    real = pod_spec.manifest(
        spec, AGENT.kubernetes, daemon_id=DAEMON, first_process=("x",), claim="c", owner=None, near=["node-1"]
    )
    assert made["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "acpbot",
        "acpbot.daemon": DAEMON,
        "acpbot.warm": "a",
    }
    ours, theirs = made["spec"]["containers"][0], real["spec"]["containers"][0]
    assert {"env", "envFrom"} <= theirs.keys()
    assert {key: theirs[key] for key in ours} == ours
    assert theirs.keys() - ours.keys() == {"env", "envFrom"}
    assert made["spec"]["volumes"] == [{"name": "thread", "emptyDir": {}}]
    (wish,) = real["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"] == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}


async def test_so_many_pods_wait_as_warm_says_and_are_replaced_when_they_end_and_go_with_the_setting(hold, server):
    held = hold(structs.replace(AGENT, warm=2))
    first = await held.wait(2)
    server.delete(PODS, "agents", first[0])
    server.evict("agents", first[1])
    await held.until(lambda: not {*first} & {*held.names})
    second = await held.wait(2)
    assert len(second) == 2
    held.agents = (structs.replace(AGENT, warm=1),)
    (third,) = await held.wait(1)
    assert third in second
    held.agents = (structs.replace(AGENT, memory_max=2 * GIB),)
    await held.until(lambda: third not in held.names)
    await held.wait(1)
    held.agents = (structs.replace(AGENT, warm=0),)
    await server.wait_for(lambda: not server.store.list(PODS, "agents"), what="no pod")
    assert server.store.list(CLAIMS, "agents") == []


async def test_a_start_beside_a_warm_pod_is_on_its_node_and_fetches_no_image(hold, cluster, server):
    server.add_image(str(SETTINGS.image), pull_seconds=3)
    server.cordon("node-1")
    server.add_node("node-2")
    held = hold(AGENT)
    (name,) = await held.wait(1)
    server.cordon("node-1", closed=False)
    server.add_secret("agents", "keys", key="x")
    process, sink = await cluster.launch(held.runtime, *CAT, agent="a", settings=AGENT.kubernetes)
    process.write(b"x\n")
    assert await sink.line() == "got x"
    assert process.place == f"pod/{POD} on node-2"
    assert "Fetching the image" not in cluster.told
    assert await held.wait(1) == [name]


async def test_a_warm_pod_gives_way_to_a_thread_and_is_made_again_once_there_is_room(hold, cluster, server):
    fill(server, "3Gi")
    held = hold(AGENT, structs.replace(AGENT, name="b", warm=0))
    (name,) = await held.wait(1)
    process, _ = await cluster.launch(held.runtime, *CAT, agent="b", memory_max=GIB)
    assert "Waiting for a free machine: not enough free memory" in cluster.told
    assert name not in held.names
    await process.kill_all()
    await process.aclose()
    (again,) = await held.wait(1)
    assert again != name


async def test_a_full_quota_takes_no_place_from_a_thread(hold, cluster, server):
    server.set_quota("agents", pods="1")
    held = hold(AGENT)
    (name,) = await held.wait(1)
    process, _ = await cluster.launch(held.runtime, *CAT, agent="a")
    assert "Waiting for room in the cluster" in cluster.told
    assert name not in held.names
    await process.aclose()


async def test_a_thread_that_waits_for_storage_takes_no_place(hold, cluster, server):
    server.set_quota("agents", persistentvolumeclaims="0")
    held = hold(AGENT)
    names = await held.wait(1)
    starting = asyncio.create_task(cluster.launch(held.runtime, *CAT, agent="a"))
    await asyncio.wait_for(cluster.something_told.wait(), LIMIT)
    assert cluster.told == ["Waiting for room in the cluster"]
    assert held.names == names
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_look_for_leftovers_ends_those_of_an_earlier_daemon_and_no_others(hold, cluster):
    ours, theirs = hold(AGENT), hold(AGENT, daemon_id="e" * 16)
    (name,) = await ours.wait(1)
    await theirs.wait(1)
    assert await ours.runtime.leftovers((), ()) == []
    ours.agents = ()
    await ours.until(lambda: name not in ours.names)
    assert await ours.runtime.leftovers((), ()) == []
    ours.agents = (AGENT,)
    await ours.wait(1)
    (left,) = await cluster.daemon().leftovers((), ())
    assert (left.session_id, left.ended) == (None, True)
    assert theirs.runtime.warm_places == 1


async def test_no_warm_pod_stays_when_its_daemon_is_closed(hold, server):
    held = hold(AGENT)
    await held.wait(1)
    await held.runtime.aclose()
    await server.wait_for(lambda: not server.store.list(PODS, "agents"), what="no pod")


async def test_a_warm_pod_that_cannot_be_made_is_logged_with_its_reason(hold, server, caplog):
    server.add_image(str(SETTINGS.image), error="unauthorized: authentication required")
    held = hold(AGENT)
    await held.until(lambda: "warm_pod_ended" in caplog.text)
    (ended, *_) = (record for record in caplog.records if record.msg == "warm_pod_ended")
    assert "unauthorized: authentication required" in ended.fields["reason"]


async def test_a_check_says_how_many_pods_hold_room(cluster):
    clauses = await cluster.daemon().check(structs.replace(AGENT, warm=2, kubernetes=SETTINGS))
    assert "2 pods hold room for the next threads, each with what a session's pod requests" in clauses
