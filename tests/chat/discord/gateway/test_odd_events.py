"""Events of the gateway that the library can't read: each costs at most itself, and the connection stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.discord import gateway as gw
from tests.fakes.discord import payloads, state

if TYPE_CHECKING:
    from tests.fakes.discord.state import Message
    from tests.support.discord_scene import Scene

POLL: dict[str, Any] = {"question": {"text": "Lunch?"}, "answers": [], "expiry": None, "layout_type": 1}


def sends(scene: Scene, event: str, message: Message, **odd: Any) -> None:
    """The gateway reports a message with odd fields. It is in no channel, so that only the report has them."""
    data = payloads.message(message, scene.server.world.cdn, scene.server.bot, gateway=True)
    scene.server.gateway.dispatch(event, gw.GUILD_MESSAGES, data | odd)


def written(scene: Scene, text: str, **fields: Any) -> Message:
    """A message of ada's that mentions the bot, of which nothing is reported yet."""
    world = scene.server.world
    message = state.Message(world.snowflake(), scene.channel, scene.ada, f"{scene.server.bot.mention} {text}", **fields)
    message.mentions = [scene.server.bot]
    scene.channel.messages[message.id] = message
    return message


@pytest.mark.parametrize(
    "odd",
    [
        {"poll": POLL},
        {"embeds": ["no object"]},
        {"components": [7]},
        {"message_snapshots": [{"message": {"type": 0}}]},
        {"message_reference": {"channel_id": "x"}},
        {"interaction_metadata": {}},
        {"attachments": None, "mention_roles": None, "embeds": None, "member": None},
        {"attachments": [None, {}], "mention_roles": [None, "x"], "edited_timestamp": "x"},
        {"embeds": [{"title": None, "fields": None, "author": None, "footer": 7}, {"fields": [None, {}], "type": 7}]},
        {"message_snapshots": [{"message": {"content": None, "embeds": [{"fields": None}], "attachments": None}}, 7]},
    ],
)
async def test_an_odd_part_of_a_message_costs_only_that_part(scene: Scene, odd: dict[str, Any]):
    message = written(scene, "say hello")
    sends(scene, "MESSAGE_CREATE", message, **odd)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    assert scene.text(thread) == "hello"
    assert scene.server.gateway.identifies == 1


async def test_a_reply_to_a_poll_that_cannot_be_read_is_answered(scene: Scene):
    asked = scene.bob.says(scene.channel, "Lunch?")
    poll = payloads.message(asked, scene.server.world.cdn, scene.server.bot, gateway=False) | {"poll": POLL}
    points = {"type": 0, "message_id": str(asked.id), "channel_id": str(scene.channel.id)}
    message = written(scene, "say hello", type=state.REPLY)
    sends(scene, "MESSAGE_CREATE", message, message_reference=points, referenced_message=poll)
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    assert scene.text(thread) == "hello"


@pytest.mark.parametrize(
    ("event", "odd"),
    [
        ("MESSAGE_CREATE", {"author": None}),
        ("MESSAGE_UPDATE", {"id": None}),
        ("MESSAGE_DELETE", {"id": "x"}),
        ("THREAD_UPDATE", {"thread_metadata": 7}),
        ("GUILD_CREATE", {"channels": 7}),
        ("INTERACTION_CREATE", {"type": "x"}),
    ],
)
async def test_an_event_that_cannot_be_read_costs_only_itself(scene: Scene, caplog, event: str, odd: dict[str, Any]):
    sends(scene, event, written(scene, "say lost"), **odd)
    message = scene.bob.says(scene.channel, "say hello", mentions=[scene.server.bot])
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    assert scene.text(thread) == "hello"
    assert (scene.server.gateway.identifies, scene.server.gateway.resumes) == (1, 0)
    assert "discord_event_unreadable" in caplog.text
