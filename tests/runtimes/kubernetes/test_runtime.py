"""Agents in pods of the loopback cluster, by its API alone: a start, its volume, its end, and what a check says."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.config.settings import AgentSettings
from acpbot.errors import AgentStartError
from tests.fakes.kubernetes.admission import Rule
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.runtimes.kubernetes.daemons import CAT, CLAIM, POD, SETTINGS
from tests.support.launched_agents import PYTHON_ENV

CHECKED = AgentSettings(name="boxed", command="agent", runtime="kubernetes", kubernetes=SETTINGS)


async def test_an_agent_runs_in_a_restricted_pod_with_a_volume_of_its_thread(cluster, server):
    script = 'echo x >~/kept; echo "$HOME $NAME $PWD $(id -u)"; cat'
    process, sink = await cluster.launch(cluster.daemon(), "sh", "-c", script)
    assert await sink.line() == "/srv/homes/1 it's /srv/work/1 1000"
    assert (process.place, process.place_ref) == (
        f"pod/{POD} on node-1",
        {"context": None, "namespace": "agents", "name": POD, "uid": process.pod.uid},
    )
    report = await process.kill_all()
    assert (report.settled, report.proof, process.end_reason) == (True, "engine", "SIGKILL")
    await server.wait_for(lambda: not server.phase("agents", POD), what="removal")
    assert (server.folder("agents", CLAIM) / "home" / "kept").read_text() == "x\n"


async def test_the_next_session_of_a_thread_has_the_same_volume_on_another_node(cluster, server):
    runtime = cluster.daemon()
    process, sink = await cluster.launch(runtime, "sh", "-c", "echo one >kept; echo done; cat")
    assert await sink.line() == "done"
    await process.kill_all()
    server.add_node("node-2")
    server.cordon("node-1")
    process, sink = await cluster.launch(runtime, "sh", "-c", "cat kept; cat", session_id="c3d4")
    assert await sink.line() == "one"
    assert process.place == "pod/acpbot-c3d4 on node-2"
    assert [one["metadata"]["name"] for one in server.store.list(CLAIMS, "agents")] == [CLAIM]


async def test_a_cluster_without_volumes_of_one_pod_gets_one_of_one_node(cluster, server):
    server.faults.fail(422, "create", "persistentvolumeclaims", message="spec.accessModes: Unsupported value")
    process, _ = await cluster.launch(cluster.daemon(), *CAT)
    await process.aclose()
    assert server.store.get(CLAIMS, "agents", CLAIM)["spec"]["accessModes"] == ["ReadWriteOnce"]


async def test_a_forgotten_thread_loses_its_volume_and_no_other_thread_does(cluster, server):
    runtime = cluster.daemon()
    for session, thread in (("s1", "1"), ("s2", "2")):
        process, _ = await cluster.launch(runtime, *CAT, session_id=session, thread_id=thread)
        await process.aclose()
    others = cluster.daemon("e" * 16)
    process, _ = await cluster.launch(others, *CAT, session_id="s3")
    await process.aclose()
    before = {one["metadata"]["name"] for one in server.store.list(CLAIMS, "agents")}
    await runtime.forget("1")
    await server.wait_for(lambda: server.store.find(CLAIMS, "agents", CLAIM) is None, what="removal of the claim")
    assert {one["metadata"]["name"] for one in server.store.list(CLAIMS, "agents")} == before - {CLAIM}


async def test_an_agent_has_so_many_pods_as_max_sessions_says(cluster):
    runtime = cluster.daemon()
    one = KubernetesSettings(image="a:1", namespace="agents", max_sessions=1)
    process, _ = await cluster.launch(runtime, *CAT, settings=one, agent="boxed")
    with pytest.raises(AgentStartError, match=r"it has 1 pod already; raise max_sessions") as refused:
        await cluster.launch(runtime, *CAT, settings=one, agent="boxed", session_id="c3d4", thread_id="2")
    assert refused.value.for_people == "This agent can't take on more threads right now. Please try again later."
    await process.kill_all()
    process, _ = await cluster.launch(runtime, *CAT, settings=one, agent="boxed", session_id="c3d4", thread_id="2")
    await process.aclose()


async def test_usage_is_what_the_pod_itself_sees(cluster):
    runtime = cluster.daemon()
    process, _ = await cluster.launch(runtime, *CAT)
    usage = (await runtime.sample([process]))["a1b2"]
    assert usage.processes >= 1
    assert usage.rss_bytes > 0
    await process.aclose()
    assert await runtime.sample([process]) == {}


async def test_a_check_says_where_pods_are_and_makes_none(cluster, server):
    clauses = await cluster.daemon().check(CHECKED)
    assert clauses == [
        f"in pods of the namespace agents of {server.url}",
        "warning: memory_max is not set: one pod may take all memory of its node",
    ]
    assert server.store.list(PODS, "agents") == server.store.list(CLAIMS, "agents") == []


async def test_a_check_tells_what_the_cluster_would_refuse(cluster, server):
    server.set_quota("agents", pods="0")
    assert "warning: the pod would have to wait now: the quota of its namespace is used up" in " ".join(
        await cluster.daemon().check(CHECKED)
    )
    server.add_user("a-weak-token", "acpbot", [Rule(("create",), ("pods",))])
    weak = cluster.daemon(token="a-weak-token")
    with pytest.raises(
        AgentStartError, match=r"^cannot run agents in pods: the cluster does not allow it: .*; check acpbot's Role"
    ):
        await weak.check(CHECKED)
    await server.unreachable()
    with pytest.raises(AgentStartError, match=r"^cannot run agents in pods: the cluster does not answer: "):
        await cluster.daemon().check(CHECKED)


async def test_a_kubeconfig_that_is_missing_or_no_yaml_is_named(tmp_path, cluster):
    for file, wanted in ((tmp_path / "missing", "not found"), (tmp_path / "bad", "")):
        if not wanted:
            file.write_text("a: [")
        runtime = cluster.daemon(kubeconfig=file)
        with pytest.raises(
            AgentStartError, match=rf"^cannot start the agent: the kubeconfig can't be used: .*{wanted}"
        ):
            await cluster.launch(runtime, *CAT)


async def test_a_start_that_is_cancelled_leaves_no_pod_and_keeps_the_claim(cluster, server):
    server.add_image(str(SETTINGS.image), pull_seconds=1000)
    starting = asyncio.create_task(cluster.launch(cluster.daemon(), *CAT))
    await server.wait_for(lambda: "Pulling" in server.event_reasons(POD), what="pull")
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await server.wait_for(lambda: not server.phase("agents", POD), what="removal")
    assert server.store.find(CLAIMS, "agents", CLAIM) is not None


def test_without_the_extra_package_a_start_says_what_to_install():
    script = """
import sys
from acpbot.errors import AgentStartError
from acpbot.runtimes.registry import Runtimes
sys.modules["lightkube"] = None
try:
    Runtimes(None, daemon_id="d").of("kubernetes")
except AgentStartError as error:
    print(error)
assert "lightkube.core" not in sys.modules
""".replace("Runtimes(None,", "Runtimes(type('Local', (), {'kind': 'local', 'environ': {}})(),")
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=PYTHON_ENV)
    assert told.stdout == (
        "cannot start the agent: the Python package lightkube is missing; install acpbot[kubernetes]\n"
    )


async def test_the_word_of_a_kubelet_is_kept_when_the_object_is_gone(cluster, server):
    """No command comes to its end in the pod, and the agent keeps its dead-man from hearing the end of its stdin."""
    script = "exec 9>/proc/1/fd/0; trap '' TERM; while read line; do echo got $line; done; sleep 1000"
    process, _ = await cluster.launch(cluster.daemon(), "sh", "-c", script)
    container = server.container("agents", POD)
    hold = server.faults.hold("*", "pods/exec")
    assert not (await process.kill_all(0.01)).settled
    await server.wait_for(lambda: not server.phase("agents", POD), what="removal")
    await server.wait_for(lambda: not container.pids(), what="the end of its processes")
    report = await process.kill_all(0.01)
    assert (report.settled, report.proof, report.looks) == (True, "engine", 0)
    hold.release()
