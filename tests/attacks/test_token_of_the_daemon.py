"""An agent's tool, which runs as the daemon's user, reads the bot token from the daemon itself."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import DEMO_AGENT, DaemonProcess

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.attack

TOKEN = "MTQxNzIyMTIzNDU2Nzg5MDEyMw.GattaC.an-attack-must-not-find-these-38-chars"
DISCORD = '[discord]\nbot_token = "${%s}"\nallow_all_users = true\napi_base = "http://127.0.0.1:1"\n'
CAP_SYS_PTRACE, PR_CAPBSET_DROP = 19, 24

TOOL = """
    import ctypes, json, os, re, sys

    pid, secret = int(sys.argv[1]), sys.argv[2][::-1].encode()  # reversed: this command line must not match
    libc = ctypes.CDLL(None, use_errno=True)
    found = []

    def reads_environ():
        with open(f"/proc/{pid}/environ", "rb") as file:
            return secret in file.read()

    def reads_memory():
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                start, end, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\\S+)", line).groups()
                if mode.startswith("rw"):
                    try:
                        memory.seek(int(start, 16))
                        if secret in memory.read(int(end, 16) - int(start, 16)):
                            return True
                    except (OSError, ValueError, OverflowError):
                        pass
        return False

    def takes_a_descriptor():
        libc.syscall.restype = ctypes.c_long
        taken = [libc.syscall(438, os.pidfd_open(pid), number, 0) for number in range(3, 20)]  # pidfd_getfd
        return max(taken) >= 0

    def traces():
        return libc.ptrace(0x4206, pid, 0, 0) == 0  # PTRACE_SEIZE

    for attempt in (reads_environ, reads_memory, takes_a_descriptor, traces):
        try:
            if attempt():
                found.append(attempt.__name__)
        except OSError:
            pass
    print(json.dumps(found))
"""


def what_a_tool_can_do(folder: Path, *, ptrace: bool, variable: str = "DISCORD_BOT_TOKEN") -> list[str]:
    """Which of the tool's attempts succeed; without ``ptrace`` root lacks CAP_SYS_PTRACE, as any other user does."""
    made: list[DaemonProcess] = []

    def start() -> None:
        if not ptrace and os.geteuid() == 0:
            # Of this thread only: a process inherits the bounding set of the thread that starts it (capabilities(7)).
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_SYS_PTRACE, 0, 0, 0) == 0
        config = DISCORD % variable + DEMO_AGENT
        environ = {variable: TOKEN}
        made.append(DaemonProcess(folder / "home", config, ready=False, **environ))  # type: ignore[arg-type]

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    tool, result = folder / "tool.py", folder / "result"
    tool.write_text(textwrap.dedent(TOOL))
    with made[0] as daemon:
        daemon.wait_for(b"READY=1")
        with daemon.wire() as wire:
            wire.call("chat.open", thread="1")
            command = f"{sys.executable} {tool} {daemon.process.pid} {TOKEN[::-1]} > {result} 2>&1"
            wire.turn("1", f"tool {json.dumps(command)}")
        assert TOKEN not in daemon.log.read_text()
    found = json.loads(result.read_text())
    print("a tool", *found or ["finds nothing"])
    return found


def test_a_tool_of_the_daemons_user_reads_nothing_of_the_daemon(tmp_path: Path) -> None:
    assert what_a_tool_can_do(tmp_path, ptrace=False) == []


@pytest.mark.parametrize("variable", ["DISCORD_BOT_TOKEN", "ANOTHER_NAME"])
def test_a_tool_of_root_does_not_find_the_token_in_the_environment(tmp_path: Path, variable: str) -> None:
    assert "reads_environ" not in what_a_tool_can_do(tmp_path, ptrace=True, variable=variable)
