"""The system calls that no agent in a sandbox may use, as a filter program of seccomp(2) in the form bwrap reads.

They read or trace other processes, hold keys of the daemon's user, or reach parts of the kernel where its faults were
found. Calls that make namespaces and mounts stay, for agents that run their tools in a sandbox of their own.
Source: seccomp(2), struct sock_filter in linux/filter.h, syscalls(2).
"""

from __future__ import annotations

import platform
import struct
from typing import Final

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1  # SECCOMP_RET_ERRNO, EPERM
_NUMBER_AT, _ARCHITECTURE_AT, _SECOND_ARGUMENT_AT = 0, 4, 24  # in struct seccomp_data
_X32: Final = 0x40000000  # the bit of the x32 calls, which have numbers of their own
_TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put characters into the terminal's input

_NUMBERS: Final[dict[str, tuple[int, dict[str, int]]]] = {
    "x86_64": (
        0xC000003E,  # AUDIT_ARCH_X86_64
        {
            "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "add_key": 248, "request_key": 249,
            "keyctl": 250, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
            "io_uring_enter": 426, "io_uring_register": 427, "kexec_load": 246, "kexec_file_load": 320,
            "init_module": 175, "finit_module": 313, "delete_module": 176, "open_by_handle_at": 304, "acct": 163,
            "swapon": 167, "swapoff": 168, "reboot": 169, "settimeofday": 164, "clock_settime": 227, "syslog": 103,
            "quotactl": 179, "ioctl": 16,
        },
    ),
    "aarch64": (
        0xC00000B7,  # AUDIT_ARCH_AARCH64
        {
            "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "add_key": 217, "request_key": 218,
            "keyctl": 219, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425,
            "io_uring_enter": 426, "io_uring_register": 427, "kexec_load": 104, "kexec_file_load": 294,
            "init_module": 105, "finit_module": 273, "delete_module": 106, "open_by_handle_at": 265, "acct": 89,
            "swapon": 224, "swapoff": 225, "reboot": 142, "settimeofday": 170, "clock_settime": 112, "syslog": 116,
            "quotactl": 60, "ioctl": 29,
        },
    ),
}  # fmt: skip


def seccomp_filter(machine: str | None = None) -> bytes | None:
    """Return the filter for a machine (uname(2)), this one where it is ``None``; ``None`` for an unknown one.

    Programs for another architecture, such as 32-bit ones, can make no call at all.
    """
    known = _NUMBERS.get(platform.machine() if machine is None else machine)
    if known is None:
        return None
    architecture, numbers = known
    refuse = (_RETURN, 0, 0, _REFUSE)
    program = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_JUMP_IF_EQUAL, 1, 0, architecture), refuse]
    program += [(_LOAD, 0, 0, _NUMBER_AT), (_JUMP_IF_AT_LEAST, 0, 1, _X32), refuse]
    for number in (number for name, number in numbers.items() if name != "ioctl"):
        program += [(_JUMP_IF_EQUAL, 0, 1, number), refuse]
    program += [(_JUMP_IF_EQUAL, 0, 2 * len(_TERMINAL_INPUT) + 1, numbers["ioctl"]), (_LOAD, 0, 0, _SECOND_ARGUMENT_AT)]
    for request in _TERMINAL_INPUT:
        program += [(_JUMP_IF_EQUAL, 0, 1, request), refuse]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
