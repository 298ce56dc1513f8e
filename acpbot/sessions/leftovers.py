"""What sessions may have left: ends that nobody could verify, and processes that belong to no session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.logs import get_logger
from acpbot.sessions.views import KillResult
from acpbot.storage.records import PlaceRecord

if TYPE_CHECKING:
    from acpbot.runtimes.registry import Runtimes
    from acpbot.sessions.session import Session
    from acpbot.sessions.session_table import SessionTable
    from acpbot.sessions.terminate import TerminationResult
    from acpbot.sessions.views import Outcome, Target
    from acpbot.storage.store import Store

log = get_logger(__name__)

_RETRY_SECONDS: Final = 30.0
_UNPROVEN_MOST: Final = 1_000


class Leftovers:
    """What is known of it; the sessions whose end is tried again are in ``table.unverified``."""

    def __init__(self, runtimes: Runtimes, store: Store, table: SessionTable) -> None:
        self._retry_at = table.unverified
        self._runtimes = runtimes
        self._store = store
        self._strays: set[str] = set()
        self._unproven: dict[str, None] = {}  # ids of ended sessions for which nobody could look, the latest ones

    @property
    def count(self) -> int:
        """How many processes belong to no session, or are left of one that has ended, as far as is known."""
        left = 0
        for session in self._retry_at:
            found = None if session.ending is None else session.ending.processes_left
            left += 1 if found is None else found
        return sum(map(len, self._runtimes.strays.values())) + left

    def session_ended(self, session: Session, now: float) -> bool:
        """Note how a try to end a session went; whether it was not the first one."""
        is_retry = self._retry_at.pop(session, None) is not None
        if session.ending is None or not session.ending.ended:
            self._retry_at[session] = now + _RETRY_SECONDS
            return is_retry
        self._store.process_ended(session.session_id)
        if session.ending.proof == "none":
            self._unproven[session.session_id] = None
            if len(self._unproven) > _UNPROVEN_MOST:
                del self._unproven[next(iter(self._unproven))]
        return is_retry

    def remember_strays(self) -> None:
        """Store how a later daemon finds what belongs to no session."""
        strays = {}
        for kind, refs in self._runtimes.strays.items():
            for ref in refs:
                record = PlaceRecord(f"stray-{'-'.join(map(str, ref.values()))}", kind, ref)
                strays[record.session_id] = record
        for name in strays.keys() - self._strays:
            log.warning("stray_process_found", **strays[name].ref)
            self._store.process_started(strays[name])
        for name in self._strays - strays.keys():
            self._store.process_ended(name)
        self._strays = set(strays)

    def untouched(self, target: Target, outcome: Outcome) -> KillResult:
        """The result for a target that has ended before: what was known of it then."""
        unproven = target.session_id in self._unproven
        return KillResult(
            thread_id=target.thread_id,
            session_id=target.session_id,
            outcome=outcome,
            processes_left=None if unproven else 0,
            proof="none" if unproven else "system",
        )


def kill_result(target: Target, ending: TerminationResult, *, resumable: bool) -> KillResult:
    """How a target was ended."""
    return KillResult(
        thread_id=target.thread_id,
        session_id=target.session_id,
        outcome="failed" if ending.processes_left or ending.alive else "ended",
        reached=ending.reached,
        processes_ended=ending.processes_ended,
        processes_left=ending.processes_left,
        proof=ending.proof,
        seconds=round(ending.seconds, 3),
        resumable=resumable,
    )
