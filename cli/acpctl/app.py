"""The `acpctl` console script: starts fast, obeys Ctrl-C at any time, exits with a documented code."""

import gc
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
    gc.freeze()  # or the interpreter's last collection visits every object once more
    sys.exit(status)
