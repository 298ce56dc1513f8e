"""Which agent a person chooses for a conversation before it begins: by its first words, or by /agent in a channel."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from acpbot.chat.rendering.markdown import code

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = re.compile(r"\s*agent:[ \t]*[`\"']?(?P<name>[^\s,;:`\"']{1,64})[`\"']?[,;:]?(?:\s+|$)", re.IGNORECASE)
_SHOWN: Final = 25
_CHOICES_MAX: Final = 1000


def split(text: str) -> tuple[str | None, str]:
    """The agent that the text begins with (``agent: NAME``), in lower case, and the rest; ``None`` and all of it."""
    match = _PREFIX.match(text)
    return (None, text) if match is None else (match["name"].lower(), text[match.end() :])


def unknown_text(name: str, names: Iterable[str]) -> str:
    """What a person reads who has named an agent that there is not."""
    known = sorted(names)
    shown = ", ".join(map(code, known[:_SHOWN])) + (" and more" if known[_SHOWN:] else "")
    return f"I don't know the agent {code(name, 40)}. You can use {shown}."


def nothing_asked_text(name: str) -> str:
    """What a person reads who has named an agent, and nothing for it to do."""
    return f'What should {code(name)} do? Write it in the same message, e.g. "agent: {name} fix the failing test".'


_ANYBODY: Final = ""


class NextAgents:
    """The agents that people chose by /agent in a channel, each for the next thread that they begin there.

    Of more than 1,000 choices the oldest is forgotten, and all of them when the daemon ends.
    """

    def __init__(self) -> None:
        self._chosen: OrderedDict[tuple[str, str], str] = OrderedDict()

    def choose(self, channel_id: str, user_id: str, agent: str) -> None:
        """The person's next thread in the channel gets this agent."""
        self._chosen.pop((channel_id, user_id), None)
        self._chosen[channel_id, user_id] = agent
        if len(self._chosen) > _CHOICES_MAX:
            self._chosen.popitem(last=False)

    def get(self, channel_id: str, user_id: str) -> str | None:
        """What the person has chosen for their next thread in the channel, or :meth:`keep` keeps for anybody."""
        return self._chosen.get((channel_id, user_id)) or self._chosen.get((channel_id, _ANYBODY))

    def used(self, channel_id: str, user_id: str) -> None:
        """The person has begun a thread in the channel."""
        self._chosen.pop((channel_id, user_id), None)
        self._chosen.pop((channel_id, _ANYBODY), None)

    def keep(self, thread_id: str, agent: str) -> None:
        """The next conversation in this thread has the agent of the one before, whoever begins it."""
        self.choose(thread_id, _ANYBODY, agent)
