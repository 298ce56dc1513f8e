"""What the rest of the house knows of a running agent, wherever it runs (DESIGN sections 3 and 11).

`Launcher` and `AgentProcess` are the two Protocols behind which an agent is started, spoken to, inspected and ended.
`runtimes.local.launcher` serves them with local processes; a container or a pod becomes another launcher, not a fork of
the code above. Nothing above may assume that ``pid`` is a number or that a signal can reach anything.

How a session is ended, from the outside::

    await process.look()             # remembers every descendant while its parents still live
    ...                              # cancel, close: the connection's part
    process.close_stdin()            # EOF
    process.terminate()              # SIGTERM
    process.kill()                   # SIGKILL
    report = await process.kill_container()   # whatever is left; report.left is what a look found afterwards
    await process.aclose()
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from acpbot.runtimes.stderr import StderrRing


class StdoutSink(Protocol):
    """Who takes an agent's stdout; both are called on the event loop and must neither block nor raise."""

    def data_received(self, data: bytes, /) -> None:
        """Take a chunk: 1 byte to 256 KiB, cut anywhere."""

    def eof(self) -> None:
        """Stdout is closed, by the agent and by all who inherited it; called at most once."""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """What to start.

    ``argv`` is the command, looked up in ``env``'s PATH; ``env`` is the whole environment but for the two markers
    that the launcher adds; ``session_id`` may hold letters, digits, ``_``, ``.`` and ``-``. ``memory_max`` (bytes) and
    ``pids_max`` hold for the session's processes together, where they can be applied at all.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    session_id: str
    memory_max: int | None = None
    pids_max: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One living process of a session. ``start_time`` is in clock ticks since boot, ``state`` a letter of proc(5).

    ``command`` is one printable line; ``cpu_seconds`` is the process's own, without its children's.
    """

    pid: int
    ppid: int
    start_time: int
    pgid: int
    sid: int
    state: str
    command: str
    rss_bytes: int
    cpu_seconds: float
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session uses: living processes, resident bytes (shared pages count in each process), CPU seconds.

    ``cpu_seconds`` includes processes that have ended as far as the system accounts for them: all of them in a
    cgroup, else those that a living one has waited for.
    """

    processes: int
    rss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class KillReport:
    """What it took to empty a session's container.

    ``killed`` counts the processes that were sent SIGKILL, ``left`` holds what the last look still found alive.
    ``proven``: two looks in a row found nothing, nor the dead of something that lives too shortly to be seen.
    ``looks`` and ``seconds`` say what the proof cost.
    """

    killed: int
    left: tuple[ProcessInfo, ...]
    proven: bool
    looks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What a later daemon needs to find a process of this machine again, and no other one with the same pid.

    ``start_time``: clock ticks since the boot that ``boot_id`` names (proc(5)).
    """

    pid: int
    start_time: int
    boot_id: str


class AgentProcess(Protocol):
    """One running agent and all that it started. Its methods belong to the event loop that launched it."""

    session_id: str
    pid: int | None
    """The leader's, ``None`` where it has none here."""
    identity: ProcessIdentity | None
    """How a later daemon finds the leader again, ``None`` where it has ended or is not a process of this machine."""
    stderr: StderrRing
    limits_not_applied: tuple[str, ...]
    """A sentence for each limit of the `LaunchSpec` that does not hold here."""

    @property
    def alive(self) -> bool:
        """Whether the leader runs: its exit was not seen yet. Never 'its stdout is open'."""

    @property
    def returncode(self) -> int | None:
        """The leader's exit code, minus the signal's number where one ended it, ``None`` while it runs."""

    @property
    def backlog(self) -> int:
        """Bytes written that the agent has not read yet."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for stdin, in order; never blocks.

        Raises `AgentGone` once the agent has ended or stdin is closed, and `AgentTimeout` where more than the limit
        (8 MiB) would be unread; one larger message is taken while nothing is queued.
        """

    def pause_reading(self) -> None:
        """Leave stdout in the pipe: back-pressure on the agent."""

    def resume_reading(self) -> None:
        """Take stdout again."""

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        """Send EOF after what is queued; what the agent does not read in ``flush_seconds`` is dropped."""

    async def wait(self) -> int:
        """Wait until the leader ends; return its exit code. Any number may wait, at any time.

        What the leader wrote until then has been delivered, unless reading is paused. Pipes that grandchildren hold
        delay nothing. Raises `AgentGone` where the process was closed while nothing could end the leader.
        """

    def terminate(self) -> None:
        """Ask the leader's process group to end (SIGTERM); nothing happens where that is empty."""

    def kill(self) -> None:
        """End the leader's process group (SIGKILL); nothing happens where that is empty."""

    async def look(self) -> list[ProcessInfo]:
        """Take a fresh look, off the event loop, and return the living processes, the leader first.

        A look also remembers: take one before ending anything, so that what loses its parents is still known.
        """

    def processes(self) -> list[ProcessInfo]:
        """The same look, in the calling thread (any); a few milliseconds."""

    async def kill_container(self, deadline_seconds: float = 5.0) -> KillReport:
        """Send SIGKILL to all that is left until two looks in a row find nothing, or until the deadline."""

    async def aclose(self) -> None:
        """Give everything back: pipes, descriptors, the container. Ends what still runs. May be called twice."""


class Launcher(Protocol):
    """Where agents run."""

    kind: str

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, /) -> AgentProcess:
        """Start an agent. Cancelled, it leaves no process behind.

        Raises `AgentStartError` where the command can't be started.
        """

    def sample(self, processes: Iterable[AgentProcess], /) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one look at the system; for any thread.

        Also reaps orphans that ended: something has to call it now and then.
        """

    async def aclose(self) -> None:
        """Close what still runs and give everything back."""


def exit_text(returncode: int) -> str:
    """Return an exit code in words: 'exit code 3', 'SIGKILL'."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
