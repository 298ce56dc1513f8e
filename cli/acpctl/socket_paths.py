"""Find the daemon's socket (docs/protocol.md): the path that the user names, else the first default one in use."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from acpctl.errors import CliError
from acpctl.exit_codes import DENIED, UNREACHABLE, USAGE
from acpctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_LIMIT: Final = 107  # bytes: sun_path of unix(7) has 108, the last one a NUL
SYSTEM_PATH: Final = "/run/acpbot/acpbot.sock"
UNREACHABLE_ADVICE: Final = (
    "is it running? start it with `acpbot run`, or name its socket with --socket or ACPBOT_SOCKET"
)
DENIED_ADVICE: Final = "ask for membership in its group ([management] socket_group), or run acpctl as acpbot's user"


class Candidate(NamedTuple):
    """A path where the socket may be; ``origin`` is ``--socket``, ``ACPBOT_SOCKET`` or ``default``."""

    path: str
    origin: str

    @property
    def named(self) -> bool:
        """Whether the user named it; then acpctl tries no other path."""
        return self.origin != "default"


def candidates(option: str | None, environ: Mapping[str, str], system_path: str = SYSTEM_PATH) -> list[Candidate]:
    """The paths to try, in order. Raises ``CliError`` for a named path that no socket can have.

    ``system_path``: the first default one.
    """
    if option is not None:
        return [Candidate(_checked(option, "--socket"), "--socket")]
    if named := environ.get("ACPBOT_SOCKET"):
        return [Candidate(_checked(named, "ACPBOT_SOCKET"), "ACPBOT_SOCKET")]
    paths = [system_path]
    if (runtime := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        paths.append(str(Path(runtime, "acpbot", "acpbot.sock")))
    temporary = environ.get("TMPDIR", "")
    folder = temporary if temporary.startswith("/") else "/tmp"  # noqa: S108 - `distrust` checks the folder's owner
    paths.append(str(Path(folder, f"acpbot-{os.getuid()}", "acpbot.sock")))
    return [Candidate(path, "default") for path in paths if len(os.fsencode(path)) <= PATH_LIMIT]


def find_socket(option: str | None, environ: Mapping[str, str], system_path: str = SYSTEM_PATH) -> str:
    """The path to connect to. Raises ``CliError`` (exit 6, or 4) where no default path has a socket."""
    tried = candidates(option, environ, system_path)
    if tried[0].named:
        return tried[0].path
    denied = distrusted = ""
    for candidate in tried:
        try:
            if is_socket(candidate.path):
                if not (reason := distrust(candidate.path, system_path)):
                    return candidate.path
                distrusted = distrusted or f"acpctl stays away from {clean(candidate.path)}: {reason}; "
        except PermissionError:
            denied = denied or candidate.path
    if denied:
        raise unreachable(denied, PermissionError())
    *others, last = [clean(candidate.path) for candidate in tried]
    where = f"{', '.join(others)} or {last}" if others else last
    raise CliError(f"cannot reach acpbot at {where}: no such file; {distrusted}{UNREACHABLE_ADVICE}", UNREACHABLE)


def is_socket(path: str) -> bool:
    """Whether a socket is at ``path``. Raises ``PermissionError`` where we may not enter a folder of the path."""
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except PermissionError:
        raise
    except OSError:
        return False


def listens(path: str) -> bool:
    """Whether something that lets us connect listens at ``path``."""
    import socket  # noqa: PLC0415 - the completion of words imports this module

    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # unix(7): the backlog is full
            return True
        except OSError:
            return False
    return True


def others(path: str, environ: Mapping[str, str], system_path: str = SYSTEM_PATH) -> list[str]:
    """The sockets of further daemons of this user or of the machine: at other default paths, and of demos."""
    tried = [candidate.path for candidate in candidates(None, {**environ, "ACPBOT_SOCKET": ""}, system_path)]
    temporary = Path(tried[-1]).parent.parent
    found = []
    for other in (*tried, *_demos(temporary)):
        with contextlib.suppress(OSError):
            if other != path and is_socket(other) and not distrust(other, system_path) and listens(other):
                found.append(other)
    return found


def _demos(temporary: Path) -> list[str]:
    """Where the daemons of `acpbot demo` have their sockets when the default path is taken."""
    try:
        names = [name for name in os.listdir(temporary) if name.startswith("acpbot-demo-")]  # noqa: PTH208 - a thousand names, and no objects
    except OSError:
        return []
    return [str(temporary / name / "acpbot.sock") for name in sorted(names)]


def distrust(path: str, system_path: str = SYSTEM_PATH) -> str:
    """Why a stranger may have made the folder of a default path, as a clause; empty where we or root own it.

    Anybody can create a folder in /tmp before the daemon does, or a symbolic link. Raises ``OSError``.
    """
    if reason := foreign_link(path):
        return reason
    owner = Path(path).parent.stat().st_uid
    return "" if path == system_path or owner in (0, os.getuid()) else f"its folder belongs to uid {owner}"


def foreign_link(path: str) -> str:
    """Which symbolic link to the socket, or to its folder, is a stranger's, as a clause; empty where none is."""
    for name, place in (("its folder", Path(path).parent), ("it", Path(path))):
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.getuid()):
            return f"{name} is a symbolic link of uid {status.st_uid}"
    return ""


def check_server(path: str, credentials: bytes) -> None:
    """Raise ``CliError`` (exit 6) where a stranger may listen at ``path``.

    ``credentials``: of whoever listens, as SO_PEERCRED gives them (unix(7)): pid, uid, gid. Trusted are root, this
    user, and the owner of the socket's folder: where others can write, as in /tmp, anybody can put a socket there.
    """
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid in (0, os.getuid()):
        return
    place = Path(path)
    while place.is_symlink():  # not by realpath: that does not follow /proc/PID/root as the kernel does
        place = place.parent / place.readlink()
    owner = place.parent.stat().st_uid
    if uid != owner:
        problem = f"it is a socket of uid {uid} in a folder of uid {owner}, so somebody else may have put it there"
        advice = "let acpbot have its socket in a folder of its own, such as /run/acpbot"
        raise CliError(f"cannot trust what listens at {clean(path)}: {problem}; {advice}", UNREACHABLE)


def unreachable(path: str, error: OSError) -> CliError:
    """The error to raise where connecting to ``path`` failed with ``error``."""
    shown = clean(path)
    if isinstance(error, PermissionError):
        return CliError(f"cannot reach acpbot at {shown}: permission denied; {DENIED_ADVICE}", DENIED)
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, ConnectionRefusedError) and Path(path).is_dir():
        advice = f"name the socket in it, such as {clean(Path(path, 'acpbot.sock'))}"
        return CliError(f"cannot reach acpbot at {shown}: it is a folder; {advice}", UNREACHABLE)
    elif isinstance(error, ConnectionRefusedError):
        reason = "it is not a socket" if _is_other_file(path) else "nothing listens there"
    else:
        reason = clean(error.strerror or error).lower()
    return CliError(f"cannot reach acpbot at {shown}: {reason}; {UNREACHABLE_ADVICE}", UNREACHABLE)


def _is_other_file(path: str) -> bool:
    try:
        return not is_socket(path)
    except PermissionError:
        return False


def _checked(path: str, origin: str) -> str:
    length = len(os.fsencode(path))
    if not path:
        raise CliError(f"cannot use {origin}: it is empty; name a socket, such as {SYSTEM_PATH}", USAGE)
    if "://" in path:
        scheme, _, rest = path.partition("://")
        advice = f"give {clean(rest)}" if scheme == "unix" else "acpbot listens on a Unix socket only; give its path"
        raise CliError(f"cannot use {origin} {clean(path)}: it isn't a path; {advice}", USAGE)
    if length > PATH_LIMIT:
        raise CliError(
            f"cannot use {origin} {clean(path)}: it has {length} bytes, and a socket's path may have {PATH_LIMIT}; "
            f"choose a shorter one, such as {SYSTEM_PATH}",
            USAGE,
        )
    return path
