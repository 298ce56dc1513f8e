"""What an earlier daemon has left in a cluster, and why pods end that acpbot has not ended."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.runtimes.runtime import Leftover, StoredPlace
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.runtimes.kubernetes.daemons import CAT, CLAIM, POD
from tests.support.launched_agents import LIMIT


def places(cluster) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.server.store.list(PODS, "agents")}


async def test_the_next_daemon_ends_the_pods_of_the_one_before_and_no_others(cluster, server):
    first, others = cluster.daemon(), cluster.daemon("e" * 16)
    process, _ = await cluster.launch(first, *CAT)
    await cluster.launch(first, *CAT, session_id="live", thread_id="2")
    await cluster.launch(others, *CAT, session_id="theirs")
    server.create(PODS, "agents", restricted("unlabelled"))
    stored = [StoredPlace("a1b2", "kubernetes", process.place_ref)]
    found = await cluster.daemon().leftovers(stored, {"live"})
    assert found == [Leftover("kubernetes", f"pod/{POD} on node-1", "registry.example/agent:1", "a1b2", ended=True)]
    await server.wait_for(lambda: POD not in places(cluster), what="removal")
    assert places(cluster) == {"acpbot-live", "acpbot-theirs", "unlabelled"}
    assert len(server.store.list(CLAIMS, "agents")) == 3
    assert await cluster.daemon().leftovers((), {"live"}) == []


def restricted(name: str) -> dict:
    container = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    context = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    return pod(name, "sleep", "1000", container=container, securityContext=context)


async def test_a_pod_that_was_never_on_a_node_is_ended_with_its_deletion(cluster, server):
    server.controllers.unschedulable = "no"
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await server.wait_for(lambda: POD in places(cluster), what="pod")
    (found,) = await cluster.daemon().leftovers((), ())
    assert (found.place, found.ended) == (f"pod/{POD}", True)
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_pod_on_a_lost_node_is_reported_once_and_nothing_is_forced(cluster, server):
    await cluster.launch(cluster.daemon(), *CAT)
    server.lose_node()
    runtime = cluster.daemon(pace=0.02)
    (found,) = await runtime.leftovers((), ())
    assert (found.session_id, found.ended) == ("a1b2", None)
    assert await runtime.leftovers((), ()) == []
    assert [ref["name"] for ref in runtime.strays] == [POD]
    assert POD in places(cluster)
    assert {call.query.get("gracePeriodSeconds") for call in server.calls_to("delete", "pods")} == {"1"}
    server.return_node()
    await server.wait_for(lambda: POD not in places(cluster), what="removal")


async def test_a_cluster_that_does_not_answer_leaves_what_it_may_hold_unknown(cluster, server):
    process, _ = await cluster.launch(cluster.daemon(), *CAT)
    await server.unreachable()
    found = await cluster.daemon().leftovers([StoredPlace("a1b2", "kubernetes", process.place_ref)], ())
    assert found == [Leftover("kubernetes", f"pod/{POD}", "", "a1b2", ended=None)]
    await server.listen()


async def test_a_claim_without_a_thread_is_reported_once_and_kept(cluster, server, caplog):
    process, _ = await cluster.launch(cluster.daemon(), *CAT)
    await process.aclose()
    known = ["1"]
    runtime = cluster.daemon(threads=lambda: known)
    await runtime.leftovers((), ())
    assert "claim_without_thread" not in caplog.text
    known.clear()
    await runtime.leftovers((), ())
    await runtime.leftovers((), ())
    assert caplog.text.count("claim_without_thread") == 1
    assert server.store.find(CLAIMS, "agents", CLAIM) is not None


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        (lambda server: server.evict("agents", POD), "Evicted: The node was low on resource: memory."),
        (lambda server: server.drain("agents", POD), "drained: its pod was evicted from its node"),
        (
            lambda server: server.drain("agents", POD, "PreemptionByScheduler"),
            "preempted: a pod of a higher priority took its place",
        ),
        (
            lambda server: server.oom_kill("agents", POD),
            "OOMKilled: it took more memory than memory_max allows (1024 MiB)",
        ),
        (lambda server: server.delete(PODS, "agents", POD), "its pod was deleted"),
    ],
    ids=["evicted", "drained", "preempted", "out of memory", "deleted"],
)
async def test_an_end_by_others_is_told_and_the_next_session_has_the_same_volume(cluster, server, end, wanted):
    runtime = cluster.daemon()
    process, sink = await cluster.launch(runtime, "sh", "-c", "echo x >~/kept; echo done; cat", memory_max=1024**3)
    assert await sink.line() == "done"
    end(server)
    code = await asyncio.wait_for(process.wait(), LIMIT)
    assert code != 0
    assert process.end_reason in {wanted, wanted.replace("was deleted", "is being deleted")}
    await process.aclose()
    process, sink = await cluster.launch(runtime, "sh", "-c", "cat ~/kept; cat", session_id="c3d4")
    assert await sink.line() == "x"


async def test_a_kill_on_a_lost_node_proves_nothing_and_forces_nothing(cluster, server):
    process, _ = await cluster.launch(cluster.daemon(), *CAT)
    server.lose_node()
    report = await process.kill_all(0.5)
    assert (report.settled, report.proof) == (False, "none")
    assert {call.query.get("gracePeriodSeconds") for call in server.calls_to("delete", "pods")} <= {"1"}
    assert POD in places(cluster)
    server.return_node()
