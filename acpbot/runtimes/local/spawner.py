"""Starts agents, each below a supervisor of its own, through one server process: see `spawn_server`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes.local import spawn_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import IO

_READ_BYTES: Final = 4096
_TRIES: Final = 3
_ANSWER_SECONDS: Final = 5.0
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 1.0


class Child(NamedTuple):
    """An agent that was started, in a Unix session of its own.

    On ``control`` its supervisor reports the agent's exit code; closing it lets the supervisor go.
    """

    pid: int
    supervisor: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    control: socket.socket

    def close(self) -> None:
        """Close everything."""
        for end in (self.stdin, self.stdout, self.stderr, self.control):
            end.close()


class Spawner:
    """Starts programs through one server process, which begins with the first of them. Any thread may call it.

    ``markers``: the environment of the server and of all supervisors, so that a later daemon finds them.
    ``open_files``: the soft and the hard limit of open files of all programs; ``None``: those of this process.
    ``pid`` is the server's process id, ``None`` while there is none.
    """

    def __init__(self, markers: Mapping[str, str], open_files: tuple[int, int] | None = None) -> None:
        self.pid: int | None = None
        self._markers = markers
        self._open_files = open_files
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], procs: Path | None = None) -> Child:
        """Start a program, ``argv[0]`` its path, with three pipes. Blocks until it runs or has failed to.

        ``procs``: the cgroup.procs of the cgroup that it enters first. Raises `OSError`, `TimeoutError` after 30
        seconds, and `ValueError` for arguments that no program can have.
        """
        if any("\0" in text for text in (*argv, *env, *env.values())):
            raise ValueError("embedded null byte")
        if any("=" in name for name in env):
            raise ValueError("illegal environment variable name")
        group = None if procs is None else str(procs)
        request = {"argv": [*argv], "cwd": str(cwd), "env": {**env}, "cgroup": group, "open_files": self._open_files}
        payload = json.dumps(request).encode()
        for _ in range(_TRIES):
            child = self._try(payload)
            if child is not None:
                return child
        raise ChildProcessError(None, "the process that starts agents was ended or stopped again and again")

    def close(self) -> None:
        """End the server; what it started goes on."""
        with self._lock:
            self._stop()

    def _try(self, payload: bytes) -> Child | None:
        """Start a program; ``None`` where the server was ended meanwhile."""
        with contextlib.ExitStack() as ours:
            with contextlib.ExitStack() as theirs:
                stdin, read_end = _pipe(ours, theirs, to_child=True)
                stdout, write_end = _pipe(ours, theirs, to_child=False)
                stderr, error_end = _pipe(ours, theirs, to_child=False)
                control, far = socket.socketpair(type=socket.SOCK_SEQPACKET)
                ours.enter_context(control)
                theirs.enter_context(far)
                if not self._send(payload, [read_end, write_end, error_end, far.fileno()]):
                    return None
            control.settimeout(_ANSWER_SECONDS)
            try:
                answer = control.recv(_READ_BYTES)
            except TimeoutError:  # somebody has stopped the server
                self.close()
                return None
            if not answer:
                return None
            control.settimeout(_START_SECONDS)
            supervisor, pid, *problem = json.loads(answer)
            if pid:
                try:
                    begun = json.loads(control.recv(_READ_BYTES) or b"null")  # no answer: the agent has killed it
                except TimeoutError:
                    for end in (pid, supervisor):
                        os.kill(end, signal.SIGKILL)
                    raise
                problem = begun[2:] if begun else [None, None, None]
            number, text, what = problem
            if text is not None:
                raise ValueError(text) if number is None else OSError(number, os.strerror(number), what)
            ours.pop_all()
            return Child(pid, supervisor, stdin, stdout, stderr, control)

    def _send(self, payload: bytes, descriptors: list[int]) -> bool:
        with self._lock:
            if self._connection is None or self._server is None or self._server.poll() is not None:
                self._stop()
                self._connection = self._start_server()
            try:
                head = len(payload).to_bytes(spawn_server.LENGTH_BYTES, "big")
                socket.send_fds(self._connection, [head], descriptors)
                self._connection.sendall(payload)
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                self._stop()
                return False
            return True

    def _start_server(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._server = subprocess.Popen(
                    [sys.executable, "-I", "-S", spawn_server.__file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # a tool could open it, and write lines of ours into the log
                    cwd="/",
                    env=self._markers,
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        self.pid = self._server.pid
        ours.settimeout(_ANSWER_SECONDS)
        return ours

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._server is not None:
            try:
                self._server.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        self.pid = None


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack, *, to_child: bool) -> tuple[IO[bytes], int]:
    """Return our end of a new pipe, and the descriptor of the child's end; the stacks close them."""
    reading, writing = os.pipe()
    mine, other = (writing, reading) if to_child else (reading, writing)
    theirs.callback(os.close, other)
    return ours.enter_context(open(mine, "wb" if to_child else "rb", 0)), other  # noqa: PTH123 - a descriptor
