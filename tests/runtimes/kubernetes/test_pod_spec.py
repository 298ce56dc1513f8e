"""The manifest of a pod: what is always in it, what the settings add, and what they can't change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.runtimes.kubernetes import pod_spec
from acpbot.runtimes.kubernetes.pod_spec import Owner, manifest, pod_name, unknown_fields
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes.admission import violations

PLACE = KubernetesSettings(image="registry.example/agent:1")


def made(place: KubernetesSettings = PLACE, *, owner: Owner | None = None, claim: str | None = "c", **spec: Any) -> Any:
    launch = LaunchSpec(
        argv=("agent",),
        cwd=Path("/work/1"),
        env={"KEY": "k7sentinel3"},
        home=Path("/home/1"),
        kubernetes=place,
        **{"session_id": "a1b2", "thread_id": "1", **spec},
    )
    return manifest(launch, place, daemon_id="d1", first_process=("sh", "first"), claim=claim, owner=owner)


def agent(pod: Any) -> Any:
    return next(one for one in pod["spec"]["containers"] if one["name"] == "agent")


def test_a_pod_is_restricted_and_gets_no_token():
    pod = made()
    assert violations(pod["spec"]) == []
    spec = pod["spec"]
    assert (spec["restartPolicy"], spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (
        *("Never", False, False),
    )
    assert spec["activeDeadlineSeconds"] == pod_spec.ACTIVE_SECONDS
    assert "ownerReferences" not in pod["metadata"]
    assert list(unknown_fields(pod, Pod.from_dict(pod).to_dict())) == []


def test_the_volume_of_the_thread_is_mounted_where_the_daemon_has_these_paths():
    mounts = {one["mountPath"]: (one["name"], one["subPath"]) for one in agent(made())["volumeMounts"]}
    assert mounts == {"/home/1": ("thread", "home"), "/tmp": ("thread", "tmp"), "/work/1": ("thread", "workspace")}
    assert made()["spec"]["volumes"] == [{"name": "thread", "persistentVolumeClaim": {"claimName": "c"}}]
    assert made(claim=None)["spec"]["volumes"] == [{"name": "thread", "emptyDir": {}}]


def test_memory_max_is_the_limit_and_what_is_asked_for():
    place = KubernetesSettings(image="a", resources={"requests": {"cpu": "1"}, "limits": {"memory": "9Gi"}})
    assert agent(made(place, memory_max=1024))["resources"] == {
        "requests": {"cpu": "1", "memory": "1024"},
        "limits": {"memory": "1024"},
    }
    less = KubernetesSettings(image="a", resources={"requests": {"memory": "10"}})
    assert agent(made(less, memory_max=1024))["resources"]["requests"] == {"memory": "10"}
    assert agent(made())["resources"] == {}
    (limit,) = pod_spec.limits_not_held(LaunchSpec(argv=(), cwd=Path("/"), env={}, session_id="a", pids_max=3))
    assert (
        str(limit) == "pids_max can't be applied: a pod has no such limit of its own; set podPidsLimit of the kubelet"
    )


def test_secrets_are_variables_by_reference_and_the_agents_own_variables_are_not_in_the_pod():
    pod = made(KubernetesSettings(image="a", secrets=("keys", "API_KEY=anthropic/api-key")))
    assert agent(pod)["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert agent(pod)["env"] == [
        {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}}
    ]
    assert "k7sentinel3" not in str(pod)


def test_pod_template_adds_what_acpbot_does_not_set():
    template: dict[str, Any] = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "x"}},
        "spec": {
            "priorityClassName": "agents",
            "tolerations": [{"key": "agents", "operator": "Exists"}],
            "securityContext": {"runAsUser": 4000, "fsGroup": 4000},
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "containers": [
                {"name": "side", "image": "side:1"},
                {
                    "name": "agent",
                    "imagePullPolicy": "Always",
                    "env": [{"name": "A", "value": "1"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                },
            ],
        },
    }
    pod = made(KubernetesSettings(image="a", pod_template=template, secrets=("B=s/b",), runtime_class="gvisor"))
    spec = pod["spec"]
    assert (pod["metadata"]["labels"]["team"], pod["metadata"]["annotations"]) == ("a", {"note": "x"})
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("agents", "gvisor")
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (4000, True)
    assert [one["name"] for one in spec["volumes"]] == ["cache", "thread"]
    assert {one["name"] for one in spec["containers"]} == {"agent", "side"}
    assert agent(pod)["imagePullPolicy"] == "Always"
    assert [one["name"] for one in agent(pod)["env"]] == ["A", "B"]
    assert "/cache" in {one["mountPath"] for one in agent(pod)["volumeMounts"]}
    assert template["spec"]["containers"][1].keys() == {"name", "imagePullPolicy", "env", "volumeMounts"}


HOSTILE = {
    "metadata": {"name": "x", "namespace": "kube-system", "finalizers": ["a/b"], "labels": {"acpbot.daemon": "other"}},
    "spec": {
        "restartPolicy": "Always",
        "automountServiceAccountToken": True,
        "shareProcessNamespace": True,
        "hostPID": True,
        "hostNetwork": True,
        "securityContext": {"runAsNonRoot": False, "seccompProfile": {"type": "Unconfined"}},
        "volumes": [{"name": "thread", "hostPath": {"path": "/"}}],
        "containers": [
            {
                "name": "agent",
                "image": "other:1",
                "command": ["other"],
                "args": ["more"],
                "stdin": False,
                "securityContext": {
                    "privileged": True,
                    "allowPrivilegeEscalation": True,
                    "capabilities": {"add": ["SYS_ADMIN"]},
                    "seccompProfile": {"type": "Unconfined"},
                },
                "volumeMounts": [{"name": "thread", "mountPath": "/home/1", "subPath": "../other"}],
            }
        ],
    },
}


def test_pod_template_changes_nothing_of_what_must_hold():
    pod = made(KubernetesSettings(image="a", pod_template=HOSTILE))
    assert violations(pod["spec"]) == []
    assert pod["metadata"].keys() == {"name", "labels"}
    assert (pod["metadata"]["name"], pod["metadata"]["labels"]["acpbot.daemon"]) == ("acpbot-a1b2", "d1")
    one = agent(pod)
    assert (one["image"], one["command"], one.get("args"), one["stdin"]) == ("a", ["sh", "first"], None, True)
    assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    without = made()
    assert pod["spec"]["volumes"] == without["spec"]["volumes"]
    assert agent(pod)["volumeMounts"] == agent(without)["volumeMounts"]
    for key in ("restartPolicy", "automountServiceAccountToken", "shareProcessNamespace", "hostPID", "hostNetwork"):
        assert pod["spec"][key] == without["spec"][key]


def test_a_pod_runs_where_and_as_whom_the_settings_say():
    place = KubernetesSettings(image="a", node_selector={"kubernetes.io/arch": "arm64"}, service_account="agents")
    spec = made(place)["spec"]
    assert (spec["nodeSelector"], spec["serviceAccountName"]) == ({"kubernetes.io/arch": "arm64"}, "agents")


def test_a_field_that_a_pod_does_not_have_is_named():
    pod = made(KubernetesSettings(image="a", pod_template={"spec": {"nodeSelctor": {"a": "b"}}}))
    assert list(unknown_fields(pod, Pod.from_dict(pod).to_dict())) == ["spec.nodeSelctor"]


@pytest.mark.parametrize("session_id", ["a1b2", "s_1.X", "-" * 50 + "a", "x" * 119])
def test_each_session_has_a_name_that_a_pod_can_have(session_id):
    name = pod_name(session_id)
    assert name == f"acpbot-{session_id}" or len(name) == len("acpbot-") + 32
    assert name == name.lower()
    assert len(name) <= 63


def test_a_pod_goes_with_its_owner():
    pod = made(owner=Owner("apps/v1", "Deployment", "acpbot", "u1"))
    assert pod["metadata"]["ownerReferences"] == [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "acpbot", "uid": "u1"}
    ]
