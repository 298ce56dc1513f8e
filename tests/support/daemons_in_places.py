"""A daemon of the tests whose demo agent runs in a place of its own: its configuration, and its environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import acpbot
from tests.fakes.daemon import DaemonProcess
from tests.support.acpctl import ACPCTL, Result
from tests.support.container_engine import IMAGE
from tests.support.container_image import PYTHON as PYTHON_OF_IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.container_engine import OwnEngine

_PACKAGE: Final = Path(acpbot.__file__).parent
_ARGUMENTS: Final = 'args = ["-m", "acpbot.demo.agent"]\n'


class PlacedDemo(NamedTuple):
    """``name`` is bubblewrap, podman or docker; ``engine``: that of the containers, else ``None``."""

    name: str
    kind: str
    engine: OwnEngine | None
    python: str

    def config(self, volumes: Iterable[str] = ()) -> str:
        """The table of the agent; ``volumes``: more of them, in containers."""
        if self.engine is None:
            return (
                f'[agent]\ncommand = {json.dumps(self.python)}\n{_ARGUMENTS}runtime = "bubblewrap"\n'
                f"[agent.bubblewrap]\nreadable = [{json.dumps(str(_PACKAGE))}]\n"
            )
        return (
            f"[agent]\ncommand = {json.dumps(self.python)}\n{_ARGUMENTS}"
            f'runtime = "container"\nenv = {{ PYTHONPATH = "/opt/own" }}\n'
            f'[agent.container]\nengine = "{self.engine.name}"\nimage = "{IMAGE}"\nnetwork = "none"\n'
            f"volumes = {json.dumps([f'{_PACKAGE}:/opt/own/acpbot:ro', *volumes])}\n"
        )

    def daemon(self, folder: Path, more: str = "", *, volumes: Iterable[str] = (), **environ: str) -> DaemonProcess:
        """Start a daemon there; ``more``: more of its configuration."""
        own = {} if self.engine is None else dict(self.engine.environ)
        return DaemonProcess(folder, more + self.config(volumes), **own, **environ)  # type: ignore[arg-type] # strings

    def containers(self, session_id: str) -> str:
        """The containers that the engine has for a session."""
        if self.engine is None:
            return ""
        return self.engine.run("ps", "--all", "--quiet", "--filter", f"label=acpbot.session={session_id}")


def placed_demo(name: str, engine: OwnEngine | None) -> PlacedDemo:
    """Return the demo agent in this place."""
    kind = "bubblewrap" if engine is None else "container"
    return PlacedDemo(name, kind, engine, sys.executable if engine is None else PYTHON_OF_IMAGE)


def acpctl(daemon: DaemonProcess, *words: str) -> Result:
    """Run acpctl on a daemon."""
    done = subprocess.run(
        [ACPCTL, *words], env=daemon.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)
