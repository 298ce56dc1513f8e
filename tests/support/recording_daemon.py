"""`acpbot` that records which settings its code reads: run ``python -m tests.support.recording_daemon run ...``.

At its end it writes them to the file ``$RECORD``, as a JSON list of [table, key]. Reads by acpbot.config, which makes
the settings, do not count.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from acpbot.__main__ import main
from acpbot.config.settings import TABLES


def record() -> set[tuple[str, str]]:
    """Record the reads of all tables from now on, in the set that is returned."""
    reads: set[tuple[str, str]] = set()

    def instrument(table: str, cls: Any) -> None:
        read = cls.__getattribute__

        def recording_read(settings: object, name: str) -> Any:
            reader = sys._getframe(1).f_globals.get("__name__", "")
            if reader.startswith("acpbot.") and not reader.startswith("acpbot.config."):
                reads.add((table, name))
            return read(settings, name)

        cls.__getattribute__ = recording_read

    for table, cls in TABLES.items():
        instrument(table, cls)
    return reads


if __name__ == "__main__":
    reads = record()
    try:
        main()
    finally:
        Path(os.environ["RECORD"]).write_text(json.dumps(sorted(reads)))
