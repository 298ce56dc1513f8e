"""A Kubernetes cluster of the tests' own, as a process: the loopback server of `tests.fakes.kubernetes`.

Its pods are processes of this machine. A thread's volume is two folders of a test: see `share`. Usage as a program:
``python -m tests.support.kubernetes_cluster FOLDER``; it writes the path of its kubeconfig, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from acpbot.runtimes.labels import thread_label
from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.server import KubernetesServer
from tests.support.launched_agents import PYTHON_ENV, pipe_of
from tests.support.short_folder import short_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMESPACE: Final = "agents"
IMAGE: Final = "registry.example/acpbot-tests:1"
UNIT: Final = 0.05
"""How many real seconds one of the cluster's seconds takes."""

_FOLDER: Final = "ACPBOT_TEST_CLUSTER"
_LIMIT: Final = 30.0


class ClusterMissing(Exception):
    """This machine can't run pods; the text says what it lacks."""


@dataclass(frozen=True)
class OwnCluster:
    """A cluster that runs. ``environ``: what a daemon needs to find it."""

    environ: Mapping[str, str]
    pid: int


def python_of_pods() -> str:
    """The path of a Python that any user may run: agents in pods are not root."""
    names = (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3")
    folders = (Path(sys.base_prefix, "bin"), Path("/usr/bin"), Path("/usr/local/bin"))
    for path in (folder / name for folder in folders for name in names):
        if path.exists() and all(above.stat().st_mode & 0o001 for above in path.resolve().parents):
            return str(path)
    return "/usr/bin/python3"


@contextlib.contextmanager
def kubernetes_cluster() -> Iterator[OwnCluster]:
    """Run one. Raises ClusterMissing."""
    if missing := sandbox.obstacle():
        raise ClusterMissing(f"no pods can be made here: {missing}")
    if not Path(python_of_pods()).exists():
        raise ClusterMissing("no Python here may be run by any user")
    with short_folder() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kubernetes_cluster", str(folder)],
            env={**os.environ, **PYTHON_ENV},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            kubeconfig = pipe_of(process.stdout).readline().strip()
            assert kubeconfig, "the cluster has not started"
            yield OwnCluster({"KUBECONFIG": kubeconfig, _FOLDER: str(folder / "cluster")}, process.pid)
        finally:
            pipe_of(process.stdin).close()
            try:
                process.wait(_LIMIT)
            finally:
                process.kill()
                process.wait()
                pipe_of(process.stdout).close()


def share(environ: Mapping[str, str], thread_id: str, workspace: Path, home: Path) -> None:
    """Have these folders be on the volume of a thread, so that a test sees what an agent sees."""
    volume = Path(environ[_FOLDER], "links", thread_label(thread_id))
    volume.mkdir(parents=True, exist_ok=True)
    for name, folder in (("workspace", workspace), ("home", home)):
        link = volume / name
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
        folder.chmod(0o777)  # the agent is another user; the folders above are closed to others


def pods_with(environ: Mapping[str, str], session_id: str) -> list[str]:
    """The names of a session's pods, by a request that shares no code with what is tested."""
    config = yaml.safe_load(Path(environ["KUBECONFIG"]).read_text())
    selector = urllib.parse.quote(f"acpbot.session={session_id}")
    url = f"{config['clusters'][0]['cluster']['server']}/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}"
    with urllib.request.urlopen(url, timeout=_LIMIT) as answer:  # noqa: S310 - the address is the tests' own
        return [one["metadata"]["name"] for one in json.load(answer)["items"]]


async def serve(folder: Path) -> None:
    """Run until the end of stdin."""
    async with KubernetesServer(folder, clock=Clock(unit=UNIT), node_memory="64Gi", node_cpu="64") as server:
        server.add_namespace(NAMESPACE, {"pod-security.kubernetes.io/enforce": "restricted"})
        print(server.kubeconfig(namespace=NAMESPACE), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
