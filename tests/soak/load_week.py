"""A simulated week in Discord (tests/support/soak/week.py): `make load`; by hand: ``python -m tests.soak.load_week``.

Arguments: how many days, and how many threads each day begins. Exits 1 where something is left or grows.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

from tests.support.short_folder import short_folder
from tests.support.soak.week import week


async def play(folder: Path, days: int, size: int) -> list[str]:
    began = time.monotonic()
    async with week(folder, size=size) as one:
        for number in range(1, days + 1):
            await one.day()
            took = time.monotonic() - began
            print(f"day {number}, after {took:.0f} s: {one.midnights[-1]}", flush=True)
        print(f"{days} days, {one.turns} turns, {one.resumed} of them in threads without a session, in {took:.0f} s")
        return one.judge()


def main() -> None:
    logging.disable(logging.ERROR)
    days, size = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (7, 10)
    with short_folder() as folder:
        wrong = asyncio.run(play(Path(folder), days, size))
    print(*wrong[:20], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
