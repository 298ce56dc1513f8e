"""A separate machine, in namespaces: the programs of this one, an installation in /opt/acpbot, and systemd as pid 1.

Files are a copy-on-write view of this machine's, in memory; processes are in a pid namespace and below a cgroup of
their own; the network is this machine's, so that a server of the test can be reached on the loopback. Nothing is left.
Source: namespaces(7), pivot_root(2), the container interface of systemd.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from acpbot.runtimes.local import cgroup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMIT: Final = 20.0
ROOT: Final = Path(__file__).parents[3]
SCRIPT: Final = Path(__file__).with_name("machine.sh")
SYSTEMD: Final = "/lib/systemd/systemd"
INIT: Final = (SYSTEMD, "--unit=multi-user.target", "--show-status=no")
NAMESPACES: Final = ("--mount", "--pid", "--cgroup", "--uts", "--ipc", "--fork", "--kill-child")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER: Final = 'echo 0 > "$0/cgroup.procs" && exec "$@"'
_TRY: Final = """
mount -t tmpfs tmpfs "$0" && mkdir "$0/upper" "$0/work" "$0/root" &&
mount -t overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" overlay "$0/root"
"""


def missing(folder: Path, *, systemd: bool = True) -> str:
    """Why no machine can run here, or an empty string; ``folder`` is for the attempt."""
    if os.geteuid() != 0:
        return "only root makes such a machine"
    tools = ["unshare", "nsenter", "mount", "umount", "pivot_root", "setpriv"]
    if systemd:
        tools += ["systemctl", "systemd-sysusers", "systemd-tmpfiles"]
    absent = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    if systemd and not Path(SYSTEMD).exists():
        absent.append(SYSTEMD)
    if absent:
        return f"there is no {', '.join(absent)}"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "sh", "-c", _TRY, str(folder)], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        return f"no namespaces and overlays here: {tried.stderr.strip()}"
    try:
        _made_cgroup().rmdir()
    except (OSError, cgroup.Unavailable) as error:
        return f"no cgroup can be made here: {error}"
    return ""


def _made_cgroup() -> Path:
    path = cgroup.find_base() / f"machine-{secrets.token_hex(4)}"
    path.mkdir()
    return path


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Machine:
    """Runs ``command`` as pid 1 of a machine, ready when it reports so (sd_notify(3)): by default systemd.

    ``reported`` are the states that pid 1 has reported; ``root`` is its root directory, seen from here.
    """

    def __init__(self, folder: Path, command: Sequence[str] = INIT, **environ: str) -> None:
        address = f"acpbot-machine-{secrets.token_hex(8)}"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(f"\0{address}")
        self._notify.settimeout(LIMIT)
        self._cgroup = _made_cgroup()
        self.log = folder.with_name(f"{folder.name}.log")
        folder.mkdir()
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        places = (str(folder), version, sys.base_prefix, sysconfig.get_path("purelib"), str(ROOT))
        variables = [f"{name}={value}" for name, value in {"NOTIFY_SOCKET": f"@{address}", **environ}.items()]
        argv = ["unshare", *NAMESPACES, "sh", str(SCRIPT), *places, "env", *variables, *command]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", _ENTER, str(self._cgroup), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": PATH},
            )
        try:
            self.wait_for("READY=1")
        except BaseException:
            self.close()
            raise
        (self.pid,) = _children(self.process.pid)
        self.root = Path(f"/proc/{self.pid}/root")

    def children(self) -> list[int]:
        """The children of its pid 1, as pids of this machine."""
        return _children(self.pid)

    def wait_for(self, state: str) -> None:
        """Wait until pid 1 has sent this state (sd_notify(3))."""
        while True:
            try:
                states = self._notify.recv(4096).decode().split("\n")
            except TimeoutError:
                raise AssertionError(f"no {state}; it says:\n{self.log.read_text(errors='replace')}") from None
            if state in states:
                return

    def run(self, *command: str, check: bool = True, user: str = "", **environ: str) -> subprocess.CompletedProcess:
        """Run a command in it, as root or as ``user``; one that fails fails the test, unless ``check`` is false."""
        done = subprocess.run(
            self._inside(command, user, environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
            env={"PATH": PATH},
        )
        if check:
            assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def logged(self, unit: str, words: str, times: int = 1) -> None:
        """Wait until the unit's journal has these words so many times."""
        command = self._inside(("journalctl", "--follow", "--lines=all", f"--unit={unit}"), "", {})
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": PATH}) as journal:
            assert journal.stdout is not None
            while times:
                line = journal.stdout.readline()
                assert line, f"the journal ended before {words!r}"
                times -= words in line
            journal.kill()

    def _inside(self, command: Sequence[str], user: str, environ: Mapping[str, str]) -> list[str]:
        enter = [
            "nsenter",
            "--target",
            str(self.pid),
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--cgroup",
            "--root",
            "--wd",
        ]
        if user:
            enter += ["setpriv", "--reuid", user, "--regid", user, "--init-groups"]
        variables = {"PATH": f"/opt/acpbot/bin:{PATH}", "HOME": f"/home/{user}" if user else "/root", **environ}
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in it, by its absolute path there."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill its pid 1, and with it all that runs there; the kernel frees the rest."""
        self.process.kill()
        self.process.wait(LIMIT)
        self._notify.close()
        group = cgroup.Cgroup(self._cgroup)
        group.kill()
        assert group.remove(LIMIT), f"something stays in {self._cgroup}: {group.members()}"
        with contextlib.suppress(FileNotFoundError):
            self.log.with_suffix("").rmdir()
