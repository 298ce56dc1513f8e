"""`acpbot` on a machine whose clock is ``$AHEAD`` seconds ahead: ``python -m tests.support.wrong_clock_daemon run``.

It stands in for the clock of the machine, which nobody but root can set, and only for everybody at once.
"""

from __future__ import annotations

import os
import time

if __name__ == "__main__":
    ahead = float(os.environ["AHEAD"])
    right = time.time
    time.time = lambda: right() + ahead
    from acpbot.__main__ import main  # the time module is replaced before anything takes its function

    main()
