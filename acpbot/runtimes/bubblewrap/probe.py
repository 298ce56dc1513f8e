"""Whether bubblewrap works on this machine, found out by running it; and if not, why, and what to do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.bubblewrap.sandbox import Refused, namespaces, system
from acpbot.runtimes.bubblewrap.seccomp import seccomp_filter
from acpbot.runtimes.local.spawn_server import LANDLOCK_CREATE_RULESET
from acpbot.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TRY_SECONDS: Final = 10
_LANDLOCK_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_LANDLOCK_WITH_SCOPES: Final = 6
_IN_CONTAINER: Final = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
_WAY_OUT_OF_CONTAINER: Final = (
    "acpbot runs in a container that allows none; set runtime to local there: the container is the boundary"
)
_USER_NAMESPACES: Final = {
    "/proc/sys/user/max_user_namespaces": ("0", "allow user namespaces: sysctl user.max_user_namespaces=10000"),
    "/proc/sys/kernel/unprivileged_userns_clone": (
        "0",
        "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1",
    ),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor restricts user namespaces: install a profile for bwrap that has userns, or set runtime to local",
    ),
}


def find_bwrap(environ: Mapping[str, str]) -> str:
    """Return the path of bwrap(1). Raises `Refused` where there is none."""
    found = shutil.which("bwrap", path=environ.get("PATH", os.defpath))
    if found is None:
        raise Refused("there is no bwrap program; install the package bubblewrap, or set runtime to local")
    return found


def probe(bwrap: str) -> None:
    """Make a sandbox, and leave it. Blocks for some milliseconds. Raises `Refused` where the machine forbids it."""
    options = namespaces(root=os.geteuid() == 0)
    for mount in system():
        options += [mount.how, mount.source, mount.path]
    argv = [bwrap, *options, "--proc", "/proc", "--dev", "/dev", "--", "/bin/sh", "-c", ":"]
    try:
        tried = subprocess.run(
            argv, check=False, capture_output=True, text=True, errors="replace", timeout=_TRY_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"bwrap can't be run: {printable(str(error))}; install the package bubblewrap again") from None
    if tried.returncode:
        said = tried.stderr.strip().rpartition("\n")[2] or f"bwrap exits with {tried.returncode}"
        raise Refused(f"{printable(said.removeprefix('bwrap: '))[:300]}; {way_out()}")


def sandbox_works(environ: Mapping[str, str]) -> bool:
    """Return whether a sandbox can be made here. Blocks."""
    try:
        probe(find_bwrap(environ))
    except Refused:
        return False
    return True


def way_out() -> str:
    """Return what an operator can do where no sandbox can be made here."""
    for name, (forbids, advice) in _USER_NAMESPACES.items():
        with contextlib.suppress(OSError):  # the kernel has no such setting
            if Path(name).read_text().strip() == forbids:
                return advice
    if any(Path(mark).exists() for mark in _IN_CONTAINER):
        return _WAY_OUT_OF_CONTAINER
    if "INVOCATION_ID" in os.environ:
        return "the systemd unit of acpbot may forbid it: install its drop-in nested-sandbox.conf (packaging/systemd)"
    return "allow user namespaces for acpbot's user, or set runtime to local"


def can_scope_sockets(bwrap: str) -> bool:
    """Return whether a sandbox with a network can be kept from the abstract Unix sockets of this machine.

    It takes landlock(7) of Linux 6.12 or later, and a bwrap without the set-user-ID bit, which works no more in a
    process that has restricted itself.
    """
    libc = ctypes.CDLL(None)
    version = libc.syscall(ctypes.c_long(LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    return bool(version >= _LANDLOCK_WITH_SCOPES) and not Path(bwrap).stat().st_mode & stat.S_ISUID


def notes(bwrap: str, *, network: bool) -> Iterator[str]:
    """Yield what an operator must know of the sandboxes here, one clause each."""
    if network and not can_scope_sockets(bwrap):
        yield (
            "warning: it can reach abstract Unix sockets of this machine, such as those of X11: "
            "that takes Linux 6.12 with Landlock, or network = false"
        )
    if seccomp_filter() is None:
        yield "warning: no system calls are filtered: acpbot knows those of x86_64 and aarch64"
    if os.geteuid() == 0:
        yield "warning: acpbot is root, and so is the agent, without its capabilities; run acpbot as a user of its own"
