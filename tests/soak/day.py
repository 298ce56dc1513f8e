"""A recorded day of five people and five agents in Discord, with everything that goes wrong there.

Run by `make day`; by hand: ``python -m tests.soak.day [SEED] [--real]``. Prints each channel and thread as a person
sees it at the end of the day, then what must not have happened; exits 1 where there was any. ``--real``: also codex,
opencode and claude against a model server on loopback, those that tests/agents/install.py has installed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.support.soak.day_run import record


def main() -> None:
    parser = argparse.ArgumentParser(prog="day", description="A recorded day in Discord.")
    parser.add_argument("seed", nargs="?", type=int, default=1, help="the seed of the order of things (1)")
    parser.add_argument("--real", action="store_true", help="with the real agents that are installed")
    parser.add_argument("--only", help="only the scenes whose name contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acpbot-day-") as folder:
        day = asyncio.run(record(Path(folder), seed=options.seed, real=options.real, only=options.only))
    print("\n\n".join(day.pages))
    print(f"\n{len(day.prompts)} messages for the bot, {day.requests} requests to Discord, {day.seconds:.0f} s")
    for finding in day.findings:
        print(f"FINDING: {finding}")
    sys.exit(1 if day.findings else 0)


if __name__ == "__main__":
    main()
