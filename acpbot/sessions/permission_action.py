"""What a permission is wanted for, as people read it: one text for Discord, the terminal and the operator. Pure.

An agent's title may be its model's own words, so the text is made of what the tool gets: its raw input, its text and
its file changes. Everything is in it but ids and what is there twice; a line of a value can't pretend to be another
argument, since only names of arguments and marks of a change begin in the first column.
Source: https://agentclientprotocol.com/protocol/tool-calls#requesting-permission.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.sessions.visible_text import mixed_words, visible, visible_line
from acpbot.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMMAND: Final = ("command", "cmd", "script", "code")
_PATH: Final = ("path", "file_path", "filePath", "filepath", "abs_path", "absolute_path", "notebook_path", "file")
_URL: Final = ("url", "uri")
_QUERY: Final = ("query", "pattern", "regex")
_MAIN: Final = (*_COMMAND, *_PATH, *_URL, *_QUERY)
_TEXT_OF_CHANGE: Final = frozenset(
    {"old_string", "new_string", "oldString", "newString", "old_str", "new_str", "old_text", "new_text", "oldText"}
    | {"newText", "content", "contents", "file_text", "new_source"}
)
_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
_QUESTIONS: Final = {
    "edit": "Edit a file?",
    "delete": "Delete this?",
    "move": "Move this?",
    "read": "Read this?",
    "search": "Search for this?",
    "fetch": "Fetch this?",
    "execute": "Run this?",
}
_VERBS: Final = {"edit": "Edit", "delete": "Delete", "move": "Move", "read": "Read"}
_NOTHING: Final = "The agent doesn't say what it wants to do."
_ONLY_TITLE: Final = "(The agent gives no details beyond this title.)"
_NOT_KNOWN: Final = "(The agent's other details aren't shown.)"
_CONTEXT: Final = 3
_MEMBERS_MOST: Final = 256
"""Of the raw input and of the content, each with lines of its own; more are shown as JSON."""
_LINE_FROM: Final = 65_536


class Action(msgspec.Struct, frozen=True):
    """What a tool is about to do, as the agent says it: ``raw_input``, ``content`` and ``locations`` are ACP's.

    ``cut``: why a part of it is not known here, as a clause for people; ``None`` where all of it is.
    """

    title: str
    kind: str | None = None
    raw_input: Any = None
    content: Any = None
    locations: Any = None
    cut: str | None = None

    @property
    def digest(self) -> bytes | None:
        """A hash of all of it; ``None`` where a part of it is not known, or where it says nothing."""
        if self.cut is not None or not (self.title or self.raw_input or self.content):
            return None
        whole = (self.kind, self.title, self.raw_input, self.content, self.locations)
        try:
            return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).digest()
        except UnicodeEncodeError:  # half a surrogate pair
            return None

    @property
    def question(self) -> str:
        """What the person is asked, without a text of the agent's: ``Run this command?``."""
        keys = _main_keys(self.raw_input)
        if keys & set(_COMMAND):
            return "Run this command?"
        if self.has_changes:
            return _QUESTIONS["edit"]
        if keys & set(_URL):
            return _QUESTIONS["fetch"]
        return _QUESTIONS.get(self.kind or "", "Allow this?")

    @property
    def heading(self) -> tuple[str, str]:
        """A verb and the one path that it is about, where the question is about a path; else two empty texts."""
        paths = {item["path"] for item in _list(self.content) if _is_diff(item)}
        if isinstance(self.raw_input, dict):
            paths |= {value for key in _PATH if isinstance(value := self.raw_input.get(key), str)}
        verb = next((verb for kind, verb in _VERBS.items() if _QUESTIONS[kind] == self.question), "")
        return (verb, visible_line(paths.pop())) if verb and len(paths) == 1 else ("", "")

    @property
    def has_changes(self) -> bool:
        """Whether file changes are a part of it."""
        return has_changes(self.content)

    def text(self) -> str:
        """All of it, on lines."""
        lines = list(self._lines())
        if not lines:
            title = _block("title", visible(self.title)) if self.title else []
            lines = [*title, _NOT_KNOWN if self.cut is not None else _ONLY_TITLE if title else _NOTHING]
        words = mixed_words("\n".join(lines))
        if words:
            lines += ["", f"Note: letters or marks of different alphabets look alike here: {', '.join(words)}"]
        return "\n".join(lines)

    def line(self, limit: int) -> str:
        """All of it on one line, or its beginning and an ellipsis: ``limit`` UTF-16 code units at most."""
        verb, path = self.heading
        text = " · ".join(self._main_values()) or (f"{verb} {path}" if verb else self.title or self._start(4 * limit))
        short = " ".join(text[:_LINE_FROM].split())[: 4 * limit]
        return shorten(visible(short) or "a tool", limit)

    def _start(self, length: int) -> str:
        """Its first lines, up to so many characters."""
        text = ""
        for line in self._lines():
            text += f" {line[:length]}"
            if len(text) > length:
                break
        return text

    def _main_values(self) -> Iterator[str]:
        if isinstance(self.raw_input, dict):
            yield from (_value(key, self.raw_input[key]) for key in _COMMAND if key in self.raw_input)
            if not self.has_changes and self.kind not in _VERBS:
                yield from (
                    _value(key, self.raw_input[key]) for key in (*_URL, *_QUERY, *_PATH) if key in self.raw_input
                )
        elif isinstance(self.raw_input, str):
            yield self.raw_input

    def _lines(self) -> Iterator[str]:
        items = _list(self.content)
        if len(items) > _MEMBERS_MOST:
            yield from self._raw_lines(alone=False)
            yield from _block("content", visible_line(_json(items)))
            return
        texts = [item for item in items if not _is_diff(item)]
        changes = [item for item in items if _is_diff(item)]
        yield from self._raw_lines(alone=not items and not self.locations)
        for item in texts:
            text = _text_of(item)
            yield from _block("content", visible(text) if text is not None else visible_line(_json(item)))
        for item in changes:
            yield from change_lines(item["path"], item.get("oldText"), item["newText"])
            if more := {key: item[key] for key in item if key not in {"type", "path", "oldText", "newText"}}:
                yield from _block("more of this change", visible_line(_json(more)))
        if self.content is not None and not isinstance(self.content, list):
            yield from _block("content", visible_line(_json(self.content)))
        if self.locations and self._adds_locations():
            yield from _block("locations", visible_line(_json(self.locations)))

    def _adds_locations(self) -> bool:
        """Whether a place is named that is nowhere else."""
        shown = _json([self.raw_input, self.content])
        places = [place.get("path") if isinstance(place, dict) else place for place in _list(self.locations)]
        return not places or any(not isinstance(path, str) or _json(path) not in shown for path in places)

    def _raw_lines(self, *, alone: bool) -> Iterator[str]:
        raw = self.raw_input
        if raw is None or raw == {}:
            return
        if not isinstance(raw, dict) or len(raw) > _MEMBERS_MOST:
            yield from _block("input", visible(_value("", raw)))
            return
        keys = [*(key for key in _MAIN if key in raw), *(key for key in raw if key not in _MAIN)]
        keys = [key for key in keys if not _says_nothing(key, raw)]
        if alone and len(keys) == 1 and keys[0] in _MAIN:
            yield from visible(_value(keys[0], raw[keys[0]])).split("\n")
            return
        changes = [(item.get("oldText"), item["newText"]) for item in _list(self.content) if _is_diff(item)]
        changed = {text for old, new in changes if not any(_alike(old, new)) for text in (old, new)}
        for key in keys:
            value = raw[key]
            if key in _TEXT_OF_CHANGE and isinstance(value, str) and value and value in changed:
                yield f"{visible_line(key)}: as in the change below"
            else:
                yield from _block(visible_line(key), visible(_value(key, value)))


def action_of(call: Mapping[str, Any], earlier: Mapping[str, Any], cut: str | None) -> Action:
    """The action of a request's ``toolCall``; ``earlier`` is the same call as reported before: it fills in the rest."""

    def member(name: str) -> Any:
        return call.get(name) or earlier.get(name)

    title, kind = member("title"), member("kind")
    return Action(
        title=title if isinstance(title, str) else "",
        kind=kind if isinstance(kind, str) else None,
        raw_input=member("rawInput"),
        content=member("content"),
        locations=member("locations"),
        cut=cut,
    )


def has_changes(content: Any) -> bool:
    """Whether file changes are a part of a tool call's ``content``."""
    return any(_is_diff(item) for item in _list(content))


def change_lines(path: str, old: str | None, new: str) -> Iterator[str]:
    """A file change with all of its lines between the first and the last that differ, and three around them.

    How many more are in both texts is said: that they are in the file already is only what the agent says. Where the
    texts do not differ at all, every line is shown.
    """
    yield f"--- {visible_line(path) if old is not None else '/dev/null'}"
    yield f"+++ {visible_line(path)}"
    before, after = _both(old, new)
    head, tail = _equal_ends(before, after)
    start, end = _alike(old, new)
    yield f"@@ -{start + 1},{len(before) - end - start} +{start + 1},{len(after) - end - start} @@"
    if start:
        yield f" {_left_out(start, 'above')}"
    for mark, lines in (
        (" ", before[start:head]),
        ("-", before[head : len(before) - tail]),
        ("+", after[head : len(after) - tail]),
        (" ", before[len(before) - tail : len(before) - end]),
    ):
        if lines:
            yield from (mark + line for line in visible("\n".join(lines)).split("\n"))
    if end:
        yield f" {_left_out(end, 'below')}"


def _left_out(count: int, where: str) -> str:
    return f"⟨{count:,} line{'s' * (count != 1)} {where}, not shown: the agent says that nothing changes there⟩"


def _both(old: str | None, new: str) -> tuple[list[str], list[str]]:
    before, after = old.split("\n") if old else [], new.split("\n") if new else []
    if all(not lines or not lines[-1] for lines in (before, after)):  # both end with a newline, or are empty
        return before[:-1], after[:-1]
    return before, after


def _equal_ends(before: list[str], after: list[str]) -> tuple[int, int]:
    """How many lines at the beginning, and of the rest how many at the end, are the same in both."""
    head = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after)))  # noqa: B905 - to the shorter
    most = min(len(before), len(after)) - head
    ends = zip(reversed(before), reversed(after))  # noqa: B905 - the same
    return head, min(most, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends)))


def _alike(old: str | None, new: str) -> tuple[int, int]:
    """How many lines at the beginning and at the end of a change are not shown, since they are in both texts."""
    if old == new:
        return 0, 0
    head, tail = _equal_ends(*_both(old, new))
    return max(0, head - _CONTEXT), max(0, tail - _CONTEXT)


def _says_nothing(key: str, raw: Mapping[str, Any]) -> bool:
    """Whether a member of the raw input is an id or a time, or is there twice, as with codex (0.16)."""
    value = raw[key]
    if key in {"call_id", "turn_id"}:
        return _is_id(value)
    if key == "started_at_ms":
        return isinstance(value, int)
    if key == "parsed_cmd":
        shown = _value("command", raw.get("command"))
        return isinstance(value, list) and all(_is_part_of(part, shown) for part in value)
    if key == "available_decisions":
        offered = "proposed_execpolicy_amendment"
        amendment = {"approved_execpolicy_amendment": {offered: raw.get(offered)}}
        return isinstance(value, list) and all(one == amendment or _is_id(one) for one in value)
    return False


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_part_of(part: Any, command: str) -> bool:
    """Whether a part of a command says no more than the command does."""
    if not isinstance(part, dict) or part.keys() != {"type", "cmd"} or part["type"] != "unknown":
        return False
    return isinstance(part["cmd"], str) and part["cmd"] in command


def _main_keys(raw: Any) -> set[str]:
    return {key for key in raw if key in _MAIN} if isinstance(raw, dict) else set()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_diff(item: Any) -> bool:
    """Whether it is a file change as the protocol has it."""
    if not isinstance(item, dict) or item.get("type") != "diff":
        return False
    old = item.get("oldText")
    return (
        isinstance(item.get("path"), str)
        and isinstance(item.get("newText"), str)
        and (old is None or isinstance(old, str))
    )


def _text_of(item: Any) -> str | None:
    """The text of a content item that is nothing but text."""
    inner = item.get("content") if isinstance(item, dict) and item.get("type") == "content" else None
    if not isinstance(inner, dict) or inner.keys() - {"type", "text", "annotations"} or inner.get("type") != "text":
        return None
    text = inner.get("text")
    return text if isinstance(text, str) and not inner.get("annotations") else None


def _value(key: str, value: Any) -> str:
    """A command as a list becomes what a shell would be given; what is no text becomes compact JSON."""
    if isinstance(value, str):
        return value
    if key in _COMMAND and isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return shlex.join(value)
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _block(label: str, text: str) -> list[str]:
    """A label and its text: on one line, or indented below it."""
    lines = text.split("\n")
    return [f"{label}: {text}"] if len(lines) == 1 else [f"{label}:", *(f"  {line}" for line in lines)]
