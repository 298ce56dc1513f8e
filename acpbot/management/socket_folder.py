"""The folder of the management socket: nobody else may put anything in the socket's place.

Its descriptor is used for everything in the folder, so that what was checked is what is used.
Source: path_resolution(7), the sticky bit in inode(7).
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from acpbot.errors import ConfigError, StartError
from acpbot.logs import get_logger
from acpbot.text import operator_line

if TYPE_CHECKING:
    from pathlib import Path

log = get_logger(__name__)

ELSEWHERE: Final = "or choose another place with --socket"
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def open_folder(folder: Path, gid: int | None) -> int:
    """A descriptor of the folder; a missing one is made (mode 0700; with ``gid`` 0750).

    A folder that exists keeps its mode. It is refused where others could replace what is in it: it belongs to neither
    this user nor root, or others can write it (as in /tmp, the sticky bit makes that safe), or it is a symbolic link
    that belongs to neither. Raises StartError, ConfigError, OSError.
    """
    made = _make(folder)
    owner = folder.lstat()
    if stat.S_ISLNK(owner.st_mode) and not _trusted(owner):
        raise _refused(folder, f"it is a symbolic link of uid {owner.st_uid}; remove it {ELSEWHERE}")
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        raise _refused(folder, f"it is not a directory; move it away {ELSEWHERE}") from None
    try:
        status = os.fstat(descriptor)
        if made and _trusted(status):
            _set_mode(descriptor, gid)
        else:
            _check(folder, status, gid)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def foreign_group(gid: int) -> ConfigError:
    """What to raise where a file can't be given to the group. Source: chown(2)."""
    return ConfigError(
        f"cannot use [management] socket_group: acpbot's user is not in that group (gid {gid}); "
        "add it to the group, or name one of its groups"
    )


def _make(folder: Path) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return False
    return True


def _set_mode(folder: int, gid: int | None) -> None:
    if gid is not None:
        try:
            os.fchown(folder, -1, gid)
        except PermissionError:
            raise foreign_group(gid) from None
    os.fchmod(folder, 0o700 if gid is None else 0o750)


def _check(folder: Path, status: os.stat_result, gid: int | None) -> None:
    if not _trusted(status):
        raise _refused(folder, f"it belongs to uid {status.st_uid}; remove it {ELSEWHERE}")
    if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
        raise _refused(folder, f"others can write it; run chmod go-w {folder}, {ELSEWHERE}")
    if gid is not None and not _group_enters(status, gid):
        fields = {"folder": str(folder), "hint": f"chgrp it to the socket_group (gid {gid}) and chmod g+x"}
        log.warning("socket_group_has_no_access", **fields)


def _trusted(status: os.stat_result) -> bool:
    return status.st_uid in {0, os.geteuid()}


def _group_enters(status: os.stat_result, gid: int) -> bool:
    mode = status.st_mode
    return bool(mode & stat.S_IXOTH) or (status.st_gid == gid and bool(mode & stat.S_IXGRP))


def _refused(path: Path, problem: str) -> StartError:
    return StartError(operator_line(f"cannot use {path}: {problem}"))
