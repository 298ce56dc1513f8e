"""Keys from the bytes of a terminal: one character each, or a name such as ``left`` or ``ctrl-c``."""

from __future__ import annotations

import codecs
import re
from typing import Final

# ECMA-48 control sequences and xterm's SS3 keys; an escape before any other character means Alt.
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Za-z]|[^\[O\x1b])")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_NAMES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b[3~": "delete",
    "\x1b[5~": "page-up",
    "\x1b[6~": "page-down",
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


class KeyParser:
    """Turns bytes into keys; keeps an unfinished sequence until the rest of it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._unfinished = ""

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete with ``data``; leaves out sequences that name no key."""
        text = self._unfinished + self._decoder.decode(data)
        self._unfinished = ""
        keys: list[str] = []
        while text:
            if text[0] != "\x1b":
                keys.append(_key(text[0]))
                text = text[1:]
            elif found := _SEQUENCE.match(text):
                if name := _NAMES.get(found[0]):
                    keys.append(name)
                text = text[found.end() :]
            else:
                # Terminals write a sequence in one piece, so an escape alone is the key Esc.
                if len(text) > 1 and _UNFINISHED.match(text):
                    self._unfinished = text
                    break
                keys.append("escape")
                text = text[1:]
        return keys


def _key(character: str) -> str:
    if name := _NAMES.get(character):
        return name
    return f"ctrl-{chr(ord(character) + 96)}" if character < "\x1b" else character
