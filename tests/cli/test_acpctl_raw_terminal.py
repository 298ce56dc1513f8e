"""The raw terminal, in a program that does nothing else."""

from __future__ import annotations

import os
import signal
import sys

from tests.support.terminal import Terminal

SIZE = 200_000
"""Characters: more than the kernel buffers for a terminal that nobody reads."""

WRITES = f"""
from acpctl.terminal.raw_terminal import RawTerminal
with RawTerminal(begin="<", end=">") as terminal:
    terminal.write("x" * {SIZE})
"""


def test_ctrl_z_during_a_write_takes_effect_after_it():
    screen = Terminal([sys.executable, "-c", WRITES], 200, 50, os.environ)
    try:
        screen.wait_for("x")
        # The program cannot write the rest before we read it, so the signal comes during the write. The kernel does not
        # stop an orphaned process group, because nobody could wake it (setpgid(2)): the program continues at once.
        screen.signal(signal.SIGTSTP)
        assert screen.end() == 0, screen.text()
    finally:
        screen.close()
    assert screen.raw == b"<" + b"x" * SIZE + b"><>"
