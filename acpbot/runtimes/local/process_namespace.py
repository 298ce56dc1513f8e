"""A process namespace for one agent: whatever it starts ends with the namespace's first process, in the kernel.

It is made by unshare(1) of util-linux. Without root's rights it takes a user namespace, in which no program gets rights
by its set-user-ID bit: sudo does not work there.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from typing import Final

from acpbot.runtimes.local import namespace_init
from acpbot.text import printable

_INIT: Final = (sys.executable, "-I", "-S", namespace_init.__file__)
_OPTIONS: Final = ("--pid", "--fork", "--mount-proc", "--kill-child")
_TRY_SECONDS: Final = 10


class NoNamespace(Exception):
    """The system makes no process namespace; the message says why, as a clause."""


@functools.cache
def command_prefix() -> tuple[str, ...]:
    """Return the words before a command that runs it in a process namespace. Blocks the first time.

    Raises `NoNamespace` where the system does not allow that.
    """
    program = shutil.which("unshare")
    if program is None:
        raise NoNamespace("there is no unshare program; install util-linux")
    reason = ""
    for more in ((), ("--user", "--map-current-user")):
        prefix = (program, *more, *_OPTIONS, "--", *_INIT)
        try:
            tried = subprocess.run(
                [*prefix, "/bin/sh", "-c", ":"], check=False, capture_output=True, text=True, timeout=_TRY_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
            continue
        if not tried.returncode:
            return prefix
        reason = tried.stderr.strip().rpartition("\n")[2] or f"unshare exits with {tried.returncode}"
    raise NoNamespace(f"{printable(reason)}; allow user namespaces, or run acpbot as root")
