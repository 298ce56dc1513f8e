"""The words of `podman create` and `docker create` for one session, and its names and labels. Pure.

Sources: podman-create(1), docs.docker.com/reference/cli/docker/container/create.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes.labels import DAEMON, SESSION, THREAD, thread_label
from acpbot.runtimes.runtime import LimitNotHeld

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.config.runtime_settings import ContainerSettings
    from acpbot.runtimes.container.engine import Info
    from acpbot.runtimes.runtime import LaunchSpec

RUN_LABEL: Final = "acpbot.run"

_TMPFS: Final = "rw,nosuid,nodev,exec,mode=1777"


class Bind(NamedTuple):
    """A file or folder of this machine that is in the container at ``target``."""

    source: Path
    target: Path
    read_only: bool = False


class Ids(NamedTuple):
    """The user and the group of the daemon."""

    uid: int
    gid: int


class DaemonLabels(NamedTuple):
    """``daemon_id`` stays over restarts; ``run`` is one process's: what ends its containers spares the next one's."""

    daemon_id: str
    run: str


def container_name(session_id: str) -> str:
    """Return the name of a session's container."""
    return f"acpbot-{session_id}"


def labels(daemon: DaemonLabels, session_id: str, thread_id: str) -> dict[str, str]:
    """Return the labels of a session's container."""
    own = {DAEMON: daemon.daemon_id, RUN_LABEL: daemon.run}
    return own | {SESSION: session_id, THREAD: thread_label(thread_id)}


def for_create(
    spec: LaunchSpec,
    place: ContainerSettings,
    info: Info,
    ids: Ids,
    *,
    daemon: DaemonLabels,
    binds: Sequence[Bind],
    client_environ: Mapping[str, str],
) -> tuple[list[str], dict[str, str]]:
    """Return the words that create a session's container, and the variables that the client needs for them.

    The values of the agent's variables are in the client's environment and not in its words, which every user of this
    machine can read; except those of a variable that the client reads itself and needs another value of.
    """
    words = ["create", "--name", container_name(spec.session_id), "--pull=never", "--init", "--interactive"]
    for name, text in labels(daemon, spec.session_id, spec.thread_id).items():
        words += ["--label", f"{name}={text}"]
    words += confinement(info, ids)
    if place.network != "default":
        words += ["--network", place.network]
    for limit, option, value in _limits(spec, place):
        if limit in info.limits:
            words += [option, value]
            if limit == "memory":
                words += ["--memory-swap", value]  # as much as the memory: no swap beside it
    for bind in binds:
        words += ["--mount", mount(bind)]
    for volume in place.volumes:
        words += ["--volume", volume]
    words += ["--workdir", str(spec.cwd)]
    env_words, more = environment_words(spec.env, client_environ)
    words += [*env_words, "--entrypoint", spec.argv[0], str(place.image), *spec.argv[1:]]
    return words, more


def confinement(info: Info, ids: Ids) -> list[str]:
    """Return the options that keep what runs in the container from all else."""
    words = ["--read-only", "--tmpfs", f"/tmp:{_TMPFS}", "--cap-drop", "all", "--security-opt", "no-new-privileges"]  # noqa: S108 - in the container
    # Its output goes through the client; a log of the engine would fill the disk.
    words += ["--log-driver", "none", "--stop-timeout", "0"]
    if info.is_podman:
        words += ["--http-proxy=false"]  # the daemon's proxy may have a password in it
        if info.rootless:
            words += ["--userns", "keep-id"]
    if info.rootless and not info.is_podman:
        words += ["--user", "0:0"]  # root in a rootless Docker is the user that runs it
    else:
        words += ["--user", f"{ids.uid}:{ids.gid}"]
    return words


def limits_not_held(spec: LaunchSpec, place: ContainerSettings, info: Info) -> tuple[LimitNotHeld, ...]:
    """Return the limits that the engine says it can't hold."""
    keys = {"memory": "memory_max", "pids": "pids_max", "cpu": "cpus"}
    reason = "the container engine can't hold it here: it needs cgroups v2 with this controller, or root"
    return tuple(LimitNotHeld(keys[limit], reason) for limit, _, _ in _limits(spec, place) if limit not in info.limits)


def environment_words(
    variables: Mapping[str, str], client_environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the options for these variables, and what the client's environment must have for them."""
    words: list[str] = []
    more: dict[str, str] = {}
    for name, text in variables.items():
        if name in client_environ and client_environ[name] != text:
            words += ["--env", f"{name}={text}"]
        else:
            words += ["--env", name]
            more[name] = text
    return words, more


def mount(bind: Bind) -> str:
    """Return the value of --mount: fields with a comma between them, quoted as in a CSV file."""
    fields = ["type=bind", f"source={bind.source}", f"target={bind.target}"]
    if bind.read_only:
        fields.append("readonly")
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _limits(spec: LaunchSpec, place: ContainerSettings) -> Iterable[tuple[str, str, str]]:
    """Yield what each limit is called by the engine, its option and its value."""
    if spec.memory_max is not None:
        yield "memory", "--memory", str(spec.memory_max)
    if spec.pids_max is not None:
        yield "pids", "--pids-limit", str(spec.pids_max)
    if place.cpus is not None:
        yield "cpu", "--cpus", f"{place.cpus:g}"
