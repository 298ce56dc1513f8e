"""Shell completion of THREAD, and of agents and owners: within a fraction of a second or none at all."""

import os
import re
from typing import Any, Final

import typer

_SECONDS: Final = 0.15  # the whole completion, with the interpreter's start, should take at most 0.3
# By command: the states of the threads with which it can do nothing; the other commands take all.
_ENDED: Final = frozenset({"suspended", "gone"})
_QUIET: Final = frozenset({"starting", "idle", "closing"})
_LEFT_OUT: Final = {
    **dict.fromkeys(("kill", "suspend", "restart"), _ENDED),
    "cancel": _ENDED | _QUIET,
    "permit": _ENDED | _QUIET | {"busy"},
    "forget": _QUIET | {"busy", "waiting", "stuck", "gone"},
}
_SAFE_ID: Final = r"[0-9A-Za-z_.:-]{1,64}"  # what a shell takes literally


def complete_thread(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """(id, state) of the threads whose id begins with ``incomplete``, and that the command can do something with.

    Empty where the daemon does not answer soon.
    """
    left_out = _LEFT_OUT.get(context.info_name or "", frozenset())
    return [
        (thread, state if isinstance(state, str) and state.isalpha() else "")
        for thread, state in ((row.get("thread_id"), row.get("state")) for row in _rows(context, suspended=True))
        if isinstance(thread, str) and thread.startswith(incomplete) and re.fullmatch(_SAFE_ID, thread)
        if str(state) not in left_out
    ]


def complete_agent(context: typer.Context, incomplete: str) -> list[str]:
    """The agents of all threads, suspended ones too, whose names begin with ``incomplete``."""
    return _values(context, "agent", incomplete)


def complete_owner(context: typer.Context, incomplete: str) -> list[str]:
    """The same of the owners."""
    return _values(context, "owner", incomplete)


def _values(context: typer.Context, name: str, incomplete: str) -> list[str]:
    found = {str(row.get(name) or "") for row in _rows(context, suspended=True)}
    return sorted(value for value in found if value.startswith(incomplete) and re.fullmatch(_SAFE_ID, value))


def _rows(context: typer.Context, *, suspended: bool) -> list[dict[str, Any]]:
    from acpctl import client, socket_paths  # noqa: PLC0415 - every start imports this module

    option = context.find_root().params.get("socket")
    try:
        path = socket_paths.find_socket(option if isinstance(option, str) else None, os.environ)
        with client.DaemonConnection(path, _SECONDS) as connection:
            answer = connection.call("sessions.list", {"suspended": True} if suspended else {})
            return connection.parse_rows(answer, "sessions", "sessions.list")
    except Exception:
        # Broad: whatever fails, a shell that completes a word must show no error.
        import logging  # noqa: PLC0415 - not at every start

        logging.getLogger(__name__).debug("completion failed", exc_info=True)
        return []
