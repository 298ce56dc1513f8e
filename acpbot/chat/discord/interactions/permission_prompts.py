"""Permission requests: a message with buttons for each, and the answers to clicks and to written replies.

The id of a button names the request and the option, so clicks on buttons from before a restart are answered too. Every
click is answered within Discord's three seconds, by a change of the message or by a line that only the clicker sees.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp import permissions
from acpbot.chat.discord import access
from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.interactions import buttons
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.discord.interactions.respond import remove_buttons, respond, whisper
from acpbot.chat.discord.outbound.rest import FILE_BYTES_MOST, File
from acpbot.chat.rendering.markdown import plain
from acpbot.errors import Conflict, InvalidParams
from acpbot.logs import get_logger

if TYPE_CHECKING:
    import discord

    from acpbot.chat.discord.access import Author, Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post
    from acpbot.sessions.turn import PermissionRequest

log = get_logger(__name__)

_STYLES: Final = {"secondary": 2, "success": 3, "danger": 4}
_PROMPTS_MAX: Final = 1000


class _Prompt:
    """One request, what is shown of it, and the message with its buttons."""

    def __init__(self, ask: PermissionRequest, part: buttons.Shown, asker_id: str, post: Post) -> None:
        self.ask = ask
        self.part = msgspec.structs.replace(part, whole="")
        self.asker_id = asker_id
        self.post = post

    def end_text(self) -> str:
        return buttons.end_text(self.ask, self.part, self.asker_id)


class PermissionPrompts:
    """The requests that have a message. Ended ones are kept for a while, for clicks that come second."""

    def __init__(self, settings: CurrentSettings, channels: Channels, outbox: Outbox) -> None:
        self._settings = settings
        self._channels = channels
        self._outbox = outbox
        self._prompts: OrderedDict[str, _Prompt] = OrderedDict()

    def asked(
        self, thread_id: str, asker_id: str, ask: PermissionRequest, *, pings: str | None = None, tries: int = 2
    ) -> None:
        """Post a message with the agent's options as buttons, and a file where the message can't hold the whole action.

        ``pings``: the user whom it notifies.
        Where Discord refuses the file, nobody can allow the request; where it refuses the message, it is rejected.
        """
        part = buttons.shown(ask.action)
        file = _file(ask, part.whole) if ask.withheld is None and part.whole else None
        if file is not None and len(file.data) > FILE_BYTES_MOST:
            file = None
            ask.withhold("it's too large to attach here")

        def refused() -> None:
            if ask.outcome is not None:
                return
            if tries > 1:
                self.asked(thread_id, asker_id, ask, pings=pings, tries=tries - 1)
            elif file is not None:
                ask.withhold("I couldn't attach the file that shows all of it")
                self.asked(thread_id, asker_id, ask, pings=pings)
            else:
                log.warning("permission_unasked", thread=thread_id, request=ask.request)
                ask.reject("cancelled", "unshown")
                self._outbox.post(thread_id, buttons.unasked(ask))

        post = self._outbox.post(
            thread_id,
            buttons.ask_text(ask, part, asker_id),
            components=_components(ask),
            file=file,
            pings=pings,
            on_refused=refused,
            restart_content=buttons.lost_text(ask),
        )
        self._prompts[ask.request] = _Prompt(ask, part, asker_id, post)
        if len(self._prompts) > _PROMPTS_MAX:
            self._prompts.popitem(last=False)

    def ended(self, ask: PermissionRequest) -> None:
        """Say in the message how the request ended, in place of the buttons."""
        prompt = self._prompts.get(ask.request)
        if prompt is not None:
            prompt.post.show(prompt.end_text(), (), last=True)

    async def on_click(self, interaction: discord.Interaction) -> None:
        """Somebody has pressed a button."""
        data: Any = interaction.data or {}
        pressed = buttons.decode(str(data.get("custom_id")))
        if pressed is None:
            return
        me = interaction.client.user
        author = author_of(interaction.user)
        source = self._channels.source_of(interaction.channel, "" if me is None else str(me.id))
        prompt = self._prompts.get(pressed.request)
        if not access.is_allowed(self._settings.discord, author, source):
            log.info("click_denied", user=author.id, channel=source.channel_id)
            await whisper(interaction, NOT_HERE)
        elif prompt is None:
            await remove_buttons(interaction, buttons.STALE)
        elif not access.may_control(self._settings.discord, author, source, prompt.asker_id):
            await whisper(interaction, buttons.not_yours(prompt.asker_id, source.owner_id))
        elif prompt.ask.outcome is not None:
            await whisper(interaction, buttons.answered_already(prompt.ask.outcome, prompt.ask.answered_by))
        elif pressed.index >= len(prompt.ask.options):
            await whisper(interaction, buttons.NOT_OFFERED)
        else:
            await self._answer(interaction, author, prompt, prompt.ask.options[pressed.index].option_id)

    def takes(self, message_id: str, text: str) -> bool:
        """Whether this text, written as a reply to this message, answers an open request."""
        return buttons.written(text) is not None and self._open_at(message_id) is not None

    def answer(self, message_id: str, text: str, author: Author, source: MessageSource) -> str | None:
        """Answer it; ``None``, or what the person reads where that can't be done."""
        prompt, kinds = self._open_at(message_id), buttons.written(text)
        if prompt is None or kinds is None:
            return buttons.STALE
        if not access.may_control(self._settings.discord, author, source, prompt.asker_id):
            return buttons.not_yours(prompt.asker_id, source.owner_id)
        if prompt.ask.withheld is not None and kinds == permissions.ALLOW:
            return f"It can't be allowed: {prompt.ask.withheld}."
        option = buttons.meant(prompt.ask.options, kinds)
        if option is None:
            return buttons.BY_BUTTON
        prompt.ask.select(option.option_id, by=author.id)
        fields = {"user": author.id, "request": prompt.ask.request, "option": option.option_id}
        log.info("permission_answered", **fields, written=True)
        return None

    def _open_at(self, message_id: str) -> _Prompt | None:
        return next(
            (
                one
                for one in self._prompts.values()
                if one.ask.outcome is None and self._outbox.is_at(one.post, message_id)
            ),
            None,
        )

    async def _answer(self, interaction: discord.Interaction, author: Author, prompt: _Prompt, option_id: str) -> None:
        prompt.post.freeze()  # the response to the click changes the message, and at once
        shown = False
        try:
            prompt.ask.select(option_id, by=author.id)
            log.info("permission_answered", user=author.id, request=prompt.ask.request, option=option_id)
            text = prompt.end_text()
            shown = await respond(interaction, lambda: interaction.response.edit_message(content=text, view=None))
        except (Conflict, InvalidParams) as error:
            await whisper(interaction, plain(error.for_people))
        finally:
            prompt.post.unfreeze(delivered=shown)


def _file(ask: PermissionRequest, whole: str) -> File:
    return File("request.diff" if ask.action.has_changes else "request.txt", whole.encode())


def _components(ask: PermissionRequest) -> list[dict[str, Any]]:
    """Rows of buttons (Discord, message components)."""
    made = [
        {"type": 2, "style": _STYLES[button.style], "label": button.label, "custom_id": button.custom_id}
        for button in buttons.buttons_for(ask.request, ask.options)
    ]
    starts = range(0, len(made), buttons.ROW_MAX)
    return [{"type": 1, "components": made[start : start + buttons.ROW_MAX]} for start in starts]
