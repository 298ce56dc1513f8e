"""Only the Discord front end and its tests import discord.py, which takes half a second and 42 MB.

The demo is run without it as well, in tests/demo.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.no_discord import without_discord

ROOT = Path(__file__).parent.parent
THEIRS = ("tests/chat/discord", "tests/fakes/test_discord_server.py", "tests/fakes/test_discord_server_*.py")
THEIRS_TOO = (
    "tests/daemon/test_daemon_discord.py",
    "tests/daemon/test_daemon_restart.py",
    "tests/daemon/test_daemon_wrong_clock.py",
    "tests/daemon/test_failed_starts_in_discord.py",
    "tests/daemon/test_upgrade.py",
    "tests/daemon/test_wiring.py",
    "tests/commands/test_check_online.py",
    "tests/packaging/test_liveness_drill.py",
    "tests/soak/test_load.py",
)

IMPORT_ALL = """
import importlib, pkgutil, sys, acpbot
for module in pkgutil.walk_packages(acpbot.__path__, "acpbot."):
    if not module.name.startswith("acpbot.chat.discord.") and module.name != "acpbot.__main__":
        importlib.import_module(module.name)
"""


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": without_discord(tmp_path)}
    argv = [sys.executable, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=environ, cwd=ROOT)


def test_all_other_modules_are_imported_without_discord_py(tmp_path):
    result = run(tmp_path, "-c", IMPORT_ALL)
    assert result.returncode == 0, result.stderr


def test_the_front_end_needs_discord_py(tmp_path):
    result = run(tmp_path, "-c", "import acpbot.chat.discord.discord_chat")
    assert "ImportError: discord.py was imported" in result.stderr


def test_every_test_that_needs_no_discord_is_collected_without_it(tmp_path):
    ignored = [f"--ignore-glob={path}" for path in (*THEIRS, *THEIRS_TOO)]
    result = run(tmp_path, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *ignored, "tests")
    assert result.returncode == 0, result.stdout[-3000:]
