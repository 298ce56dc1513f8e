"""What acpbot answers to permission requests by itself: shown, logged and audited, however often an agent asks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from acpbot.acp import permissions
from acpbot.sessions.turn import PermissionNote

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.acp.schema import PermissionOption
    from acpbot.sessions.questions import Question
    from acpbot.sessions.turn import AnswerReason, PermissionRequest

SHOWN_MOST: Final = 3
"""Notes of one turn that its thread reads singly; the rest is one line with a count."""

RECORDED_MOST: Final = 20
"""The same for the log and the audit."""

_BECAUSE: Final[dict[AnswerReason, str]] = {
    "policy": "by policy",
    "always": "by an earlier Always",
    "timeout": "because it timed out",
    "too_many": "because there were too many requests",
    "no_turn": "because no message is being answered",
    "no_options": "because the agent offers no such answer",
    "unshown": "because it can't be shown in full",
    "changed": "because the agent changed it after it was shown",
    "repeated_id": "because the agent reused its id for another request",
    "unreadable": "because it isn't a valid request",
}


def verb(option: PermissionOption | None) -> str:
    """What became of a request that was answered with this option."""
    if option is None:
        return "Cancelled"
    return "Allowed" if option.kind in permissions.ALLOW else "Rejected"


def because(reason: AnswerReason) -> str:
    """Why acpbot answered by itself, as a clause for people."""
    return _BECAUSE[reason]


class PermissionNotes:
    """Collects notes, a bounded number between two calls of :meth:`flush`.

    ``show`` gets those for the thread, ``record`` those for the log and the audit.
    """

    def __init__(self, show: Callable[[PermissionNote], None], record: Callable[[PermissionNote], None]) -> None:
        self._show = show
        self._record = record
        self._count = 0
        self._not_shown: Counter[str] = Counter()
        self._not_recorded: Counter[str] = Counter()

    def answered(self, request: PermissionRequest) -> None:
        """Note a request that acpbot has answered; whoever saw it open sees there how it ended."""
        if request.reason is not None:
            text = f"{verb(request.chosen)} {_BECAUSE[request.reason]}"
            self._add(PermissionNote(text, request.line), show=not request.opened)

    def question_answered(self, question: Question) -> None:
        """Note a question that acpbot has answered."""
        if question.reason is not None:
            note = PermissionNote(f"Cancelled a question {_BECAUSE[question.reason]}", question.line)
            self._add(note, show=not question.opened)

    def unreadable(self) -> None:
        """Note a request that nobody can read."""
        self._add(PermissionNote(f"Refused {_BECAUSE['unreadable']}"), show=True)

    def flush(self) -> None:
        """Say how many more there were; count anew."""
        for counter, emit in ((self._not_shown, self._show), (self._not_recorded, self._record)):
            if counter:
                kinds = ", ".join(f"{count:,} {text[:1].lower()}{text[1:]}" for text, count in counter.items())
                emit(PermissionNote(f"{counter.total():,} more requests: {kinds}"))
            counter.clear()
        self._count = 0

    def _add(self, note: PermissionNote, *, show: bool) -> None:
        self._count += 1
        if self._count <= RECORDED_MOST:
            self._record(note)
        else:
            self._not_recorded[note.text] += 1
        if not show:
            return
        if self._count <= SHOWN_MOST:
            self._show(note)
        else:
            self._not_shown[note.text] += 1
