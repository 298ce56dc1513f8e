"""`acpctl`'s hold of the terminal, by a program that does nothing else."""

from __future__ import annotations

import os
import signal
import sys

from tests.support.terminal import Tty

SIZE = 200_000
"""Characters: more than the kernel keeps for a terminal that is not read."""

WRITES = f"""
from acpctl.terminal.raw_terminal import Terminal
with Terminal(begin="<", end=">") as terminal:
    terminal.write("x" * {SIZE})
"""


def test_a_stop_in_the_middle_of_a_write_waits_until_all_is_written():
    screen = Tty([sys.executable, "-c", WRITES], 200, 50, os.environ)
    try:
        screen.wait_for("x")
        # The rest cannot be written before it is read here, so that this comes in the middle. Nobody here could wake a
        # stopped process group, so the kernel does not stop it: it goes on at once (setpgid(2)).
        screen.signal(signal.SIGTSTP)
        assert screen.end() == 0, screen.text()
    finally:
        screen.close()
    assert screen.raw == b"<" + b"x" * SIZE + b"><>"
