"""One line that is being typed, without a terminal: keys in, a line out, and what to show of it."""

from __future__ import annotations

from acpctl.text import clean_lines, take, width

_NEWLINE_SHOWN = "⏎"
_SAME_KEYS = {
    "ctrl-b": "left",
    "ctrl-f": "right",
    "ctrl-a": "home",
    "ctrl-e": "end",
    "ctrl-d": "delete",
    "ctrl-p": "up",
    "ctrl-n": "down",
}
_RECALLS = {"up": -1, "down": 1}


class Editor:
    """The keys of readline that fingers know. A line may hold newlines (pasted, or Alt-Enter); Enter submits it."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._history: list[str] = []
        self._recalled = 0
        self._draft = ""

    @property
    def empty(self) -> bool:
        """Whether nothing is typed."""
        return not self._text

    def take(self, key: str) -> str | None:
        """Take a key in; the whole line once it is submitted."""
        if key == "enter":
            return self._submit()
        if key.startswith("paste:"):
            self._insert(clean_lines(key[len("paste:") :].replace("\r", "\n")))
        elif key == "newline":
            self._insert("\n")
        elif len(key) == 1:
            self._insert(key)
        else:
            self._edit(key)
        return None

    def view(self, columns: int) -> tuple[str, int]:
        """What to show in ``columns``, and the cursor's column in it: the line scrolls under the cursor."""
        shown = self._text.replace("\n", _NEWLINE_SHOWN)
        before = shown[: self._at]
        room = max(1, columns - 1)
        start = 0
        while width(before[start:]) > room:
            start += max(1, room // 2) if width(before[start:]) > 2 * room else 1
        return take(shown[start:], room), width(before[start:])

    def clear(self) -> None:
        """Forget what is typed."""
        self._text, self._at = "", 0

    def _submit(self) -> str:
        text = self._text
        if text.strip() and self._history[-1:] != [text]:
            self._history.append(text)
        self._recalled = len(self._history)
        self.clear()
        return text

    def _insert(self, text: str) -> None:
        self._text = self._text[: self._at] + text + self._text[self._at :]
        self._at += len(text)

    def _cut(self, start: int, end: int) -> None:
        self._text = self._text[:start] + self._text[end:]
        self._at = start

    def _edit(self, key: str) -> None:
        text, at = self._text, self._at
        places = {
            "left": max(0, at - 1),
            "right": min(len(text), at + 1),
            "home": 0,
            "end": len(text),
            "word-left": self._word_before(),
            "word-right": self._word_after(),
        }
        cuts = {
            "backspace": (max(0, at - 1), at),
            "delete": (at, at + 1),
            "ctrl-u": (0, at),
            "ctrl-k": (at, len(text)),
            "ctrl-w": (self._word_before(), at),
        }
        key = _SAME_KEYS.get(key, key)
        if key in places:
            self._at = places[key]
        elif key in cuts:
            self._cut(*cuts[key])
        elif key in _RECALLS:
            self._recall(_RECALLS[key])

    def _word_before(self) -> int:
        kept = self._text[: self._at].rstrip()
        return max(kept.rfind(" "), kept.rfind("\n")) + 1

    def _word_after(self) -> int:
        rest = self._text[self._at :]
        start = len(rest) - len(rest.lstrip())
        found = rest.find(" ", start)
        return len(self._text) if found < 0 else self._at + found

    def _recall(self, step: int) -> None:
        if self._recalled >= len(self._history):
            self._draft = self._text
        self._recalled = min(max(0, self._recalled + step), len(self._history))
        self._text = self._history[self._recalled] if self._recalled < len(self._history) else self._draft
        self._at = len(self._text)
