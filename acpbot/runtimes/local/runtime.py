"""Starts agents as processes of this machine, each below a supervisor of its own, and in a cgroup where it can."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import operator
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from acpbot.aio import TaskSet, Threads, in_thread
from acpbot.errors import AgentStartError, StartError
from acpbot.logs import get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import Cgroups, Unavailable
from acpbot.runtimes.local.far_side import far_side
from acpbot.runtimes.local.leftovers import kill_orphans
from acpbot.runtimes.local.limits import Limits, OomKills
from acpbot.runtimes.local.process import LocalProcess, Spawned, kill_and_wait, unseen
from acpbot.runtimes.local.process_namespace import NoNamespace, command_prefix
from acpbot.runtimes.local.process_tracker import ProcessTracker
from acpbot.runtimes.local.procfs import DAEMON_MARKER, SESSION_MARKER, Identity
from acpbot.runtimes.local.spawner import Spawner
from acpbot.runtimes.runtime import Leftover, LimitNotHeld
from acpbot.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.local.attribution import TrackedSession
    from acpbot.runtimes.local.far_side import FarSide
    from acpbot.runtimes.local.spawner import Child
    from acpbot.runtimes.runtime import (
        AgentProcess,
        LaunchSpec,
        PlaceRef,
        ProcessInfo,
        Progress,
        StdoutSink,
        StoredPlace,
        Usage,
    )

log = get_logger(__name__)

INHERITED: Final = ("HOME", "PATH", "USER", "LANG", "TERM", "TMPDIR")
"""What an agent gets of the daemon's own environment."""

Mode = Literal["auto", "cgroup", "subreaper"]

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_STRAY_SECONDS: Final = 0.25
_STARTS_AT_ONCE: Final = 8
_SETTLED: Final = operator.attrgetter("settled")
_NO_CGROUP: Final = "agents run without a cgroup here"
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
_SHEBANG_BYTES: Final = 256
_WAYS_OUT: Final = {
    errno.EMFILE: "raise the daemon's limit of open files (LimitNOFILE=, ulimit -n)",
    errno.ENFILE: "the machine is out of open files (sysctl fs.file-max)",
    errno.EAGAIN: "raise the limit of processes (TasksMax=, pids.max, ulimit -u)",
    errno.ENOMEM: "the machine is out of memory",
    errno.E2BIG: "shorten its arguments or environment",
    errno.ENOEXEC: "it is neither a program for this machine nor a script with a #! line",
}


class Wrapped(NamedTuple):
    """A command that runs another one. ``files`` and ``scoped``: see `Spawner.start`."""

    argv: list[str]
    files: tuple[bytes, ...] = ()
    scoped: bool = False


Wrap = Callable[["LaunchSpec", list[str]], Wrapped]
"""Makes of a session's command, whose program is an absolute path, the one that is run. Raises `AgentStartError`."""


class LocalRuntime:
    """The `acpbot.runtimes.runtime.Runtime` of processes of this machine.

    ``environ`` is the daemon's own environment, of which agents get little. With ``cgroups`` each session gets a
    cgroup, for limits and for kills at once. In both cases each agent has a supervisor (`spawn_server`), and this
    process is a child subreaper until `aclose`. ``owns_children`` says that this process starts no children but agents
    (see `ProcessTracker`); at most one runtime of a process may have it. ``open_files``: the soft and the hard limit of
    open files that agents get, where the daemon has others. ``oom_kills`` counts how often memory was short.
    ``hidden``: a folder of which agents can read no file (`hidden_folder`). ``containment``: whether agents run in a
    "cgroup", or below a "subreaper" alone.

    The constructor raises `OSError` without a readable /proc, and `StartError` where the kernel or a limit of threads
    forbids it.
    """

    kind = "local"
    sample_seconds = 2.0
    gives_home = False
    has_files_here = True

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        cgroups: Cgroups | None = None,
        owns_children: bool = False,
        open_files: tuple[int, int] | None = None,
        oom_kills: OomKills | None = None,
        hidden: Path | None = None,
    ) -> None:
        self._oom_kills = oom_kills or OomKills()
        self._hidden = hidden
        self.containment = "subreaper" if cgroups is None else "cgroup"
        self.environ = os.environ if environ is None else environ
        identity = Identity.own()
        try:
            self._markers = {DAEMON_MARKER: str(identity)}
            self._spawner = Spawner(self._markers, open_files)
            self._tracker = ProcessTracker(identity, owns_children=owns_children, server=lambda: self._spawner.pid)
        except RuntimeError as error:
            raise StartError(f"cannot run agents: {error}; {_WAYS_OUT[errno.EAGAIN]}") from error
        self._cgroups = cgroups
        self._owns_children = owns_children
        self._boot_id = procfs.boot_id()
        self._threads = Threads("agent-start", _STARTS_AT_ONCE)
        self._running: set[LocalProcess] = set()
        self._discards = TaskSet("launcher")
        self._closed = False
        self._has_cleaned = False
        hold_subreaper()

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        """Return a few plain variables of the daemon's, those named in ``inherit_env``, and the agent's own."""
        del home  # it is the daemon's
        return environment(self.environ, settings)

    def sees_programs(self, argv: Sequence[str]) -> bool:
        """Return whether the command runs here, and not elsewhere."""
        return far_side(argv) is None

    async def check(self, settings: AgentSettings) -> Sequence[str]:
        """Return that it isolates nothing, but for the folder of the token."""
        del settings
        but = "" if self._hidden is None else f", but it can't read what is in {self._hidden}"
        return (f"it can read and change whatever acpbot can{but}: see 'Keep agents apart' in the README",)

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str]) -> Sequence[Leftover]:
        """End what daemons that died have left on this machine. It is looked for once; later `sample` ends strays.

        Raises `StartError` where it can't look.
        """
        del live
        if self._has_cleaned:
            return ()
        self._has_cleaned = True
        return await end_leftovers(self.kind, stored)

    async def launch(
        self,
        spec: LaunchSpec,
        stdout: StdoutSink,
        progress: Progress = lambda _: None,
        *,
        wrap: Wrap | None = None,
        process: type[LocalProcess] = LocalProcess,
    ) -> LocalProcess:
        """Start an agent; cancelled, it leaves no process behind.

        ``wrap``, called in a thread, makes of the command the one that is run; ``process``: what is returned.

        Raises `AgentStartError` where the command can't be started, `ValueError` for a session_id that is malformed or
        in use.
        """
        del progress  # there is nothing to say
        if not _SESSION_ID.fullmatch(spec.session_id):
            raise ValueError(f"cannot launch session {spec.session_id!r}: that isn't a session id")
        session = self._tracker.register(spec.session_id)
        try:
            future = asyncio.wrap_future(self._threads.submit(self._spawn, spec, session, wrap))
        except RuntimeError as error:
            self._tracker.unregister(session)
            way_out = "the daemon is stopping" if self._closed else _WAYS_OUT[errno.EAGAIN]
            raise AgentStartError(f"cannot start the agent: {error}; {way_out}") from error
        try:
            spawned = await asyncio.shield(future)
        except asyncio.CancelledError:
            await self._discard(future, session)
            raise
        except BaseException:
            self._tracker.unregister(session)
            raise
        if self._closed:
            await self._discard(future, session)
            raise AgentStartError("cannot start the agent: the daemon is stopping")
        started = process(spawned, stdout, session, self._tracker)
        self._running.difference_update(tuple(filter(_SETTLED, self._running)))
        self._running.add(started)
        return started

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one look at all processes. Raises `OSError`.

        Reaps orphans that have ended. With ``owns_children`` it also kills what outlived its session. An agent that
        exceeds a limit that the kernel does not hold is ended.
        """
        listed = [process for process in processes if isinstance(process, LocalProcess)]
        usage = await self._tracker.sample([process.session_id for process in listed])
        oom_count = self._oom_kills.count()
        for process in listed:
            await process.hold_limits(usage[process.session_id], oom_count)
        return usage

    @property
    def strays(self) -> list[PlaceRef]:
        """The processes of no known session that the last look has found (see `attribution`)."""
        return [procfs.place_ref(key, self._boot_id) for key in self._tracker.strays]

    async def look_for_strays(self) -> list[ProcessInfo]:
        """Return our living descendants that belong to no session. Raises `OSError`."""
        return await self._tracker.describe(stat for stat, _ in (await self._tracker.scan()).strays)

    async def forget(self, thread_id: str) -> None:
        """Do nothing: all that there is of a thread is in its folders."""

    async def aclose(self) -> None:
        """End what still runs, also strays where the children are ours; remove the cgroups."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._discards.wait()
            results = await asyncio.gather(*(process.aclose() for process in self._running), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    log.error("agent_not_closed", exc_info=result)
            if self._owns_children:
                await self._kill_strays()
            if self._cgroups is not None:
                await self._tracker.run(self._cgroups.close)
        finally:
            self._tracker.close()
            self._spawner.close()
            self._threads.shutdown(wait=False)
            release_subreaper()

    async def _kill_strays(self) -> None:
        for _ in range(3):
            strays = (await self._tracker.scan()).strays
            if not strays:
                return
            log.info("stray_processes_ended", count=len(strays))
            await kill_and_wait(self._tracker, [stat.key for stat, _ in strays], _STRAY_SECONDS)

    async def _discard(self, future: asyncio.Future[Spawned], session: TrackedSession) -> None:
        """End an agent whose start was cancelled, in a task of its own: the caller may be cancelled a second time."""
        await asyncio.shield(self._discards.start(self._end_spawned(future, session), name="discard an agent"))

    async def _end_spawned(self, future: asyncio.Future[Spawned], session: TrackedSession) -> None:
        try:
            spawned = await future
        except AgentStartError:
            self._tracker.unregister(session)
            return
        await LocalProcess(spawned, _NoSink(), session, self._tracker).aclose()

    def _spawn(self, spec: LaunchSpec, session: TrackedSession, wrap: Wrap | None) -> Spawned:
        """Start the leader. Runs in a thread: a child that is slow to exec delays only itself."""
        if session.closed:
            raise AgentStartError("cannot start the agent: the start was given up")
        child: Child | None = None
        try:
            command = Wrapped([_resolve(spec), *spec.argv[1:]])
            if wrap is not None:  # in a sandbox, which has a process namespace in any case
                command = wrap(spec, command.argv)
            elif spec.process_namespace:
                command = Wrapped([*command_prefix(), *command.argv])
            hidden = None if wrap is not None or spec.process_namespace else self._hidden  # those need mounts
            start = partial(self._spawner.start, files=command.files, scoped=command.scoped, hidden=hidden)
            env = {**spec.env, SESSION_MARKER: spec.session_id, **self._markers}
            found = far_side(spec.argv)
            not_held = () if found is None else _not_held(spec, _limits_end(found))
            if self._cgroups is None:
                not_held = not_held or _not_held(spec, _NO_CGROUP)
                child = start(command.argv, spec.cwd, env)
            else:
                cgroup = self._cgroups.create(spec.session_id, memory_max=spec.memory_max, pids_max=spec.pids_max)
                session.cgroup = cgroup
                not_held = not_held or cgroup.limits_not_held
                child = start(command.argv, spec.cwd, env, cgroup.path / "cgroup.procs")
            self._tracker.started(session, child)
        except (OSError, ValueError) as error:
            if child is not None:
                os.kill(child.pid, signal.SIGKILL)
                child.close()
            unused, session.cgroup = session.cgroup, None
            if unused is not None:
                try:
                    unused.remove(1.0)
                except OSError as not_removed:
                    log.warning("cgroup_not_removed", path=str(unused.path), reason=not_removed.strerror)
            raise _start_error(spec, error) from error
        except NoNamespace as error:
            raise AgentStartError(
                f"cannot start the agent: process_namespace can't be made here: {error}; or set it to false"
            ) from error
        leader = session.leader
        ref = None if leader is None else procfs.place_ref(leader, self._boot_id)
        missing = {one.limit for one in not_held} if found is None else set()
        limits = Limits(**{name: getattr(spec, name) for name in missing})
        return Spawned(child, ref, not_held, unseen(spec.argv), limits, self._oom_kills)


def environment(environ: Mapping[str, str], settings: AgentSettings) -> dict[str, str]:
    """Return a few plain variables of ``environ``, those named in ``inherit_env``, and the agent's own, which win."""
    names = (*INHERITED, *settings.inherit_env)
    return {name: environ[name] for name in names if name in environ} | dict(settings.env)


async def end_leftovers(kind: str, stored: Sequence[StoredPlace]) -> list[Leftover]:
    """End what daemons that died have left on this machine, also the processes that are ``stored``.

    Raises `StartError` where it can't look.
    """
    orphans = await in_thread("leftovers", kill_orphans, remembered=[place.ref for place in stored])
    return [Leftover(kind, str(left.pid), left.command, left.session_id, left.ended) for left in orphans]


class _NoSink:
    """Discards the stdout of an agent that is only ended."""

    def data_received(self, data: bytes) -> None:
        """Discard it."""

    def eof(self) -> None:
        """Nobody waits for it."""


_subreaper_lock: Final = threading.Lock()
_subreaper_holders = 0


def hold_subreaper() -> None:
    """Make this process a child subreaper (prctl(2)), until as many `release_subreaper` calls.

    What a supervisor leaves, because somebody killed it, then becomes our child, and not that of init: as our child it
    is still found and reaped.
    Raises `StartError` where the kernel refuses.
    """
    global _subreaper_holders  # noqa: PLW0603 - the attribute belongs to the whole process, so does its counter
    with _subreaper_lock:
        if not _subreaper_holders:
            _set_subreaper(1)
        _subreaper_holders += 1


def release_subreaper() -> None:
    """Undo one `hold_subreaper`; after the last one, orphans become children of init again."""
    global _subreaper_holders  # noqa: PLW0603 - see hold_subreaper
    with _subreaper_lock:
        _subreaper_holders -= 1
        if not _subreaper_holders:
            _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(value), 0, 0, 0) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise StartError(f"cannot adopt the orphans of agents: {reason}; Linux 3.4 or later is needed")


def is_subreaper() -> bool:
    """Whether this process is a child subreaper now."""
    value = ctypes.c_int(0)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0)
    return bool(value.value)


def local_runtime(
    mode: Mode = "auto",
    *,
    environ: Mapping[str, str] | None = None,
    owns_children: bool = False,
    open_files: tuple[int, int] | None = None,
    hidden: Path | None = None,
) -> tuple[LocalRuntime, str]:
    """Return the runtime for this machine, and why it is that one, in one line.

    Raises `StartError` where ``mode`` asks for what is not there, or the kernel is too old for either.
    """
    cgroups: Cgroups | None = None
    try:
        os.close(os.pidfd_open(os.getpid()))
        if mode == "subreaper":
            reason = "subreaper: asked for"
        else:
            cgroups = Cgroups(Identity.own())
            reason = f"cgroup: {cgroups.base} can be written"
    except Unavailable as unavailable:
        if mode == "cgroup":
            raise StartError(
                f"cannot contain agents in cgroups: {unavailable}; set Delegate=yes in the systemd unit, or use 'auto'"
            ) from unavailable
        reason = f"subreaper: {unavailable}"
    except OSError as error:
        raise StartError(_cannot_contain(error)) from error
    try:
        return LocalRuntime(
            environ=environ, cgroups=cgroups, owns_children=owns_children, open_files=open_files, hidden=hidden
        ), reason
    except OSError as error:
        raise StartError(_cannot_contain(error)) from error


def _cannot_contain(error: OSError) -> str:
    return f"cannot contain agents: {error.strerror or error}; Linux 5.3 or later with /proc mounted is needed"


def _not_held(spec: LaunchSpec, reason: str) -> tuple[LimitNotHeld, ...]:
    limits = (("memory_max", spec.memory_max), ("pids_max", spec.pids_max))
    return tuple(LimitNotHeld(name, reason) for name, value in limits if value is not None)


def _limits_end(found: FarSide) -> str:
    if found.visible:
        return f"{found.program} runs the agent in a cgroup of its own"
    return f"{found.program} runs the agent elsewhere"


def _resolve(spec: LaunchSpec) -> str:
    """Return the absolute path of the command. Raises `AgentStartError`, before a shell in between would."""
    if not spec.argv:
        raise AgentStartError("cannot start the agent: its command is empty; set it")
    command = spec.argv[0]
    cwd = spec.cwd.absolute()
    if not cwd.is_dir():
        raise AgentStartError(
            f"cannot start the agent: its working directory {cwd} does not exist; create it or correct its setting"
        )
    if "/" in command:
        path: str | None = str(cwd / command)
        if not Path(str(path)).is_file():
            raise AgentStartError(f"cannot start the agent: there is no program {command}; correct its command")
        if not os.access(str(path), os.X_OK):
            raise AgentStartError(f"cannot start the agent: {command} is not executable; run chmod +x on it")
    else:
        search = spec.env.get("PATH", os.defpath)
        path = shutil.which(command, path=os.pathsep.join(str(cwd / entry) for entry in search.split(os.pathsep)))
        if path is None:
            raise AgentStartError(
                f"cannot start the agent: {command} was not found in {search}; install it, or give its full path"
            )
    with contextlib.suppress(OSError), Path(str(path)).open("rb") as file:  # executable but not readable is fine
        head = file.read(_SHEBANG_BYTES)
        words = head[2:].split(b"\n")[0].split() if head.startswith(b"#!") else []
        if words and words[0].startswith(b"/") and not os.access(words[0], os.X_OK):
            interpreter = words[0].decode(errors="replace")
            raise AgentStartError(
                f"cannot start the agent: {command} needs {interpreter}, which is not there; install it"
            )
    return str(path)


def _start_error(spec: LaunchSpec, error: OSError | ValueError) -> AgentStartError:
    what = spec.argv[0]
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        what = str(error.filename or what)
        way_out = _WAYS_OUT.get(error.errno or 0, "check the command, its working directory and their permissions")
    else:
        reason, way_out = str(error), "correct its arguments and environment"
    return AgentStartError(f"cannot start the agent: {printable(what)}: {reason}; {way_out}")
