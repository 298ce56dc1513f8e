"""A pod, its neighbours, its node and the cluster's API as enemies: what acpbot believes, and what it ends."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web

from acpbot.errors import AgentStartError
from acpbot.runtimes.kubernetes.api import ClusterUnreachable
from acpbot.runtimes.kubernetes.end_words import fate_of
from acpbot.runtimes.kubernetes.exec_stream import StreamRefused
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.runtimes.kubernetes.daemons import CAT, POD, SETTINGS
from tests.support.launched_agents import LIMIT

pytestmark = pytest.mark.runtimes

RUNNING = {"name": "agent", "state": {"running": {}}}
CONFLICT = 'Operation cannot be fulfilled on resourcequotas "agents": the object has been modified'


def places(cluster) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.server.store.list(PODS, "agents")}


def object_with(phase: str, *containers: dict, condition: dict | None = None, reason: str = "") -> dict:
    status = {"phase": phase, "containerStatuses": list(containers), "conditions": [condition] if condition else []}
    return {"metadata": {"uid": "u"}, "spec": {"nodeName": "node-1"}, "status": status | {"reason": reason}}


# What an object says


@pytest.mark.parametrize("reason", ["DeletionByPodGC", "DeletionByTaintManager"])
def test_a_pod_that_others_than_its_kubelet_call_failed_may_still_run(reason):
    by = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    assert fate_of(object_with("Failed", RUNNING, condition=by), "u").alive is None


def test_a_pod_that_is_evicted_runs_until_its_kubelet_says_that_its_container_has_ended():
    fate = fate_of(object_with("Failed", RUNNING, reason="Evicted"), "u")
    assert (fate.alive, fate.reason) == (None, "Evicted")


def test_a_pod_that_its_node_has_refused_never_ran():
    assert fate_of(object_with("Failed", reason="OutOfmemory"), "u").alive is False


def test_a_pod_that_the_garbage_collector_calls_failed_before_its_node_said_anything_may_run():
    by = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    assert fate_of(object_with("Failed", condition=by), "u").alive is None


def test_an_agent_beside_a_container_that_is_not_ready_runs():
    condition = {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    assert fate_of(object_with("Running", RUNNING, condition=condition), "u").alive is True


async def test_an_agent_starts_beside_a_container_of_the_template_that_has_ended(cluster):
    beside = {
        "name": "beside",
        "image": "registry.example/agent:1",
        "command": ["sh", "-c", "exit 3"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsUser": 1},
    }
    settings = SETTINGS.__class__(
        image=SETTINGS.image, namespace="agents", home_size="1Gi", pod_template={"spec": {"containers": [beside]}}
    )
    process, sink = await cluster.launch(cluster.daemon(), *CAT, settings=settings)
    process.write(b"hi\n")
    assert await sink.line() == "got hi"


# Leftovers


async def test_a_session_that_starts_while_leftovers_are_listed_is_not_ended(cluster, server):
    runtime = cluster.daemon()
    held = server.faults.hold("list", "pods", times=1)
    looking = asyncio.create_task(runtime.leftovers((), ()))
    await held.arrived.wait()
    process, sink = await cluster.launch(runtime, *CAT)
    held.release()
    assert await asyncio.wait_for(looking, LIMIT) == []
    process.write(b"hi\n")
    assert await sink.line() == "got hi"


async def test_a_pod_that_is_being_removed_after_its_session_is_no_leftover(cluster, server):
    runtime = cluster.daemon()
    process, _ = await cluster.launch(runtime, *CAT)
    server.timings.removal = 100.0
    await process.aclose()
    await server.wait_for(lambda: "deletionTimestamp" in server.pod("agents", POD)["metadata"], what="deletion")
    assert await runtime.leftovers((), ()) == []


async def test_claims_that_cannot_be_listed_leave_what_is_known_of_pods(cluster, server):
    await cluster.launch(cluster.daemon(), *CAT)
    server.faults.fail(503, "list", "persistentvolumeclaims", times=100)
    found = await cluster.daemon(threads=list).leftovers((), ())
    assert [one.ended for one in found] == [True]


async def test_a_leftover_on_a_node_that_comes_back_is_confirmed(cluster, server):
    await cluster.launch(cluster.daemon(), *CAT)
    server.lose_node()
    runtime = cluster.daemon(pace=0.02)
    (found,) = await runtime.leftovers((), ())
    assert (found.ended, [ref["name"] for ref in runtime.strays]) == (None, [POD])
    server.return_node()
    await server.wait_for(lambda: POD not in places(cluster), what="removal")
    async with asyncio.timeout(LIMIT):
        while runtime.strays:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)


# The API


@pytest.mark.parametrize("what", ["pods", "persistentvolumeclaims"])
async def test_a_quota_that_two_starts_change_at_once_is_asked_again(cluster, server, what):
    server.faults.fail(409, "create", what, message=CONFLICT, times=2)
    process, sink = await cluster.launch(cluster.daemon(pace=0.01), *CAT)
    process.write(b"hi\n")
    assert await sink.line() == "got hi"
    assert len(server.store.list(CLAIMS, "agents")) == 1


async def test_a_lost_answer_is_found_again_where_the_cluster_adds_labels(cluster, server):
    server.faults.abort("create", "pods", after=True)
    store = server.store
    create = store.create

    def labelled(kind, namespace, one):
        if kind is PODS:
            one["metadata"]["labels"]["mesh"] = "added"
        return create(kind, namespace, one)

    store.create = labelled
    await cluster.launch(cluster.daemon(pace=0.1), *CAT)


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        ("get", "cannot start the agent: the cluster does not say how its pod is: forbidden; check that"),
        ("watch", "cannot start the agent: the cluster does not say what changes there (403); check that"),
    ],
)
async def test_a_cluster_that_does_not_show_the_pod_is_named(cluster, server, verb, wanted):
    server.controllers.unschedulable = "no"
    server.faults.fail(403, verb, "pods", times=1_000_000)
    with pytest.raises(AgentStartError) as refused:
        await cluster.launch(cluster.daemon(pace=0.002), *CAT)
    assert str(refused.value).startswith(wanted)
    server.faults.clear()


def test_an_error_without_a_number_is_shown_without_one():
    assert str(ClusterUnreachable("it does not answer")) == "it does not answer"
    assert str(StreamRefused(404)) == "the cluster has refused the connection to the pod (404)"


async def test_watches_that_end_at_once_do_not_keep_the_cluster_busy(cluster, server):
    server.controllers.unschedulable = "no"
    asked: list[float] = []
    enough = asyncio.Event()

    async def end_at_once(_request: web.Request, kind, *_: object, **__: object) -> web.Response:
        if kind is PODS:
            asked.append(time.monotonic())
            if len(asked) == 3:
                enough.set()
        return web.Response(text="", content_type="application/json")

    server.watches.serve = end_at_once
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await asyncio.wait_for(enough.wait(), LIMIT)
    assert asked[-1] - asked[0] > 0.4
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


# The agent


async def test_a_stream_of_an_agent_that_falls_silent_alone_is_cut(server, pods):
    process, sink = await pods.start("sh", "-c", "echo up; cat", pace=0.005)
    await sink.line()
    while min(one.pings for one in server.streams.open) < 2:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    server.streams.stall("one", "exec", deaf=True)
    async with asyncio.timeout(LIMIT):
        assert await process.wait() == 255
    assert (process.alive, process.end_reason) == (None, "the connection to the pod was cut")
    server.streams.resume()
