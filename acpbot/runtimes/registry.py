"""The runtimes that agents are started in: one of each kind, made when an agent first names it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.bubblewrap.sandbox import Hidden
    from acpbot.runtimes.local.runtime import LocalRuntime
    from acpbot.runtimes.runtime import AgentProcess, Leftover, PlaceRef, StoredPlace, Usage

log = get_logger(__name__)


class ThisMachine(Runtime, Protocol):
    """The runtime of kind "local". ``containment``: how it keeps a session's processes together.

    ``environ``: the daemon's own environment.
    """

    containment: str
    environ: Mapping[str, str]


@runtime_checkable
class HoldsPlaces(Protocol):
    """A runtime that can have places wait for the next sessions without an agent in them."""

    @property
    def warm_places(self) -> int:
        """How many wait."""

    def hold_places(self, agents: Iterable[AgentSettings], /) -> None:
        """Have as many wait as ``warm`` of each of these agents says. It may not block."""


class Runtimes:
    """One runtime of each kind.

    ``daemon_id`` names this daemon in labels; ``clock``: monotonic seconds. ``hidden``: the daemon's own files, which
    no sandbox shows. ``agents`` returns the settings of all agents as they are now.

    Where one can't be asked, the others are asked all the same: an engine that hangs holds up its own sessions only.
    """

    def __init__(
        self,
        local: ThisMachine,
        *,
        daemon_id: str,
        hidden: Hidden | None = None,
        clock: Callable[[], float] = time.monotonic,
        agents: Callable[[], Iterable[AgentSettings]] = tuple,
    ) -> None:
        self.local = local
        self._daemon_id = daemon_id
        self._hidden = hidden
        self._clock = clock
        self._agents = agents
        self.threads: Callable[[], Collection[str]] | None = None
        """Returns the ids of all threads, once they are known."""
        self._made: dict[str, Runtime] = {local.kind: local}
        self._sampled: dict[str, float] = {}

    def of(self, kind: str) -> Runtime:
        """Return the runtime of this kind (`acpbot.runtimes.runtime.KINDS`). Raises `AgentStartError`."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: str) -> Runtime:
        if kind == "bubblewrap":
            from acpbot.runtimes.bubblewrap.runtime import BubblewrapRuntime  # noqa: PLC0415 - only where it is named

            return BubblewrapRuntime(cast("LocalRuntime", self.local), self._hidden)
        if kind == "kubernetes":
            return self._make_kubernetes()
        if kind == "container":
            from acpbot.runtimes.container.runtime import ContainerRuntime  # noqa: PLC0415 - only where one is named

            return ContainerRuntime(daemon_id=self._daemon_id, environ=self.local.environ)
        raise AgentStartError(f"cannot start the agent: this acpbot has no runtime {kind!r}; set runtime to local")

    def _make_kubernetes(self) -> Runtime:
        try:
            from acpbot.runtimes.kubernetes.runtime import KubernetesRuntime  # noqa: PLC0415 - only where one is named
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "acpbot":
                raise
            raise AgentStartError(
                f"cannot start the agent: the Python package {error.name} is missing; install acpbot[kubernetes]"
            ) from error
        return KubernetesRuntime(
            daemon_id=self._daemon_id,
            environ=self.local.environ,
            settings=lambda: [agent.kubernetes for agent in self._agents() if agent.runtime == "kubernetes"],
            threads=lambda: None if self.threads is None else self.threads(),
        )

    @property
    def strays(self) -> dict[str, Sequence[PlaceRef]]:
        """What the last look of each kind has found of no known session."""
        return {kind: runtime.strays for kind, runtime in self._made.items()}

    @property
    def warm_places(self) -> int:
        """How many places wait for the next sessions without an agent in them."""
        return sum(one.warm_places for one in self._made.values() if isinstance(one, HoldsPlaces))

    def hold_places(self) -> None:
        """Have as many of them wait as ``warm`` of each agent says. Called about once a second."""
        for kind, runtime in self._made.items():
            if isinstance(runtime, HoldsPlaces):
                runtime.hold_places(agent for agent in self._agents() if agent.runtime == kind)

    async def sample(self, processes: Iterable[tuple[str, AgentProcess]]) -> dict[str, Usage]:
        """Return what each session uses, by session_id; of kinds whose pace is not due yet nothing is returned.

        ``processes``: each with the kind of its place. Raises `OSError` where this machine can't be looked at.
        """
        now = self._clock()
        found: dict[str, Usage] = {}
        by_kind: dict[str, list[AgentProcess]] = {kind: [] for kind in self._made}
        for kind, process in processes:
            by_kind[kind].append(process)
        due = [kind for kind, runtime in self._made.items() if self._is_due(kind, runtime, now)]
        results = await asyncio.gather(
            *(self._made[kind].sample(by_kind[kind]) for kind in due), return_exceptions=True
        )
        for kind, result in zip(due, results, strict=True):
            if isinstance(result, BaseException):
                if kind == self.local.kind or not isinstance(result, OSError):
                    raise result
                log.warning("runtime_not_sampled", runtime=kind, reason=str(result))
            else:
                found |= result
        return found

    def _is_due(self, kind: str, runtime: Runtime, now: float) -> bool:
        if kind != self.local.kind and now - self._sampled.get(kind, -runtime.sample_seconds) < runtime.sample_seconds:
            return False
        self._sampled[kind] = now
        return True

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str]) -> list[Leftover]:
        """End what no living session owns, in all kinds of places; return what was found.

        Raises `StartError` where this machine can't be looked at. An engine that can't be asked is logged.
        """
        for kind in {place.runtime for place in stored} | {agent.runtime for agent in self._agents()}:
            try:
                self.of(kind)
            except AgentStartError as error:
                log.warning("leftovers_not_looked_for", runtime=kind, reason=str(error))
        found: list[Leftover] = []
        for kind, runtime in tuple(self._made.items()):
            try:
                found += await runtime.leftovers([one for one in stored if one.runtime == kind], live)
            except OSError as error:
                log.warning("leftovers_not_looked_for", runtime=kind, reason=str(error))
        return found

    async def forget(self, thread_id: str) -> None:
        """Remove what places keep of a thread that is forgotten."""
        for kind, runtime in tuple(self._made.items()):
            try:
                await runtime.forget(thread_id)
            except OSError as error:
                log.warning("thread_not_removed", runtime=kind, thread=thread_id, reason=str(error))

    async def aclose(self) -> None:
        """End what still runs and release everything, this machine's last: others may use it."""
        for kind, runtime in reversed(self._made.items()):
            try:
                await runtime.aclose()
            except Exception:
                # Broad: the others are to be closed all the same.
                log.exception("runtime_not_closed", runtime=kind)
