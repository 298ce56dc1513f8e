"""Another user of the machine: a Python program that runs under a uid of its own. Only root can start one."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent
from typing import Self

LIMIT = 20
NOBODY = 65534
_BECOME = """
import json, os, socket, sys, threading, time  # before: who it becomes may not read our Python
uid, gid = int(sys.argv.pop(1)), int(sys.argv.pop(1))
os.setgroups([]); os.setgid(gid); os.setuid(uid)

def connect(path):
    wire = socket.socket(socket.AF_UNIX)
    wire.settimeout(20)
    wire.connect(path)
    return wire

def said(text):
    print(text, flush=True)

"""


class Neighbour:
    """Runs ``program`` with ``arguments`` in ``sys.argv[1:]``; it ends when the block does.

    The program has ``connect(path)`` for a Unix socket, and ``said(text)`` for a line that :meth:`line` returns.
    """

    def __init__(self, program: str, *arguments: str, uid: int = NOBODY, gid: int = NOBODY) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BECOME + dedent(program), str(uid), str(gid), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line that the program says; an empty one once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")
