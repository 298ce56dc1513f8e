"""A client of an engine that hangs or fails when told to, and is the real one else."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.runtimes.conformance.places import Place
    from tests.runtimes.conformance.scene import Agent

_CLIENT = """#!/bin/sh
read -r mode < '{folder}/mode'
case $mode in
    hang) exec sleep 1000 ;;
    refuse) echo 'Cannot connect to the engine: connection refused' >&2; exit 125 ;;
esac
exec '{program}' "$@"
"""


class FakeEngine:
    """The client, in a folder of its own; `place` has it on its PATH."""

    def __init__(self, place: Place, folder: Path) -> None:
        assert place.engine is not None
        program = shutil.which(place.engine)
        self._mode = folder / "mode"
        self.answer()
        client = folder / place.engine
        client.write_text(_CLIENT.format(folder=folder, program=program))
        client.chmod(0o755)
        self.real = place
        self.place = replace(place, environ={**place.environ, "PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}"})

    def answer(self) -> None:
        """Be the real one."""
        self._set("answer")

    def become(self, mode: str) -> None:
        """``hang``: never answer; ``refuse``: say that the engine can't be reached."""
        self._set(mode)

    def cut(self, agent: Agent) -> None:
        """End the clients that hold the connection to the agent's container."""
        names = {f"acpbot-{agent.word}", str((agent.process.place_ref or {}).get("id"))}
        found = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = (entry / "cmdline").read_text(errors="replace").split("\0")
                    if Path(words[0]).name == self.real.engine and names & set(words):
                        os.kill(int(entry.name), signal.SIGKILL)
                        found += 1
        assert found

    def close(self) -> None:
        """Nothing is held."""

    def _set(self, mode: str) -> None:
        unfinished = self._mode.with_suffix(".new")
        unfinished.write_text(f"{mode}\n")
        unfinished.rename(self._mode)
