"""The forms in which a user names a thread (DESIGN section 5), and what the daemon says of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.exit_codes import NOT_FOUND, USAGE, Failure, Refused
from acpctl.text import clean

if TYPE_CHECKING:
    from acpctl.client import Connection

_LONGEST: Final = 200
_LEAST_SUFFIX: Final = 4
_MENTION: Final = r"<#(\d{1,20})>"
_URL: Final = (
    r"https?://(?:(?:ptb|canary)\.)?discord(?:app)?\.com/channels/(?:@me|\d+)/(?:\d+/threads/)?(\d{1,20})"
    r"(?:/\d+)?/?(?:[?#].*)?"
)


class Name(NamedTuple):
    """``thread`` is what the daemon is asked for; ``exact``: it may not be taken as a suffix."""

    given: str
    thread: str
    exact: bool


def parse(given: str) -> Name:
    """A THREAD argument. Raises ``Failure`` (exit 2) for what can't be one."""
    text = given.strip()
    if text.startswith(("<", "http://", "https://")):
        found = re.fullmatch(_MENTION, text) or re.fullmatch(_URL, text)
        if found is None:
            raise Failure(
                f"cannot read {clean(given)!r} as a thread: give its id, <#id>, "
                "or https://discord.com/channels/SERVER/THREAD",
                USAGE,
            )
        return Name(given, found[1], exact=True)
    if not text or len(text) > _LONGEST or not text.isprintable():
        raise Failure(
            f"cannot read {clean(given)[:80]!r} as a thread: give its id, or a suffix of it; see `acpctl sessions`",
            USAGE,
        )
    return Name(given, text, exact=False)


def fetch(connection: Connection, name: Name) -> dict[str, Any]:
    """The session of that thread, as ``sessions.get`` has it.

    Raises ``Refused`` or ``Failure`` (exit 5) where there is none, or where a suffix fits several.
    """
    try:
        session = connection.call("sessions.get", {"thread": name.thread}).get("session")
    except Refused as refused:
        if refused.kind == "not_found":
            raise _not_found(name, refused.message) from None
        raise
    if not isinstance(session, dict) or not isinstance(session.get("thread_id"), str):
        raise Failure("cannot understand acpbot's answer to sessions.get: there is no session in it")
    if name.exact and session["thread_id"] != name.thread:
        raise _not_found(name, f"cannot find thread {name.thread}")
    return session


def _not_found(name: Name, message: str) -> Failure:
    if "acpctl" in message:
        return Failure(message, NOT_FOUND)
    short = len(name.thread) < _LEAST_SUFFIX and not name.exact
    hint = "a suffix needs four characters or more; " if short else ""
    return Failure(f"{message}; {hint}see `acpctl sessions --all`", NOT_FOUND)
