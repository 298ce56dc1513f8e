"""What one life of the outbox leaves in the store, and what the next one makes of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from acpbot.chat.discord.outbox import Outbox
from acpbot.chat.discord.supervisor import Backoff
from acpbot.sessions.store import Store
from tests.chat.discord.test_discord_outbox import ME, Api
from tests.sessions.lives import rows


@asynccontextmanager
async def life(api: Api, path):
    """An outbox with a store, which has taken up what was left."""
    store = Store.open(path)
    outbox = Outbox(
        api, Backoff(first=0.001, most=0.001), store=store, clock=api.clock, wall=api.clock, own_id=lambda: ME
    )
    outbox.recover(store.left.posts)
    yield outbox
    await outbox.close()
    await asyncio.to_thread(store.close)


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
