"""Markdown as agents write it, with the blocks that Discord does not draw as the nearest thing that it draws. Pure.

Line by line, in one pass over a growing text: a line is converted once it is known what it is, which the next line may
decide (a table, an underlined heading). Code stays as it is, in fences, in quotes and by indentation; but Discord knows
only fences of three backticks. Blocks are read as CommonMark 0.31 and GitHub Flavored Markdown have them, as far as one
look at a line tells.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Final, Literal

from acpbot.chat.rendering import tables
from acpbot.chat.rendering.inline import BREAK, Inline, superscript
from acpbot.chat.rendering.markdown import escape_fences, fence
from acpbot.fences import after_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acpbot.chat.rendering.tables import TableMode
    from acpbot.fences import Fence

HELD_MAX: Final = 8192
"""Characters of a block that are held back until it ends; a longer one is left as it is."""
RULE: Final = "─" * 12
_TICKS: Final = "```"

_LINE_MAX: Final = 4000
_HEADING_MAX: Final = 200
_CODE_INDENT: Final = 4
_LIST_INDENT_MAX: Final = 16
_WORK_PER_LINE: Final = 40

_QUOTE: Final = re.compile(r" {0,3}>(?:[ \t]{0,2}>){0,7}(?:[ \t]|(?=\S)|\Z)")
_RULE: Final = re.compile(r" {0,3}(?:([-*_])(?:[ \t]*\1){2,}|<hr\s*/?>)[ \t]*", re.IGNORECASE)
_ITEM: Final = re.compile(r"([ \t]*)([-*+]|\d{1,9}[.)])([ \t]+)(?=\S)")
_TASK: Final = re.compile(r"\[([ xX])\][ \t]+(?=\S)")
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?[ \t]*")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)[ \t]*")
_ALERT: Final = re.compile(r"\[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\][ \t]*", re.IGNORECASE)
_FOOTNOTE: Final = re.compile(r" {0,3}\[\^([^\]\s]{1,60})\]:[ \t]*(.*)")
_REFERENCE: Final = re.compile(
    r" {0,3}\[([^\[\]^][^\[\]]{0,299})\]:[ \t]*<?((?:https?://|mailto:)[^\s<>]{1,2000})>?"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*"
)
_FOLD: Final = re.compile(r"^\s*<details[^<>]{0,100}>\s*|\s*</details\s*>\s*$", re.IGNORECASE)
_FOLD_TITLE: Final = re.compile(r"</summary\s*>[ \t]*(?=\S)", re.IGNORECASE)
_FOLD_ALONE: Final = re.compile(r"\s*</?(?:details|summary)[^<>]{0,100}>\s*", re.IGNORECASE)
_OPENS: Final = {"$$": "$$", r"\[": r"\]"}
_MATHS: Final = re.compile(r"\\[A-Za-z]|[\^_=]")

_State = Literal["", "first", "table", "maths", "comment"]


class Adapter:
    """Converts a growing text. How it is cut into chunks makes no difference to the whole.

    ``work`` grows with what was converted, for a caller that wants to bound it. ``references`` as in
    :class:`~acpbot.chat.rendering.inline.Inline`.
    """

    def __init__(self, mode: TableMode, references: dict[str, str] | None = None) -> None:
        self.mode = mode
        self.inline = Inline(references)
        self.work = 0
        self._open = ""  # the line that has not ended
        self._chunk, self._at = "", 0
        self._long = False  # the beginning of the open line was converted: it is too long to be held back
        self._held: list[str] = []  # lines that wait, with their line feeds
        self._size = 0
        self._state: _State = ""
        self._closing = ""  # what ends the mathematics
        self._may_be_table = False
        self._fence: Fence | None = None
        self._quoted_fence: Fence | None = None
        self._before: Literal["blank", "paragraph", "other"] = "blank"
        self._list_offset: int | None = None
        self._too_long = False

    def feed(self, chunk: str) -> Iterator[str]:
        """Add a chunk; give what can be shown now, in parts. After each of them :meth:`stop` may be called."""
        self._chunk, self._at = chunk, 0
        while self._at < len(chunk):
            most = self._at + _LINE_MAX + 1 - len(self._open)
            end = chunk.find("\n", self._at, most) + 1
            self._open += chunk[self._at : end or most]
            self._at = end or min(most, len(chunk))
            if end:
                line, self._open = self._open, ""
                yield self._end_of_line(line)
            elif len(self._open) > _LINE_MAX:
                yield self._begin_long()
        self._chunk, self._at = "", 0

    def stop(self) -> str:
        """What was not converted, as it is; nothing more is converted."""
        return "".join((*self._held, self._open, self._chunk[self._at :]))

    def finish(self) -> str:
        """The text has ended: what was held back."""
        line, self._open = self._open, ""
        return (self._end_of_line(line) if line else "") + self._release()

    @property
    def in_code(self) -> bool:
        """Whether a code block is open at the end of the text."""
        return self._quoted_fence is not None or after_line(self._open, self._fence) is not None

    @property
    def held(self) -> str:
        """What is held back, as it came."""
        return "".join((*self._held, self._open))

    def if_it_ended(self) -> str:
        """What :meth:`finish` would give now."""
        if not self._held and not self._open:
            return ""
        fork = copy.copy(self)
        fork._held = [*self._held]  # noqa: SLF001 - of the same class
        fork.inline = copy.copy(self.inline)
        return fork.finish()

    # Lines.

    def _begin_long(self) -> str:
        """Convert the beginning of a line that is too long to be held back."""
        at = self._open.rfind(" ", 1, _LINE_MAX) + 1 or _LINE_MAX
        part, self._open = self._open[:at], self._open[at:]
        if self._long:
            self.work += len(part)
            return self._middle(part)
        self._long = True
        self.work += len(part)
        return self._release() + self._begin(part) + self._release()

    def _end_of_line(self, line: str) -> str:
        if not self._long:
            return self._line(line)
        self._long = False
        self.work += len(line)
        return self._middle(line)

    def _middle(self, part: str) -> str:
        """A part of a line that is too long, but its first one."""
        return escape_fences(part) if self._fence or self._quoted_fence else self.inline.convert(part)

    def _line(self, line: str) -> str:
        """Add a whole line; what can be shown now."""
        self.work += len(line) + _WORK_PER_LINE
        if self._state:
            self._held.append(line)
            self._size += len(line)
            shown = self._continue(line)
            if shown is not None:
                return shown
            self._held.pop()
            return self._release() + self._begin(line)
        return self._begin(line)

    def _continue(self, line: str) -> str | None:
        """What can be shown now that this line is there; ``None``: it does not belong to what is held back."""
        text = line.strip()
        if self._size > HELD_MAX and self._state != "first":
            self._too_long = self._state == "table"
            return self._let_go()
        if self._state == "maths":
            if not text.endswith(self._closing):
                return None if after_line(text, None) else ""
            inner = "".join(self._held).strip()[2:-2].strip()
            return self._done(f"{fence(inner, 'latex')}\n" if inner else self._let_go())
        if self._state == "comment":
            return self._done("") if "-->" in line else ""
        depth, rest = _container(line)
        head_depth, head = _container(self._held[0])
        if self._state == "table":
            return "" if depth == head_depth and tables.has_pipe(rest) and not _begins_block(rest) else None
        if depth == head_depth and self._may_be_table and tables.is_dashes(rest, _without_item(head)):
            self._state = "table"
            return ""
        underline = _UNDERLINE.fullmatch(rest.rstrip("\r\n"))
        if underline is None or depth != head_depth or not self._may_be_heading(head):
            return None
        level = "#" if underline[1][0] == "=" else "##"
        self._before = "other"
        shown = f"{_quote(depth)}{level} {self.inline.convert(head.strip())}\n"
        self.inline.end_paragraph()
        return self._done(shown)

    def _done(self, shown: str) -> str:
        self._held, self._size, self._state = [], 0, ""
        return shown

    def _let_go(self) -> str:
        raw = "".join(self._held)
        return self._done(raw)

    def _release(self) -> str:
        """What is held back does not go on."""
        if not self._held:
            return ""
        lines, state = self._held, self._state
        if state == "first":
            return self._done(self._block(lines[0]))
        if state != "table":
            return self._let_go()
        self._before = "other"
        self.inline.end_paragraph()
        depth, _ = _container(lines[0])
        mode: Literal["code", "bullets"] = "code" if self.mode == "code" and not depth else "bullets"
        rows = [_container(line)[1] for line in lines]
        rows[0] = _without_item(rows[0])
        shown = tables.draw(rows, mode, Inline(self.inline.references).convert)
        if shown is None:
            return self._let_go()
        item = _ITEM.match(_container(lines[0])[1])
        number = f"{item[1]}{item[2]}\n" if item is not None and item[2][0].isdigit() else ""
        shown = f"{number}{shown}"
        if depth:
            shown = "\n".join(f"{_quote(depth)}{line}" for line in shown.split("\n"))
        return self._done(f"{shown}\n" if lines[-1].endswith("\n") else shown)

    def _begin(self, line: str) -> str:
        """A line before which nothing is held back."""
        before, self._fence = self._fence, after_line(line.rstrip("\r\n"), self._fence)
        if before is not None or self._fence is not None:
            self._before = "other"
            self.inline.end_paragraph()
            return _code_line(line, before, self._fence)
        depth, rest = _container(line)
        text = rest.strip()
        before = self._quoted_fence if depth else None
        self._quoted_fence = after_line(rest.rstrip("\r\n"), before) if depth else None
        if before is not None or self._quoted_fence is not None:
            return f"{line[: len(line) - len(rest)]}{_code_line(rest, before, self._quoted_fence)}"
        if not text:
            self._before, self._too_long = "blank", False
            self.inline.end_paragraph()
            return self._block(line)
        if self._is_code(rest, depth):
            return line
        state = self._held_state(rest, text, depth)
        if not state:
            return self._block(line)
        self._state, self._held, self._size = state, [line], len(line)
        return ""

    def _held_state(self, rest: str, text: str, depth: int) -> _State:
        """Whether the line is held back, and as what it may turn out."""
        if not depth and (closing := _OPENS.get(text[:2])) is not None:
            self._closing = closing
            inner = text[2:]
            if not inner.endswith(closing):
                return "maths" if closing not in inner and (not inner or _MATHS.search(inner)) else ""
        if not depth and text.startswith("<!--") and "-->" not in text:
            return "comment"
        is_row = tables.has_pipe(rest) and not text.startswith("-# ")
        self._too_long = self._too_long and is_row
        self._may_be_table = is_row and self.mode != "off" and not self._too_long
        return "first" if self._may_be_table or self._may_be_heading(rest) else ""

    def _may_be_heading(self, rest: str) -> bool:
        """Whether a line of ``=`` or ``-`` below makes a heading of this one."""
        return (
            self._before != "paragraph"
            and len(rest) <= _HEADING_MAX
            and not tables.has_pipe(rest)
            and not _begins_block(rest)
            and len(rest) - len(rest.lstrip()) < _CODE_INDENT
        )

    def _is_code(self, rest: str, depth: int) -> bool:
        """Whether the line is code by its indentation."""
        indent = len(rest.expandtabs(4)) - len(rest.expandtabs(4).lstrip())
        if depth or indent < _CODE_INDENT or self._before == "paragraph":
            return False
        return self._list_offset is None or (self._before == "blank" and indent >= self._list_offset + _CODE_INDENT)

    # One line.

    def _block(self, line: str) -> str:
        """The line, converted: it is neither code nor a part of a block of several lines."""
        text = line.rstrip("\r\n")
        ending = line[len(text) :]
        depth, rest = _container(text)
        quote = _quote(depth)
        if not rest.strip():
            return f"{quote}{ending}" if depth else line
        if not depth:
            self._note_list(rest)
        if _RULE.fullmatch(rest):
            self._before = "other"
            return f"{quote}{RULE}{ending}"
        reference = _REFERENCE.fullmatch(rest)
        if reference is not None:
            self.inline.define(reference[1], reference[2])
            return f"{quote}-# {rest.strip()}{ending}"
        note = _FOOTNOTE.fullmatch(rest)
        if note is not None:
            name = superscript(note[1]) if note[1].isdecimal() and note[1].isascii() else f"[^{note[1]}]:"
            return f"{quote}-# {name} {self.inline.convert(note[2])}{ending}"
        if _FOLD_ALONE.fullmatch(rest):
            return ""
        start, content = _split_item(rest)
        if "<" in content:
            content = _FOLD_TITLE.sub("</summary> ", _FOLD.sub("", content))
        shown = self._content(content, is_quote=depth > 0)
        if not shown.strip():
            return ""
        if BREAK in shown:
            shown = _broken(shown, f"{ending or chr(10)}{quote}{' ' * len(start)}")
        return f"{quote}{start}{shown}{ending}"

    def _note_list(self, rest: str) -> None:
        item = _ITEM.match(rest)
        if item is not None:
            self._list_offset = len(item[0].expandtabs(4))
        elif not rest[0].isspace() and self._before == "blank":
            self._list_offset = None

    def _content(self, content: str, *, is_quote: bool) -> str:
        """What comes after the marks of quotes and items."""
        heading = _HEADING.fullmatch(content)
        if heading is not None:
            self._before = "other"
            self.inline.end_paragraph()
            deep = len(heading[1]) > 3  # noqa: PLR2004 - Discord draws three levels
            shown = self.inline.convert(heading[2], bold=deep).replace(BREAK, " ")
            self.inline.end_paragraph()
            return shown if deep else f"{heading[1]} {shown}"
        if self._before != "paragraph":
            self.inline.end_paragraph()
        self._before = "paragraph"
        alert = _ALERT.match(content) if is_quote else None
        if alert is not None:
            rest = self.inline.convert(content[alert.end() :])
            return f"**{alert[1].capitalize()}**{f' {rest}' if rest else ''}"
        return self.inline.convert(content)


def adapt(text: str, mode: TableMode) -> str:
    """A whole text, converted."""
    adapter = Adapter(mode)
    return "".join(adapter.feed(text)) + adapter.finish()


def _container(line: str) -> tuple[int, str]:
    """In how many quotes the line is, and what comes after their marks."""
    found = _QUOTE.match(line) if ">" in line[:32] else None
    return (0, line) if found is None else (found[0].count(">"), line[found.end() :])


def _quote(depth: int) -> str:
    """The marks of a quote: Discord draws one level."""
    return f"> {'│ ' * (depth - 1)}" if depth else ""


def _code_line(line: str, before: Fence | None, after: Fence | None) -> str:
    """A line of a code block. Discord draws one between three backticks, and ends it at the first three inside."""
    if before is not None:
        return escape_fences(line) if after is not None else line.replace(line.strip(), _TICKS)
    if after is None or after.marker == _TICKS:
        return line
    ending = line[len(line.rstrip("\r\n")) :]
    return f"{line[: line.index(after.marker)]}{_TICKS}{after.language}{ending}"


def _begins_block(rest: str) -> bool:
    """Whether the line can't belong to the block of the line before."""
    return (
        _ITEM.match(rest) is not None
        or rest.lstrip().startswith(("#", "```", "~~~", ">", "<", "$$", "-# "))
        or _RULE.fullmatch(rest.rstrip("\r\n")) is not None
    )


def _without_item(rest: str) -> str:
    """The line without the marks of a list item that it begins with."""
    item = _ITEM.match(rest)
    return rest if item is None else rest[item.end() :]


def _split_item(rest: str) -> tuple[str, str]:
    """The marks of a list item, as Discord draws them, and what comes after them."""
    item = _ITEM.match(rest)
    if item is None:
        return "", rest
    start, content = item[0], rest[item.end() :]
    if item[2] == "+":
        start = f"{item[1]}-{item[3]}"
    task = _TASK.match(content)
    if task is not None:
        return f"{start}{'☐' if task[1] == ' ' else '☑'} ", content[task.end() :]
    return start, content


def _broken(text: str, feed: str) -> str:
    """With a line feed at each break, unless what follows would become another block."""
    first, *others = text.split(BREAK)
    for part in others:
        plain = part[:1].isalpha() or part.startswith(("**", "[", "`", "("))
        first += f"{feed}{part}" if plain and not part.startswith("```") else f" {part}"
    return first
