"""`acpbot` that writes each address at which it binds a TCP or UDP socket to the file ``$BOUND``, one a line."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

from acpbot.__main__ import main


def record(event: str, args: tuple[Any, ...]) -> None:
    """Write the address of a bind (sys.addaudithook)."""
    if event == "socket.bind" and args[0].family != socket.AF_UNIX:
        with Path(os.environ["BOUND"]).open("a") as file:
            file.write(f"{args[1]}\n")


if __name__ == "__main__":
    sys.addaudithook(record)
    main()
