"""Questions of agents: a message with buttons, menus and windows for each, and the answers to clicks.

Every click is answered within Discord's three seconds, by a change of the message, a window, or a line that only the
clicker sees.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Literal

import discord

from acpbot.acp import form_values, permissions
from acpbot.acp.form_values import WrongAnswerError
from acpbot.chat.discord import access
from acpbot.chat.discord.access import author_of
from acpbot.chat.discord.interactions import buttons, question_parts, question_text
from acpbot.chat.discord.interactions.command_text import NOT_HERE
from acpbot.chat.discord.interactions.question_parts import Layout
from acpbot.chat.discord.interactions.respond import remove_buttons, respond, whisper
from acpbot.errors import Conflict, InvalidParams
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.acp.elicitation import Field, Value
    from acpbot.chat.discord.access import Author, Channels, CurrentSettings, MessageSource
    from acpbot.chat.discord.interactions.question_parts import Pressed, Window
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.chat.discord.outbound.post import Post
    from acpbot.sessions.questions import Question

log = get_logger(__name__)

_PROMPTS_MAX: Final = 1000


class _Prompt:
    """One question and its message. ``values`` are those of the fields so far, ``typed`` what was typed for them."""

    def __init__(self, question: Question, asker_id: str) -> None:
        self.question = question
        self.asker_id = asker_id
        self.layout = Layout(question.form)
        self.values: dict[int, Value] = {
            number: field.default for number, field in enumerate(question.form.fields) if field.default is not None
        }
        self.typed: dict[int, str] = {}
        self.page = 0
        self.post: Post | None = None

    def text(self) -> str:
        return question_text.ask_text(self.question, self.layout, self.values, self.page, self.asker_id)

    def rows(self) -> list[dict[str, Any]]:
        return self.layout.rows(self.question.request, self.values, self.page)

    def refresh(self) -> None:
        """Show what was filled in."""
        if self.post is not None and self.question.outcome is None:
            self.post.show(self.text(), self.rows())

    def written(self, text: str) -> int | Literal["accept", "decline"] | None:
        """The number of the field that a written reply answers; ``None`` where the form takes none.

        That is one of the buttons by its words, or the only text of a form without menus. Else a 'no' declines, and a
        'yes' accepts what has nothing to fill in.
        """
        layout, fields = self.layout, self.question.form.fields
        if layout.shape == "buttons" and layout.single is not None and chosen(fields[layout.single], text) is not None:
            return layout.single
        texts = layout.texts(0) if layout.shape in {"buttons", "texts"} else []
        if len(texts) == 1:
            return texts[0]
        kinds = buttons.written(text)
        if kinds is None or (kinds == permissions.ALLOW and (fields or self.question.form.unusable is not None)):
            return None
        return "accept" if kinds == permissions.ALLOW else "decline"

    def content(self) -> dict[str, Any]:
        return {self.question.form.fields[number].name: value for number, value in self.values.items()}


class QuestionPrompts:
    """The questions that have a message. Ended ones are kept for a while, for clicks that come second."""

    def __init__(self, settings: CurrentSettings, channels: Channels, outbox: Outbox) -> None:
        self._settings = settings
        self._channels = channels
        self._outbox = outbox
        self._prompts: OrderedDict[str, _Prompt] = OrderedDict()

    def asked(self, thread_id: str, asker_id: str, question: Question, *, pings: str | None = None) -> None:
        """Post a message with the means to answer; where Discord refuses it, the question is cancelled.

        ``pings``: the user whom it notifies.
        """
        prompt = _Prompt(question, asker_id)

        def refused() -> None:
            if question.outcome is None:
                log.warning("question_unasked", thread=thread_id, request=question.request)
                question.refuse("unshown")
                self._outbox.post(thread_id, question_text.unasked(question))

        prompt.post = self._outbox.post(
            thread_id,
            prompt.text(),
            components=prompt.rows(),
            pings=pings,
            on_refused=refused,
            restart_content=question_text.lost_text(question),
        )
        self._prompts[question.request] = prompt
        if len(self._prompts) > _PROMPTS_MAX:
            self._prompts.popitem(last=False)

    def ended(self, question: Question) -> None:
        """Say in the message how the question ended, in place of the buttons."""
        prompt = self._prompts.get(question.request)
        if prompt is not None and prompt.post is not None:
            prompt.post.show(question_text.end_text(question), (), last=True)
            prompt.values, prompt.typed = {}, {}

    def takes(self, message_id: str, text: str) -> bool:
        """Whether this text, written as a reply to this message, answers an open question."""
        prompt = self._open_at(message_id)
        return prompt is not None and prompt.written(text) is not None

    def answer(self, message_id: str, text: str, author: Author, source: MessageSource) -> str | None:
        """Answer it; ``None``, or what the person reads where that can't be done."""
        prompt = self._open_at(message_id)
        number = None if prompt is None else prompt.written(text)
        if prompt is None or number is None:
            return buttons.STALE
        if not access.may_control(self._settings.discord, author, source, prompt.asker_id):
            return buttons.not_yours(prompt.asker_id, source.owner_id)
        try:
            if not isinstance(number, int):
                prompt.question.answer(number, {} if number == "accept" else None, by=author.id)
                self._log_written(prompt, author)
                return None
            field = prompt.question.form.fields[number]
            if field.secret:
                return question_text.BY_WINDOW
            choice = chosen(field, text)
            value = form_values.read(field, text) if choice is None else question_parts.picked(field, [str(choice)])
            prompt.question.answer("accept", {field.name: value}, by=author.id)
        except WrongAnswerError as error:
            return question_text.wrong(error.field.label, error.why)
        self._log_written(prompt, author)
        return None

    @staticmethod
    def _log_written(prompt: _Prompt, author: Author) -> None:
        fields = {"user": author.id, "request": prompt.question.request, "outcome": prompt.question.outcome}
        log.info("question_answered", **fields, written=True)

    def _open_at(self, message_id: str) -> _Prompt | None:
        for one in self._prompts.values():
            if one.question.outcome is None and one.post is not None and self._outbox.is_at(one.post, message_id):
                return one
        return None

    async def on_interaction(self, interaction: discord.Interaction, pressed: Pressed) -> None:
        """Somebody has pressed a button, used a menu, or sent a window."""
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
        elif prompt.question.outcome is not None:
            await whisper(interaction, question_text.answered_already(prompt.question))
        elif pressed.verb == "fill" and prompt.layout.texts(pressed.number):
            window = prompt.layout.window(pressed.request, prompt.typed, pressed.number)
            await respond(interaction, lambda: interaction.response.send_modal(_modal(window)))
        else:
            try:
                self._take(prompt, pressed, interaction.data or {}, author.id)
            except WrongAnswerError as error:
                await whisper(interaction, question_text.wrong(error.field.label, error.why))
            except (Conflict, InvalidParams) as error:
                await whisper(interaction, error.for_people)
            except _RefusedError as error:
                await whisper(interaction, str(error))
            else:
                await respond(interaction, interaction.response.defer)

    def _take(self, prompt: _Prompt, pressed: Pressed, data: Mapping[str, Any], by: str) -> None:
        """Do what was pressed. Raises WrongAnswerError, Conflict, InvalidParams, _RefusedError."""
        question, layout, number = prompt.question, prompt.layout, pressed.number
        fields = question.form.fields
        match pressed.verb:
            case "decline":
                question.answer("decline", by=by)
            case "accept":
                question.answer("accept", prompt.content(), by=by)
            case "take" if layout.single is not None and number < len(fields[layout.single].choices):
                field = fields[layout.single]
                question.answer("accept", {field.name: question_parts.picked(field, [str(number)])}, by=by)
            case "pick" if number < len(fields) and question_parts.has_menu(fields[number]):
                self._pick(prompt, number, data)
            case "page" if number < len(layout.pages):
                prompt.page = number
                prompt.refresh()
            case "filled" if layout.texts(number):
                self._fill(prompt, number, data, by)
            case _:
                raise _RefusedError(question_text.NOT_OFFERED)
        if question.outcome is not None:
            log.info("question_answered", user=by, request=question.request, outcome=question.outcome)

    def _pick(self, prompt: _Prompt, number: int, data: Mapping[str, Any]) -> None:
        try:
            value = question_parts.picked(prompt.question.form.fields[number], list(data.get("values") or []))
        except ValueError:
            raise _RefusedError(question_text.NOT_OFFERED) from None
        _put(prompt.values, number, value)
        prompt.refresh()

    def _fill(self, prompt: _Prompt, page: int, data: Mapping[str, Any], by: str) -> None:
        """Take what was typed into a window; it is kept where it does not fit, so that nobody types it again."""
        fields, layout = prompt.question.form.fields, prompt.layout
        numbers = layout.texts(page)
        given = _typed(data)
        prompt.typed |= {number: given[str(number)] for number in numbers if str(number) in given}
        read = {number: form_values.read(fields[number], prompt.typed.get(number, "")) for number in numbers}
        if layout.shape == "buttons":
            content = {fields[number].name: value for number, value in read.items() if value is not None}
            if not content:
                raise _RefusedError(question_text.NOTHING_TYPED)
            prompt.question.answer("accept", content, by=by)
            return
        for number, value in read.items():
            _put(prompt.values, number, value)
        if layout.shape == "texts":
            prompt.question.answer("accept", prompt.content(), by=by)
        else:
            prompt.refresh()


def chosen(field: Field, text: str) -> int | None:
    """The number of the choice with these words; ``None`` where the field has none, or several."""
    if field.kind == "boolean" and (kinds := buttons.written(text)) is not None:
        return 0 if kinds == permissions.ALLOW else 1
    words = text.strip().casefold()
    same = [number for number, choice in enumerate(field.choices) if choice.label.strip().casefold() == words]
    return same[0] if len(same) == 1 else None


class _RefusedError(Exception):
    """A click that has no effect; the text is for the person."""


def _put(values: dict[int, Value], number: int, value: Value | None) -> None:
    if value is None:
        values.pop(number, None)
    else:
        values[number] = value


def _typed(data: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a window, by the ids of its inputs."""
    rows = [row for row in data.get("components") or [] if isinstance(row, dict)]
    inputs: list[Any] = [row.get("component") or next(iter(row.get("components") or [{}]), {}) for row in rows]
    return {str(one.get("custom_id")): str(one.get("value") or "") for one in inputs if isinstance(one, dict)}


def _modal(window: Window) -> discord.ui.Modal:
    """A window as discord.py sends it. Its ids say all, so it is stopped: the library does not keep it."""
    modal = discord.ui.Modal(title=window.title, custom_id=window.custom_id, timeout=None)
    for one in window.inputs:
        text: discord.ui.TextInput[discord.ui.Modal] = discord.ui.TextInput(
            custom_id=one.custom_id,
            style=discord.TextStyle.paragraph if one.long else discord.TextStyle.short,
            default=one.value or None,
            required=one.required,
            max_length=one.most,
        )
        modal.add_item(discord.ui.Label(text=one.label, description=one.description or None, component=text))
    modal.stop()
    return modal
