"""Has an image on this engine before a container is made of it: looked up, and fetched where the settings say so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.container import engine_errors
from acpbot.runtimes.container.pull_progress import PullProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.runtimes.container.engine import Engine

log = get_logger(__name__)

PULL_SECONDS: Final = 3600.0
"""How long a pull may take."""

_FETCHING: Final = "Fetching the image"


class Images:
    """The images of one engine. Sessions that need the same image at the same time share one pull."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pulls: dict[str, _Pull] = {}

    async def is_here(self, image: str) -> bool:
        """Whether the engine has the image. Raises EngineUnreachable, AgentStartError."""
        result = await self._engine.call("image", "inspect", "--format", "{{.Id}}", image)
        if result.code == 0:
            return True
        problem = engine_errors.of_image(result.err)
        if problem.kind in {"image", "other"}:
            return False
        raise image_error(image, problem)

    async def fetch(self, image: str, pull_key: str, progress: Callable[[str], None]) -> None:
        """Fetch the image. Raises EngineUnreachable, AgentStartError with the reason and the way out."""
        if pull_key == "never":
            raise AgentStartError(
                f'cannot start the agent: the image {image} is not here, and pull is "never"; '
                f'run `{self._engine.name} pull {image}`, or set pull = "missing"'
            )
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = _Pull(self._engine, image)
            pull.task.add_done_callback(lambda _: self._pulls.pop(image, None))
        await pull.follow(progress)


class _Pull:
    """One pull. It is given up when nobody waits for it any more."""

    def __init__(self, engine: Engine, image: str) -> None:
        self._engine = engine
        self._image = image
        self._told = _FETCHING
        self._followers: list[Callable[[str], None]] = []
        self.task = asyncio.ensure_future(self._run())

    async def follow(self, progress: Callable[[str], None]) -> None:
        """Wait for its end, and hear how far it is. Raises what ended it."""
        self._followers.append(progress)
        progress(self._told)
        try:
            await asyncio.shield(self.task)
        finally:
            self._followers.remove(progress)
            if not self._followers and not self.task.done():
                self.task.cancel()

    async def _run(self) -> None:
        parser = PullProgress()

        def on_line(line: str) -> None:
            told = parser.feed(line)
            if told is not None:
                self._told = told
                for follower in tuple(self._followers):
                    follower(told)

        log.info("image_pull_started", image=self._image)
        result = await self._engine.call("pull", self._image, seconds=PULL_SECONDS, on_line=on_line)
        if result.code != 0:
            problem = engine_errors.of_image(result.err)
            log.warning("image_pull_failed", image=self._image, reason=problem.reason)
            raise image_error(self._image, problem)
        log.info("image_pulled", image=self._image)


def image_error(image: str, problem: engine_errors.Problem) -> AgentStartError:
    """Return the error of a start that has failed because of its image."""
    return AgentStartError(f"cannot start the agent: image {image}: {problem.reason}; {problem.way_out}")
