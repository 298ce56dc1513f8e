"""What is known of a chat thread, whether or not an agent runs for it; and where its agent works."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from acpbot.errors import InvalidParams, StartError
from acpbot.sessions.views import Row
from acpbot.storage.records import ThreadRecord
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from acpbot.sessions.views import State

THREAD_ID: Final = re.compile(r"[0-9]{1,20}|[a-z0-9-]{1,64}")
TITLE_LENGTH: Final = 80


def check_thread_id(thread_id: str) -> str:
    """The id as it stands. Raises InvalidParams for what must never become a path."""
    if not THREAD_ID.fullmatch(thread_id):
        raise InvalidParams(f"cannot use {thread_id[:80]!r} as a thread: digits, or up to 64 of a-z, 0-9 and '-'")
    return thread_id


def title_from(text: str) -> str | None:
    """A title out of a prompt: its first line that says something, 80 characters at most."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…") or None


def _now() -> str:
    return rfc3339()


class Thread:
    """One chat thread. ``acp_session_id`` outlives processes, ours too: it is what a resume needs.

    ``used_at``: when its last turn or session ended, or it began (Unix time, seconds). ``created_at``: RFC 3339 UTC,
    now where it is left out. Ten thousand are restored at a start: what one needs only once it is used is made then.
    """

    def __init__(
        self,
        thread_id: str,
        *,
        platform: str,
        agent: str,
        owner: str | None,
        cwd: str,
        used_at: float,
        created_at: str | None = None,
    ) -> None:
        self.thread_id = check_thread_id(thread_id)
        self.platform = platform
        self.agent = agent
        self.owner = owner
        self._cwd = cwd
        self.title: str | None = None
        self.created_at = created_at or _now()
        self.acp_session_id: str | None = None
        self.resumable = False
        self.turns = 0
        self.used_at = used_at
        self.chosen: dict[str, str] = {}
        """What people set: ``mode``, ``model`` and the like; set again in the next session."""

    @classmethod
    def restored(cls, record: ThreadRecord) -> Thread:
        """The thread of an earlier life."""
        thread = cls(
            record.thread_id,
            platform=record.platform,
            agent=record.agent,
            owner=record.owner,
            cwd=record.cwd,
            used_at=record.used_at,
            created_at=record.created_at,
        )
        thread.title = record.title
        thread.acp_session_id, thread.resumable = record.acp_session_id, record.resumable
        thread.turns, thread.chosen = record.turns, dict(record.chosen)
        return thread

    @cached_property
    def cwd(self) -> Path:
        """Where its agent works."""
        return Path(self._cwd)

    def record(self) -> ThreadRecord:
        """What must outlive this process."""
        return ThreadRecord(
            thread_id=self.thread_id,
            platform=self.platform,
            agent=self.agent,
            owner=self.owner,
            cwd=self._cwd,
            title=self.title,
            created_at=self.created_at,
            used_at=self.used_at,
            acp_session_id=self.acp_session_id,
            resumable=self.resumable,
            turns=self.turns,
            chosen=dict(self.chosen),
        )

    def suspended_row(self, state: State = "suspended") -> Row:
        """The row of a thread without a process."""
        return Row(
            thread_id=self.thread_id,
            session_id=None,
            platform=self.platform,
            agent=self.agent,
            state=state,
            alive=False,
            cwd=self._cwd,
            title=self.title,
            owner=self.owner,
            created_at=self.created_at,
            idle_seconds=None,
            turn_seconds=None,
            silent_seconds=None,
            activity=None,
            waiting_for=None,
            queued=0,
            turns=self.turns,
            pid=None,
            processes=None,
            rss_bytes=None,
            cpu_seconds=None,
            acp_session_id=self.acp_session_id,
            resumable=self.resumable,
        )


class Workspace:
    """Where agents work: ``<root>/<thread_id>/`` each, or ``root`` for all, or an agent's own ``working_dir``."""

    def __init__(self, root: Path, mode: Literal["thread", "shared"]) -> None:
        self.root = root
        self.mode = mode

    def path(self, thread_id: str, working_dir: Path | None = None) -> Path:
        """The directory for a thread; nothing is made."""
        if working_dir is not None:
            return working_dir
        return self.root if self.mode == "shared" else self.root / check_thread_id(thread_id)

    def make(self, path: Path) -> None:
        """Make a directory of ours, 0700. Raises StartError for one that is missing or can't be made."""
        try:
            if path.is_relative_to(self.root):
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.mkdir(mode=0o700, exist_ok=True)
            if not path.is_dir():
                raise StartError(f"cannot work in {path}: it is not a directory; make it, or mend working_dir")
        except OSError as error:
            reason = error.strerror or error
            raise StartError(f"cannot make the workspace {path}: {reason}; mend [pool] workspace") from None
