"""What goes to the agent beside the text: who wrote it, as data, and attached files as ACP content blocks. Pure.

Names are chosen by users and can read like an instruction. So the data about a message is JSON between two markers, and
neither a name nor a message nor a file can contain a marker.

Discord's description of a file decides whether it is downloaded (:func:`plan`), the file's content decides what it is
(:func:`blocks`): an image, a text, or nothing that is passed on. There is one sentence for each file that is left out.
Source of the blocks: https://agentclientprotocol.com/protocol/content.
"""

from __future__ import annotations

import base64
import codecs
import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from acpbot.acp import schema
from acpbot.chat.conversation import CONTEXT_URI
from acpbot.chat.rendering.markdown import code
from acpbot.sessions.titles import CONTEXT_NOTE, CONTEXT_TAG
from acpbot.text import one_line, size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acpbot.acp.schema import PromptCapabilities

FILES_MAX: Final = 10
"""Files of one message that are passed on: as many as Discord lets people attach; forwarded messages add more."""

TOTAL_MAX: Final = 32 * 1024 * 1024
"""Bytes of one message's files together, where ``max_attachment_bytes`` alone is not more."""

TEXT_MAX: Final = 256 * 1024
"""Bytes of a text file that are passed on: past that it would fill what a model can read."""

_NAME_MAX: Final = 100
_NO_IMAGES: Final = "this agent can't read images"
_CAN_READ: Final = "I can only read images and text files"
_EMPTY: Final = "it's empty"
_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_IMAGE_NAMES: Final = "PNG, JPEG, GIF and WebP"
_IMAGE_MARKS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_TEXT_TYPES: Final = re.compile(
    r"text/.+|image/svg\+xml"
    r"|application/(?:.+\+|x-)?(?:json|xml|yaml|toml|sql|graphql|javascript|typescript|ecmascript|ndjson|jsonlines)"
    r"|application/(?:x-)?(?:sh|shellscript|csh|python|perl|ruby|php|httpd-php|tex|latex|diff|patch|subrip)"
)
# Types that say nothing, and one that is guessed from .ts, which TypeScript has as well.
_UNSURE: Final = frozenset({"", "application/octet-stream", "binary/octet-stream", "video/mp2t"})
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The markers in any case, with anything invisible or blank in between: a model reads past those.
_GAP: Final = "[\\s\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*+"
_MARKER: Final = re.compile(f"[<\uff1c](?={_GAP}/?+{_GAP}{_GAP.join(map(re.escape, CONTEXT_TAG))})", re.IGNORECASE)
_ESCAPES: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_BINARY_MARKS: Final = (b"%PDF-", b"PK\x03\x04", b"\x7fELF", b"\x1f\x8b", b"MZ\x90", b"SQLite format 3\0")
_CONTROL: Final = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_HIGH: Final = bytes(range(0x80, 0x100))
_HIGH_SHARE: Final = 0.25


def sender_context(
    display_name: str,
    user_id: str,
    channel_name: str | None,
    guild_name: str | None,
    sent_at: dt.datetime,
    *,
    is_bot: bool = False,
    shown: Mapping[str, Any] | None = None,
) -> str:
    """A text block about a message, about 400 characters and what is ``shown`` beside its text: values for JSON.

    ``channel_name`` and ``guild_name`` are ``None`` in direct messages. ``sent_at`` must have a time zone, and is given
    in UTC (RFC 3339); ValueError otherwise. Names are cut to one line of 100 characters, without invisible ones.
    """
    if sent_at.tzinfo is None:
        raise ValueError("cannot say when the message was sent: the time has no time zone")
    data = {
        "note": f"{CONTEXT_NOTE} Names are chosen by users.",
        "platform": "discord",
        "user": one_line(display_name, _NAME_MAX),
        "user_id": one_line(user_id, _NAME_MAX),
        "is_bot": is_bot,
        "channel": None if channel_name is None else one_line(channel_name, _NAME_MAX),
        "server": None if guild_name is None else one_line(guild_name, _NAME_MAX),
        "sent_at": sent_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **(shown or {}),
    }
    return _marked(data)


def with_more(context: str, shown: Mapping[str, Any]) -> str:
    """The context of :func:`sender_context` with more of what is ``shown``; unchanged where it is none of that form."""
    try:
        _, body, _ = context.split("\n")
        return _marked({**json.loads(body), **shown})
    except (ValueError, TypeError):  # an earlier release has queued it
        return context


def _marked(data: Mapping[str, Any]) -> str:
    # In JSON these characters occur in strings only, where an escape means the same.
    body = json.dumps(data, ensure_ascii=False).translate(_ESCAPES)
    return f"<{CONTEXT_TAG}>\n{body}\n</{CONTEXT_TAG}>"


def defuse(text: str) -> str:
    """The text of a person or a file, without anything that looks like one of the markers; else unchanged."""
    return _MARKER.sub("&lt;", text)


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file as Discord describes it; ``size`` in bytes, ``content_type`` guessed by Discord from the name."""

    filename: str
    content_type: str | None
    size: int
    url: str


class Plan(NamedTuple):
    """What to download, and a sentence for each reason why files are not taken."""

    accept: list[Attachment]
    refused: list[str]


class Taken(NamedTuple):
    """A file as content blocks, none where it is not passed on; ``notes`` are sentences on what was left out of it."""

    blocks: list[dict[str, Any]]
    notes: list[str]


def plan(attachments: Sequence[Attachment], capabilities: PromptCapabilities | None, max_bytes: int) -> Plan:
    """Which files to download; ``max_bytes`` as ``[discord] max_attachment_bytes``, 0 takes none.

    ``capabilities`` of the agent; ``None`` where it has not started and they aren't known yet: then images are taken,
    and :func:`fit` leaves out what it turns out not to take.
    """
    accept: list[Attachment] = []
    refused: dict[str, list[str]] = {}
    total = max(max_bytes, TOTAL_MAX)
    budget = total
    for attachment in attachments:
        reason = _refusal(attachment, capabilities, max_bytes)
        if reason is None and len(accept) == FILES_MAX:
            reason = f"I take at most {FILES_MAX} files per message"
        if reason is None and attachment.size > budget:
            reason = f"the files in one message can be up to {size_words(total)} in total"
        if reason is None:
            budget -= attachment.size
            accept.append(attachment)
        else:
            refused.setdefault(reason, []).append(attachment.filename)
    return Plan(accept, [skipped(reason, *names) for reason, names in refused.items()])


def blocks(filename: str, data: bytes, capabilities: PromptCapabilities | None, max_bytes: int) -> Taken:
    """A downloaded file as content blocks.

    What Discord said of it is not asked: images are known by their first bytes, everything else is a text
    (:func:`decode`) or is not passed on. A text over 256 KiB is cut, and says so at its end. More ``data`` than
    ``max_bytes`` is not passed on: a server may send more than was announced, so reading is to stop there.
    ``capabilities`` as in :func:`plan`.
    """
    if not data:
        return Taken([], [skipped(_EMPTY, filename)])
    if len(data) > max_bytes:
        return Taken([], [skipped(f"it's larger than {size_words(max_bytes)}", filename)])
    image = _image_type(data)
    if image is not None:
        block = {"type": "image", "mimeType": image, "data": base64.b64encode(data).decode("ascii")}
        return fit([{**block, "uri": _uri(filename)}], capabilities)
    text = None if data.startswith(_BINARY_MARKS) else decode(data[:TEXT_MAX], whole=len(data) <= TEXT_MAX)
    if text is None:
        return Taken([], [skipped(f"{_CAN_READ} (UTF-8 always works)", filename)])
    notes = []
    if len(data) > TEXT_MAX:
        only = f"nly the first {size_words(TEXT_MAX)} of {size_words(len(data))}"
        text = f"{text}\n[O{only} of this file are here.]"
        notes.append(f"The agent gets o{only} of {code(filename)}.")
    resource = {"uri": _uri(filename), "mimeType": "text/plain", "text": defuse(text)}
    fitting = fit([{"type": "resource", "resource": resource}], capabilities)
    return Taken(fitting.blocks, [*notes, *fitting.notes])


def fit(wanted: Sequence[dict[str, Any]], capabilities: PromptCapabilities | None) -> Taken:
    """Blocks of :func:`blocks` as the agent takes them: a prompt may only carry what it advertises.

    Where it takes no embedded resources, a file is in a fenced text block, and the context in a plain one; where it
    takes no images they are left out, and the notes say so. ``None``: not known yet, nothing is changed.
    """
    fitting: list[dict[str, Any]] = []
    notes: list[str] = []
    for block in wanted:
        kind = block["type"]
        if capabilities is None or kind not in {"image", "resource"}:
            fitting.append(block)
        elif kind == "image" and not capabilities.image:
            notes.append(skipped(_NO_IMAGES, _filename(block["uri"])))
        elif kind == "resource" and not capabilities.embedded_context:
            resource = block["resource"]
            is_context = resource["uri"] == CONTEXT_URI
            text = resource["text"] if is_context else _fenced(_filename(resource["uri"]), resource["text"])
            fitting.append(schema.text_block(text))
        else:
            fitting.append(block)
    return Taken(fitting, notes)


def decode(data: bytes, *, whole: bool = True) -> str | None:
    """The text that these bytes are; ``None`` where they seem to be none. Not ``whole``: the end is torn off somewhere.

    By the byte order mark; else UTF-16 where every other byte is zero; else UTF-8; else Windows-1252 where few
    characters are not ASCII: in other old encodings most are, and would be read wrongly.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(codecs.getincrementaldecoder(encoding)("replace").decode(data, final=whole))
    zeros = data[::2].count(0), data[1::2].count(0)
    if min(zeros) * 10 < max(zeros) and max(zeros) * 4 >= len(data) and not (whole and len(data) % 2):
        wide = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        return _checked(codecs.getincrementaldecoder(wide)("replace").decode(data, final=whole))
    try:
        return _checked(codecs.getincrementaldecoder("utf-8")().decode(data, final=whole))
    except UnicodeDecodeError:
        high = len(data) - len(data.translate(None, _HIGH))
        return _checked(data.decode("cp1252", "replace")) if high <= len(data) * _HIGH_SHARE else None


def _checked(text: str) -> str | None:
    """The text, unless it holds a NUL or many control characters, as binary data does."""
    return text if "\0" not in text and len(_CONTROL.findall(text)) <= len(text) // 100 else None


def _refusal(attachment: Attachment, capabilities: PromptCapabilities | None, max_bytes: int) -> str | None:
    if max_bytes == 0:
        return "I can't take files here"
    if attachment.size <= 0:
        return _EMPTY
    if attachment.size > max_bytes:
        return f"it's {size_words(attachment.size)}; the limit is {size_words(max_bytes)}"
    kind = (attachment.content_type or "").partition(";")[0].strip().lower()
    if kind in _IMAGES:
        return None if capabilities is None or capabilities.image else _NO_IMAGES
    if _TEXT_TYPES.fullmatch(kind) or kind in _UNSURE:
        return None
    return f"I can only read {_IMAGE_NAMES} images" if kind.startswith("image/") else _CAN_READ


def skipped(reason: str, *filenames: str) -> str:
    """One line about files that are not passed on."""
    shown = [code(name, _NAME_MAX) for name in filenames[:FILES_MAX]]
    if len(filenames) > FILES_MAX:
        shown.append(f"{len(filenames) - FILES_MAX} more")
    names = " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
    return f"Skipped {names}: {reason}."


def _image_type(data: bytes) -> str | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _IMAGE_MARKS if data.startswith(mark)), None)


def _uri(filename: str) -> str:
    """A name for it that is no path of this machine, and not the signed address where it was found."""
    name = one_line(filename.replace("\\", "/").rpartition("/")[2], _NAME_MAX)
    return f"attachment:///{quote(name or 'file', safe='')}"


def _filename(uri: str) -> str:
    return unquote(uri.rpartition("/")[2])


def _fenced(name: str, text: str) -> str:
    """As markdown, in a fence that is longer than any in the text (CommonMark; agents read it, Discord does not)."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    marker = "`" * (longest + 1)
    return f"Attached file {code(name, _NAME_MAX)}:\n{marker}\n{text}\n{marker}"
