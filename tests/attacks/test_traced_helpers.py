"""A tool uses the daemon's helper processes, which run as its own user: their descriptors, and ptrace(2)."""

from __future__ import annotations

import platform
import sys
from typing import Final

import pytest

from tests.attacks.test_containment import kill, mark, mode, running, start

pytestmark = pytest.mark.attack

__all__ = ["mark", "mode"]

INJECT: Final = """import ctypes, os, struct, sys
SEIZE, INTERRUPT, CONT, SYSCALL, DETACH, GETREGS, SETREGS, POKE, EVENT = 0x4206, 0x4207, 7, 24, 17, 12, 13, 5, 0x4201
TRACE_CLONES, CLONE_PARENT, SIGCHLD, SYS_CLONE, SYS_EXECVE, EVERY_KIND = 0xA, 0x8000, 17, 56, 59, 0x40000000
RAX, RCX, RDX, RSI, RDI, ORIG_RAX, RIP, RSP, R8, R10 = 10, 11, 12, 13, 14, 15, 16, 19, 9, 7
call = ctypes.CDLL(None, use_errno=True).ptrace
call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long

def ptrace(what, pid, at=0, data=0):
    if call(what, pid, at, data):
        raise OSError(ctypes.get_errno(), f"ptrace {what}")

def registers(pid):
    found = ctypes.create_string_buffer(27 * 8)
    ptrace(GETREGS, pid, 0, ctypes.addressof(found))
    return list(struct.unpack("27Q", found.raw))

def put(pid, values, **changed):
    values = list(values)
    for name, value in changed.items():
        values[globals()[name]] = value
    data = ctypes.create_string_buffer(struct.pack("27Q", *values))
    ptrace(SETREGS, pid, 0, ctypes.addressof(data))

target, parent, number = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
ptrace(SEIZE, target, 0, TRACE_CLONES)
ptrace(INTERRUPT, target)
os.waitpid(target, EVERY_KIND)
saved = registers(target)
again = saved[RIP] - 2  # the instruction of the system call in which it waits
put(target, saved, RIP=again, RAX=SYS_CLONE, ORIG_RAX=2**64 - 1, RDI=CLONE_PARENT * parent | SIGCHLD, RSI=0, RDX=0,
    R10=0, R8=0)
ptrace(CONT, target)
os.waitpid(target, EVERY_KIND)
number_of_child = ctypes.c_ulong()
ptrace(EVENT, target, 0, ctypes.addressof(number_of_child))
child = number_of_child.value
os.waitpid(child, EVERY_KIND)
values = registers(child)
stack = values[RSP] - 4096 & ~15
text = b"/bin/sleep".ljust(32, b"\\0") + number.ljust(64, b"\\0") + struct.pack("3Q", stack, stack + 32, 0)
for offset in range(0, len(text), 8):
    ptrace(POKE, child, stack + offset, int.from_bytes(text[offset:offset + 8], "little"))
put(child, values, RIP=again, RAX=SYS_EXECVE, ORIG_RAX=2**64 - 1, RDI=stack, RSI=stack + 96, RDX=0)
ptrace(DETACH, child)
ptrace(SYSCALL, target)
os.waitpid(target, EVERY_KIND)
put(target, saved)
ptrace(DETACH, target)
"""
"""Makes process argv[1] fork, by CLONE_PARENT where argv[2] is 1; the child becomes `sleep argv[3]`."""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="it knows the registers of x86-64 only")
@pytest.mark.parametrize("helper", ["its supervisor", "its supervisor, for the parent", "the spawn server"])
def test_a_process_that_a_traced_helper_starts_does_not_outlive_the_kill(tmp_path, mark, helper) -> None:
    (tmp_path / "inject.py").write_text(INJECT)
    with start(tmp_path, "no cgroup") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="1")
        wire.turn("1", "true")
        row = wire.call("sessions.get", thread="1")["session"]
        target = f"$(cut -d' ' -f4 /proc/{row['pid']}/stat)"
        if helper == "the spawn server":
            target = f"$(cut -d' ' -f4 /proc/{target}/stat)"
        parent = int(helper.endswith("parent"))
        wire.turn("1", f"{sys.executable} {tmp_path}/inject.py {target} {parent} {mark.split()[1]}")
        if not running(mark):
            pytest.skip("no process may be traced here")
        (result,) = kill(wire, row)["results"]
        assert running(mark) == []
        assert (result["processes_left"], result["proof"]) == (0, "system")


def test_no_descriptor_of_a_helper_leads_to_the_log(tmp_path, mode) -> None:
    """A line of a tool's would be taken for one of the daemon's, such as one of its audit."""
    with start(tmp_path, mode) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="1")
        wire.turn("1", "true")
        pid = wire.call("sessions.get", thread="1")["session"]["pid"]
        parent = f"$(cut -d' ' -f4 /proc/{pid}/stat)"
        server = f"$(cut -d' ' -f4 /proc/{parent}/stat)"
        for helper in (parent, server):
            wire.turn("1", f"for one in /proc/{helper}/fd/*; do echo 'audit uid=0 forged' >> $one; done 2> /dev/null")
        assert "forged" not in daemon.log.read_text()
