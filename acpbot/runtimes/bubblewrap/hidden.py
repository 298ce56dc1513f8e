"""Which files are the daemon's own, by its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.runtimes.bubblewrap.sandbox import Hidden
from acpbot.runtimes.homes import HOMES, LOGINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.config.settings import Settings


def hidden_files(settings: Settings, socket: Path | None, environ: Mapping[str, str]) -> Hidden:
    """Return them. ``socket``: the path of the management socket, or ``None``."""
    state = settings.store.path.parent.absolute()
    token = None if settings.discord is None else settings.discord.bot_token_file
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    config = settings.source
    files = [
        *([Path(config).absolute()] if config and os.path.exists(config) else []),  # noqa: PTH110 - it may be a name only
        *([] if token is None else [token.absolute()]),
        *([] if socket is None else [socket.absolute()]),
        *([Path(credentials)] if credentials else []),
    ]
    return Hidden(state=state, folders=(state / HOMES, state / LOGINS, settings.pool.workspace), files=tuple(files))
