"""Runs agents in bubblewrap sandboxes on this machine: what the local runtime does, below bwrap(1)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from acpbot.aio import in_thread
from acpbot.errors import AgentStartError
from acpbot.runtimes.bubblewrap.command import Place, inside
from acpbot.runtimes.bubblewrap.probe import can_scope_sockets, find_bwrap, notes, probe
from acpbot.runtimes.bubblewrap.process import SandboxedProcess
from acpbot.runtimes.bubblewrap.sandbox import Hidden, Refused
from acpbot.runtimes.local.runtime import Wrapped, end_leftovers
from acpbot.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.local.runtime import LocalRuntime
    from acpbot.runtimes.runtime import (
        AgentProcess,
        LaunchSpec,
        Leftover,
        PlaceRef,
        Progress,
        StdoutSink,
        StoredPlace,
        Usage,
    )

INHERITED: Final = ("PATH", "USER", "LANG", "TERM")
"""What an agent gets of the daemon's own environment."""


class BubblewrapRuntime:
    """The `acpbot.runtimes.runtime.Runtime` of sandboxes. ``hidden``: the daemon's own files, which no sandbox shows.

    ``local`` starts bwrap, looks at all processes of a sandbox, which are of this machine, and ends them.
    """

    kind = "bubblewrap"
    sample_seconds = 2.0
    gives_home = True
    has_files_here = True
    strays: Sequence[PlaceRef] = ()  # those of `local` are all there are

    def __init__(self, local: LocalRuntime, hidden: Hidden | None = None) -> None:
        self._local = local
        self._hidden = Hidden() if hidden is None else hidden
        self._has_cleaned = False
        self._bwrap: str | None = None  # once a sandbox could be made

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        """Return a few plain variables of the daemon's, HOME, those in ``inherit_env``, and the agent's own."""
        return environment(self._local.environ, settings, home)

    def sees_programs(self, argv: Sequence[str]) -> bool:
        """Return whether the command runs here, and not elsewhere."""
        return self._local.sees_programs(argv)

    async def check(self, settings: AgentSettings) -> Sequence[str]:
        """Make a sandbox. Raises `AgentStartError` where the machine forbids it."""
        try:
            bwrap = await in_thread("bubblewrap", self._tried)
        except Refused as refused:
            raise _start_error(refused) from None
        return list(notes(bwrap, network=settings.bubblewrap.network))

    async def launch(
        self, spec: LaunchSpec, stdout: StdoutSink, progress: Progress = lambda _: None
    ) -> SandboxedProcess:
        """Start an agent in a sandbox of its own; cancelled, it leaves no process behind. Raises `AgentStartError`."""
        started = await self._local.launch(spec, stdout, progress, wrap=self._wrap, process=SandboxedProcess)
        return cast("SandboxedProcess", started)

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        """Return what each session uses, by session_id. Raises `OSError`."""
        return await self._local.sample(processes)

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str]) -> Sequence[Leftover]:
        """End what an earlier daemon has left, as processes of this machine. Raises `StartError`."""
        del live
        if self._has_cleaned or not stored:
            return ()
        self._has_cleaned = True
        return await end_leftovers(self.kind, stored)

    async def forget(self, thread_id: str) -> None:
        """Do nothing: all that there is of a thread is in its folders."""

    async def aclose(self) -> None:
        """Nothing is held here; the local runtime ends what runs."""

    def _tried(self) -> str:
        """Return the path of bwrap, once a sandbox could be made. Blocks. Raises `Refused`."""
        if self._bwrap is None:
            bwrap = find_bwrap(self._local.environ)
            probe(bwrap)
            self._bwrap = bwrap
        return self._bwrap

    def _wrap(self, spec: LaunchSpec, argv: list[str]) -> Wrapped:
        try:
            bwrap = self._tried()
            place = self._place(spec)
            command = inside(bwrap, argv, spec.env, place)
        except Refused as refused:
            raise _start_error(refused) from None
        return Wrapped(command.argv, command.files, scoped=place.settings.network and can_scope_sockets(bwrap))

    def _place(self, spec: LaunchSpec) -> Place:
        if spec.home is None or spec.bubblewrap is None:
            raise Refused("it has no HOME of its own; set [store] path")
        home = self._local.environ.get("HOME")
        sources = (*filter(None, (spec.logins,)), *([] if home is None else [Path(home)]))
        program = spec.argv[0].rpartition("/")[2]
        return Place(spec.cwd.absolute(), spec.home, spec.bubblewrap, sources, program, self._hidden)


def environment(environ: Mapping[str, str], settings: AgentSettings, home: Path | None) -> dict[str, str]:
    """Return the whole environment of a program in a sandbox; ``environ`` is the daemon's."""
    names = (*INHERITED, *settings.inherit_env)
    own = {"TMPDIR": "/tmp"} if home is None else {"TMPDIR": "/tmp", "HOME": str(home)}  # noqa: S108 - the sandbox's own
    return {name: environ[name] for name in names if name in environ} | own | dict(settings.env)


def _start_error(refused: Refused) -> AgentStartError:
    return AgentStartError(f"cannot start the agent in bubblewrap: {printable(str(refused))}")
