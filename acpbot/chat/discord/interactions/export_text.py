"""A thread's messages as a Markdown file. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import discord

from acpbot.chat.discord.inbound.readable import plain_title
from acpbot.chat.rendering.markdown import plain
from acpbot.text import clean, one_line, size_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

OLDER_LEFT_OUT: Final = "Older messages are left out."
NOT_ALL_READ: Final = "Discord didn't return every message, so older ones are left out."

_WRITTEN: Final = frozenset(
    {
        discord.MessageType.default,
        discord.MessageType.reply,
        discord.MessageType.chat_input_command,
        discord.MessageType.context_menu_command,
    }
)
_NAME_MAX: Final = 100
_NOT_IN_NAMES: Final = re.compile(r"[^\w.-]+")


def message_text(message: discord.Message, own_id: str, own_name: str) -> str:
    """One message with author, time, text, embeds and names of files; empty for one that nobody has written."""
    if message.type is discord.MessageType.thread_starter_message and message.reference is not None:
        resolved = message.reference.resolved
        return message_text(resolved, own_id, own_name) if isinstance(resolved, discord.Message) else ""
    if message.type not in _WRITTEN:
        return ""
    named = plain_title(message.content, message, own_id).replace(f"<@{own_id}>", f"@{own_name}")
    parts = [clean(named)] if named.strip() else []
    parts += [text for embed in message.embeds if (text := _embed_text(embed))]
    if message.attachments:
        files = [(plain(one_line(file.filename, _NAME_MAX)), size_words(file.size)) for file in message.attachments]
        parts.append("\n".join(f"- 📎 {name} ({size})" for name, size in files))
    if not parts:
        return ""
    edited = " (edited)" if message.edited_at is not None else ""
    head = f"**{_name(message.author)}** · {_time(message.created_at)}{edited}{_reply_text(message)}"
    return "\n\n".join([head, *parts])


def document(title: str, texts: Sequence[str], *, at: datetime, note: str | None) -> str:
    """The whole file: the messages' texts, oldest first. ``note`` says what is left out before them."""
    count = f"{len(texts):,} message{'s' * (len(texts) != 1)}"
    head = [f"# {plain(one_line(title, _NAME_MAX)) or 'Conversation'}", f"{count}, exported at {_time(at)}."]
    return "\n\n---\n\n".join(["\n\n".join([*head, *([note] if note else [])]), *texts]) + "\n"


def file_name(title: str, thread_id: str) -> str:
    """A name for the file that every system takes."""
    name = _NOT_IN_NAMES.sub("-", one_line(title, _NAME_MAX)).strip("-.")[:60]
    return f"{name or thread_id}.md"


def _name(author: discord.User | discord.Member) -> str:
    return (plain(one_line(author.display_name, _NAME_MAX)) or str(author.id)) + (" (bot)" if author.bot else "")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _reply_text(message: discord.Message) -> str:
    reference = message.reference
    if message.type is not discord.MessageType.reply or reference is None:
        return ""
    return f" · reply to {_name(reference.resolved.author)}" if isinstance(reference.resolved, discord.Message) else ""


def _embed_text(embed: discord.Embed) -> str:
    lines = [f"**{embed.title}**"] if embed.title else []
    lines += [embed.description] if embed.description else []
    lines += [f"**{field.name}**: {field.value}" for field in embed.fields]
    return "\n".join(f"> {line}" for line in clean("\n".join(lines)).splitlines())
