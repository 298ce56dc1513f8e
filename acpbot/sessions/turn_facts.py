"""What a turn has taken, how it has ended, and what its prompt is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpbot.sessions.turn import TurnFacts

if TYPE_CHECKING:
    from acpbot.acp.agent import Agent
    from acpbot.acp.connection import PromptEnded
    from acpbot.sessions.options import Options
    from acpbot.sessions.turn import Turn

# Some agents answer every prompt after a cancel at once, and empty, for good: one that is faster than this is suspect.
_AT_ONCE_SECONDS: Final = 2.0


def is_at_once(ended: PromptEnded, seconds: float) -> bool:
    """Whether a prompt has ended well sooner than an agent that works can answer; ``seconds``: how long it ran."""
    return ended.stop_reason == "end_turn" and seconds < _AT_ONCE_SECONDS


async def prompt_of(turn: Turn, agent: Agent, options: Options) -> list[dict[str, Any]]:
    """The blocks of a turn's prompt, as this agent takes them."""
    if turn.command_alone is not None and turn.text.lstrip().startswith("/"):
        await options.wait_for_commands()
        command = options.command_in(turn.text)
        if command is not None:
            return turn.command_alone(command)
    return turn.blocks if turn.fit is None else turn.fit(turn.blocks, agent.capabilities.prompt_capabilities)


def facts_of(agent: str, options: Options, seconds: float) -> TurnFacts:
    """What the turn that ends now has taken; ``seconds``: how long it ran."""
    model, usage = options.current("model"), options.usage
    return TurnFacts(
        agent=agent,
        model=None if model is None else model.name,
        seconds=seconds,
        context_used=usage.context_used,
        context_size=usage.context_size,
        cost=usage.take_turn_cost(),
    )
