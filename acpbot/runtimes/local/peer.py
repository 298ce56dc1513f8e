"""Whether an agent of this daemon started a process that asks to manage it.

The proof is the chain of parents: this process is a child subreaper (`launcher.hold_subreaper`), so whatever an agent
starts has it among its ancestors for as long as both run, also after each parent in between has ended. Nothing that a
process can do to itself changes that: an empty environment, a Unix session of its own, a pid namespace. A chain that
ends without this process proves that no agent of this life started the process, and it stays so: nothing can become a
descendant later.

The cgroup and the environment only accuse, they never acquit: a process can change both. They find the agents of an
earlier life, and those of another acpbot.

Source: PR_SET_CHILD_SUBREAPER and PR_GET_NO_NEW_PRIVS in prctl(2), hidepid in proc(5), pid_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from acpbot.logs import SeldomLogger, get_logger
from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import path_of, session_directories
from acpbot.runtimes.local.procfs import DAEMON_MARKER, Identity

_seldom_log: Final = SeldomLogger(get_logger(__name__))

_TRIES: Final = 20
_DEPTH: Final = 1_000
_PR_GET_NO_NEW_PRIVS: Final = 39


class _Unknown(Exception):
    """The chain of parents can't be read to its end; the message says why, as a clause."""


class _Changed(Exception):
    """The chain of parents changed while it was read: a parent has ended."""


def is_of_an_agent(pid: int) -> bool | None:
    """Whether an agent started process ``pid``: ``True``, ``False`` (proven), or ``None`` where nobody can tell.

    The answer is about whatever process has that pid during the call: the caller holds a pidfd of the process that it
    means, and checks before and after that it runs. Blocks for as long as a few files of /proc take.
    """
    try:
        return _is_of_an_agent(pid)
    except OSError as error:
        reason = error.strerror or str(error)
    except _Unknown as unknown:
        reason = str(unknown)
    _seldom_log.warning("peer_not_examined", pid=pid, reason=reason)
    return None


def _is_of_an_agent(pid: int) -> bool:
    if pid == os.getpid():
        return False
    if pid <= 0:
        raise _Unknown("it is in a pid namespace that is not visible from here")
    if session_directories(path_of(pid)) - session_directories(path_of(os.getpid())):
        return True
    chain = _chain(pid)
    return os.getpid() in chain or any(map(_names_a_daemon, chain))


def _chain(pid: int) -> list[int]:
    """The pid and those of its ancestors, up to this process, or to the last one that can be an agent's."""
    for _ in range(_TRIES):
        try:
            return _read_chain(pid)
        except _Changed:
            continue  # an orphan's new parent is one of its former ancestors: the chain only becomes shorter
    raise _Unknown("its parents end faster than they can be looked at")


def _read_chain(pid: int) -> list[int]:
    chain = [pid]
    stat = procfs.read_stat(pid)
    while stat is not None:
        parent_pid = stat.ppid
        if parent_pid == 0:  # init, or a process that entered this pid namespace from outside
            return chain
        if parent_pid == os.getpid():
            return [*chain, parent_pid]
        if len(chain) == _DEPTH:
            raise _Unknown(f"it has {_DEPTH} ancestors or more")
        parent = procfs.read_stat(parent_pid)
        ends_here = parent is None and _is_foreign(parent_pid)
        # Both looks at the child show the same parent: so it was that, and no later process with its pid.
        again = procfs.read_stat(stat.pid)
        if again is None or (again.key, again.ppid) != (stat.key, parent_pid):
            raise _Changed
        if ends_here:
            return chain
        stat = parent
        chain.append(parent_pid)
    raise _Changed if len(chain) > 1 else _Unknown("it is not visible in /proc")


def _is_foreign(pid: int) -> bool:
    """Whether a parent that /proc does not show is another user's, whose processes no agent can start.

    /proc hides others' processes where it is mounted with hidepid (``ProtectProc=`` of systemd.exec(5)). Without the
    right to gain privileges, all that an agent starts keeps this user's uid. Raises `_Changed` where the parent is
    gone, `_Unknown` where nothing is proven.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise _Changed from None
    except PermissionError:
        if os.geteuid() != 0 and _no_new_privileges():
            return True
    raise _Unknown(f"its ancestor {pid} is not visible in /proc")


def _no_new_privileges() -> bool:
    return bool(ctypes.CDLL(None).prctl(_PR_GET_NO_NEW_PRIVS, ctypes.c_ulong(0), 0, 0, 0) == 1)


def _names_a_daemon(pid: int) -> bool:
    """Whether the environment of a process of our own user names a daemon as its own, other than ours does.

    Only our own user's are read: reading memory can block for as long as its owner likes, and an owner who is us can
    do worse.
    """
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():  # noqa: PTH116 - /proc is read with plain strings everywhere
            return False
    except FileNotFoundError:
        return False  # an ancestor that has ended; the caller finds out whether the process itself has
    daemon = procfs.read_markers(pid)[1]
    return daemon is not None and daemon != Identity.parse(os.environ.get(DAEMON_MARKER, ""))
