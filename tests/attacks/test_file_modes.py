"""What other users of the machine find of a running daemon."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack


def test_no_file_of_a_running_daemon_is_open_to_other_users(tmp_path: Path) -> None:
    with DaemonProcess(tmp_path / "home") as daemon:
        with daemon.wire() as wire:
            wire.call("chat.open", thread="1")
            wire.turn("1", "say hello")
        state = tmp_path / "home" / "state" / "acpbot"
        workspace = state / "workspaces" / "1"
        assert stat.S_IMODE(workspace.stat().st_mode) == 0o700
        files = [path for path in state.rglob("*") if path.is_file() and workspace not in path.parents]
        assert state / "acpbot.sqlite3" in files
        assert [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
