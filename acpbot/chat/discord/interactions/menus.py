"""Select menus for an agent's options, and the ids of their parts. Pure.

An id names the agent and the option by digests, and so does each choice its value, so that a menu from before a restart
still works, and one that does not fit any more has no effect: it never sets what the person did not see.
Source: https://discord.com/developers/docs/components/reference#string-select.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec

from acpbot.chat.rendering.markdown import code, plain
from acpbot.chat.thread_commands import NO_OPTIONS
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acpbot.chat.discord.outbound.rest import File
    from acpbot.sessions.options import Choice, Option

PAGE: Final = 25
"""How many choices Discord takes in one menu."""

STALE: Final = "This menu is out of date. Run the command again."
"""In the place of a menu whose agent, option or value is not there any more."""

_LABEL_MAX: Final = 100
_NAME_MAX: Final = 80
_TEXT_MAX: Final = 1800
_ID: Final = re.compile(
    r"acpbot-options:(list|pick|show|set|resume):([0-9a-f]{16}):([0-9a-f]{16}|-):([0-9]{1,3}):([01])"
)


class Pressed(msgspec.Struct, frozen=True):
    """What a ``custom_id`` of ours says.

    ``verb``: ``list`` shows all options, ``pick`` opens the one that was selected, ``show`` shows the choices of one,
    ``set`` sets the selected one; ``resume`` takes up the selected conversation. ``agent`` and ``key`` are digests.
    ``page`` counts from 0. ``listed``: the option was opened from the list of all.
    """

    verb: str
    agent: str
    key: str = "-"
    page: int = 0
    listed: bool = False

    @property
    def custom_id(self) -> str:
        """The id, which :func:`decode` reads."""
        return f"acpbot-options:{self.verb}:{self.agent}:{self.key}:{self.page}:{int(self.listed)}"


class Item(msgspec.Struct, frozen=True):
    """One line of a select menu."""

    value: str
    label: str
    description: str = ""
    current: bool = False


class Menu(msgspec.Struct, frozen=True):
    """An answer with a select menu and buttons below it, each an id and a label; without ``items`` it is only text.

    ``file``: attached to the answer to a command.
    """

    text: str
    custom_id: str = ""
    placeholder: str = ""
    items: tuple[Item, ...] = ()
    buttons: tuple[tuple[str, str], ...] = ()
    file: File | None = None


def decode(custom_id: str) -> Pressed | None:
    """What a menu of ours was given as its id; ``None`` for other ids, such as another bot's or an altered one."""
    found = _ID.fullmatch(custom_id)
    return None if found is None else Pressed(found[1], found[2], found[3], int(found[4]), found[5] == "1")


def digest(text: str) -> str:
    """A name for this text, which may be of any length; equal only where the text is equal."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def list_menu(agent: str, options: Sequence[Option], page: int = 0) -> Menu:
    """All options of an agent with what is in force, and a menu to open one; ``agent`` is its name."""
    if not options:
        return Menu(NO_OPTIONS)
    page = _within(page, len(options))
    shown = options[page * PAGE : (page + 1) * PAGE]
    lines = [f"{plain(one_line(option.name, _NAME_MAX))} ({code(option.key, 40)}): {_now(option)}" for option in shown]
    items = [Item(digest(one.key), _label(one.name, one.key), one_line(_current(one), _LABEL_MAX)) for one in shown]
    pressed = Pressed("list", digest(agent))
    pick = msgspec.structs.replace(pressed, verb="pick").custom_id
    turned = _page_buttons(lambda to: msgspec.structs.replace(pressed, page=to).custom_id, page, len(options))
    text = _text(lines, "Set one with `/options name: value:`")
    return Menu(text, pick, "Pick an option to change", _distinct(items), tuple(turned))


def choices_menu(
    agent: str, option: Option, page: int | None = None, *, listed: bool = False, notice: str = ""
) -> Menu:
    """What one option offers; page ``None`` is the one with the value in force. ``notice`` comes first."""
    if page is None:
        page = next((index // PAGE for index, choice in enumerate(option.choices) if choice.current), 0)
    page = _within(page, len(option.choices))
    shown = option.choices[page * PAGE : (page + 1) * PAGE]
    items = [
        Item(digest(one.value), _label(one.name, one.value), one_line(one.description, _LABEL_MAX), one.current)
        for one in shown
    ]
    pressed = Pressed("show", digest(agent), digest(option.key), page, listed)
    to_set = msgspec.structs.replace(pressed, verb="set").custom_id
    turned = _page_buttons(lambda to: msgspec.structs.replace(pressed, page=to).custom_id, page, len(option.choices))
    back = [(Pressed("list", digest(agent)).custom_id, "All options")] if listed else []
    is_command = option.key in {"model", "mode"}
    command = f"/{option.key} name:" if is_command else f"/options name:{one_line(option.key, 40)} value:"
    text = _text([line(choice) for choice in shown], f"Pick one here or with {code(command)}", notice or _title(option))
    placeholder = f"Pick one: {one_line(option.name, _LABEL_MAX)}"
    return Menu(text, to_set, placeholder, _distinct(items), (*turned, *back))


def line(choice: Choice) -> str:
    """One choice as a line of text."""
    return f"{'▶️' if choice.current else '▫️'} {plain(one_line(choice.name, 80))} ({code(choice.value)})"


def _title(option: Option) -> str:
    return f"{plain(one_line(option.name, _NAME_MAX))}: {_now(option)}"


def _now(option: Option) -> str:
    return code(_current(option), _NAME_MAX)


def _current(option: Option) -> str:
    return "unknown" if option.current is None else option.current.name


def _label(name: str, otherwise: str) -> str:
    return one_line(name, _LABEL_MAX) or one_line(otherwise, _LABEL_MAX) or "?"


def _distinct(items: Sequence[Item]) -> tuple[Item, ...]:
    """Without those of an equal value, which Discord refuses."""
    return tuple({item.value: item for item in reversed(items)}.values())[::-1]


def _within(page: int, count: int) -> int:
    return min(page, (count - 1) // PAGE)


def _page_buttons(to: Callable[[int], str], page: int, count: int) -> list[tuple[str, str]]:
    pages = (count + PAGE - 1) // PAGE
    made = [(to(page - 1), f"◀ Page {page}")] if page > 0 else []
    return [*made, (to(page + 1), f"Page {page + 2} ▶")] if page + 1 < pages else made


def _text(lines: Sequence[str], last: str, first: str = "") -> str:
    """As many of the lines as fit into a message; the menu below has them all."""
    kept, room = [first] if first else [], _TEXT_MAX - len(first) - len(last)
    for number, one in enumerate(lines):
        room -= len(one) + 1
        if room < 0:
            kept.append(f"… and {len(lines) - number} more.")
            break
        kept.append(one)
    return "\n".join([*kept, last])
