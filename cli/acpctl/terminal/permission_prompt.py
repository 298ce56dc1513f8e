"""The answer to a permission request, chosen on a terminal among the agent's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from acpctl.text import clean

if TYPE_CHECKING:
    from acpctl.render.output import Output

Option = dict[str, Any]

QUESTION: Final = "Answer with a number [none]: "


def show_options(offered: list[Option], out: Output) -> None:
    """Write the options with their numbers to stderr."""
    for number, one in enumerate(offered, 1):
        out.note(f"  {number}  {option_words(one)}: {clean(one.get('name'))}")


def option_words(option: Option) -> str:
    """What an option does, as people read it: ``allow once``."""
    return clean(option.get("kind") or option.get("name")).replace("_", " ")


def chosen_option(offered: list[Option], typed: str, out: Output) -> Option | None:
    """The option that was typed, by its number, id or kind; ``None`` for anything else, which is said."""
    wanted = typed.strip().lower()
    for number, one in enumerate(offered, 1):
        if wanted and wanted in {str(number), clean(one.get("option_id")).lower(), clean(one.get("kind")).lower()}:
            return one
    if wanted:
        out.note(f"{clean(wanted)} isn't one of them")
    return None


class PermissionPrompt:
    """Asks on a terminal, one request after the other, while the turn and other people go on.

    ``typed`` takes the lines that the user types; ``end`` says that a request has its answer.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._open: list[tuple[object, list[Option]]] = []  # the first one is on the terminal

    @property
    def asks(self) -> bool:
        """Whether a line of the user's is an answer."""
        return bool(self._open)

    def add(self, request: object, offered: list[Option]) -> None:
        """Ask about a request, after those before it."""
        self._open.append((request, offered))
        if len(self._open) == 1:
            self._show()

    def end(self, request: object) -> None:
        """Ask no more about a request: somebody else has answered it, or its time is over."""
        shown = self._open[:1]
        self._open = [one for one in self._open if one[0] != request]
        if shown and shown != self._open[:1]:
            self._out.note("\nit was answered elsewhere, or its time is over")
            self._show()

    def typed(self, line: str) -> tuple[object, Option] | None:
        """The request that is on the terminal, and its answer; ``None`` where it stays open for somebody else."""
        request, offered = self._open.pop(0)
        if not line:
            self._out.note("")  # Ctrl-D leaves the cursor behind the question
        option = chosen_option(offered, line, self._out)
        if option is None:
            self._out.note("the request stays open")
        self._show()
        return None if option is None else (request, option)

    def _show(self) -> None:
        if self._open:
            show_options(self._open[0][1], self._out)
            self._out.note(QUESTION, "bold", end="")
