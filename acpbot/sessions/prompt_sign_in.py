"""Signs an agent in that asks for it in its answer to a prompt, and sends that prompt once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.acp import schema
from acpbot.errors import AgentNotSignedIn, AgentRefused, AgentTimeout
from acpbot.logs import get_logger
from acpbot.sessions.turn import NOT_SIGNED_IN, TurnEnd

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from acpbot.acp.agent import Agent
    from acpbot.acp.connection import PromptEnded
    from acpbot.sessions.turn import Blocks, Turn

log = get_logger(__name__)


class PromptSignIn:
    """Once for each turn. ``end`` ends the running turn.

    A prompt is sent again only where the agent has done nothing for it: else its work would be done twice.
    """

    def __init__(self, agent_name: str, end: Callable[[TurnEnd], None]) -> None:
        self._agent_name = agent_name
        self._end = end
        self._turn: Turn | None = None
        self._refused: AgentRefused | None = None

    def takes(self, turn: Turn, ended: PromptEnded, *, has_content: bool) -> bool:
        """Whether this answer to a turn's prompt is not its end: call :meth:`repeat`.

        ``has_content``: the agent has said, asked or done something in the turn.
        """
        error = ended.error
        if error is None or error.code != schema.AUTH_REQUIRED or has_content or turn is self._turn:
            return False
        if turn.cancelled_at is not None:
            return False
        self._turn, self._refused, turn.prompt_id = turn, error, None
        return True

    async def repeat(self, agent: Agent, blocks: Blocks, over: asyncio.Event) -> bool:
        """Sign in and send the prompt again, where an answer was taken; whether that is so. It clears ``over`` then.

        The turn ends here where the agent can't be signed in, or the turn was cancelled meanwhile. Raises AgentGone,
        AgentTimeout (the prompt can't be sent).
        """
        turn, refused, self._refused = self._turn, self._refused, None
        if turn is None or refused is None:
            return False
        over.clear()
        if not await self._sign_in(agent, refused):
            self._end(TurnEnd("error", NOT_SIGNED_IN))
        elif turn.cancelled_at is not None:
            self._end(TurnEnd("cancelled", turn.cancel_reason))
        else:
            turn.prompt_id = agent.prompt(blocks)
        return True

    async def _sign_in(self, agent: Agent, refused: AgentRefused) -> bool:
        try:
            await agent.sign_in_again(refused)
        except (AgentRefused, AgentTimeout) as error:
            methods = error.methods if isinstance(error, AgentNotSignedIn) else ""
            log.warning("agent_not_signed_in", agent=self._agent_name, reason=str(error), methods=methods)
            return False
        return True
