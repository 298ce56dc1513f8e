"""Signals to a process whose event loop, or a thread of which, hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from textwrap import dedent

import pytest

LIMIT = 20
PROGRAM = """
import asyncio, sys, threading, time
from acpbot.aio import Threads, in_thread
from acpbot.daemon.stop_signals import StopSignals

def hang():
    threading.Event().wait()

async def main():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads("default", 1))
    stop = asyncio.Event()
    signals = StopSignals(loop, lambda: (print("asked", flush=True), stop.set()), forced_seconds=0.1)
    {then}
    signals.release()

asyncio.run(main())
"""
LOOP_HANGS = "print('ready', flush=True); time.sleep(60)"
THREAD_HANGS = (
    "asyncio.ensure_future(asyncio.to_thread(hang)); asyncio.ensure_future(in_thread('x', hang)); "
    "print('ready', flush=True); await stop.wait()"
)
END_HANGS = "print('ready', flush=True); await stop.wait(); await in_thread('x', hang)"


@pytest.mark.parametrize(
    ("then", "signals", "status"),
    [
        (THREAD_HANGS, 1, 0),
        (END_HANGS, 2, -signal.SIGALRM),
        (LOOP_HANGS, 2, -signal.SIGALRM),
    ],
)
def test_the_process_ends(then, signals, status):
    program = dedent(PROGRAM).format(then=then)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in (signal.SIGTERM, signal.SIGINT)[:signals]:  # two of one kind may arrive as one
            process.send_signal(number)
        assert process.wait(LIMIT) == status
