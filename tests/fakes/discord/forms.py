"""What Discord accepts in a message, a thread's name and a command: its form validation (error 50035 and its kin)."""

from __future__ import annotations

import mimetypes
import re
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import errors

if TYPE_CHECKING:
    from tests.fakes.discord.rest import Call
    from tests.fakes.discord.state import Attachment, Channel, Message
    from tests.fakes.discord.world import World

CONTENT_MAX, FILES_MAX, EMBEDS_MAX, EMBED_TEXT_MAX = 2000, 10, 10, 6000
ROWS_MAX, ROW_WIDTH_MAX, CUSTOM_ID_MAX, LABEL_MAX, OPTIONS_MAX, OPTION_TEXT_MAX = 5, 5, 100, 80, 25, 100
NAME_MAX, COMMANDS_MAX, DESCRIPTION_MAX = 100, 100, 100
UPLOAD_MAX = 10 * 1024 * 1024
COMPONENTS_V2 = 1 << 15
SENDABLE_FLAGS = (1 << 2) | (1 << 6) | (1 << 12) | COMPONENTS_V2
ROW, BUTTON, LINK_STYLE = 1, 2, 5
COMMAND_NAME = re.compile(r"[-_'\w]{1,32}")


def message_fields(
    world: World, call: Call, data: dict[str, Any], channel: Channel, before: Message | None
) -> dict[str, Any]:
    """The fields that `data` sets, checked; `before` is the message as it is when this is an edit."""
    fields: dict[str, Any] = {}
    if "content" in data or before is None:
        content = data.get("content") or ""
        if not isinstance(content, str):
            raise errors.invalid("content", "STRING_TYPE_CONVERT", "Could not interpret content as string.")
        if len(content) > CONTENT_MAX:
            raise errors.too_long("content", CONTENT_MAX)
        fields["content"] = content.strip()
    if "embeds" in data:
        fields["embeds"] = _embeds(data["embeds"] or [])
    if "components" in data:
        components = data["components"] or []
        if not int(data.get("flags") or 0) & COMPONENTS_V2:
            _components(components)
        fields["components"] = components
    if "allowed_mentions" in data:
        fields["allowed_mentions"] = data["allowed_mentions"]
    if before is None:
        fields["flags"] = int(data.get("flags") or 0) & SENDABLE_FLAGS
    if call.uploads or "attachments" in data or before is None:
        fields["attachments"] = _attachments(world, call, data, channel, before)
    _not_empty(data, fields, before)
    return fields


def _not_empty(data: dict[str, Any], fields: dict[str, Any], before: Message | None) -> None:
    parts = ("content", "embeds", "attachments", "components")
    has = any(fields.get(name, getattr(before, name, None)) for name in parts)
    if not has and not data.get("sticker_ids") and not data.get("poll"):
        raise errors.empty_message()


def _embeds(embeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(embeds) > EMBEDS_MAX:
        raise errors.bad_length("embeds", 0, EMBEDS_MAX)
    size = 0
    for embed in embeds:
        texts = [embed.get("title"), embed.get("description")]
        texts += [(embed.get("footer") or {}).get("text"), (embed.get("author") or {}).get("name")]
        for one in embed.get("fields") or []:
            texts += [one.get("name"), one.get("value")]
        size += sum(len(text) for text in texts if text)
    if size > EMBED_TEXT_MAX:
        raise errors.invalid("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")
    return [{"type": "rich", **embed} for embed in embeds]


def _components(rows: list[dict[str, Any]]) -> None:
    if len(rows) > ROWS_MAX:
        raise errors.bad_length("components", 0, ROWS_MAX)
    seen: set[str] = set()
    for i, row in enumerate(rows):
        items = row.get("components") or []
        if row.get("type") != ROW:
            raise errors.invalid(
                f"components.{i}.type", "BASE_TYPE_CHOICES", 'Value of field "type" must be one of (1,).'
            )
        if not 1 <= len(items) <= ROW_WIDTH_MAX:
            raise errors.bad_length(f"components.{i}.components", 1, ROW_WIDTH_MAX)
        for j, item in enumerate(items):
            _component(f"components.{i}.components.{j}", item, seen)


def _component(path: str, item: dict[str, Any], seen: set[str]) -> None:
    label = item.get("label") or ""
    if len(label) > LABEL_MAX:
        raise errors.too_long(f"{path}.label", LABEL_MAX)
    if item.get("type") == BUTTON and not label and not item.get("emoji"):
        raise errors.invalid(path, "BUTTON_COMPONENT_LABEL_OR_EMOJI_REQUIRED", "A label or an emoji is required")
    if item.get("type") == BUTTON and item.get("style") == LINK_STYLE:
        return
    custom_id = item.get("custom_id") or ""
    if not 1 <= len(custom_id) <= CUSTOM_ID_MAX:
        raise errors.bad_length(f"{path}.custom_id", 1, CUSTOM_ID_MAX)
    if custom_id in seen:
        raise errors.invalid(
            f"{path}.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated"
        )
    seen.add(custom_id)
    if item.get("type") == 3:
        options = item.get("options") or []
        if not 1 <= len(options) <= OPTIONS_MAX:
            raise errors.bad_length(f"{path}.options", 1, OPTIONS_MAX)
        if len({option.get("value") for option in options}) < len(options):
            raise errors.invalid(f"{path}.options", "COMPONENT_OPTION_VALUE_DUPLICATED", "Option values must be unique")
        for k, option in enumerate(options):
            for name in ("label", "value"):
                if not (option.get(name) or "").strip():
                    raise errors.invalid(f"{path}.options.{k}.{name}", "BASE_TYPE_REQUIRED", "This field is required")
            for name in ("label", "value", "description"):
                if len(option.get(name) or "") > OPTION_TEXT_MAX:
                    raise errors.too_long(f"{path}.options.{k}.{name}", OPTION_TEXT_MAX)


def modal(data: dict[str, Any]) -> None:
    """A window of text inputs, each in a label or, as of old, in a row (components/reference, label, text input)."""
    rows = data.get("components") or []
    if not 1 <= len(rows) <= ROWS_MAX:
        raise errors.bad_length("data.components", 1, ROWS_MAX)
    texts = {
        "data.title": (data.get("title"), 45, True),
        "data.custom_id": (data.get("custom_id"), CUSTOM_ID_MAX, True),
    }
    for i, row in enumerate(rows):
        path, in_row = f"data.components.{i}", row.get("type") == ROW
        field = row["components"][0] if in_row else row.get("component") or {}
        if row.get("type") not in (ROW, 18) or field.get("type") != 4:
            raise errors.invalid(f"{path}.type", "BASE_TYPE_CHOICES", 'Value of field "type" must be one of (1, 18).')
        texts[f"{path}.label"] = ((field if in_row else row).get("label"), 45, True)
        texts[f"{path}.description"] = (row.get("description"), OPTION_TEXT_MAX, False)
        texts[f"{path}.component.custom_id"] = (field.get("custom_id"), CUSTOM_ID_MAX, True)
        most = field.get("max_length") or 4000
        if not 1 <= most <= 4000:
            raise errors.bad_length(f"{path}.component.max_length", 1, 4000)
        texts[f"{path}.component.value"] = (field.get("value"), most, False)
    for path, (text, most, needed) in texts.items():
        if len(text or "") > most or (needed and not text):
            raise errors.bad_length(path, int(needed), most)


def _attachments(
    world: World, call: Call, data: dict[str, Any], channel: Channel, before: Message | None
) -> list[Attachment]:
    """Those that `data` keeps, then the uploads."""
    listed = data.get("attachments")
    had = {} if before is None else {str(one.id): one for one in before.attachments}
    if listed is None:
        kept, described = list(had.values()), {}
    else:
        kept = [had[str(one["id"])] for one in listed if str(one["id"]) in had]
        described = {str(one["id"]): one for one in listed}
    if len(kept) + len(call.uploads) > FILES_MAX:
        raise errors.too_many_files()
    if sum(len(one.data) for one in call.uploads.values()) > UPLOAD_MAX:
        raise errors.too_large()
    for index, upload in call.uploads.items():
        about = described.get(index, {})
        filename = about.get("filename") or upload.filename
        kept.append(world.attach(channel, filename, upload.data, content_type_of(filename), about.get("description")))
    return kept


def content_type_of(filename: str) -> str:
    """What Discord's CDN says of a file of this name."""
    kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def thread_name(data: dict[str, Any]) -> str:
    name = data.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= NAME_MAX:
        raise errors.bad_length("name", 1, NAME_MAX)
    return name.strip()


def commands(data: Any) -> list[dict[str, Any]]:
    """The bodies of a bulk overwrite, checked."""
    if not isinstance(data, list):
        raise errors.bad_json()
    if len(data) > COMMANDS_MAX:
        raise errors.ApiError(400, 30032, "Maximum number of application commands reached (100)")
    names: set[tuple[int, str]] = set()
    for i, command in enumerate(data):
        kind, name = command.get("type", 1), command.get("name") or ""
        if (kind, name) in names:
            raise errors.invalid(f"{i}.name", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Command names must be unique")
        names.add((kind, name))
        if kind == 1:
            _command(str(i), command)
    return data


def _command(path: str, command: dict[str, Any]) -> None:
    name = command.get("name") or ""
    if not COMMAND_NAME.fullmatch(name) or name != name.lower():
        raise errors.invalid(f"{path}.name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    if not 1 <= len(command.get("description") or "") <= DESCRIPTION_MAX:
        raise errors.bad_length(f"{path}.description", 1, DESCRIPTION_MAX)
    options = command.get("options") or []
    if len(options) > OPTIONS_MAX:
        raise errors.bad_length(f"{path}.options", 0, OPTIONS_MAX)
    for k, option in enumerate(options):
        _command(f"{path}.options.{k}", option)
        if len(option.get("choices") or []) > OPTIONS_MAX:
            raise errors.bad_length(f"{path}.options.{k}.choices", 0, OPTIONS_MAX)
