"""Markup inside a line of Markdown that Discord does not draw, as the nearest thing that it draws. Pure.

Inline code, characters after a backslash, addresses and the targets of links stay as they are. Markup that is not
complete, or that may mean something else, stays as it is too.
Source: CommonMark 0.31, section 6; GitHub's docs, Basic writing and formatting syntax.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BREAK: Final = "\n"
"""What :meth:`Inline.convert` gives for ``<br>``: the caller begins a new line of the same block."""

_REFERENCES_MAX: Final = 256
_MASK: Final = "\x00"

_SUSPECT: Final = re.compile(r"[`<$\[&]|\\[(]")
# What stays as it is, and mathematics. The target of a link may hold one pair of parentheses in another.
_KEPT: Final = re.compile(
    r"(?P<ticks>`+)"
    r"|\$\$(?P<display>[^$`\n]{1,1000})\$\$"
    r"|(?<![\w\\])\\\((?P<round>[^`\n\\]*(?:\\[^()`\n][^`\n\\]*)*)\\\)"
    r"|(?<![\w\\])\\\[(?P<square>[^`\n]{2,1000}?)\\\]"
    r"|(?<![\w$\\])\$(?P<dollar>[^\s$`](?:[^$`\n]{0,200}[^\s$`\\])?)\$(?![\w$])"
    r"|\\[!-/:-@\[-`{-~]"
    r"|<(?:https?|ftp|mailto):[^\s<>]{1,2000}>"
    r"|(?P<target>(?<=\])\((?:<[^<>\n]{0,2000}>|[^()\s<>]{1,2000}(?:\([^()\s<>]{0,2000}\)[^()\s<>]{0,2000}){0,3})"
    r"(?:[ ]+(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'))?\))"
    r"|https?://[^\s<>`\"|\\\])]{1,2000}"
)
_MATHS: Final = re.compile(r"[A-Za-z]|.*(?:\\[A-Za-z]|\^|_\{|[A-Za-z0-9]_[A-Za-z0-9]\b|[^=!<>]=[^=]).*")
_TEXT: Final = r"[^<>\n]{1,1000}"
_PAIRS: Final = {
    **dict.fromkeys(("b", "strong", "summary", "mark"), "**"),
    **dict.fromkeys(("i", "em"), "*"),
    **dict.fromkeys(("u", "ins"), "__"),
    **dict.fromkeys(("s", "del", "strike"), "~~"),
}
_TAGS: Final = re.compile(rf"<(b|strong|summary|mark|i|em|u|ins|s|del|strike|sub|sup)>({_TEXT})</\1\s*>", re.IGNORECASE)
_CODE: Final = re.compile(rf"<(kbd|code|samp|tt)>({_TEXT})</\1\s*>", re.IGNORECASE)
_ANCHOR: Final = re.compile(rf"<a\s+href=[\"']?(\x00\d+\x00)[\"']?\s*>({_TEXT})</a\s*>", re.IGNORECASE)
_HTML_IMAGE: Final = re.compile(r"<img\s([^<>\n]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(r"\b(src|alt)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
_BR: Final = re.compile(r"[ \t]*<br\s*/?>[ \t]*", re.IGNORECASE)
_MAIL: Final = re.compile(r"<([\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})>")
_KEY: Final = r"[^\[\]\n]{1,300}"
_LINKED_IMAGE: Final = re.compile(r"\[!\[([^\[\]\n]{0,300})\](\x00\d+\x00)\](\x00\d+\x00)")
_IMAGE: Final = re.compile(r"!\[([^\[\]\n]{0,300})\](\x00\d+\x00)")
_FOOTNOTE: Final = re.compile(r"\[\^(\d{1,3})\]")
_REFERENCE: Final = re.compile(rf"!?\[(?!\^)({_KEY})\](?:\[({_KEY})?\])?(?![\[(:\x00])")
_ENTITY: Final = re.compile(r"&(lt|gt|quot|nbsp|apos|#39|amp(?!;#?\w{1,32};));")
_MASKED: Final = re.compile(r"\x00(\d+)\x00")
_ENTITIES: Final = {"lt": r"\<", "gt": r"\>", "quot": '"', "nbsp": "\xa0", "apos": "'", "#39": "'", "amp": "&"}
_SUPER: Final = str.maketrans("0123456789+-=()ni", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ")
_SUB: Final = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_SUPER_ALL: Final = frozenset("0123456789+-=()ni")
_SUB_ALL: Final = frozenset("0123456789+-=()")


def superscript(digits: str) -> str:
    """Digits above the line."""
    return digits.translate(_SUPER)


class Inline:
    """Converts the lines of one text, in order. Inline code may go on in the next line of a paragraph.

    ``references`` are the addresses of links by their names in lower case. ``is_late``: a name was used before its
    address was there.
    """

    def __init__(self, references: dict[str, str] | None = None) -> None:
        self.references: dict[str, str] = references or {}
        self.is_late = False
        self._unknown: set[str] = set()
        self._run = 0

    def end_paragraph(self) -> None:
        """The next line begins another block."""
        self._run = 0

    def define(self, name: str, address: str) -> None:
        """Note the address of a reference link."""
        key = _key(name)
        if len(self.references) < _REFERENCES_MAX:
            self.references.setdefault(key, address)
            self.is_late = self.is_late or key in self._unknown

    def convert(self, text: str, *, bold: bool = False) -> str:
        """A part of a line, converted. ``bold``: all of it is to be bold."""
        head = ""
        if self._run:
            end = _end_of_run(text, 0, self._run)
            if end < 0:
                return text
            head, text, self._run = text[:end], text[end:], 0
        if _SUSPECT.search(text) is None or _MASK in text:
            return head + (_bold(text) if bold else text)
        kept: list[str] = []
        masked = self._mask(text, kept)

        def keep(part: str) -> str:
            kept.append(part)
            return f"{_MASK}{len(kept) - 1}{_MASK}"

        if "<" in masked:
            masked = _html(masked, keep)
        if "[" in masked:
            masked = self._links(masked, keep)
        if "&" in masked:
            masked = _ENTITY.sub(lambda found: _ENTITIES[found[1]], masked)
        if bold:
            masked = _bold(masked)
        while _MASK in masked:
            masked = _MASKED.sub(lambda found: kept[int(found[1])], masked)
        return head + masked

    def _mask(self, text: str, kept: list[str]) -> str:
        """The text with a number between two NUL characters for each part that stays as it is."""
        out: list[str] = []
        at = 0
        while (found := _KEPT.search(text, at)) is not None:
            end, shown = found.end(), found[0]
            if found["ticks"]:
                end = _end_of_run(text, end, len(shown))
                if end < 0:
                    # Perhaps code that ends in a later line: nobody knows yet.
                    self._run, end = len(shown), len(text)
                shown = text[found.start() : end]
            elif found["square"] and _MATHS.fullmatch(found["square"].strip()) is None:
                end, shown = found.start() + 2, found[0][:2]  # an escaped bracket
            elif (maths := found["display"] or found["round"] or found["square"] or found["dollar"]) is not None:
                if found["dollar"] and _MATHS.fullmatch(maths) is None:
                    out.append(text[at : found.start() + 1])
                    at = found.start() + 1
                    continue
                shown = f"`{maths.strip()}`" if maths.strip() else shown
            out.append(text[at : found.start()])
            out.append(f"{_MASK}{len(kept)}{_MASK}")
            kept.append(shown)
            at = end
        return "".join((*out, text[at:]))

    def _links(self, text: str, keep: Callable[[str], str]) -> str:
        if "![" in text:
            text = _LINKED_IMAGE.sub(lambda found: f"[{found[1] or 'image'}]{found[3]} ([image]{found[2]})", text)
            text = _IMAGE.sub(lambda found: f"[{found[1] or 'image'}]{found[2]}", text)
        text = _FOOTNOTE.sub(lambda found: superscript(found[1]), text)

        def link(found: re.Match[str]) -> str:
            key = _key(found[2] or found[1])
            address = self.references.get(key)
            if address is None:
                if len(self._unknown) < _REFERENCES_MAX:
                    self._unknown.add(key)
                return found[0]
            return f"[{found[1]}]{keep(f'({address})')}"

        return _REFERENCE.sub(link, text)


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _end_of_run(text: str, at: int, length: int) -> int:
    """The end of the next run of exactly so many backticks; -1: there is none."""
    while (at := text.find("`", at)) >= 0:
        end = at
        while end < len(text) and text[end] == "`":
            end += 1
        if end - at == length:
            return end
        at = end
    return -1


def _html(text: str, keep: Callable[[str], str]) -> str:
    text = _without_comments(text)
    text = _CODE.sub(lambda found: _as_code(found[2], keep), text)
    text = _HTML_IMAGE.sub(_html_image, text)
    for _ in range(3):  # tags in tags: the inner ones come first
        if "</" not in text:
            break
        text = _TAGS.sub(_pair, text)
    text = _ANCHOR.sub(lambda found: f"[{found[2].strip()}]({found[1]})", text)
    text = _MAIL.sub(r"\1", text)
    return _BR.sub(BREAK, text)


def _without_comments(text: str) -> str:
    """GitHub does not show them either."""
    out: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        out.append(text[at:start])
        at = end + 3
    return "".join((*out, text[at:])) if out else text


def _as_code(text: str, keep: Callable[[str], str]) -> str:
    if _MASK in text or "`" in text or not text.strip():
        return text
    return keep(f"`{html.unescape(text).strip()}`")


def _html_image(found: re.Match[str]) -> str:
    named = {name.lower(): double or single for name, double, single in _ATTRIBUTE.findall(found[1])}
    source = named.get("src", "")
    # An address is masked here.
    return f"[{named.get('alt') or 'image'}]({source})" if _MASKED.fullmatch(source) else found[0]


def _pair(found: re.Match[str]) -> str:
    tag, inner = found[1].lower(), found[2]
    words = inner.strip()
    if not words:
        return inner
    if tag == "sup":
        return (_SUPER_ALL.issuperset(words) and superscript(words)) or _raised("^", words)
    if tag == "sub":
        return (_SUB_ALL.issuperset(words) and words.translate(_SUB)) or _raised(r"\_", words)
    mark = _PAIRS[tag]
    left = inner[: len(inner) - len(inner.lstrip())]
    right = inner[len(inner.rstrip()) :]
    return f"{left}{mark}{words.replace(mark, '')}{mark}{right}"


def _bold(text: str) -> str:
    return f"**{text.replace('**', '')}**"


def _raised(sign: str, words: str) -> str:
    return f"{sign}{words}" if len(words.split()) == 1 else f"{sign}({words})"
