"""The `acpctl` console script: starts fast, obeys Ctrl-C at any time, exits with a documented code."""

import atexit
import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn

from acpctl.exit_codes import INTERRUPTED


def main() -> NoReturn:
    """Run the command line and exit with one of :mod:`acpctl.exit_codes`."""
    # Until a command can catch it, Ctrl-C ends the process at once, without a traceback; the shell sees 130.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The imports leave no garbage, and collecting it would take a tenth of the start-up.
    gc.disable()
    from acpctl.command_line import run  # noqa: PLC0415 - imported after the two lines above
    from acpctl.standard_streams import open_standard_streams  # noqa: PLC0415 - the same

    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    open_standard_streams()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process without taking the interpreter apart, which takes as long as the whole command."""
    atexit._run_exitfuncs()  # noqa: SLF001 - as the interpreter does at its end; there is no public name
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            # What is written is flushed at once, and an error of it reported; a closed stream has nothing left.
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(status)
