"""What of the places where agents run this machine lacks: tests that need it are left out, or fail.

CI names in ACPBOT_TEST_RUNTIMES what it has installed: there, a place that can't be made is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest


def leave_out(name: str, reason: str) -> NoReturn:
    """Skip, or fail where ACPBOT_TEST_RUNTIMES says that this machine has such places."""
    if name in os.environ.get("ACPBOT_TEST_RUNTIMES", "").split():
        pytest.fail(f"no {name} here: {reason}")
    pytest.skip(reason)


def bubblewrap_lacks() -> str | None:
    """Return why bubblewrap can't make a sandbox on this machine, ``None`` where it can."""
    program = shutil.which("bwrap")
    if program is None:
        return "bubblewrap is not installed"
    words = [program, "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--dev", "/dev", "true"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"bubblewrap can't make a sandbox here: {found.stderr.strip()}"
