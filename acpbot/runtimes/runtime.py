"""The protocol of a runtime: how agents are started, watched and ended, wherever they run.

A `Runtime` starts agents in one kind of place; an `AgentProcess` is one of them. `acpbot.runtimes.local` implements
both with processes of this machine, and `acpbot.runtimes.registry` finds the runtime that an agent's settings name.
Code above this package uses only what is declared here: it knows no signal and no /proc, and ``pid`` is data to show.

`acpbot.sessions.terminate` ends an agent like this::

    await process.look()             # remembers every descendant while its parents are alive
    ...                              # session/cancel, session/close: over the agent's stdin and stdout
    process.close_stdin()            # EOF
    process.terminate()              # SIGTERM
    process.kill()                   # SIGKILL
    report = await process.kill_all()         # everything that is left, and a proof
    await process.aclose()

**"Cannot look" is never "is gone".** `look`, `kill_all`, `aclose`, `Runtime.sample` and `Runtime.leftovers` raise
`OSError` where the system or the engine can't be asked (no descriptor, no /proc, no answer in time). They never report
an empty result instead. Where nobody can tell whether an agent runs, ``alive`` is ``None``. Where what was found proves
nothing, the report's ``proof`` is ``none``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.config.runtime_settings import BubblewrapSettings, ContainerSettings, KubernetesSettings
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.pipes import StderrRing

PlaceRef = dict[str, Any]
"""How a later daemon finds what runs in a place again: a JSON object that only the place's own runtime understands."""

Proof = Literal["system", "engine", "none"]
"""Who has looked for what is left: this machine's system, the engine that runs the agent, or nobody who could."""

KINDS: Final = ("local", "bubblewrap", "container", "kubernetes")
"""The kinds of places, as ``[agents.NAME] runtime`` and a row name them."""


class StdoutSink(Protocol):
    """Receives an agent's stdout. Both methods are called on the event loop and must neither block nor raise."""

    def data_received(self, data: bytes, /) -> None:
        """Receive a chunk: 1 byte to 256 KiB, cut anywhere."""

    def eof(self) -> None:
        """The agent and every process that inherited its stdout have closed it. Called at most once."""


@dataclass(frozen=True, kw_only=True)
class LaunchSpec:
    """What to start.

    ``argv`` is the command, looked up in ``env``'s PATH. ``env`` is the whole environment, as `Runtime.environment` has
    made it, except for markers that the runtime adds. ``session_id`` may hold letters, digits, ``_``, ``.`` and ``-``.
    ``memory_max`` (bytes) and ``pids_max`` limit the session's processes together; `AgentProcess.limits_not_held` names
    those that can't be applied. ``process_namespace``: it must run in a process namespace of its own.

    ``cwd`` is a folder of this machine, and ``home`` the thread's own HOME where the runtime `Runtime.gives_home`; both
    have the same path in the place. Where a runtime has no files here (`Runtime.has_files_here`) they are in the place
    alone. ``logins``: the HOME of `acpbot exec`. ``thread_id`` names the thread.
    ``agent``: its name in the settings; ``bubblewrap``, ``container`` and ``kubernetes``: the tables there.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    session_id: str
    memory_max: int | None = None
    pids_max: int | None = None
    process_namespace: bool = False
    thread_id: str = ""
    agent: str = ""
    home: Path | None = None
    logins: Path | None = None
    bubblewrap: BubblewrapSettings | None = None
    container: ContainerSettings | None = None
    kubernetes: KubernetesSettings | None = None


class LimitNotHeld(msgspec.Struct, frozen=True):
    """A limit of the `LaunchSpec` that does not hold for a session, and why; ``reason`` is a clause."""

    limit: str
    reason: str

    def __str__(self) -> str:
        return f"{self.limit} can't be applied: {self.reason}"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One living process of a session, by the numbers that it has in its place.

    ``start_time`` is in clock ticks since boot, ``state`` a letter of proc(5). ``command`` is one printable line;
    ``cpu_seconds`` is the process's own, without its children's. What the place does not say is ``None``, never 0.
    ``is_main``: it is the agent itself, or in its process group: a wrapper may have left its real child behind there.
    """

    pid: int
    ppid: int
    start_time: int
    pgid: int
    sid: int
    state: str
    command: str
    rss_bytes: int | None
    cpu_seconds: float | None
    age_seconds: float | None
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session uses: living processes, resident bytes (shared pages count in each process), CPU seconds.

    ``cpu_seconds`` includes processes that have ended as far as the system accounts for them: all of them in a
    cgroup, else those that a living one has waited for. What the place does not say is ``None``, never 0.
    """

    processes: int | None
    rss_bytes: int | None
    cpu_seconds: float | None


@dataclass(frozen=True, slots=True)
class KillReport:
    """What it took to end everything of a session.

    ``killed`` counts the processes that were sent SIGKILL; ``left`` holds those that the last look found alive.
    ``settled``: nothing is left to do. On this machine two looks in a row have then found no living process, and no
    dead one of a process that forks and exits faster than a look can see. ``proof`` says who has looked; where it is
    ``none``, an empty ``left`` says nothing. ``looks`` and ``seconds`` say what the proof cost.
    """

    killed: int
    left: tuple[ProcessInfo, ...]
    settled: bool
    proof: Proof
    looks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """Where a session ran, as an earlier daemon has stored it. ``runtime`` is one of `KINDS`."""

    session_id: str
    runtime: str
    ref: PlaceRef


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that an earlier daemon, or a failed start, has left, and that was found.

    ``place``: the pid, or the name that the engine understands. ``ended``: whether it is gone now; ``None`` where
    nobody can tell. ``is_volume``: it is a volume that nothing uses now; it holds data, so it is never ended.
    """

    runtime: str
    place: str
    command: str
    session_id: str | None
    ended: bool | None
    is_volume: bool = False


class AgentProcess(Protocol):
    """One running agent and everything that it started. All methods belong to the event loop that launched it."""

    session_id: str
    pid: int | None
    """The leader's process id, ``None`` where it has none on this machine."""
    place: str | None
    """Where it runs, in words that the engine understands; ``None`` for this machine."""
    place_ref: PlaceRef | None
    """How a later daemon finds it again, ``None`` where it had ended."""
    stderr: StderrRing
    limits_not_held: tuple[LimitNotHeld, ...]
    """The limits of the `LaunchSpec` that don't hold for this session."""
    unseen: str | None
    """Why no look can see all of it, as a clause: its command has taken it elsewhere, such as by ssh; else ``None``."""

    @property
    def alive(self) -> bool | None:
        """Whether the agent runs: its exit was not seen yet; ``None`` while nobody can tell.

        An open stdout says nothing about it.
        """

    @property
    def returncode(self) -> int | None:
        """The leader's exit code, minus the signal's number where a signal ended it, ``None`` while it runs."""

    @property
    def end_reason(self) -> str | None:
        """Why it has ended, in a few words: "exit code 3", "SIGKILL", "OOMKilled"; ``None`` while it runs."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for stdin, in order; never blocks.

        Raises `AgentGone` once the agent has ended or stdin is closed, and `AgentTimeout` where more than the limit
        (8 MiB) would be unread; one larger message is accepted while nothing is queued.
        """

    def pause_reading(self) -> None:
        """Leave stdout in the pipe: the agent blocks once the pipe is full."""

    def resume_reading(self) -> None:
        """Read stdout again."""

    def close_stdin(self, flush_seconds: float = 1.0) -> None:
        """Send EOF after what is queued; what the agent does not read within ``flush_seconds`` is dropped."""

    async def wait(self) -> int:
        """Wait until the leader ends; return its exit code. Any number of tasks may wait, at any time.

        What the leader wrote until then has been delivered, unless reading is paused. A grandchild that keeps a pipe
        open delays nothing. Raises `AgentGone` where the process was closed while nothing could end the leader.
        """

    def terminate(self) -> None:
        """Ask the agent, and what is in its process group, to end (SIGTERM); nothing happens where that has ended."""

    def kill(self) -> None:
        """End the agent, and what is in its process group, at once (SIGKILL); as `terminate`, it does not wait."""

    async def look(self) -> list[ProcessInfo]:
        """Return the living processes as they are now, the leader first. Raises `OSError` where it can't look.

        A look also remembers: take one before you end anything, so that processes that lose their parents stay known.
        """

    async def kill_all(self, deadline_seconds: float = 5.0) -> KillReport:
        """End every process at once, and look until nothing is found, or until the deadline.

        Raises `OSError` where it can't look: then nothing is known about what is left.
        """

    async def aclose(self) -> None:
        """End what still runs and release pipes, descriptors and the container. May be called again.

        Everything that can be released is released, also where it raises `OSError` because it can't look. What may be
        left stays known: `kill_all` can be called again.
        """


Progress = Callable[[str], None]
"""Takes what a start does now, as a clause for people, such as 'Fetching the image, 40%'. It may not block."""


class Runtime(Protocol):
    """Starts agents in one kind of place. All methods belong to one event loop."""

    kind: str
    """One of `KINDS`."""
    sample_seconds: float
    """How often `sample` is worth a call."""
    gives_home: bool
    """Whether each thread has a HOME of its own there."""
    has_files_here: bool
    """Whether workspaces and HOMEs are folders of this machine."""

    @property
    def strays(self) -> Sequence[PlaceRef]:
        """What the last look has found of no known session; no call is needed to end it."""

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        """Return the whole environment of an agent there: plain variables of the place, and those of its settings."""

    def sees_programs(self, argv: Sequence[str], /) -> bool:
        """Return whether what runs this command has the programs of this machine, under the same paths."""

    async def check(self, settings: AgentSettings) -> Sequence[str]:
        """Return what an operator must know before agents run there, one clause each.

        Raises `AgentStartError` where none can run there: why, and the way out.
        """

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Progress, /) -> AgentProcess:
        """Start an agent. Cancelled, or where it fails, it leaves nothing behind.

        Raises `AgentStartError` where the command can't be started.
        """

    async def sample(self, processes: Iterable[AgentProcess], /) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one look at the system.

        Also reaps orphans that have ended. Raises `OSError` where it can't look.
        """

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str], /) -> Sequence[Leftover]:
        """End what no living session owns, and return what was found: at the start, and every minute.

        ``stored``: the places that the database names. ``live``: the ids of the sessions that run now, which are never
        touched; neither is anything of another daemon, nor a folder. Volumes are reported only. Raises `OSError` where
        it can't look.
        """

    async def forget(self, thread_id: str, /) -> None:
        """Remove what the place itself keeps of a thread that is forgotten. What fails is logged."""

    async def aclose(self) -> None:
        """End what still runs and release everything."""


def exit_text(returncode: int) -> str:
    """Return an exit code in words: 'exit code 3', 'SIGKILL'."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
