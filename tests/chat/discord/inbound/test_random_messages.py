"""Whatever a message of Discord contains, as far as discord.py reads it: the agent gets data of bounded size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import discord
import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from acpbot.chat.discord.inbound.agent_choice import split, unknown_text
from acpbot.chat.discord.inbound.readable import MESSAGE_MAX, Reply, plain_title, readable, reply_in
from acpbot.sessions.thread import title_from

BOT = "1000"
TIME = "2026-11-18T00:00:00+00:00"
PIECES = [
    f"<@{BOT}>",
    f"<@!{BOT}>",
    "<@&7>",
    "<#8>",
    "<@9>",
    "<:a:1>",
    "<t:1:R>",
    "@everyone",
    "```",
    "<",
    "\u200b",
    "\x00",
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8) | st.just("word " * 40), max_size=4).map("".join)
ODD: st.SearchStrategy[Any] = st.none() | TEXTS | st.integers(0, 2**70) | st.booleans() | st.just([]) | st.just({})
USER = {"id": "9", "username": "ada", "discriminator": "0", "global_name": "Ada", "avatar": None}


def of(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in required.items()},
        optional=optional or {},
    )


EMBEDS = of(
    {"type": "rich"},
    {
        "title": TEXTS | ODD,
        "description": TEXTS | ODD,
        "url": TEXTS | ODD,
        "fields": st.lists(of({"name": TEXTS, "value": TEXTS}, {"inline": st.booleans()}), max_size=3),
        "footer": of({}, {"text": TEXTS}),
        "author": of({}, {"name": TEXTS, "url": TEXTS}),
        "timestamp": st.just(TIME) | ODD,
        "image": of({}, {"url": TEXTS}),
    },
)
FILES = of(
    {"id": "5", "size": st.integers(0, 2**40), "url": "https://cdn.example/a", "proxy_url": "https://cdn.example/a"},
    {"content_type": TEXTS, "description": TEXTS},
)
FILES = st.builds(lambda file, name: file | {"filename": name}, FILES, TEXTS)
COMPONENTS = st.recursive(
    of({"type": 10, "content": TEXTS, "id": 1}),
    lambda inner: st.builds(lambda kept: {"type": 17, "id": 2, "components": kept}, st.lists(inner, max_size=3)),
    max_leaves=12,
)
POLLS = of(
    {
        "question": of({"text": TEXTS}),
        "answers": st.lists(of({"answer_id": 1, "poll_media": of({"text": TEXTS})}), max_size=3),
        "expiry": st.just(TIME),
        "allow_multiselect": st.booleans(),
        "layout_type": 1,
    }
)
SHOWN = {
    "embeds": st.lists(EMBEDS, max_size=2),
    "attachments": st.lists(FILES, max_size=3),
    "components": st.lists(COMPONENTS, max_size=3),
    "sticker_items": st.lists(of({"id": "4", "name": TEXTS, "format_type": st.integers(1, 5)}), max_size=3),
    "mentions": st.lists(st.just(USER), max_size=2),
    "flags": st.integers(0, 2**16),
}
STATE: Any = discord.Client(intents=discord.Intents(guilds=True))._connection
EMPTY: dict[str, Any] = {"embeds": [], "attachments": [], "components": [], "mentions": [], "mention_roles": []}
SNAPSHOTS = of({"type": 0, "content": TEXTS, "timestamp": TIME, "edited_timestamp": None}, SHOWN)
MESSAGES = of(
    {"id": "77", "channel_id": "8", "type": st.sampled_from([0, 19, 21, 7]), "content": TEXTS},
    SHOWN
    | {
        "poll": POLLS,
        "message_snapshots": st.lists(st.builds(lambda one: {"message": EMPTY | one}, SNAPSHOTS), max_size=2),
    },
)
PLAIN = {"id": "77", "channel_id": "8", "type": 0}
NO_ANSWERS = {
    "question": {"text": ""}, "answers": [], "expiry": TIME, "allow_multiselect": False, "layout_type": 1,
}  # fmt: skip


def message_of(body: dict[str, Any]) -> discord.Message | None:
    """The message as discord.py reads it; ``None`` where it does not."""
    channel: Any = SimpleNamespace(id=8, guild=None, type=discord.ChannelType.private)
    base = EMPTY | {"author": USER, "timestamp": TIME, "edited_timestamp": None, "pinned": False, "tts": False}
    try:
        return discord.Message(state=STATE, channel=channel, data=base | {"mention_everyone": False} | body)  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


@example(PLAIN | {"content": f"<@{BOT}>", "poll": NO_ANSWERS})
@example(PLAIN | {"content": "0\x1e"})
@example(PLAIN | {"content": "word " * 9000, "message_snapshots": []})
@given(MESSAGES)
def test_any_message_becomes_data_of_bounded_size(body: dict[str, Any]):
    message = message_of(body)
    assume(message is not None)
    assert message is not None
    reply = reply_in(message)
    for found in (readable(message, own_id=BOT), readable(message, own_id=BOT, reply=Reply("found", message))):
        assert len(msgspec.json.encode(found.data)) < 20 * MESSAGE_MAX
        assert "\n" not in (title_from(plain_title(found.title, message, BOT)) or "")
        assert all(file.filename for file in (*found.own_files, *found.other_files))
    assert reply is None or reply.message is None


@example("agent: `x` do")
@example("agent:\n")
@given(
    st.lists(st.sampled_from(["agent:", "Agent: ", "`", '"', " ", "\n", "x", ","]) | st.text(max_size=5)).map("".join)
)
def test_any_first_words_name_an_agent_or_are_all_kept(text: str):
    name, rest = split(text)
    assert text.endswith(rest)
    assert (name is None) == (rest == text)
    assert len(unknown_text(name or text, ["demo"])) < 200
