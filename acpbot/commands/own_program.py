"""How a person calls a program of this installation in a shell: by its name, or by its path."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.config.paths import current_directory

if TYPE_CHECKING:
    from collections.abc import Mapping


def shell_name(program: str, environ: Mapping[str, str], *, executable: str = sys.executable) -> str:
    """What to type for ``program`` (``acpbot`` or ``acpctl``) in this folder, quoted for a shell.

    The name only where PATH leads to the program beside ``executable``, and would in another terminal too: the PATH of
    an activated virtual environment does not.
    """
    own = Path(executable).with_name(program)
    if not os.access(own, os.X_OK):
        return program
    found = shutil.which(program, path=environ.get("PATH", os.defpath))
    activated = environ.get("VIRTUAL_ENV", "")
    if found is not None and own.samefile(found) and not (activated and own.is_relative_to(activated)):
        return program
    here = current_directory()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))
