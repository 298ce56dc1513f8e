"""The forms in which a user names a thread (`acpctl show --help`), and the session of a named thread."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.errors import CliError, DaemonError
from acpctl.exit_codes import NOT_FOUND, USAGE
from acpctl.text import clean

if TYPE_CHECKING:
    from acpctl.client import DaemonConnection

_MAX_LENGTH: Final = 200
_MIN_SUFFIX: Final = 4
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
            raise _not_found(ref, error.message) from None
        raise
    if not isinstance(session, dict) or not isinstance(session.get("thread_id"), str):
        raise CliError("cannot understand acpbot's answer to sessions.get: there is no session in it")
    if ref.exact and session["thread_id"] != ref.thread:
        raise _not_found(ref, f"cannot find thread {ref.thread}")
    return session


def _not_found(ref: ThreadRef, message: str) -> CliError:
    if "acpctl" in message:
        return CliError(message, NOT_FOUND)
    short = len(ref.thread) < _MIN_SUFFIX and not ref.exact
    hint = "a suffix needs four characters or more; " if short else ""
    return CliError(f"{message}; {hint}see `acpctl sessions --all`", NOT_FOUND)
