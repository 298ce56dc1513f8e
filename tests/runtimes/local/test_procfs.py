"""Parsing /proc, and signals that can't hit a recycled pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from acpbot.runtimes.local import procfs
from acpbot.runtimes.local.procfs import Identity, ProcessKey
from tests.support.launched_agents import LIMIT, Watch, pipe_of, stat_of

LINE = (
    b"4242 (a) (b\n c) S 17 4240 4241 0 -1 4194304 154 0 0 0 31 11 7 5 20 0 3 0 987654 15 77 18446744073709551615 "
    b"1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_command_name_may_hold_parentheses_and_line_breaks():
    stat = procfs.parse_stat(LINE)
    ticks = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    assert stat == (4242, b"a) (b\n c", "S", 17, 4240, 4241, 42 / ticks, 12 / ticks, 3, 987654, 77 * page)
    assert stat.key == ProcessKey(4242, 987654)


def test_our_own_stat_agrees_with_the_system():
    stat = stat_of(os.getpid())
    assert (stat.pid, stat.ppid, stat.pgid, stat.sid) == (os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))
    assert stat.rss_bytes > 1_000_000
    assert 0 < stat.start_time <= procfs.now_ticks()
    assert not stat.ended


def test_a_zombie_has_ended(sleeper):
    sleeper.kill()
    with Watch(sleeper.pid) as watch:
        assert watch.ended(LIMIT)
        assert stat_of(sleeper.pid).ended
        assert not procfs.living(watch.key)
        assert procfs.same_process(watch.key)


def test_a_process_whose_main_thread_has_ended_still_runs():
    """/proc says Z for it, while its other threads work on."""
    script = (
        "import ctypes, threading\n"
        "def work():\n"
        "    while 'Z' not in open(f'/proc/self/stat').read().rpartition(')')[2]: pass\n"
        "    print('main thread is gone', flush=True)\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=work).start()\n"
        "ctypes.CDLL(None).syscall(60 if __import__('os').uname().machine == 'x86_64' else 93, 0)\n"
    )
    with subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE) as process:
        assert pipe_of(process.stdout).readline() == b"main thread is gone\n"
        stat = stat_of(process.pid)
        assert stat.state == "Z"
        assert not stat.ended
        assert procfs.living(stat.key)
        process.kill()


def test_newest_first_finds_this_process_and_begins_with_the_highest_pid(sleeper):
    pids = [stat.pid for stat in procfs.newest_first()]
    assert pids == sorted(pids, reverse=True)
    assert {os.getpid(), sleeper.pid, 1} <= set(pids)


def test_a_signal_reaches_its_process(sleeper):
    pidfd = procfs.signal_process(stat_of(sleeper.pid).key, signal.SIGTERM)
    assert pidfd is not None
    os.close(pidfd)
    assert sleeper.wait(LIMIT) == -signal.SIGTERM


def test_a_process_with_a_reused_pid_is_not_signalled(sleeper):
    key = stat_of(sleeper.pid).key
    predecessor = ProcessKey(key.pid, key.start_time - 1)
    assert procfs.signal_process(predecessor, signal.SIGKILL) is None
    assert not procfs.same_process(predecessor)
    assert procfs.living(key)
    assert sleeper.poll() is None


def test_a_process_that_is_gone_is_not_signalled(sleeper):
    key = stat_of(sleeper.pid).key
    sleeper.kill()
    sleeper.wait()
    assert procfs.signal_process(key, signal.SIGKILL) is None
    assert not procfs.same_process(key)


def test_a_command_line_is_one_printable_line(tmp_path):
    script = "echo ready; read _; : \x1b[31m\n'forged line'\u202e"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        pipe_of(process.stdout).readline()
        command = procfs.command_of(stat_of(process.pid))
        process.kill()
    assert command.startswith("sh -c echo ready")
    assert "forged line" in command
    assert command.isprintable()


def test_a_long_command_line_is_cut():
    with subprocess.Popen(
        ["sh", "-c", "echo ready; read _", "x" * 5_000], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        pipe_of(process.stdout).readline()
        command = procfs.command_of(stat_of(process.pid))
        process.kill()
    assert len(command) == 1_000
    assert command.endswith("x…")


def test_a_kernel_thread_or_zombie_shows_its_name(sleeper):
    sleeper.kill()
    with Watch(sleeper.pid) as watch:
        assert watch.ended(LIMIT)
        assert procfs.command_of(stat_of(sleeper.pid)) == "[sleep]"


def test_markers_are_read_from_the_environment():
    identity = Identity(4026531836, 77, 123456)
    env = {"A": "x" * 70_000, "ACPBOT_SESSION": "s-1", "ACPBOT_DAEMON": str(identity), "ACPBOT_OTHER": "1"}
    with subprocess.Popen(
        ["/bin/sh", "-c", "echo ready; read _"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        pipe_of(process.stdout).readline()
        assert procfs.read_markers(process.pid) == ("s-1", identity)
        process.kill()


def test_without_markers_there_are_none(sleeper):
    assert procfs.read_markers(1_999_999_999) == (None, None)
    sleeper.kill()


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3:4", "a:2:3", "1:-2:3", "1:2:3\n", " 1:2:3", "1:2:" + "9" * 40])
def test_a_malformed_identity_is_none(text):
    assert Identity.parse(text) is None


def test_an_identity_round_trips_as_text_and_shows_whether_its_daemon_runs():
    own = Identity.own()
    assert Identity.parse(str(own)) == own
    assert own.pid == os.getpid()
    assert own.alive
    assert not own._replace(start_time=own.start_time - 1).alive


def test_the_newest_pid_is_that_of_the_last_process():
    before = procfs.newest_pid()
    with subprocess.Popen(["true"]) as process:
        assert procfs.newest_pid() >= process.pid or procfs.newest_pid() < before


def test_a_boot_has_an_id():
    assert len(procfs.boot_id()) == 36
    assert procfs.boot_id() == procfs.boot_id()
