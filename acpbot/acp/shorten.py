"""JSON made shorter while it arrives: what a message may take is bounded, and its last members are read all the same.

Strings keep their beginning, arrays and objects their first members; the result is JSON again. Pure.
"""

from __future__ import annotations

import re
from itertools import accumulate, islice
from typing import Final

import msgspec

_SLICE: Final = 16 * 1024
_DEPTH_MOST: Final = 32
# What the outer members may still take once the rest has used everything up: so many members, so many bytes a string.
_RESERVE: Final = 256
_RESERVED_BYTES: Final = 2 * _RESERVE * _RESERVE
_TAIL: Final = 16
_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
# Whole strings; the group is a last one that has no end.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|("(?:[^"\\]++|\\.)*+\\?\Z)', re.DOTALL)
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_TOKEN: Final = re.compile(rb'["\[\]{}]|[^"\[\]{}]+')
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Shortener:
    """Takes one JSON text in pieces; :meth:`finish` gives the short one.

    ``bytes_most``: about how long it may become; ``string_most``: how many bytes of a string are kept;
    ``members_most``: how many arrays, objects and members of these are kept, all together. ``cut``:
    whether something was left out. Members of the outer ``outer_depth`` levels are kept after the inner ones have used
    up what there is. The work is linear in the text.
    """

    def __init__(self, *, bytes_most: int, string_most: int, members_most: int, outer_depth: int) -> None:
        self.cut = False
        self._bytes_left = bytes_most
        self._string_most = string_most
        self._members_left = members_most
        self._outer_depth = outer_depth
        self._out: list[bytes] = []
        self._carry = b""
        self._depth = 0
        self._skipped_depth = 0  # in what is left out: how deep below the container that goes on after it
        self._string: list[bytes] | None = None
        self._string_left = 0
        self._closer_kept = False
        self._failed = False

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        for start in range(0, len(data), _SLICE):
            if self._failed:
                return
            piece = self._carry + data[start : start + _SLICE]
            self._carry = b""
            at = 0
            while at < len(piece):
                if self._string is not None:
                    at = self._in_string(piece, at)
                elif self._skipped_depth:
                    at = self._in_skipped(piece, at)
                else:
                    at = self._in_kept(piece, at)

    def finish(self) -> bytes | None:
        """The short text; ``None`` where it would be too long even so: it is mostly numbers or white space."""
        return None if self._failed else b"".join(self._out)

    def _emit(self, part: bytes) -> None:
        self._out.append(part)
        self._bytes_left -= len(part)
        if self._bytes_left < -_RESERVED_BYTES:
            self._failed = self.cut = True
            self._out.clear()

    # Each of these takes as much of the piece as is of its kind, and returns where that ends.

    def _in_kept(self, piece: bytes, at: int) -> int:
        token = _TOKEN.match(piece, at)
        if token is None:
            return len(piece)
        part = token[0]
        if part == b'"':
            least = _RESERVE if self._depth <= self._outer_depth else 0
            self._string, self._string_left = [], min(self._string_most, max(self._bytes_left, least))
        elif part in b"[{":
            if self._depth >= _DEPTH_MOST or (self._depth > self._outer_depth and self._members_left <= 0):
                self._emit(b"null")
                self._skipped_depth, self._closer_kept, self.cut = 1, False, True
            else:
                self._depth += 1
                self._members_left -= 1
                self._emit(part)
        elif part in b"]}":
            self._depth -= 1
            self._emit(part)
        else:
            return self._in_plain(part, at)
        return token.end()

    def _in_plain(self, part: bytes, at: int) -> int:
        """Commas, colons, numbers, white space: at a comma, the rest of a container may be left out."""
        room = max(self._members_left + (_RESERVE if self._depth <= self._outer_depth else 0), 0)
        commas = part.count(b",")
        if commas <= room:
            self._members_left -= commas
            self._emit(part.translate(None, b" \t\r"))
            return at + len(part)
        *kept, _ = part.split(b",", room + 1)
        self._members_left -= max(len(kept) - 1, 0)
        whole = b",".join(kept)
        self._emit(whole.translate(None, b" \t\r"))
        self._depth -= 1
        self._skipped_depth, self._closer_kept, self.cut = 1, True, True
        return at + len(whole)

    def _in_string(self, piece: bytes, at: int) -> int:
        assert self._string is not None  # noqa: S101 - what the caller has checked
        found = _REST_OF_STRING.match(piece, at)
        end = at if found is None else found.end()
        if self._string_left > 0:
            self._string.append(piece[at : min(end, at + self._string_left)])
        self._string_left -= end - at
        if end == len(piece):
            return end
        if piece[end] == ord("\\"):  # the escape goes on in the next piece
            self._carry = piece[end:]
            return len(piece)
        text = b"".join(self._string)
        self._string = None
        if not self._skipped_depth:
            if self._string_left < 0:
                self.cut = True
                text = _whole_characters(text)
            self._emit(b'"%b"' % text)
        return end + 1

    def _in_skipped(self, piece: bytes, at: int) -> int:
        rest = piece[at:]
        plain = _STRINGS.sub(rb"\1", rest)
        opened = plain.find(b'"')
        brackets = (plain if opened < 0 else plain[:opened]).translate(None, _NOT_BRACKETS)
        depths = list(accumulate(map(_STEPS.__getitem__, brackets), initial=self._skipped_depth))
        if 0 in depths:
            return at + self._end_of_skipped(rest, depths.index(0))
        self._skipped_depth = depths[-1]
        if opened >= 0:
            # The last string of the piece has no end in it.
            self._string, self._string_left = [], 0
            return len(piece) - (len(plain) - opened) + 1
        return len(piece)

    def _end_of_skipped(self, rest: bytes, brackets: int) -> int:
        """Where the bracket of this number is, which ends what is left out."""
        self._skipped_depth = 0
        ends = (found.end() for found in _STRING_OR_BRACKET.finditer(rest) if found[0][:1] != b'"')
        end = next(islice(ends, brackets - 1, None))
        if self._closer_kept:
            self._emit(rest[end - 1 : end])
        return end


def _whole_characters(text: bytes) -> bytes:
    """The beginning of a JSON string without the half of a character or of an escape at its end."""
    for shorter in range(_TAIL):
        kept = text[: len(text) - shorter]
        try:
            msgspec.json.decode(b'"%b"' % kept)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        return kept
    return b""


def shorten(
    text: bytes, *, bytes_most: int, string_most: int, members_most: int, outer_depth: int
) -> tuple[bytes | None, bool]:
    """A whole JSON text made short, and whether something was left out; see :class:`Shortener`."""
    shortener = Shortener(
        bytes_most=bytes_most, string_most=string_most, members_most=members_most, outer_depth=outer_depth
    )
    shortener.feed(text)
    return shortener.finish(), shortener.cut
