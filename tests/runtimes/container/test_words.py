"""The words of a container's creation: confined, labelled, and without the values of the agent's variables."""

from __future__ import annotations

from pathlib import Path

from acpbot.config.runtime_settings import ContainerSettings
from acpbot.runtimes.container.engine import Info, environment
from acpbot.runtimes.container.words import (
    Bind,
    DaemonLabels,
    Ids,
    confinement,
    environment_words,
    for_create,
    limits_not_held,
    mount,
)
from acpbot.runtimes.runtime import LaunchSpec

PODMAN = Info(is_podman=True, rootless=False, limits=frozenset({"memory", "pids", "cpu"}))
PLACE = ContainerSettings(image="image:1", cpus=1.5, network="none", volumes=("cache:/cache",))
SPEC = LaunchSpec(
    argv=("agent", "--acp"),
    cwd=Path("/work/t1"),
    env={"HOME": "/state/homes/t1", "KEY": "secret"},
    session_id="s1",
    thread_id="t1",
    memory_max=1024,
    pids_max=10,
    home=Path("/state/homes/t1"),
    container=PLACE,
)
BINDS = [Bind(Path("/work/t1"), Path("/work/t1"))]


def created(info: Info = PODMAN) -> tuple[list[str], dict[str, str]]:
    daemon = DaemonLabels("daemon-1", "run-1")
    return for_create(SPEC, PLACE, info, Ids(7, 8), daemon=daemon, binds=BINDS, client_environ={"HOME": "/root"})


def test_a_container_is_confined_labelled_and_limited():
    words, more = created()
    line = " ".join(words)
    for part in (
        "--name acpbot-s1",
        "--read-only",
        "--cap-drop all",
        "--security-opt no-new-privileges",
        "--log-driver none",
        "--user 7:8",
        "--network none",
        "--memory 1024 --memory-swap 1024",
        "--pids-limit 10",
        "--cpus 1.5",
        "--label acpbot.daemon=daemon-1",
        "--label acpbot.run=run-1",
        "--label acpbot.session=s1",
        "--volume cache:/cache",
        "--workdir /work/t1",
        "--entrypoint agent image:1 --acp",
    ):
        assert part in line
    assert more == {"KEY": "secret"}


def test_no_value_of_the_agent_s_is_in_the_words_but_of_variables_that_the_client_needs_itself():
    assert "secret" not in " ".join(created()[0])
    assert environment_words({"A": "1", "HOME": "/h", "PATH": "/p"}, {"HOME": "/root", "PATH": "/p"}) == (
        ["--env", "A", "--env", "HOME=/h", "--env", "PATH"],
        {"A": "1", "PATH": "/p"},
    )


def test_a_thread_s_id_is_not_in_its_label():
    labels = [word for word in created()[0] if word.startswith("acpbot.thread=")]
    assert [len(label) for label in labels] == [len("acpbot.thread=") + 16]


def test_the_user_is_the_daemon_s_also_without_root():
    assert "keep-id" in confinement(Info(is_podman=True, rootless=True, limits=frozenset()), Ids(7, 8))
    docker = confinement(Info(is_podman=False, rootless=True, limits=frozenset()), Ids(7, 8))
    assert docker[docker.index("--user") + 1] == "0:0"


def test_a_limit_that_the_engine_has_not_is_named_and_not_asked_for():
    info = Info(is_podman=True, rootless=True, limits=frozenset({"pids"}))
    assert "--memory" not in created(info)[0]
    assert [limit.limit for limit in limits_not_held(SPEC, PLACE, info)] == ["memory_max", "cpus"]


def test_a_path_with_a_comma_stays_one_field_of_a_mount():
    assert mount(Bind(Path('/a,b"c'), Path("/x"), read_only=True)) == ('type=bind,"source=/a,b""c",target=/x,readonly')


def test_the_client_gets_nothing_of_the_daemon_s_environment_but_what_it_reads():
    environ = {"PATH": "/bin", "DOCKER_HOST": "unix:///s", "DISCORD_BOT_TOKEN": "t", "ACPBOT_CONFIG": "c"}
    assert environment(environ) == {"PATH": "/bin", "DOCKER_HOST": "unix:///s"}
