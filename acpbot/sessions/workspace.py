"""Where agents work: ``<workspace>/<thread_id>/`` each, one folder for all, or a ``working_dir`` of the settings."""

from __future__ import annotations

import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, Final

from acpbot.aio import Threads
from acpbot.errors import InvalidParams, StartError
from acpbot.logs import get_logger
from acpbot.text import operator_line

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.config.settings import PoolSettings, Settings, StoreSettings
    from acpbot.storage.records import ThreadRecord

log = get_logger(__name__)

THREAD_ID: Final = re.compile(r"[0-9]{1,20}|[a-z0-9-]{1,64}")
WARM: Final = "warm"
"""The platform of the placeholder of a thread, which a process waits for."""
THREADS: Final = Threads("workspace", 64)
"""For making folders: a file system that hangs may hold up many sessions, and no session elsewhere."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check_thread_id(thread_id: str) -> str:
    """Return the id. Raises InvalidParams for one that must never become a path."""
    if not THREAD_ID.fullmatch(thread_id):
        raise InvalidParams(f"cannot use {thread_id[:80]!r} as a thread: use digits, or up to 64 of a-z, 0-9 and '-'")
    return thread_id


def work_folder(settings: Settings, thread: ThreadRecord) -> str:
    """The folder in which the thread's agent works, as the settings are now; nothing is created.

    The thread id must be checked before: see :func:`check_thread_id`.
    """
    channel, agent = settings.channel(thread.channel), settings.agents.get(thread.agent)
    for bound in (channel, agent):
        if bound is not None and bound.working_dir is not None:
            return str(bound.working_dir)
    pool = settings.pool
    is_for_all = pool.workspace_mode == "shared" or thread.platform == WARM
    return str(pool.workspace) if is_for_all else f"{pool.workspace}/{thread.thread_id}"


def has_own_folder(settings: Settings, thread: ThreadRecord) -> bool:
    """Whether the thread works in a folder that is meant for it alone. Looks at names only, not at the disk."""
    return work_folder(settings, thread) == f"{settings.pool.workspace}/{thread.thread_id}"


def has_own_files(settings: Settings, thread: ThreadRecord) -> bool:
    """Whether the thread's files are its own and are removed with it: its folder, or its volume in a cluster."""
    agent = settings.agents.get(thread.agent)
    return has_own_folder(settings, thread) or (agent is not None and agent.runtime == "kubernetes")


def make_folder(settings: PoolSettings, path: Path) -> None:
    """Make sure that an agent can work in ``path``. Blocks, for as long as the file system does.

    A folder in ``[pool] workspace`` is made with mode 0700, and no link is followed. One that is there already must be
    a directory of the daemon's own user; rights of others are taken away. A ``working_dir`` must be there. Raises
    StartError.
    """
    workspace = settings.workspace
    try:
        if path == workspace:
            os.close(_open_workspace(workspace))
        elif path.parent == workspace:
            _make_in_workspace(workspace, path.name)
        elif not path.is_dir():
            raise StartError(f"cannot work in {path}: it is not a directory; create it, or change working_dir")
    except OSError as error:
        reason = error.strerror or error
        raise _refused(path, f"{reason}; see [pool] workspace") from None


def homes(settings: StoreSettings) -> Path:
    """Where the HOMEs of threads are: beside the database."""
    return settings.path.parent / "homes"


def make_home(settings: StoreSettings, thread_id: str) -> Path:
    """Make sure that a thread has a HOME of its own, with mode 0700; return it. Blocks.

    The thread id must be checked before: see :func:`check_thread_id`. Raises StartError.
    """
    folder = homes(settings) / thread_id
    try:
        _make_in_workspace(folder.parent, folder.name)
    except OSError as error:
        raise _refused(folder, f"{error.strerror or error}; see [store] path") from None
    return folder


def _make_in_workspace(workspace: Path, name: str) -> None:
    root = _open_workspace(workspace)
    try:
        try:
            os.mkdir(name, 0o700, dir_fd=root)
        except FileExistsError:
            _check_folder(workspace / name, os.stat(name, dir_fd=root, follow_symlinks=False))
        folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=root)
        try:
            found = os.fstat(folder)
            _check_folder(workspace / name, found)
            if found.st_mode & _OTHERS:
                log.warning("workspace_closed_to_others", folder=str(workspace / name), mode=oct(found.st_mode & 0o777))
                os.fchmod(folder, stat.S_IMODE(found.st_mode) & ~_OTHERS)
        finally:
            os.close(folder)
    finally:
        os.close(root)


def _open_workspace(workspace: Path) -> int:
    """A descriptor of the folder of all workspaces, made where it is missing; links on the way are the operator's."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = os.open(workspace, _FOLDER)
    found = os.fstat(root)
    if found.st_uid not in {0, os.geteuid()}:
        os.close(root)
        raise _refused(workspace, "it belongs to another user; name a folder of the daemon's user in [pool] workspace")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        os.close(root)
        raise _refused(workspace, "every user can write there; run chmod o-w on it, or change [pool] workspace")
    return root


def _check_folder(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "a file"
        raise _refused(path, f"{kind} with that name already exists; find out who made it, and remove it")
    if found.st_uid != os.geteuid():
        raise _refused(path, "it belongs to another user; find out who made it, and move it away")


def _refused(path: Path, reason: str) -> StartError:
    return StartError(operator_line(f"cannot make the workspace {path}: {reason}"))


def remove_folders(settings: Settings, thread: ThreadRecord) -> None:
    """Remove a forgotten thread's own folder and its HOME, and never anything else. Blocks.

    No target of a link is removed, and no shared folder. Raises nothing: what can't be removed stays, and is logged.
    """
    if has_own_folder(settings, thread):
        _remove_folder(settings.pool.workspace, thread)
    _remove_folder(homes(settings.store), thread)


def _remove_folder(parent: Path, thread: ThreadRecord) -> None:
    folder = parent / thread.thread_id
    if folder.is_symlink() or not folder.is_dir() or folder.resolve() != parent.resolve() / thread.thread_id:
        return
    try:
        # It works by descriptors: a link that replaces a folder meanwhile is not followed (shutil, Linux).
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("workspace_not_removed", thread=thread.thread_id, folder=str(folder), error=str(error))
    else:
        log.info("workspace_removed", thread=thread.thread_id, folder=str(folder))
