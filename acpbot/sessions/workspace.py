"""Where agents work: ``<workspace>/<thread_id>/`` each, one folder for all, or an agent's own ``working_dir``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.errors import InvalidParams, StartError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.config.settings import AgentSettings, PoolSettings
    from acpbot.storage.records import ThreadRecord

log = get_logger(__name__)

THREAD_ID: Final = re.compile(r"[0-9]{1,20}|[a-z0-9-]{1,64}")


def check_thread_id(thread_id: str) -> str:
    """Return the id. Raises InvalidParams for one that must never become a path."""
    if not THREAD_ID.fullmatch(thread_id):
        raise InvalidParams(f"cannot use {thread_id[:80]!r} as a thread: digits, or up to 64 of a-z, 0-9 and '-'")
    return thread_id


def work_path(settings: PoolSettings, agent: AgentSettings, thread_id: str) -> Path:
    """The directory in which this agent works for this thread; nothing is created.

    The thread id must be checked before: see :func:`check_thread_id`.
    """
    if agent.working_dir is not None:
        return agent.working_dir
    return settings.workspace if settings.workspace_mode == "shared" else settings.workspace / thread_id


def make_folder(settings: PoolSettings, path: Path) -> None:
    """Create a directory of ours, mode 0700. Raises StartError for one that is missing or can't be created. Blocks."""
    try:
        if path.is_relative_to(settings.workspace):
            settings.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
        if not path.is_dir():
            raise StartError(f"cannot work in {path}: it is not a directory; make it, or mend working_dir")
    except OSError as error:
        reason = error.strerror or error
        raise StartError(f"cannot make the workspace {path}: {reason}; mend [pool] workspace") from None


def has_own_folder(settings: PoolSettings, thread: ThreadRecord) -> bool:
    """Whether the thread works in a folder that is meant for it alone. Looks at names only, not at the disk."""
    return settings.workspace_mode == "thread" and Path(thread.cwd) == settings.workspace / thread.thread_id


def remove_folder(settings: PoolSettings, thread: ThreadRecord) -> None:
    """Remove a forgotten thread's own folder, and never anything else: no target of a link, no shared folder. Blocks.

    Raises nothing: what can't be removed stays, and is logged.
    """
    folder = settings.workspace / thread.thread_id
    if not has_own_folder(settings, thread) or folder.is_symlink() or not folder.is_dir():
        return
    if folder.resolve() != settings.workspace.resolve() / thread.thread_id:
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
