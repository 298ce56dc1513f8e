"""The command line that runs a program in a sandbox, and the two files that bwrap reads: its options and its filter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes.bubblewrap.installation import installation
from acpbot.runtimes.bubblewrap.sandbox import Hidden, Refused, Sandbox, certificates, words
from acpbot.runtimes.bubblewrap.seccomp import seccomp_filter
from acpbot.runtimes.homes import login_files, make_mount_point

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from acpbot.config.runtime_settings import BubblewrapSettings

OPTIONS_AT: Final = 3
"""The descriptor where bwrap reads its options; the one after it is the filter's."""


class Inside(NamedTuple):
    """A command that runs in a sandbox. ``files``: what its descriptors `OPTIONS_AT` and on are to hold."""

    argv: list[str]
    files: tuple[bytes, ...]


class Place(NamedTuple):
    """Where a program is to run. ``settings``: the agent's table; ``home`` is there.

    ``sources``: the HOMEs that may hold login files, the first wins.
    ``login``: the name of the agent's program, by which its login files are known.
    """

    folder: Path
    home: Path
    settings: BubblewrapSettings
    sources: tuple[Path, ...]
    login: str
    hidden: Hidden


def inside(
    bwrap: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    place: Place,
    *,
    terminal: bool = False,
    also: str | None = None,
) -> Inside:
    """Return the command. Looks at the disk, and makes the places of login files in HOME. Raises `Refused`.

    ``argv[0]`` is the absolute path of the program; ``also``: that of another one that is shown.
    """
    settings, hidden = place.settings, place.hidden
    private = (*filter(None, (hidden.state,)), *hidden.folders, *hidden.files, *_private_of(place.sources))
    logins = login_files(place.login, settings.shared, place.sources, place.home)
    try:
        for source, path, _ in logins:
            make_mount_point(place.home, path, folder=source.is_dir())
    except OSError as error:
        reason = f"{error.filename or path}: {error.strerror}; remove what is there"
        raise Refused(f"a login file can't be shown in {place.home}: {reason}") from None
    sandbox = Sandbox(
        folder=place.folder,
        home=place.home,
        installed=(
            *installation([*argv, *filter(None, (also,))], env.get("PATH", os.defpath), private),
            *certificates(env),
        ),
        logins=logins,
        readable=settings.readable,
        writable=settings.writable,
        network=settings.network,
        hidden=hidden,
    )
    options = words(sandbox, root=os.geteuid() == 0, terminal=terminal)
    files = [b"".join(os.fsencode(word) + b"\0" for word in options)]
    program = [bwrap, "--args", str(OPTIONS_AT)]
    filtering = seccomp_filter()
    if filtering is not None:
        files.append(filtering)
        program += ["--seccomp", str(OPTIONS_AT + 1)]
    return Inside([*program, "--", *argv], tuple(files))


def _private_of(homes: tuple[Path, ...]) -> list[Path]:
    """Return the folders of HOMEs that hold programs and private files alike."""
    return [home / name for home in homes for name in ("", ".local", ".local/share", ".config", ".cache")]
