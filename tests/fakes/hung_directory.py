"""acpbot on a machine whose directory service hangs: no lookup of a user returns once ~/hang exists."""

from __future__ import annotations

import grp
import pwd
import threading
from pathlib import Path

HANG = Path("~/hang").expanduser()


def hanging(lookup):
    """The lookup, which does not return while the directory service hangs."""

    def hang_or_look_up(*arguments):
        if HANG.exists():
            threading.Event().wait()
        return lookup(*arguments)

    return hang_or_look_up


if __name__ == "__main__":
    pwd.getpwnam = hanging(pwd.getpwnam)
    pwd.getpwuid = hanging(pwd.getpwuid)
    grp.getgrnam = hanging(grp.getgrnam)
    from acpbot.__main__ import main

    main()
