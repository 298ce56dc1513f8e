"""Permission requests: a message with buttons each, and what becomes of a click.

A button's id is all that a click needs to be told apart, so that buttons left over from before a restart are answered
too. Every click is answered within Discord's three seconds, by changing the message or by a line for the clicker.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from acpbot.chat.discord import access
from acpbot.chat.discord.interactions import buttons
from acpbot.chat.discord.interactions.respond import answer, note, whisper
from acpbot.chat.discord.outbound.rest import CLOSED, NO_ANSWER
from acpbot.errors import Conflict, InvalidParams
from acpbot.logs import get_logger

if TYPE_CHECKING:
    import discord

    from acpbot.chat.discord.access import Author
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post
    from acpbot.config.settings import DiscordSettings
    from acpbot.sessions.turn import PermissionRequest

log = get_logger(__name__)

_STYLES: Final = {"secondary": 2, "success": 3, "danger": 4}
_ENDED_MOST: Final = 1000


class _Asked:
    """One request, and the message that it is asked by."""

    def __init__(self, ask: PermissionRequest, asker_id: str, post: Post) -> None:
        self.ask = ask
        self.asker_id = asker_id
        self.post = post
        self.answered_by: str | None = None

    def end_text(self) -> str:
        ask = self.ask
        return buttons.end_text(ask.outcome, ask.title, ask.chosen, answered_by=self.answered_by)


class PermissionPrompts:
    """The requests that have a message. Ended ones are remembered for a while, for clicks that come second."""

    def __init__(self, outbox: Outbox, settings: DiscordSettings) -> None:
        self._outbox = outbox
        self._settings = settings
        self._known: OrderedDict[str, _Asked] = OrderedDict()

    def reconfigure(self, settings: DiscordSettings) -> None:
        """Hold to other settings from now on."""
        self._settings = settings

    def asked(self, thread_id: str, asker_id: str, ask: PermissionRequest) -> None:
        """Ask, by a message with the agent's options as buttons; where nobody can be asked it is rejected."""
        self._ask(thread_id, asker_id, ask, tries=2)

    def _ask(self, thread_id: str, asker_id: str, ask: PermissionRequest, tries: int) -> None:
        def refused() -> None:
            if ask.outcome is not None:
                return
            if tries > 1:
                self._ask(thread_id, asker_id, ask, tries - 1)
            else:
                log.warning("permission_unasked", thread=thread_id, request=ask.request)
                ask.reject("cancelled")
                self._outbox.post(thread_id, buttons.unasked(ask.title))

        text = buttons.ask_text(ask.title, ask.timeout_seconds, asker_id)
        lost = buttons.lost_text(ask.title)
        post = self._outbox.post(thread_id, text, components=_components(ask), on_refused=refused, restart_content=lost)
        self._known[ask.request] = _Asked(ask, asker_id, post)
        if len(self._known) > _ENDED_MOST:
            self._known.popitem(last=False)

    def ended(self, ask: PermissionRequest) -> None:
        """Say in the message how it ended, in place of the buttons."""
        known = self._known.get(ask.request)
        if known is not None:
            known.post.show(known.end_text(), (), last=True)

    async def clicked(self, interaction: discord.Interaction, person: Author, pressed: buttons.Pressed) -> None:
        """Answer a click of somebody whom the gate lets in."""
        known = self._known.get(pressed.request)
        if known is None:
            await self._take_stale_away(interaction)
            return
        ask = known.ask
        if not access.may_answer(self._settings, person, known.asker_id):
            await whisper(interaction, buttons.not_yours(known.asker_id))
        elif ask.outcome is not None:
            await whisper(interaction, buttons.answered_already(ask.outcome, known.answered_by))
        elif pressed.index >= len(ask.options):
            await whisper(interaction, buttons.NOT_OFFERED)
        else:
            await self._answer(interaction, person, known, ask.options[pressed.index].option_id)

    async def _answer(self, interaction: discord.Interaction, person: Author, known: _Asked, option_id: str) -> None:
        known.answered_by = person.id
        known.post.freeze()  # the answer to the click says the same, and at once
        shown = False
        try:
            known.ask.select(option_id)
            log.info("permission_answered", user=person.id, request=known.ask.request, option=option_id)
            text = known.end_text()
            shown = await answer(interaction, lambda: interaction.response.edit_message(content=text, view=None))
        except (Conflict, InvalidParams) as error:
            await whisper(interaction, f"{error}.")
        finally:
            known.post.unfreeze(delivered=shown)

    async def _take_stale_away(self, interaction: discord.Interaction) -> None:
        """Buttons of a request that nobody waits for any more."""
        if not await answer(interaction, lambda: interaction.response.edit_message(view=None)):
            return
        try:
            await interaction.followup.send(buttons.STALE, ephemeral=True)
        except (*NO_ANSWER, CLOSED) as error:
            note(interaction, error)


def _components(ask: PermissionRequest) -> list[dict[str, Any]]:
    """Rows of buttons (Discord, message components)."""
    made = [
        {"type": 2, "style": _STYLES[button.style], "label": button.label, "custom_id": button.custom_id}
        for button in buttons.buttons_for(ask.request, ask.options)
    ]
    starts = range(0, len(made), buttons.ROW_MAX)
    return [{"type": 1, "components": made[start : start + buttons.ROW_MAX]} for start in starts]
