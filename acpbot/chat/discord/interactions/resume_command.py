"""`/resume`: an admin has a thread take up a conversation of the agent that was begun elsewhere on this machine.

They are the operator's own conversations: only admins see them, and only where ``[discord] allow_resume`` is true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from acpbot.chat.discord import access
from acpbot.chat.discord.access import PLATFORM, author_of
from acpbot.chat.discord.interactions import menus
from acpbot.chat.discord.interactions.menus import Item, Menu, Pressed
from acpbot.chat.earlier_conversations import EarlierConversations
from acpbot.chat.rendering.markdown import code
from acpbot.errors import Conflict, NotFound, TimedOut
from acpbot.logs import get_logger
from acpbot.text import one_line

if TYPE_CHECKING:
    from acpbot.chat.discord.access import CurrentSettings
    from acpbot.chat.discord.interactions.call import Call
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.earlier_conversations import KnownConversation
    from acpbot.chat.thread_commands import CommandedEnds
    from acpbot.sessions.pool import Pool

log = get_logger(__name__)

NOT_ADMIN: Final = "Only an admin can do this here."
_NONE: Final = "The agent has no other conversations in this thread's folder."
_FAILED: Final = "The agent can't list its conversations here. An admin can check the log."
_BUSY: Final = "The agent is working here. Wait for its answer, or stop it with `/cancel`."
_TAKEN: Final = "I couldn't continue it: somebody wrote here first, or another thread has it. Run the command again."
_LABEL_MAX: Final = 100


class ResumeCommand:
    """Shows the conversations in a menu, and takes up the one that an admin selects. The thread must be known."""

    def __init__(self, settings: CurrentSettings, pool: Pool, outbox: Outbox, ends: CommandedEnds) -> None:
        self._settings = settings
        self._pool = pool
        self._earlier = EarlierConversations(pool, PLATFORM, ends, outbox.post)

    def refusal(self, call: Call) -> str | None:
        """Why the person may not do this; ``None`` where they may."""
        discord = self._settings.discord
        if discord.allow_resume and access.is_admin(discord, author_of(call.interaction.user)):
            return None
        log.info("command_denied", **call.fields)
        return NOT_ADMIN

    async def show(self, call: Call) -> Menu:
        """The conversations that the thread's agent knows; one is started where none runs. Raises as `Pool.ensure`."""
        self._pool.ensure(call.thread_id, platform=PLATFORM)
        try:
            known = await self._earlier.list(call.thread_id)
        except (Conflict, NotFound, TimedOut) as error:
            log.warning("conversations_not_listed", thread=call.thread_id, reason=str(error))
            return Menu(_FAILED)
        free = [one for one in known.conversations if one.thread_id is None]
        if not free:
            return Menu(_NONE)
        shown = free[: menus.PAGE]
        text = f"Conversations of {code(known.agent)} in this thread's folder. Pick one to continue it here."
        if known.more or len(free) > len(shown):
            text += f" These are the latest {len(shown)}."
        pressed = Pressed("resume", menus.digest(known.agent))
        return Menu(text, pressed.custom_id, "Pick a conversation", tuple(map(_item, shown)))

    async def pressed(self, call: Call, pressed: Pressed, selected: str) -> Menu:
        """Take up the conversation that was selected. Raises as `Pool.ensure`."""
        try:
            known = await self._earlier.list(call.thread_id)
        except (Conflict, NotFound, TimedOut) as error:
            log.warning("conversations_not_listed", thread=call.thread_id, reason=str(error))
            return Menu(_FAILED)
        wanted = next((one for one in known.conversations if menus.digest(one.acp_session_id) == selected), None)
        thread = self._pool.thread(call.thread_id)
        if wanted is None or thread is None or menus.digest(known.agent) != pressed.agent:
            return Menu(menus.STALE)
        session = self._pool.get(call.thread_id)
        if session is not None and (session.turns.turn is not None or session.turns.queue):
            return Menu(_BUSY)
        by, owner = f"<@{call.user_id}>", thread.owner or call.user_id
        try:
            await self._earlier.take_up(call.thread_id, wanted.acp_session_id, owner=owner, agent=None, by=by)
        except Conflict as error:
            log.warning("conversation_not_taken_up", thread=call.thread_id, reason=str(error))
            return Menu(_TAKEN)
        return Menu("Done. This thread continues that conversation.")


def _item(known: KnownConversation) -> Item:
    label = one_line(known.title or "", _LABEL_MAX) or "(untitled)"
    return Item(menus.digest(known.acp_session_id), label, one_line(known.updated_at or "", _LABEL_MAX))
