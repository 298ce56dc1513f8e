"""How a session ended, for those who look later: a record, and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.runtimes.runtime import exit_text
from acpbot.sessions.stderr_cause import find_cause
from acpbot.storage.records import LastEnd
from acpbot.text import one_line
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from acpbot.runtimes.runtime import AgentProcess
    from acpbot.sessions.views import Reason

_DETAIL_LENGTH: Final = 500
_WANTED: Final = frozenset({"killed", "suspended", "stopped"})


def last_end(reason: Reason, detail: str | None, process: AgentProcess | None, at: float) -> LastEnd:
    """The record of an end at ``at`` (Unix time).

    ``detail`` is what the thread reads; of a crash it is what the agent's stderr says, where that says anything.
    """
    code = None if process is None else process.returncode
    why = None if process is None else process.end_reason
    if reason in _WANTED:
        detail = None  # what the thread reads says no more
    if reason == "crashed" and process is not None:
        cause = find_cause(process.stderr.lines()).text.removeprefix("it wrote: ")
        detail = cause or (detail if code is None else None)
        if process.place is not None and why is not None:  # its engine knows more than the exit code
            detail = f"{why}; {cause}" if cause else why
    text = one_line((detail or "").removeprefix("cannot go on: "), _DETAIL_LENGTH)
    return LastEnd(at=rfc3339(at), reason=reason, exit_code=code, detail=text or None)


def sentence(end: LastEnd) -> str:
    """One line that says so, for the thread's output."""
    code = f", {exit_text(end.exit_code)}" if end.exit_code is not None and end.reason == "crashed" else ""
    return f"This session has ended ({end.reason}{code}){': ' if end.detail else '.'}{end.detail or ''}"
