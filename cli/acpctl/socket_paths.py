"""Where the daemon's socket is looked for (DESIGN section 4): named, or the first default place where one stands."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from acpctl.exit_codes import DENIED, UNREACHABLE, USAGE, Failure
from acpctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_LIMIT: Final = 107  # bytes: sun_path of unix(7) has 108, the last one a NUL
RUN: Final = "/run/acpbot/acpbot.sock"
WAY_OUT: Final = "is it running? start it with `acpbot run`, or name its socket with --socket or ACPBOT_SOCKET"


class Place(NamedTuple):
    """A path where the socket may be, and what named it (``--socket``, ``ACPBOT_SOCKET``, ``default``)."""

    path: str
    origin: str

    @property
    def named(self) -> bool:
        """Somebody named it, so that nothing else is tried."""
        return self.origin != "default"


def places(option: str | None, environ: Mapping[str, str]) -> list[Place]:
    """The search order. Raises ``Failure`` for a named path that can't be a socket's."""
    if option is not None:
        return [Place(_checked(option, "--socket"), "--socket")]
    if named := environ.get("ACPBOT_SOCKET"):
        return [Place(_checked(named, "ACPBOT_SOCKET"), "ACPBOT_SOCKET")]
    found = [RUN]
    if (runtime := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        found.append(str(Path(runtime, "acpbot", "acpbot.sock")))
    temporary = environ.get("TMPDIR", "")
    folder = temporary if temporary.startswith("/") else "/tmp"  # noqa: S108 - `trusted` looks at the folder's owner
    found.append(str(Path(folder, f"acpbot-{os.getuid()}", "acpbot.sock")))
    return [Place(path, "default") for path in found if len(os.fsencode(path)) <= PATH_LIMIT]


def find(option: str | None, environ: Mapping[str, str]) -> str:
    """The path to connect to. Raises ``Failure`` (exit 6, or 4) where no socket stands at any default place."""
    tried = places(option, environ)
    if tried[0].named:
        return tried[0].path
    denied = ""
    for place in tried:
        try:
            if stands(place.path) and trusted(place.path):
                return place.path
        except PermissionError:
            denied = denied or place.path
    if denied:
        raise unreachable(denied, PermissionError())
    *others, last = [clean(place.path) for place in tried]
    where = f"{', '.join(others)} or {last}" if others else last
    raise Failure(f"cannot reach acpbot at {where}: no such file; {WAY_OUT}", UNREACHABLE)


def stands(path: str) -> bool:
    """Whether a socket stands there. ``PermissionError`` where a folder on the way may not be entered."""
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except PermissionError:
        raise
    except OSError:
        return False


def trusted(path: str) -> bool:
    """Whether the socket's folder is ours or root's to fill: in /tmp anybody may have made it before the daemon did."""
    return path == RUN or Path(path).parent.stat().st_uid in (0, os.getuid())


def unreachable(path: str, error: OSError) -> Failure:
    """What to tell of a socket that can't be connected to."""
    shown = clean(path)
    if isinstance(error, PermissionError):
        advice = "ask for membership in its group ([management] socket_group), or run acpctl as acpbot's user"
        return Failure(f"cannot reach acpbot at {shown}: permission denied; {advice}", DENIED)
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there" if _is_socket(path) else "it is not a socket"
    else:
        reason = clean(error.strerror or error).lower()
    return Failure(f"cannot reach acpbot at {shown}: {reason}; {WAY_OUT}", UNREACHABLE)


def _is_socket(path: str) -> bool:
    try:
        return stands(path)
    except PermissionError:
        return True


def _checked(path: str, origin: str) -> str:
    length = len(os.fsencode(path))
    if not path:
        raise Failure(f"cannot use {origin}: it is empty; name a socket, such as {RUN}", USAGE)
    if length > PATH_LIMIT:
        raise Failure(
            f"cannot use {origin} {clean(path)}: it has {length} bytes, and a socket's path may have {PATH_LIMIT}; "
            f"choose a shorter one, such as {RUN}",
            USAGE,
        )
    return path
