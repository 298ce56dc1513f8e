"""A container without an engine: the image's entrypoint in namespaces of its own, as runc would start it.

The root is read-only and made of this machine's /usr and the virtual environment; pids, mounts, network, IPC and host
name are its own; no capability, no new privileges, no environment but the image's and the manifest's. Linux, root and
util-linux are needed: :func:`obstacle` says what is missing. Source: the OCI runtime specification, namespaces(7).
"""

from __future__ import annotations

import functools
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

import dockerfile_parse
import yaml

from tests.support.packaging.rendered import LIMIT, PACKAGING, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCKERFILE: Final = PACKAGING / "container" / "Dockerfile"
COMPOSE: Final = PACKAGING / "container" / "compose.yaml"
UID: Final = 10001
TOOLS: Final = ("unshare", "nsenter", "setpriv", "mount", "chroot", "env")
NAMESPACES: Final = ("--mount", "--pid", "--net", "--ipc", "--uts")

# No container outlives the tests: when PID 1 ends, its whole pid namespace ends. PID 1 must set this
# after the change of user, which resets it: prctl(2), PR_SET_PDEATHSIG.
DIES_WITH_PARENT: Final = ("setpriv", "--pdeathsig=SIGKILL")

# Brings the loopback up: SIOCSIFFLAGS, IFF_UP; netdevice(7).
LOOPBACK_UP: Final = (
    "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 1))"
)
GET: Final = """
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""


@functools.cache
def obstacle() -> str | None:
    """Why no container can run here; ``None`` where one can."""
    if os.geteuid() != 0:
        return "only root can start a container as another user"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


@dataclass(frozen=True)
class Image:
    """How to run the image, from the last stage of the Dockerfile."""

    entrypoint: list[str]
    command: list[str]
    environ: dict[str, str]
    uid: int
    gid: int
    workdir: str
    healthcheck: list[str]
    arguments: str

    @classmethod
    def of(cls, dockerfile: Path = DOCKERFILE) -> Image:
        content = io.BytesIO(dockerfile.read_bytes())
        parser = dockerfile_parse.DockerfileParser(fileobj=content)  # type: ignore[arg-type]  # the stub says text
        last: dict[str, str] = {}
        for step in parser.structure:
            last = {} if step["instruction"] == "FROM" else last | {step["instruction"]: step["value"]}
        uid, _, gid = last["USER"].partition(":")
        arguments, _, healthcheck = last["HEALTHCHECK"].partition(" CMD ")
        return cls(
            entrypoint=json.loads(last["ENTRYPOINT"]),
            command=json.loads(last["CMD"]),
            environ=dict(parser.envs),
            uid=int(uid),
            gid=int(gid),
            workdir=last["WORKDIR"],
            healthcheck=json.loads(healthcheck),
            arguments=arguments,
        )


@dataclass(frozen=True)
class Mount:
    """A folder or file of this machine at ``target``; without ``source`` a tmpfs with these ``options``."""

    target: str
    source: Path | None = None
    options: str = ""
    read_only: bool = False

    def lines(self, root: Path) -> Iterator[str]:
        """The commands that put it there."""
        at = shlex.quote(f"{root}{self.target}")
        if self.source is None:
            options = ",".join(filter(None, [self.options, "nosuid,nodev"]))
            yield f"mkdir -p {at} && mount -t tmpfs -o {shlex.quote(options)} tmpfs {at}"
            return
        yield f"mkdir -p $(dirname {at}) && touch {at}" if not self.source.is_dir() else f"mkdir -p {at}"
        yield f"mount --bind {shlex.quote(str(self.source))} {at}"
        if self.read_only:
            yield f"mount -o remount,bind,ro {at}"


@dataclass
class Container:
    """Runs inside its ``with`` block. ``args`` replace CMD, ``environ`` overrides the image's."""

    image: Image
    folder: Path
    mounts: list[Mount]
    args: list[str] | None = None
    environ: dict[str, str] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    uid: int | None = None
    gid: int | None = None
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.environ = self.image.environ | self.environ
        self._news = threading.Condition()
        self._over = False
        root = self.folder / "root"
        root.mkdir(parents=True)
        script = "\n".join(["set -eu", *self._setup(root), self._exec(root)])
        self.process = subprocess.Popen(
            [*DIES_WITH_PARENT, "unshare", *NAMESPACES, "--fork", "--", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=[self.process.stdout])
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        if self.process.stdout is not None:
            self.process.stdout.close()

    # Its content.

    def _setup(self, root: Path) -> Iterator[str]:
        """The image's file system, and what is mounted over it."""
        yield "mount --make-rprivate /"
        yield f"{shlex.quote(sys.executable)} -c {shlex.quote(LOOPBACK_UP)}"
        yield f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(root))}"
        yield f"cd {shlex.quote(str(root))}"
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            if Path("/", name).is_symlink():
                yield f"cp --no-dereference /{name} {name}"
            elif Path("/", name).is_dir():
                yield from self._host(root, Path("/", name))
        yield from self._host(root, Path("/usr"))
        yield "mkdir -p etc/acpbot proc dev tmp run var/lib opt && chmod 1777 tmp"
        yield "cp -a /etc/ld.so.cache /etc/nsswitch.conf /etc/alternatives /etc/ssl /etc/passwd /etc/group etc/ || true"
        yield f"echo acpbot:x:{UID}:{UID}::{self.image.environ['HOME']}:/usr/sbin/nologin >> etc/passwd"
        yield f"install --directory --owner={UID} --group={UID} --mode=0700 var/lib/acpbot run/acpbot"
        yield "mount -t proc proc proc && mount --rbind /dev dev"
        for mount in self.mounts:
            yield from mount.lines(root)
        # Below a tmpfs where this repository is in /tmp, so it comes late.
        yield from self._host(root, Path(sys.prefix), "/opt/acpbot")
        for needed in dict.fromkeys([ROOT, Path(sys.prefix), Path(sys.base_prefix)]):
            if not needed.is_relative_to("/usr"):
                yield from self._host(root, needed)
        yield f"mount -o remount,ro {shlex.quote(str(root))}"

    @staticmethod
    def _host(root: Path, source: Path, target: str | None = None) -> Iterator[str]:
        yield from Mount(target or str(source), source, read_only=True).lines(root)

    def _as_user(self, argv: Iterable[str]) -> list[str]:
        uid, gid = self.uid or self.image.uid, self.gid or self.image.gid
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        less = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
        environ = [f"{name}={value}" for name, value in self.environ.items()]
        return [
            *("setpriv", f"--reuid={uid}", f"--regid={gid}", groups, *less),
            *("env", "--ignore-environment", f"--chdir={self.image.workdir}", *environ, *argv),
        ]

    def _exec(self, root: Path) -> str:
        argv = [*self.image.entrypoint, *(self.image.command if self.args is None else self.args)]
        setpriv, *as_user = self._as_user(argv)
        return shlex.join(["exec", "chroot", str(root), setpriv, *DIES_WITH_PARENT[1:], *as_user])

    # Its output.

    def _read(self, output: IO[str]) -> None:
        for line in output:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        with self._news:
            return "\n".join(self.lines)

    def wait_for(self, word: str) -> str:
        """The first line with this word."""
        with self._news:
            self._news.wait_for(lambda: self._over or any(word in line for line in self.lines), LIMIT)
            found = next((line for line in self.lines if word in line), None)
        assert found is not None, f"no {word!r} in its output:\n{self.log}"
        return found

    # Acting on it.

    @property
    def pid(self) -> int:
        """Its PID 1, as a pid of this machine."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def exec(self, *argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as `docker exec` does: as the container's user, with its environment and privileges."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--root", "--"]
        return subprocess.run(
            [*enter, *self._as_user(argv)],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
            **more,
        )

    def get(self, port: int, path: str, *, ipv6: bool = False) -> tuple[int, str]:
        """The answer to a kubelet's probe: sent from outside, but in the container's network."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--"]
        url = f"http://{'[::1]' if ipv6 else '127.0.0.1'}:{port}{path}"
        output = subprocess.run(
            [*enter, sys.executable, "-c", GET, url], capture_output=True, text=True, timeout=LIMIT, check=True
        ).stdout
        status, _, body = output.partition(" ")
        return int(status), body.strip()

    def stop(self, within: float) -> int:
        """SIGTERM to PID 1, as engines do it; its exit status, if it ends so soon, in seconds."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(within)


def owned(folder: Path, mode: int, uid: int = UID, gid: int = UID) -> Path:
    """A new folder that this user owns."""
    folder.mkdir(parents=True)
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    return folder


def compose_mounts(folder: Path, config: str, token: str) -> list[Mount]:
    """What compose.yaml mounts, created in ``folder``: volumes, secrets and tmpfs as Docker makes them."""
    compose = yaml.safe_load(COMPOSE.read_text())
    service = compose["services"]["acpbot"]
    mounts = []
    for entry in service["tmpfs"]:
        target, _, options = entry.partition(":")
        mounts.append(Mount(target, options=options))
    (folder / "config.toml").write_text(config)
    (folder / "discord-token").write_text(token)
    os.chown(folder / "discord-token", UID, -1)
    (folder / "discord-token").chmod(0o400)
    for entry in service["volumes"]:
        if isinstance(entry, str):
            name, _, target = entry.partition(":")
            assert name in compose["volumes"]
            mounts.append(Mount(target, owned(folder / name, 0o700)))
        else:
            mounts.append(Mount(entry["target"], folder / entry["source"], read_only=entry["read_only"]))
    files = {name: folder / secret["file"] for name, secret in compose["secrets"].items()}
    secrets = [Mount(entry["target"], files[entry["source"]], read_only=True) for entry in service["secrets"]]
    return mounts + secrets


def pod_mounts(folder: Path, pod: dict[str, Any], data: dict[tuple[str, str], dict[str, str]]) -> list[Mount]:
    """What the kubelet mounts into the pod's one container; ``data`` is the content of each (kind, name)."""
    group = pod["securityContext"]["fsGroup"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = []
    for mount in pod["containers"][0]["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            # Everybody may write in a new emptyDir, and fsGroup adds the group: kubernetes/pkg/volume/emptydir.
            mounts.append(Mount(mount["mountPath"], options=f"mode=2777,gid={group}"))
            continue
        source = folder / mount["name"]
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            owned(source, 0o2775, 0, group)
        else:
            owned(source, 0o2755, 0, group)
            for name, text in _projected(volume["projected"], data):
                (source / name).write_text(text)
                os.chown(source / name, 0, group)
                (source / name).chmod(volume["projected"]["defaultMode"])
        mounts.append(Mount(mount["mountPath"], source, read_only=mount.get("readOnly", False)))
    return mounts


def _projected(projected: dict[str, Any], data: dict[tuple[str, str], dict[str, str]]) -> Iterator[tuple[str, str]]:
    for source in projected["sources"]:
        ((kind, chosen),) = source.items()
        held = data[kind, chosen["name"]]
        paths = {item["key"]: item["path"] for item in chosen.get("items", [])} or {key: key for key in held}
        yield from ((path, held[key]) for key, path in paths.items())
