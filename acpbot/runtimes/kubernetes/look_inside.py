"""The processes of a pod, looked at and ended from inside: the scripts of these execs, and what they write. Pure.

The scripts use what each /bin/sh has built in, so that they work where the pod may start no further process; only the
command lines need head(1). Sources: proc(5), kill(1p): ``kill -9 -1`` reaches every process but the caller and PID 1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes.kubernetes.deadman import NAME
from acpbot.runtimes.kubernetes.unanswered import Unanswered
from acpbot.runtimes.runtime import ProcessInfo, Usage
from acpbot.text import cut, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_COMMAND_BYTES: Final = 1_000
_TICKS: Final = 100  # clock ticks a second, on all that Linux runs on today (sysconf(3), _SC_CLK_TCK)
_ENDED: Final = frozenset("ZXx")
_STATES: Final = frozenset("RSDTtIPKWZXx")
_LINES_MOST: Final = 32_768
_SHOWN_MOST: Final = 4_096
# What no kernel reaches, so that sums stay numbers that JSON and a database can hold.
_PID_MOST: Final = 1 << 22
_PAGE_SIZE_MOST: Final = 1 << 16
_PAGES_MOST: Final = 1 << 31
_TICKS_MOST: Final = 1 << 50
_DIVIDER: Final = "acpbot"

_STATS: Final = r"""
read -r up _ <uptime
stats() {
    printf '%s %s %s\n' "$1" $$ "$up"
    for p in [0-9]*; do
        { read -r s <$p/stat; } 2>/dev/null && printf '%s\n' "$s"
    done
    printf '%s\n' "$1"
}
"""

LOOK: Final = (
    "/bin/sh",
    "-c",
    rf"""cd /proc || exit 1
{_STATS}
getconf PAGESIZE 2>/dev/null || echo 4096
stats {_DIVIDER}
exec head -c {_COMMAND_BYTES} [0-9]*/cmdline 2>/dev/null""",
    "acpbot-look",
)
"""Lists the processes."""

KILL_ALL: Final = (
    "/bin/sh",
    "-c",
    rf"""cd /proc || exit 1
read -r s <1/cmdline
case $s in *{NAME}*) ;; *) echo other >&2; exit 1 ;; esac
{_STATS}
echo 0
stats {_DIVIDER}
kill -9 -1
stats {_DIVIDER}
exit 0""",
    "acpbot-kill",
)
"""Lists the processes, sends SIGKILL to all, and lists them again; nothing where PID 1 is not the dead-man."""

OOM_KILLS: Final = (
    "/bin/sh",
    "-c",
    r"""while read -r name count _; do
    case $name in oom_kill) echo "$count"; exit 0 ;; esac
done 2>/dev/null </sys/fs/cgroup/memory.events
while read -r name count _; do
    case $name in oom_kill) echo "$count"; exit 0 ;; esac
done 2>/dev/null </sys/fs/cgroup/memory/memory.oom_control
echo 0""",
    "acpbot-oom",
)
"""Writes how many processes of the pod the kernel has ended for want of memory (cgroups v2, v1)."""


def signal_command(name: str, pid: int, group: int) -> tuple[str, ...]:
    """Return what sends a signal to the agent and what is in its process group, but not to the script above it."""
    script = r"""cd /proc || exit 1
kill -s "$1" "$2" 2>/dev/null
for p in [0-9]*; do
    [ "$p" != "$2" ] && [ "$p" != "$3" ] && { read -r s <$p/stat; } 2>/dev/null || continue
    set -- "$1" "$2" "$3" ${s##*) }
    [ "$6" = "$3" ] && kill -s "$1" "$p" 2>/dev/null
done
exit 0"""
    return ("/bin/sh", "-c", script, "acpbot-signal", name, str(pid), str(group))


class _Stat(NamedTuple):
    pid: int
    ppid: int
    pgid: int
    sid: int
    state: str
    start_time: int
    ticks: int
    reaped_ticks: int
    pages: int
    threads: int
    name: str

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs; state Z is also that of a process whose main thread alone has ended."""
        return self.state in _ENDED and self.threads <= 1


class Listing(NamedTuple):
    """Living processes of a pod, the first 4,096, without PID 1 and without the shell that has looked."""

    processes: tuple[ProcessInfo, ...]
    usage: Usage


class CannotRead(Unanswered):
    """The output of a script is not what it writes: another program has written it, or it was cut."""

    def __init__(self) -> None:
        super().__init__("the pod's list of processes can't be read")


def read_look(output: bytes, *, pid: int, parent: int) -> Listing:
    """Return what `LOOK` has found, the agent first, then by age. Raises `CannotRead`.

    ``pid``: the agent; ``parent``: the script above it, which leads its process group and is left out.
    """
    page_size, blocks, rest = _blocks(output)
    if len(blocks) != 1:
        raise CannotRead
    return _listing(blocks[0], page_size, _commands(rest), pid=pid, parent=parent)


def read_kill(output: bytes, *, pid: int, parent: int) -> tuple[Listing, Listing]:
    """Return what `KILL_ALL` has found before and after it; the script above the agent counts after. Raises OSError."""
    _, blocks, rest = _blocks(output)
    if len(blocks) != 2 or rest:  # noqa: PLR2004 - before and after
        raise CannotRead
    before, after = blocks
    return _listing(before, 1, {}, pid=pid, parent=parent), _listing(after, 1, {}, pid=pid, parent=0)


class _Block(NamedTuple):
    own_pid: int
    uptime: float
    stats: list[_Stat]


def _blocks(output: bytes) -> tuple[int, list[_Block], bytes]:
    """Return the page size, each list of processes, and what follows the last one."""
    first, _, rest = output.partition(b"\n")
    blocks: list[_Block] = []
    begin, end = f"{_DIVIDER} ".encode(), f"{_DIVIDER}\n".encode()
    try:
        page_size = _number(first, _PAGE_SIZE_MOST)
        while rest.startswith(begin):
            line, _, rest = rest.partition(b"\n")
            _, own_pid, uptime = line.split()
            body, found, rest = (b"", end, rest[len(end) :]) if rest.startswith(end) else rest.partition(b"\n" + end)
            if not found:
                raise CannotRead
            lines = body.splitlines()
            if len(lines) > _LINES_MOST:
                raise CannotRead
            seconds = float(uptime)
            if not math.isfinite(seconds):
                raise CannotRead
            blocks.append(_Block(_number(own_pid, _PID_MOST), seconds, list(map(_stat, lines))))
    except (ValueError, IndexError) as error:
        raise CannotRead from error
    return page_size, blocks, rest


def _number(text: bytes | str, most: int) -> int:
    """Return a number of at most this. Raises ValueError."""
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} is out of range")
    return number


def _stat(line: bytes) -> _Stat:
    """Return a line of /proc/PID/stat; a name may have spaces and brackets, but no line break."""
    head, _, tail = line.decode(errors="replace").rpartition(")")
    pid, _, name = head.partition("(")
    fields = tail.split()
    if fields[0] not in _STATES:
        raise ValueError("a process has no such state")
    return _Stat(
        pid=_number(pid, _PID_MOST),
        ppid=_number(fields[1], _PID_MOST),
        pgid=_number(fields[2], _PID_MOST),
        sid=_number(fields[3], _PID_MOST),
        state=fields[0],
        start_time=_number(fields[19], _TICKS_MOST),
        ticks=_number(fields[11], _TICKS_MOST) + _number(fields[12], _TICKS_MOST),
        reaped_ticks=_number(fields[13], _TICKS_MOST) + _number(fields[14], _TICKS_MOST),
        pages=_number(fields[21], _PAGES_MOST),
        threads=_number(fields[17], _PID_MOST),
        name=name[:_COMMAND_BYTES],
    )


def _listing(block: _Block, page_size: int, commands: dict[int, str], *, pid: int, parent: int) -> Listing:
    hidden = {1, block.own_pid, parent}
    stats = [stat for stat in block.stats if stat.pid not in hidden and not stat.ended]
    stats.sort(key=lambda stat: (stat.pid != pid, stat.start_time, stat.pid))
    processes = tuple(
        ProcessInfo(
            pid=stat.pid,
            ppid=stat.ppid,
            start_time=stat.start_time,
            pgid=stat.pgid,
            sid=stat.sid,
            state=stat.state,
            command=commands.get(stat.pid) or f"[{printable(stat.name)}]",
            rss_bytes=stat.pages * page_size,
            cpu_seconds=stat.ticks / _TICKS,
            age_seconds=max(0.0, block.uptime - stat.start_time / _TICKS),
            is_main=stat.pid == pid or (parent > 1 and stat.pgid == parent),
        )
        for stat in stats[:_SHOWN_MOST]
    )
    return Listing(processes, _usage(stats, page_size))


def _usage(stats: Iterable[_Stat], page_size: int) -> Usage:
    found = list(stats)
    cpu = sum(stat.ticks + stat.reaped_ticks for stat in found) / _TICKS
    return Usage(len(found), sum(stat.pages for stat in found) * page_size, cpu)


def _commands(text: bytes) -> dict[int, str]:
    """Return the command lines by pid, from head(1)'s headings; one that imitates them is shown wrong."""
    found: dict[int, str] = {}
    for part in text.split(b"==> ")[1:]:
        name, _, line = part.partition(b" <==\n")
        pid = name.partition(b"/")[0]
        if pid.isdigit() and name.endswith(b"/cmdline"):
            words: Sequence[str] = line.removesuffix(b"\n").rstrip(b"\0").decode(errors="replace").split("\0")
            found.setdefault(int(pid), cut(printable(" ".join(words)), _COMMAND_BYTES))
    return found
