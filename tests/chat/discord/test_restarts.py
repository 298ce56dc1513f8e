"""What one run of the daemon leaves of the outbox in the store, and what the next one does with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acpbot.acp.schema import Update
from acpbot.aio import Backoff
from acpbot.chat.conversation import INCOMPLETE
from acpbot.chat.discord.access import Channels, CurrentSettings
from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
from acpbot.chat.discord.interactions.question_prompts import QuestionPrompts
from acpbot.chat.discord.interactions.turn_buttons import TurnButtons
from acpbot.chat.discord.outbound.channel_queue import NONCE_SECONDS
from acpbot.chat.discord.outbound.delivery import CRASHES_MOST
from acpbot.chat.discord.outbound.file_poster import FilePoster
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.chat.discord.outbound.reactions import ReactionUpdater
from acpbot.chat.discord.outbound.rest import File
from acpbot.chat.discord.turn_text import NOT_SHOWN
from acpbot.chat.discord.turn_view import DiscordTurnView
from acpbot.chat.platform import IncomingMessage
from acpbot.chat.rendering.answer import Answer
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
async def run(api: Api, path):
    """An outbox with a store, which has restored the posts in it."""
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
        questions=QuestionPrompts(CurrentSettings(settings), Channels(pool), outbox),
        diffs=None,
        output=None,
        buttons=TurnButtons(None, None),
        note=None,
        files=FilePoster(outbox, "1"),
        footer=False,
        pings=None,
        notify_after=lambda: 0.0,
        deleted=(),
        turn_started=lambda _view: None,
        turn_over=lambda _view: None,
        undelivered=lambda _view, _error: None,
    )


async def test_an_answer_is_stored_in_the_step_in_which_its_turn_is_removed(tmp_path):
    path = tmp_path / "acpbot.sqlite3"
    store = Store.open(path)
    outbox = Outbox(Api(), Backoff(), store=store, own_id=lambda: ME)
    store.turn_queued(TurnRecord("t", "1", "discord", "running", b"{}"))
    harness = Harness(tmp_path)
    view = turn_view(outbox, harness.pool)
    live = Answer(LiveMessage())
    live.append("the answer")
    view.on_update(live, Update(session_id="s", kind="agent_message_chunk", body={}))
    view.on_ended(live, TurnEnd("end_turn"), lambda: store.turn_settled("t"))
    outbox.post("1", "The agent ended unexpectedly.")
    store.close()  # in this very step of the loop: as if it were the last one
    assert [row["content"] for row in rows(path, "posts")] == ["the answer", "The agent ended unexpectedly."]
    assert rows(path, "turns") == []
    await outbox.close()
    await harness.launcher.aclose()


class Unshowable(LiveMessage):
    """A live message that can't be made into bodies."""

    def bodies(self) -> list[str]:
        raise RuntimeError("a defect")


async def test_an_answer_that_cannot_be_shown_is_delivered_as_a_file(tmp_path, caplog):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    harness = Harness(tmp_path)
    async with run(api, path) as outbox:
        view, live, settled = turn_view(outbox, harness.pool), Answer(Unshowable()), []
        live.append("the answer")
        update = Update(session_id="s", kind="agent_message_chunk", body={})
        view.on_update(live, update)
        assert await outbox.flush(5)
        view.on_update(live, update)
        view.on_ended(live, TurnEnd("end_turn"), lambda: settled.append("t"))
        outbox.post("1", "what comes next")
        assert await outbox.flush(5)
    assert api.log == [("send", NOT_SHOWN), ("send", ""), ("send", "what comes next")]
    assert [one["attachments"] for one in api.there.values()] == [[], [{"filename": "answer.txt"}], []]
    assert settled == ["t"]
    assert [record.message for record in caplog.records].count("answer_not_shown") == 1
    await harness.launcher.aclose()


async def test_a_refused_post_that_is_posted_anew_is_not_deleted_after_a_restart(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with run(api, path) as outbox:
        api.trouble.extend(["refused"])
        refused = outbox.post("1", "the answer", on_restart="leave")
        assert await outbox.flush(5)
        refused.retract()
        outbox.post("1", "the answer")
        assert await outbox.flush(5)
    assert rows(path, "posts") == []
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert api.log == [("send", "the answer")]


class ButtonsApi(Api):
    """A channel in memory whose messages have buttons, which the log leaves out until they change."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = asyncio.Event()

    async def send(self, channel, content, *, nonce, components=(), file=None, reply_to=None, pings=None) -> str:
        assert components
        try:
            return await super().send(channel, content, nonce=nonce, file=file, reply_to=reply_to, pings=pings)
        finally:
            self.tried.set()

    async def show_buttons(self, _channel, message_id, rows) -> None:
        self.log.append(("buttons", message_id, list(rows)))


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_growing_answer_of_which_a_killed_daemon_had_no_confirmation_keeps_no_button(tmp_path, arrived):
    path, api = tmp_path / "acpbot.sqlite3", ButtonsApi()
    api.seconds_lost = 0.0
    api.trouble.extend([*(["lost"] if arrived else []), *(["down"] * 1000)])
    async with run(api, path) as outbox:
        outbox.post("1", "begun", components=[{"type": 1, "components": []}], on_restart="leave", growing=True)
        await asyncio.wait_for(api.tried.wait(), 10)
    api.trouble.clear()
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert api.log == ([("send", "begun"), ("buttons", "101", [])] if arrived else [])
    assert rows(path, "posts") == []


async def test_the_second_file_of_an_answer_is_not_taken_for_the_first(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with run(api, path) as outbox:
        outbox.post("1", "", file=File("answer-1.txt", b"one"))
        assert await outbox.flush(5)
        api.trouble.extend(["down"] * 100)
        outbox.post("1", "", file=File("answer-2.txt", b"two"))
        assert not await outbox.flush(0.01)
    api.trouble.clear()
    api.clock.move(NONCE_SECONDS)
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["attachments"][0]["filename"] for one in api.there.values()] == ["answer-1.txt", "answer-2.txt"]


async def test_two_messages_with_the_same_text_are_two_after_a_restart(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    async with run(api, path) as outbox:
        api.trouble.extend(["lost", *["down"] * 100])
        api.seconds_lost = 0.0
        outbox.post("1", "the same")
        outbox.post("1", "the same")
        await api.down.wait()
    assert len(api.there) == 1
    api.trouble.clear()
    api.clock.move(NONCE_SECONDS)
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["content"] for one in api.there.values()] == ["the same", "the same"]


async def test_a_message_with_unreadable_buttons_is_delivered_without_them(tmp_path):
    path, api = tmp_path / "acpbot.sqlite3", Api()
    store = Store.open(path)
    for nonce, components in (("a", b"{"), ("b", b"[]")):
        post = PostRecord(
            nonce=nonce, channel_id="1", fate="deliver", content=nonce, components=components, created_at=1000.0
        )
        store.save_post(post)
    await asyncio.to_thread(store.close)
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert [one["content"] for one in api.there.values()] == ["a", "b"]


async def test_an_answer_that_can_t_be_rendered_is_posted_as_a_file(tmp_path):
    class Broken(LiveMessage):
        def bodies(self) -> list[str]:
            raise RuntimeError

    api, harness, persisted = Api(), Harness(tmp_path), asyncio.Event()
    async with run(api, tmp_path / "acpbot.sqlite3") as outbox:
        view, live = turn_view(outbox, harness.pool), Answer(Broken())
        live.append("the whole answer")
        view.on_started()
        view.on_ended(live, TurnEnd("end_turn"), persisted.set)
        await asyncio.wait_for(persisted.wait(), 5)
        assert await outbox.flush(5)
    await harness.pool.close()
    await harness.launcher.aclose()
    (reason, attached) = api.there.values()
    assert "I can't show this answer here" in reason["content"]
    assert attached["attachments"] == [{"filename": "answer.txt"}]


async def test_after_a_restart_no_tool_is_shown_as_running(tmp_path):
    path, api, harness = tmp_path / "acpbot.sqlite3", Api(), Harness(tmp_path)
    update = Update(session_id="s", kind="plan", body={})
    async with run(api, path) as outbox:
        view, live = turn_view(outbox, harness.pool), Answer(LiveMessage())
        live.tool("a", title="make", kind=None, status="in_progress")
        view.on_update(live, update)
        assert await outbox.flush(5)
        live.append("growing")
        view.on_update(live, update)
        assert await outbox.flush(5)
        assert [one["content"] for one in api.there.values()] == ["🔧 `make`\ngrowing"]
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
        assert [one["content"] for one in api.there.values()] == ["⏹️ `make`\ngrowing"]
    assert rows(path, "posts") == []
    await harness.launcher.aclose()


async def test_after_a_restart_an_answer_whose_tools_have_ended_stays_as_it_is(tmp_path):
    path, api, harness = tmp_path / "acpbot.sqlite3", Api(), Harness(tmp_path)
    update = Update(session_id="s", kind="plan", body={})
    async with run(api, path) as outbox:
        view, live = turn_view(outbox, harness.pool), Answer(LiveMessage())
        for status in ("in_progress", "completed"):
            live.tool("a", title="make", kind=None, status=status)
            view.on_update(live, update)
            assert await outbox.flush(5)
        live.append("growing")
        view.on_update(live, update)
        assert await outbox.flush(5)
    log = list(api.log)
    async with run(api, path) as outbox:
        assert await outbox.flush(5)
    assert api.log == log
    assert rows(path, "posts") == []
    await harness.launcher.aclose()


async def test_an_answer_that_no_try_delivers_is_reported_in_its_thread(tmp_path):
    api, harness = Api(), Harness(tmp_path)
    async with run(api, tmp_path / "acpbot.sqlite3") as outbox:
        view, live = turn_view(outbox, harness.pool), Answer(LiveMessage())
        live.append("the answer")
        api.trouble.extend(["odd"] * (2 * CRASHES_MOST))
        view.on_ended(live, TurnEnd("end_turn"), lambda: None)
        assert await outbox.flush(5)
    assert api.log == [("send", INCOMPLETE)]
    await harness.launcher.aclose()
