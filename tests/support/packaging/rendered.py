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
}

CLAUDE: Final = {"command": "claude-agent-acp", "inherit_env": ["ANTHROPIC_API_KEY"], "env": {"A.B": 'said "<&>"'}}
MCP: Final = [
    {"name": "docs", "command": "docs-mcp", "args": ["-v"], "env": {"DOCS_KEY": "${DOCS_KEY}"}},
    {"name": "wiki", "url": "https://wiki.example/mcp", "type": "sse", "headers": {"X-Key": "${WIKI_KEY}"}},
]
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
    "two agents": {"existingSecret": "token", "agents": {"second": {"command": "python3"}}, "default_agent": "second"},
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

    @property
    def pod(self) -> dict[str, Any]:
        return self.the("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self) -> dict[str, Any]:
        (found,) = self.pod["containers"]
        return found

    @property
    def config_text(self) -> str:
        return self.the("ConfigMap")["data"]["config.toml"]

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
    """The base with each choice of components, and the example."""
    tree = tmp_path / "kubernetes"
    shutil.copytree(PACKAGING / "kubernetes", tree)
    (tree / "example" / "discord-token").write_text(TOKEN)
    made = {"example": Rendered.of("example", kustomize(tree / "example"))}
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
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.packaging.helm_engine"],
        input=json.dumps(HELMED | wrong),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=ROOT,
    )
    assert process.returncode == 0, process.stderr
    answers = json.loads(process.stdout)
    rendered = {}
    for name in HELMED:
        assert "files" in answers[name], answers[name]
        files = {Path(path).name: text for path, text in answers[name]["files"].items()}
        notes = files.pop("NOTES.txt")
        rendered[name] = Rendered.of(name, "\n---\n".join(files.values()), notes)
    return rendered, answers


def each(*renderings: tuple[str, str]) -> pytest.MarkDecorator:
    """The fixture ``rendered`` is each of these: ("kustomize", a choice) or ("helm", a case)."""
    return pytest.mark.parametrize("rendered", renderings, indirect=True, ids=lambda one: f"{one[0]}: {one[1]}")
