"""The forms in which a user names a thread (`acpctl show --help`), and the session of a named thread."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.client import objects
from acpctl.errors import CliError, DaemonError
from acpctl.exit_codes import NOT_FOUND, USAGE
from acpctl.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpctl.client import DaemonConnection

_MAX_LENGTH: Final = 200
_MIN_SUFFIX: Final = 4
_MOST_MEANT: Final = 3
_MENTION: Final = r"<#(\d{1,20})>"
_URL: Final = (
    r"https?://(?:(?:ptb|canary)\.)?discord(?:app)?\.com/channels/(?:@me|\d+)/(?:\d+/threads/)?(\d{1,20})"
    r"(?:/\d+)?/?(?:[?#].*)?"
)


class ThreadRef(NamedTuple):
    """``argument`` is what the user typed, ``thread`` what we ask the daemon for; ``exact``: it is not a suffix."""

    argument: str
    thread: str
    exact: bool


def parse_thread(argument: str) -> ThreadRef:
    """Read a THREAD argument. Raises ``CliError`` (exit 2) for one that names no thread in any form."""
    text = argument.strip()
    if text.startswith(("<", "http://", "https://")):
        found = re.fullmatch(_MENTION, text) or re.fullmatch(_URL, text)
        if found is None:
            raise CliError(
                f"cannot read {clean(argument)!r} as a thread: give its id, <#id>, "
                "or https://discord.com/channels/SERVER/THREAD",
                USAGE,
            )
        return ThreadRef(argument, found[1], exact=True)
    if not text or len(text) > _MAX_LENGTH or not text.isprintable():
        raise CliError(
            f"cannot read {clean(argument)[:80]!r} as a thread: give its id, or a suffix of it; see `acpctl sessions`",
            USAGE,
        )
    return ThreadRef(argument, text, exact=False)


def fetch_session(connection: DaemonConnection, ref: ThreadRef) -> dict[str, Any]:
    """The thread's session, as ``sessions.get`` returns it.

    Raises ``CliError`` (exit 5) where there is none, or where a suffix fits several threads.
    """
    try:
        session = connection.call("sessions.get", {"thread": ref.thread}).get("session")
    except DaemonError as error:
        if error.kind == "not_found":
            raise _not_found(ref, error.message, _meant(connection, ref)) from None
        raise
    if not isinstance(session, dict) or not isinstance(session.get("thread_id"), str):
        raise CliError("cannot understand acpbot's answer to sessions.get: there is no session in it")
    if ref.exact and session["thread_id"] != ref.thread:
        raise _not_found(ref, f"cannot find thread {ref.thread}")
    return session


def fetch_sessions(
    connection: DaemonConnection,
    refs: list[ThreadRef],
    *,
    exact: bool,
    verb: str,
    check: Callable[[dict[str, Any]], str] = lambda _row: "",
    done: str = "done",
) -> list[dict[str, Any]]:
    """The session of each thread, once. Raises one ``CliError`` for all threads to which it can't be done.

    ``verb`` is what the user wants to do; ``exact``: without asking, so that a suffix will not do. ``check`` says why
    it can't be done to a session, as a clause; empty where it can. ``done`` is the participle of the verb.
    """
    found: dict[str, dict[str, Any]] = {}
    problems: list[CliError] = []
    for ref in refs:
        try:
            row = fetch_session(connection, ref)
        except CliError as error:
            if error.exit_code != NOT_FOUND:
                raise
            problems.append(error)
            continue
        thread = clean(row["thread_id"])
        if exact and row["thread_id"] != ref.thread:
            advice = f"--yes takes exact ids only, and this one is {thread}"
            problems.append(CliError(f"cannot {verb} {clean(ref.argument)} without asking: {advice}", USAGE))
        elif reason := check(row):
            problems.append(CliError(f"cannot {verb} {thread}: {reason}", NOT_FOUND))
        found[row["thread_id"]] = row
    if problems:
        lines = [problem.message for problem in problems]
        if len(refs) > 1:
            lines.append(f"nothing was {done}")
        raise CliError("\n".join(lines), max(problem.exit_code for problem in problems))
    return list(found.values())


def not_running(row: dict[str, Any]) -> str:
    """Why a session can't be ended, as a clause: no process runs for the thread; empty where one does."""
    if row.get("session_id") is not None:
        return ""
    return f"it is {clean(row.get('state'))}; no process runs for it; its next message starts one"


def _meant(connection: DaemonConnection, ref: ThreadRef) -> str:
    """What a user may mean who gives the beginning of an id, or words of a title, as a clause; empty where unclear."""
    text = ref.thread.casefold()
    if ref.exact or len(text) < _MIN_SUFFIX:
        return ""
    rows = objects(connection.call("sessions.list", {"suspended": True}).get("sessions"))
    begin = [clean(row.get("thread_id")) for row in rows if clean(row.get("thread_id")).casefold().startswith(text)]
    if len(begin) > 1:
        return f"{len(begin):,} threads begin like that: give the end of an id; see `acpctl sessions --all`"
    titled = [clean(row.get("thread_id")) for row in rows if text in clean(row.get("title")).casefold()]
    found = begin or titled
    return f"did you mean {' or '.join(found)}?" if 0 < len(found) <= _MOST_MEANT else ""


def _not_found(ref: ThreadRef, message: str, meant: str = "") -> CliError:
    if meant:
        return CliError(f"{message.partition('; ')[0]}; {meant}", NOT_FOUND)
    if "acpctl" in message:
        return CliError(message, NOT_FOUND)
    short = len(ref.thread) < _MIN_SUFFIX and not ref.exact
    hint = "a suffix needs four characters or more; " if short else ""
    return CliError(f"{message}; {hint}see `acpctl sessions --all`", NOT_FOUND)
