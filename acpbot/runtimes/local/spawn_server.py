"""The program that starts agents: a small process of one thread, which may fork and then prepare the child.

It imports only what loads at once, because the first agent waits for it: so `_socket` and `_signal` themselves. With
`socket`, `signal`, `json` and `typing` its start takes twice as long. `acpbot.runtimes.local.spawner` starts it and
sends the requests. It ends when the daemon closes the connection or dies. A thread of the daemon could not fork and
then call prctl(2) safely, and a new interpreter for each agent would take 20 ms.

For each agent it forks a supervisor, and that forks the agent. The supervisor is a child subreaper (prctl(2)): every
orphan in the agent's tree becomes its child, whatever its environment, its Unix session and its cgroup are. So what an
agent started is below its supervisor, for as long as the supervisor lives. It reaps orphans that end, and outlives the
agent until the daemon lets it go; after the daemon's death, until it has no child any more. It keeps the ended agent as
a zombie, so that the agent's pid and group number are not given to others while the rest is being ended.

One request: the length of the payload (4 bytes) with at least four descriptors (control, stdin, stdout, stderr, then
those that become descriptors 3 and on of the program), then the payload: fields with a NUL between them. They are the
cgroup.procs file of the cgroup (empty: none), the soft and the hard limit of open files (empty: as here), "scoped" for
a program that must not reach the abstract Unix sockets of others (else empty), a folder in which it may read no file
(empty: none), the working directory, the number of arguments, the arguments, and NAME=VALUE for each variable of the
environment. On ``control``, a socket that keeps messages apart, the supervisor sends its own pid and the agent's,
before the agent begins; then "begun", or the error where it could not begin; later its exit code. Each message that it
gets asks it to reap what has ended. The end of the stream lets it go.
"""

from __future__ import annotations

import _socket as socket
import ctypes
import fcntl
import gc
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn
else:
    import _signal as signal

MOST_DESCRIPTORS = 8
LENGTH_BYTES = 4
BEGUN = b"begun"
_DESCRIPTOR_BYTES = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_PATH_BENEATH = 1
_LANDLOCK_READ_FILE = (1 << 2).to_bytes(8, sys.byteorder)
_DESCRIPTOR_OF_RULE = 4
_OOM_SCORE = "/proc/self/oom_score_adj"
_OOM_FIRST = "1000"
_LANDLOCK_SCOPE = (0).to_bytes(16, sys.byteorder) + (1).to_bytes(
    8, sys.byteorder
)  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
_READ_BYTES = 4096
_TEXT_BYTES = 256
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
        head, passed, _, _ = connection.recvmsg(LENGTH_BYTES, socket.CMSG_LEN(MOST_DESCRIPTORS * _DESCRIPTOR_BYTES))
        if not head:
            return
        descriptors = memoryview(passed[0][2]).cast("i").tolist()
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
            os.write(descriptors[0], _answer(0, 0, error, b""))
        else:
            if not child:
                connection.close()
                _supervise(libc, bytes(payload), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _supervise(libc: ctypes.CDLL, request: bytes, descriptors: list[int]) -> NoReturn:
    """Start the agent and stay its supervisor."""
    first, *streams = descriptors
    control = socket.socket(fileno=first)
    leader = 0
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gate, opening = os.pipe()
        failed, report = os.pipe()
        try:
            _adopt_orphans(libc)
            leader = os.fork()
        except OSError as error:
            control.sendall(_answer(0, 0, error, b""))
            os._exit(1)
        if not leader:
            os.close(opening)
            os.read(gate, 1)
            _become(libc, request, streams, report)
        for descriptor in (gate, report, *streams):
            os.close(descriptor)
        control.sendall(_answer(os.getpid(), leader, None, b""))
        os.close(opening)  # the agent may begin: the daemon knows us both
        control.sendall(os.read(failed, _READ_BYTES) or BEGUN)
        os.close(failed)
        _wait_for(leader, control)
    except BrokenPipeError:
        pass  # the daemon is dead: a later one ends what is left
    finally:
        try:
            while True:
                os.wait()
        except ChildProcessError:
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


def _become(libc: ctypes.CDLL, request: bytes, streams: list[int], report: int) -> NoReturn:
    """Become the agent; an error goes to ``report``, which closes when the program begins."""
    what = b""
    try:
        what, soft, hard, scoped, hidden, cwd, count, *rest = request.split(b"\0")
        os.setsid()
        if what:
            with open(what, "w") as procs:  # noqa: PTH123 - pathlib is not imported here
                procs.write("0")
        for number in (*_DAEMONS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        # First to numbers beyond those that they get, which may be in use by one of them.
        above = len(streams)
        report, *streams = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, above) for one in (report, *streams)]
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.closerange(above, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        if os.access(_OOM_SCORE, os.W_OK):
            with open(_OOM_SCORE, "w") as score:  # noqa: PTH123 - pathlib is not imported here
                score.write(_OOM_FIRST)
        if soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
        what = cwd
        os.chdir(cwd)
        what = b""
        if scoped:
            scope_sockets(libc)
        if hidden:
            hide(libc, os.fsdecode(hidden))
        argv = rest[: int(count)]
        env = dict(entry.split(b"=", 1) for entry in rest[int(count) :])
        os.execve(argv[0], argv, env)  # noqa: S606 - the agent is no shell command
    except BaseException as error:  # noqa: BLE001
        # Broad: whatever fails, the daemon must read why, and this copy of the supervisor must end.
        os.write(report, _answer(0, 0, error, what))
    finally:
        os._exit(127)


def scope_sockets(libc: ctypes.CDLL) -> None:
    """Keep this process, and all that it starts, from the abstract Unix sockets of others. Raises `OSError`.

    They are no files, so that no mount hides them. Source: landlock(7), ABI 6.
    """
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    rules = _rules(libc, _LANDLOCK_SCOPE)
    if libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), rules, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(rules)


def hide(libc: ctypes.CDLL, folder: str) -> None:
    """Let this process, and all that it starts, read no file in this folder. Raises `OSError`.

    The rules say what may be read: everything beside the folder and beside each folder above it. What is made there
    later may not be read either. It takes mount(2) away too. Source: landlock(7), ABI 1.
    """
    rules = _rules(libc, _LANDLOCK_READ_FILE)
    while folder != "/":
        above = os.path.dirname(folder)  # noqa: PTH120 - pathlib is not imported here
        for entry in os.scandir(above):
            if entry.path != folder and not entry.is_symlink():
                _allow(libc, rules, entry.path)
        folder = above
    if libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), rules, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # it is gone, or nobody of this user can open it
    rule = _LANDLOCK_READ_FILE + beneath.to_bytes(_DESCRIPTOR_OF_RULE, sys.byteorder)
    added = libc.syscall(ctypes.c_long(_LANDLOCK_ADD_RULE), rules, _LANDLOCK_PATH_BENEATH, rule, 0)
    os.close(beneath)
    if added:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)


def _rules(libc: ctypes.CDLL, attributes: bytes) -> int:
    rules: int = libc.syscall(ctypes.c_long(LANDLOCK_CREATE_RULESET), attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return rules


def _answer(supervisor: int, leader: int, error: BaseException | None, what: bytes) -> bytes:
    """Return the answer to a request: the two pids, the error's number, text and file, with a NUL between them.

    No text: no error. No number: the error is not one of the system.
    """
    number = error.errno if isinstance(error, OSError) else None
    text = "" if error is None else str(error) or type(error).__name__
    fields = (b"%d" % supervisor, b"%d" % leader, b"" if number is None else b"%d" % number)
    return b"\0".join((*fields, os.fsencode(text)[:_TEXT_BYTES], what[:_TEXT_BYTES]))


def main() -> NoReturn:
    """Serve the connection whose descriptor is the last argument. The end skips what an interpreter does then."""
    serve(socket.socket(fileno=int(sys.argv[-1])))
    os._exit(0)
