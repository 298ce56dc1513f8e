"""The installed acpctl program, what a run of it gives, and which modules it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ACPCTL = Path(sys.executable).with_name("acpctl")
HEAVY_MODULES = {"asyncio", "rich", "prompt_toolkit", "pydantic", "aiohttp", "discord", "msgspec", "acpbot"}
# Runs acpctl as the console script does, then writes the names of all imported modules on the last line of stderr.
PRINT_IMPORTED_MODULES = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("\\n" + " ".join(sys.modules)))
sys.argv[0] = "acpctl"
from acpctl.app import main
main()
"""


class Result(NamedTuple):
    """The exit code, stdout and stderr of a run."""

    code: int
    out: str
    err: str


def imported_modules(*arguments: str) -> set[str]:
    """The names of the modules that acpctl imports; its exit code must be 0."""
    command = [sys.executable, "-c", PRINT_IMPORTED_MODULES, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())
