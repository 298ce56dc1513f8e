"""A question of an agent (docs/protocol.md, ``question``), asked field by field, and the answers that people type."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from acpctl.client import objects
from acpctl.text import clean, clean_lines

if TYPE_CHECKING:
    from acpctl.client import Message

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_OF_CHOICE: Final = re.compile(r"[1-9][0-9]{0,3}")
_YES: Final = frozenset({"y", "yes", "true"})
_NO: Final = frozenset({"n", "no", "false"})
DECLINE: Final = "/decline"


class Choice(NamedTuple):
    """``value`` goes to the daemon, ``label`` and ``description`` are read by people."""

    value: str
    label: str
    description: str


class Field(NamedTuple):
    """One thing to answer; ``kind``: text, number, integer, boolean, choice, choices."""

    name: str
    label: str
    kind: str
    about: str
    required: bool
    choices: tuple[Choice, ...]
    default: Any

    def lines(self) -> list[str]:
        """What a person must see before an answer."""
        about = f": {self.about}" if self.about else ""
        lines = [f"{self.label}{' (required)' if self.required else ''}{about}"]
        if self.kind != "boolean":
            for number, choice in enumerate(self.choices, 1):
                described = f": {choice.description}" if choice.description else ""
                lines.append(f"  {number}  {choice.label}{described}")
        if self.default is not None:
            lines.append(f"Press Enter for: {self._default_text()}")
        return lines

    def _default_text(self) -> str:
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        values = self.default if isinstance(self.default, list) else [self.default]
        labels = {choice.value: choice.label for choice in self.choices}
        return ", ".join(clean(labels.get(value, value) if isinstance(value, str) else value) for value in values)

    @property
    def label_of_input(self) -> str:
        """Which answers there are, in few words."""
        many = f"1-{len(self.choices)}"
        words = {"choice": many, "choices": f"{many}, with commas", "boolean": "y or n"}
        return words.get(self.kind, "answer")

    def read(self, line: str) -> Any:
        """The value that a typed line means; ``None`` for an empty one. Raises ValueError with a hint."""
        line = line.strip()
        if not line:
            if self.default is None and self.required:
                raise ValueError("an answer is required")
            return self.default
        match self.kind:
            case "choice":
                return self._chosen(line)
            case "choices":
                parts = [line] if self._match(line) is not None else [part for part in line.split(",") if part.strip()]
                return list(dict.fromkeys(self._chosen(part.strip()) for part in parts))
            case "boolean":
                if line.lower() not in _YES | _NO:
                    raise ValueError("answer y or n")
                return line.lower() in _YES
            case "integer" | "number":
                return _read_number(line, whole=self.kind == "integer")
        return line

    def _chosen(self, text: str) -> str:
        value = self._match(text)
        if value is None:
            raise ValueError(f"answer 1 to {len(self.choices)}, or the name of one")
        return value

    def _match(self, text: str) -> str | None:
        for choice in self.choices:
            if text.casefold() in {choice.value.casefold(), choice.label.casefold()}:
                return choice.value
        if _OF_CHOICE.fullmatch(text) and int(text) <= len(self.choices):
            return self.choices[int(text) - 1].value
        return None


def _read_number(line: str, *, whole: bool) -> float:
    if _NUMBER.fullmatch(line):
        return int(line)
    if whole:
        raise ValueError("answer a whole number")
    try:
        number = float(line)
    except ValueError:
        raise ValueError("answer a number") from None
    if not math.isfinite(number):
        raise ValueError("this number is too large")
    return number


class Answer(NamedTuple):
    """``action``: accept or decline."""

    action: str
    content: dict[str, Any] | None = None


class Question:
    """An open question, and what was answered so far. ``step``: how many fields that is."""

    def __init__(self, event: Message) -> None:
        self.request = str(event.get("request"))
        self.message = clean_lines(event.get("message"))
        self.url = clean(event.get("url"))
        self.host = clean(event.get("host"))
        self.unusable = clean(event.get("unusable"))
        self.fields = [_field(one) for one in objects(event.get("fields"))]
        self.step = 0
        self._content: dict[str, Any] = {}

    @property
    def summary(self) -> str:
        """What is asked, on one line."""
        return " ".join(self.message.split()) or "a question"

    def lines(self) -> list[str]:
        """What a person must see before the answer to this step; of the first one, the whole question."""
        lines: list[str] = []
        if self.step == 0:
            lines += ["The agent asks:", *(f"  {line}" for line in self.message.split("\n"))]
            if self.unusable:
                return [*lines, f"It can't be answered here: {self.unusable}.", f"{DECLINE} declines."]
            if self.url:
                lines += [f"Open this page at {self.host}, if you trust it:", f"  {self.url}"]
                return [*lines, f"Type done once you've finished there; {DECLINE} declines."]
            lines.append(f"{DECLINE} declines. Press Enter to skip what is optional.")
        return lines + (self.fields[self.step].lines() if self.step < len(self.fields) else [])

    @property
    def label(self) -> str:
        """What is before the input."""
        if self.unusable:
            return DECLINE
        if self.url or not self.fields:
            return "done" if self.url else "y"
        return self.fields[self.step].label_of_input

    def take(self, line: str) -> Answer | None:
        """Take a typed line; the whole answer once there is one. Raises ValueError with a hint."""
        word = line.strip().lower()
        if word == DECLINE:
            return Answer("decline")
        if self.unusable:
            raise ValueError(f"you can only decline this question: {DECLINE}")
        if not self.fields:
            if word in _YES | {"done", "ok"}:
                return Answer("accept")
            raise ValueError(f"answer {self.label}, or {DECLINE}")
        field = self.fields[self.step]
        value = field.read(line)
        if value is not None:
            self._content[field.name] = value
        self.step += 1
        return Answer("accept", self._content) if self.step == len(self.fields) else None

    def restart(self) -> None:
        """Ask all of it again: the daemon has not taken the answer."""
        self.step, self._content = 0, {}


def _field(members: Message) -> Field:
    about = " · ".join(part for part in (clean(members.get("description")), clean(members.get("hint"))) if part)
    return Field(
        name=str(members.get("name")),
        label=clean(members.get("label")) or "Answer",
        kind=str(members.get("kind")),
        about=about,
        required=members.get("required") is True,
        choices=tuple(
            Choice(str(one.get("value")), clean(one.get("label")), clean(one.get("description")))
            for one in objects(members.get("choices"))
        ),
        default=members.get("default"),
    )
