"""What reaches an agent: each prompt as it was sent, and the data in it about the message."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.support.discord_scene import staged
from tests.support.scripted_agents import END, says, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.discord.state import Message
    from tests.support.discord_scene import Scene

EVERYTHING = {"promptCapabilities": {"embeddedContext": True, "image": True}}


class Prompts:
    """The prompts of all sessions, in the order in which they were sent."""

    def __init__(self, scene: Scene, path: Path) -> None:
        self.scene = scene
        self._path = path

    @property
    def all(self) -> list[list[dict[str, Any]]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []

    async def of(self, message: Message) -> Prompt:
        """The last prompt, once this message's turn has ended."""
        await self.scene.server.wait_for(lambda: "🆗" in message.shown_reactions, what=f"the answer to {message}")
        return Prompt(self.all[-1])


class Prompt:
    """One prompt: its blocks, the person's text in it, the data about the message, and the files by name.

    The text is without the blank line that divides it from what follows.
    """

    def __init__(self, blocks: list[dict[str, Any]]) -> None:
        self.blocks = blocks
        self.text = "".join(block["text"] for block in blocks if block["type"] == "text").removesuffix("\n\n")
        resources = [block["resource"] for block in blocks if block["type"] == "resource"]
        context = next(one["text"] for one in resources if one["uri"] == "acpbot:///acpbot-context")
        self.data: dict[str, Any] = json.loads(context.split("\n")[1])
        self.files = {
            one["uri"].removeprefix("attachment:///"): one["text"]
            for one in resources
            if one["uri"].startswith("attachment:")
        }


@asynccontextmanager
async def prompted(
    tmp_path: Path, *, capabilities: dict[str, Any] = EVERYTHING, limits: dict[str, Any] | None = None, **discord: Any
) -> AsyncIterator[Prompts]:
    """A scene whose agent keeps each prompt, and says 'done'."""
    path = tmp_path / "prompts"
    argv = scripted(capabilities=capabilities, prompts=[[{"keep": str(path)}, says("done"), END]])
    async with staged(tmp_path, limits={"argv": argv, **(limits or {})}, **discord) as scene:
        yield Prompts(scene, path)
