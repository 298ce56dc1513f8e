"""The commands and files of docs/kubernetes.md: tried against a loopback cluster, Helm's engine and acpbot itself."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from acpbot.config import loader
from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.runtimes.kubernetes.pod_spec import manifest
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.resources import NAMESPACES, PODS, SECRETS
from tests.fakes.kubernetes.server import KubernetesServer
from tests.support.packaging.rendered import LIMIT, ROOT, helm_made_of

PAGE: Final = (ROOT / "docs" / "kubernetes.md").read_text()

# What a loopback cluster without Deployments, images and Helm's program can't try. Their paths are looked at.
NOT_TRIED: Final = (
    *("docker ", "helm ", "kubectl apply -k", "rollout status", "deployment/acpbot", "exec -it", "delete namespace"),
)


def blocks(language: str) -> list[str]:
    """The blocks of the page in a language, without their indentation."""
    found = re.findall(rf"(?m)^( *)```{language}\n((?:.*\n)*?) *```$", PAGE)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) for indent, text in found]


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]


def tried() -> list[str]:
    return [line for line in commands() if not any(word in line for word in NOT_TRIED)]


def values() -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of the installation, and those of the network."""
    whole, network = map(yaml.safe_load, blocks("yaml"))
    return whole, whole | {"agentPods": whole["agentPods"] | network["agentPods"]}


def test_every_line_is_one_command_of_a_known_program():
    assert len(commands()) > 15
    assert len(tried()) > 8
    assert {shlex.split(line)[0] for line in commands()} == {"docker", "helm", "kubectl"}


def test_every_path_that_a_command_names_exists():
    named = [word for line in commands() for word in shlex.split(line) if word.startswith("packaging/")]
    assert len(named) > 4
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_values_are_taken_by_the_chart_and_the_configuration_by_acpbot(tmp_path):
    (tmp_path / "discord-token").write_text("a.b.c")
    for rendered in helm_made_of(dict(zip(("whole", "network"), values(), strict=True))).values():
        parsed = loader.parse(rendered.config_text, str(tmp_path / "config.toml"), {"HOME": "/nowhere"})
        agent = parsed.agents["claude"]
        assert (agent.runtime, agent.kubernetes.namespace) == ("kubernetes", "acpbot-agents")
        assert agent.kubernetes.secrets == ("ANTHROPIC_API_KEY=agent-keys/anthropic",)
        assert {one["metadata"]["namespace"] for one in rendered.all_of("Role")} == {"acpbot-agents"}


def test_the_configuration_for_kustomize_means_the_same(tmp_path):
    (text,) = blocks("toml")
    parsed = loader.parse(text, str(tmp_path / "config.toml"), {"HOME": "/nowhere"})
    assert parsed.agents["claude"].kubernetes.namespace == "acpbot-agents"
    assert parsed.agents["claude"].kubernetes.secrets == ("ANTHROPIC_API_KEY=agent-keys/anthropic",)


def a_pod() -> dict[str, Any]:
    """The pod of a thread, which the namespace's security standard allows."""
    place = KubernetesSettings(image="registry.example/claude:1")
    spec = LaunchSpec(argv=("claude-agent-acp",), cwd=Path("/srv/1"), env={}, session_id="1a2b", kubernetes=place)
    return manifest(spec, place, daemon_id="d" * 16, first_process=("sh",), claim=None, owner=None)


class Kubectl:
    """Runs lines of the page."""

    def __init__(self, program: str, folder: Path, server: KubernetesServer) -> None:
        self.program = program
        self.folder = folder
        self.environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "KUBECONFIG": str(server.kubeconfig())}

    async def __call__(self, line: str, given: bytes = b"") -> bytes:
        process = await asyncio.create_subprocess_exec(
            *(self.program, *shlex.split(line, comments=True)[1:]),
            cwd=self.folder,
            env=self.environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(given), LIMIT)
        assert process.returncode == 0, f"{line}\n{out.decode()}"
        return out


@pytest.mark.service
async def test_the_commands_do_in_a_cluster_what_the_page_says(tmp_path):
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    (tmp_path / "discord-token").write_text("a.b.c")
    async with KubernetesServer(tmp_path / "server", clock=Clock(unit=0.01), tls=True) as server:
        kubectl = Kubectl(program, tmp_path, server)
        for line in dict.fromkeys(tried()):  # the way with kustomize repeats one of those with Helm
            if " create " in line:
                # kubectl would send it as protobuf, which the loopback cluster does not know.
                await kubectl("kubectl create -f -", await kubectl(f"{line} --dry-run=client -o yaml"))
                continue
            if "describe pod" in line:
                server.create(PODS, "acpbot-agents", a_pod())
                server.set_quota("acpbot-agents", pods="50")
            await kubectl(line)
        assert "discord-token" in server.store.get(SECRETS, "acpbot", "acpbot-token")["data"]
        assert "anthropic" in server.store.get(SECRETS, "acpbot-agents", "agent-keys")["data"]
        labels = server.store.get(NAMESPACES, "", "acpbot-agents")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
