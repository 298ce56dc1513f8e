"""The agent's own copy of a conversation: deleted where somebody forgets it on purpose, and only where it is ours."""

from __future__ import annotations

import pytest

from acpbot.storage.store import Store
from tests.sessions.test_pool import kill
from tests.support.conversations import calls, conversations


def deleted(harness, thread: str = "1001") -> list[str]:
    folder = harness.settings.pool.workspace / thread
    return [call for call in calls(folder) if call.startswith("session/delete")]


async def forget(harness, thread: str = "1001", grace: float | None = None):
    (result,) = await harness.pool.kill([harness.target(thread)], grace_seconds=grace, forget=True)
    return result


async def test_a_forget_has_the_agent_delete_the_conversation_after_its_close(make_harness):
    harness = make_harness(argv=conversations())
    await harness.turn("1001", "a")
    assert (await forget(harness)).outcome == "ended"
    assert calls(harness.settings.pool.workspace / "1001")[-2:] == ["session/close acp-1", "session/delete acp-1"]


async def test_what_is_no_forget_deletes_nothing(make_harness):
    harness = make_harness(argv=conversations())
    await harness.turn("1001", "a")
    await kill(harness, "1001")
    await harness.turn("1001", "b")
    await harness.pool.suspend("1001", harness.row("1001").session_id)
    assert harness.pool.forget("1001")
    assert deleted(harness) == [], "no agent is started to delete what is forgotten"


@pytest.mark.parametrize("offers", [["resume", "close"], []])
async def test_an_agent_that_does_not_offer_it_is_not_asked(make_harness, offers):
    harness = make_harness(argv=conversations(offers=offers))
    await harness.turn("1001", "a")
    await forget(harness)
    assert deleted(harness) == []


@pytest.mark.parametrize("quirk", ["refuses", "ignores"])
async def test_a_failed_deletion_does_not_hold_up_the_end(make_harness, quirk, caplog):
    harness = make_harness(argv=conversations(**{quirk: ["session/delete"]}))
    await harness.turn("1001", "a")
    result = await forget(harness, grace=1.0)
    assert (result.outcome, result.processes_left) == ("ended", 0)
    assert result.seconds < 2
    assert deleted(harness) == ["session/delete acp-1"]
    assert "agent_delete_failed" in caplog.text
    assert harness.pool.thread("1001") is None


async def test_an_end_without_grace_asks_for_nothing(make_harness):
    harness = make_harness(argv=conversations())
    await harness.turn("1001", "a")
    await forget(harness, grace=0)
    assert deleted(harness) == []


async def test_a_conversation_that_was_begun_elsewhere_is_not_deleted_but_one_that_took_its_place_is(make_harness):
    harness = make_harness(argv=conversations(refuses=["session/resume"]))
    await harness.turn("1001", "a")
    harness.session("1001").thread.adopted = True
    await forget(harness)
    assert deleted(harness) == []
    await harness.turn("1001", "a")
    harness.session("1001").thread.adopted = True
    await kill(harness, "1001")
    await harness.turn("1001", "afresh: the agent does not resume it")
    assert harness.session("1001").thread.adopted is False
    await forget(harness)
    assert deleted(harness) == ["session/delete acp-3"]


async def test_a_restart_remembers_that_a_conversation_was_begun_elsewhere(make_harness, tmp_path):
    store = Store.open(tmp_path / "acpbot.sqlite3")
    harness = make_harness(argv=conversations(), store=store)
    await harness.turn("1001", "a")
    harness.session("1001").thread.adopted = True
    await kill(harness, "1001")
    store.close()
    again = Store.open(tmp_path / "acpbot.sqlite3")
    again.close()
    assert [thread.adopted for thread in again.restored.threads] == [True]
