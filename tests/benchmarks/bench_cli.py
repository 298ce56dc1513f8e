"""Start-up of acpctl, whole process, against a daemon with 100 sessions.

Goals: `acpctl sessions -o json` at most 1.05 times `python -c "import typer"`; the table on a terminal, drawn by
Rich, at most as long as `supervisorctl status` of 10 programs over a Unix socket, where supervisor is installed.
"""

from __future__ import annotations

import importlib.util
import os
import pty
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

SESSIONS = 100
ROUNDS = 41
BIN = Path(sys.executable).parent


def once(argv: list[str], environ: dict[str, str], *, terminal: bool = False) -> float:
    started = time.perf_counter()
    if not terminal:
        subprocess.run(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True, env=environ)
        return time.perf_counter() - started
    front, back = pty.openpty()
    with subprocess.Popen(argv, stdin=back, stdout=back, stderr=back, env=environ) as process:
        os.close(back)
        try:
            while os.read(front, 65536):
                continue
        except OSError:
            process.wait()
    os.close(front)
    return time.perf_counter() - started


def cpu_seconds() -> float:
    """What the processes that have ended took of the CPU; on a loaded machine it differs less than the time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(name: str, first: list[str], second: list[str], environ: dict[str, str], goal: float, **how) -> None:
    times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    pair = list(zip((first, second), times, strict=True))
    for argv, _ in pair:
        once(argv, environ, **how)  # compiles what is not compiled yet
    for _ in range(ROUNDS):
        for argv, found in pair:
            used = cpu_seconds()
            found.append((once(argv, environ, **how), cpu_seconds() - used))
        pair.reverse()
    medians = ([statistics.median(one) * 1000 for one in zip(*found, strict=True)] for found in times)
    (mine, my_cpu), (other, its_cpu) = medians
    print(
        f"{name}: {mine:.1f} ms against {other:.1f} ms, ratio {mine / other:.2f} (<= {goal}); "
        f"of the CPU {my_cpu:.1f} ms against {its_cpu:.1f} ms, ratio {my_cpu / its_cpu:.2f}"
    )


def supervised(folder: Path) -> list[str]:
    """A supervisord with ten programs; the command that asks it for its status."""
    lines = [
        f"[unix_http_server]\nfile={folder}/s.sock\n[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\nnodaemon=true\n",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[supervisorctl]\nserverurl=unix://{folder}/s.sock\n",
    ]
    lines += [f"[program:p{number}]\ncommand=/bin/sleep 600\n" for number in range(10)]
    (folder / "c").write_text("".join(lines))
    return [str(BIN / "supervisorctl"), "-c", str(folder / "c"), "status"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = DEMO_AGENT + f"[pool]\nmax_sessions = {SESSIONS}\n"
        with DaemonProcess(folder / "d", config) as daemon, daemon.wire() as wire:
            for number in range(SESSIONS):
                wire.call("chat.open", thread=f"t{number}")
                wire.call("chat.leave", thread=f"t{number}")
            environ = {**os.environ, **daemon.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
            environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed acpctl is compiled
            acpctl = str(BIN / "acpctl")
            typer = [sys.executable, "-c", "import typer"]
            compare("sessions -o json", [acpctl, "sessions", "-o", "json"], typer, environ, 1.05)
            if importlib.util.find_spec("supervisor") is None:
                print("sessions, table: not compared, supervisor is not installed (pip install supervisor)")
                return
            argv = supervised(folder)
            server = subprocess.Popen([str(BIN / "supervisord"), "-c", argv[2]], stdout=subprocess.DEVNULL)
            try:
                while subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout.count(b"RUNNING") < 10:
                    time.sleep(0.2)
                compare("sessions, table", [acpctl, "sessions"], argv, environ, 1.0, terminal=True)
            finally:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
