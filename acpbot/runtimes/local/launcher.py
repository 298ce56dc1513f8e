"""Starts agents as processes of this machine, each in a container that can be emptied."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from acpbot.errors import AgentStartError, StartError
from acpbot.logs import get_logger
from acpbot.runtimes.local import subreaper
from acpbot.runtimes.local.cgroup import ENTER_SCRIPT, Cgroup, Cgroups, Unavailable
from acpbot.runtimes.local.kill import kill_and_wait
from acpbot.runtimes.local.process import LocalProcess, Spawned
from acpbot.runtimes.local.process_tracker import ProcessTracker, describe
from acpbot.runtimes.local.procfs import DAEMON_MARKER, SESSION_MARKER, Identity
from acpbot.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acpbot.runtimes.local.process_tracker import TrackedSession
    from acpbot.runtimes.runtime import AgentProcess, LaunchSpec, ProcessInfo, StdoutSink, Usage

log = get_logger(__name__)

Mode = Literal["auto", "cgroup", "subreaper"]

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SHELL_NAME: Final = re.compile(r"(?!SHELLOPTS$|BASHOPTS$)[A-Za-z_][A-Za-z0-9_]*")
_STRAYS_SECONDS: Final = 0.25
_SHEBANG_BYTES: Final = 256
_WAYS_OUT: Final = {
    errno.EMFILE: "raise the daemon's limit of open files (LimitNOFILE=, ulimit -n)",
    errno.ENFILE: "the machine is out of open files (sysctl fs.file-max)",
    errno.EAGAIN: "raise the limit of processes (TasksMax=, pids.max, ulimit -u)",
    errno.ENOMEM: "the machine is out of memory",
    errno.E2BIG: "shorten its arguments or environment",
    errno.ENOEXEC: "it is neither a program for this machine nor a script with a #! line",
}


class LocalLauncher:
    """An `acpbot.runtimes.runtime.Launcher` for processes of this machine.

    With ``cgroups`` each session gets a cgroup; without, its processes are found as `process_tracker` says. Either
    way this process becomes a child subreaper until `aclose`. An agent in a cgroup is started through /bin/sh, which
    may add PWD to its environment. ``owns_children`` says that this process starts no children but agents (see
    `ProcessTracker`); at most one launcher of a process may be told so.
    """

    def __init__(self, *, cgroups: Cgroups | None = None, owns_children: bool = False) -> None:
        self.kind = "subreaper" if cgroups is None else "cgroup"
        self._cgroups = cgroups
        self._owns_children = owns_children
        self._identity = Identity.own()
        self._census = ProcessTracker(self._identity, owns_children=owns_children)
        self._running: set[LocalProcess] = set()
        self._discards: set[asyncio.Task[None]] = set()
        self._closed = False
        subreaper.hold()

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink) -> LocalProcess:
        """Start an agent; cancelled, it leaves no process behind.

        Raises `AgentStartError` where the command can't be started, `ValueError` for a session_id that is malformed or
        in use.
        """
        if not _SESSION_ID.fullmatch(spec.session_id):
            raise ValueError(f"cannot launch session {spec.session_id!r}: it is no session id")
        claim = self._census.register(spec.session_id)
        try:
            future = asyncio.get_running_loop().run_in_executor(None, self._spawn, spec, claim)
        except RuntimeError as error:
            self._census.unregister(claim)
            raise AgentStartError(f"cannot start the agent: {error}; the daemon is stopping") from error
        try:
            spawned = await asyncio.shield(future)
        except asyncio.CancelledError:
            await self._discard(future, claim)
            raise
        except BaseException:
            self._census.unregister(claim)
            raise
        if self._closed:
            await self._discard(future, claim)
            raise AgentStartError("cannot start the agent: the daemon is stopping")
        process = LocalProcess(spawned, stdout, claim, self._census)
        process.limits_not_applied = self._limits_not_applied(spec, claim)
        self._running = {process, *(other for other in self._running if not other.closed)}
        return process

    def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one walk over /proc; for any thread.

        Reaps orphans that ended. With ``owns_children`` it also ends what outlived its session.
        """
        return self._census.sample([process.session_id for process in processes])

    def reap(self) -> None:
        """Reap orphans that ended: what `sample` does besides."""
        self._census.sample(())

    def strays(self) -> list[ProcessInfo]:
        """Return our living children that belong to no session and are no agent (see `process_tracker`)."""
        return describe(self._census.look().strays)

    async def aclose(self) -> None:
        """End what still runs, strays too where the children are ours; remove the cgroups; stop adopting orphans."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._discards:
                await asyncio.wait(self._discards)
            results = await asyncio.gather(*(process.aclose() for process in self._running), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    log.error("agent_not_closed", exc_info=result)
            if self._owns_children:
                await self._end_strays()
            if self._cgroups is not None:
                await asyncio.to_thread(self._cgroups.close)
        finally:
            subreaper.release()

    async def _end_strays(self) -> None:
        for _ in range(3):
            strays = (await self._census.scan()).strays
            if not strays:
                return
            log.info("unowned_processes_ended", count=len(strays))
            await asyncio.to_thread(kill_and_wait, [stat.key for stat in strays], _STRAYS_SECONDS)

    async def _discard(self, future: asyncio.Future[Spawned], claim: TrackedSession) -> None:
        """End what nobody waits for any more, in a task of its own: whoever is cancelled once may be so again."""
        task = asyncio.create_task(self._end_spawned(future, claim))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)
        await asyncio.shield(task)

    async def _end_spawned(self, future: asyncio.Future[Spawned], claim: TrackedSession) -> None:
        try:
            spawned = await future
        except AgentStartError:
            self._census.unregister(claim)
            return
        await LocalProcess(spawned, _Nowhere(), claim, self._census).aclose()

    def _limits_not_applied(self, spec: LaunchSpec, claim: TrackedSession) -> tuple[str, ...]:
        if claim.cgroup is not None:
            return claim.cgroup.limits_not_applied
        limits = {"memory_max": spec.memory_max, "pids_max": spec.pids_max}
        return tuple(
            f"{name} can't be applied: agents run without a cgroup here"
            for name, value in limits.items()
            if value is not None
        )

    def _spawn(self, spec: LaunchSpec, claim: TrackedSession) -> Spawned:
        """Start the leader. Runs in a thread: a child that is slow to exec holds up nobody."""
        env = {name: value for name, value in spec.env.items() if name not in (SESSION_MARKER, DAEMON_MARKER)}
        env |= {SESSION_MARKER: spec.session_id, DAEMON_MARKER: str(self._identity)}
        cgroup: Cgroup | None = None
        try:
            argv = [_resolve(spec), *spec.argv[1:]]
            if self._cgroups is None:
                return self._start(claim, argv, spec.cwd, env)
            cgroup = self._cgroups.create(spec.session_id, memory_max=spec.memory_max, pids_max=spec.pids_max)
            claim.cgroup = cgroup
            if all(map(_SHELL_NAME.fullmatch, env)):
                argv = ["/bin/sh", "-c", ENTER_SCRIPT, str(cgroup.procs), *argv]
                return self._start(claim, argv, spec.cwd, env)
            # A shell may drop variables whose names it can't spell (dash does), and obeys some (bash does): the child
            # is moved by us then, a moment late.
            spawned = self._start(claim, argv, spec.cwd, env)
            with contextlib.suppress(OSError):  # it has ended already, or runs uncontained but for the census
                cgroup.enter(spawned.popen.pid)
        except (OSError, ValueError) as error:
            claim.cgroup = None
            if cgroup is not None:
                cgroup.remove(1.0)
            raise _start_error(spec, error) from error
        return spawned

    def _start(self, claim: TrackedSession, argv: list[str], cwd: Path, env: dict[str, str]) -> Spawned:
        """Start a process of its own session, at the far end of three pipes. Raises `OSError`, `ValueError`."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            child_in, stdin = _pipe(theirs, ours)
            stdout, child_out = _pipe(ours, theirs)
            stderr, child_err = _pipe(ours, theirs)
            popen = subprocess.Popen(
                argv, stdin=child_in, stdout=child_out, stderr=child_err, cwd=cwd, env=env, start_new_session=True
            )
            try:
                pidfd = os.pidfd_open(popen.pid)
            except OSError:
                popen.kill()
                popen.wait()
                raise
            self._census.started(claim, popen.pid)
            ours.pop_all()
        return Spawned(popen, pidfd, stdin, stdout, stderr)


class _Nowhere:
    """Takes the stdout of an agent that is only ended."""

    def data_received(self, data: bytes) -> None:
        """Drop it."""

    def eof(self) -> None:
        """Nobody waits for it."""


def choose_launcher(mode: Mode = "auto", *, owns_children: bool = False) -> tuple[LocalLauncher, str]:
    """Return the launcher for this machine, and why it is that one, in one line.

    Raises `StartError` where ``mode`` asks for what is not there, or the kernel is too old for either.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
        identity = Identity.own()
    except OSError as error:
        raise StartError(
            f"cannot contain agents: {error.strerror or error}; Linux 5.3 or later with /proc mounted is needed"
        ) from error
    if mode == "subreaper":
        return LocalLauncher(owns_children=owns_children), "subreaper: asked for"
    try:
        cgroups = Cgroups(identity)
    except Unavailable as reason:
        if mode == "cgroup":
            raise StartError(
                f"cannot contain agents in cgroups: {reason}; set Delegate=yes in the systemd unit, or use 'auto'"
            ) from reason
        return LocalLauncher(owns_children=owns_children), f"subreaper: {reason}"
    return LocalLauncher(cgroups=cgroups, owns_children=owns_children), f"cgroup: {cgroups.base} can be written"


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _resolve(spec: LaunchSpec) -> str:
    """Return the absolute path of the command. Raises `AgentStartError`: a shell in between would say it too late."""
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
    _check_interpreter(command, str(path))
    return str(path)


def _check_interpreter(command: str, path: str) -> None:
    with contextlib.suppress(OSError), Path(path).open("rb") as file:  # executable but not readable is fine
        head = file.read(_SHEBANG_BYTES)
        words = head[2:].split(b"\n")[0].split() if head.startswith(b"#!") else []
        if words and words[0].startswith(b"/") and not os.access(words[0], os.X_OK):
            interpreter = words[0].decode(errors="replace")
            raise AgentStartError(
                f"cannot start the agent: {command} needs {interpreter}, which is not there; install it"
            )


def _start_error(spec: LaunchSpec, error: OSError | ValueError) -> AgentStartError:
    what = spec.argv[0]
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        what = str(error.filename or what)
        way_out = _WAYS_OUT.get(error.errno or 0, "check the command, its working directory and their permissions")
    else:
        reason, way_out = str(error), "correct its arguments and environment"
    return AgentStartError(f"cannot start the agent: {printable(what)}: {reason}; {way_out}")
