"""File changes in an agent's tool calls, as unified diffs. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.chat.rendering.markdown import code, fence
from acpbot.text import clean, one_line, units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHOWN_MAX: Final = 1500
_CONTEXT: Final = 3
_MATCHED_MAX: Final = 400
_PAIRS_MAX: Final = 3000
COMPARED_MAX: Final = 256 * 1024
HIDDEN_CHARACTER: Final = "\ufffd"
"""Shown in place of each character that can't be seen: people look at a change to find such ones too."""
_CHANGES_MAX: Final = 50


class Diff(msgspec.Struct, frozen=True):
    """A change of one file: ``text`` is a unified diff, each line ended by a line feed; empty where nothing changed."""

    path: str
    text: str
    added: int
    removed: int

    @property
    def filename(self) -> str:
        """A name for it as an attached file."""
        name = one_line(self.path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1], 80)
        return f"{name.strip('. ') or 'change'}.diff"

    @property
    def summary(self) -> str:
        """One line: the path and the counts of lines."""
        return f"{code(self.path, 150)} +{self.added} −{self.removed}"  # noqa: RUF001 - a minus sign, as it is for people

    @property
    def shown(self) -> str:
        """The text for people: with :data:`HIDDEN_CHARACTER` in place of each character that can't be seen."""
        lines = self.text.split("\n")
        return "\n".join(
            clean(line.removesuffix("\r"), HIDDEN_CHARACTER) + "\r" * line.endswith("\r") for line in lines
        )

    def fenced(self, limit: int = _SHOWN_MAX) -> tuple[str, bool]:
        """The diff as a code block of at most ``limit`` UTF-16 code units (100 at least), and whether that is all.

        It is cut after a line where it does not fit, and says how many lines are left out; the whole is for a file.
        """
        text = self.shown
        block = fence(text, "diff")
        if units(block) <= limit:
            return block, True
        lines = text.removesuffix("\n").split("\n")
        kept: list[str] = []
        # The fence adds less than one character to each backtick.
        budget = limit - 60
        for line in lines:
            budget -= units(line) + 1 + line.count("`")
            if budget < 0:
                break
            kept.append(line)
        left = len(lines) - len(kept)
        return f"{fence(chr(10).join(kept), 'diff')}\n… {left:,} more line{'s' * (left != 1)}.", False


def changes(body: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    """The file changes in the ``content`` of a ``tool_call``, a ``tool_call_update`` or a permission's tool call.

    Each is the path, the old text (``None``: there was no such file) and the new one, as :func:`diff` takes them. What
    is not as the protocol has it is left out, as are those past fifty.
    Source: https://agentclientprotocol.com/protocol/tool-calls#diffs.
    """
    content = body.get("content")
    if not isinstance(content, list):
        return []
    found: list[tuple[str, str | None, str]] = []
    for item in content:
        if not isinstance(item, dict) or item.get("type") != "diff":
            continue
        path, old, new = item.get("path"), item.get("oldText"), item.get("newText")
        if isinstance(path, str) and isinstance(new, str) and (old is None or isinstance(old, str)):
            found.append((path, old, new))
        if len(found) == _CHANGES_MAX:
            break
    return found


def diff(path: str, old: str | None, new: str) -> Diff:
    """The change from ``old`` (``None``: there was no such file) to ``new``.

    It takes some 50 ms at worst, so it does not run on the event loop. Where over 400 lines are between the first and
    the last difference, or very many of them are alike, all are shown as replaced; past :data:`COMPARED_MAX` characters
    of text it shows the counts of lines only. That a last line has no line feed is shown where only one of the two
    texts is so: a part of a file often has none.
    """
    name = one_line(path, 400) or "?"
    if len(old or "") + len(new) > COMPARED_MAX:
        was, now = _count(old or ""), _count(new)
        return Diff(path, f"--- {name}\n+++ {name}\n@@ too large to compare: {was:,} lines, now {now:,} @@\n", now, was)
    if old and new and not old.endswith("\n") and not new.endswith("\n"):
        before, after = old.split("\n"), new.split("\n")
    else:
        before, after = _lines(old or ""), _lines(new)
    body = list(_unified(before, after))
    if not body:
        return Diff(path, "", 0, 0)
    heads = ["--- /dev/null" if old is None else f"--- {name}", f"+++ {name}"]
    added = sum(line.startswith("+") for line in body)
    removed = sum(line.startswith("-") for line in body)
    return Diff(path, "".join(f"{line}\n" for line in (*heads, *body)), added, removed)


def _count(text: str) -> int:
    return text.count("\n") + bool(text and not text.endswith("\n"))


def _lines(text: str) -> list[str]:
    """By line feeds only: other separators are characters of a line, as for diff(1)."""
    if not text:
        return []
    if text.endswith("\n"):
        return text[:-1].split("\n")
    *lines, last = text.split("\n")
    return [*lines, f"{last}\n\\ No newline at end of file"]


def _unified(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """The hunks. The equal lines at both ends are set aside: matching costs as much as lines times equal pairs."""
    most = min(len(before), len(after))
    start = next((n for n in range(most) if before[n] != after[n]), most)
    end = next((n for n in range(most - start) if before[-1 - n] != after[-1 - n]), most - start)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if not old and not new:
        return
    counts = Counter(old)
    if max(len(old), len(new)) <= _MATCHED_MAX and sum(counts[line] for line in new) <= _PAIRS_MAX:
        skipped = max(start - _CONTEXT, 0)
        tail = max(end - _CONTEXT, 0)
        left, right = before[skipped : len(before) - tail], after[skipped : len(after) - tail]
        groups = difflib.SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(_CONTEXT)
    else:
        left, right, skipped = before, after, 0
        lead, trail = min(start, _CONTEXT), min(end, _CONTEXT)
        i2, j2 = len(before) - end, len(after) - end
        first = ("equal", start - lead, start, start - lead, start)
        groups = iter([[first, ("replace", start, i2, start, j2), ("equal", i2, i2 + trail, j2, j2 + trail)]])
    for group in groups:
        (_, old_start, _, new_start, _), (_, _, old_end, _, new_end) = group[0], group[-1]
        spans = _span(old_start + skipped, old_end + skipped), _span(new_start + skipped, new_end + skipped)
        yield f"@@ -{spans[0]} +{spans[1]} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in left[i1:i2])
            else:
                yield from (f"-{line}" for line in left[i1:i2])
                yield from (f"+{line}" for line in right[j1:j2])


def _span(start: int, stop: int) -> str:
    """As POSIX diff -u: an empty range names the line before it, and a count of one is left out."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + bool(length)},{length}"
