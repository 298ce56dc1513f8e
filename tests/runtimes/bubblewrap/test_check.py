"""`acpbot check` for an agent in bubblewrap: it starts with what the agent of a thread gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acpbot.commands.check import check
from tests.support.missing_places import bubblewrap_lacks, leave_out

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.runtimes

AGENT = '#!/bin/sh\ncat "$HOME/.codex/config.toml" "$HOME/.codex/auth.json" > seen; echo kept > "$HOME/.codex/notes"\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_agent_is_tried_with_the_settings_and_the_login_that_a_thread_gets(tmp_path: Path):
    if (missing := bubblewrap_lacks()) is not None:
        leave_out("bubblewrap", missing)
    write(tmp_path / "user/.codex/config.toml", "settings\n")
    login = write(tmp_path / "state/logins/default/.codex/auth.json", "login\n")
    program = write(tmp_path / "bin/codex-acp", AGENT)
    program.chmod(0o755)
    (tmp_path / "work").mkdir()
    config = write(
        tmp_path / "config.toml",
        f'[agent]\ncommand = "{program}"\nruntime = "bubblewrap"\nworking_dir = "{tmp_path}/work"\n'
        f'[store]\npath = "{tmp_path}/state/db"\n[pool]\nworkspace = "{tmp_path}/workspaces"\n',
    )
    config.chmod(0o600)
    environ = {"HOME": str(tmp_path / "user"), "PATH": "/usr/bin:/bin", "ACPBOT_SOCKET": str(tmp_path / "s")}
    lines: list[str] = []
    check(config, environ, lines.append, online=False)
    assert (tmp_path / "work/seen").read_text() == "settings\nlogin\n", lines
    assert list(login.parent.iterdir()) == [login], "what a try leaves behind is not in the shared login"
