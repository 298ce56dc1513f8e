"""How a container is made of this machine: namespaces of its own, and a root that is a copy of this machine's.

The root is an overlay: everything of this machine can be read, what is written lands in memory and goes with the
container. Linux, root and util-linux are needed. Without them containers are plain process groups; :func:`lacks` says
what they lack then. Source: namespaces(7), unshare(1), nsenter(1), setpriv(1).
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TOOLS: Final = ("unshare", "nsenter", "setpriv", "setsid", "mount", "chroot", "hostname")
UNSHARE: Final = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private")
ENTER: Final = ("--mount", "--pid", "--uts", "--ipc", "--root", "--wd")
READY: Final = b"ready\n"  # the first line of standard error, before the program's own
REPOSITORY: Final = Path(__file__).resolve().parents[3]

MISSING: Final = (
    "process namespaces: a process that leaves its group outlives its container",
    "mounts: volumes are not at their mountPath, and the volumes of other pods can be read",
    "users: everything runs as the user of the tests",
)


@functools.cache
def obstacle() -> str | None:
    """Why no real containers can be made here; ``None`` where they can."""
    if os.geteuid() != 0:
        return "only root can mount an overlay of the root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    script = "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay overlay -o "
    script += "lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    tried = subprocess.run(["unshare", *UNSHARE, "sh", "-c", script], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces or no overlay here: {tried.stderr.strip()}"


def lacks() -> tuple[str, ...]:
    """What containers here do not have, in words; empty where they are real ones."""
    return MISSING if obstacle() else ()


@dataclass(frozen=True)
class Bind:
    """A folder or file of this machine at `target`."""

    source: Path
    target: str
    read_only: bool = False


@dataclass
class Setup:
    """Everything about a container but its streams. Paths are those inside, but `scratch` and `hidden`."""

    argv: list[str]
    environ: dict[str, str]
    scratch: Path
    hostname: str = "pod"
    working_dir: str = "/"
    binds: list[Bind] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    drop_capabilities: bool = False
    no_new_privileges: bool = False
    read_only_root: bool = False
    tty: bool = False

    def start(self) -> list[str]:
        """The command that starts it."""
        if obstacle():
            return [_tool("sh"), "-c", self._inner(self.tty, enter=False), "sh", *self.argv]
        # Without --pdeathsig the container would outlive tests that are killed.
        chain = [_tool("setpriv"), "--pdeathsig", "KILL", _tool("unshare"), *UNSHARE]
        return [*chain, _tool("sh"), "-c", self._outer(), "sh", *self.argv]

    def enter(self, pid: int, argv: list[str], *, tty: bool) -> list[str]:
        """The command that runs another program beside PID 1, which is process `pid` of this machine."""
        inner = [_tool("sh"), "-c", self._inner(tty), "sh", *argv]
        session = [] if tty else [_tool("setsid")]  # as container runtimes do; with a terminal it is done inside
        return inner if obstacle() else [_tool("nsenter"), "--target", str(pid), *ENTER, *session, *inner]

    def _outer(self) -> str:
        at = shlex.quote(str(self.scratch))
        root = f"{at}/root"
        lines = [
            "set -e",
            f"mount -t tmpfs tmpfs {at}",
            f"mkdir {at}/upper {at}/work {root}",
            f"mount -t overlay overlay -o lowerdir=/,upperdir={at}/upper,workdir={at}/work {root}",
            *(f"mount --rbind {shlex.quote(path)} {root}{shlex.quote(path)}" for path in _other_file_systems()),
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"hostname {shlex.quote(self.hostname)}",
        ]
        hidden = [shlex.quote(str(path)) for path in self.hidden]
        lines += [f"mount -t tmpfs -o size=4k,mode=0 tmpfs {root}{path}" for path in hidden]
        for bind in self.binds:
            to = root + shlex.quote(bind.target)
            is_folder = bind.source.is_dir()
            lines.append(f"mkdir -p {to}" if is_folder else f"mkdir -p $(dirname {to}) && touch {to}")
            lines.append(f"mount --bind {shlex.quote(str(bind.source))} {to}")
            if bind.read_only:
                lines.append(f"mount -o remount,bind,ro {to}")
        lines.append(f"mkdir -p {root}{shlex.quote(self.working_dir)}")
        if self.read_only_root:
            lines.append(f"mount -o remount,ro {root}")
        lines.append(f'exec chroot {root} /bin/sh -c {shlex.quote(self._inner(self.tty))} sh "$@"')
        return "\n".join(lines)

    def _inner(self, tty: bool, *, enter: bool = True) -> str:
        """Changes the folder and the user, says that all is ready, and becomes the program."""
        lines = [f"cd {shlex.quote(self.working_dir)}" + ("" if enter else " 2>/dev/null")]
        missing = 'exec: "$1": executable file not found in $PATH'.replace('"', '\\"').replace("$PATH", "\\$PATH")
        lines.append(f'command -v -- "$1" >/dev/null || {{ echo "{missing}" >&2; exit 128; }}')
        lines.append("echo ready >&2")
        if tty:
            lines.append("exec 2>&1")
        prefix = "exec setsid --ctty" if tty else "exec"
        lines.append(f'{prefix} {self._as_user()} "$@"')
        return "\n".join(lines)

    def _as_user(self) -> str:
        if obstacle():
            return "" if self.tty else "env"
        groups = f"--groups {','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        words = [f"setpriv --reuid {self.uid} --regid {self.gid} {groups} --pdeathsig KILL"]
        if self.drop_capabilities:
            words.append("--bounding-set=-all --inh-caps=-all")
        if self.no_new_privileges:
            words.append("--no-new-privs")
        return " ".join(words)


@functools.cache
def _tool(name: str) -> str:
    return shutil.which(name) or name


@functools.cache
def _other_file_systems() -> list[str]:
    """The folders that programs of the tests need, where they are not on the file system of the root."""
    root = os.stat("/").st_dev  # noqa: PTH116
    found = []
    for path in (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)):
        at = path
        while at.stat().st_dev == path.stat().st_dev and at != at.parent:
            last, at = at, at.parent
        if path.stat().st_dev != root and str(last) not in found:
            found.append(str(last))
    return found
