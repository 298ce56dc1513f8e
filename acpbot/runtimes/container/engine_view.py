"""What an engine's own `top` and `stats` say of containers, where they run on another machine. Pure.

The figures are the engine's. What it does not say, or says in an unknown form, is ``None``. Sources: podman-top(1),
podman-stats(1), docker container top, docker container stats, ps(1).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from acpbot.runtimes.runtime import ProcessInfo, Usage
from acpbot.text import cut, printable

PODMAN_TOP: Final = ("hpid,ppid,pgid,state,etime,time,args",)
DOCKER_TOP: Final = ("-eo", "pid,ppid,pgid,stat,etimes,time,args")

_COLUMNS: Final = 7
_COMMAND_MAX: Final = 1_000
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)", re.ASCII)
_DURATIONS: Final = re.compile(rf"(?:{_DURATION.pattern})+")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_CLOCK: Final = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)B", re.ASCII)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def read_top(text: str) -> list[ProcessInfo]:
    """Return the processes of a container from the table that `top` has written; without its first process."""
    found: list[ProcessInfo] = []
    for line in text.splitlines()[1:]:
        fields = line.split(None, _COLUMNS - 1)
        if len(fields) < _COLUMNS or not fields[0].isdigit():
            continue
        pid, ppid, pgid, state, age, cpu, command = fields
        info = ProcessInfo(
            pid=int(pid),
            ppid=_number(ppid) or 0,
            start_time=0,
            pgid=_number(pgid) or 0,
            sid=0,
            state=state[:1],
            command=cut(printable(command.strip()), _COMMAND_MAX),
            rss_bytes=None,
            cpu_seconds=_seconds(cpu),
            age_seconds=_seconds(age),
            is_main=len(found) == 1,  # after the first process, the engine's own
        )
        found.append(info)
    return found[1:]


def read_stats(text: str) -> dict[str, Usage]:
    """Return what containers use by the beginning of their ids (12 characters), from `stats --format json`."""
    rows: list[Any] = []
    try:
        decoded = msgspec.json.decode(text)
        rows = decoded if isinstance(decoded, list) else [decoded]
    except msgspec.DecodeError:
        for line in text.splitlines():  # Docker writes one object a line
            try:
                rows.append(msgspec.json.decode(line))
            except msgspec.DecodeError:
                continue
    usage = {}
    for row in rows:
        if isinstance(row, dict):
            name = str(row.get("id") or row.get("ID") or row.get("Container") or "")
            memory = str(row.get("mem_usage") or row.get("MemUsage") or "")
            count = _number(str(row.get("pids") or row.get("PIDs") or ""))
            # The first process is the engine's own.
            processes = None if count is None else max(0, count - 1)
            usage[name[:12]] = Usage(processes, _size(memory), _seconds(str(row.get("cpu_time") or "")))
    return usage


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _seconds(text: str) -> float | None:
    """Return the seconds of '1h2m3.5s', '1-02:03:04', '02:03' or '125'; ``None`` where it is none of them."""
    if text.isdecimal():
        return float(text)
    if (clock := _CLOCK.fullmatch(text)) is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return days * 86400.0 + hours * 3600 + minutes * 60 + seconds
    if _DURATIONS.fullmatch(text) is None:
        return None
    return sum((float(figure) * _UNITS[unit] for figure, unit in _DURATION.findall(text)), 0.0)


def _size(text: str) -> int | None:
    found = _SIZE.match(text)
    if found is None:
        return None
    figure, power, binary = found.groups()
    return int(float(figure) * (1024 if binary else 1000) ** _POWERS[power.upper()])
