"""Start-up of acpctl, whole process, against a daemon with 100 sessions."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row, missing
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size

SESSIONS = 100
CALLS = 7
BIN = Path(sys.executable).parent
TABLE = "acpctl sessions as a table on a terminal"


def once(argv: list[str], environ: dict[str, str], *, terminal: bool = False) -> float:
    """Return the milliseconds that a process takes."""
    started = time.perf_counter()
    if not terminal:
        subprocess.run(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True, env=environ)
        return (time.perf_counter() - started) * 1000
    front, back = pty.openpty()
    with subprocess.Popen(argv, stdin=back, stdout=back, stderr=back, env=environ) as process:
        os.close(back)
        with contextlib.suppress(OSError):  # it has ended
            while os.read(front, 65536):
                continue
        process.wait()
    os.close(front)
    return (time.perf_counter() - started) * 1000


def compare(
    first: list[str], second: list[str], environ: dict[str, str], size: Size, *, terminal: bool = False
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Run both in turn; for each round the median of each."""
    rounds: tuple[list[float], list[float]] = ([], [])
    pair = [0, 1]
    for _ in range(size.rounds):
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(CALLS):
            for at in pair:
                times[at].append(once((first, second)[at], environ, terminal=terminal))
            pair.reverse()
        for one, found in zip(rounds, times, strict=True):
            one.append(statistics.median(found))
    return tuple(rounds[0]), tuple(rounds[1])


def supervised(folder: Path) -> list[str]:
    """Write the configuration of ten programs; the command that asks their supervisord for its status."""
    lines = [
        f"[unix_http_server]\nfile={folder}/s.sock\n",
        f"[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\nnodaemon=true\n",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisorctl]\nserverurl=unix://{folder}/s.sock\n",
    ]
    lines += [f"[program:p{number}]\ncommand=/bin/sleep 600\n" for number in range(10)]
    (folder / "c").write_text("".join(lines))
    return [str(BIN / "supervisorctl"), "-c", str(folder / "c"), "status"]


def results(size: Size) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = DEMO_AGENT + f"[pool]\nmax_sessions = {SESSIONS}\n"
        with DaemonProcess(folder / "d", config) as daemon, daemon.wire() as wire:
            for number in range(SESSIONS):
                wire.call("chat.open", thread=f"t{number}")
                wire.call("chat.leave", thread=f"t{number}")
            while wire.call("health.get")["pool"]["starting"]:
                time.sleep(0.2)
            environ = {**os.environ, **daemon.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
            environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed acpctl is compiled
            acpctl = str(BIN / "acpctl")
            typer = [sys.executable, "-c", "import typer"]
            runs, peer_runs = compare([acpctl, "sessions", "-o", "json"], typer, environ, size)
            yield Row(
                key="cli.json",
                what="acpctl sessions -o json, whole process, 100 sessions",
                unit="ms",
                runs=runs,
                peer="import typer",
                peer_runs=peer_runs,
                judged="ratio",
                goal=1.05,
            )
            if importlib.util.find_spec("supervisor") is None:
                yield missing("cli.table", TABLE, "supervisor is not installed")
                return
            argv = supervised(folder)
            with subprocess.Popen([str(BIN / "supervisord"), "-c", argv[2]], stdout=subprocess.DEVNULL) as server:
                try:
                    while subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout.count(b"RUNNING") < 10:
                        time.sleep(0.2)
                    runs, peer_runs = compare([acpctl, "sessions"], argv, environ, size, terminal=True)
                finally:
                    server.terminate()
            yield Row(
                key="cli.table",
                what=TABLE,
                unit="ms",
                runs=runs,
                peer="supervisorctl status",
                peer_runs=peer_runs,
                judged="ratio",
                goal=1.0,
            )
