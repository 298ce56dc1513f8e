"""500 sessions that stream at once, through the local chat and through the loopback Discord: `make load`.

By hand: ``python -m tests.soak.load_streams [SESSIONS] [ROUNDS] [UNIT]``; UNIT is how many seconds one second of
Discord's rate limits takes (1: as they are). Exits 1 where something is lost, doubled, out of order, limited, left, or
grows.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fakes.discord.server import DiscordServer
from tests.support.soak.stream_load import DiscordLoad, local


async def through_discord(folder: Path, sessions: int, rounds: int, unit: float) -> list[str]:
    async with DiscordServer(unit=unit) as server:
        return await DiscordLoad(server, folder, sessions).run(rounds)


def main() -> None:
    given = [float(word) for word in sys.argv[1:]]
    sessions, rounds, unit = (given + [500, 2, 1.0][len(given) :])[:3]
    with tempfile.TemporaryDirectory() as name:
        wrong = local(Path(name) / "local", int(sessions), int(rounds))
        wrong += asyncio.run(through_discord(Path(name) / "discord", int(sessions), int(rounds), unit))
    print(*wrong[:20], sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
