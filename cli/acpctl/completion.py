"""Completion of THREAD: the ids that live now, at once or not at all."""

import os
import re
from typing import Final

import typer

_SECONDS: Final = 0.15  # the whole, the interpreter's start included, is to be there within 0.3
_ID: Final = r"[0-9A-Za-z_.:-]{1,64}"  # what a shell takes as it stands


def threads(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """(id, what it is) of the sessions whose id begins with ``incomplete``; empty where that can't be told soon."""
    from acpctl import client  # noqa: PLC0415 - the same
    from acpctl import socket_paths as sockets  # noqa: PLC0415 - this module is imported at every start

    option = context.find_root().params.get("socket")
    try:
        path = sockets.find(option if isinstance(option, str) else None, os.environ)
        with client.connect(path, _SECONDS) as connection:
            rows = connection.rows(connection.call("sessions.list"), "sessions", "sessions.list")
            found = [(row.get("thread_id"), row.get("state")) for row in rows]
        return [
            (thread, state if isinstance(state, str) and state.isalpha() else "")
            for thread, state in found
            if isinstance(thread, str) and thread.startswith(incomplete) and re.fullmatch(_ID, thread)
        ]
    except Exception:
        # A shell that completes a word is no place to tell of any error, whatever it is.
        import logging  # noqa: PLC0415 - not at every start

        logging.getLogger(__name__).debug("completion failed", exc_info=True)
        return []
