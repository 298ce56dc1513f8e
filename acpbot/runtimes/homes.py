"""The HOME of a thread and of a login on this machine's disk, and the login files that threads share.

``<folder of the database>/homes/<thread_id>/`` is the HOME of a thread's agent, ``.../logins/<agent>/`` that in which
an operator signs an agent in. An agent may put anything into its HOME, links too: none of them is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = get_logger(__name__)

HOMES: Final = "homes"
LOGINS: Final = "logins"

_CLAUDE: Final = (".claude/.credentials.json",)
_CODEX: Final = (".codex/auth.json", ".codex/config.toml")
_HERMES: Final = (".hermes/auth.json", ".hermes/.env", ".hermes/config.yaml")
LOGIN_FILES: Final[dict[str, tuple[str, ...]]] = {
    "auggie": (".augment/session.json",),
    "claude": _CLAUDE,
    "claude-agent-acp": _CLAUDE,
    "claude-code-acp": _CLAUDE,
    "codex": _CODEX,
    "codex-acp": _CODEX,
    "copilot": (".copilot/config.json",),
    "gemini": (".gemini/oauth_creds.json", ".gemini/settings.json", ".gemini/google_accounts.json"),
    "hermes": _HERMES,
    "hermes-acp": _HERMES,
    "opencode": (".local/share/opencode/auth.json", ".config/opencode/opencode.json"),
    "qwen": (".qwen/oauth_creds.json", ".qwen/settings.json"),
}
"""Where each common agent keeps its login and its settings, below HOME, by its program."""

SETTINGS: Final = frozenset(
    {
        ".codex/config.toml",
        ".config/opencode/opencode.json",
        ".gemini/settings.json",
        ".hermes/.env",
        ".hermes/config.yaml",
        ".qwen/settings.json",
    }
)
"""Those of them that name programs which the agent starts.

A thread that could write them would run programs in other threads, and outside, where the daemon's user starts the
agent. They are shown read-only, unless ``shared`` names them.
"""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def make_login_home(state: Path, agent: str) -> Path:
    """Make sure that there is a HOME in which an operator signs this agent in, with mode 0700; return it. Blocks.

    ``state``: the folder of the database, which is made with mode 0700 where it is missing.
    Raises `OSError`, also where a link or another user's folder is there.
    """
    home = state / LOGINS / agent
    state.mkdir(mode=0o700, parents=True, exist_ok=True)  # the mode holds for the last folder only
    home.parent.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(home.parent, _FOLDER)
    try:
        folder = _open_folder(home.name, parent)
        try:
            found = os.fstat(folder)
            if found.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "it belongs to another user", str(home))
            if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                os.fchmod(folder, 0o700)
        finally:
            os.close(folder)
    finally:
        os.close(parent)
    return home


class LoginFile(NamedTuple):
    """A file or folder that is shown at ``target`` in a HOME."""

    source: Path
    target: Path
    read_only: bool = False


def login_files(program: str, shared: Sequence[str], sources: Iterable[Path], home: Path) -> tuple[LoginFile, ...]:
    """Return each login file that is there, with the path at which an agent in ``home`` expects it. Blocks.

    ``program``: the name of the agent's program. ``shared``: more paths below HOME. ``sources``: the HOMEs that may
    hold them; the first that has a file counts. In the first of these an agent gets none: they are its own.
    Links are left out: an agent that may write a shared folder could have made one that leads elsewhere.
    """
    folders = tuple(sources)
    if home in folders[:1]:
        return ()
    wanted = list(dict.fromkeys(map(Path, (*LOGIN_FILES.get(program, ()), *shared))))
    outermost = [name for name in wanted if not any(other in name.parents for other in wanted)]
    found = []
    for name in outermost:
        source = next((folder for folder in folders if (folder / name).exists()), None)
        if source is None:
            continue
        if any((source / part).is_symlink() for part in (name, *name.parents[:-1])):
            log.warning("login_file_not_shown", path=str(source / name), reason="it is a link, or in a folder that is")
            continue
        read_only = str(name) in SETTINGS and str(name) not in shared
        found.append(LoginFile(source / name, home / name, read_only))
    return tuple(found)


def make_mount_point(home: Path, path: Path, *, folder: bool = False) -> None:
    """Make an empty file, or a folder, at ``path`` in ``home``, where nothing is there yet. Blocks.

    Raises `OSError` where a link, or what is no file, is in the way.
    """
    *parents, name = path.relative_to(home).parts
    at = os.open(home, _FOLDER)
    try:
        for parent in parents:
            inner = _open_folder(parent, at)
            os.close(at)
            at = inner
        if folder:
            os.close(_open_folder(name, at))
            return
        file = os.open(name, _FILE, 0o600, dir_fd=at)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "it isn't a file", str(path))
        finally:
            os.close(file)
    finally:
        os.close(at)


def _open_folder(name: str, at: int) -> int:
    """Open a folder without following a link, and make it where it is missing."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=at)
    return os.open(name, _FOLDER, dir_fd=at)
