"""`acpbot run`: load the configuration and run the daemon."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acpbot import logs
from acpbot.config import loader
from acpbot.config.checks import token_variables
from acpbot.daemon.daemon import Daemon
from acpbot.daemon.hardening import forget_variables, protect_memory
from acpbot.errors import AcpbotError, StartError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

log = get_logger(__name__)


def run(config: Path | None, socket: str | None, environ: MutableMapping[str, str], *, stop_at_eof: bool) -> None:
    """Run the daemon until it is stopped. Raises ``ConfigError`` and ``StartError``.

    ``config`` and ``socket`` are --config and --socket, or ``None``. At SIGHUP the daemon loads the same file again.
    The bot token leaves ``environ``, of which agents inherit what their settings name.
    """
    protect_memory()
    variables = dict(environ)  # what ${NAME} means, also when the configuration is read again
    load = loader.reader(config, variables)
    settings = load()
    forget_variables(environ, token_variables(settings.discord))
    path = loader.socket_path(settings, socket, environ) if settings.management.enabled else None
    token = () if settings.discord is None else (str(settings.discord.bot_token),)
    logs.configure(settings.log.level, settings.log.format, secrets=token)
    daemon = Daemon(settings, path, environ, reload=load)
    try:
        asyncio.run(daemon.run(stop_at_eof=stop_at_eof))
    except (AcpbotError, KeyboardInterrupt):
        raise
    except BaseException as error:
        # Broad: the traceback belongs into the log, and a person at a terminal must get a sentence.
        log.exception("daemon_crashed")
        raise StartError(f"cannot go on: internal error ({type(error).__name__}), see the log") from None
