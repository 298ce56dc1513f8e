"""The program that starts agents: a small process of one thread, which may fork and then prepare the child.

It is run as a file and uses nothing but the standard library. `acpbot.runtimes.local.spawner` starts it and sends the
requests. It ends when the daemon closes the connection or dies. A thread of the daemon could not fork and then call
prctl(2) safely, and a new interpreter for each agent would take 20 ms.

For each agent it forks a supervisor, and that forks the agent. The supervisor is a child subreaper (prctl(2)): every
orphan in the agent's tree becomes its child, whatever its environment, its Unix session and its cgroup are. So what an
agent started is below its supervisor, for as long as the supervisor lives. It reaps orphans that end, and outlives the
agent until the daemon lets it go; after the daemon's death, until it has no child any more. It keeps the ended agent as
a zombie, so that the agent's pid and group number are not given to others while the rest is being ended.

One request: the length of the payload (4 bytes) with four descriptors (stdin, stdout, stderr, control), then the
payload as JSON. On ``control``, a socket that keeps messages apart, the supervisor sends its own pid and the agent's,
before the agent begins; then null, or the error where it could not begin; later its exit code. Each message that it
gets asks it to reap what has ended. The end of the stream lets it go.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
from typing import Any, NoReturn

DESCRIPTORS = 4
LENGTH_BYTES = 4
_PR_SET_CHILD_SUBREAPER = 36
_FIRST_OTHER = 3  # descriptors: after stdin, stdout, stderr
_READ_BYTES = 4096
_DAEMONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(connection: socket.socket) -> None:
    """Serve requests until the connection closes."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setsid()
    for number in _DAEMONS:
        signal.signal(number, signal.SIG_IGN)  # they are meant for the daemon, which closes the connection
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # supervisors leave no zombies
    gc.freeze()
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, LENGTH_BYTES, DESCRIPTORS)
        if not head:
            return
        payload = bytearray(int.from_bytes(head, "big"))
        view = memoryview(payload)
        while view:
            size = connection.recv_into(view)
            if not size:
                return
            view = view[size:]
        try:
            child = os.fork()
        except OSError as error:
            os.write(descriptors[-1], _answer(0, 0, error, None))
        else:
            if not child:
                connection.close()
                _supervise(libc, json.loads(payload), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(libc: ctypes.CDLL, request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Start the agent and stay its supervisor."""
    *streams, last = descriptors
    control = socket.socket(fileno=last)
    leader = 0
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gate, opening = os.pipe()
        failed, report = os.pipe()
        try:
            _adopt_orphans(libc)
            leader = os.fork()
        except OSError as error:
            control.sendall(_answer(0, 0, error, None))
            os._exit(1)
        if not leader:
            os.close(opening)
            os.read(gate, 1)
            _become(request, streams, report)
        for descriptor in (gate, report, *streams):
            os.close(descriptor)
        control.sendall(_answer(os.getpid(), leader, None, None))
        os.close(opening)  # the agent may begin: the daemon knows us both
        control.sendall(os.read(failed, _READ_BYTES) or b"null")
        os.close(failed)
        _wait_for(leader, control)
    except BrokenPipeError:
        pass  # the daemon is dead: a later one ends what is left
    finally:
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        os._exit(0)


def _adopt_orphans(libc: ctypes.CDLL) -> None:
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _wait_for(leader: int, control: socket.socket) -> None:
    """Reap orphans until the leader ends, report that, and then reap only when asked to.

    What ends then shows the daemon that there was a process that no look saw.
    """
    while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) is not None and found.si_pid != leader:
        os.waitpid(found.si_pid, 0)
    if found is not None:
        code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        control.sendall(b"%d" % code)
    while control.recv(_READ_BYTES):
        with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 - pathlib is not imported here
            for pid in map(int, file.read().split()):
                if pid != leader:
                    os.waitpid(pid, os.WNOHANG)


def _become(request: dict[str, Any], streams: list[int], report: int) -> NoReturn:
    """Become the agent; an error goes to ``report``, which closes when the program begins."""
    what: str | None = None
    try:
        os.setsid()
        what = request["cgroup"]
        if what is not None:
            with open(what, "w") as procs:  # noqa: PTH123 - pathlib is not imported here
                procs.write("0")
        for number in (*_DAEMONS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.closerange(_FIRST_OTHER, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        if request["open_files"] is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, tuple(request["open_files"]))
        what = request["cwd"]
        os.chdir(os.fsencode(request["cwd"]))
        what = None
        argv = list(map(os.fsencode, request["argv"]))
        env = {os.fsencode(name): os.fsencode(value) for name, value in request["env"].items()}
        os.execve(argv[0], argv, env)  # noqa: S606 - the agent is no shell command
    except BaseException as error:  # noqa: BLE001
        # Broad: whatever fails, the daemon must read why, and this copy of the supervisor must end.
        os.write(report, _answer(0, 0, error, what))
    finally:
        os._exit(127)


def _answer(supervisor: int, leader: int, error: BaseException | None, what: str | None) -> bytes:
    """Return the answer to a request as JSON: the two pids, and the error's number, text and file."""
    number = error.errno if isinstance(error, OSError) else None
    text = None if error is None else str(error)[: _READ_BYTES // 16]
    return json.dumps([supervisor, leader, number, text, what and what[: _READ_BYTES // 16]]).encode()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
