"""What people see of a message beside its own text, as data for the agent; its files, and a title for its thread. Pure.

One reading serves the prompt, the question whether there is anything to do, and the title. A message's own text stays
as its author wrote it: names of what it mentions are data too, since people choose them.

Source of the fields: https://discord.com/developers/docs/resources/message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import discord

from acpbot.chat.discord.access import own_role_id, without_mention
from acpbot.chat.discord.inbound.content import Attachment
from acpbot.text import clean, cut, is_blank, one_line
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    Shown = discord.Message | discord.MessageSnapshot

MESSAGE_MAX: Final = 24_000
"""Characters of a message's data: what it forwards, what it replies to, its embeds."""

THREAD_MAX: Final = 16_000
"""Characters of what was written in a thread before."""

EARLIER_MAX: Final = 30
"""Messages of a thread from before."""

_TEXT_MAX: Final = 4000
_EARLIER_TEXT_MAX: Final = 1500
_WORDS_MAX: Final = 1100
_NAME_MAX: Final = 100
_MENTIONS_MAX: Final = 100
_PARTS_MAX: Final = 25
_DEPTH_MAX: Final = 8
_FILES_MAX: Final = 40
_CUSTOM_EMOJI: Final = re.compile(r"<a?:(\w{1,32}):[0-9]{1,20}>")
_FIRST_MENTION: Final = re.compile(r"\s*(?:<@[!&]?([0-9]{1,20})>|@(?:everyone|here)\b)")
_ROLE: Final = re.compile(r"<@&([0-9]{15,20})>")
_CHANNEL: Final = re.compile(r"<#([0-9]{15,20})>")
_USER: Final = re.compile(r"<@!?([0-9]{15,20})>")


class Reply(NamedTuple):
    """The message that another one replies to.

    ``state``: it replies to none; it is there; it is deleted; or nobody knows, since Discord did not give it.
    """

    state: Literal["none", "found", "deleted", "unknown"]
    message: discord.Message | None = None


class ThreadPast(NamedTuple):
    """What was written in a thread before a message, oldest first. ``failed``: some of it could not be fetched.

    ``starter`` is the message that the thread began with. ``more``: there is more before ``earlier``.
    """

    starter: discord.Message | None = None
    earlier: Sequence[discord.Message] = ()
    more: bool = False
    failed: bool = False


class Readable(NamedTuple):
    """A message as people see it.

    ``data``: values for JSON, bounded. ``title``: a line that says what it is about where it has no text of its own.
    ``own_files`` are attached to it or forwarded, ``other_files`` belong to what it replies to or what its thread began
    with; each has a name of its own. ``own_words`` and ``other_words``: whether these say anything beside files and the
    message's own text.
    """

    data: dict[str, Any]
    title: str
    own_files: list[Attachment]
    other_files: list[Attachment]
    own_words: bool
    other_words: bool

    def is_readable(self, names: Collection[str]) -> bool:
        """Whether there is anything to read beside the message's own text; ``names``: the files that can be read.

        What it replies to does not make up for files of its own that nobody can read, such as a voice message.
        """
        if self.own_words or any(file.filename in names for file in self.own_files):
            return True
        return not self.own_files and (self.other_words or any(file.filename in names for file in self.other_files))


NO_REPLY: Final = Reply("none")


def reply_in(message: discord.Message) -> Reply | None:
    """What the message replies to, as far as Discord has sent it; ``None`` where it must be fetched."""
    reference = message.reference
    if reference is None or message.message_snapshots or message.type is not discord.MessageType.reply:
        return NO_REPLY
    if isinstance(reference.resolved, discord.Message):
        return Reply("found", reference.resolved)
    if isinstance(reference.resolved, discord.DeletedReferencedMessage) or reference.message_id is None:
        return Reply("deleted")
    return None


def readable(
    message: discord.Message,
    *,
    own_id: str,
    reply: Reply = NO_REPLY,
    forward: discord.Message | None = None,
    past: ThreadPast | None = None,
) -> Readable:
    """Read a message; ``own_id``: the bot's user id.

    ``forward``: what its author has forwarded right before it, which Discord makes a message of its own. ``past`` is
    there where the agent knows nothing of the thread.
    """
    reader = _Reader(message.guild, own_id)
    data: dict[str, Any] = {}
    thread = message.channel if isinstance(message.channel, discord.Thread) else None
    if thread is not None and message.id == thread.id:  # the first message of a forum's post, whose title is shown
        data["post"] = reader.post(thread)
    data |= ({} if forward is None else reader.parts(forward, MESSAGE_MAX)) | reader.parts(message, MESSAGE_MAX)
    if is_blank(without_mention(message.content, own_id, own_role_id=own_role_id(message.guild))):
        data["no_text"] = "The message has no text of its own. It is about what its author shows here."
    own_words, own_files = reader.take_words(), reader.take_files()
    if reply.message is not None:
        data["reply_to"] = reader.whole(reply.message, _TEXT_MAX)
    elif reply.state != "none":
        data["reply_to"] = {"error": _MISSING[reply.state]}
    other_words, other_files = reader.take_words(), reader.take_files()
    if past is not None:
        data["thread"] = reader.thread(thread, past)
        other_files += reader.take_files()
    own_role = own_role_id(message.guild)
    reader.read_mentions(message, without_mention(message.content, own_id, own_role_id=own_role))
    if reader.mentions:
        data["mentions"] = {mention[1:-1]: name for mention, name in reader.mentions.items()}
    if reader.is_cut:
        data["cut"] = "Some of this is left out because it is too long."
    names = [file.filename for file in (*own_files, *other_files)]
    title = reader.named(next(filter(None, (own_words, other_words, *names)), ""))
    return Readable(data, title, own_files, other_files, bool(own_words), bool(other_words))


_MISSING: Final = {
    "deleted": "The message that this one replies to is deleted.",
    "unknown": "The message that this one replies to could not be fetched.",
}


def past_data(thread: discord.Thread, past: ThreadPast, own_id: str) -> dict[str, Any]:
    """The same data of what was written in a thread, for a message that is read already; it brings no files."""
    return {"thread": _Reader(thread.guild, own_id).thread(thread, past, with_files=False)}


def plain_title(text: str, message: discord.Message, own_id: str) -> str:
    """The text with names in place of mentions and of custom emoji; mentions of the bot stay as they are."""
    reader = _Reader(message.guild, own_id)
    reader.read_mentions(message, text)
    return reader.named(text)


def begins_with_another(text: str, own_id: str) -> bool:
    """Whether the text begins with a mention of somebody else, of a role or of everybody, so that it is for them."""
    found = _FIRST_MENTION.match(text)
    return found is not None and found[1] != own_id


class _Reader:
    """Reads messages into values for JSON: all texts are cleaned, and bounded together."""

    def __init__(self, guild: discord.Guild | None, own_id: str) -> None:
        self._own_id = own_id
        self._guild = guild
        self._room = MESSAGE_MAX
        self._files: list[Attachment] = []
        self._names: set[str] = set()
        self._own = {f"<@{own_id}>", f"<@&{own_role_id(guild)}>"}
        self.mentions: dict[str, str] = {}
        self.is_cut = False
        self._words = ""

    def take_words(self) -> str:
        """The first text that says something of what was read since the last call."""
        words, self._words = self._words, ""
        return words

    def take_files(self) -> list[Attachment]:
        """The files of what was read since the last call."""
        files, self._files = self._files, []
        return files

    def named(self, text: str) -> str:
        """The text with names in place of mentions and of custom emoji; mentions of the bot stay as they are."""
        for mention, name in self.mentions.items():
            if mention not in self._own:
                text = text.replace(mention, name).replace(mention.replace("<@", "<@!", 1), name)
        return _CUSTOM_EMOJI.sub(r":\1:", text)

    def whole(self, message: discord.Message, most: int, *, with_files: bool = True) -> dict[str, Any]:
        """A message of somebody, with its text and author."""
        author = message.author
        data: dict[str, Any] = {"user": one_line(author.display_name, _NAME_MAX), "user_id": str(author.id)}
        if str(author.id) == self._own_id:
            data["is_you"] = True
        elif author.bot or message.webhook_id is not None:
            data["is_bot"] = True
        data["sent_at"] = rfc3339(message.created_at.timestamp())
        return data | self._text(message, most) | self.parts(message, most, with_files=with_files)

    def parts(self, shown: Shown, most: int, *, with_files: bool = True) -> dict[str, Any]:
        """What a message shows beside its text."""
        data: dict[str, Any] = {}
        snapshots: list[discord.MessageSnapshot] = getattr(shown, "message_snapshots", [])
        if snapshots:
            data["forwarded"] = [self._forwarded(one, most, with_files=with_files) for one in snapshots[:_PARTS_MAX]]
        embeds = [found for embed in shown.embeds[:_PARTS_MAX] if (found := self._embed(embed, most))]
        if embeds:
            data["embeds"] = embeds
        poll = getattr(shown, "poll", None)
        if poll is not None:
            data["poll"] = self._poll(poll)
        if shown.stickers:
            data["stickers"] = [self._take(sticker.name, _NAME_MAX) for sticker in shown.stickers[:_PARTS_MAX]]
        texts = [self._take(text, most) for text in _component_texts(getattr(shown, "components", ()))]
        if texts:
            data["components"] = texts
        if shown.attachments:
            data["files" if with_files else "files_not_attached"] = self._name_files(shown.attachments, keep=with_files)
        return data

    def post(self, thread: discord.Thread) -> dict[str, Any]:
        """A forum's post, or another thread: its title, its tags, the channel that it is in."""
        data: dict[str, Any] = {"title": self._take(thread.name, _NAME_MAX)}
        if thread.parent is not None:
            data["channel"] = one_line(thread.parent.name, _NAME_MAX)
        tags = [one_line(tag.name, _NAME_MAX) for tag in thread.applied_tags]
        return data | ({"tags": tags} if tags else {})

    def thread(self, thread: discord.Thread | None, past: ThreadPast, *, with_files: bool = True) -> dict[str, Any]:
        """What was written before: the newest messages where there is no room for all of them."""
        self._room = THREAD_MAX // 2
        data: dict[str, Any] = {} if thread is None else self.post(thread)
        if past.starter is not None:
            data["starter"] = self.whole(past.starter, _TEXT_MAX, with_files=with_files)
        self._room = max(self._room, 0) + THREAD_MAX // 2
        earlier: list[dict[str, Any]] = []
        for message in reversed(past.earlier[-EARLIER_MAX:]):
            if self._room <= 0:
                break
            earlier.append(self.whole(message, _EARLIER_TEXT_MAX, with_files=False))
        earlier.reverse()
        if earlier:
            data["earlier_messages"] = earlier
        if past.more or len(earlier) < len(past.earlier):
            data["left_out"] = "Older messages of this thread are left out."
        if past.failed:
            data["error"] = "Some earlier messages of this thread could not be fetched."
        return data

    def read_mentions(self, shown: Shown, text: str) -> None:
        """Note the names of the users, roles and channels that the text mentions."""
        people = {user.id: user for user in getattr(shown, "mentions", ())}
        for found in _USER.finditer(text):
            user = people.get(int(found[1]))
            if user is not None:
                self._note(f"<@{user.id}>", f"@{user.display_name}")
        if self._guild is None:
            return
        for found in _ROLE.finditer(text):
            role = self._guild.get_role(int(found[1]))
            self._note(found[0], None if role is None else f"@{role.name}")
        for found in _CHANNEL.finditer(text):
            channel = self._guild.get_channel_or_thread(int(found[1]))
            self._note(found[0], None if channel is None else f"#{channel.name}")

    def _note(self, mention: str, name: str | None) -> None:
        if name is not None and len(self.mentions) < _MENTIONS_MAX:
            self.mentions[mention] = one_line(name, _NAME_MAX)

    def _take(self, text: str, most: int) -> str:
        """The text as far as there is room for it."""
        room = max(min(most, self._room), 0)
        cleaned = clean(text[: room * 2 + 1])
        self.is_cut = self.is_cut or len(cleaned) > room
        kept = cut(cleaned, room)
        self._room -= len(kept)
        if not self._words and not is_blank(kept):
            self._words = kept
        return kept

    def _text(self, shown: Shown, most: int) -> dict[str, Any]:
        if not shown.content:
            return {}
        self.read_mentions(shown, shown.content)
        return {"text": self._take(shown.content, most)}

    def _forwarded(self, snapshot: discord.MessageSnapshot, most: int, *, with_files: bool) -> dict[str, Any]:
        sent = {"sent_at": rfc3339(snapshot.created_at.timestamp())}
        return sent | self._text(snapshot, most) | self.parts(snapshot, most, with_files=with_files)

    def _embed(self, embed: discord.Embed, most: int) -> dict[str, Any]:
        found = {"title": embed.title, "description": embed.description, "url": embed.url, "author": embed.author.name}
        data: dict[str, Any] = {key: self._take(value, most) for key, value in found.items() if value}
        fields = [
            {"name": self._take(field.name or "", _WORDS_MAX), "value": self._take(field.value or "", _WORDS_MAX)}
            for field in embed.fields[:_PARTS_MAX]
        ]
        if fields:
            data["fields"] = fields
        more = {"footer": embed.footer.text, "image": embed.image.url}
        data |= {key: self._take(value, _WORDS_MAX) for key, value in more.items() if value}
        return data

    def _poll(self, poll: discord.Poll) -> dict[str, Any]:
        votes = any(answer.vote_count for answer in poll.answers)
        answers: list[Any] = []
        for answer in poll.answers[:_PARTS_MAX]:
            emoji = "" if answer.emoji is None else f"{answer.emoji} "
            text = self._take(f"{emoji}{answer.text or ''}", _WORDS_MAX)
            answers.append({"text": text, "votes": answer.vote_count} if votes else {"text": text})
        return {"question": self._take(poll.question or "", _WORDS_MAX), "answers": answers}

    def _name_files(self, files: Iterable[discord.Attachment], *, keep: bool) -> list[str]:
        """The files' names; where they are kept, each is another one than those of all others."""
        names: list[str] = []
        for file in files:
            name = one_line(file.filename.replace("\\", "/").rpartition("/")[2], _NAME_MAX) or "file"
            if len(names) == _PARTS_MAX or (keep and len(self._names) == _FILES_MAX):
                self.is_cut = True
                break
            if keep:
                name = self._distinct(name)
                self._files.append(
                    Attachment(filename=name, content_type=file.content_type, size=file.size, url=file.url)
                )
            names.append(name)
        return names

    def _distinct(self, name: str) -> str:
        stem, dot, ending = name.rpartition(".")
        if not stem:
            stem, dot, ending = name, "", ""
        number, found = 1, name
        while found.casefold() in self._names:
            number += 1
            found = f"{stem[: _NAME_MAX - len(ending) - 5]}-{number}{dot}{ending}"
        self._names.add(found.casefold())
        return found


def _component_texts(components: Sequence[Any], depth: int = 0) -> list[str]:
    """The texts of a message that consists of components."""
    texts: list[str] = []
    for component in components[:_PARTS_MAX]:
        text = getattr(component, "content", None)
        if isinstance(text, str) and text.strip():
            texts.append(text)
        children = getattr(component, "children", None)
        if children and depth < _DEPTH_MAX:
            texts += _component_texts(children, depth + 1)
    return texts
