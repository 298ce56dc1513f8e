"""What a daemon finds at its start, each case a program: run in a pid namespace of its own, where there is one.

`kill_orphans` ends what any dead daemon of its namespace left; two of these at a time would end each other's. Usage:
``python -m tests.support.leftover_scenarios CASE DIRECTORY``; exit code 77 says that this machine can't show the case.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.cgroup import Cgroups, Unavailable
from acpbot.runtimes.local.leftovers import kill_orphans
from acpbot.runtimes.local.procfs import Identity, ProcessKey
from tests.support.launched_agents import LIMIT, PATH, PYTHON_ENV, Daemon, Watch, pipe_of, stat_of

DEAD = {"ACPBOT_DAEMON": str(Identity.own()._replace(start_time=1)), "ACPBOT_SESSION": "s"}
"""What a process has from a daemon that is dead."""
NAMESPACE = ("unshare", "--pid", "--fork")
TOOLS = (
    "(setsid sh -c 'echo tool $$; exec sleep 1000' &); setsid sh -c 'echo tool $$; exec sleep 1000' & echo $$; read _"
)


def _killed_daemon(kind: str, directory: Path) -> None:
    with Daemon(kind, TOOLS, directory) as daemon:
        lines = [daemon.line().split() for _ in range(3)]
        watches = [Watch(int(line[-1])) for line in lines]
        daemon.popen.kill()
        daemon.popen.wait()
        found = kill_orphans()
    # The agent itself may have left when its stdin was closed, or be just leaving, and have no environment any more.
    for line, watch in zip(lines, watches, strict=True):
        with watch:
            assert watch.ended(0.0 if line[0] == "tool" else LIMIT)
    assert {left.pid for left in found} <= {int(line[-1]) for line in lines}
    pids = {int(line[1]) for line in lines if line[0] == "tool"}
    tools = [left for left in found if left.pid in pids]
    supervised = [stat for stat in procfs.newest_first() if procfs.read_markers(stat.pid) == (None, daemon.identity)]
    assert supervised == [], "supervisors end too"
    assert [(left.session_id, left.ended) for left in tools] == [("left-over", True)] * 2
    assert {left.daemon for left in tools} == {str(daemon.identity)}


def killed_daemon_with_cgroups(directory: Path) -> None:
    Cgroups(Identity.own()).close()
    _killed_daemon("cgroup", directory)


def killed_daemon_with_subreaper(directory: Path) -> None:
    _killed_daemon("subreaper", directory)


def scrubbed_tool_in_a_dead_daemons_cgroup(directory: Path) -> None:
    cgroups = Cgroups(Identity.own())
    cgroups.close()
    with Daemon("cgroup", "(setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &); read _", directory) as daemon:
        with Watch(int(daemon.line())) as tool:
            path = next(cgroups.base.glob(f"acpbot-{Identity.own().namespace}-{daemon.popen.pid}-*"))
            assert (path / "left-over").is_dir()
            daemon.popen.kill()
            daemon.popen.wait()
            assert tool.key.pid in {left.pid for left in kill_orphans()}
            assert tool.ended()
        assert not path.exists()


def scrubbed_tool_of_a_dead_daemon_without_cgroups(directory: Path) -> None:
    """It is below its supervisor, which the dead daemon's name identifies."""
    script = "(setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &); read _"
    with Daemon("subreaper", script, directory) as daemon, Watch(int(daemon.line())) as tool:
        daemon.popen.kill()
        daemon.popen.wait()
        assert tool.key.pid in {left.pid for left in kill_orphans()}
        assert tool.ended()


def tool_that_is_about_to_begin_another_program(_directory: Path) -> None:
    """For a moment in execve(2) a process shows no environment; here it is in that moment almost all the time."""
    again = '[ -e stop ] || exec sh -c "$0" "$0"'
    with subprocess.Popen(["sh", "-c", again, again], env={"PATH": PATH} | DEAD) as tool:
        try:
            (left,) = kill_orphans()
            assert (left.pid, left.session_id, left.ended) == (tool.pid, "s", True)
            assert tool.wait(LIMIT) == -signal.SIGKILL
        finally:
            tool.kill()


def remembered_processes_of_a_living_daemon(directory: Path) -> None:
    """Its database was copied: what the copy names is not ours, not even what names no daemon."""
    script = "(setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &); echo $$; read _"
    with Daemon("subreaper", script, directory) as daemon:
        boot = procfs.boot_id()
        watches = [Watch(int(daemon.line())) for _ in range(2)]
        copied = [procfs.place_ref(procfs.ProcessKey(*watch.key), boot) for watch in watches]
        copied.append(procfs.place_ref(procfs.ProcessKey(daemon.popen.pid, daemon.start_time), boot))
        assert kill_orphans(remembered=copied) == []
        for watch in watches:
            with watch:
                assert not watch.ended()


def living_process_in_a_dead_daemons_cgroup(directory: Path) -> None:
    """Whoever may write cgroups can put processes into one that has the name of a dead daemon."""
    base = Cgroups(Identity.own()).base
    dead = base / f"acpbot-{Identity.own().namespace}-{Identity.own().pid}-1" / "s"
    dead.mkdir(parents=True)
    with Daemon("subreaper", "echo $$; read _", directory) as daemon, Watch(int(daemon.line())) as agent:
        for pid in (agent.key.pid, daemon.popen.pid):
            (dead / "cgroup.procs").write_text(str(pid))
        assert kill_orphans() == []
        assert daemon.ask("sample") == "sampled 1"
        for pid in (agent.key.pid, daemon.popen.pid):
            (base / "cgroup.procs").write_text(str(pid))
    dead.rmdir()
    dead.parent.rmdir()


def _living_daemon(kind: str, directory: Path) -> None:
    with Daemon(kind, TOOLS, directory) as daemon:
        watches = [Watch(int(daemon.line().split()[-1])) for _ in range(3)]
        assert kill_orphans() == []
        assert daemon.ask("sample") == "sampled 3"
        assert daemon.ask("close-session") == "closed"
        for watch in watches:
            with watch:
                assert watch.ended()


def living_daemon_with_cgroups(directory: Path) -> None:
    Cgroups(Identity.own()).close()
    _living_daemon("cgroup", directory)


def living_daemon_with_subreaper(directory: Path) -> None:
    _living_daemon("subreaper", directory)


def daemon_of_another_namespace(_directory: Path) -> None:
    own = Identity.own()
    for marker in (own._replace(namespace=own.namespace - 1, start_time=1), own, "nonsense"):
        env = {"PATH": PATH, "ACPBOT_DAEMON": str(marker), "ACPBOT_SESSION": "foreign"}
        with subprocess.Popen(["sleep", "1000"], env=env) as other:
            assert kill_orphans() == []
            assert other.poll() is None
            other.kill()


def descendant_without_a_marker(_directory: Path) -> None:
    env = PYTHON_ENV | DEAD
    script = "setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' & wait"
    with subprocess.Popen(["sh", "-c", script], env=env, stdout=subprocess.PIPE) as parent:
        with Watch(int(pipe_of(parent.stdout).readline())) as child:
            found = kill_orphans()
            assert [left.pid for left in found] == [parent.pid, child.key.pid], "parents first: they might start more"
            assert child.ended()
        assert parent.wait(LIMIT) == -signal.SIGKILL


def started_from_within(_directory: Path) -> None:
    """A daemon that is started in a dead daemon's session ends neither itself nor those who started it."""
    env = PYTHON_ENV | DEAD
    script = "from acpbot.runtimes.local.leftovers import kill_orphans; print([left.pid for left in kill_orphans()])"
    shell = ["sh", "-c", 'sleep 1000 & echo $!; "$@"; echo survived', "sh", sys.executable, "-c", script]
    with subprocess.Popen(shell, env=env, stdout=subprocess.PIPE, text=True) as parent:
        sibling = pipe_of(parent.stdout).readline().strip()
        assert pipe_of(parent.stdout).readline() == f"[{sibling}]\n"
        assert pipe_of(parent.stdout).readline() == "survived\n"
        assert parent.wait(LIMIT) == 0


def remembered_and_recycled(_directory: Path) -> None:
    with subprocess.Popen(["sleep", "1000"]) as mine, subprocess.Popen(["sleep", "1000"]) as recycled:
        key = stat_of(mine.pid).key
        stale = ProcessKey(recycled.pid, stat_of(recycled.pid).start_time - 1)
        boot = procfs.boot_id()
        known = [procfs.place_ref(one, boot) for one in (key, stale)]
        (left,) = kill_orphans(remembered=known)
        assert mine.wait(LIMIT) == -signal.SIGKILL
        assert (left.pid, left.start_time, left.command) == (*key, "sleep 1000")
        assert (left.session_id, left.daemon, left.ended) == (None, None, True)
        assert recycled.poll() is None
        recycled.kill()


def tool_in_a_sandbox(_directory: Path) -> None:
    """What an agent put into a pid namespace of its own (a sandbox) is still its dead daemon's."""
    env = PYTHON_ENV | DEAD
    with subprocess.Popen([*NAMESPACE, "sh", "-c", "echo up; sleep 1000"], env=env, stdout=subprocess.PIPE) as sandbox:
        if pipe_of(sandbox.stdout).readline() != b"up\n":
            raise Unavailable("this machine has no nested pid namespaces")
        inner = next(stat for stat in procfs.newest_first() if stat.ppid == sandbox.pid)
        with Watch(inner.pid) as tool:
            assert {sandbox.pid, inner.pid} <= {left.pid for left in kill_orphans()}
            assert tool.ended()


def dead_daemon_in_a_container(_directory: Path) -> None:
    """A container has its own pid 1 and its own dead daemons; we see their processes and must not touch them."""
    script = (
        "echo up; read -r marker; ACPBOT_DAEMON=$marker ACPBOT_SESSION=s sleep 1000 & "
        "echo started; read -r _; kill $!; wait $!; echo $?"
    )
    with subprocess.Popen(
        [*NAMESPACE, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as container:
        if pipe_of(container.stdout).readline() != "up\n":
            raise Unavailable("this machine has no nested pid namespaces")
        inner = next(stat.pid for stat in procfs.newest_first() if stat.ppid == container.pid)
        namespace = Path(f"/proc/{inner}/ns/pid").stat().st_ino
        assert namespace != Identity.own().namespace
        pipe_of(container.stdin).write(f"{namespace}:4000:1\n")
        pipe_of(container.stdin).flush()
        assert pipe_of(container.stdout).readline() == "started\n"
        assert kill_orphans() == []
        assert container.communicate("\n", LIMIT)[0] == "143\n"


CASES = {
    name: case
    for name, case in list(vars().items())
    if callable(case) and getattr(case, "__module__", None) == __name__ and not name.startswith("_")
}

if __name__ == "__main__":
    try:
        CASES[sys.argv[1]](Path(sys.argv[2]))
    except Unavailable as unavailable:
        print(unavailable)
        sys.exit(77)
    print("held in", Path("/proc/self/ns/pid").readlink())
