"""What keeps a pod from running: what the thread is told meanwhile, what ends the start, and what passes by itself."""

from __future__ import annotations

import asyncio
import re

import pytest

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.errors import AgentStartError
from tests.fakes.kubernetes.events import record
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import CLAIMS, PODS, QUOTAS
from tests.runtimes.kubernetes.daemons import CAT, CLAIM, POD, SETTINGS

IMAGE = str(SETTINGS.image)
SHORT = 0.002
"""A pace at which each limit is over soon."""


async def refusal(cluster, *, pace: float = SHORT, settings=SETTINGS, **more) -> AgentStartError:
    """The error of a start that fails; it leaves no pod behind."""
    with pytest.raises(AgentStartError) as refused:
        await cluster.launch(cluster.daemon(pace=pace), *CAT, settings=settings, **more)
    await cluster.server.wait_for(lambda: not cluster.server.phase("agents", POD), what="removal")
    return refused.value


async def test_the_thread_reads_that_the_image_is_fetched(cluster, server):
    server.add_image(IMAGE, pull_seconds=30)
    await cluster.launch(cluster.daemon(), *CAT)
    assert cluster.told == ["Fetching the image"]


@pytest.mark.parametrize("error", ["manifest unknown", "pull access denied", "unauthorized: authentication required"])
async def test_an_image_that_a_registry_refuses_ends_the_start_at_once(cluster, server, error):
    server.add_image(IMAGE, error=error)
    found = await refusal(cluster, pace=1.0)
    assert str(found).startswith(f"cannot start the agent: the image {IMAGE} can't be fetched: ")
    assert error in str(found)
    assert found.for_people == "The agent's image can't be fetched. An admin can check the log."


async def test_a_registry_that_fails_for_a_while_is_asked_again(cluster, server):
    image = server.add_image(IMAGE, error="dial tcp: i/o timeout")
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await server.wait_for(lambda: "BackOff" in server.event_reasons(POD), what="failed pull")
    image.error = ""
    await starting
    assert "The image can't be fetched, trying again" in cluster.told


@pytest.mark.parametrize(
    ("settings", "wanted", "people"),
    [
        (
            KubernetesSettings(image="Not/An:Image:", namespace="agents"),
            "the image Not/An:Image:: InvalidImageName",
            "The agent's image can't be used.",
        ),
        (
            KubernetesSettings(
                image="a:1",
                namespace="agents",
                pod_template={"spec": {"containers": [{"name": "agent", "imagePullPolicy": "Never"}]}},
            ),
            "the image a:1: ErrImageNeverPull",
            "The agent's image can't be used.",
        ),
        (
            KubernetesSettings(image="a:1", namespace="agents", secrets=("missing",)),
            'its container can\'t be created: secret "missing" not found; check that its secrets are in the namespace',
            "The agent can't be started.",
        ),
        (
            KubernetesSettings(image="a:1", namespace="agents", service_account="nobody"),
            'the cluster does not allow it: .*serviceaccount "nobody" not found',
            "The agent can't be started in the cluster.",
        ),
        (
            KubernetesSettings(image="a:1", namespace="nowhere"),
            "the cluster has no such namespace",
            "The agent can't be started in the cluster.",
        ),
        (
            KubernetesSettings(image="a:1", namespace="agents", pod_template={"spec": {"nodeSelctor": {"a": "b"}}}),
            "a pod has no field spec.nodeSelctor; correct pod_template",
            "The agent couldn't be started.",
        ),
        (
            KubernetesSettings(
                image="a:1",
                namespace="agents",
                pod_template={"spec": {"containers": [{"name": "b", "image": "b:1"}]}},
            ),
            'the namespace does not allow its pod: .*violates PodSecurity "restricted:latest"',
            "The agent can't be started in the cluster.",
        ),
    ],
)
async def test_what_no_wait_can_change_is_named(cluster, settings, wanted, people):
    found = await refusal(cluster, settings=settings)
    assert str(found).startswith("cannot start the agent: ")
    assert re.search(wanted, str(found)), str(found)
    assert found.for_people.startswith(people)


async def test_a_pod_that_no_node_takes_waits_and_begins_when_there_is_one(cluster, server):
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT, memory_max=8 * 1024**3))
    await server.wait_for(lambda: "FailedScheduling" in server.event_reasons(POD), what="refusal of the scheduler")
    await cluster.something_told.wait()
    server.add_node("large", memory="16Gi")
    process, _ = await starting
    assert process.place == f"pod/{POD} on large"
    assert cluster.told == ["Waiting for a free machine: not enough free memory"]


async def test_a_pod_that_no_node_takes_is_given_up(cluster):
    found = await refusal(cluster, memory_max=8 * 1024**3)
    assert "no node can take its pod: 0/1 nodes are available: 1 Insufficient memory.; make room in" in str(found)
    assert (
        found.for_people
        == "The cluster has no room for the agent right now: not enough free memory. Please try again later."
    )


async def test_a_quota_is_waited_for(cluster, server):
    server.set_quota("agents", pods="0")
    starting = asyncio.create_task(cluster.launch(cluster.daemon(pace=0.1), *CAT))
    await cluster.something_told.wait()
    server.delete(QUOTAS, "agents", "limits")
    await starting
    assert cluster.told == ["Waiting for room in the cluster"]


async def test_a_quota_that_stays_used_up_ends_the_start(cluster, server):
    server.set_quota("agents", persistentvolumeclaims="0")
    found = await refusal(cluster)
    assert "the quota of its namespace is used up: " in str(found)
    assert found.for_people == "The cluster has no room for the agent right now. Please try again later."


async def test_a_quota_that_wants_limits_says_which_key_sets_them(cluster, server):
    server.set_quota("agents", limits__memory="4Gi")
    found = await refusal(cluster)
    assert "requires more limits: " in str(found)
    assert str(found).endswith("; set memory_max, and whatever else the quota requires in resources")


async def test_a_volume_that_nobody_makes_ends_the_start(cluster, server):
    server.controllers.binds_claims = False
    found = await refusal(cluster)
    assert "its volume is not ready: pod has unbound immediate PersistentVolumeClaims" in str(found)
    assert cluster.told == ["Waiting for the thread's storage"]
    assert server.store.find(CLAIMS, "agents", CLAIM) is not None


async def test_storage_that_knows_no_volume_of_one_pod_says_so_and_the_next_start_asks_for_one_of_one_node(
    cluster, server
):
    server.controllers.binds_claims = False
    failing = asyncio.create_task(refusal(cluster))
    await server.wait_for(lambda: server.store.find(CLAIMS, "agents", CLAIM), what="claim")
    words = "failed to provision volume: unsupported access mode: SINGLE_NODE_SINGLE_WRITER"
    claim = server.store.get(CLAIMS, "agents", CLAIM)
    record(server.store, claim, "ProvisioningFailed", words, warning=True, by="csi")
    found = str(await failing)
    assert f"its volume is not ready: pod has unbound immediate PersistentVolumeClaims: {words}; see" in found
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await server.wait_for(
        lambda: (one := server.store.find(CLAIMS, "agents", CLAIM)) and one["spec"]["accessModes"] == ["ReadWriteOnce"],
        what="claim of another mode",
    )
    server.controllers.binds_claims = True
    server.controllers.reconcile()
    await starting


async def test_a_claim_that_is_lost_meanwhile_is_told(cluster, server):
    server.controllers.unschedulable = f'persistentvolumeclaim "{CLAIM}" not found'
    found = await refusal(cluster)
    told = f'its volume is missing: persistentvolumeclaim "{CLAIM}" not found; restore the claim from a backup'
    assert told in str(found)
    assert found.for_people == "This thread's storage is missing. An admin can check the log."


@pytest.mark.parametrize("server", [20, 32], indirect=True)
async def test_a_volume_that_another_pod_holds_is_waited_for_until_that_is_gone(cluster, server):
    if server.rest.minor == 20:
        server.faults.fail(422, "create", "persistentvolumeclaims", message="accessModes: Unsupported value")
    runtime = cluster.daemon()
    process, _ = await cluster.launch(runtime, *CAT, session_id="old")
    server.add_node("node-2")
    server.cordon("node-1")
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await cluster.something_told.wait()
    assert cluster.told == ["Waiting for the earlier agent to release the thread's storage"]
    await process.aclose()
    process, _ = await starting
    assert process.place == f"pod/{POD} on node-2"


async def test_a_claim_that_is_being_deleted_is_waited_for(cluster):
    runtime = cluster.daemon()
    process, _ = await cluster.launch(runtime, *CAT, session_id="old")
    await runtime.forget("1")
    starting = asyncio.create_task(cluster.launch(runtime, *CAT))
    await cluster.something_told.wait()
    await process.aclose()
    await starting
    assert cluster.told[0] == "Waiting until the thread's old storage is gone"


async def test_a_pod_that_is_deleted_before_it_runs_ends_the_start(cluster, server):
    server.add_image(IMAGE, pull_seconds=1000)
    starting = asyncio.create_task(refusal(cluster, pace=1.0))
    await server.wait_for(lambda: "Pulling" in server.event_reasons(POD), what="pull")
    server.delete(PODS, "agents", POD, grace=0)
    found = await starting
    assert "before it ran" in str(found)
    assert found.for_people == "The agent was stopped by the cluster. Please try again."


async def test_an_api_that_fails_for_a_while_does_not_end_a_start(cluster, server):
    server.add_image(IMAGE, pull_seconds=20)
    server.faults.fail(503, "get", "pods", times=3)
    server.faults.abort("watch", "pods", times=2)
    server.faults.fail(500, "create", "pods", times=2, after=True)
    await cluster.launch(cluster.daemon(), *CAT)
    assert server.phase("agents", POD) == "Running"


async def test_a_cluster_that_does_not_answer_ends_the_start(cluster, server):
    await server.unreachable()
    found = await refusal(cluster)
    assert str(found).startswith("cannot start the agent: the cluster does not answer: ")
    assert found.for_people == "The cluster doesn't answer. Please try again later."


async def test_a_pod_of_somebody_else_with_its_name_is_left_alone(cluster, server):
    container = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    context = {"runAsNonRoot": True, "runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}}
    server.create(PODS, "agents", pod(POD, "sleep", "1000", container=container, securityContext=context))
    with pytest.raises(AgentStartError, match=f"there is a pod {POD} already; find out who made it"):
        await cluster.launch(cluster.daemon(), *CAT)
    await server.wait_running("agents", POD)
