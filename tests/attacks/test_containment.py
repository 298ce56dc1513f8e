"""A hostile agent and its tools try to outlive the kill of their session; a look of our own finds what is left.

Each attack runs with and without a writable cgroup. A tool takes a name of its own by its arguments: `sleep 7770001.N`
is found in the whole process table, whatever its environment, session, parent and cgroup are.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from acpbot.runtimes.local.cgroup import Cgroups, Unavailable
from acpbot.runtimes.local.procfs import Identity
from tests.fakes.daemon import DaemonProcess, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

LIMIT: Final = 10.0
ROOT: Final = Path(__file__).parents[2]
AGENT: Final = """
import json, subprocess, sys
for line in sys.stdin:
    message = json.loads(line)
    method, result = message.get("method"), {}
    if method == "initialize":
        result = {"protocolVersion": 1, "agentCapabilities": {}}
    elif method == "session/new":
        result = {"sessionId": "s"}
    elif method == "session/prompt":
        text = message["params"]["prompt"][0]["text"]
        exec(text) if text.startswith("import") else subprocess.run(["sh", "-c", text], stdin=subprocess.DEVNULL)
        result = {"stopReason": "end_turn"}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
"""An agent that runs each prompt as a shell command, or as Python in itself."""

STORM: Final = """import os, time
if os.fork() == 0:
    os.setsid()
    os.execve({python!r}, ["python", "-c", '''
import os, time
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork(): os._exit(0)
    os.setsid()
''', "{mark}"], {{}})
"""
"""A chain of processes: each starts the next one and ends."""

MOVE_DAEMON: Final = """import os
base = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
own = next(line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
open(base + own + "/cgroup.procs", "w").write("{pid}")
os.system("env -i setsid -f {mark}")
"""

# name -> prompts, one a turn. MARK stands for the tool, BASE for the parent of all sessions' cgroups.
ATTACKS: Final[dict[str, list[str]]] = {
    "clean environment": ["env -i setsid -f MARK"],
    "double fork": ["env -i setsid -f sh -c '(setsid sh -c \"setsid -f MARK\" &) ; exit 0'"],
    "the cgroup of all": ["sh -c 'echo 0 > BASE/cgroup.procs; exec env -i setsid -f MARK'; true"],
    "a cgroup of its own": [
        "sh -c 'mkdir -p BASE/x777; echo 0 > BASE/x777/cgroup.procs; exec env -i setsid -f MARK'; true"
    ],
    "stopped": ["env -i setsid -f sh -c 'setsid -f MARK; kill -STOP $$'"],
    "ignores signals": ["env -i setsid -f sh -c 'trap \"\" HUP INT TERM; exec MARK'"],
    "a subreaper": [
        """env -i setsid -f PYTHON -c 'import ctypes, os, time; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.system("setsid -f MARK"); time.sleep(20)'"""
    ],
    "its leader killed": ["env -i setsid -f sh -c 'kill -9 LEADER; exec MARK'"],
    "its leader's parent killed": ["kill -9 $(cut -d' ' -f4 /proc/LEADER/stat); env -i setsid -f MARK"],
    "its leader and that parent killed": [
        "env -i setsid -f sh -c 'kill -9 $(cut -d\" \" -f4 /proc/LEADER/stat); kill -9 LEADER; setsid -f MARK'"
    ],
    "its leader's parent stopped": ["kill -STOP $(cut -d' ' -f4 /proc/LEADER/stat); env -i setsid -f MARK"],
    "forged markers": ["env -i ACPBOT_SESSION=other ACPBOT_DAEMON=1:2:3 setsid -f MARK"],
}


@pytest.fixture(params=["cgroup", "no cgroup"])
def mode(request: pytest.FixtureRequest) -> str:
    if request.param == "cgroup":
        try:
            Cgroups(Identity.own()).close()
        except Unavailable as reason:
            pytest.skip(str(reason))
    elif not unshared(["true"]):
        pytest.skip("no mount namespace can be made here to hide the cgroups in")
    return request.param


def unshared(command: list[str]) -> bool:
    """Whether a command can run where no cgroup is mounted."""
    argv = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh", *command]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def running(mark: str) -> list[int]:
    """The living processes of the whole machine that have these words in their arguments."""
    found = []
    for entry in filter(lambda path: path.name.isdigit(), Path("/proc").iterdir()):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in words and state not in "ZX" and "sh -c" not in words and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    """The tool that must not survive."""
    mark = f"sleep 7770001.{time.monotonic_ns()}"
    yield mark
    for pid in running(mark):
        os.kill(pid, signal.SIGKILL)


HIDE: Final = """
import ctypes, runpy
libc = ctypes.CDLL(None)
new_mounts, private = 0x20000, 0x44000
assert libc.unshare(new_mounts) == 0 and libc.mount(b"none", b"/", None, private, None) == 0
assert libc.mount(b"none", b"/sys/fs/cgroup", b"tmpfs", 0, None) == 0
runpy.run_module("acpbot", run_name="__main__")
"""
"""acpbot where no cgroup is mounted, as in a pod."""


def start(folder: Path, mode: str, before: str = "") -> DaemonProcess:
    """A daemon whose agent runs ``before``, a shell command, as its first act."""
    agent = folder / "agent.py"
    folder.mkdir(parents=True, exist_ok=True)
    agent.write_text(AGENT)
    (folder / "hide.py").write_text(HIDE)
    arguments = ["-c", f'{before}\nexec {sys.executable} "{agent}"']
    config = f"[agent]\ncommand = '/bin/sh'\nargs = {json.dumps(arguments)}\n[pool]\ngrace_seconds = 1\n"
    module = "acpbot" if mode == "cgroup" else "hide"
    return DaemonProcess(folder / "home", config, module=module, PYTHONPATH=f"{folder}:{ROOT}")


def prompt(text: str, mark: str, leader: int) -> str:
    try:
        cgroups = Cgroups(Identity.own())
        base = str(cgroups.base)
        cgroups.close()
    except Unavailable:
        base = "/nowhere"
    words = {"MARK": mark, "LEADER": str(leader), "BASE": base, "PYTHON": sys.executable}
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def attacked(wire: Wire, prompts: list[str], mark: str) -> dict:
    """Begin a session, let it attack, and return its row. An attack may end the session by itself."""
    wire.call("chat.open", thread="1")
    wire.turn("1", "true")
    row = wire.call("sessions.get", thread="1")["session"]
    for text in prompts:
        wire.call("chat.send", thread="1", text=prompt(text, mark, row["pid"]))
    deadline = time.monotonic() + LIMIT
    while not running(mark) and wire.call("sessions.list")["sessions"]:
        assert time.monotonic() < deadline, "the attack has not begun"
        time.sleep(0.01)
    return row


def kill(wire: Wire, row: dict) -> dict:
    return wire.call("sessions.kill", targets=[{key: row[key] for key in ("thread_id", "session_id")}])


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_tool_that_flees_does_not_outlive_a_kill_that_says_nothing_is_left(tmp_path, mode, mark, attack) -> None:
    with start(tmp_path, mode) as daemon, daemon.wire() as wire:
        row = attacked(wire, ATTACKS[attack], mark)
        answer = kill(wire, row)
        assert running(mark) == []
        (result,) = answer["results"]
        assert (result["processes_left"], result["proof"]) == (0, "system")
        assert result["outcome"] in ({"ended", "already_gone"} if "killed" in attack else {"ended"})
        assert wire.call("health.get")["strays"] == answer["strays"] == 0


def test_a_fork_storm_does_not_outlive_a_kill(tmp_path, mode, mark) -> None:
    with start(tmp_path, mode) as daemon, daemon.wire() as wire:
        row = attacked(wire, [STORM.format(python=sys.executable, mark=mark)], mark)
        (result,) = kill(wire, row)["results"]
        assert running(mark) == []
        assert (result["processes_left"], result["proof"]) == (0, "system")


def test_a_kill_spares_the_daemon_that_a_tool_moved_into_its_own_cgroup(tmp_path, mark) -> None:
    with start(tmp_path, "cgroup") as daemon, daemon.wire() as wire:
        move = MOVE_DAEMON.format(pid=daemon.process.pid, mark=mark)
        row = attacked(wire, [move], mark)
        (result,) = kill(wire, row)["results"]
        assert (result["outcome"], result["processes_left"]) == ("ended", 0)
        assert running(mark) == []
        assert daemon.process.poll() is None


def test_no_tool_outlives_the_daemons_death_and_restart(tmp_path, mode, mark) -> None:
    with start(tmp_path, mode) as daemon:
        with daemon.wire() as wire:
            attacked(wire, ATTACKS["clean environment"], mark)
        daemon.stop(signal.SIGKILL)
    with start(tmp_path, mode) as daemon, daemon.wire():
        assert running(mark) == []


def test_a_daemon_on_a_copy_of_the_database_ends_nothing_of_the_living_one(tmp_path, mode, mark) -> None:
    with start(tmp_path / "one", mode) as daemon, daemon.wire() as wire:
        row = attacked(wire, ATTACKS["clean environment"], mark)
        state = tmp_path / "one" / "home" / "state" / "acpbot"
        copy = tmp_path / "two" / "home" / "state" / "acpbot"
        copy.mkdir(parents=True, mode=0o700)
        with sqlite3.connect(state / "acpbot.sqlite3") as original, sqlite3.connect(copy / "acpbot.sqlite3") as other:
            original.backup(other)
        (copy / "acpbot.sqlite3").chmod(0o600)
        with start(tmp_path / "two", mode):
            assert len(running(mark)) == 1
            assert wire.call("sessions.get", thread="1")["session"]["session_id"] == row["session_id"]
            assert wire.call("sessions.get", thread="1")["session"]["alive"]


def test_without_descriptors_a_kill_is_a_proof_or_says_that_it_is_none(tmp_path, mode, mark) -> None:
    with start(tmp_path, mode) as daemon, daemon.wire() as wire:
        row = attacked(wire, ["setsid -f MARK"], mark)
        target = [{key: row[key] for key in ("thread_id", "session_id")}]
        used = len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (used, 4096))
        for _ in range(2):
            (result,) = wire.call("sessions.kill", targets=target)["results"]
            if result["outcome"] in {"ended", "already_gone"} and result["processes_left"] == 0:
                assert running(mark) == []
            else:
                assert (result["processes_left"], result["proof"]) == (None, "none")
        assert running(mark) == []


def test_a_kill_of_an_agent_that_ssh_runs_elsewhere_is_no_proof(tmp_path, mark) -> None:
    """A stand-in for ssh that keeps the agent alive on the far side."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (folder / "ssh").chmod(0o755)
    agent = tmp_path / "agent.py"
    agent.write_text(AGENT)
    config = f'[agent]\ncommand = "{folder}/ssh"\nargs = ["host", "{sys.executable}", "{agent}"]\n'
    with DaemonProcess(tmp_path / "home", config) as daemon, daemon.wire() as wire:
        row = attacked(wire, ["setsid -f MARK"], mark)
        (result,) = kill(wire, row)["results"]
        assert (result["outcome"], result["processes_left"], result["proof"]) == ("ended", None, "none")
        (again,) = kill(wire, row)["results"]
        assert (again["outcome"], again["processes_left"], again["proof"]) == ("already_gone", None, "none")


def test_a_tool_does_not_pass_its_process_off_as_one_of_another_session(tmp_path, mode, mark) -> None:
    """It kills both supervisors, and its process has the other session's markers."""
    with start(tmp_path, mode) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="2")
        wire.turn("2", "true")
        other = wire.call("sessions.get", thread="2")["session"]
        prompts = [
            f"kill -9 $(cut -d' ' -f4 /proc/{other['pid']}/stat) $(cut -d' ' -f4 /proc/LEADER/stat)",
            f"env -i ACPBOT_SESSION={other['session_id']} ACPBOT_DAEMON=$ACPBOT_DAEMON setsid -f MARK",
        ]
        (result,) = kill(wire, attacked(wire, prompts, mark))["results"]
        assert running(mark) == []
        assert (result["processes_left"], result["proof"]) == (0, "system")


def test_an_agent_that_kills_its_supervisor_as_its_first_act_does_not_save_a_tool(tmp_path, mark) -> None:
    with start(tmp_path, "no cgroup", f"kill -9 $PPID; env -i setsid -f {mark}") as daemon, daemon.wire() as wire:
        for thread in map(str, range(10)):
            wire.call("chat.open", thread=thread)
            wire.turn(thread, "true")
            assert running(mark)
            (result,) = kill(wire, wire.call("sessions.get", thread=thread)["session"])["results"]
            assert running(mark) == []
            assert (result["processes_left"], result["proof"]) == (0, "system")
