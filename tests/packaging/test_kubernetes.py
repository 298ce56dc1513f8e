"""What kustomize and Helm render is valid for Kubernetes, the pod security standard and acpbot itself."""

from __future__ import annotations

import base64
import copy
import ipaddress
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import kubernetes_validate  # type: ignore[import-untyped]  # it has no annotations
import pytest
import yaml

from acpbot import __version__
from acpbot.config import loader
from acpbot.runtimes.local.hidden_folder import kernel_has_landlock
from tests.support.packaging.container import Container, Image, obstacle, pod_mounts
from tests.support.packaging.rendered import HELMED, KUSTOMIZED, LIMIT, PACKAGING, TOKEN, Rendered, each

if TYPE_CHECKING:
    from acpbot.config.settings import Settings

KUSTOMIZATIONS = [("kustomize", name) for name in (*KUSTOMIZED, "example")]
CHARTS = [("helm", name) for name in HELMED]
KUBERNETES = ("1.25", "1.37")  # the oldest that the chart supports, and the newest that the schemas include

# The renderings whose agents get pods of their own in this cluster: only there acpbot has a token of the API.
IN_PODS = {"pods", "pods in two namespaces", "pods with nothing around", "agent-pods", "all"}

needs_namespaces = pytest.mark.skipif(obstacle() is not None, reason=f"no container can be had: {obstacle()}")


every = each(*KUSTOMIZATIONS, *CHARTS)


@every
def test_every_object_is_valid_for_kubernetes(rendered):
    for version in KUBERNETES:
        for one in rendered.objects:
            if one["apiVersion"].startswith("monitoring.coreos.com/"):
                continue  # a custom resource: test_helm looks at it
            kubernetes_validate.validate(one, version, strict=True)


def test_the_validation_rejects_a_bad_object(helmed):
    wrong = helmed["on"].the("Deployment") | {"spec": {"replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[-1], strict=True)


@every
def test_the_pod_meets_the_restricted_security_standard(rendered):
    """Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    pod, container = rendered.pod, rendered.container
    assert not {"hostNetwork", "hostPID", "hostIPC", "ephemeralContainers"} & set(pod)
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"configMap", "emptyDir", "ephemeral", "projected", "secret", "persistentVolumeClaim"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    # Beyond the standard.
    assert pod["automountServiceAccountToken"] is (rendered.name in IN_PODS)
    assert container["resources"]["limits"]["memory"]
    assert not any("hostPort" in port for port in container.get("ports", ()))


@every
def test_the_reason_of_an_exit_is_in_the_status_of_the_pod(rendered):
    """Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/."""
    assert rendered.container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@every
def test_a_full_tmp_is_no_reason_to_evict_the_pod(rendered):
    """The kubelet evicts a pod whose emptyDir is larger than its limit, with all sessions; a claim is just full."""
    (tmp,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "tmp"]
    if rendered.name in {"nothing kept", "tmp on the node"}:
        assert tmp["emptyDir"]["sizeLimit"], "the operator wants no claims"
        return
    claim = tmp["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert claim["resources"]["requests"]["storage"]
    assert claim["accessModes"] == ["ReadWriteOnce"]


@every
def test_one_pod_at_a_time_that_gets_the_time_to_drain(rendered, tmp_path):
    spec = rendered.the("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    labels = spec["template"]["metadata"]["labels"]
    assert labels.items() >= spec["selector"]["matchLabels"].items()
    settings = parsed(rendered, tmp_path)
    if rendered.name == "every other value":
        assert rendered.pod["terminationGracePeriodSeconds"] == 200, "the operator's own"
        return
    needed = settings.shutdown.drain_seconds + settings.pool.grace_seconds + 12 + 5  # see compose.yaml
    assert needed <= rendered.pod["terminationGracePeriodSeconds"] <= math.ceil(needed) + 15


@every
def test_probes_are_there_if_and_only_if_the_shim_is_on(rendered, tmp_path):
    shim = parsed(rendered, tmp_path).management.probes
    assert bool(rendered.probes) == shim.enabled
    if not shim.enabled:
        assert "ports" not in rendered.container
        return
    assert rendered.probes_port == shim.port
    assert ipaddress.ip_address(shim.host).is_unspecified, "the kubelet comes from outside"
    asked = {name: (probe["httpGet"]["path"], probe["httpGet"]["port"]) for name, probe in rendered.probes.items()}
    assert asked == {
        "startupProbe": ("/livez", "probes"),
        "livenessProbe": ("/livez", "probes"),
        "readinessProbe": ("/readyz", "probes"),
    }


@each(("kustomize", "probes"), ("kustomize", "example"), ("helm", "on"))
def test_a_daemon_that_hangs_is_replaced_within_a_minute_and_a_slow_one_is_not(rendered):
    liveness = rendered.probes["livenessProbe"]
    unanswered = liveness["failureThreshold"] * max(liveness["periodSeconds"], liveness["timeoutSeconds"])
    until_it_is_killed = liveness["periodSeconds"] + unanswered + liveness["terminationGracePeriodSeconds"]
    assert until_it_is_killed <= 55, "the rest of the minute is for the start of the next one"
    assert unanswered >= 30, "a loaded node, a slow disk: such a daemon answers again"
    assert "terminationGracePeriodSeconds" not in rendered.probes["readinessProbe"], "Kubernetes refuses it there"


@each(("kustomize", "base"), ("kustomize", "network-policy"), ("helm", "off"), ("helm", "a policy without probes"))
def test_probes_are_off_by_default(rendered):
    assert rendered.probes == {}
    assert rendered.config.get("management", {}).get("probes", {"enabled": False})["enabled"] is False


@every
def test_the_token_is_in_the_secret_only(rendered):
    for one in rendered.objects:
        text = yaml.safe_dump(one)
        if one["kind"] == "Secret":
            text = yaml.safe_dump({key: value for key, value in one.items() if key not in {"data", "stringData"}})
        assert TOKEN not in text
        assert base64.b64encode(TOKEN.encode()).decode() not in text
    (volume,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "config"]
    assert volume["projected"]["defaultMode"] == 0o440


@every
def test_every_reference_to_a_name_resolves(rendered):
    """A name that is not rendered is of an object that the operator creates."""
    brought = {"acpbot-env", "token", "keys", "mine", "projects"} | (
        {"acpbot"} if rendered.name in KUSTOMIZED else set()
    )
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered.objects}
    wanted = set()
    for volume in rendered.pod["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            wanted.add(("PersistentVolumeClaim", claim["claimName"]))
        for source in volume.get("projected", {}).get("sources", ()):
            wanted |= {
                ({"configMap": "ConfigMap", "secret": "Secret"}[kind], one["name"]) for kind, one in source.items()
            }
    assert {(kind, name) for kind, name in wanted - made if name not in brought} == set()
    (config,) = [one for one in rendered.all_of("ConfigMap") if "config.toml" in one.get("data", ())]
    assert ("ConfigMap", config["metadata"]["name"]) in wanted


@every
def test_the_network_policy_allows_dns_and_https_out_and_probes_in(rendered):
    for policy in rendered.all_of("NetworkPolicy"):
        spec = policy["spec"]
        if policy["metadata"].get("namespace") != rendered.the("Deployment")["metadata"].get("namespace"):
            continue  # that of the agents' pods
        assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
        labels = rendered.the("Deployment")["spec"]["template"]["metadata"]["labels"]
        assert labels.items() >= spec["podSelector"]["matchLabels"].items()
        let_out = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
        api = {("TCP", 6443)} if rendered.name in IN_PODS else set()
        assert let_out - {("TCP", 22)} == {("UDP", 53), ("TCP", 53), ("TCP", 443)} | api
        names = {port["name"] for port in rendered.container.get("ports", ())}
        let_in = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        assert let_in & names == names, "the kubelet"
        assert let_in <= {"probes"}, "and nobody else; in a pod without such a port it means none"


@every
def test_the_pods_of_agents_get_what_they_need_and_acpbot_the_least_rights(rendered):
    own = rendered.the("Deployment")["metadata"].get("namespace", "bots")
    namespaces = {one["metadata"]["namespace"] for one in rendered.all_of("Role")}
    assert bool(namespaces) == (rendered.name in IN_PODS and rendered.name not in KUSTOMIZED), "kustomize: agents"
    check_rights(rendered, own, namespaces)
    for binding in rendered.all_of("RoleBinding"):
        assert binding["subjects"][0]["name"] == rendered.pod["serviceAccountName"]


def test_the_namespace_of_agents_that_kustomize_makes_is_as_that_of_the_chart(kustomized, helmed):
    agents, pods = kustomized["agents"], kustomized["agent-pods"]
    check_rights(agents, "acpbot", {"acpbot-agents"})
    assert agents.the("RoleBinding")["subjects"][0]["name"] == pods.pod["serviceAccountName"] == "acpbot"
    assert pods.the("ServiceAccount")["automountServiceAccountToken"] is False
    for one in agents.objects:
        kubernetes_validate.validate(one, KUBERNETES[-1], strict=True)
        same = [
            other
            for other in helmed["pods"].all_of(one["kind"])
            if one["kind"] == "Namespace" or other["metadata"].get("namespace") == "acpbot-agents"
        ]
        assert [(other.get("spec"), other.get("rules")) for other in same] == [(one.get("spec"), one.get("rules"))]
    labels = agents.the("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def check_rights(rendered: Rendered, own: str, namespaces: set[str]) -> None:
    """``own``: the namespace of acpbot itself; ``namespaces``: those of agents."""
    assert own not in namespaces, "acpbot could run commands in its own pod, and mount its own Secrets"
    assert not rendered.all_of("ClusterRole")
    assert not rendered.all_of("ClusterRoleBinding")
    for role in rendered.all_of("Role"):
        allowed = {
            (resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        assert {tuple(rule["apiGroups"]) for rule in role["rules"]} == {("",)}
        assert allowed == {
            *(("pods", verb) for verb in ("create", "get", "list", "watch", "delete")),
            *((f"pods/{way}", verb) for way in ("exec", "attach") for verb in ("create", "get")),
            *(("persistentvolumeclaims", verb) for verb in ("create", "get", "list", "delete")),
            *(("events", verb) for verb in ("list", "watch")),
        }
    for binding in rendered.all_of("RoleBinding"):
        (subject,) = binding["subjects"]
        assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", own)
        assert binding["roleRef"]["name"] == rendered.all_of("Role")[0]["metadata"]["name"]
    for policy in rendered.all_of("NetworkPolicy"):
        if policy["metadata"].get("namespace") in namespaces:
            spec = policy["spec"]
            assert (spec["podSelector"], spec["ingress"], spec["policyTypes"]) == ({}, [], ["Ingress", "Egress"])
            ports = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
            assert ports - {("TCP", 22)} == {("UDP", 53), ("TCP", 53), ("TCP", 443)}


def test_only_some_renderings_have_a_network_policy(kustomized, helmed):
    with_policy = {one.name for one in (*kustomized.values(), *helmed.values()) if one.all_of("NetworkPolicy")}
    assert with_policy == {
        *("network-policy", "both", "both, the other way round", "example", "all", "agents"),
        *("on, another port", "a policy without probes", "pods", "pods in two namespaces"),
    }


def test_the_order_of_components_does_not_matter(kustomized):
    one, other = kustomized["both"], kustomized["both, the other way round"]
    assert sorted(map(yaml.safe_dump, one.objects)) == sorted(map(yaml.safe_dump, other.objects))


def test_a_policy_lets_acpbot_reach_the_api_where_it_makes_pods(kustomized):
    def ports(name: str) -> set[int]:
        spec = kustomized[name].the("NetworkPolicy")["spec"]
        return {port["port"] for rule in spec["egress"] for port in rule["ports"]}

    assert ports("all") - ports("both") == {6443}
    assert not kustomized["agent-pods"].all_of("NetworkPolicy"), "without a policy everything is let out"


def test_a_component_adds_to_the_one_configuration(kustomized):
    base, probes = kustomized["base"], kustomized["probes"]
    assert probes.config_text.startswith(base.config_text)
    added = {"management": {"probes": {"enabled": True, "bind": "0.0.0.0:8090"}}}
    assert probes.config == base.config | added
    (only,) = probes.all_of("ConfigMap")
    assert only["metadata"]["name"] == "acpbot", "nothing else is applied"


def test_a_changed_configuration_keeps_the_pod_that_kustomize_made(kustomized):
    base, example = kustomized["base"], kustomized["example"]
    assert base.config != example.config
    names = {one.the("ConfigMap")["metadata"]["name"] for one in (base, example)}
    assert names == {"acpbot"}, "with another name it would be another pod"


def test_the_example_has_its_own_configuration_with_the_probes_on(kustomized):
    example = kustomized["example"]
    assert example.config["pool"] == {"max_sessions": 4}
    assert example.config["management"]["probes"]["enabled"] is True
    assert base64.b64decode(example.the("Secret")["data"]["discord-token"]).decode() == TOKEN
    assert {one["metadata"]["namespace"] for one in example.objects} == {"acpbot"}


def test_all_versions_are_the_same():
    chart = yaml.safe_load((PACKAGING / "helm" / "acpbot" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    example = yaml.safe_load((PACKAGING / "kubernetes" / "example" / "kustomization.yaml").read_text())
    assert example["images"][0]["newTag"] == __version__
    for file in ("kubernetes/base/deployment.yaml", "container/compose.yaml"):
        assert f"image: acpbot:{__version__}\n" in (PACKAGING / file).read_text()


# Running acpbot in the pods.


def parsed(rendered: Rendered, folder: Path) -> Settings:
    """The configuration as acpbot reads it, with the token in the same folder, and the keys of MCP servers set."""
    (folder / "discord-token").write_text(TOKEN)
    environ = {"HOME": "/nowhere", "DOCS_KEY": "a", "WIKI_KEY": "b"}
    return loader.parse(rendered.config_text, str(folder / "config.toml"), environ)


def configuration(rendered: Rendered) -> dict[tuple[str, str], dict[str, str]]:
    """The content of ConfigMaps and Secrets; those that the operator creates contain the token."""
    data = {("configMap", one["metadata"]["name"]): one.get("data", {}) for one in rendered.all_of("ConfigMap")}
    for one in rendered.all_of("Secret"):
        data["secret", one["metadata"]["name"]] = {
            key: base64.b64decode(value).decode() for key, value in one["data"].items()
        }
    for brought in ("acpbot", "token"):
        data.setdefault(("secret", brought), {"discord-token": TOKEN})
    return data


def pod(rendered: Rendered, folder: Path, args: list[str] | None = None) -> Container:
    """The pod's container, as a kubelet starts it."""
    user = rendered.pod["securityContext"]
    container = rendered.container
    assert "command" not in container
    assert "args" not in container
    return Container(
        Image.of(),
        folder,
        pod_mounts(folder, rendered.pod, configuration(rendered)),
        args,
        groups=(user["fsGroup"],),
        uid=user["runAsUser"],
        gid=user["runAsGroup"],
    )


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="acpbot-") as made:
        yield Path(made)


@needs_namespaces
@each(
    *[one for one in KUSTOMIZATIONS if one[1] in {"base", "probes", "example"}],
    *[one for one in CHARTS if one[1] in {"off", "on, another port", "local", "two agents"}],
)
def test_the_configuration_passes_the_check_in_the_pod(rendered, folder):
    with pod(rendered, folder, ["check"]) as container:
        assert container.process.wait(LIMIT) == 0, container.log
        log = container.log
    assert "agent default: ok" in log
    assert ("agent second: ok" in log) == (rendered.name == "two agents")
    assert TOKEN not in log


@needs_namespaces
@each(("kustomize", "base"), ("helm", "off"))
def test_an_agent_in_the_pod_does_not_read_the_bot_token(rendered, folder):
    if not kernel_has_landlock():
        pytest.skip("the kernel has no Landlock")
    rendered = copy.deepcopy(rendered)  # others read it too
    data = rendered.the("ConfigMap")["data"]
    reads = """args = ["-c", "id -u >&2; cat /etc/acpbot/discord-token >&2"]"""
    data["config.toml"] = (
        data["config.toml"].replace('"python3"', '"sh"').replace('args = ["-m", "acpbot.demo.agent"]', reads)
    )
    assert reads in data["config.toml"]
    with pod(rendered, folder, ["check"]) as container:
        assert container.process.wait(LIMIT) != 0
        log = container.log
    assert "can't read what is in /etc/acpbot" in log
    assert "Permission denied" in log
    assert TOKEN not in log


@pytest.mark.service
@needs_namespaces
@each(("kustomize", "both"), ("helm", "on, another port"))
def test_while_discord_is_down_the_pod_is_alive_but_not_ready(rendered, folder):
    """The container has no network."""
    with pod(rendered, folder) as container:
        container.wait_for("discord_attempt_failed")
        ipv6 = rendered.config["management"]["probes"]["bind"].startswith("[::]")
        answers = {
            name: container.get(rendered.probes_port, probe["httpGet"]["path"], ipv6=ipv6)
            for name, probe in rendered.probes.items()
        }
        assert answers["startupProbe"] == answers["livenessProbe"] == (200, "ok")
        status, words = answers["readinessProbe"]
        assert status == 503
        assert "[-]chat failed: reason withheld" in words
        assert "discord has not been connected yet" in container.exec("acpctl", "health").stdout
        listed = container.exec("acpctl", "sessions")
        assert (listed.returncode, listed.stderr) == (0, "no sessions\n")
        assert container.stop(within=rendered.pod["terminationGracePeriodSeconds"]) == 0


@needs_namespaces
@each(("kustomize", "base"), ("helm", "off"))
def test_nothing_listens_on_tcp_without_the_probes(rendered, folder):
    with pod(rendered, folder) as container:
        container.wait_for("daemon_running")
        for table in ("tcp", "tcp6"):
            states = [line.split()[3] for line in container.exec("cat", f"/proc/net/{table}").stdout.splitlines()[1:]]
            assert "0A" not in states, "TCP_LISTEN"
        assert container.exec("acpctl", "sessions").returncode == 0
