"""200 restarts of the daemon under load, most of them by SIGKILL at a random moment: none may lose anything.

Run by `make soak`; by hand: ``python -m tests.soak.soak_restarts [COUNT] [SEED]``. Prints what happened as a table, and
what must not have happened as it is found; exits 1 where there was any. The daemon's folder is kept in that case.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fakes.discord.server import DiscordServer
from tests.support.soak.campaign import Campaign

if TYPE_CHECKING:
    from tests.support.soak.transcripts import Finding

UNIT = 0.05
"""Seconds that one of Discord's rate limits takes: live messages are still edited while an answer grows."""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak_restarts", description="Restarts of the daemon under load.")
    parser.add_argument("count", nargs="?", type=int, default=200, help="cycles (200)")
    parser.add_argument("seed", nargs="?", type=int, default=None, help="the seed of all random choices (the time)")
    parser.add_argument("--threads", type=int, default=8, help="threads in use at a time (8)")
    parser.add_argument("--patience", type=float, default=15.0, help="seconds that the daemon has to settle (15)")
    parser.add_argument("--calm", action="store_true", help="the same load without any restart")
    parser.add_argument("--findings", type=int, default=50, help="stop after so many (50)")
    return parser.parse_args(arguments)


async def soak(options: argparse.Namespace, folder: Path) -> bool:
    """Whether nothing was found."""
    seed = options.seed if options.seed is not None else int(time.time()) % 1_000_000
    print(f"{options.count} cycles, seed {seed}, in {folder}", flush=True)
    began = time.monotonic()
    async with DiscordServer(unit=UNIT) as server:
        one = Campaign(server, folder / "d", seed=seed, size=options.threads, patience=options.patience, report=report)
        async with one:
            for cycle in range(1, options.count + 1):
                await (one.calm() if options.calm else one.crash())
                if cycle % 10 == 0:
                    print(f"  {cycle} cycles, {time.monotonic() - began:.0f} s", flush=True)
                if len(one.findings) >= options.findings:
                    print(f"  that is enough: {len(one.findings)} findings", flush=True)
                    break
            await one.finish()
    print(one.tally.table())
    print(f"{len(one.findings)} findings in {time.monotonic() - began:.0f} s, seed {seed}")
    return not one.findings


def report(finding: Finding) -> None:
    """Print it at once."""
    print(finding, flush=True)


def main() -> None:
    options = parse(sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="acpbot-soak-"))
    fine = asyncio.run(soak(options, folder))
    if fine:
        shutil.rmtree(folder)
    else:
        print(f"the daemon's folder is kept: {folder}")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
