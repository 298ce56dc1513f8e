"""What is read of an engine's words: errors, the progress of a pull, ends, tables, and whose a line of stderr is."""

from __future__ import annotations

import pytest

from acpbot.runtimes.container.end_reason import State, end_reason, read_state
from acpbot.runtimes.container.engine_errors import of_engine, of_image
from acpbot.runtimes.container.engine_view import read_stats, read_top
from acpbot.runtimes.container.pull_progress import PullProgress
from acpbot.runtimes.container.stderr_lines import AgentStderr
from acpbot.runtimes.ends import exit_status


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Error: initializing source docker://x/y:1: reading manifest 1 in x/y: manifest unknown", "image"),
        ("Error response from daemon: manifest for alpine:zz not found: manifest unknown: manifest unknown", "image"),
        ("Error: x:1: image not known", "image"),
        (
            "Error response from daemon: pull access denied for x, repository does not exist or may require ...",
            "registry",
        ),
        ("Error: reading manifest: unauthorized: authentication required", "registry"),
        ("Error: pinging container registry r: Get https://r/v2/: dial tcp: lookup r: no such host", "registry"),
        ("Error: writing blob: storing blob to file: write /var/tmp/x: no space left on device", "no_space"),
        ("Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list", "platform"),
        ("Cannot connect to the Docker daemon at unix:///run/d.sock. Is the docker daemon running?", "unreachable"),
        ("permission denied while trying to connect to the Docker daemon socket", "not_permitted"),
        ("Error: something else", "other"),
    ],
)
def test_what_a_pull_says_has_a_cause(said: str, kind: str):
    assert of_image(said).kind == kind


def test_the_last_line_of_the_client_is_in_the_reason_and_a_warning_is_not():
    problem = of_engine('Error: no such thing\ntime="2026" level=warning msg="old"\n')
    assert problem.reason == "no such thing"


def test_the_layers_of_docker_give_a_percentage_that_never_goes_back():
    progress = PullProgress()
    lines = ("1: Pulling from library/x", "aaaaaaaaaaaa: Pulling fs layer", "bbbbbbbbbbbb: Pulling fs layer")
    told = [progress.feed(line) for line in lines]
    assert told == [None, "Fetching the image, 0%", None]
    assert progress.feed("aaaaaaaaaaaa: Download complete") == "Fetching the image, 25%"
    assert progress.feed("aaaaaaaaaaaa: Pull complete") == "Fetching the image, 50%"
    assert progress.feed("cccccccccccc: Pulling fs layer") is None
    assert progress.feed("bbbbbbbbbbbb: Pull complete") == "Fetching the image, 66%"


def test_podman_gives_a_percentage_only_where_it_gives_figures():
    progress = PullProgress()
    assert progress.feed("Copying blob sha256:aaaaaaaaaaaa") is None
    assert progress.feed("Copying blob aaaaaaaaaaaa [====>---] 10.0MiB / 40.0MiB") == "Fetching the image, 25%"


def test_an_end_is_told_in_words():
    killed = State(running=False, started=True, ended=True, exit_code=137, oom_killed=True, pid=0, error="")
    assert exit_status(137) == -9
    assert exit_status(3) == 3
    assert end_reason(killed, -9, memory_max=1024**2, killed=False).startswith("OOMKilled: ")
    unseen = killed._replace(oom_killed=False)
    assert "memory_max" in end_reason(unseen, -9, memory_max=1024**2, killed=False)
    assert end_reason(unseen, -9, memory_max=1024**2, killed=True) == "SIGKILL"
    assert end_reason(unseen, 3, memory_max=None, killed=False) == "exit code 3"


def test_the_tables_of_both_engines_are_read_without_the_first_process():
    docker = "PID PPID PGID STAT ELAPSED TIME COMMAND\n1 0 1 Ss 9 00:00:00 init\n6 1 6 S 9 00:01:02 agent --acp\n"
    podman = "HPID PPID PGID STATE ELAPSED TIME COMMAND\n90 0 1 S 9.5s 0s init\n91 1 6 S 1m9.5s 62s agent --acp \n"
    for table, pid in ((docker, 6), (podman, 91)):
        (agent,) = read_top(table)
        assert (agent.pid, agent.command, agent.cpu_seconds, agent.is_main) == (pid, "agent --acp", 62.0, True)
    assert read_stats('{"ID":"abc","MemUsage":"2MiB / 1GiB","PIDs":"3"}\n')["abc"].rss_bytes == 2 * 1024**2
    assert read_stats('[{"id":"abc","mem_usage":"2MB / 1GB","pids":"3","cpu_time":"95ms"}]')["abc"].processes == 2


def test_lines_of_the_client_are_not_the_agent_s():
    passed: list[bytes] = []
    stderr = AgentStderr(passed.append)
    for piece in (b"one\ntim", b'e="2026" level=error msg="x"\ntwo', b" and\ntime flies\nti"):
        stderr.feed(piece)
    stderr.flush()
    assert b"".join(passed) == b"one\ntwo and\ntime flies\nti"
    assert "level=error" in stderr.tail()


def test_what_an_engine_does_not_say_is_unknown_and_not_zero():
    (agent,) = read_top("HPID PPID PGID STATE ELAPSED TIME COMMAND\n90 0 1 S 9s 0s init\n91 1 6 S ? - agent --acp\n")
    assert (agent.rss_bytes, agent.cpu_seconds, agent.age_seconds) == (None, None, None)
    assert read_stats('{"ID":"abc","MemUsage":"2MiB / 1GiB","PIDs":"3"}\n')["abc"].cpu_seconds is None
    usage = read_stats('[{"id":"abc","mem_usage":"-- / --","pids":"--","cpu_time":"--"}]')["abc"]
    assert (usage.processes, usage.rss_bytes, usage.cpu_seconds) == (None, None, None)


@pytest.mark.parametrize(
    ("told", "ended"),
    [
        ('{"Status":"exited","StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"2026-01-01T00:00:01Z"}', True),
        ('{"Status":"created","StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}', True),
        ('{"Status":"removing","StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}', False),
        ('{"Status":"running","Running":true,"StartedAt":"2026-01-01T00:00:00Z"}', False),
    ],
)
def test_an_exit_code_counts_only_once_the_engine_has_recorded_the_end(told: str, ended: bool):
    assert read_state(told).ended is ended
