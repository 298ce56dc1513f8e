"""What one life of the outbox leaves in the store, and what the next one makes of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from acpbot.acp.schema import Update
from acpbot.aio import Backoff
from acpbot.chat.discord.access import Channels, CurrentSettings
from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
from acpbot.chat.discord.outbound.channel_queue import NONCE_SECONDS
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.chat.discord.outbound.reaction_updater import ReactionUpdater
from acpbot.chat.discord.outbound.rest import File
from acpbot.chat.discord.outbound.turn_view import DiscordTurnView
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.config.settings import DiscordSettings, PoolSettings, ReactionSettings, Settings, StoreSettings
from acpbot.sessions.turn import TurnEnd
from acpbot.storage.records import PostRecord, TurnRecord
from acpbot.storage.store import Store
from tests.chat.discord.outbound.test_outbox import ME, Api
from tests.support.pool import Harness
from tests.support.pool_restarts import rows

if TYPE_CHECKING:
    from acpbot.sessions.pool import Pool


@asynccontextmanager
async def life(api: Api, path):
    """An outbox with a store, which has taken up what was left."""
    store = Store.open(path)
    outbox = Outbox(
        api, Backoff(first=0.001, most=0.001), store=store, clock=api.clock, wall=api.clock, own_id=lambda: ME
    )
    outbox.recover(store.restored.posts)
    yield outbox
    await outbox.close()
    await asyncio.to_thread(store.close)


def turn_view(outbox: Outbox, pool: Pool) -> DiscordTurnView:
    """A view of one turn in thread 1, in a chat that ignores what it reports."""
    settings = Settings(
        default_agent="demo",
        discord=DiscordSettings(bot_token="t"),
        agents={},
        pool=PoolSettings(workspace=Path("unused")),
        reactions=ReactionSettings(enabled=False),
        store=StoreSettings(path=Path("unused")),
    )
    return DiscordTurnView(
        IncomingMessage(thread_id="1", text="", owner="7"),
        outbox=outbox,
        reactions=ReactionUpdater(outbox, settings.reactions, "1", "2"),
        prompts=PermissionPrompts(CurrentSettings(settings), Channels(pool), outbox),
        show_diffs=False,
        cwd=lambda _thread_id: "",
        deleted=(),
        turn_started=lambda _view: None,
        turn_over=lambda _view: None,
        undelivered=lambda _view, _error: None,
    )


async def test_an_answer_is_left_for_delivery_or_its_turn_is_to_be_told_as_lost_and_never_both(tmp_path):
    path = tmp_path / "acpbot.sqlite3"
    store = Store.open(path)
    outbox = Outbox(Api(), Backoff(), store=store, own_id=lambda: ME)
    store.turn_queued(TurnRecord("t", "1", "discord", "running", b"{}"))
    harness = Harness(tmp_path)
    view = turn_view(outbox, harness.pool)
    live = LiveMessage()
    live.append("the answer")
    view.on_update(live, Update(session_id="s", kind="agent_message_chunk", body={}))
    view.on_ended(live, TurnEnd("end_turn"), lambda: store.turn_settled("t"))
    outbox.post("1", "The agent ended unexpectedly.")
    store.close()  # in this very step of the loop: as if it were the last one
    assert [row["content"] for row in rows(path, "posts")] == ["the answer", "The agent ended unexpectedly."]
    assert rows(path, "turns") == []
    await outbox.close()
    await harness.launcher.aclose()


async def test_what_was_refused_and_said_anew_is_not_taken_for_what_was_to_be_taken_away(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with life(api, path) as outbox:
        api.trouble.extend(["refused"])
        refused = outbox.post("1", "the answer", fate="leave")
        assert await outbox.flush(5)
        refused.retract()
        outbox.post("1", "the answer")
        assert await outbox.flush(5)
    assert rows(path, "posts") == []
    async with life(api, path) as outbox:
        assert await outbox.flush(5)
    assert api.log == [("send", "the answer")]


async def test_of_two_files_of_one_answer_the_second_is_not_taken_for_the_first(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with life(api, path) as outbox:
        outbox.post("1", "", file=File("answer-1.txt", b"one"))
        assert await outbox.flush(5)
        api.trouble.extend(["down"] * 100)
        outbox.post("1", "", file=File("answer-2.txt", b"two"))
        assert not await outbox.flush(0.01)
    api.trouble.clear()
    api.clock.move(NONCE_SECONDS)
    async with life(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["attachments"][0]["filename"] for one in api.there.values()] == ["answer-1.txt", "answer-2.txt"]


async def test_two_messages_with_the_same_words_are_two_in_the_next_life_too(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with life(api, path) as outbox:
        api.trouble.extend(["lost", *["down"] * 100])
        move, api.clock.move = api.clock.move, lambda _seconds: None
        outbox.post("1", "the same")
        outbox.post("1", "the same")
        assert not await outbox.flush(0.01)
    assert len(api.there) == 1
    api.trouble.clear()
    move(NONCE_SECONDS)
    async with life(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["content"] for one in api.there.values()] == ["the same", "the same"]


async def test_a_message_with_buttons_that_can_t_be_read_is_delivered_without(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    store = Store.open(path)
    for nonce, components in (("a", b"{"), ("b", b"[]")):
        post = PostRecord(
            nonce=nonce, channel_id="1", fate="deliver", content=nonce, components=components, created_at=1000.0
        )
        store.save_post(post)
    await asyncio.to_thread(store.close)
    async with life(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["content"] for one in api.there.values()] == ["a", "b"]
