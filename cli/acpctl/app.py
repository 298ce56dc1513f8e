"""The `acpctl` process: a quick start, Ctrl-C at any time, an exit status. Commands: `acpctl.command_line`."""

import gc
import signal
import sys
from typing import NoReturn


def main() -> NoReturn:
    """The console script. Ends the process with the statuses of :mod:`acpctl.exit_codes`."""
    # Until the commands can catch a Ctrl-C it ends the process at once, without a traceback; the shell sees 130.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A tenth of the start-up would go to looking for garbage among freshly imported modules, of which there is none.
    gc.disable()
    from acpctl.command_line import run  # noqa: PLC0415 - imported under the two rules above

    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.freeze()  # the interpreter's last collection would visit all of it once more
    sys.exit(status)
