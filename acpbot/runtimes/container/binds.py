"""What a container has of this machine, under the same paths: its workspace, its HOME and its login files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.errors import AgentStartError
from acpbot.runtimes import homes
from acpbot.runtimes.container.words import Bind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.runtimes.runtime import LaunchSpec


def binds_of(spec: LaunchSpec, shared: Sequence[str], environ: Mapping[str, str]) -> list[Bind]:
    """Return what is bound, each outer folder before what is in it. Blocks.

    Raises AgentStartError where a folder is not there, or a login file can't be shown in HOME.
    """
    cwd = spec.cwd.absolute()
    if not cwd.is_dir():
        raise AgentStartError(
            f"cannot start the agent: its working directory {cwd} does not exist; create it or correct its setting"
        )
    binds = [Bind(cwd, cwd)]
    if spec.home is not None:
        if not spec.home.is_dir():
            raise AgentStartError(f"cannot start the agent: its HOME {spec.home} does not exist; see [store] path")
        if not cwd.is_relative_to(spec.home) or cwd != spec.home:
            binds.append(Bind(spec.home, spec.home))
        binds += _logins(spec, spec.home, shared, environ)
    return sorted(binds, key=lambda bind: len(bind.target.parts))


def _logins(spec: LaunchSpec, home: Path, shared: Sequence[str], environ: Mapping[str, str]) -> list[Bind]:
    own = environ.get("HOME")
    sources = [folder for folder in (spec.logins, None if own is None else Path(own)) if folder is not None]
    found = homes.login_files(Path(spec.argv[0]).name, shared, sources, home)
    try:
        for source, target, _ in found:
            # The engine would make it as root.
            homes.make_mount_point(home, target, folder=source.is_dir())
    except OSError as error:
        raise AgentStartError(
            f"cannot start the agent: {error.filename or target} can't be made in its HOME: {error.strerror}; remove it"
        ) from error
    return [Bind(file.source, file.target, file.read_only) for file in found]
