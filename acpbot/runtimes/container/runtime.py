"""Starts agents in containers of Podman or Docker, one container for each session.

A container is created and then started, in two calls: so it is known whether the engine, the image or the program is
the cause of a failure, and the engine keeps its record (`OOMKilled`) until it was read. acpbot removes it itself. Where
the daemon is gone, its dead-man removes it (`deadman_program`), and at the next start the next daemon.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.aio import TaskSet
from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes import labels
from acpbot.runtimes.container import check, engine_errors, engine_view, process_view, words
from acpbot.runtimes.container.binds import binds_of
from acpbot.runtimes.container.deadman import DeadMan
from acpbot.runtimes.container.engine import NAMES, Engine, EngineUnreachable, find
from acpbot.runtimes.container.images import Images, image_error
from acpbot.runtimes.container.process import READS, ContainerProcess
from acpbot.runtimes.container.process_view import ProcessView
from acpbot.runtimes.container.volumes import Volumes
from acpbot.runtimes.runtime import Leftover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.config.runtime_settings import ContainerSettings
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.container.engine import Info, Name
    from acpbot.runtimes.container.words import Bind
    from acpbot.runtimes.runtime import AgentProcess, LaunchSpec, PlaceRef, StdoutSink, StoredPlace, Usage

log = get_logger(__name__)

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")
_CREATE_SECONDS: Final = 60.0
_START_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.02
_BEGIN_SECONDS: Final = 1.0
_BEGIN_PAUSE_SECONDS: Final = 0.002
_NO_PROGRAM: Final = re.compile(r"(?:catatonit:\d+\): failed to exec pid1|tini \(\d+\)\] exec .* failed): ([^\n]*)")
_NO_PROGRAM_EARLY: Final = re.compile(
    r"executable file .* not found in|exec: .*(?:no such file|permission denied)", re.IGNORECASE
)


class _Start(NamedTuple):
    """What is known of a start before it begins."""

    spec: LaunchSpec
    place: ContainerSettings
    image: str
    engine: Engine
    info: Info


class ContainerRuntime:
    """An `acpbot.runtimes.runtime.Runtime` for containers.

    ``daemon_id`` is in the labels of all containers of this daemon, and of no other daemon. ``environ`` is the daemon's
    environment, of which the engine's clients get what they read.
    """

    kind = "container"
    sample_seconds = 10.0
    gives_home = True
    has_files_here = True
    strays: Sequence[PlaceRef] = ()

    def __init__(self, *, daemon_id: str, environ: Mapping[str, str]) -> None:
        self._labels = words.DaemonLabels(daemon_id, secrets.token_hex(8))
        self._environ = environ
        self._label = f"{labels.DAEMON}={daemon_id}"
        self._engines: dict[str, Engine] = {}
        self._images: dict[str, Images] = {}
        self._volumes: dict[str, Volumes] = {}
        self._deadmen: dict[str, DeadMan] = {}
        self._starting: set[str] = set()
        self._running: set[ContainerProcess] = set()
        self._discards = TaskSet("containers")
        self._closed = False

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        """Return what is added to the image's own: HOME, what ``inherit_env`` names, and the agent's."""
        env = {} if home is None else {"HOME": str(home)}
        env.update({name: self._environ[name] for name in settings.inherit_env if name in self._environ})
        return {**env, **settings.env}

    def sees_programs(self, argv: Sequence[str]) -> bool:
        """Return False: an image has programs of its own."""
        del argv
        return False

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Callable[[str], None]) -> ContainerProcess:
        """Start an agent; cancelled, it leaves no container behind.

        Raises `AgentStartError` where it can't be started, `ValueError` for a session_id that is malformed or in use.
        """
        if not _SESSION_ID.fullmatch(spec.session_id) or spec.session_id in self._starting:
            raise ValueError(f"cannot launch session {spec.session_id!r}: that isn't a session id, or it is in use")
        if self._closed:
            raise AgentStartError("cannot start the agent: the daemon is stopping")
        self._starting.add(spec.session_id)
        try:
            process = await self._launch(spec, stdout, progress)
        except EngineUnreachable as error:
            raise AgentStartError(
                f"cannot start the agent: the container engine can't be used: {error.strerror}; check that it runs"
            ) from error
        except OSError as error:
            raise AgentStartError(f"cannot start the agent: {error.strerror or error}; see the log") from error
        finally:
            self._starting.discard(spec.session_id)
        self._running = {running for running in self._running if not running.settled}
        self._running.add(process)
        return process

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        """Return what each session uses, by session_id, from one look, and one call for what is elsewhere.

        Raises `OSError`.
        """
        here: dict[ProcessView, str] = {}
        far: dict[str, list[ContainerProcess]] = {}
        for process in processes:
            if not isinstance(process, ContainerProcess) or process.settled:
                continue
            if process.view is not None:
                here[process.view] = process.session_id
            else:
                far.setdefault(str((process.place_ref or {}).get("engine")), []).append(process)
        found: dict[str, Usage] = {}
        if here:
            looked = await READS.run(process_view.living, tuple(here))
            for view, stats in looked.items():
                found[here[view]] = process_view.usage(stats)
        for name, sessions in far.items():
            ids = [session.id for session in sessions]
            result = await self._engines[name].call("stats", "--no-stream", "--format", "json", *ids)
            usage = engine_view.read_stats(result.out)
            found.update({one.session_id: usage[one.id[:12]] for one in sessions if one.id[:12] in usage})
        return found

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str]) -> list[Leftover]:
        """End the containers of earlier daemons with this database; return what was found.

        Found are those with the label of this daemon, and those that ``stored`` names where they have it. Never touched
        are the sessions in ``live``, those that start now, and containers of another daemon. An engine that can't be
        asked leaves what it may hold unknown. A dead-man that somebody has ended is started again.
        """
        for deadman in tuple(self._deadmen.values()):
            try:
                await deadman.ensure()
            except OSError as error:
                log.warning("container_deadman_not_started", reason=error.strerror or str(error))
        spared = {*live, *self._starting, *(process.session_id for process in self._running if not process.settled)}
        named: dict[str, list[StoredPlace]] = {}
        for place in stored:
            if place.ref.get("engine") in NAMES:
                named.setdefault(str(place.ref["engine"]), []).append(place)
        found: list[Leftover] = []
        for name in {*self._engines, *named}:
            try:
                found += await self._end_leftovers(self.engine(name), spared)  # type: ignore[arg-type] # one of two
            except (EngineUnreachable, AgentStartError) as error:
                log.warning("container_leftovers_unknown", engine=name, reason=str(error))
                for place in named.get(name, ()):
                    if place.session_id not in spared:
                        where = str(place.ref.get("name"))
                        found.append(Leftover(self.kind, where, "", place.session_id, ended=None))
        return found

    async def check(self, settings: AgentSettings) -> list[str]:
        """Return what an operator must know before a start. Raises AgentStartError where agents can't run."""
        place, _ = _place(settings.container)
        engine = self.engine(place.engine)
        return await check.check(engine, self._images_of(engine), settings, place)

    async def forget(self, thread_id: str) -> None:
        """Do nothing: all that there is of a thread is in its folders."""

    async def aclose(self) -> None:
        """End what still runs, and the dead-men."""
        if self._closed:
            return
        self._closed = True
        await self._discards.wait()
        results = await asyncio.gather(*(process.aclose() for process in self._running), return_exceptions=True)
        failed = [result for result in results if isinstance(result, Exception)]
        for result in failed:
            log.error("agent_not_closed", exc_info=result)
        if not failed:
            for deadman in self._deadmen.values():
                deadman.release()
        for engine in self._engines.values():
            engine.close()

    def engine(self, wanted: Name | None) -> Engine:
        """Return the engine that is wanted, or the first one on PATH. Raises AgentStartError."""
        name, program = find(wanted, self._environ)
        engine = self._engines.get(name)
        if engine is None:
            engine = self._engines[name] = Engine(name, program, self._environ)
        return engine

    def _images_of(self, engine: Engine) -> Images:
        return self._images.setdefault(engine.name, Images(engine))

    def _volumes_of(self, engine: Engine) -> Volumes:
        return self._volumes.setdefault(engine.name, Volumes(engine, self._label))

    async def _launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Callable[[str], None]) -> ContainerProcess:
        place, image = _place(spec.container)
        engine = self.engine(place.engine)
        start = _Start(spec, place, image, engine, await engine.info())
        binds = await READS.run(binds_of, spec, place.shared, self._environ)
        if place.pull in {"always", "newer"}:
            await self._images_of(engine).fetch(image, place.pull, progress)
        await self._volumes_of(engine).make(place.volumes)
        if engine.name not in self._deadmen:
            self._deadmen[engine.name] = DeadMan(engine, f"{words.RUN_LABEL}={self._labels.run}")
        await self._deadmen[engine.name].ensure()
        try:
            container_id = await self._create(start, binds, progress)
            return await self._start(start, container_id, stdout)
        except BaseException:
            # Broad: also where it is cancelled, nothing may stay.
            await self._discard(engine, words.container_name(spec.session_id))
            raise

    async def _create(self, start: _Start, binds: Sequence[Bind], progress: Callable[[str], None]) -> str:
        """Return the id of a new container. Where its image is not here it is fetched, and that is told as progress."""
        spec, place, image, engine, info = start
        ids = words.Ids(os.getuid(), os.getgid())
        argv, more = words.for_create(
            spec, place, info, ids, daemon=self._labels, binds=binds, client_environ=engine.environ
        )
        created = await engine.call(*argv, seconds=_CREATE_SECONDS, more=more)
        problem = engine_errors.of_image(created.err)
        if created.code != 0 and problem.kind == "image":
            await self._images_of(engine).fetch(image, place.pull, progress)
            created = await engine.call(*argv, seconds=_CREATE_SECONDS, more=more)
            problem = engine_errors.of_image(created.err)
        if created.code == 0 and created.out.split():
            return created.out.split()[-1]
        if problem.kind == "other":
            raise AgentStartError(f"cannot start the agent: {engine.title}: {problem.reason}; correct its settings")
        raise image_error(image, problem)

    async def _start(self, start: _Start, container_id: str, stdout: StdoutSink) -> ContainerProcess:
        spec, place, _, engine, info = start
        attach = ["start", "--attach", "--interactive"]
        if info.is_podman:
            attach = ["--log-level", "error", *attach, "--sig-proxy=false", "--detach-keys="]
        child = await engine.start([*attach, container_id])
        process = ContainerProcess(
            engine,
            spec.session_id,
            (words.container_name(spec.session_id), container_id),
            child,
            stdout,
            limits_not_held=words.limits_not_held(spec, place, info),
            memory_max=spec.memory_max,
        )
        try:
            await self._until_it_runs(process, start)
        except BaseException:
            # Broad: also where it is cancelled, its client and its view are released.
            await self._discards.start(_close(process), name=f"discard {process.name}")
            raise
        return process

    async def _until_it_runs(self, process: ContainerProcess, start: _Start) -> None:
        """Wait until the program has begun. Raises AgentStartError where it can't, EngineUnreachable."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await process.ended(_PAUSE_SECONDS):
                    state = await process.ask()
                    if state is not None and state.running:
                        process.view = await READS.run(ProcessView.open, state.pid, process.id)
                        break
        except TimeoutError as error:
            raise EngineUnreachable(None, f"it has not started the container within {_START_SECONDS:g} s") from error
        if process.view is not None:
            async with asyncio.timeout(_BEGIN_SECONDS + 1):
                process.pid = await _until_program_begins(process.view)
        if process.pid is None and process.returncode is None:
            # It has ended since it was seen, which its engine may not say yet; or it is not on this machine.
            state = await process.ask()
            await process.ended(_BEGIN_SECONDS if state is not None and state.running else _START_SECONDS)
        if process.returncode is not None:
            _raise_if_not_begun(process, start.spec.argv[0], start.image)

    async def _discard(self, engine: Engine, name: str) -> None:
        """Remove a container whose start has failed, in a task of its own: the caller may be cancelled again."""
        await asyncio.shield(self._discards.start(_remove(engine, name), name=f"remove {name}"))

    async def _end_leftovers(self, engine: Engine, spared: Collection[str]) -> list[Leftover]:
        rows = await engine.ask(
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            f"label={self._label}",
            "--format",
            "{{.ID}}|{{.Names}}|{{.Image}}",
        )
        found: list[Leftover] = []
        for row in rows.splitlines():
            container_id, name, image, *_ = (*row.split("|", 2), "", "")
            session_id = name.removeprefix(words.container_name(""))
            if not container_id or session_id in spared:
                continue
            await engine.remove(container_id)
            ended = not await engine.list_ids(f"id={container_id}")
            log.warning("container_leftover", container=name, session=session_id, ended=ended)
            found.append(Leftover(self.kind, name, image, session_id, ended=ended))
        unused = await self._volumes_of(engine).unused()
        return [*found, *(Leftover(self.kind, name, "", None, ended=False, is_volume=True) for name in unused)]


def _place(place: ContainerSettings | None) -> tuple[ContainerSettings, str]:
    """Return the table of the settings, and its image. Raises AgentStartError where none is set."""
    if place is None or place.image is None:
        raise AgentStartError(
            'cannot start the agent: runtime = "container" needs an image; set image in its table "container"'
        )
    return place, place.image


async def _until_program_begins(view: ProcessView) -> int | None:
    """Return the agent's process id, once the init process has become it; ``None`` where it has ended before."""
    deadline = asyncio.get_running_loop().time() + _BEGIN_SECONDS
    while True:
        began, pid = await READS.run(view.begun)
        if began or asyncio.get_running_loop().time() >= deadline:
            return pid
        if not await READS.run(view.init_runs):
            return None
        await asyncio.sleep(_BEGIN_PAUSE_SECONDS)


def _raise_if_not_begun(process: ContainerProcess, program: str, image: str) -> None:
    """Raise AgentStartError where the container or its program could not begin; return where it began and has ended."""
    said = process.engine_words()
    state = process.state
    found = _NO_PROGRAM.search(said)
    reason = None if found is None else found.group(1)
    if reason is None and state is not None and not state.started:
        told = state.error or said
        if _NO_PROGRAM_EARLY.search(told) is None:
            problem = engine_errors.of_engine(told)
            raise AgentStartError(
                f"cannot start the agent: its container can't be started: {problem.reason}; {problem.way_out}"
            )
        reason = "No such file or directory"
    if reason is None:
        return
    if reason.startswith("No such file"):
        raise AgentStartError(
            f"cannot start the agent: the image {image} has no program {program}; "
            "correct its command, or install it in the image"
        )
    raise AgentStartError(
        f"cannot start the agent: {program} in the image {image}: {reason}; correct its command or the image"
    )


async def _close(process: ContainerProcess) -> None:
    try:
        await process.aclose()
    except OSError as error:
        log.warning("container_not_removed", container=process.name, reason=str(error))


async def _remove(engine: Engine, name: str) -> None:
    try:
        await engine.remove(name)
    except EngineUnreachable as error:  # a later look finds it by its labels
        log.warning("container_not_removed", container=name, reason=str(error))
