"""What /proc tells of a process: parsing only, no state and no decisions (proc(5)).

A pid alone names nothing for long, the kernel hands it out again. A pid together with the start time does, for as
long as the machine runs; `ProcessKey` is that pair, and nothing in this room signals a process without it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.text import cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION_MARKER: Final = "ACPBOT_SESSION"
"""In each agent's environment: the session_id."""
DAEMON_MARKER: Final = "ACPBOT_DAEMON"
"""In each agent's environment: the daemon's `Identity`."""

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_COMMAND_MAX: Final = 1_000
_IDENTITY: Final = re.compile(r"(\d{1,20}):(\d{1,10}):(\d{1,20})")
# Line breaks would forge lines in a log; escapes and bidirectional overrides would paint over a terminal.


class ProcessKey(NamedTuple):
    """One process, never its successor under the same pid. ``start_time`` is in clock ticks since boot."""

    pid: int
    start_time: int


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used here; times in clock ticks, ``rss_pages`` in pages."""

    pid: int
    comm: bytes
    state: str
    ppid: int
    pgid: int
    sid: int
    ticks: int
    children_ticks: int
    threads: int
    start_time: int
    rss_pages: int

    @property
    def key(self) -> ProcessKey:
        """The pair that names this process."""
        return ProcessKey(self.pid, self.start_time)

    @property
    def ended(self) -> bool:
        """A zombie: nothing of it runs any more.

        State Z alone does not say so: a process whose main thread ended while others run shows it too.
        """
        return self.state in "ZXx" and self.threads <= 1

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process itself."""
        return self.ticks / _TICKS_PER_SECOND

    @property
    def cpu_seconds_with_reaped(self) -> float:
        """The same, plus that of the children which it has waited for."""
        return (self.ticks + self.children_ticks) / _TICKS_PER_SECOND

    @property
    def rss_bytes(self) -> int:
        """Resident memory; pages shared with other processes count in each of them."""
        return self.rss_pages * _PAGE_BYTES

    @property
    def age_seconds(self) -> float:
        """Seconds since the process started."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_time / _TICKS_PER_SECOND)


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
        int(fields[10]) + int(fields[11]),
        int(fields[12]) + int(fields[13]),
        int(fields[16]),
        int(fields[18]),
        int(fields[20]),
    )


def read_file(path: str, chunk: int = 4096) -> bytes | None:
    """Return a file of /proc or of a cgroup, or ``None`` where it is gone or not ours to read.

    On the walk's path: a quarter of what `Path.read_bytes` costs.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = piece = os.read(descriptor, chunk)
        while len(piece) == chunk:
            piece = os.read(descriptor, chunk)
            content += piece
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return content


def read_stat(pid: int) -> Stat | None:
    """Return the process's stat, or ``None`` where there is none."""
    line = read_file(f"/proc/{pid}/stat")
    return parse_stat(line) if line else None


def newest_first() -> Iterator[Stat]:
    """Walk over all processes, the highest pid first.

    A process that forks and exits all the time is caught only close to its birth: its pid is at the end of the list,
    and is looked at first.
    """
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):  # noqa: PTH208 - a Path per process would double the walk's cost
        stat = read_stat(pid)
        if stat is not None:
            yield stat


def newest_pid() -> int:
    """Return the pid (or thread id) that was handed out last in our pid namespace (proc(5), loadavg)."""
    return int((read_file("/proc/loadavg") or b"0").split()[-1])


def now_ticks() -> int:
    """Return the start time that a process born now would get."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_SECOND)


def same_process(key: ProcessKey) -> bool:
    """Whether this very process still exists, be it as a zombie."""
    stat = read_stat(key.pid)
    return stat is not None and stat.start_time == key.start_time


def living(key: ProcessKey) -> bool:
    """Whether this very process still runs."""
    stat = read_stat(key.pid)
    return stat is not None and stat.start_time == key.start_time and not stat.ended


def signal_process(key: ProcessKey, signum: int) -> int | None:
    """Signal this very process, never another one that was given its pid meanwhile.

    The pidfd is opened first and the start time compared afterwards: from then on the pidfd can only mean this
    process (pidfd_send_signal(2)). Returns the pidfd, readable once the process has ended, for the caller to close;
    ``None`` where the process is gone or may not be signalled.
    """
    try:
        pidfd = os.pidfd_open(key.pid)
    except OSError:  # gone, or out of descriptors: the next look shows whether it is still there
        return None
    try:
        if same_process(key):
            signal.pidfd_send_signal(pidfd, signum)
            return pidfd
    except OSError:  # gone, or another user's (sudo): what is left is reported, not assumed
        os.close(pidfd)
        return None
    os.close(pidfd)
    return None


def read_markers(pid: int) -> tuple[str | None, Identity | None]:
    """Return the session and the daemon that the process's environment names; ``None`` for what is not there."""
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


def command_of(stat: Stat) -> str:
    """Return the command line, else ``[comm]``; one printable line of at most 1,000 characters."""
    words = (read_file(f"/proc/{stat.pid}/cmdline") or b"").rstrip(b"\0").replace(b"\0", b" ")
    text = printable(words.decode(errors="replace")).strip() or f"[{printable(stat.comm.decode(errors='replace'))}]"
    return cut(text, _COMMAND_MAX)


class Identity(NamedTuple):
    """One daemon, as its agents' environment and its cgroup directory name it.

    ``namespace`` is the inode of the pid namespace in which ``pid`` holds; ``start_time`` is in clock ticks.
    """

    namespace: int
    pid: int
    start_time: int

    def __str__(self) -> str:
        return f"{self.namespace}:{self.pid}:{self.start_time}"

    @classmethod
    def parse(cls, text: str) -> Identity | None:
        """Return the identity that was written by ``str``, or ``None``."""
        match = _IDENTITY.fullmatch(text)
        return cls(*map(int, match.groups())) if match else None

    @classmethod
    def own(cls) -> Identity:
        """Return the identity of this process. Raises `OSError` without a readable /proc."""
        stat = parse_stat(Path("/proc/self/stat").read_bytes())
        return cls(Path("/proc/self/ns/pid").stat().st_ino, stat.pid, stat.start_time)

    @property
    def alive(self) -> bool:
        """Whether that daemon still runs. Meaningful only in its own pid namespace."""
        return living(ProcessKey(self.pid, self.start_time))


def boot_id() -> str:
    """Return what names this boot: a `ProcessKey` that was stored means nothing in another (random(4))."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
