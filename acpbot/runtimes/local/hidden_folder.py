"""Whether agents of this machine can be kept from the folder that holds the bot token: in a container, mostly.

They run as acpbot's own user, so file modes keep nothing from them, and Landlock does. It also takes mount(2) away,
which some agents need for a sandbox of their own. So it is used only where none can be made anyway, as in a container
or a pod with the usual seccomp profile. Source: landlock(7), no_new_privs in prctl(2), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acpbot.config.security import literal_token
from acpbot.logs import get_logger
from acpbot.runtimes.local.spawn_server import LANDLOCK_CREATE_RULESET

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.config.settings import Settings

log = get_logger(__name__)

_PR_GET_NO_NEW_PRIVS: Final = 39
_LANDLOCK_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_TRY_SECONDS: Final = 10.0
# CLONE_NEWUSER, in a program of its own: who may make one is in it then.
_MAKES_NAMESPACE: Final = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"


def makes_user_namespaces() -> bool:
    """Whether this user can make a user namespace here, found out by making one. Blocks for some milliseconds."""
    try:
        tried = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MAKES_NAMESPACE],
            check=False,
            capture_output=True,
            timeout=_TRY_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("user_namespaces_not_tried", reason=str(error))
        return True  # it is not known, and an agent may need one
    return tried.returncode == 0


def landlock_works() -> bool:
    """Whether this process may restrict others: the kernel has Landlock, and no_new_privs is set."""
    return kernel_has_landlock() and ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1


def kernel_has_landlock() -> bool:
    """Whether the kernel has it switched on."""
    version: int = ctypes.CDLL(None).syscall(
        ctypes.c_long(LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), _LANDLOCK_VERSION
    )
    return version > 0


def token_folder(
    settings: Settings,
    *,
    landlock: Callable[[], bool] = landlock_works,
    namespaces: Callable[[], bool] = makes_user_namespaces,
) -> Path | None:
    """Return the folder of the file with the bot token; ``None``: there is none, or agents can't be kept from it.

    A folder above it that acpbot may write is a reason against it: a file that is made there later could not be read.
    Blocks for some milliseconds.
    """
    token = None if settings.discord is None else settings.discord.bot_token_file
    if token is None and settings.source is not None and literal_token(settings.discord):
        token = Path(settings.source)
    if token is None or not landlock():
        return None
    folder = Path(os.path.realpath(token.absolute().parent))
    if folder == Path("/") or any(os.access(above, os.W_OK) for above in (folder, *folder.parents)) or namespaces():
        return None
    return folder
