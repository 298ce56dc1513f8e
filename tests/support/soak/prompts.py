"""What the people of the crash campaign write: prompts for the demo agent whose complete answers are known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random

    from tests.fakes.discord.state import Channel, Message
    from tests.fakes.discord.world import World

Click = Literal["allow", "reject", "never"]
Kind = Literal["say", "long", "tool", "rejected", "unanswered", "sleep", "remember", "recall", "orphan", "fork"]

WEIGHTS: dict[Kind, float] = {
    "say": 4,
    "long": 1,
    "tool": 2,
    "rejected": 0.5,
    "unanswered": 1,
    "sleep": 1,
    "remember": 2,
    "orphan": 0.5,
    "fork": 0.5,
}
CLICKS: dict[Kind, Click] = {"tool": "allow", "rejected": "reject", "unanswered": "never"}
RAN = "../ran.log"
"""Where the tools note that they ran, as seen from the folder of any thread."""

_OPENINGS: dict[Kind, str] = {
    "recall": "You told me to remember",
    "orphan": "The orphan's pid is",
    "fork": "I started 2 sleepers:",
}
"""How the answers begin of which not every word before the last line is known."""

_COMPLETED = "The command completed: no output"
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "larch")


@dataclass(eq=False, repr=False)
class Prompt:
    """One message of a person's.

    Its complete answer is the line ``answer``, which no other answer has, right after the lines ``before``. ``fact`` is
    what the agent is to keep; ``recalls``: it is to say what it has kept. ``click``: what the person does with the
    buttons, ``None`` where none are expected.
    """

    number: int
    kind: Kind
    text: str
    before: tuple[str, ...]
    answer: str
    message: Message
    world: World

    def __repr__(self) -> str:
        return f"prompt {self.number} ({self.kind}) in {self.message.channel.id}"

    @property
    def thread(self) -> Channel | None:
        """Where it is answered: a message in a channel opens a thread, which has the message's id."""
        where = self.message.channel
        return where if where.is_thread else self.world.channels.get(self.message.id)

    @property
    def token(self) -> str:
        """What its answer begins with."""
        return f"tok-{self.number:05}"

    @property
    def opening(self) -> str:
        """How its answer begins, up to what no other has."""
        return _OPENINGS.get(self.kind, "\n".join(self.before))

    @property
    def click(self) -> Click | None:
        return CLICKS.get(self.kind)

    @property
    def fact(self) -> str | None:
        return f"fact-{self.number:05}" if self.kind == "remember" else None

    @property
    def recalls(self) -> bool:
        return self.kind == "recall"


def draft(kind: Kind, number: int, chance: random.Random) -> tuple[str, tuple[str, ...], str]:
    """The text of a prompt, and its answer: the lines before, and the last one."""
    answer = f"tok-{number:05} {' '.join(chance.choices(_WORDS, k=chance.randint(3, 30)))} end"
    tool = f"tool echo ran-{number:05} >> {RAN}"
    size = 10 * chance.randint(190, 450)
    words: dict[Kind, tuple[str, tuple[str, ...]]] = {
        "long": (f"long {size}", tuple(f"{first:09}" for first in range(0, size, 10))),
        "tool": (tool, (_COMPLETED,)),
        "rejected": (tool, ("You didn't allow it, so nothing was run.",)),
        "unanswered": (tool, (_COMPLETED,)),
        "sleep": ("sleep 0.3", (_COMPLETED,)),
        "remember": (f"remember fact-{number:05}", (f"I keep: fact-{number:05}",)),
        "recall": ("recall", ()),
        "orphan": ("orphan 600", ()),
        "fork": ("fork 2 600", ()),
    }
    word, before = words.get(kind, ("", ()))
    # The quotes keep the line break, which puts the answer on a line of its own.
    said = f"say {json.dumps(chr(10) + answer)}"
    return f"{word}\n{said}".strip(), before, answer


def any_kind(chance: random.Random) -> Kind:
    return chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
