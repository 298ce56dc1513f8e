"""A thread of the recorded day as a person sees it at its end, as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import state
from tests.fakes.discord.interactions import AUTOCOMPLETE, COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.discord.interactions import Interaction
    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel, Message

WIDTH = 118
_AS_IT_IS: Any = {"break_long_words": False, "replace_whitespace": False, "drop_whitespace": False}


def page(server: DiscordServer, channel: Channel) -> str:
    """Every message there in order of time, those for one person too, and the commands and clicks of people."""
    messages = [(one.id, list(_message(server, one))) for one in channel.messages.values()]
    used = [one for one in server.interactions.all if one.channel is channel and one.type != AUTOCOMPLETE]
    acts = [(one.id, [_act(one)]) for one in used]
    rows = [row for _, lines in sorted([*messages, *acts], key=lambda item: item[0]) for row in lines]
    where = f"#{channel.parent.name} > " if channel.parent is not None else "#"
    return "\n".join([f"=== {where}{channel.name} ===", *(_named(server, row) for row in rows)])


def _act(one: Interaction) -> str:
    at = _time(one.id)
    if one.type == COMMAND:
        options = " ".join(f"{item['name']}:{item.get('value')}" for item in one.data.get("options") or [])
        return f"{at} . {one.user.name} used /{one.data['name']} {options}".rstrip()
    pressed = one.data.get("custom_id")
    versions = [] if one.message is None else one.message.versions
    items = [item for version in versions for row in version.components for item in row.get("components", ())]
    used = [item for item in items if item.get("custom_id") == pressed]
    chosen = [part["label"] for item in used for part in item.get("options", ()) if part["value"] in one.data["values"]]
    if chosen:
        return f"{at} . {one.user.name} selected [{chosen[0]}]"
    return f"{at} . {one.user.name} pressed [{next((item.get('label') for item in used), None) or 'a button'}]"


def _message(server: DiscordServer, one: Message) -> Iterator[str]:
    at = _time(one.id)
    if one.type == state.NAME_CHANGED:
        yield f"{at} . {one.author.name} changed the name of the thread: {one.content}"
        return
    if one.type == state.THREAD_CREATED:
        yield f"{at} . {one.author.name} started a thread: {one.content}"
        return
    if one.type == state.STARTER:
        begun = one.referenced
        yield f"{at} . the thread begins with: {'a deleted message' if begun is None else begun.content}"
        return
    notes = []
    if one.referenced is not None and one.type == state.REPLY:
        notes.append(f"reply to {one.referenced.author.name}: {one.referenced.content[:40]!r}")
    if one.author is server.bot and one.pings:
        notes.append(f"pings {', '.join(who.name for who in one.mentions)}")
    if one.visible_to is not None:
        notes.append(f"only {one.visible_to.name} sees it")
    if one.edited is not None and one.author is not server.bot:
        notes.append("edited")
    yield f"{at} {one.author.name}{' [bot]' if one.author.bot else ''}{''.join(f' ({note})' for note in notes)}"
    indent = " " * 9
    for line in one.content.splitlines():
        yield from textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent, **_AS_IT_IS) or [""]
    yield from (f"{indent}{line}" for line in _attached(one))


def _attached(one: Message) -> Iterator[str]:
    for snapshot in one.snapshots:
        yield f"| forwarded: {snapshot['content']}"
    for embed in one.embeds:
        yield f"| embed: {embed.get('title', '')}: {embed.get('description', '')}"
    if one.poll is not None:
        answers = " / ".join(answer["poll_media"]["text"] for answer in one.poll["answers"])
        yield f"| poll: {one.poll['question']['text']} {answers}"
    for file in one.attachments:
        yield f"[file {file.filename}, {len(file.data)} bytes]"
    for row in one.components:
        items = row.get("components", ())
        yield " ".join(f"[{item.get('label') or item.get('placeholder') or 'menu'}]" for item in items)
    if one.reactions:
        yield " ".join(one.shown_reactions)


def _time(number: int) -> str:
    seconds = ((number >> 22) + state.EPOCH_MS) / 1000
    return f"{int(seconds // 60 % 60):02}:{seconds % 60:05.2f}"


def _named(server: DiscordServer, row: str) -> str:
    """Mentions as people see them."""
    for user in server.world.users.values():
        row = row.replace(f"<@{user.id}>", f"@{user.name}")
    for channel in server.world.channels.values():
        row = row.replace(f"<#{channel.id}>", f"#{channel.name}")
    return row
