"""Whether an agent started a process: proven by the chain of parents, and unknown wherever that is not visible."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from acpbot.runtimes.local.peer import is_of_an_agent
from acpbot.runtimes.local.procfs import DAEMON_MARKER, Identity
from tests.support.launched_agents import LIMIT, PYTHON_ENV

if TYPE_CHECKING:
    from collections.abc import Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount /proc and become somebody else")

DAEMON = """
    import os, subprocess, sys
    from acpbot.runtimes.local.runtime import hold_subreaper
    from acpbot.runtimes.local.peer import is_of_an_agent
    hold_subreaper()
    def of(*command):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            pid = int(child.stdout.readline())
            print(is_of_an_agent(pid))
            os.kill(pid, 9)
"""
LOOK = "import sys; from acpbot.runtimes.local.peer import is_of_an_agent; print(is_of_an_agent(int(sys.argv[1])))"


def run(code: str, *args: str, **env: str) -> list[str]:
    """What a Python process of its own prints."""
    command = [sys.executable, "-c", textwrap.dedent(code), *args]
    result = subprocess.run(
        command, env={**PYTHON_ENV, **env}, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    return result.stdout.splitlines()


@contextmanager
def sleeper(*before: str, **env: str) -> Iterator[int]:
    """The pid of a process that runs meanwhile."""
    process = subprocess.Popen([*before, "sleep", "100"], env={"PATH": os.environ["PATH"], **env})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_the_daemon_itself_and_its_ancestors_are_no_agents() -> None:
    assert run(LOOK, str(os.getppid())) == ["False"]
    assert is_of_an_agent(os.getpid()) is False


def test_a_process_of_another_parent_is_no_agents() -> None:
    with sleeper() as pid:
        assert run(LOOK, str(pid)) == ["False"]


def test_a_descendant_is_an_agents_also_without_its_parents_environment_and_session() -> None:
    code = """
    of("sh", "-c", "echo $$; exec sleep 100")
    of("sh", "-c", "sh -c 'echo $$; exec sleep 100'; true")
    of("env", "-i", "setsid", "-f", "sh", "-c", "echo $$; exec sleep 100")
    """
    assert run(DAEMON + code) == ["True", "True", "True"]


def test_a_process_that_is_gone_or_out_of_sight_is_unknown() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert is_of_an_agent(gone.pid) is None
    assert is_of_an_agent(0) is None


def test_a_process_that_names_another_daemon_is_an_agents_and_so_are_its_children() -> None:
    marker = {DAEMON_MARKER: str(Identity(1, 2, 3))}
    with sleeper(**marker) as pid:
        assert run(LOOK, str(pid)) == ["True"]
    with subprocess.Popen(
        ["sh", "-c", "env -i sh -c 'echo $$; exec sleep 100'; true"], env={**PYTHON_ENV, **marker},
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert run(LOOK, parent.stdout.readline().strip()) == ["True"]
        os.killpg(parent.pid, 9)


def test_a_daemon_inside_an_agent_of_another_one_does_not_accuse_its_neighbours() -> None:
    marker = {DAEMON_MARKER: str(Identity(1, 2, 3))}
    with sleeper(**marker) as pid:
        assert run(LOOK, str(pid), **marker) == ["False"]


OBSERVER = """
import ctypes, os, subprocess, sys
from acpbot.runtimes.local.peer import is_of_an_agent
others, roots = (subprocess.Popen(["sleep", "100"], user=uid, group=uid, extra_groups=[]) for uid in (65534, 0))
read, write = os.pipe()
look = os.fork()
if look == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    print(is_of_an_agent(others.pid), is_of_an_agent(roots.pid))
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    print(is_of_an_agent(others.pid), is_of_an_agent(roots.pid))
    closed = os.fork()
    if closed == 0:
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: its folder in /proc is hidden from its own user
        grandchild = subprocess.Popen(["sleep", "100"])
        os.write(write, b"%d" % grandchild.pid)
        grandchild.wait()
        os._exit(0)
    grandchild = int(os.read(read, 20))
    print(is_of_an_agent(closed), is_of_an_agent(grandchild), flush=True)
    os.kill(grandchild, 9)
    os._exit(0)
os.waitpid(look, 0)
others.kill(), roots.kill()
"""


@as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_where_proc_hides_others_only_the_lack_of_privileges_proves_something() -> None:
    """As under ProtectProc=invisible: root's processes, and those that can't be looked into, are not visible."""
    script = f"mount -t proc -o hidepid=2 proc /proc && exec {sys.executable} -c '{OBSERVER}'"
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env=PYTHON_ENV,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if "mount" in result.stderr:
        pytest.skip("/proc can't be mounted here")
    assert result.stdout.splitlines() == [
        "None None",
        "False None",  # its parent is root's, and no agent can start a process of root's
        "None None",
    ], result.stderr
