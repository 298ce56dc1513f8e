"""Reads a file of a thread's folder for a person: beneath that folder, without following a link. Blocks.

An agent may change the folder at any moment, so a path is never looked up as a whole: each part is opened in the
directory that was opened before (openat(2)), with O_NOFOLLOW, and `..` is refused. What an agent puts in the place of a
directory meanwhile changes nothing: the directory that is open stays the same one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from typing import TYPE_CHECKING, Final

from acpbot.aio import Threads
from acpbot.errors import AcpbotError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = get_logger(__name__)

THREADS: Final = Threads("files for people", 4)
"""For the calls of this module: a file system that hangs holds up nothing else."""

PATH_MOST: Final = 4096
"""Characters of a path. Source: PATH_MAX, limits.h(0p)."""

LISTED_MOST: Final = 2000
"""Entries of one directory that are looked at for proposals."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK the open of a FIFO would wait for somebody who writes.
_FILE: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class FileNotRead(AcpbotError):
    """A person gets no file; the text is a sentence for them, without the path."""


NOT_FOUND: Final = "There's no such file in this thread's folder."
NO_FOLDER: Final = "This thread has no folder yet."
ELSEWHERE: Final = "This thread's files are in the cluster, where I can't read them."
OUTSIDE: Final = "I can only read files in this thread's folder."
LINK: Final = "That's a link, or goes through one. I don't follow links."
NOT_REGULAR: Final = "That isn't a regular file."
NO_ACCESS: Final = "I'm not allowed to read that file."
UNREADABLE: Final = "I can't read that file. An admin can check the log."


def read_file(workspace: Path, folder: Path, path: str, most: int) -> bytes:
    """The content of a regular file at ``path`` in ``folder``; ``workspace`` is the folder of all threads' folders.

    ``path`` is relative to the folder, or begins with it. Raises FileNotRead, also where it has over ``most`` bytes.
    """
    parts = parts_of(folder, path)
    if not parts:
        raise FileNotRead(NOT_REGULAR)
    with _refusals(), _opened(workspace, folder, parts[:-1]) as directory:
        _check(os.stat(parts[-1], dir_fd=directory, follow_symlinks=False), most)
        file = os.open(parts[-1], _FILE, dir_fd=directory)
        try:
            _check(os.fstat(file), most)  # it may be another one than a moment ago
            return _read(file, most)
        finally:
            os.close(file)


def list_paths(workspace: Path, folder: Path, typed: str, most: int) -> list[str]:
    """Paths of files and directories that begin with ``typed``, which end in `/` for directories; ``most`` of them.

    Raises FileNotRead.
    """
    before, _, start = typed.rpartition("/")
    parts = parts_of(folder, before) if before else []
    prefix = "".join(f"{part}/" for part in parts)
    found: list[str] = []
    with _refusals(), _opened(workspace, folder, parts) as directory, os.scandir(directory) as entries:
        for entry in itertools.islice(entries, LISTED_MOST):
            is_folder = entry.is_dir(follow_symlinks=False)
            fits = entry.name.casefold().startswith(start.casefold()) and entry.name.isprintable()
            if fits and (is_folder or entry.is_file(follow_symlinks=False)):
                found.append(f"{prefix}{entry.name}{'/' * is_folder}")
    return sorted(found, key=lambda name: (name.startswith("."), name))[:most]


def parts_of(folder: Path, path: str) -> list[str]:
    """The names that lead from the folder to the file. Looks at the text only. Raises FileNotRead."""
    path = path.strip()
    if len(path) > PATH_MOST or "\0" in path:
        raise FileNotRead(NOT_FOUND)
    if path.startswith("/"):
        beneath = path.removeprefix(f"{folder}/")
        if beneath == path:
            raise FileNotRead(OUTSIDE)
        path = beneath
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise FileNotRead(OUTSIDE)
    return parts


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn what the system says into sentences."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotRead(NOT_FOUND) from None
    except PermissionError:
        raise FileNotRead(NO_ACCESS) from None
    except UnicodeEncodeError:  # half of a surrogate pair is in no file's name
        raise FileNotRead(NOT_FOUND) from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # what was looked at has become a link meanwhile
            raise FileNotRead(LINK) from None
        if error.errno == errno.ENAMETOOLONG:
            raise FileNotRead(NOT_FOUND) from None
        log.warning("file_not_read", error=str(error))
        raise FileNotRead(UNREADABLE) from None


@contextlib.contextmanager
def _opened(workspace: Path, folder: Path, parts: list[str]) -> Iterator[int]:
    """A descriptor of a directory beneath the folder. Raises FileNotRead, OSError."""
    # Links on the way to a folder that the operator has named are the operator's; the threads' own are made by us.
    is_own = folder.parent == workspace
    try:
        directory = os.open(workspace if is_own else folder, _FOLDER)
    except FileNotFoundError:
        raise FileNotRead(NO_FOLDER) from None
    try:
        for part in [folder.name, *parts] if is_own else parts:
            inner = _open_in(directory, part)
            os.close(directory)
            directory = inner
        yield directory
    finally:
        os.close(directory)


def _open_in(directory: int, name: str) -> int:
    """A directory in one that is open. Raises FileNotRead for a link, OSError."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=directory)
    except NotADirectoryError:  # of a link too, with these flags: open(2)
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise FileNotRead(LINK) from None
        raise


def _check(found: os.stat_result, most: int) -> None:
    """Raise FileNotRead where it is no regular file, or a too large one."""
    if stat.S_ISLNK(found.st_mode):
        raise FileNotRead(LINK)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotRead(NOT_REGULAR)
    if found.st_size > most:
        raise FileNotRead(_too_large(most))


def _read(file: int, most: int) -> bytes:
    """All of a file, which may grow meanwhile. Raises FileNotRead, OSError."""
    pieces: list[bytes] = []
    left = most + 1
    while left > 0 and (piece := os.read(file, min(left, 1024 * 1024))):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0:
        raise FileNotRead(_too_large(most))
    return b"".join(pieces)


def _too_large(most: int) -> str:
    return f"That file is too large. I can post up to {most // (1024 * 1024)} MiB."
