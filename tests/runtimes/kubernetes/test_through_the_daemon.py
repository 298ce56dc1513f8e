"""Agents in pods, driven through a real daemon: a turn, a kill, the daemon's death, the next daemon, another daemon."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

import acpbot
from acpbot.commands.check import check
from tests.fakes.daemon import DaemonProcess
from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.resources import CLAIMS, PODS
from tests.support.cluster_thread import cluster_in_a_thread

pytestmark = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no containers: {sandbox.obstacle()}")

ROOT = Path(acpbot.__file__).parents[1]
CONFIG = f"""
[agent]
command = "/usr/bin/python3"
args = ["-m", "acpbot.demo.agent"]
runtime = "kubernetes"
env = {{ PYTHONPATH = {json.dumps(str(ROOT))} }}
[agent.kubernetes]
image = "registry.example/agent:1"
namespace = "agents"
home_size = "1Gi"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with cluster_in_a_thread(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def daemon(cluster, tmp_path):
    """Starts daemons; with the same name it is the next one of the same database."""
    started = []

    def start(name: str = "d", config: str = CONFIG) -> DaemonProcess:
        started.append(DaemonProcess(tmp_path / name, config, KUBECONFIG=cluster.kubeconfig))
        return started[-1]

    yield start
    for one in started:
        one.close()


def row_of(wire, thread: str) -> dict:
    return next(row for row in wire.call("sessions.list")["sessions"] if row["thread_id"] == thread)


def test_a_kill_leaves_nothing_in_the_pod_and_the_next_message_resumes_on_the_same_volume(cluster, daemon):
    with daemon().wire() as wire:
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "remember the blue door")
        wire.turn("demo", "tool setsid sh -c 'sleep 1000 >/dev/null 2>&1 &'; echo started")
        row = row_of(wire, "demo")
        name = f"acpbot-{row['session_id']}"
        assert (row["runtime"], row["alive"], row["place"]) == ("kubernetes", True, f"pod/{name} on node-1")
        container = cluster.call(lambda: cluster.server.container("agents", name))
        assert len(container.pids()) >= 3
        target = {"thread_id": "demo", "session_id": row["session_id"]}
        (result,) = wire.call("sessions.kill", targets=[target], grace_seconds=0.3)["results"]
        assert (result["outcome"], result["processes_left"], result["proof"]) == ("ended", 0, "engine")
        cluster.wait_for(lambda: not cluster.server.phase("agents", name), what="removal of the pod")
        assert container.pids() == []
        assert "the blue door" in wire.turn("demo", "recall")["text"]
        assert len(cluster.claims("agents")) == 1


def test_a_killed_daemon_leaves_no_pod_and_the_next_one_resumes_and_another_daemons_pods_stay(cluster, daemon):
    other = daemon("other")
    with other.wire() as wire:
        wire.call("chat.open", thread="theirs")
        wire.turn("theirs", "remember the green gate")
        theirs = row_of(wire, "theirs")["place"].split()[0].removeprefix("pod/")
    first = daemon(config=f"{CONFIG}[pool]\nmax_sessions = 20\n")
    threads = [f"t{number}" for number in range(20)]
    with first.wire() as wire:
        for thread in threads:
            wire.call("chat.open", thread=thread)
            wire.turn(thread, f"remember the door of {thread}")
        names = {f"acpbot-{row_of(wire, thread)['session_id']}" for thread in threads}
    containers = [cluster.call(lambda name=name: cluster.server.container("agents", name)) for name in sorted(names)]
    claims = cluster.claims("agents")
    first.stop(signal.SIGKILL)
    first.close()
    ended = {"Succeeded", "Failed"}
    cluster.wait_for(
        lambda: {cluster.server.phase("agents", name) for name in names} <= ended,
        what="end of the pods",
    )
    assert [container.pids() for container in containers] == [[]] * len(names)
    with daemon().wire() as wire:
        cluster.wait_for(lambda: not names & set(_names(cluster)), what="removal of the pods")
        for thread in threads[:2]:
            wire.call("chat.open", thread=thread)
            assert f"the door of {thread}" in wire.turn(thread, "recall")["text"]
        assert cluster.claims("agents") == claims
    assert cluster.call(lambda: cluster.server.phase("agents", theirs)) == "Running"
    with other.wire() as wire:
        wire.call("chat.open", thread="theirs")
        assert "the green gate" in wire.turn("theirs", "recall")["text"]


def test_a_pod_waits_for_the_next_thread_and_the_next_daemon_ends_it_and_makes_another(cluster, daemon):
    config = CONFIG.replace("[agent.kubernetes]", "warm = 1\n[agent.kubernetes]")
    first = daemon("warm", config)
    with first.wire() as wire:
        name = _warm_pod(cluster, wire)
        assert wire.call("sessions.list")["sessions"] == []
    first.stop(signal.SIGKILL)
    first.close()
    second = daemon("warm", config)
    with second.wire() as wire:
        cluster.wait_for(lambda: name not in _names(cluster), what="removal of the first")
        assert _warm_pod(cluster, wire) != name
    assert second.stop() == 0
    cluster.wait_for(lambda: not [name for name in _names(cluster) if "warm" in name], what="removal of the second")


SECONDS = 20.0


def _warm_pod(cluster, wire) -> str:
    """The name of the only one, once the daemon counts it."""
    deadline = time.monotonic() + SECONDS
    while not wire.call("health.get")["warm_places"]:
        assert time.monotonic() < deadline
    (name,) = cluster.call(lambda: [name for name in _names(cluster) if "warm" in name])
    return name


def _names(cluster) -> list[str]:
    """The names of all pods; called in the cluster's loop."""
    return [one["metadata"]["name"] for one in cluster.server.store.list(PODS, "agents")]


ATTACK = """
scan() {
    find / -xdev \\( -path /usr -o -path /opt -o -path /work -o -path /proc \\) -prune -o -name "*$1*" -print
    find /proc/[0-9]*/root/ -maxdepth 4 -name "*$1*"
}
echo "found: $(scan @SECRET@ 2>/dev/null)"
for file in @FILES@; do
    stat "$file" 2>/dev/null && echo "stat works on $file"
    cat "$file" 2>/dev/null && echo "cat works on $file"
    (echo gone >"$file") 2>/dev/null && echo "overwriting works on $file"
    rm -f "$file" 2>/dev/null; ls "$file" 2>/dev/null && echo "there is $file"
done
ls -d @FOLDERS@ 2>/dev/null
git -C @WORK@ rev-parse refs/heads/secret-@SECRET@ 2>/dev/null && echo "the ref can be read"
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep @PATTERN@
echo attacked
"""


def test_a_thread_cannot_find_read_change_or_delete_what_another_thread_has(cluster, daemon):
    with daemon().wire() as wire:
        for thread in ("one", "two"):
            wire.call("chat.open", thread=thread)
        secret = "k7sentinel3"
        leave = (
            f"printf mine >~/{secret}-home && printf mine >{secret}-work && git init -q . && "
            "git -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m x && "
            f"git branch secret-{secret} && git rev-parse refs/heads/secret-{secret}"
        )
        told = wire.turn("one", f"tool {leave}")["text"]
        wire.turn("two", "tool true")
        folder = cluster.folder("agents", _claim_of(cluster, row_of(wire, "one")))
        ours = (folder / "home" / f"{secret}-home", folder / "workspace" / f"{secret}-work")
        kept = {path: path.read_text() for path in ours}
        assert set(kept.values()) == {"mine"}, told
        state = row_of(wire, "one")["cwd"]
        home = state.replace("workspaces/one", "homes/one")
        script = ATTACK.replace("@SECRET@", secret).replace("@PATTERN@", f"[k]{secret[1:]}").replace("@WORK@", state)
        script = script.replace("@FOLDERS@", f"{state} {home}")
        script = script.replace("@FILES@", f"{home}/{secret}-home {state}/{secret}-work")
        results = {}
        for thread in ("two", "one"):  # the last one attacks itself: that shows that the attacks work
            work = cluster.folder("agents", _claim_of(cluster, row_of(wire, thread))) / "workspace"
            (work / "attack.sh").write_text(script)
            wire.turn(thread, "tool sh attack.sh >result.txt 2>&1")
            results[thread] = (work / "result.txt").read_text()
            if thread == "two":
                assert {path: path.read_text() for path in kept} == kept
        assert results["two"] == "found: \nattacked\n"
        assert f"cat works on {home}/{secret}-home" in results["one"]
        assert "the ref can be read" in results["one"]
        assert not any(path.exists() for path in kept)


@pytest.mark.parametrize("removes", [True, False])
def test_a_forgotten_thread_loses_its_volume_where_remove_workspace_says_so(cluster, daemon, removes):
    with (
        daemon(config=f"{CONFIG}[pool]\nremove_workspace = {str(removes).lower()}\n") as running,
        running.wire() as wire,
    ):
        wire.call("chat.open", thread="demo")
        wire.turn("demo", "say a")
        row = row_of(wire, "demo")
        claim = _claim_of(cluster, row)
        target = {"thread_id": "demo", "session_id": row["session_id"]}
        wire.call("sessions.kill", targets=[target], grace_seconds=0.3, forget=True)
        pod = f"acpbot-{row['session_id']}"
        cluster.wait_for(lambda: not cluster.server.phase("agents", pod), what="removal of the pod")
        if removes:
            cluster.wait_for(lambda: cluster.server.store.find(CLAIMS, "agents", claim) is None, what="removal")
        assert (claim in cluster.claims("agents")) is not removes


def test_a_check_starts_the_agent_in_a_pod_and_leaves_nothing(cluster, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    lines: list[str] = []
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin", "KUBECONFIG": cluster.kubeconfig}
    before = cluster.claims("agents")
    assert check(path, environ, lines.append, online=False), lines
    where = "runtime of agent default: kubernetes: in pods of the namespace agents of "
    assert [line for line in lines if line.startswith(where)]
    assert [line for line in lines if line.startswith("agent default: ok in ")]
    assert not list(tmp_path.rglob("logins"))
    cluster.wait_for(lambda: not [name for name in _names(cluster) if "check" in name], what="removal of the pod")
    assert cluster.claims("agents") == before


def _claim_of(cluster, row: dict) -> str:
    pod = cluster.pods("agents")[f"acpbot-{row['session_id']}"]
    claims = (volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"])
    return next(claim["claimName"] for claim in claims if claim)
