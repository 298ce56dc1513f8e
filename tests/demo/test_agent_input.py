"""How the demo agent reads stdin and handles signals."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

ROUNDS = 20_000
"""How many signals are sent right before a read; about one in so many was missed before."""

ECHO = "import sys; from acpbot.demo.agent_input import lines; print([*lines(0)])"
COUNTS = """
import os, signal
from acpbot.demo.agent_input import lines
signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"x"))
os.write(1, b"r")
for _ in lines(0):
    pass
"""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"", []),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"\n\none", [b"", b"", b"one"]),
        (b"x" * 200_000 + b"\ny", [b"x" * 200_000, b"y"]),
    ],
    ids=["nothing", "lines", "no end", "long"],
)
def test_lines_reads_stdin_to_its_end(written, read):
    done = subprocess.run([sys.executable, "-c", ECHO], input=written, capture_output=True, check=True)
    assert done.stdout.decode().strip() == repr(read)


def test_a_signal_is_handled_at_once_whenever_it_comes():
    with subprocess.Popen([sys.executable, "-c", COUNTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        output = child.stdout.fileno()
        assert os.read(output, 1) == b"r"
        for number in range(ROUNDS):
            os.write(child.stdin.fileno(), b"line\n")
            child.send_signal(signal.SIGUSR1)
            assert select.select([output], [], [], 10)[0], f"signal {number} was not obeyed"
            assert os.read(output, 1) == b"x"
        child.stdin.close()
        assert child.wait(10) == 0
