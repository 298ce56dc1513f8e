"""An agent in a container of its own: its streams, its exit, and its end with a proof.

The engine's client carries the streams. Its end says nothing about the agent: the client may be killed, or lose its
engine, while the container runs on. So the container itself is looked at, in the process table where it is on this
machine, else by its engine; where neither answers, nobody can tell.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any, Final, Never

from acpbot.aio import TaskSet, Threads
from acpbot.errors import AgentGone
from acpbot.logs import get_logger
from acpbot.runtimes.container import engine_view
from acpbot.runtimes.container.client import Client
from acpbot.runtimes.container.end_reason import State, end_reason, read_state
from acpbot.runtimes.container.engine import EngineUnreachable
from acpbot.runtimes.container.stderr_lines import AgentStderr
from acpbot.runtimes.ends import exit_status
from acpbot.runtimes.pipes import StderrRing
from acpbot.runtimes.runtime import KillReport, exit_text

if TYPE_CHECKING:
    from acpbot.runtimes.container.engine import Engine
    from acpbot.runtimes.container.process_view import ProcessView
    from acpbot.runtimes.local.spawner import Child
    from acpbot.runtimes.runtime import LimitNotHeld, ProcessInfo, StdoutSink

log = get_logger(__name__)

_ASK_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 0.1
_LAST_TRY_SECONDS: Final = 5.0
_SIGNAL_SECONDS: Final = 10.0
_RECORD_SECONDS: Final = 5.0
_CODE_UNKNOWN: Final = 255
_CUT: Final = "the connection to the container was cut"

READS: Final = Threads("container-processes", 2)
"""The threads that read /proc for containers, and kill there."""


class ContainerProcess:
    """An `acpbot.runtimes.runtime.AgentProcess` in a container.

    ``view``: its processes, where they are on this machine and may be read; else `None`.
    """

    def __init__(
        self,
        engine: Engine,
        session_id: str,
        container: tuple[str, str],
        child: Child,
        stdout: StdoutSink,
        *,
        limits_not_held: tuple[LimitNotHeld, ...] = (),
        memory_max: int | None = None,
    ) -> None:
        self.session_id = session_id
        self.pid: int | None = None
        self.name, self.id = container
        self.place: str | None = f"{engine.title} container {self.name}"
        self.place_ref: dict[str, Any] | None = {"engine": engine.name, "name": self.name, "id": self.id}
        self.unseen: str | None = None
        self.stderr = StderrRing()
        self.limits_not_held = limits_not_held
        self.alive: bool | None = True
        self.returncode: int | None = None
        self.end_reason: str | None = None
        self.view: ProcessView | None = None
        self.settled = False
        """Whether the container is gone, as its engine or the process table has proved."""
        self.state: State | None = None
        """What the engine has said of it after its end."""
        self._engine = engine
        self._memory_max = memory_max
        self._killed = False
        self._closed = False
        self._exited = asyncio.Event()
        self._tasks = TaskSet("container")
        self._ending: asyncio.Task[None] | None = None
        self._sink = stdout
        self._eof = False
        self._errors = AgentStderr(self.stderr.feed)
        self._client = Client(
            child,
            on_stdout=stdout.data_received,
            on_stdout_end=self._on_eof,
            on_stderr=self._errors.feed,
            on_exit=self._on_client_exit,
        )
        self.close_stdin = self._client.stdin.close
        self.pause_reading = self._client.stdout.pause
        self.resume_reading = self._client.stdout.resume

    def write(self, data: bytes) -> None:
        """Queue ``data`` for stdin."""
        if self.alive is not True:
            self._refuse_to_write()
        self._client.stdin.write(data)

    async def wait(self) -> int:
        """Wait until the agent ends or nobody can reach it any more; return its exit code, 255 where it is unknown."""
        await self._exited.wait()
        if self.returncode is None:
            raise AgentGone("cannot wait for the agent: its session was closed while its container could not be ended")
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the container's first process, which passes it to the agent."""
        self._signal("TERM")

    def kill(self) -> None:
        """Send SIGKILL to the container's first process: the kernel ends all others with it."""
        self._killed = True
        self._signal("KILL")

    async def look(self) -> list[ProcessInfo]:
        """Look in the process table, else ask the engine. Raises `OSError`."""
        if self.settled:
            return []
        if self.view is not None:
            return await READS.run(self.view.describe)
        state = await self.ask()
        if state is None or not state.running:
            return []
        words = engine_view.PODMAN_TOP if (await self._engine.info()).is_podman else engine_view.DOCKER_TOP
        return engine_view.read_top(await self._engine.ask("top", self.id, *words))

    async def kill_all(self, deadline_seconds: float = 5.0) -> KillReport:
        """End the container and remove it, until its engine and the process table say that nothing is left.

        Raises `OSError` where neither can be asked.
        """
        begin = time.monotonic()
        deadline = begin + deadline_seconds
        if self._ending is not None:
            await asyncio.wait([self._ending], timeout=max(0.0, deadline - time.monotonic()))
        before = await self._processes_before()
        self._killed = True
        unreachable: OSError | None = None
        gone = self.settled
        while not gone:
            try:
                gone = await self._remove(min(_SIGNAL_SECONDS, max(1.0, deadline - time.monotonic())))
                unreachable = None
            except EngineUnreachable as error:
                unreachable = error
                break
            if gone or time.monotonic() >= deadline:
                break
            await asyncio.sleep(_RETRY_SECONDS)
        proven, left = gone, list[Any]()
        if self.view is not None:
            # It ends the container too where the engine can't be asked.
            proven = await READS.run(self.view.kill, max(deadline, time.monotonic() + 1.0))
            left = [] if proven else await READS.run(self.view.describe)
        elif unreachable is not None:
            raise unreachable
        if proven:
            self._settle(removed=gone)
        return KillReport(
            killed=0 if self.settled and not before else max(0, len(before) - len(left)),
            left=tuple(left),
            settled=proven and gone,
            proof="none" if not proven and not left else "system" if self.view is not None else "engine",
            looks=2,
            seconds=time.monotonic() - begin,
        )

    async def aclose(self) -> None:
        """Release the streams, end the container where it may still be there, release the rest. Raises `OSError`."""
        if self._closed and self.settled:
            return
        try:
            if not self.settled:
                await self.kill_all(_LAST_TRY_SECONDS)
        finally:
            self._closed = True
            self._client.close()
            self._on_eof()
            await self._tasks.cancel()
            self._exited.set()
            if self.view is not None and self.settled:
                self.view.close()

    async def ask(self, seconds: float = _ASK_SECONDS) -> State | None:
        """Return what the engine says of the container, ``None`` where it has none. Raises EngineUnreachable."""
        result = await self._engine.call(
            "container", "inspect", "--format", "{{json .State}}", self.id, seconds=seconds
        )
        if result.code == 0:
            return read_state(result.out)
        if not await self._engine.list_ids(f"id={self.id}"):
            return None
        raise EngineUnreachable(None, f"{self._engine.title} does not report the state of its container")

    async def ended(self, seconds: float) -> bool:
        """Wait until the client has ended and it is known what that means; whether that was within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def engine_words(self) -> str:
        """Return what the client itself has written last, for a start that has failed."""
        return self._errors.tail()

    async def _processes_before(self) -> list[ProcessInfo]:
        try:
            return await self.look()
        except OSError as error:
            log.debug("container_look_failed", session=self.session_id, reason=str(error))
            return []

    async def _remove(self, seconds: float) -> bool:
        await self._engine.remove(self.id, seconds=seconds)
        return not await self._engine.list_ids(f"id={self.id}")

    def _signal(self, name: str) -> None:
        if not self.settled and self.returncode is None:
            self._tasks.start(self._send(name), name=f"SIG{name} {self.name}")

    async def _send(self, name: str) -> None:
        try:
            result = await self._engine.call("kill", "--signal", name, self.id, seconds=_SIGNAL_SECONDS)
        except EngineUnreachable as error:
            log.warning("container_not_signalled", session=self.session_id, signal=name, reason=str(error))
            if name == "KILL" and self.view is not None:
                await READS.run(self.view.kill, time.monotonic() + _RETRY_SECONDS)
            return
        if result.code != 0:  # it has ended meanwhile, or it does not run yet
            log.debug("container_not_signalled", session=self.session_id, signal=name, reason=result.err[:200])

    def _on_eof(self) -> None:
        if not self._eof:
            self._eof = True
            self._sink.eof()

    def _on_client_exit(self, code: int) -> None:
        """Find out how the agent is: the client's end alone does not say."""
        self._errors.flush()
        self._ending = self._tasks.start(self._find_end(code), name=f"the end of {self.name}")

    async def _find_end(self, code: int) -> None:
        state: State | None = None
        reason: str | None = None
        alive: bool | None = False
        try:
            state = await self._record()
        except EngineUnreachable as error:
            log.warning("container_end_unknown", session=self.session_id, reason=str(error))
            alive = None
            reason = "the container engine can't be reached"
            if self.view is not None:
                alive = await READS.run(self.view.init_runs)
        else:
            if state is not None and not state.ended:
                alive = True if state.running else None
                reason = _CUT if state.running else "the container engine does not report how the agent ended"
            elif state is None and not self._killed:
                reason = "its container was removed by somebody else"
        if alive is not False:
            log.warning("container_connection_ended", session=self.session_id, client_code=code, reason=reason)
            self.kill()  # without its streams it is of no use
        self._on_end(state, alive=alive, reason=reason)

    async def _record(self) -> State | None:
        """Return what the engine says of the container once it says how that has ended, or that it runs."""
        deadline = time.monotonic() + _RECORD_SECONDS
        while True:
            state = await self.ask()
            if state is None or state.running or state.ended or time.monotonic() >= deadline:
                return state
            await asyncio.sleep(_RETRY_SECONDS)

    def _on_end(self, state: State | None, *, alive: bool | None, reason: str | None) -> None:
        """Note how it has ended. Only the record has the exit code: a client that is cut has its own."""
        if self.returncode is not None:
            return
        self.state = state
        self.alive = False if alive is False else None
        if reason is not None:
            self.returncode, self.end_reason = _CODE_UNKNOWN, reason
        else:  # where there is no record any more, acpbot has killed it
            self.returncode = -signal.SIGKILL if state is None else exit_status(state.exit_code)
            self.end_reason = end_reason(state, self.returncode, memory_max=self._memory_max, killed=self._killed)
        self._on_eof()
        self._exited.set()

    def _settle(self, *, removed: bool) -> None:
        """Note that nothing runs any more. Where the engine could not be asked, its record is still to be removed."""
        self.settled = removed
        self.alive = False
        if self.returncode is None:
            self._on_end(None, alive=False, reason=None)
        elif self.end_reason is None:
            self.end_reason = exit_text(self.returncode)

    def _refuse_to_write(self) -> Never:
        how = "" if self.end_reason is None else f" ({self.end_reason})"
        raise AgentGone(f"cannot write to the agent: it has ended{how}; start a new session")
