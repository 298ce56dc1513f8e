"""What holds where a tool attacks its supervisor, what outlives a session, and process namespaces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from acpbot.errors import AgentStartError
from acpbot.runtimes.local import cgroup, procfs
from acpbot.runtimes.local.cgroup import Cgroups, Unavailable
from acpbot.runtimes.local.process_namespace import NoNamespace, command_prefix
from tests.runtimes.local.test_containment import ended
from tests.support.launched_agents import LIMIT, PYTHON_ENV, Daemon, Watch, stat_of


@pytest.mark.parametrize("kind", ["subreaper", "cgroup"])
def test_what_a_killed_supervisor_leaves_is_a_stray_and_ends_with_its_session(tmp_path, kind):
    """The one link that a tool of the same user can cut."""
    if kind == "cgroup":
        try:
            Cgroups(procfs.Identity.own()).close()
        except Unavailable as reason:
            pytest.skip(str(reason))
    leave = f"echo 0 > {cgroup.find_base()}/cgroup.procs; " if kind == "cgroup" else ""
    script = f"read _; kill -9 $PPID; ({leave}setsid env -i /bin/sh -c 'echo $$; exec sleep 1000' &); read _"
    with Daemon(kind, script, tmp_path) as daemon, Watch(int(daemon.ask("write"))) as stray:
        deadline = time.monotonic() + LIMIT
        while stat_of(stray.key.pid).ppid != daemon.popen.pid:  # until then it descends from its session's leader
            assert time.monotonic() < deadline
        assert daemon.ask("strays") == f"strays {stray.key.pid}"
        assert daemon.ask("close-session") == "closed"
        assert stray.ended()
        assert daemon.ask("strays") == "strays"


async def test_everything_in_a_process_namespace_ends_with_it(runner):
    try:
        command_prefix()
    except NoNamespace as reason:
        pytest.skip(str(reason))
    script = (
        "trap 'echo heard; exit 5' TERM; env -i setsid -f sh -c 'trap \"\" TERM; exec sleep 7770002'; "
        "cat /proc/1/cmdline | tr '\\0' ' '; echo; while :; do sleep 0.02; done"
    )
    process, sink = await runner.sh(script, process_namespace=True, env={"npm.config": "x"})
    assert "namespace_init.py" in await sink.line()
    process.terminate()
    assert await sink.line() == "heard"
    assert await asyncio.wait_for(process.wait(), LIMIT) == 5
    await ended(process)
    assert [stat for stat in procfs.newest_first() if procfs.command_of(stat) == "sleep 7770002"] == []


async def test_a_process_namespace_that_can_t_be_made_is_named_in_the_error(runner, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    command_prefix.cache_clear()
    with pytest.raises(AgentStartError, match="process_namespace can't be made here: there is no unshare"):
        await runner.sh("read _", process_namespace=True)
    command_prefix.cache_clear()


async def test_a_stopped_supervisor_delays_no_kill_for_long(runner):
    process, sink = await runner.sh("read _; kill -STOP $PPID; echo up; read _")
    process.write(b"\n")
    await sink.line()
    await ended(process, killed=1)
    assert process.settled


def test_a_process_that_outlives_its_session_is_killed_when_it_is_seen(tmp_path):
    """A child of the daemon that names a session which is closed: nobody else would end it."""
    script = """
import asyncio, os, subprocess, sys
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.local.procfs import Identity

async def main():
    launcher, _ = local_runtime("subreaper", owns_children=True)
    env = {"PATH": os.environ["PATH"], "ACPBOT_SESSION": "closed", "ACPBOT_DAEMON": str(Identity.own())}
    late = subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print([info.pid for info in await launcher.look_for_strays()] == [late.pid, other.pid])
    await launcher.sample(())
    print(late.wait(), other.poll())
    await launcher.aclose()
    print(other.wait())

asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(
        command, env=PYTHON_ENV, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert result.stdout.splitlines() == ["True", "-9 None", "-9"], result.stderr
