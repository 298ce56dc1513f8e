"""What is kept of an agent's messages: each is cut to a bounded size, and cleaned, as soon as it is decoded. Pure.

An agent may send anything, and as much as it likes. These are the bounds, in characters unless something else is said;
no other module cuts what comes from an agent to save memory. Cleaned are all texts that people read as our own
words' parts: titles, names, plans, the answer. What a tool does (``rawInput``, the content of files) is kept byte for
byte, since a person decides by it: it is cleaned where it is shown, with a mark in each place.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any, Final

from acpbot.acp.schema import Implementation
from acpbot.acp.shorten import Shortener, shorten
from acpbot.jsonrpc import HALVES
from acpbot.text import clean, one_line

PLAIN_MOST: Final = 8 * 1024
"""Bytes of a line that is taken as it is."""
LINE_MOST: Final = 1024 * 1024
"""Bytes of a line that is read whole; a longer one loses members and the ends of strings while it arrives."""
STRING_MOST: Final = 128 * 1024
"""Bytes of a string in such a line."""
MEMBERS_MOST: Final = 4096
"""Members of all arrays and objects of one message longer than 8 KiB."""

TITLE_MOST: Final = 1000
NAME_MOST: Final = 200
DESCRIPTION_MOST: Final = 1000
ID_MOST: Final = 256
KIND_MOST: Final = 40
PATH_MOST: Final = 4096

PLAN_ENTRIES_MOST: Final = 256
CONTENT_MOST: Final = 256
COMMANDS_MOST: Final = 256
OPTIONS_MOST: Final = 64
VALUES_MOST: Final = 512
"""Values of one option, modes, and models."""
SESSIONS_MOST: Final = 256
"""Sessions that an agent lists, over all pages."""

REASON_MOST: Final = 80

# Bytes as numbers: looking for those is ten times as fast as looking for bytes objects.
_BACKSLASH: Final = 0x5C
_DELETE: Final = 0x7F
# The members of an update in a whole line: those of a notification, its params, and its update.
_UPDATE_DEPTH: Final = 3
_CHUNKS: Final = frozenset({"user_message_chunk", "agent_message_chunk", "agent_thought_chunk"})
# Marked halves of surrogate pairs: first halves, second halves.
_FIRST: Final = f"{chr(HALVES)}-{chr(HALVES + 0x3FF)}"
_SECOND: Final = f"{chr(HALVES + 0x400)}-{chr(HALVES + 0x7FF)}"
_HALVES: Final = re.compile(f"([{_FIRST}])([{_SECOND}])|[{_FIRST}{_SECOND}]")
# What may belong to a character that goes on in the next chunk.
_OPEN_END: Final = re.compile(f"[\u200c\u200d]?[{_FIRST}]\\Z|[\u200c\u200d]\\Z|[\U000e0030-\U000e007a]{{1,6}}\\Z")


def line_shortener() -> Shortener:
    """What makes a line short that is longer than :data:`LINE_MOST`."""
    return Shortener(
        bytes_most=LINE_MOST, string_most=STRING_MOST, members_most=MEMBERS_MOST, outer_depth=_UPDATE_DEPTH
    )


def is_plain(line: bytes) -> bool:
    """Whether a line is ASCII without any escape, so that nothing in it needs to be cleaned."""
    return line.isascii() and _BACKSLASH not in line and _DELETE not in line


def compact(text: bytes) -> tuple[bytes, bool]:
    """JSON without what would take much more memory decoded than it has bytes, and whether something was left out."""
    if len(text) <= PLAIN_MOST:
        return text, False
    short, cut = shorten(
        text, bytes_most=LINE_MOST, string_most=LINE_MOST, members_most=MEMBERS_MOST, outer_depth=_UPDATE_DEPTH - 1
    )
    return short or b"null", cut


def identity(tool_call_id: str) -> str:
    """The id of a tool call as we keep it: a very long one is cut, and stays different from all others."""
    if len(tool_call_id) <= ID_MOST:
        return tool_call_id
    digest = hashlib.sha256(tool_call_id.encode(errors="surrogatepass")).hexdigest()
    return f"{tool_call_id[: ID_MOST - len(digest)]}{digest}"


class UpdateBounds:
    """Bounds the bodies of one connection's updates; chunks of text are cleaned as the one text that they are.

    A character that several chunks make up, such as an emoji with joiners, stays whole. ``last``: the character before
    the next chunk, as far as it matters whether a joiner may follow it.
    """

    def __init__(self) -> None:
        self._text_of: tuple[str, str] | None = None
        self.last = ""
        self._held = ""

    @property
    def idle(self) -> bool:
        """Whether nothing is held back: a plain chunk may pass as it is."""
        return not self._held

    def bound(self, session_id: str, kind: str, body: dict[str, Any], *, cut: bool) -> bool:
        """Cut and clean a decoded body in place; whether something was cut, now or before (``cut``)."""
        return self._bound(session_id, kind, body, line_cut=cut) or cut

    def _bound(self, session_id: str, kind: str, body: dict[str, Any], *, line_cut: bool) -> bool:
        if kind in _CHUNKS:
            content = body.get("content")
            if isinstance(content, dict) and isinstance(text := content.get("text"), str):
                content["text"] = self._chunk((session_id, kind), text)
            elif isinstance(content, dict):
                if line_cut:
                    _drop_data(content)
                return _texts(content, type=KIND_MOST, name=NAME_MOST, uri=PATH_MOST)
            return False
        match kind:
            case "tool_call" | "tool_call_update":
                return tool_call(body, line_cut=line_cut)
            case "plan" if "entries" in body:
                return _plan(body)
            case "available_commands_update" if "availableCommands" in body:
                return _commands(body)
            case "config_option_update" if "configOptions" in body:
                body["configOptions"], cut = config_options(body["configOptions"])
                return cut
            case "session_info_update":
                return _texts(body, title=NAME_MOST)
        return False

    def _chunk(self, text_of: tuple[str, str], text: str) -> str:
        if text_of != self._text_of:
            self._text_of, self.last, self._held = text_of, "", ""
        whole = f"{self.last}{self._held}{text}"
        end = _OPEN_END.search(whole, len(self.last))
        self._held = "" if end is None else end[0]
        cleaned = clean(_HALVES.sub(_joined, whole[: len(whole) - len(self._held)]))[len(self.last) :]
        self.last = cleaned[-1:] or self.last
        return cleaned


def _joined(halves: re.Match[str]) -> str:
    """The character that two marked halves make up; U+FFFD for one that is alone."""
    if halves[1] is None:
        return "\ufffd"
    first, second = ord(halves[1]) - HALVES, ord(halves[2]) - HALVES - 0x400
    return chr(0x10000 + (first << 10) + second)


def tool_call(body: dict[str, Any], *, line_cut: bool = False) -> bool:
    """Bound a ``tool_call`` or ``tool_call_update`` in place; whether something was cut.

    ``line_cut``: texts in it may have lost their ends, so that its file changes say something wrong: they go.
    """
    cut = _texts(body, title=TITLE_MOST, kind=KIND_MOST, status=KIND_MOST)
    call_id = body.get("toolCallId")
    if isinstance(call_id, str):
        body["toolCallId"] = identity(call_id)
    content = body.get("content")
    if isinstance(content, list):
        cut |= len(content) > CONTENT_MOST
        body["content"] = [
            item
            for item in content[:CONTENT_MOST]
            if isinstance(item, dict) and not (line_cut and item.get("type") == "diff")
        ]
        for item in body["content"]:
            if line_cut and isinstance(block := item.get("content"), dict):
                _drop_data(block)
            path = item.get("path")
            if isinstance(path, str) and len(path) > PATH_MOST:
                item["path"], cut = path[:PATH_MOST], True
    return cut


def _drop_data(block: dict[str, Any]) -> None:
    """Leave out the file in a content block: its line was cut, so that its end may be missing."""
    if "data" in block:
        block["data"] = ""
    if isinstance(resource := block.get("resource"), dict):
        resource.update(dict.fromkeys(resource.keys() & {"blob", "text"}, ""))


def _plan(body: dict[str, Any]) -> bool:
    entries, cut = _objects(body.get("entries"), PLAN_ENTRIES_MOST)
    entries = [entry for entry in entries if isinstance(entry.get("content"), str)]
    for entry in entries:
        cut |= _texts(entry, content=TITLE_MOST, status=KIND_MOST, priority=KIND_MOST)
    body["entries"] = entries
    return cut


def _commands(body: dict[str, Any]) -> bool:
    commands, cut = _objects(body.get("availableCommands"), COMMANDS_MOST)
    for command in commands:
        cut |= _texts(command, name=NAME_MOST, description=DESCRIPTION_MOST)
        if isinstance(hint := command.get("input"), dict):
            cut |= _texts(hint, hint=NAME_MOST)
    body["availableCommands"] = commands
    return cut


def config_options(value: Any) -> tuple[list[dict[str, Any]], bool]:
    """Config options, those without an id left out, and whether some were cut.

    Ids stay as they are, since they go back to the agent.
    """
    options, cut = _objects(value, OPTIONS_MOST)
    options = [option for option in options if _is_text(option.get("id")) and _fits(option, "id", "category")]
    for option in options:
        if not _is_text(option.get("name")):
            option["name"] = option["id"]
        cut |= _texts(option, name=NAME_MOST, description=DESCRIPTION_MOST)
        if isinstance(option.get("options"), list):
            option["options"] = _values(option["options"], "value", VALUES_MOST)
    return options, cut


def modes(value: Any, members: str, identity_key: str) -> dict[str, Any] | None:
    """What an agent says of its modes or models: ``members`` names the list, ``identity_key`` the id of each."""
    if not isinstance(value, dict):
        return None
    return {**value, members: _values(value.get(members), identity_key, VALUES_MOST)}


def sessions(value: list[dict[str, Any]], folders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Sessions of an agent's list, those without an id or of other folders left out; ids stay as they are."""
    found = [each for each in value if _is_text(each.get("sessionId")) and _is_text(each.get("cwd"))]
    # An agent may pass over the folder that was asked for.
    paths = set(map(PurePosixPath, folders))
    found = [each for each in found if len(each["cwd"]) <= PATH_MOST and PurePosixPath(each["cwd"]) in paths]
    found = [each for each in found if _fits(each, "sessionId", "updatedAt")]
    for each in found:
        _texts(each, title=TITLE_MOST)
    return found


def _values(value: Any, identity_key: str, most: int) -> list[dict[str, Any]]:
    values, _ = _objects(value, most)
    for one in values:
        _texts(one, name=NAME_MOST, description=DESCRIPTION_MOST)
        if isinstance(one.get("options"), list):  # a group
            members, _ = _objects(one["options"], most)
            one["options"] = _values([member for member in members if "options" not in member], identity_key, most)
    return [one for one in values if _fits(one, identity_key)]


def _fits(value: dict[str, Any], *keys: str) -> bool:
    return all(not isinstance(found := value.get(key), str) or len(found) <= ID_MOST for key in keys)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _objects(value: Any, most: int) -> tuple[list[dict[str, Any]], bool]:
    if not isinstance(value, list):
        return [], False
    return [item for item in value[:most] if isinstance(item, dict)], len(value) > most


def _texts(body: dict[str, Any], **limits: int) -> bool:
    """Cut and clean these members where they are text; whether one was cut."""
    cut = False
    for key, most in limits.items():
        text = body.get(key)
        if isinstance(text, str):
            if len(text) > most:
                text, cut = f"{text[: most - 1]}…", True
            body[key] = clean(text)
    return cut


def implementation(info: Implementation) -> Implementation:
    """Who the agent says that it is, each text on one line."""
    title = None if info.title is None else one_line(info.title, NAME_MOST)
    return Implementation(one_line(info.name, NAME_MOST), one_line(info.version, NAME_MOST), title)


def reason(text: str) -> str:
    """A stop reason of an agent's own making, on one line."""
    return one_line(text, REASON_MOST)
