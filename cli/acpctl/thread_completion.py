"""Shell completion of THREAD: the ids of the running sessions, within a fraction of a second or none at all."""

import os
import re
from typing import Final

import typer

_SECONDS: Final = 0.15  # the whole completion, with the interpreter's start, should take at most 0.3
_SAFE_ID: Final = r"[0-9A-Za-z_.:-]{1,64}"  # what a shell takes literally


def complete_thread(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """(id, state) of the sessions whose id begins with ``incomplete``; empty where the daemon does not answer soon."""
    from acpctl import client, socket_paths  # noqa: PLC0415 - every start imports this module

    option = context.find_root().params.get("socket")
    try:
        path = socket_paths.find_socket(option if isinstance(option, str) else None, os.environ)
        with client.DaemonConnection(path, _SECONDS) as connection:
            rows = connection.parse_rows(connection.call("sessions.list"), "sessions", "sessions.list")
            sessions = [(row.get("thread_id"), row.get("state")) for row in rows]
        return [
            (thread, state if isinstance(state, str) and state.isalpha() else "")
            for thread, state in sessions
            if isinstance(thread, str) and thread.startswith(incomplete) and re.fullmatch(_SAFE_ID, thread)
        ]
    except Exception:
        # Broad: whatever fails, a shell that completes a word must show no error.
        import logging  # noqa: PLC0415 - not at every start

        logging.getLogger(__name__).debug("completion failed", exc_info=True)
        return []
