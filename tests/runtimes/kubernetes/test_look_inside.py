"""What the scripts that look into a pod write, and what is read of it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from acpbot.runtimes.kubernetes.look_inside import KILL_ALL, LOOK, OOM_KILLS, CannotRead, read_kill, read_look
from acpbot.runtimes.local import procfs

SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
FIRST = b"4096\nacpbot 20 500.0\n"
INIT = b"1 (sh) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 10 0"
SHELL = b"20 (sh) R 0 20 20 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 900 0 10 0"
PARENT = b"11 (sh) S 0 11 11 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 150 0 10 0"
AGENT = b"12 (a) b (c) S 11 11 11 0 -1 0 0 0 0 0 150 50 7 3 20 0 1 0 200 0 25 0"
ORPHAN = b"30 (sleep) S 1 30 30 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 160 0 5 0"
ZOMBIE = b"31 (old) Z 1 31 31 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 160 0 0 0"


def block(*stats):
    return b"acpbot 20 500.0\n" + b"".join(stat + b"\n" for stat in stats) + b"acpbot\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_look_finds_processes_with_their_commands(shell):
    result = subprocess.run([shell, *LOOK[1:]], capture_output=True, check=False)
    found = read_look(result.stdout, pid=os.getpid(), parent=0)
    own = found.processes[0]
    stat = procfs.read_stat(os.getpid())
    assert stat is not None
    assert (own.pid, own.ppid, own.start_time, own.is_main) == (os.getpid(), stat.ppid, stat.start_time, True)
    assert "python" in own.command
    assert (own.rss_bytes or 0) > 1_000_000
    assert (own.age_seconds or 0) > 0
    assert found.usage.processes == len(found.processes)


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_is_killed_where_the_first_process_is_not_the_dead_man(shell):
    result = subprocess.run([shell, *KILL_ALL[1:]], capture_output=True, check=False)
    assert (result.returncode, result.stdout) == (1, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_kills_for_want_of_memory_are_a_number(shell):
    assert int(subprocess.run([shell, *OOM_KILLS[1:]], capture_output=True, check=False).stdout) >= 0


def test_the_agent_comes_first_and_the_pods_own_processes_are_left_out():
    output = b"4096\n" + block(INIT, PARENT, AGENT, SHELL, ORPHAN, ZOMBIE)
    output += b"==> 1/cmdline <==\nsh\0\n==> 12/cmdline <==\nagent\0--acp\0a b\0\n==> 30/cmdline <==\n"
    agent, orphan = read_look(output, pid=12, parent=11).processes
    assert (agent.pid, agent.command, agent.is_main, agent.rss_bytes) == (12, "agent --acp a b", True, 25 * 4096)
    assert (agent.cpu_seconds, agent.age_seconds) == (2.0, 498.0)
    assert (orphan.pid, orphan.command, orphan.is_main) == (30, "[sleep]", False)


def test_what_is_in_the_agents_group_is_main():
    child = AGENT.replace(b"12 (", b"13 (").replace(b" 200 0", b" 201 0")
    assert [one.is_main for one in read_look(b"4096\n" + block(INIT, AGENT, child), pid=12, parent=11).processes] == [
        True,
        True,
    ]


def test_after_a_kill_only_what_has_ended_does_not_count():
    before, after = read_kill(
        b"0\n" + block(INIT, PARENT, AGENT, SHELL) + block(INIT, SHELL, ZOMBIE), pid=12, parent=11
    )
    assert ([one.pid for one in before.processes], after.processes) == ([12], ())
    _, after = read_kill(b"0\n" + block(INIT) + block(INIT, PARENT), pid=12, parent=11)
    assert [one.pid for one in after.processes] == [11], "the shell above the agent is to end too"


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"4096\n",
        b"sh: not found\n",
        FIRST + INIT,
        FIRST + INIT + b"\nacpbot",
        FIRST + b"no stat\nacpbot\n",
        b"4096\nacpbot x 1\nacpbot\n",
        b"4096\n" + block(INIT[:20]),
        b"4096\n" + block(INIT) + block(INIT),
    ],
)
def test_an_output_that_is_not_whole_is_no_look(output):
    with pytest.raises(CannotRead):
        read_look(output, pid=12, parent=11)


def test_a_command_line_that_imitates_a_heading_hides_no_process():
    output = b"4096\n" + block(INIT, AGENT, ORPHAN)
    output += b"==> 12/cmdline <==\na\n==> 30/cmdline <==\nfaked\0\n==> 30/cmdline <==\nreal\0"
    assert [one.pid for one in read_look(output, pid=12, parent=11).processes] == [12, 30]


@pytest.mark.parametrize(
    "stat",
    [
        AGENT.replace(b"25 0", b"9" * 400 + b" 0"),
        AGENT.replace(b"150 50", b"9" * 400 + b" 50"),
        AGENT.replace(b"200 0", b"-1 0"),
        AGENT.replace(b"12 (", b"99999999999 ("),
        AGENT.replace(b") S", b") \x1b[2J"),
    ],
)
def test_figures_that_no_kernel_gives_are_not_taken(stat):
    with pytest.raises(CannotRead):
        read_look(b"4096\n" + block(stat), pid=12, parent=11)


@pytest.mark.parametrize("first", [b"9" * 30, b"-4096"])
def test_a_page_size_that_no_kernel_has_is_not_taken(first):
    with pytest.raises(CannotRead):
        read_look(first + b"\n" + block(AGENT), pid=12, parent=11)


@pytest.mark.parametrize("uptime", [b"nan", b"inf", b"x"])
def test_an_uptime_that_is_no_number_is_not_taken(uptime):
    with pytest.raises(CannotRead):
        read_look(b"4096\nacpbot 20 " + uptime + b"\n" + AGENT + b"\nacpbot\n", pid=12, parent=11)


def test_a_process_whose_main_thread_alone_has_ended_is_left():
    running = ZOMBIE.replace(b"20 0 1 0", b"20 0 2 0")
    _, after = read_kill(b"0\n" + block(AGENT) + block(INIT, running, SHELL), pid=12, parent=11)
    assert [process.pid for process in after.processes] == [31]


def test_a_kill_whose_output_goes_on_after_its_end_is_not_believed():
    with pytest.raises(CannotRead):
        read_kill(b"0\n" + block() + block() + b"0\n" + block(AGENT) + block(AGENT), pid=12, parent=11)


def test_a_long_list_of_processes_is_shown_in_part_and_counted_whole():
    many = [AGENT.replace(b"12 (", b"%d (" % pid) for pid in range(100, 5_100)]
    found = read_look(b"4096\n" + block(*many), pid=12, parent=11)
    assert (len(found.processes), found.usage.processes) == (4_096, 5_000)
    with pytest.raises(CannotRead):
        read_look(b"4096\n" + block(*(many * 7)), pid=12, parent=11)
