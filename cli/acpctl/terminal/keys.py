"""Bytes of a terminal as keys: one character each, or a name such as ``left``, ``ctrl-c``, ``paste``."""

from __future__ import annotations

import codecs
import re
from typing import Final

_PASTE_BEGINS: Final = "\x1b[200~"
_PASTE_ENDS: Final = "\x1b[201~"
# ECMA-48 control sequences and xterm's SS3 keys; an escape before anything else is Alt.
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Za-z]|[^\[O\x1b])")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_NAMED: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[3~": "delete",
    "\x1b[1;5C": "word-right",
    "\x1b[1;5D": "word-left",
    "\x1bf": "word-right",
    "\x1bb": "word-left",
    "\x1b\n": "newline",
    "\x1b\r": "newline",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\n": "enter",
    "\r": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\t": "tab",
}


class Keys:
    """Takes bytes as they come, and gives the keys that are then whole; ``paste:TEXT`` is what was pasted."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The keys in ``data`` and what was left of the data before."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        keys: list[str] = []
        while text:
            if text.startswith(_PASTE_BEGINS):
                end = text.find(_PASTE_ENDS)
                if end < 0:
                    self._rest = text
                    break
                keys.append("paste:" + text[len(_PASTE_BEGINS) : end])
                text = text[end + len(_PASTE_ENDS) :]
            elif text[0] != "\x1b":
                keys.append(_plain(text[0]))
                text = text[1:]
            elif found := _SEQUENCE.match(text):
                if name := _NAMED.get(found[0]):
                    keys.append(name)
                text = text[found.end() :]
            else:
                # A sequence comes in one piece as a rule; an escape all alone is the key of that name.
                if len(text) > 1 and _UNFINISHED.match(text):
                    self._rest = text
                    break
                text = text[1:]
        return keys


def _plain(character: str) -> str:
    if name := _NAMED.get(character):
        return name
    return f"ctrl-{chr(ord(character) + 96)}" if character < "\x1b" else character
