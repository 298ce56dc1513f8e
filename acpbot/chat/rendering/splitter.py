"""Growing markdown as pieces of bounded size, each of which is whole markdown by itself.

A piece is closed once, as soon as a character does not fit any more, and never changes afterwards. Where it is closed
depends on the text up to that character and on nothing else: not on how the text was cut into chunks.

- A split is after a line break where the piece has one, else after white space, else between two characters as people
  see them (no emoji sequence, combining mark, flag or CR LF is split where that can be avoided).
- A code fence that is open at a split is closed there and opened again, with its language, in the next piece. A fence
  is a line of three or more backticks or tildes (32 at most; more are text), after any indentation and list markers:
  chat platforms do not look at the indentation either.
- White space around a split and at the ends of the text belongs to a piece but is not shown: chat platforms strip it.
  The indentation of a piece's first line is shown; outside a fence a zero-width space before it keeps it from being
  stripped. Indentation over 100 is not kept.

Sizes are UTF-16 code units: never less than what a platform may count.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.fences import after_line
from acpbot.text import can_break, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.fences import Fence

BUDGET_MIN: Final = 120
"""The least budget of a piece: two fences of full length and some text between them."""

ZERO_WIDTH_SPACE: Final = "\u200b"
_INDENT_MAX: Final = 100
_CLOSING_MAX: Final = 33
# Kept free while code is open: its closing line then still fits, and no piece begins with an empty block.
_SLACK: Final = 8
_CLUSTER_MAX: Final = 64
_PARTS_MAX: Final = 1024

_VISIBLE: Final = re.compile(r"\S")


class Piece(NamedTuple):
    """``before`` and ``after`` are what the splitter adds to what is ``shown`` of the text."""

    before: str
    shown: str
    after: str


class _Line(NamedTuple):
    """A line with a visible character; it ends after its line break, and after the blank lines that follow."""

    end: int
    fence: Fence | None
    opens: bool  # it opens a fence


def append(parts: list[str], text: str) -> None:
    """Add to the parts of a text, and join them now and then: a text of one character takes 80 bytes by itself."""
    parts.append(text)
    if len(parts) >= _PARTS_MAX:
        parts[:] = ["".join(parts)]


class Splitter:
    """Splits a growing text into pieces.

    ``budget`` gives the size that the piece of an index may have, `BUDGET_MIN` at least. After ``max_pieces`` the rest
    is only kept. Amortized over all text, `feed` takes time linear in it.
    """

    def __init__(self, budget: Callable[[int], int], max_pieces: int) -> None:
        self._budget_of = budget
        self._max = max_pieces
        self.closed: list[Piece] = []
        self._closed_raw: list[str] = []
        self._rest: list[str] = []
        self.rest_length = 0
        # The open piece. The buffer ends in a visible character; white space is free until something follows it.
        self._buffer = ""
        self._blank: list[str] = []
        self._begin(None)

    def feed(self, text: str) -> None:
        """Add text at the end."""
        if len(self.closed) == self._max:
            self._keep(text)
            return
        visible = text.rstrip()
        if visible:
            self._buffer += "".join((*self._blank, visible))
            self._blank.clear()
            self._close_full()
        if len(visible) < len(text):
            blank = text[len(visible) :]
            if len(self.closed) == self._max:
                self._keep(blank)
            else:
                append(self._blank, blank)

    def fork(self) -> Splitter:
        """Another splitter that goes on from here; this one stays as it is."""
        fork = copy.copy(self)
        fork.closed = [*self.closed]
        fork._closed_raw = [*self._closed_raw]  # noqa: SLF001 - of the same class
        fork._rest = [*self._rest]  # noqa: SLF001 - the same
        fork._blank = [*self._blank]  # noqa: SLF001 - the same
        fork._lines = [*self._lines]  # noqa: SLF001 - the same
        return fork

    @property
    def is_full(self) -> bool:
        """Whether all that comes is only kept."""
        return len(self.closed) == self._max

    def budget_changed(self) -> None:
        """Check again whether the open piece fits."""
        self._fitting = 0
        if self._buffer:
            self._close_full()

    def open(self) -> Piece | None:
        """The piece that may still grow; ``None`` where it has nothing to show."""
        if not self._buffer:
            return None
        return self._piece(len(self._buffer), self._fence_at(len(self._buffer)))

    def raws(self) -> list[str]:
        """The text of each piece, as it came: joined, with the rest, they are the text.

        Without any visible character there are no pieces.
        """
        return [*self._closed_raw, "".join((self._buffer, *self._blank))] if self._buffer else [*self._closed_raw]

    @property
    def text(self) -> str:
        """All that came, byte for byte."""
        return "".join((*self._closed_raw, self._buffer, *self._blank, *self._rest))

    @property
    def rest(self) -> str:
        """What came after the last piece."""
        if len(self._rest) > 1:
            self._rest = ["".join(self._rest)]
        return "".join(self._rest)

    def _keep(self, text: str) -> None:
        append(self._rest, text)
        self.rest_length += len(text)

    # One piece.

    def _begin(self, fence: Fence | None) -> None:
        self._fence = fence
        self._lines: list[_Line] = []
        self._scanned = 0
        self._fitting = 0
        self._before: str | None = None
        self._first = self._cut = 0

    def _start_piece(self) -> None:
        """Decide what goes before the piece, once its first visible character is there."""
        self._first = len(self._buffer) - len(self._buffer.lstrip())
        self._cut = self._buffer.rfind("\n", 0, self._first) + 1
        if self._first - self._cut > _INDENT_MAX:
            self._cut = self._first
        if self._fence is not None:
            self._before = f"{self._fence.marker}{self._fence.language}\n"
        else:
            # A fence needs no indentation, and would not be seen as one after a zero-width space.
            protected = self._cut < self._first and self._buffer[self._first] not in "`~"
            self._before = ZERO_WIDTH_SPACE if protected else ""

    def _piece(self, end: int, fence: Fence | None) -> Piece:
        closing = "" if fence is None else f"\n{fence.marker}"
        return Piece(self._before or "", self._buffer[self._cut : end].rstrip(), closing)

    def _close_full(self) -> None:
        while True:
            if self._before is None:
                self._start_piece()
            overflow = self._overflow()
            if overflow is None:
                return
            end = self._choose(overflow)
            fence = self._fence_at(end)
            self.closed.append(self._piece(end, fence))
            self._closed_raw.append(self._buffer[:end])
            self._buffer = self._buffer[end:]
            self._begin(fence)
            if len(self.closed) == self._max:
                self._keep("".join((self._buffer, *self._blank)))
                self._buffer = ""
                self._blank.clear()
                return

    def _overflow(self) -> int | None:
        """The length at which the buffer does not fit for the first time."""
        budget = self._budget_of(len(self.closed))
        size = units(self._before or "") + units(self._buffer[self._cut : max(self._fitting, self._cut)])
        certain_to_fit = budget - _SLACK - _CLOSING_MAX
        start = max(self._fitting, self._cut)
        if size + 2 * (len(self._buffer) - start) > certain_to_fit:
            index = start
            while index < len(self._buffer):
                if size >= certain_to_fit:
                    visible = self._visible(index, len(self._buffer))
                    size += units(self._buffer[index:visible])
                    index = visible
                size += 2 if self._buffer[index] > "\uffff" else 1
                index += 1
                if size > certain_to_fit and not self._fits(index, size, budget):
                    return index
        self._fitting = len(self._buffer)
        return None

    def _fits(self, end: int, size: int, budget: int) -> bool:
        start, before = self._line_start(end)
        line = self._buffer[start:end]
        after = after_line(line, before)
        if after is not None:
            size += 1 + len(after.marker)
        closing = before is not None and len(line) <= _SLACK and not line.strip().strip(before.marker[0])
        return size <= (budget if closing else budget - _SLACK)

    def _line_start(self, at: int) -> tuple[int, Fence | None]:
        """Where the line begins that holds the character before ``at``, and the fence that is open there."""
        while (newline := self._buffer.find("\n", self._scanned, at)) >= 0:
            line = self._buffer[self._scanned : newline]
            last = self._lines[-1] if self._lines else None
            if not line.strip():
                newline = self._buffer.rfind("\n", newline, self._visible(newline, at))
                if last is not None:  # blank lines belong to the line before
                    self._lines[-1] = last._replace(end=newline + 1)
            else:
                before = last.fence if last else self._fence
                fence = after_line(line, before)
                self._lines.append(_Line(newline + 1, fence, before is None and fence is not None))
            self._scanned = newline + 1
        for scanned in reversed(self._lines):
            if scanned.end < at:
                return scanned.end, scanned.fence
        return 0, self._fence

    def _visible(self, start: int, end: int) -> int:
        """Where the first visible character is, ``end`` where there is none."""
        match = _VISIBLE.search(self._buffer, start, end)
        return match.start() if match else end

    def _fence_at(self, end: int) -> Fence | None:
        start, fence = self._line_start(end)
        return after_line(self._buffer[start:end], fence)

    # Where to split. Each length below ``overflow`` fits.

    def _choose(self, overflow: int) -> int:
        self._line_start(overflow)
        ends = [line for line in self._lines if self._first < line.end < overflow]
        best = self._after_line_break([line for line in ends if not line.opens])
        if best is not None:
            return best
        base = max(ends[-1].end if ends else 0, self._first)
        for end in range(overflow - 1, max(base, overflow // 2), -1):
            if self._buffer[end - 1].isspace() and can_break(self._buffer, end) and self._buffer[base:end].strip():
                return end
        for end in range(overflow - 1, max(base, overflow - _CLUSTER_MAX), -1):
            if can_break(self._buffer, end):
                return end
        return max(overflow - 1, base, 1)

    def _after_line_break(self, ends: list[_Line]) -> int | None:
        if not ends:
            return None
        last = ends[-1]
        if last.fence is None:
            # Indentation at the start of a message is lost to the list or block that it belongs to.
            for line in reversed(ends):
                if line.end * 2 < last.end:
                    break
                if line.fence is None and not self._buffer[line.end].isspace():
                    return line.end
        return last.end
