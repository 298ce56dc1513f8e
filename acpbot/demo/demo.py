"""`acpbot demo`: a daemon and an agent in a temporary folder, and a chat with it, or a guided tour."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import acpbot
from acpbot.commands.own_program import shell_name
from acpbot.config import loader
from acpbot.config.paths import current_directory
from acpbot.demo.tour import ACPCTL, THREAD, Tour
from acpbot.errors import ConfigError, StartError
from acpbot.runtimes.local.leftovers import kill_orphans
from acpbot.text import operator_line
from acpctl import socket_paths

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 30


def run_demo(agent: str | None, runtime: str = "local") -> int:
    """Run the demo until the person leaves or the tour ends; return the exit status.

    ``agent``: a command line that replaces the demo agent. ``runtime``: where it runs. Raises ConfigError, StartError.
    """
    command = [sys.executable, "-m", "acpbot.demo.agent"] if agent is None else _split(agent)
    folder = Path(tempfile.mkdtemp(prefix="acpbot-demo-"))
    try:
        path, found = _socket(folder)
        environ = {**os.environ, "ACPBOT_SOCKET": str(path)}
        with _daemon(folder, path, _settings(folder, command, runtime), environ):
            if os.isatty(0) and os.isatty(1):
                return _chat(path, environ, found=found, demo_agent=agent is None)
            return Tour(path, environ, folder, demo_agent=agent is None).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _split(agent: str) -> list[str]:
    try:
        command = shlex.split(agent)
    except ValueError as error:
        raise ConfigError(f"cannot use --agent {agent!r}: {error}; quote it as for a shell") from None
    if not command:
        raise ConfigError("cannot use --agent: it is empty; give the command that starts the agent")
    return command


def _socket(folder: Path) -> tuple[Path, bool]:
    path = loader.socket_path(None, None, os.environ)
    if os.environ.get("ACPBOT_SOCKET"):
        return choose_socket(folder, path, [])
    return choose_socket(folder, path, [candidate.path for candidate in socket_paths.candidates(None, os.environ)])


def choose_socket(folder: Path, path: Path, tried: list[str]) -> tuple[Path, bool]:
    """The socket for the demo's daemon, and whether acpctl finds it in every terminal without being told.

    It is ``path``, or one in ``folder`` where another daemon has that place, or one that acpctl reaches before it.
    ``tried``: where acpctl looks, in order.
    """
    before = tried[: tried.index(str(path))] if str(path) in tried else tried
    if any(map(socket_paths.listens, [*before, str(path)])):
        return folder / "acpbot.sock", False
    return path, str(path) in tried


@contextlib.contextmanager
def _daemon(folder: Path, path: Path, text: str, environ: dict[str, str]) -> Iterator[None]:
    """A daemon that runs during this block. It also stops when this process ends: then its stdin is closed."""
    settings = folder / "config.toml"
    settings.write_text(text)
    log = folder / "daemon.log"
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ready, log.open("wb") as output:
        ready.bind(str(folder / "notify"))
        ready.settimeout(0.1)
        daemon = subprocess.Popen(
            [sys.executable, "-m", "acpbot", "run", "--config", str(settings), "--socket", str(path), "--stop-at-eof"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**environ, "NOTIFY_SOCKET": str(folder / "notify")},
            start_new_session=True,
        )
        try:
            _wait_until_ready(daemon, ready, log)
            yield
        finally:
            _stop(daemon)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    if daemon.stdin is not None:
        daemon.stdin.close()
    if daemon.returncode != 0:
        # It did not end its agents; the next daemon would, but there may be none.
        kill_orphans()


def _settings(folder: Path, command: list[str], runtime: str) -> str:
    return "\n".join(
        [
            "[agent]",
            f"command = {json.dumps(command[0])}",
            f"args = {json.dumps(command[1:])}",
            f"runtime = {json.dumps(runtime)}",
            "[agent.bubblewrap]",
            f"readable = {json.dumps(_program_folders())}",
            "[pool]",
            f"workspace = {json.dumps(str(folder / 'workspaces'))}",
            "[store]",
            f"path = {json.dumps(str(folder / 'acpbot.sqlite3'))}",
            "[shutdown]",
            "drain_seconds = 0",  # a person who leaves does not wait for the end of an answer
            "",
        ]
    )


def _program_folders() -> list[str]:
    """Return where acpbot itself is installed, which the demo agent is part of."""
    prefixes = {sys.prefix, sys.base_prefix, str(Path(acpbot.__file__).parent)}
    return sorted(prefix for prefix in prefixes if not Path(prefix).is_relative_to("/usr"))


def _wait_until_ready(daemon: subprocess.Popen[bytes], ready: socket.socket, log: Path) -> None:
    for _ in range(_START_SECONDS * 10):
        try:
            if b"READY=1" in ready.recv(4096).split(b"\n"):
                return
        except TimeoutError:
            if daemon.poll() is not None:
                break
    lines = log.read_text(errors="replace").splitlines()
    reason = next((line for line in reversed(lines) if "cannot" in line), lines[-1] if lines else "it said nothing")
    raise StartError(f"cannot start the demo: {reason.removeprefix('cannot start: ')}")


def _chat(path: Path, environ: dict[str, str], *, found: bool, demo_agent: bool) -> int:
    command = ("" if found else f"ACPBOT_SOCKET={shlex.quote(str(path))} ") + shell_name("acpctl", os.environ)
    hint = " Say `help` to see what the demo agent can do." if demo_agent else ""
    where = "" if command.startswith("acpctl") else f" in {operator_line(str(current_directory()))}"
    print(  # noqa: T201 - this is what a person reads
        f"acpbot runs in a temporary folder, until you leave with Ctrl-D.{hint}\n"
        f"In another terminal{where}, look at it and end it:\n"
        + "".join(f"    {command} {words}\n" for words in ("sessions", f"show {THREAD}", f"kill {THREAD}", "health")),
        flush=True,
    )
    status = subprocess.run([*ACPCTL, "chat", THREAD, "--temporary"], env=environ, check=False).returncode
    again = shell_name("acpbot", os.environ)
    print(f"The demo has ended, and its folder is gone. `{again} init` sets up your own acpbot.", flush=True)  # noqa: T201 - the same
    return status
