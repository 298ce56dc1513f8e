"""Starts agents, each below a supervisor of its own, through one server process: see `spawn_server`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.runtimes import helpers
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
_FOLDER: Final = os.path.dirname(spawn_server.__file__)  # noqa: PTH120 - a str
# A program that is imported is compiled once, and not at each start. Its folder comes last on the path.
_PROGRAM: Final = "import sys; sys.path.append(sys.argv[1]); import spawn_server; spawn_server.main()"


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

    def start(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        procs: Path | None = None,
        *,
        files: Sequence[bytes] = (),
        scoped: bool = False,
        hidden: Path | None = None,
    ) -> Child:
        """Start a program, ``argv[0]`` its path, with three pipes. Blocks until it runs or has failed to.

        ``procs``: the cgroup.procs of the cgroup that it enters first. ``files``: what its descriptors 3 and on are to
        hold. ``scoped``: it can't reach the abstract Unix sockets of others (landlock(7)). ``hidden``: a folder, an
        absolute path without links, in which it can read no file; it needs no_new_privs (prctl(2)).

        Raises `OSError`, `TimeoutError` after 30 seconds, and `ValueError` for arguments that no program can have.
        """
        if any("=" in name for name in env):
            raise ValueError("illegal environment variable name")
        variables = (f"{name}={value}" for name, value in env.items())
        limits = ("", "") if self._open_files is None else map(str, self._open_files)
        fields = [
            "" if procs is None else str(procs),
            *limits,
            "scoped" if scoped else "",
            "" if hidden is None else str(hidden),
            str(cwd),
            str(len(argv)),
            *argv,
            *variables,
        ]
        if any("\0" in field for field in fields):
            raise ValueError("embedded null byte")
        payload = os.fsencode("\0".join(fields))
        for _ in range(_TRIES):
            child = self._try(payload, files)
            if child is not None:
                return child
        raise ChildProcessError(None, "the process that starts agents keeps being killed or stopped")

    def close(self) -> None:
        """End the server; what it started goes on."""
        with self._lock:
            self._stop()

    def _try(self, payload: bytes, files: Sequence[bytes]) -> Child | None:
        """Start a program; ``None`` where the server was ended meanwhile."""
        with contextlib.ExitStack() as ours:
            with contextlib.ExitStack() as theirs:
                stdin, read_end = _pipe(ours, theirs, to_child=True)
                stdout, write_end = _pipe(ours, theirs, to_child=False)
                stderr, error_end = _pipe(ours, theirs, to_child=False)
                control, far = socket.socketpair(type=socket.SOCK_SEQPACKET)
                ours.enter_context(control)
                theirs.enter_context(far)
                passed = [memory_file(content) for content in files]
                for file in passed:
                    theirs.callback(os.close, file)
                if not self._send(payload, [far.fileno(), read_end, write_end, error_end, *passed]):
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
            supervisor, pid = map(int, answer.split(b"\0")[:2])
            if pid:
                try:
                    answer = control.recv(_READ_BYTES)
                except TimeoutError:
                    for end in (pid, supervisor):
                        os.kill(end, signal.SIGKILL)
                    raise
            if answer and answer != spawn_server.BEGUN:  # no answer: the agent has killed its supervisor
                raise _problem(answer)
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
                    [sys.executable, "-I", "-S", "-c", _PROGRAM, _FOLDER, str(theirs.fileno())],
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
        helpers.PIDS.add(self.pid)
        ours.settimeout(_ANSWER_SECONDS)
        return ours

    def _stop(self) -> None:
        if self._connection is not None and self._server is not None:
            try:
                self._connection.settimeout(_END_SECONDS)
                self._connection.shutdown(socket.SHUT_WR)
                self._connection.recv(1)  # returns as soon as it has ended; `Popen.wait` would look now and then
            except OSError:  # it is stopped, or dead
                self._server.kill()
            self._connection.close()
            helpers.PIDS.discard(self._server.pid)
            self._server.wait()
        self._connection = self._server = self.pid = None


def memory_file(content: bytes) -> int:
    """Return the descriptor of a file in memory that is read from its begin; the caller closes it. Raises `OSError`."""
    file = os.memfd_create("acpbot")
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _problem(answer: bytes) -> OSError | ValueError:
    """Return the error that an answer describes."""
    _, _, number, text, what = answer.split(b"\0")
    if not number:
        return ValueError(text.decode(errors="replace"))
    return OSError(int(number), os.strerror(int(number)), os.fsdecode(what) if what else None)


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack, *, to_child: bool) -> tuple[IO[bytes], int]:
    """Return our end of a new pipe, and the descriptor of the child's end; the stacks close them."""
    reading, writing = os.pipe()
    mine, other = (writing, reading) if to_child else (reading, writing)
    theirs.callback(os.close, other)
    return ours.enter_context(open(mine, "wb" if to_child else "rb", 0)), other  # noqa: PTH123 - a descriptor
