"""Where an agent's text begins a new paragraph although the agent sends no white space. Pure.

A chunk with another ``messageId`` than the one before belongs to another message, and so does text after a tool call, a
plan or a permission request where the agent names no messages. Agents send such texts without anything in between. A
file is a paragraph by itself.
Source: https://agentclientprotocol.com/protocol/prompt-turn, `messageId` of the chunks.
"""

from __future__ import annotations

from acpbot.acp import schema
from acpbot.acp.content import FILES
from acpbot.fences import OpenFence


class Paragraphs:
    """The text of one answer, as far as it decides where a paragraph begins."""

    def __init__(self) -> None:
        self._fence = OpenFence()
        self._last = ""
        self._message_id: str | None = None
        self._acted = self._after_file = False

    def acted(self) -> None:
        """A tool call began, a plan was made, or a permission was requested."""
        self._acted = True

    def pieces(self, update: schema.Update) -> list[schema.Update]:
        """A chunk of text, with the break before it as a chunk of its own where there is one."""
        content = update.body.get("content")
        is_file = isinstance(content, dict) and content.get("type") in FILES
        text, message_id = schema.chunk_text(update.body), update.body.get("messageId")
        separator = self.break_before(text, message_id, is_file=is_file)
        if not separator:
            return [update]
        body = {"sessionUpdate": update.kind, "content": schema.text_block(separator)}
        return [schema.Update(update.session_id, update.kind, body), update]

    def break_before(self, text: str, message_id: object, *, is_file: bool = False) -> str:
        """What must be shown before this text, mostly nothing; the text is noted as shown.

        ``message_id``: the chunk's, of any type; only a text that is not empty names a message. ``is_file``: it is the
        name of a file, and so a paragraph by itself.
        """
        if not text:
            return ""
        named = message_id if isinstance(message_id, str) and message_id else None
        has_ids = named is not None and self._message_id is not None
        is_new = is_file or self._after_file or (named != self._message_id if has_ids else self._acted)
        self._message_id = named or self._message_id
        self._acted, self._after_file = False, is_file
        separator = self._separator(text) if is_new and self._last else ""
        self._fence.feed(f"{separator}{text}")
        self._last = text[-1]
        return separator

    def _separator(self, text: str) -> str:
        closing = self._fence.closing
        if closing and not self._fence.continues(text):
            start = "" if self._last == "\n" else "\n"
            return f"{start}{closing}\n" if text[0] == "\n" else f"{start}{closing}\n\n"
        return "" if self._last.isspace() or text[0].isspace() else "\n\n"
