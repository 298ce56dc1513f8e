"""The chart: lint, refused values, and what the values become. test_kubernetes tests what kustomize renders too."""

from __future__ import annotations

import tomllib

import pytest

from acpbot import __version__
from tests.support.packaging import values_schema
from tests.support.packaging.rendered import CLAUDE, HELMED, MCP, WRONG


@pytest.mark.parametrize("name", HELMED)
def test_lint_reports_only_the_missing_icon(helm_outcomes, name):
    assert helm_outcomes[name]["lint"] == ["icon is recommended"]


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_value_is_refused_with_its_path_and_reason(helm_outcomes, name):
    assert "files" not in helm_outcomes[name]
    assert WRONG[name][1] in helm_outcomes[name]["error"]


def test_the_schema_is_current():
    advice = "the keys of config.toml have changed; run: python -m tests.support.packaging.values_schema"
    assert values_schema.PLACE.read_text() == values_schema.text(), advice


def test_probes_are_derived_from_bind(helmed):
    on, elsewhere, off = helmed["on"], helmed["on, another port"], helmed["off"]
    assert (on.probes_port, elsewhere.probes_port) == (8090, 9100)
    assert on.config["management"]["probes"] == {"enabled": True, "bind": "0.0.0.0:8090", "metrics": False}
    assert elsewhere.config["management"]["probes"] == {
        "enabled": True,
        "bind": "[::]:9100",
        "grace_seconds": 0.5,
        "metrics": False,
    }
    assert off.config["management"]["probes"]["enabled"] is False
    assert off.probes == {}
    assert "ports" not in off.container
    assert elsewhere.probes["livenessProbe"]["failureThreshold"] == 9
    assert elsewhere.probes["livenessProbe"]["periodSeconds"] == 5


def test_a_pod_monitor_scrapes_the_page_where_there_is_one(helmed):
    monitored = helmed["monitored"]
    assert monitored.config["management"]["probes"]["metrics"] is True
    monitor = monitored.the("PodMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    pod = monitored.the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert pod.items() >= monitor["spec"]["selector"]["matchLabels"].items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "probes", "path": "/metrics", "interval": "15s"}
    assert not helmed["on"].all_of("PodMonitor")


def test_values_become_toml_of_the_same_types(helmed):
    config = helmed["all of it"].config
    assert config == {
        "default_agent": "claude",
        "discord": {"allowed_users": ["123456789012345678"], "allow_dm": True, "bot_token_file": "discord-token"},
        "agents": {
            "claude": {**CLAUDE, "mcp_servers": MCP},
        },
        "pool": {"max_sessions": 3, "session_ttl_hours": 0.5, "grace_seconds": 2.5},
        "management": {"probes": {"enabled": True, "bind": "0.0.0.0:8090", "metrics": False}},
        "log": {"format": "json"},
        "shutdown": {"drain_seconds": 90},
    }
    assert isinstance(config["pool"]["max_sessions"], int), "10.0 is no whole number to acpbot"
    assert helmed["all of it"].pod["terminationGracePeriodSeconds"] == 90 + 3 + 25


def test_the_other_values_reach_the_manifests(helmed):
    full = helmed["all of it"]
    assert full.container["image"] == "registry.example/acpbot@sha256:" + "a" * 64
    assert helmed["off"].container["image"] == f"acpbot:{__version__}"
    values = HELMED["all of it"]
    assert full.container["env"] == values["extraEnv"]
    assert full.container["envFrom"] == values["extraEnvFrom"]
    assert values["extraVolumes"][0] in full.pod["volumes"]
    assert values["extraVolumeMounts"][0] in full.container["volumeMounts"]
    for name in ("imagePullSecrets", "nodeSelector", "tolerations", "affinity", "serviceAccountName"):
        assert full.pod[name] == values[name]
    template = full.the("Deployment")["spec"]["template"]["metadata"]
    assert template["labels"]["team"] == "bots"
    assert template["annotations"]["a"] == "b"
    assert {one["metadata"]["name"] for one in full.objects} == {"bot"}


def test_the_token_comes_from_the_chart_or_an_existing_secret(helmed):
    created, standing, local = helmed["on, another port"], helmed["off"], helmed["local"]
    assert created.the("Secret")["metadata"]["name"] == "acpbot"
    assert not standing.all_of("Secret")
    (secret,) = [one["secret"] for one in _sources(standing) if "secret" in one]
    assert secret == {"name": "token", "items": [{"key": "discord-token", "path": "discord-token"}]}
    assert not local.all_of("Secret")
    assert not [one for one in _sources(local) if "secret" in one]
    assert "discord" not in local.config


def _sources(rendered):
    (volume,) = [volume for volume in rendered.pod["volumes"] if volume["name"] == "config"]
    return volume["projected"]["sources"]


def test_the_state_is_in_a_volume_claim(helmed):
    def state(name: str) -> dict:
        (volume,) = [volume for volume in helmed[name].pod["volumes"] if volume["name"] == "state"]
        return volume

    assert state("off")["persistentVolumeClaim"] == {"claimName": "acpbot"}
    kept = helmed["off"].the("PersistentVolumeClaim")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "storageClassName" not in kept["spec"]
    fast = helmed["a class of storage"].the("PersistentVolumeClaim")
    assert fast["spec"]["storageClassName"] == "fast"
    assert fast["spec"]["resources"]["requests"]["storage"] == "1Ti"
    assert "annotations" not in fast["metadata"]
    assert state("all of it")["persistentVolumeClaim"] == {"claimName": "mine"}
    assert not helmed["all of it"].all_of("PersistentVolumeClaim")
    assert state("nothing kept")["emptyDir"] == {}
    assert not helmed["nothing kept"].all_of("PersistentVolumeClaim")


def test_a_new_pod_comes_only_with_what_needs_a_restart(helmed):
    def checksums(name: str) -> dict[str, str]:
        annotations = helmed[name].the("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return {key: value for key, value in annotations.items() if key.startswith("checksum/")}

    assert helmed["off"].config != helmed["one more user"].config
    assert helmed["off"].pod == helmed["one more user"].pod, "acpbot reads these keys again by itself"
    assert checksums("off") == checksums("one more user")
    for other in ("on", "local", "another store"):
        assert checksums("off")["checksum/config"] != checksums(other)["checksum/config"]
    assert checksums("off").keys() == {"checksum/config"}
    assert checksums("nothing kept").keys() == {"checksum/config", "checksum/secret"}


def test_the_list_of_keys_that_need_a_restart_is_current():
    advice = "NEEDS_RESTART has changed; run: python -m tests.support.packaging.values_schema"
    assert values_schema.RESTART_PLACE.read_text() == values_schema.needs_restart(), advice


def test_the_agent_without_a_model_is_there_only_where_no_other_is(helmed):
    assert helmed["off"].config["agents"] == {"default": {"command": "python3", "args": ["-m", "acpbot.demo.agent"]}}
    assert helmed["own agent"].config["agents"].keys() == {"claude", "reviewer"}


def test_a_key_of_a_secret_takes_one_edit(helmed):
    own = helmed["own agent"]
    assert own.config["agents"]["claude"] == {
        "command": "claude-agent-acp",
        "inherit_env": ["LANG", "ANTHROPIC_API_KEY", "HTTP_TOKEN"],
    }
    assert own.config["agents"]["reviewer"]["inherit_env"] == ["ANTHROPIC_API_KEY"]
    assert own.container["env"] == [
        {"name": "TZ", "value": "UTC"},
        {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "claude"}}},
        {"name": "HTTP_TOKEN", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "HTTP_TOKEN"}}},
    ]


def test_every_other_value_reaches_the_manifests(helmed):
    values, full = HELMED["every other value"], helmed["every other value"]
    for name in (
        "initContainers",
        "runtimeClassName",
        "priorityClassName",
        "topologySpreadConstraints",
        "hostAliases",
        "dnsPolicy",
        "dnsConfig",
        "terminationGracePeriodSeconds",
    ):
        assert full.pod[name] == values[name], name
    assert full.pod["containers"][1:] == values["sidecars"]
    assert full.container["lifecycle"] == values["lifecycle"]
    assert [full.probes[name].get("initialDelaySeconds") for name in sorted(full.probes)] == [0, 3, 0]
    assert full.the("Deployment")["metadata"]["annotations"] == values["deploymentAnnotations"]
    assert full.the("PersistentVolumeClaim")["metadata"]["annotations"] == {
        "backup": "daily",
        "helm.sh/resource-policy": "keep",
    }
    account = full.the("ServiceAccount")
    assert account["metadata"]["annotations"] == values["serviceAccount"]["annotations"]
    assert account["metadata"]["name"] == full.pod["serviceAccountName"] == "acpbot"
    assert account["automountServiceAccountToken"] is full.pod["automountServiceAccountToken"] is False
    budget = full.the("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 0
    labels = full.the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= budget["selector"]["matchLabels"].items()
    assert full.named("ConfigMap", "more")["data"] == {"of": "acpbot"}
    assert full.named("ConfigMap", "acpbot-text")
    assert not helmed["off"].all_of("ServiceAccount")
    assert not helmed["off"].all_of("PodDisruptionBudget")


def test_the_sizes_of_all_volumes_are_values(helmed):
    def volume(name: str, of: str) -> dict:
        (found,) = [volume for volume in helmed[of].pod["volumes"] if volume["name"] == name]
        return found

    claim = volume("tmp", "every other value")["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["resources"]["requests"]["storage"], claim["storageClassName"]) == ("8Gi", "fast")
    assert "storageClassName" not in volume("tmp", "off")["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert volume("tmp", "tmp on the node")["emptyDir"] == {"sizeLimit": "5Gi"}
    assert volume("run", "tmp on the node")["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Mi"}


def test_a_new_pod_has_time_to_wait_for_the_end_of_the_one_before(helmed):
    for name in ("on", "tmp on the node"):
        probe = helmed[name].probes["startupProbe"]
        grace = helmed[name].pod["terminationGracePeriodSeconds"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= grace + 60
    assert helmed["on"].probes["startupProbe"]["failureThreshold"] == 60
    assert helmed["every other value"].probes["startupProbe"]["failureThreshold"] == 7, "the operator's own"


def test_agents_in_pods_have_a_namespace_of_their_own(helmed):
    pods = helmed["pods"]
    assert pods.config["agents"]["claude"] == {
        "command": "claude-agent-acp",
        "runtime": "kubernetes",
        "memory_max": "2G",
        "kubernetes": {
            "image": "registry.example/claude:1",
            "namespace": "acpbot-agents",
            "secrets": ["proxy", "ANTHROPIC_API_KEY=agent-keys/anthropic"],
            "resources": {"requests": {"cpu": "500m"}},
            "node_selector": {"pool": "agents"},
            "pod_template": {"spec": {"tolerations": [{"key": "agents", "operator": "Exists"}]}},
        },
    }
    assert "env" not in pods.container, "the pods get the keys, and acpbot does not"
    namespace = pods.the("Namespace")["metadata"]
    assert namespace["name"] == "acpbot-agents"
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["annotations"] == {"helm.sh/resource-policy": "keep"}, "the claims of the threads are in it"
    assert pods.the("ResourceQuota")["spec"]["hard"] == {"pods": "50", "persistentvolumeclaims": "1000"}
    assert pods.the("ServiceAccount")["metadata"]["name"] == pods.pod["serviceAccountName"] == "acpbot"
    assert "kubectl --namespace acpbot-agents get pods" in pods.notes


def test_each_namespace_of_agents_gets_the_same(helmed):
    two = helmed["pods in two namespaces"]
    for kind in ("Role", "RoleBinding", "NetworkPolicy", "ResourceQuota"):
        assert [one["metadata"]["namespace"] for one in two.all_of(kind)] == ["bots-work", "tools"], kind
    assert two.the("Namespace")["metadata"]["name"] == "bots-work", "the other one is the operator's"
    assert not two.all_of("ServiceAccount")
    assert two.pod["serviceAccountName"] == "mine"
    assert {one["kubernetes"]["namespace"] for one in _in_pods(two)} == {
        "bots-work",
        "tools",
    }
    quota = two.all_of("ResourceQuota")[0]["spec"]["hard"]
    assert quota == {"pods": "5", "persistentvolumeclaims": "1000", "limits.memory": "16Gi"}
    https = two.all_of("NetworkPolicy")[0]["spec"]["egress"][1]
    assert https["to"] == [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}},
        {"ipBlock": {"cidr": "::/0", "except": ["fd00::/8"]}},
    ]


def _in_pods(rendered):
    return [agent for agent in rendered.config["agents"].values() if agent.get("runtime") == "kubernetes"]


def test_pods_in_another_cluster_need_nothing_here(helmed):
    elsewhere = helmed["pods elsewhere"]
    assert {one["kind"] for one in elsewhere.objects} == {"ConfigMap", "Deployment", "PersistentVolumeClaim"}
    assert "namespace" not in elsewhere.config["agents"]["codex"]["kubernetes"]
    assert elsewhere.pod["automountServiceAccountToken"] is False


def test_policy_quota_and_namespace_can_be_the_operators_own(helmed):
    bare = helmed["pods with nothing around"]
    assert not {"Namespace", "NetworkPolicy", "ResourceQuota"} & {one["kind"] for one in bare.objects}
    assert bare.the("Role")["metadata"]["namespace"] == "acpbot-agents"


def test_the_notes_say_how_to_operate_it(helmed):
    command = "kubectl --namespace bots exec --stdin --tty deployment/acpbot -- acpctl"
    for name in ("off", "on", "local"):
        assert f"{command} sessions" in helmed[name].notes
        assert f"{command} kill THREAD" in helmed[name].notes
    assert ("management.probes.enabled=true" in helmed["off"].notes) is True
    assert ("management.probes.enabled=true" in helmed["on"].notes) is False
    assert f"{command} chat demo" in helmed["local"].notes
    assert "Nobody may talk to it yet" in helmed["off"].notes
    assert "Nobody may talk to it yet" not in helmed["all of it"].notes


def test_the_configuration_names_the_chart_as_its_source(helmed):
    text = helmed["off"].config_text
    assert text.startswith("# Made by Helm")
    assert tomllib.loads(text)["shutdown"] == {"drain_seconds": 30}
