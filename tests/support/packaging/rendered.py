"""What the manifests render to, by the tools that operators use: kustomize (in kubectl), and Helm's engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
PACKAGING: Final = ROOT / "packaging"
LIMIT: Final = 60
TOKEN: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.0123456789abcdefghijklmnopqrstuvwxyz01"

KUSTOMIZED: Final = {
    "base": [],
    "probes": ["probes"],
    "network-policy": ["network-policy"],
    "both": ["probes", "network-policy"],
    "both, the other way round": ["network-policy", "probes"],
    "agent-pods": ["agent-pods"],
    "all": ["network-policy", "agent-pods", "probes"],
}

CLAUDE: Final = {"command": "claude-agent-acp", "inherit_env": ["ANTHROPIC_API_KEY"], "env": {"A.B": 'said "<&>"'}}
MCP: Final = [
    {"name": "docs", "command": "docs-mcp", "args": ["-v"], "env": {"DOCS_KEY": "${DOCS_KEY}"}},
    {"name": "wiki", "url": "https://wiki.example/mcp", "type": "sse", "headers": {"X-Key": "${WIKI_KEY}"}},
]
DEMO: Final = ["-m", "acpbot.demo.agent"]
EVERY_OTHER: Final[dict[str, Any]] = {
    "existingSecret": "token",
    "management": {"probes": {"enabled": True}},
    "startupProbe": {"initialDelaySeconds": 0, "failureThreshold": 7},
    "livenessProbe": {"initialDelaySeconds": 0},
    "readinessProbe": {"initialDelaySeconds": 3},
    "initContainers": [{"name": "clone", "image": "git:1", "command": ["git", "clone"]}],
    "sidecars": [{"name": "proxy", "image": "proxy:1"}],
    "lifecycle": {"preStop": {"exec": {"command": ["acpctl", "drain", "--wait"]}}},
    "terminationGracePeriodSeconds": 200,
    "runtimeClassName": "gvisor",
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"a": "b"}},
        }
    ],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["git.internal"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.53"]},
    "podDisruptionBudget": {"enabled": True},
    "serviceAccount": {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/acpbot"}},
    "deploymentAnnotations": {"reloader.stakater.com/auto": "false"},
    "persistence": {"annotations": {"backup": "daily"}},
    "tmp": {"size": "8Gi", "storageClass": "fast"},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}, "data": {"of": "{{ .Release.Name }}"}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
    ],
}
PROBED: Final = {"management": {"probes": {"enabled": True}}}
HELMED: Final[dict[str, dict[str, Any]]] = {
    "off": {"existingSecret": "token"},
    "on": {"existingSecret": "token", **PROBED},
    "on, another port": {
        "botToken": TOKEN,
        "management": {"probes": {"enabled": True, "bind": "[::]:9100", "grace_seconds": 0.5}},
        "networkPolicy": {"enabled": True, "extraEgress": [{"ports": [{"protocol": "TCP", "port": 22}]}]},
        "livenessProbe": {"failureThreshold": 9},
    },
    "a policy without probes": {"existingSecret": "token", "networkPolicy": {"enabled": True}},
    "all of it": {
        "botToken": TOKEN,
        "default_agent": "claude",
        "discord": {"allowed_users": ["123456789012345678"], "allow_dm": True},
        "agents": {"claude": {**CLAUDE, "mcp_servers": MCP}},
        "pool": {"max_sessions": 3, "session_ttl_hours": 0.5, "grace_seconds": 2.5},
        "shutdown": {"drain_seconds": 90},
        "image": {"repository": "registry.example/acpbot", "digest": "sha256:" + "a" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "persistence": {"existingClaim": "mine"},
        "extraEnv": [{"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "claude"}}}],
        "extraEnvFrom": [{"secretRef": {"name": "keys"}}],
        "extraVolumes": [{"name": "projects", "persistentVolumeClaim": {"claimName": "projects"}}],
        "extraVolumeMounts": [{"name": "projects", "mountPath": "/srv/projects"}],
        "serviceAccountName": "acpbot",
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "bots"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "bots", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "fullnameOverride": "bot",
        **PROBED,
    },
    "monitored": {
        "existingSecret": "token",
        "management": {"probes": {"enabled": True, "metrics": True}},
        "podMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}},
    },
    "nothing kept": {"botToken": TOKEN, "persistence": {"enabled": False}},
    "a class of storage": {"botToken": TOKEN, "persistence": {"storageClass": "fast", "size": "1Ti", "keep": False}},
    "local": {"discord": None},
    "two agents": {
        "existingSecret": "token",
        "agents": {"default": {"command": "python3", "args": DEMO}, "second": {"command": "python3", "args": DEMO}},
        "default_agent": "second",
    },
    "own agent": {
        "existingSecret": "token",
        "agents": {
            "claude": {
                "command": "claude-agent-acp",
                "inherit_env": ["LANG"],
                "secretEnv": {
                    "ANTHROPIC_API_KEY": {"name": "keys", "key": "claude"},
                    "HTTP_TOKEN": {"name": "proxy"},
                },
            },
            "reviewer": {
                "command": "claude-agent-acp",
                "secretEnv": {"ANTHROPIC_API_KEY": {"name": "keys", "key": "claude"}},
            },
        },
        "default_agent": "claude",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
    },
    "one more user": {
        "existingSecret": "token",
        "discord": {"allowed_users": ["1", "2"], "footer": False},
        "agents": {"default": {"command": "python3", "args": DEMO}, "second": {"command": "python3", "args": DEMO}},
        "pool": {"max_sessions": 4},
        "permissions": {"policy": "deny"},
        "log": {"format": "json", "level": "debug"},
        "schedule": [{"cron": "0 9 * * 1-5", "channel": "123", "text": "What is new?"}],
    },
    "another store": {"existingSecret": "token", "store": {"path": "/var/lib/acpbot/other.sqlite3"}},
    "tmp on the node": {
        "existingSecret": "token",
        "tmp": {"claim": False, "size": "5Gi"},
        "run": {"size": "2Mi"},
        "shutdown": {"drain_seconds": 600},
        **PROBED,
    },
    "every other value": EVERY_OTHER,
    "pods": {
        "existingSecret": "token",
        "agents": {
            "claude": {
                "command": "claude-agent-acp",
                "runtime": "kubernetes",
                "memory_max": "2G",
                "secretEnv": {"ANTHROPIC_API_KEY": {"name": "agent-keys", "key": "anthropic"}},
                "kubernetes": {
                    "image": "registry.example/claude:1",
                    "secrets": ["proxy"],
                    "resources": {"requests": {"cpu": "500m"}},
                    "node_selector": {"pool": "agents"},
                    "pod_template": {"spec": {"tolerations": [{"key": "agents", "operator": "Exists"}]}},
                },
            }
        },
        "default_agent": "claude",
        "networkPolicy": {"enabled": True},
    },
    "pods in two namespaces": {
        "existingSecret": "token",
        "serviceAccountName": "mine",
        "agents": {
            "codex": {"command": "codex-acp", "runtime": "kubernetes", "kubernetes": {"image": "codex:1"}},
            "tools": {
                "command": "tools",
                "runtime": "kubernetes",
                "kubernetes": {"image": "tools:1", "namespace": "tools"},
            },
            "boxed": {"command": "python3", "args": DEMO, "runtime": "bubblewrap"},
        },
        "default_agent": "codex",
        "agentPods": {
            "namespace": "bots-work",
            "networkPolicy": {
                "deniedCIDRs": ["10.0.0.0/8", "fd00::/8"],
                "extraEgress": [{"ports": [{"protocol": "TCP", "port": 22}]}],
            },
            "resourceQuota": {"hard": {"pods": "5", "limits.memory": "16Gi"}},
        },
    },
    "pods elsewhere": {
        "existingSecret": "token",
        "agents": {
            "codex": {
                "command": "codex-acp",
                "runtime": "kubernetes",
                "kubernetes": {"image": "codex:1", "context": "other"},
            }
        },
        "default_agent": "codex",
    },
    "pods with nothing around": {
        "existingSecret": "token",
        "agents": {"codex": {"command": "codex-acp", "runtime": "kubernetes", "kubernetes": {"image": "codex:1"}}},
        "default_agent": "codex",
        "agentPods": {
            "createNamespace": False,
            "networkPolicy": {"enabled": False},
            "resourceQuota": {"enabled": False},
        },
    },
}
WRONG: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a port too high": ({"management": {"probes": {"bind": "0.0.0.0:65536"}}}, "/management/probes/bind"),
    "no port": ({"management": {"probes": {"bind": "pods.example"}}}, "/management/probes/bind"),
    "any port": ({"management": {"probes": {"bind": "0.0.0.0:0"}}}, "/management/probes/bind"),
    "the loopback": (
        {"management": {"probes": {"enabled": True, "bind": "127.0.0.1:8090"}}},
        "cannot probe 127.0.0.1:8090: the kubelet does not reach a pod's loopback",
    ),
    "the loopback of IPv6": (
        {"management": {"probes": {"enabled": True, "bind": "[::1]:8090"}}},
        "cannot probe [::1]:8090",
    ),
    "a switch in words": ({"management": {"probes": {"enabled": "yes"}}}, "/management/probes/enabled"),
    "a key that acpbot has not": ({"pool": {"max_session": 3}}, "'max_session' not allowed"),
    "a key that the chart has not": ({"replicas": 2}, "'replicas' not allowed"),
    "a number too high": ({"pool": {"max_sessions": 10_001}}, "/pool/max_sessions"),
    "a broken number": ({"pool": {"max_sessions": 1.5}}, "/pool/max_sessions"),
    "an id that is a number": ({"discord": {"allowed_users": [123456789012345678]}}, "/discord/allowed_users/0"),
    "nobody": ({"discord": {"allowed_users": []}}, "/discord"),
    "a token in the ConfigMap": ({"discord": {"bot_token": TOKEN}}, "'bot_token' not allowed"),
    "an agent without a command": ({"agents": {"claude": {"args": []}}}, "missing property 'command'"),
    "an agent of a strange name": ({"agents": {"Claude!": {"command": "c"}}}, "/agents"),
    "a probe of another path": (
        {"livenessProbe": {"httpGet": {"path": "/readyz", "port": 1}}},
        "'httpGet' not allowed",
    ),
    "a monitor without a page": (
        {"management": {"probes": {"enabled": True}}, "podMonitor": {"enabled": True}},
        "cannot make a PodMonitor: there is no /metrics",
    ),
    "a probe that never fails": ({"startupProbe": {"failureThreshold": 0}}, "/startupProbe/failureThreshold"),
    "one variable of two Secrets": (
        {
            "agents": {
                "a": {"command": "c", "secretEnv": {"KEY": {"name": "one"}}},
                "b": {"command": "c", "secretEnv": {"KEY": {"name": "two"}}},
            },
        },
        "cannot set KEY: the agents a and b take it from different Secrets",
    ),
    "one variable set twice": (
        {
            "agents": {"a": {"command": "c", "secretEnv": {"KEY": {"name": "one"}}}},
            "extraEnv": [{"name": "KEY", "value": "v"}],
        },
        "cannot set KEY: it is in extraEnv and in secretEnv of the agent a",
    ),
    "a variable of no Secret": (
        {"agents": {"a": {"command": "c", "secretEnv": {"KEY": {"key": "k"}}}}},
        "missing property 'name'",
    ),
    "a policy of DNS that is none": ({"dnsPolicy": "Fast"}, "/dnsPolicy"),
    "an agent beside the token": (
        {
            "agents": {
                "claude": {"command": "c", "runtime": "kubernetes", "kubernetes": {"image": "c:1"}},
                "helper": {"command": "h"},
            },
        },
        "cannot run the agent helper with the runtime local: it could read the API token",
    ),
    "pods beside the daemon": (
        {
            "agents": {
                "claude": {
                    "command": "c",
                    "runtime": "kubernetes",
                    "kubernetes": {"image": "c:1", "namespace": "bots"},
                }
            },
        },
        "cannot run the agent claude in the namespace bots: it is that of acpbot",
    ),
    "a namespace with a dot": ({"agentPods": {"namespace": "a.b"}}, "/agentPods/namespace"),
    "an address without a length": (
        {"agentPods": {"networkPolicy": {"deniedCIDRs": ["10.0.0.1"]}}},
        "/agentPods/networkPolicy/deniedCIDRs/0",
    ),
    "an amount that is a number": ({"agentPods": {"resourceQuota": {"hard": {"pods": 5}}}}, "/agentPods/resourceQuota"),
    "an unknown key of a pod": (
        {"agents": {"a": {"command": "c", "kubernetes": {"replicas": 2}}}},
        "'replicas' not allowed",
    ),
    "half a digest": ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    "no token": ({"existingSecret": ""}, "cannot find the bot token: set existingSecret"),
    "two tokens": ({"botToken": TOKEN}, "cannot choose the token"),
}


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering, in order."""

    name: str
    objects: tuple[dict[str, Any], ...]
    notes: str = ""

    @classmethod
    def of(cls, name: str, text: str, notes: str = "") -> Rendered:
        return cls(name, tuple(one for one in yaml.safe_load_all(text) if one), notes)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.objects if one["kind"] == kind]

    def the(self, kind: str) -> dict[str, Any]:
        (found,) = self.all_of(kind)
        return found

    def named(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.all_of(kind) if one["metadata"]["name"] == name]
        return found

    @property
    def pod(self) -> dict[str, Any]:
        return self.the("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        (found,) = [one for one in self.pod["containers"] if one["name"] == "acpbot"]
        return found

    @property
    def config_text(self) -> str:
        (found,) = [one for one in self.all_of("ConfigMap") if "config.toml" in one.get("data", ())]
        return found["data"]["config.toml"]

    @property
    def config(self) -> dict[str, Any]:
        return tomllib.loads(self.config_text)

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {key: value for key, value in self.container.items() if key.endswith("Probe")}

    @property
    def probes_port(self) -> int:
        (port,) = self.container["ports"]
        assert port["name"] == "probes"
        return port["containerPort"]


def kustomize(folder: Path) -> str:
    """What `kubectl kustomize` makes of a folder."""
    command = ["kubectl", "kustomize", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert made.returncode == 0, made.stderr
    assert made.stderr == ""
    return made.stdout


def kustomize_all(tmp_path: Path) -> dict[str, Rendered]:
    """The base with each choice of components, the example, and the namespace of agents."""
    tree = tmp_path / "kubernetes"
    shutil.copytree(PACKAGING / "kubernetes", tree)
    (tree / "example" / "discord-token").write_text(TOKEN)
    made = {name: Rendered.of(name, kustomize(tree / name)) for name in ("example", "agents")}
    for number, (name, components) in enumerate(KUSTOMIZED.items()):
        folder = tree / f"choice-{number}"
        folder.mkdir()
        listed = [f"../components/{component}" for component in components]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["../base"], "components": listed}))
        made[name] = Rendered.of(name, kustomize(folder))
    return made


def helm_all() -> tuple[dict[str, Rendered], dict[str, dict[str, Any]]]:
    """What Helm renders for each of HELMED, and its messages for each of HELMED and WRONG."""
    wrong = {name: {"existingSecret": "token"} | values for name, (values, _) in WRONG.items()}
    answers = helm_answers(HELMED | wrong)
    return {name: _rendered(name, answers[name]) for name in HELMED}, answers


def helm_made_of(values: dict[str, dict[str, Any]]) -> dict[str, Rendered]:
    """What Helm renders for each of these values."""
    return {name: _rendered(name, answer) for name, answer in helm_answers(values).items()}


def helm_answers(values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What Helm says and makes of each of these values."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.packaging.helm_engine"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    answers: dict[str, dict[str, Any]] = json.loads(process.stdout)
    return answers


def _rendered(name: str, answer: dict[str, Any]) -> Rendered:
    assert "files" in answer, answer
    files = {Path(path).name: text for path, text in answer["files"].items()}
    notes = files.pop("NOTES.txt")
    return Rendered.of(name, "\n---\n".join(files.values()), notes)


def each(*renderings: tuple[str, str]) -> pytest.MarkDecorator:
    """The fixture ``rendered`` is each of these: ("kustomize", a choice) or ("helm", a case)."""
    return pytest.mark.parametrize("rendered", renderings, indirect=True, ids=lambda one: f"{one[0]}: {one[1]}")
