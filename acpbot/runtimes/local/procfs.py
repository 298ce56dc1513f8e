"""What /proc shows of a process: parsing only, no state and no decisions (proc(5)).

A pid alone identifies nothing for long: the kernel reuses it. A pid together with the start time does, for as long as
the machine runs. `ProcessKey` is that pair, and nothing in this package signals a process without it.

A function here returns ``None`` (or an empty value) only where the process is gone or belongs to another user. Where
/proc can't be read for any other reason, such as too many open files, it raises `OSError`.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpbot.text import cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SESSION_MARKER: Final = "ACPBOT_SESSION"
"""In each agent's environment: the session_id."""
DAEMON_MARKER: Final = "ACPBOT_DAEMON"
"""In each agent's environment: the daemon's `Identity`."""

LOOKS_THAT_PROVE: Final = 2
"""So many looks in a row that find nothing prove that nothing is left."""

TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_WATCHED_AT_ONCE: Final = 64  # pidfds: a fork storm must not use up our descriptors
_COMMAND_MAX: Final = 1_000
_IDENTITY: Final = re.compile(r"(\d{1,20}):(\d{1,10}):(\d{1,20})")
# ENODEV: the cgroup was removed. EOPNOTSUPP: it is a threaded one (cgroups(7)).
_GONE_OR_NOT_OURS: Final = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM, errno.ENODEV, errno.EOPNOTSUPP}
)


class ProcessKey(NamedTuple):
    """One process, never a later one with the same pid. ``start_time`` is in clock ticks since boot."""

    pid: int
    start_time: int


def place_ref(key: ProcessKey, boot_id: str) -> dict[str, Any]:
    """Return what identifies a process of this machine for a later daemon, and no other one with the same pid."""
    return {"pid": key.pid, "start_time": key.start_time, "boot_id": boot_id}


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used here. ``start_time`` is in clock ticks since boot.

    ``cpu_seconds`` is the user and system time of the process itself, ``reaped_cpu_seconds`` that of the children that
    it has waited for. ``rss_bytes`` is resident memory; pages shared with other processes count in each of them.
    """

    pid: int
    comm: bytes
    state: str
    ppid: int
    pgid: int
    sid: int
    cpu_seconds: float
    reaped_cpu_seconds: float
    threads: int
    start_time: int
    rss_bytes: int

    @property
    def key(self) -> ProcessKey:
        """The pair that identifies this process."""
        return ProcessKey(self.pid, self.start_time)

    @property
    def ended(self) -> bool:
        """Whether it is a zombie and nothing of it runs any more.

        State Z alone does not mean that: a process whose main thread ended while others run has it too.
        """
        return self.state in "ZXx" and self.threads <= 1


def parse_stat(line: bytes) -> Stat:
    """Parse the content of /proc/PID/stat; ``comm`` may itself hold spaces and parentheses.

    Raises `ValueError` or `IndexError` for anything else.
    """
    begin = line.index(b"(")
    end = line.rindex(b")")
    fields = line[end + 4 :].split(None, 21)
    return Stat(
        int(line[:begin]),
        line[begin + 1 : end],
        chr(line[end + 2]),
        int(fields[0]),
        int(fields[1]),
        int(fields[2]),
        (int(fields[10]) + int(fields[11])) / TICKS_PER_SECOND,
        (int(fields[12]) + int(fields[13])) / TICKS_PER_SECOND,
        int(fields[16]),
        int(fields[18]),
        int(fields[20]) * _PAGE_BYTES,
    )


def read_file(path: str, chunk: int = 4096) -> bytes | None:
    """Return a file of /proc or of a cgroup, or ``None`` where it is gone or not ours to read.

    Raises `OSError` for every other reason. It costs a quarter of `Path.read_bytes`, which counts: each look calls it
    for every process.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = piece = os.read(descriptor, chunk)
        while len(piece) == chunk:
            piece = os.read(descriptor, chunk)
            content += piece
    except OSError as error:
        if error.errno in _GONE_OR_NOT_OURS:
            return None
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return content


def read_stat(pid: int) -> Stat | None:
    """Return the process's stat, or ``None`` where there is none."""
    line = read_file(f"/proc/{pid}/stat")
    return parse_stat(line) if line else None


def newest_first() -> Iterator[Stat]:
    """Read all processes, the highest pid first.

    A process that forks and exits all the time is seen only just after its start: its pid is at the end of the list,
    and is read first.
    """
    for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc"))), reverse=True):  # noqa: PTH208 - a Path per process would double the cost
        stat = read_stat(pid)
        if stat is not None:
            yield stat


def newest_pid() -> int:
    """Return the pid (or thread id) that the kernel assigned last in our pid namespace (proc(5), loadavg)."""
    return int((read_file("/proc/loadavg") or b"0").split()[-1])


def now_ticks() -> int:
    """Return the start time that a process started now would get."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)


def same_process(key: ProcessKey) -> bool:
    """Whether exactly this process still exists, also as a zombie."""
    stat = read_stat(key.pid)
    return stat is not None and stat.start_time == key.start_time


def living(key: ProcessKey) -> bool:
    """Whether exactly this process still runs."""
    stat = read_stat(key.pid)
    return stat is not None and stat.start_time == key.start_time and not stat.ended


def signal_process(key: ProcessKey, signum: int) -> int | None:
    """Signal exactly this process, never another one that got its pid meanwhile.

    The pidfd is opened first and the start time compared afterwards: from then on the pidfd can only mean this
    process (pidfd_send_signal(2)). Returns the pidfd, which becomes readable once the process has ended; the caller
    closes it. Returns ``None`` where the process is gone or may not be signalled. Raises `OSError` where it can't be
    found out, as without a free descriptor.
    """
    try:
        pidfd = os.pidfd_open(key.pid)
    except ProcessLookupError:
        return None
    try:
        if same_process(key):
            signal.pidfd_send_signal(pidfd, signum)
            return pidfd
    except (ProcessLookupError, PermissionError):  # gone, or another user's (sudo): the next look shows which
        os.close(pidfd)
        return None
    except OSError:
        os.close(pidfd)
        raise
    os.close(pidfd)
    return None


def send_sigkill(keys: Iterable[ProcessKey]) -> list[int]:
    """Send SIGKILL to exactly these processes; return a pidfd for each of the first 64, for the caller to close.

    Raises `OSError`.
    """
    pidfds: list[int] = []
    try:
        for key in keys:
            pidfd = signal_process(key, signal.SIGKILL)
            if pidfd is None:
                continue
            if len(pidfds) < _WATCHED_AT_ONCE:
                pidfds.append(pidfd)
            else:
                os.close(pidfd)
    except OSError:
        for pidfd in pidfds:
            os.close(pidfd)
        raise
    return pidfds


def with_ancestors(pid: int) -> set[int]:
    """Return the pid and those of its ancestors."""
    pids = set()
    stat = read_stat(pid)
    while stat is not None:
        pids.add(stat.pid)
        stat = read_stat(stat.ppid)
    return pids


def read_markers(pid: int) -> tuple[str | None, Identity | None]:
    """Return the session and the daemon that the process's environment names, each ``None`` where it names none."""
    session: str | None = None
    daemon: Identity | None = None
    for entry in (read_file(f"/proc/{pid}/environ", 65_536) or b"").split(b"\0"):
        if entry.startswith(b"ACPBOT_"):
            name, _, value = entry.decode(errors="replace").partition("=")
            if name == SESSION_MARKER:
                session = value
            elif name == DAEMON_MARKER:
                daemon = Identity.parse(value)
    return session, daemon


def begins_program(stat: Stat) -> bool:
    """Whether the process is in the middle of execve(2): for that moment it shows no environment and no arguments.

    True for the threads of the kernel too, which have neither at any time.
    """
    return not (read_file(f"/proc/{stat.pid}/environ", 65_536) or read_file(f"/proc/{stat.pid}/cmdline"))


def command_of(stat: Stat) -> str:
    """Return the command line, else ``[comm]``; one printable line of at most 1,000 characters."""
    words = (read_file(f"/proc/{stat.pid}/cmdline") or b"").rstrip(b"\0").replace(b"\0", b" ")
    text = printable(words.decode(errors="replace")).strip() or f"[{printable(stat.comm.decode(errors='replace'))}]"
    return cut(text, _COMMAND_MAX)


class Identity(NamedTuple):
    """One daemon, as written in its agents' environment and in the name of its cgroup directory.

    ``namespace`` is the inode of the pid namespace in which ``pid`` holds; ``start_time`` is in clock ticks.
    """

    namespace: int
    pid: int
    start_time: int

    def __str__(self) -> str:
        return f"{self.namespace}:{self.pid}:{self.start_time}"

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Return the identity that ``str`` wrote, or ``None``."""
        match = _IDENTITY.fullmatch(text)
        return cls(*map(int, match.groups())) if match else None

    @classmethod
    def own(cls) -> Identity:
        """Return the identity of this process. Raises `OSError` without a readable /proc."""
        stat = parse_stat(Path("/proc/self/stat").read_bytes())
        return cls(Path("/proc/self/ns/pid").stat().st_ino, stat.pid, stat.start_time)

    @property
    def alive(self) -> bool:
        """Whether that daemon still runs. Has a meaning only in its own pid namespace."""
        return living(ProcessKey(self.pid, self.start_time))


def boot_id() -> str:
    """Return the id of this boot, ``""`` where there is none: a `ProcessKey` identifies nothing after another boot."""
    return (read_file("/proc/sys/kernel/random/boot_id") or b"").decode().strip()
