"""A Podman of the tests' own, and Docker's client on it. The machine's own containers and images are never touched.

Its storage, its locks and its configuration are in one folder. The settings are those that work without systemd, in a
container and on any file system: runc or crun, cgroupfs, vfs. Sources: containers.conf(5), containers-storage.conf(5),
podman-system-service(1).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.container_image import write_image
from tests.support.short_folder import short_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

IMAGE: Final = "localhost/acpbot-tests:latest"
"""The image of `container_image`. Its name says that no registry has it."""

_LIMIT: Final = 60.0
_ATTEMPTS: Final = 100
_PAUSE_SECONDS: Final = 0.1
_MACHINE_PROGRAMS: Final = ("runc", "crun")
# A command that runs when a container ends finds its records in the folders `libpod` and `volumes` of the storage.
_CONF: Final = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
log_driver = "k8s-file"

[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
static_dir = "{folder}/storage/libpod"
tmp_dir = "{folder}/run/libpod"
volume_path = "{folder}/storage/volumes"

[network]
network_config_dir = "{folder}/networks"
"""
_STORAGE: Final = """
[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


class EngineMissing(Exception):
    """This machine can't run the engine; the text names what it lacks."""


@dataclass(frozen=True)
class OwnEngine:
    """An engine that holds `IMAGE`. ``environ``: what its client needs beside PATH; ``program``: the client's path."""

    name: str
    program: str
    environ: Mapping[str, str]

    def run(self, *words: str, check: bool = True, seconds: float = _LIMIT) -> str:
        """Run the client; return what it has written to stdout. Raises AssertionError where it fails."""
        found = subprocess.run(
            [self.program, *words],
            env=self._client_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert found.returncode == 0 or not check, f"{self.name} {words[0]}: {found.stderr.strip()}"
        return found.stdout

    def _client_environ(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")} | dict(self.environ)


@contextlib.contextmanager
def podman_engine(programs: Iterable[str] = ()) -> Iterator[OwnEngine]:
    """A Podman with storage of its own; all of its containers end afterwards.

    ``programs``: more programs of this machine that its image needs, by name or path.
    Raises EngineMissing where Podman can't run a container here.
    """
    program = shutil.which("podman")
    runtime = next(filter(None, map(shutil.which, _MACHINE_PROGRAMS)), None)
    if program is None or runtime is None:
        raise EngineMissing("podman is not installed" if program is None else "neither runc nor crun is installed")
    with short_folder() as folder:
        environ = {}
        for variable, name, text in (
            ("CONTAINERS_CONF", "containers.conf", _CONF),
            ("CONTAINERS_STORAGE_CONF", "storage.conf", _STORAGE),
        ):
            (folder / name).write_text(text.format(folder=folder, runtime=Path(runtime).name))
            environ[variable] = str(folder / name)
        engine = OwnEngine("podman", program, environ)
        try:
            _import(engine, folder, programs)
            yield engine
        finally:
            engine.run("rm", "--all", "--force", "--time", "0", check=False)
            engine.run("rmi", "--all", "--force", check=False)


@contextlib.contextmanager
def docker_engine(podman: OwnEngine) -> Iterator[OwnEngine]:
    """Docker's client on a service of that Podman. Raises EngineMissing where there is no such client."""
    program = shutil.which("docker")
    if program is None:
        raise EngineMissing("docker's client is not installed")
    if "podman" in subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout:
        raise EngineMissing("the docker that is installed is podman-docker")
    with short_folder() as folder, (folder / "log").open("wb") as log:
        address = f"unix://{folder}/docker.sock"
        environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")} | dict(
            podman.environ
        )
        service = subprocess.Popen(
            [podman.program, "system", "service", "--time", "0", address],
            cwd=folder,  # conmon(8) makes a file there where a container has run out of memory
            env=environ,
            stdout=log,
            stderr=log,
        )
        try:
            engine = OwnEngine("docker", program, {"DOCKER_HOST": address, "DOCKER_CONFIG": str(folder)})
            _wait_for_service(engine, service)
            yield engine
        finally:
            service.terminate()
            service.wait(_LIMIT)


def _import(engine: OwnEngine, folder: Path, programs: Iterable[str]) -> None:
    archive = folder / "image.tar"
    write_image(archive, programs=programs)
    engine.run("import", str(archive), IMAGE)
    archive.unlink()
    try:
        engine.run("run", "--rm", IMAGE, "/bin/true")
    except AssertionError as error:
        raise EngineMissing(f"podman can't run a container here: {error}") from error


def _wait_for_service(engine: OwnEngine, service: subprocess.Popen[bytes]) -> None:
    """Return once the service answers: its socket is there before it is ready."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(AssertionError):
            engine.run("version")
            return
        if service.poll() is not None:
            break
        time.sleep(_PAUSE_SECONDS)
    raise EngineMissing(f"`podman system service` does not answer docker's client: exit code {service.poll()}")
