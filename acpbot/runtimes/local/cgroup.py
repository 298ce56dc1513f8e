"""A cgroup v2 directory per session: the kernel itself keeps the list of a session's processes (cgroups(7)).

Layout, below a directory that this process may write (the daemon's own cgroup; under systemd that of the unit, with
``Delegate=yes``)::

    acpbot-<pid namespace>-<daemon pid>-<daemon start time>/
        <session_id>/        the agent and all its descendants, whatever Unix session or group they move to
        _daemon/             the daemon, moved here only where a limit is set and controllers require it

A cgroup that has processes can't give controllers to its children (the no-internal-processes rule), hence ``_daemon``.

Reading raises `OSError` where it can't look (see `procfs`); a cgroup that was removed is empty.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.runtimes.local.procfs import Identity, read_file
from acpbot.runtimes.runtime import LimitNotHeld

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTER_SCRIPT: Final = 'echo 0 > "$0" && exec "$@"'
"""For ``/bin/sh -c``: enter the cgroup whose cgroup.procs is ``$0``, then exec the command; the pid stays the same."""

_DAEMON_LEAF: Final = "_daemon"  # no session_id begins with an underscore
_DIRECTORY: Final = re.compile(r"acpbot-(\d+)-(\d+)-(\d+)")
_SHOW_SCRIPT: Final = 'while read -r line; do echo "$line"; done < /proc/self/cgroup'
_UNESCAPE: Final = functools.partial(re.compile(r"\\(\d{3})").sub, lambda octal: chr(int(octal[1], 8)))
_PROBE_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 0.005
_PLAIN_DIRECTORY_LINKS: Final = 2


class Unavailable(Exception):
    """No cgroup can be used; the message says why, as a clause."""


def own_path(cgroup: str) -> str | None:
    """Return the v2 path in a /proc/PID/cgroup: the line of hierarchy 0."""
    for line in cgroup.splitlines():
        if line.startswith("0::/"):
            return line[3:]
    return None


def directory_name(daemon: Identity) -> str:
    """Return the name of the directory that holds a daemon's sessions."""
    return f"acpbot-{daemon.namespace}-{daemon.pid}-{daemon.start_time}"


def session_directories(path: str) -> set[str]:
    """Return the session directories, of whatever daemon, that a process's path (`path_of`) leads through."""
    steps = path.removesuffix(" (deleted)").split("/")
    return {
        f"{daemon}/{session}"
        for daemon, session in itertools.pairwise(steps)
        if _DIRECTORY.fullmatch(daemon) and session and not session.startswith("_")
    }


def path_of(pid: int) -> str:
    """Return a process's v2 path, or ``""`` where it has none; a zombie still has one."""
    return own_path((read_file(f"/proc/{pid}/cgroup") or b"").decode(errors="replace")) or ""


def locate(mountinfo: str, cgroup: str) -> Path:
    """Return the directory of the cgroup whose ``mountinfo`` and ``cgroup`` files these are (proc(5)).

    On a unified host it is below /sys/fs/cgroup, on a hybrid one below /sys/fs/cgroup/unified.
    Raises `Unavailable` where no cgroup v2 is mounted, or none that shows it.
    """
    own = own_path(cgroup)
    found = False
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if own is None or not tail.startswith("cgroup2 ") or len(fields) <= 4:  # noqa: PLR2004 - as in proc(5)
            continue
        found = True
        root = _UNESCAPE(fields[3]).rstrip("/")
        if own == root or own.startswith(root + "/"):
            return Path(_UNESCAPE(fields[4]), own[len(root) :].lstrip("/"))
    if not found:
        raise Unavailable("no cgroup v2 is mounted here")
    raise Unavailable(f"the cgroup mount does not show our own cgroup {own}")


def find_base() -> Path:
    """Return the directory below which sessions' cgroups may be made.

    Raises `Unavailable` where there is none, `OSError` where it can't be found out.
    """
    own = own_directory()
    if own.name == _DAEMON_LEAF and _DIRECTORY.fullmatch(own.parent.name):  # this process has moved there itself
        return own.parent.parent
    # systemd's DelegateSubgroup= puts the daemon one level below what it delegates, and marks that with an attribute.
    with contextlib.suppress(OSError):
        if os.getxattr(own.parent, "user.delegate") == b"1":
            return own.parent
    return own


def own_directory() -> Path:
    """Return the directory of this process's cgroup. Raises `Unavailable`, `OSError`."""
    try:
        return locate(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except (FileNotFoundError, PermissionError) as error:
        raise Unavailable(f"{error.filename} can't be read: {error.strerror}") from error


@dataclass(frozen=True)
class Cgroup:
    """One session's directory."""

    path: Path
    limits_not_held: tuple[LimitNotHeld, ...] = ()

    def members(self) -> list[int]:
        """Return the pids inside, those of nested cgroups too; zombies are not listed."""
        pids: list[int] = []
        for directory in self._tree():
            # None: just removed, or a threaded one, whose members its parent lists.
            pids += map(int, (read_file(f"{directory}/cgroup.procs") or b"").split())
        return pids

    def is_path(self, path: str) -> bool:
        """Whether a process's path (`path_of`) is this cgroup or below it; a namespace may cut the path's beginning."""
        return f"/{self.path.parent.name}/{self.path.name}/" in path.removesuffix(" (deleted)") + "/"

    def kill(self) -> bool:
        """Send SIGKILL to all processes inside at once, also those forked meanwhile; ``False`` before Linux 5.14."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:
            return False
        return True

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of everything that ever ran inside, ``None`` where the kernel does not say."""
        for line in (read_file(f"{self.path}/cpu.stat") or b"").splitlines():
            name, _, value = line.partition(b" ")
            if name == b"usage_usec":
                return int(value) / 1e6
        return None

    def enter(self, pid: int) -> None:
        """Move a process in. Raises `OSError`."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def remove(self, deadline_seconds: float = 0.0) -> bool:
        """Remove the directory and those nested in it, trying until the deadline; ``False`` where it is not empty.

        Just after a kill the kernel may still keep it (EBUSY). Blocks, and raises `OSError` where it can't look.
        """
        until = time.monotonic() + deadline_seconds
        while True:
            for directory in reversed(list(self._tree())):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            if not self.path.exists():
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_RETRY_SECONDS)

    def _tree(self) -> Iterator[str]:
        """Yield the directory and those below it, parents first; cheap where there are none."""
        top = str(self.path)
        yield top
        with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
            if os.stat(top).st_nlink > _PLAIN_DIRECTORY_LINKS:  # noqa: PTH116 - each look calls this for every session
                for parent, names, _ in os.walk(top, onerror=_raise_unless_removed):
                    for name in names:
                        yield f"{parent}/{name}"


def _raise_unless_removed(error: OSError) -> None:
    """`os.walk` calls this where it can't list a directory; by itself it goes on as if there were none."""
    if error.errno not in {errno.ENOENT, errno.ENODEV}:
        raise error


class Cgroups:
    """The directory in which this daemon keeps its sessions' cgroups.

    The constructor moves a short-lived process into a probe cgroup. It raises `Unavailable` where the directory can't
    be made or the process can't be moved.
    """

    def __init__(self, identity: Identity, base: Path | None = None) -> None:
        self.base = find_base() if base is None else base
        self.path = self.base / directory_name(identity)
        try:
            probe = self.create(f"_probe-{time.monotonic_ns()}")
        except OSError as error:
            raise Unavailable(f"{self.base} can't be written: {error.strerror}") from error
        try:
            self._probe(probe)
        except Unavailable:
            self.close()
            raise

    def create(self, session_id: str, *, memory_max: int | None = None, pids_max: int | None = None) -> Cgroup:
        """Make a session's cgroup, with the limits that can be applied. Raises `OSError`."""
        path = self.path / session_id
        path.mkdir(parents=True)
        missing: list[LimitNotHeld] = []
        for controller, value in (("memory", memory_max), ("pids", pids_max)):
            if value is not None:
                reason = self._limit(path, controller, value)
                if reason is not None:
                    missing.append(LimitNotHeld(f"{controller}_max", reason))
        return Cgroup(path, tuple(missing))

    def close(self) -> None:
        """Remove the directory. What is still in use stays; the next daemon finds it."""
        Cgroup(self.path).remove()

    @staticmethod
    def _probe(probe: Cgroup) -> None:
        try:
            result = subprocess.run(
                ["/bin/sh", "-c", ENTER_SCRIPT, str(probe.path / "cgroup.procs"), "/bin/sh", "-c", _SHOW_SCRIPT],
                check=False,
                capture_output=True,
                text=True,
                timeout=10,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"no process could be moved into {probe.path}: {error}") from error
        finally:
            probe.remove(_PROBE_SECONDS)
        if not probe.is_path(own_path(result.stdout) or ""):
            reason = result.stderr.strip().rpartition(": ")[2] or "it stayed where it was"
            raise Unavailable(f"no process could be moved into {probe.path}: {reason}")

    def _limit(self, path: Path, controller: str, value: int) -> str | None:
        """Apply a limit; return why that is not possible, or ``None``."""
        limit = path / f"{controller}.max"
        try:
            if not limit.exists():
                enable_controller(controller, self.base, self.path)
            limit.write_text(str(value))
        except Unavailable as error:
            return str(error)
        except OSError as error:
            return f"{limit} can't be written: {error.strerror}"
        return None


def enable_controller(controller: str, base: Path, below: Path) -> None:
    """Give a controller from ``base`` to ``below`` and from there to its children.

    A cgroup with processes can't give any: where this process is the only one in ``base``, it moves to ``_daemon``.
    Raises `Unavailable`.
    """
    if controller not in (base / "cgroup.controllers").read_text().split():
        raise Unavailable(f"the {controller} controller is not available in {base}")
    for directory in (base, below):
        control = directory / "cgroup.subtree_control"
        if controller in control.read_text().split():
            continue
        try:
            control.write_text(f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY or directory != base:
                raise Unavailable(f"{control} can't be written: {error.strerror}") from error
            _move_daemon(base, below)
            try:
                control.write_text(f"+{controller}")
            except OSError as second:
                raise Unavailable(f"{control} can't be written: {second.strerror}") from second


def _move_daemon(base: Path, below: Path) -> None:
    """Move this process from ``base`` to the leaf for the daemon. Raises `Unavailable`."""
    if (base / "cgroup.procs").read_text().split() != [str(os.getpid())]:
        raise Unavailable(f"{base} holds other processes, which keep it from handing controllers to its children")
    leaf = below / _DAEMON_LEAF
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise Unavailable(f"the daemon can't be moved to {leaf}: {error.strerror}") from error


def leftovers(base: Path, own: Identity) -> list[Path]:
    """Return the directories in ``base`` that dead daemons of our pid namespace left.

    A directory that contains this process itself is not among them. Raises `OSError` where it can't look.
    """
    try:
        names = sorted(os.listdir(base))  # noqa: PTH208 - names only
        inside = own_directory()
    except (FileNotFoundError, Unavailable):
        return []
    found = []
    for match in filter(None, map(_DIRECTORY.fullmatch, names)):
        identity = Identity(*map(int, match.groups()))
        path = base / match[0]
        if identity.namespace == own.namespace and not identity.alive and path not in (inside, *inside.parents):
            found.append(path)
    return found


def sessions_of(directory: Path) -> list[Cgroup]:
    """Return the sessions' cgroups in a daemon's directory, without the leaf for the daemon itself."""
    try:
        return [Cgroup(entry) for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("_")]
    except FileNotFoundError:
        return []
