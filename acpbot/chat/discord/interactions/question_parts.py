"""A question of an agent as a message: its buttons, select menus and forms to fill in, and their ids. Pure.

One choice of a few is buttons. Other forms have pages, each with up to four select menus, and up to five texts in a
window of their own (Discord, modals). An id names the question and what the part is for, so that nothing need be stored
to know what a click is for after a restart.
Source: https://discord.com/developers/docs/components/reference.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from acpbot.acp.form_values import hint
from acpbot.text import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acpbot.acp.elicitation import Elicitation, Field, Value

Shape = Literal["decline", "address", "buttons", "texts", "pages"]
"""How a question is shown.

``decline``: nobody can accept it. ``buttons``: one press answers. ``texts``: one window answers. ``pages``: menus and
windows, and a button that sends what was chosen.
"""

INPUTS_MOST: Final = 5
"""Texts in one window."""
VALUE_MOST: Final = 4000
"""Characters of a text in a window."""
_MENUS_MOST: Final = 4
_CHOICES_OF_MENU: Final = 25
_CHOICES_AS_BUTTONS: Final = 10
_ROW_MOST: Final = 5
_LABEL_OF_BUTTON: Final = 80
_TEXT_OF_CHOICE: Final = 100
_PLACEHOLDER_MOST: Final = 150
_TITLE_MOST: Final = 45
_URL_OF_BUTTON: Final = 512
_GREY, _GREEN, _RED, _LINK, _BLUE = 2, 3, 4, 5, 1
_ID: Final = re.compile(r"acpbot-q:([A-Za-z0-9_.-]{1,64}):([a-z]{1,8}):(0|[1-9][0-9]{0,2})")

Row = dict[str, Any]


class Pressed(msgspec.Struct, frozen=True):
    """What a ``custom_id`` of ours says.

    ``verb``: ``accept``, ``decline``, ``take`` (the choice with this number), ``pick`` (in the menu of this field),
    ``page`` (show it), ``fill`` (open the window of this page), ``filled`` (that window was sent). ``number`` counts
    from 0.
    """

    request: str
    verb: str
    number: int


class Input(msgspec.Struct, frozen=True):
    """One text in a window; ``custom_id`` is the number of its field."""

    custom_id: str
    label: str
    description: str
    value: str
    required: bool
    most: int
    long: bool


class Window(msgspec.Struct, frozen=True):
    """A form in a window of its own (Discord calls it a modal)."""

    custom_id: str
    title: str
    inputs: tuple[Input, ...]


def encode(request: str, verb: str, number: int = 0) -> str:
    """The ``custom_id`` of a part."""
    return f"acpbot-q:{request}:{verb}:{number}"


def decode(custom_id: str) -> Pressed | None:
    """What :func:`encode` was given; ``None`` for other ids, such as another bot's or an altered one."""
    match = _ID.fullmatch(custom_id)
    return None if match is None else Pressed(match[1], match[2], int(match[3]))


def has_menu(field: Field) -> bool:
    """Whether the field is a select menu; the others are texts."""
    return 0 < len(field.choices) <= _CHOICES_OF_MENU


class Layout:
    """How one form is shown: ``pages`` are the numbers of the fields on each, ``single`` that of the buttons."""

    def __init__(self, form: Elicitation) -> None:
        self.form = form
        self.pages = _pages(form)
        self.single = _single(form)
        self.shape = self._shape()

    def _shape(self) -> Shape:
        if self.form.unusable is not None:
            return "decline"
        if self.form.mode == "url":
            return "address"
        if self.single is not None:
            return "buttons"
        has_menus = any(map(has_menu, self.form.fields))
        return "texts" if self.form.fields and len(self.pages) == 1 and not has_menus else "pages"

    def texts(self, page: int) -> list[int]:
        """The numbers of the fields in the window of a page."""
        fields = self.form.fields
        return [number for number in self.pages[page] if not has_menu(fields[number])] if page < len(self.pages) else []

    def rows(self, request: str, values: Mapping[int, Value], page: int) -> list[Row]:
        """The rows of buttons and menus (Discord, message components)."""

        def button(label: str, style: int, verb: str, number: int = 0) -> Row:
            return {"type": 2, "style": style, "label": label, "custom_id": encode(request, verb, number)}

        decline = button("Decline", _RED, "decline")
        match self.shape:
            case "decline":
                return _rows([decline])
            case "address":
                url = self.form.url
                link = [{"type": 2, "style": _LINK, "label": "Open the page", "url": url}]
                done = button("Done", _GREEN, "accept")
                return _rows([*(link if len(url) <= _URL_OF_BUTTON else []), done, decline])
            case "texts":
                return _rows([button("Answer…", _BLUE, "fill"), decline])
            case "buttons":
                single = self.form.fields[self.single or 0]
                made = [
                    button(shorten(choice.label, _LABEL_OF_BUTTON), _BLUE, "take", number)
                    for number, choice in enumerate(single.choices)
                ]
                other = [button("Something else…", _GREY, "fill")] if self.texts(0) else []
                return [*_rows(made), *_rows([*other, decline])]
        shown = [number for number in self.pages[page] if number not in self.texts(page)]
        menus = [_menu(request, number, self.form.fields[number], values.get(number)) for number in shown]
        last = [button("Fill in…", _GREY, "fill", page)] if self.texts(page) else []
        if page > 0:
            last.append(button("◀ Back", _GREY, "page", page - 1))
        if page + 1 < len(self.pages):
            last.append(button("Next ▶", _GREY, "page", page + 1))
        return [*_rows(*[[menu] for menu in menus]), *_rows([*last, button("Send", _GREEN, "accept"), decline])]

    def window(self, request: str, typed: Mapping[int, str], page: int) -> Window:
        """The window of a page, with what was typed before."""
        inputs = [_input(number, self.form.fields[number], typed.get(number)) for number in self.texts(page)]
        title = one_line(self.form.message, _TITLE_MOST) or "Your answer"
        return Window(encode(request, "filled", page), title, tuple(inputs))


def _single(form: Elicitation) -> int | None:
    """The number of the field whose choices are buttons: the only choice of a form where all else may be left out."""
    menus = [number for number, field in enumerate(form.fields) if has_menu(field)]
    others = [field for field in form.fields if not has_menu(field)]
    if len(menus) != 1 or form.fields[menus[0]].kind == "choices" or len(others) > INPUTS_MOST:
        return None
    field = form.fields[menus[0]]
    fits = len(field.choices) <= _CHOICES_AS_BUTTONS and not any(other.required for other in others)
    return menus[0] if fits and not (others and field.required) else None


def _pages(form: Elicitation) -> list[list[int]]:
    pages: list[list[int]] = [[]]
    menus = texts = 0
    for number, field in enumerate(form.fields):
        is_menu = has_menu(field)
        if (menus if is_menu else texts) == (_MENUS_MOST if is_menu else INPUTS_MOST):
            pages.append([])
            menus = texts = 0
        menus, texts = menus + is_menu, texts + (not is_menu)
        pages[-1].append(number)
    return pages


def _rows(*rows: list[Row]) -> list[Row]:
    return [
        {"type": 1, "components": row[start : start + _ROW_MOST]}
        for row in rows
        for start in range(0, len(row), _ROW_MOST)
    ]


def _menu(request: str, number: int, field: Field, value: Value | None) -> Row:
    chosen = value if isinstance(value, list) else [] if value is None else [as_choice(value)]
    most = 1 if field.kind != "choices" else len(field.choices)
    if field.kind == "choices" and field.most is not None and 1 <= field.most < most:
        most = int(field.most)
    options = []
    for index, choice in enumerate(field.choices):
        option: Row = {"label": shorten(choice.label, _TEXT_OF_CHOICE), "value": str(index)}
        if choice.description:
            option["description"] = shorten(choice.description, _TEXT_OF_CHOICE)
        options.append({**option, "default": choice.value in chosen[:most]})
    needed = "" if field.required else " (optional)"
    return {
        "type": 3,
        "custom_id": encode(request, "pick", number),
        "placeholder": f"{shorten(field.label, _PLACEHOLDER_MOST - len(needed))}{needed}",
        "min_values": 0,
        "max_values": most,
        "options": options,
    }


def as_choice(value: Value) -> str:
    """The value of a choice that stands for this value: those of a boolean are ``true`` and ``false``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def picked(field: Field, selected: list[str]) -> Value | None:
    """The value of a field in whose menu these were selected; ``None`` where nothing was. Raises ValueError."""
    values = [field.choices[int(index)].value for index in selected if 0 <= int(index) < len(field.choices)]
    if not values:
        return None
    if field.kind == "choices":
        return values
    return values[0] == "true" if field.kind == "boolean" else values[0]


def _input(number: int, field: Field, typed: str | None) -> Input:
    is_text = field.kind == "text"
    most = int(min(field.most, VALUE_MOST)) if is_text and field.most is not None and field.most >= 1 else VALUE_MOST
    value = typed if typed is not None else "" if field.default is None else _as_text(field.default)
    about = " · ".join(part for part in (field.description, hint(field)) if part)
    return Input(
        custom_id=str(number),
        label=one_line(field.label, _TITLE_MOST) or "Answer",
        description=one_line(about, _TEXT_OF_CHOICE),
        value=value[:most],
        required=field.required,
        most=most,
        long=is_text and not field.format and most > 100,  # noqa: PLR2004 - about a line of the window
    )


def _as_text(value: Value) -> str:
    return ", ".join(value) if isinstance(value, list) else as_choice(value)
