"""A daemon of the suite: a process of its own that runs agents in one place, and can be killed.

Usage: ``python -m tests.runtimes.conformance.daemon PLACE FOLDER DAEMON_ID``, with the engine's variables in the
environment. It reads requests, and writes answers, each a line of JSON. `Daemon` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acpbot.runtimes.runtime import StoredPlace
from tests.runtimes.conformance import places
from tests.runtimes.conformance.scene import Scene
from tests.support.launched_agents import LIMIT, PYTHON_ENV, pipe_of

if TYPE_CHECKING:
    from typing import Self

    from tests.runtimes.conformance.places import Place


class Daemon:
    """A daemon that runs. It ends with the block that it is used in."""

    def __init__(self, place: Place, folder: Path, daemon_id: str) -> None:
        self._place = place
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.runtimes.conformance.daemon", place.name, str(folder), daemon_id],
            env={**os.environ, **PYTHON_ENV, **place.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def _ask(self, what: str, **more: Any) -> Any:
        pipe_of(self.popen.stdin).write(json.dumps({"what": what, **more}) + "\n")
        line = pipe_of(self.popen.stdout).readline()
        assert line, f"the daemon has ended while it was asked: {what}"
        return json.loads(line)

    def start(self, word: str) -> StoredPlace:
        """Start an agent with a family, which ignores everything; return what a database would keep of it."""
        return StoredPlace(session_id=word, runtime=self._place.kind, ref=self._ask("start", word=word))

    def leftovers(self, *stored: StoredPlace, live: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Have it look for leftovers."""
        return self._ask("leftovers", stored=[asdict(one) for one in stored], live=live)

    def echo(self) -> str:
        """What its agent answers."""
        return self._ask("echo")

    def kill(self) -> None:
        """As the system would where memory is short."""
        self.popen.kill()
        self.popen.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe_of(self.popen.stdin).close()
        try:
            self.popen.wait(LIMIT)
        finally:
            self.popen.kill()
            self.popen.wait()
            pipe_of(self.popen.stdout).close()


async def answer(scene: Scene, request: dict[str, Any]) -> Any:
    """Do what is asked for."""
    what = request["what"]
    if what == "start":
        agent = await scene.start(word=request["word"])
        assert await agent.ask("family") == "family"
        assert await agent.ask("ignore") == "ignore"
        return agent.process.place_ref
    if what == "leftovers":
        stored = [StoredPlace(**one) for one in request["stored"]]
        return [asdict(one) for one in await scene.runtime.leftovers(stored, request["live"])]
    return await scene.agents[0].ask("echo 1")


async def serve(place: Place, folder: Path, daemon_id: str) -> None:
    """Answer until the end of stdin."""
    async with place.runtime(daemon_id) as runtime:
        scene = Scene(place, runtime, folder)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await answer(scene, json.loads(line))), flush=True)
        await scene.aclose()


if __name__ == "__main__":
    asyncio.run(serve(places.PLACES[sys.argv[1]], Path(sys.argv[2]), sys.argv[3]))
