"""What an agent shows beside text: images, audio, embedded resources and links, in ACP's content blocks. Pure.

Source: https://agentclientprotocol.com/protocol/content.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES: Final = frozenset({"image", "audio", "resource"})
"""The types of the content blocks that hold a file."""

_NAME_MAX: Final = 80
_URI_MAX: Final = 1000
_SUFFIX_MAX: Final = 10
_SAFE: Final = "%/:?#=&+,;~$!'"
_MARKUP: Final = re.compile(r"[\\`*~|\[\]()<>@]|:(?=//)")
_NOT_IN_NAMES: Final = re.compile(r"[^\w.()+ -]+")
_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9.+-]{1,60}")
_SUFFIXES: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "application/pdf": "pdf",
    "application/json": "json",
    "application/zip": "zip",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
}


class Attachment(msgspec.Struct, frozen=True):
    """A file that an agent has sent: ``data`` is text, or base64 as it came; empty where it was cut.

    ``media_type`` is what the agent says.
    """

    kind: Literal["image", "audio", "resource"]
    name: str
    media_type: str
    data: str
    is_text: bool = False


def attachments(kind: str, body: dict[str, Any]) -> Iterator[Attachment]:
    """The files in one update of this kind: a message chunk's, or those of a tool call."""
    if kind == "agent_message_chunk":
        blocks = [body.get("content")]
    elif kind in {"tool_call", "tool_call_update"} and isinstance(items := body.get("content"), list):
        blocks = [item.get("content") for item in items if isinstance(item, dict) and item.get("type") == "content"]
    else:
        return
    for block in blocks:
        if isinstance(block, dict) and (found := _attachment(block)) is not None:
            yield found


def in_words(block: dict[str, Any]) -> str:
    """A content block without text, as text: a link to it, or the name of its file; empty for what has nothing."""
    kind = block.get("type")
    source = block.get("resource") if kind == "resource" else block
    found = _attachment(block)
    if found is not None:
        return f"[{found.name}]"
    if kind == "resource_link" or (kind in FILES and isinstance(source, dict) and source.get("uri")):
        return link(block.get("name"), source.get("uri") if isinstance(source, dict) else None)
    return f"[{kind}]" if isinstance(kind, str) and kind != "text" else ""


def _attachment(block: dict[str, Any]) -> Attachment | None:
    kind = block.get("type")
    source = block.get("resource") if kind == "resource" else block
    if kind not in FILES or not isinstance(source, dict):
        return None
    media_type = _media_type(source.get("mimeType"))
    name = file_name(source.get("uri"), kind, media_type)
    if kind == "resource" and isinstance(text := source.get("text"), str):
        return Attachment(kind, name if "." in name else f"{name}.txt", media_type, text, is_text=True)
    data = source.get("blob" if kind == "resource" else "data")
    return Attachment(kind, name, media_type, data) if isinstance(data, str) else None


def _media_type(value: Any) -> str:
    named = value.partition(";")[0].strip().lower() if isinstance(value, str) and len(value) <= _URI_MAX else ""
    return named if _TYPE.fullmatch(named) else ""


def file_name(uri: Any, kind: str, media_type: str) -> str:
    """A name for a file: the last part of its URI, without what has a meaning in paths; else its kind."""
    path = uri[:_URI_MAX] if isinstance(uri, str) else ""
    if path.startswith("data:"):
        path = ""
    last = unquote(path.partition("?")[0].partition("#")[0]).replace("\\", "/").rstrip("/").rpartition("/")[2]
    name = _NOT_IN_NAMES.sub("_", one_line(last, 4 * _NAME_MAX)).strip(". ")
    suffix = _SUFFIXES.get(media_type, "")
    stem, dot, own = name.rpartition(".")
    if not dot:
        stem, own = name, suffix
    elif len(own) > _SUFFIX_MAX:
        stem, own = name, ""
    stem = stem[:_NAME_MAX].strip(". ") or kind
    return f"{stem}.{own}" if own else stem


def link(name: Any, uri: Any) -> str:
    """A link to a resource in Markdown. Only addresses of the web can be followed; others are shown as code."""
    target = one_line(uri, _URI_MAX) if isinstance(uri, str) else ""
    label = one_line(name, _NAME_MAX) if isinstance(name, str) else ""
    label = _MARKUP.sub(r"\\\g<0>", label or one_line(target, _NAME_MAX) or "link")
    if _is_of_the_web(target):
        return f"[{label}](<{quote(target, safe=_SAFE)}>)"
    return f"{label} (`{target.replace('`', chr(39))}`)" if target else label


def _is_of_the_web(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not uri.endswith("…")
