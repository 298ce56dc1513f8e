"""10,000 turns of one daemon: what its memory grows by after the first tenth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Row
from tests.fakes.daemon import DaemonProcess
from tests.soak import soak_turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.rows import Result, Size


def results(size: Size) -> Iterator[Result]:
    count = size.pick(10_000, 300)
    with tempfile.TemporaryDirectory() as name, DaemonProcess(Path(name) / "d", soak_turns.CONFIG) as daemon:
        marks, wrong = soak_turns.soak(daemon, count)
    if wrong:
        raise SystemExit(f"a turn is not as it should be: {wrong[0]}")
    yield Row(
        key="turns.memory",
        what=f"{count:,} turns: the daemon's memory at the end over that at the first tenth",
        unit="KiB more",
        runs=(float(marks[-1]["rss_kib"] - marks[0]["rss_kib"]),),
        goal=float(soak_turns.GROWTH_KIB),
        note="one run: it has its own base",
    )
