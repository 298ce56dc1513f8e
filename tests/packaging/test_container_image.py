"""The image and compose.yaml: linted by the usual tools, and the entrypoint run as a container engine runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml

from acpbot import __version__
from tests.fakes.daemon import DEMO_AGENT, Wire
from tests.support.packaging.container import COMPOSE, DOCKERFILE, UID, Container, Image, compose_mounts, obstacle
from tests.support.packaging.rendered import LIMIT, ROOT, TOKEN

pytestmark = pytest.mark.service

IGNORE = DOCKERFILE.with_name("Dockerfile.dockerignore")
AGENT = DEMO_AGENT.replace(sys.executable, "python3")
STUBBORN = AGENT + "[pool]\ngrace_seconds = 0.2\n[shutdown]\ndrain_seconds = 0\n"
ONLINE = AGENT + '[discord]\nbot_token_file = "discord-token"\nallowed_users = ["123456789012345678"]\n'

needs_namespaces = pytest.mark.skipif(obstacle() is not None, reason=f"no container can be had: {obstacle()}")


def tool(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name(name)), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False, cwd=ROOT)


def test_hadolint_finds_nothing():
    found = tool("hadolint", str(DOCKERFILE))
    assert (found.returncode, found.stdout) == (0, "")


def test_every_rule_that_is_ignored_has_its_reason_above():
    lines = DOCKERFILE.read_text().splitlines()
    ignored = [number for number, line in enumerate(lines) if "hadolint ignore" in line]
    assert all(re.match(r"# [A-Z]\w+: \w+", lines[number - 1]) for number in ignored)


def test_compose_yaml_is_valid():
    found = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE))
    assert found.returncode == 0, found.stdout


def test_compose_is_hardened():
    (service,) = yaml.safe_load(COMPOSE.read_text())["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "ports", "network_mode", "pid", "ipc", "environment", "init", "user"} & set(
        service
    )
    # 30 s to drain, 5 s of grace, 12 s for agents that do not end, 5 s for the last messages.
    assert service["stop_grace_period"] == "60s"


def test_versions_are_pinned():
    pinned = dict(re.findall(r"(?m)^ARG (\w+_VERSION)=(\S+)$", DOCKERFILE.read_text()))
    assert set(pinned) == {
        *("PYTHON_VERSION", "NODE_VERSION"),
        *("CLAUDE_AGENT_ACP_VERSION", "CODEX_ACP_VERSION", "OPENCODE_VERSION"),
    }
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pinned[name]) for name in pinned if not name.startswith(("PY", "NODE")))
    (init,) = re.findall(r"dumb-init==\S+", DOCKERFILE.read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(one.startswith(f"{init};") for one in project["optional-dependencies"]["dev"]), "what is tested is used"


def test_the_labels_say_what_the_image_is():
    """Source: https://github.com/opencontainers/image-spec/blob/main/annotations.md."""
    prefix = r"org\.opencontainers\.image\."
    labels = dict(re.findall(rf'{prefix}(\w+)="([^"]*)"', DOCKERFILE.read_text()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert labels["version"] == __version__
    assert labels["title"] == project["name"]
    assert labels["licenses"] == project["license"]
    assert labels["source"] == project["urls"]["Source"]
    assert labels["documentation"] == project["urls"]["Documentation"]
    assert labels["description"]


def test_whoever_builds_with_podman_reads_how_the_health_check_is_kept():
    """The OCI image format has none: https://docs.podman.io/en/latest/markdown/podman-build.1.html, --format."""
    assert "`podman build --format docker`" in DOCKERFILE.read_text()


def test_the_build_context_has_the_sources_of_the_wheel_and_no_others():
    patterns = [line for line in IGNORE.read_text().splitlines() if line and not line.startswith("#")]
    assert patterns[0] == "*"
    let_in = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = ["pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]]
    needed += [*wheel["packages"], *wheel["force-include"], *wheel["shared-data"], *wheel.get("artifacts", ())]
    missing = [path for path in needed if not any(Path(path).is_relative_to(allowed) for allowed in let_in)]
    assert missing == [], "the wheel needs it, and the image is made of the wheel: name it in Dockerfile.dockerignore"


def test_the_healthcheck_finds_a_daemon_that_hangs_within_a_minute_and_is_cheap():
    image = Image.of()
    seconds = {name: int(value) for name, value in re.findall(r"--(\w[\w-]*)=(\d+)s", image.arguments)}
    retries = re.search(r"--retries=(\d+)", image.arguments)
    assert retries is not None
    assert seconds["interval"] >= 10, "each check costs the start of an acpctl"
    assert int(retries[1]) * (seconds["interval"] + seconds["timeout"]) <= 60
    assert int(retries[1]) >= 3, "one slow answer is no hang"
    waits = re.search(r"--timeout (\d+) health", image.healthcheck[-1])
    assert waits is not None
    assert int(waits[1]) < seconds["timeout"], "acpctl says itself that it waits no longer"


# Running the entrypoint.


@pytest.fixture
def folder():
    """Short: a socket's path may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="acpbot-") as made:
        yield Path(made)


@pytest.fixture
def run(folder):
    running = []

    def start(config: str = AGENT, args: list[str] | None = None, image: Image | None = None) -> Container:
        mounts = compose_mounts(folder, config, TOKEN)
        container = Container(image or Image.of(), folder, mounts, args)
        container.__enter__()
        running.append(container)
        return container

    yield start
    for container in running:
        container.__exit__()


@needs_namespaces
def test_acpctl_works_inside_and_from_the_host(run, folder):
    container = run()
    container.wait_for("daemon_running")
    with Wire(folder / "run" / "acpbot.sock") as wire:
        assert wire.hello["params"]["access"] == "admin", "root on the host may do all"
        wire.call("chat.open", thread="demo")
        assert wire.turn("demo", "say hello")["text"].startswith("hello")
        inside = container.exec("acpctl", "sessions", "-q")
        assert (inside.returncode, inside.stdout) == (0, "demo\n")
    from_host = tool("acpctl", "--socket", str(folder / "run" / "acpbot.sock"), "kill", "--yes", "demo")
    assert from_host.returncode == 0, from_host.stderr
    assert (folder / "state" / "workspaces" / "demo").stat().st_uid == UID


@needs_namespaces
def test_it_runs_without_privileges_and_writes_only_in_its_volumes(run):
    container = run()
    container.wait_for("daemon_running")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == [str(UID)] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    for place in ("/", "/etc", "/etc/acpbot", "/usr", "/opt/acpbot", "/run", "/var"):
        refused = container.exec("touch", f"{place}/x")
        assert refused.returncode == 1, place
        assert "Read-only file system" in refused.stderr
    for place in ("/tmp", "/var/lib/acpbot", "/run/acpbot"):
        assert container.exec("touch", f"{place}/x").returncode == 0


@needs_namespaces
def test_the_healthcheck_asks_the_daemon_and_not_discord(run):
    container = run(ONLINE)
    container.wait_for("discord_attempt_failed")
    health = container.exec("acpctl", "health")
    assert health.returncode == 3
    assert "discord has not been connected yet" in health.stdout
    check = Image.of().healthcheck
    assert container.exec(*check).returncode == 0
    gone = container.exec("env", "ACPBOT_SOCKET=/run/acpbot/gone.sock", *check)
    assert gone.returncode == 1
    assert "no such file" in gone.stderr, "what docker inspect shows"


@needs_namespaces
def test_sigterm_ends_it_in_order_and_in_time(run, folder):
    container = run(STUBBORN)
    container.wait_for("daemon_running")
    socket = folder / "run" / "acpbot.sock"
    with Wire(socket) as wire:
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text="ignore; hang")
        wire.event("turn_start")
        assert container.stop(within=60) == 0
    assert "daemon_stopped" in container.log
    assert not socket.exists()


@needs_namespaces
@pytest.mark.parametrize("with_init", [True, False])
def test_a_sigterm_before_the_daemon_is_ready_needs_the_init(folder, with_init):
    """The daemon waits for its configuration, a pipe: it has no handler for the signal yet."""
    image = Image.of()
    if not with_init:
        image = Image(**(vars(image) | {"entrypoint": image.entrypoint[-1:]}))
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "config.toml")
    mounts = [
        mount if mount.target != "/etc/acpbot/config.toml" else type(mount)(mount.target, folder / "pipe/config.toml")
        for mount in compose_mounts(folder, AGENT, TOKEN)
    ]
    with Container(image, folder, mounts) as container, (folder / "pipe" / "config.toml").open("w") as pipe:
        if with_init:
            assert container.stop(within=60) == 128 + 15
            return
        os.kill(container.pid, 15)
        pipe.write(AGENT)
        pipe.close()
        container.wait_for("daemon_running")  # the signal was lost


@needs_namespaces
def test_an_unusable_configuration_exits_with_78(run):
    container = run(AGENT + "[pool]\nmax_session = 3\n")
    assert container.process.wait(LIMIT) == 78
    container.wait_for("did you mean max_sessions?")


@needs_namespaces
def test_the_example_passes_the_check_in_the_container(run):
    example = (ROOT / "config.toml.example").read_text()
    config = example.replace('bot_token = "${DISCORD_BOT_TOKEN}"', 'bot_token_file = "discord-token"')
    assert config != example
    container = run(config, ["check"])
    assert container.process.wait(LIMIT) == 0, container.log
    container.wait_for("agent default: ok")
    assert TOKEN not in container.log
