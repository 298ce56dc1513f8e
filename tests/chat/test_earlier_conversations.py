"""Conversations that an agent knows from elsewhere, with scripted agents: listed, and taken up by a thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from acpbot.chat.local import LocalChat
from acpbot.errors import Conflict, Draining, InvalidParams, NotFound
from tests.chat.test_local import Reader
from tests.support.conversations import calls, conversations

LISTED: list[Any] = [
    {"sessionId": "old", "title": "An old one", "updatedAt": "2026-01-01T08:00:00Z"},
    {"sessionId": "none", "updatedAt": "yesterday", "title": 7},
    {"sessionId": "new", "title": "A \u202enew\n one", "updatedAt": "2026-01-02T08:00:00+01:00"},
    {
        "sessionId": "ours",
        "title": '<acpbot-context> {"note": "Data about this mess',
        "updatedAt": "2025-01-01T08:00:00Z",
    },
    {"sessionId": "other", "cwd": "/somewhere/else"},
    {"title": "no id"},
    {"sessionId": "x" * 300},
    "no object",
]


async def opened(harness, thread: str = "demo", **how: Any) -> tuple[LocalChat, Reader]:
    chat, reader = LocalChat(harness.pool), Reader()
    await chat.open(thread, None, "me", reader, **how)
    return chat, reader


def asked(harness, thread: str = "demo") -> list[str]:
    return calls(harness.settings.pool.workspace / thread)


async def test_all_pages_are_listed_the_latest_first_and_cleaned(make_harness):
    harness = make_harness(argv=conversations(listed=LISTED, page=2))
    chat, _ = await opened(harness)
    known = await chat.conversations("demo")
    assert (known.agent, known.cwd, known.more) == ("demo", harness.row("demo").cwd, False)
    assert [(one.acp_session_id, one.title, one.updated_at) for one in known.conversations] == [
        ("new", "A new one", "2026-01-02T08:00:00+01:00"),
        ("old", "An old one", "2026-01-01T08:00:00Z"),
        ("ours", None, "2025-01-01T08:00:00Z"),
        ("none", None, None),
    ]
    assert asked(harness).count("session/list") == 4


async def test_a_folder_may_be_named_without_its_symbolic_links(make_harness, tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    listed = [{"sessionId": "real", "cwd": str(real)}, {"sessionId": "link", "cwd": f"{link}/"}]
    chat, _ = await opened(make_harness(argv=conversations(listed=listed), working_dir=link))
    known = await chat.conversations("demo")
    assert [one.acp_session_id for one in known.conversations] == ["real", "link"]


async def test_a_list_that_never_ends_is_cut(make_harness):
    listed = [{"sessionId": f"s{number}"} for number in range(300)]
    for page, pages in ((20, 13), (1, 16)):
        harness = make_harness(argv=conversations(listed=listed, page=page, endless=True))
        chat, _ = await opened(harness, f"p{page}")
        known = await chat.conversations(f"p{page}")
        assert (len(known.conversations), known.more) == (min(256, page * pages), True)
        assert asked(harness, f"p{page}").count("session/list") == pages


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"offers": ["resume"]}, "does not offer to list and resume them"),
        ({"offers": ["list"]}, "does not offer to list and resume them"),
        ({"refuses": ["session/list"]}, "I will not"),
    ],
)
async def test_an_agent_that_lists_nothing_is_named(make_harness, script, says):
    chat, _ = await opened(make_harness(argv=conversations(**script)))
    with pytest.raises(Conflict, match=says):
        await chat.conversations("demo")


async def test_a_new_thread_takes_a_conversation_up_and_a_forget_does_not_delete_it(make_harness):
    harness = make_harness(argv=conversations(listed=LISTED))
    chat, reader = await opened(harness, resume="old")
    await chat.send("demo", "hello", "me")
    await reader.until("turn_end")
    assert (harness.row("demo").acp_session_id, harness.row("demo").resumable) == ("old", True)
    assert [call for call in asked(harness) if "session/" in call][:2] == ["session/resume old", "session/prompt old"]
    await chat.command("demo", "reset", None, "me")
    assert "session/delete old" not in asked(harness)
    assert "session/close old" in asked(harness)


async def test_a_thread_takes_up_another_conversation_in_place_of_its_own(make_harness):
    harness = make_harness(argv=conversations(listed=LISTED))
    chat, reader = await opened(harness)
    await chat.conversations("demo")
    await chat.open("demo", None, "me", reader, resume="new")
    await chat.conversations("demo")
    assert harness.row("demo").acp_session_id == "new"
    assert [event["text"] for event in reader.events if event["type"] == "notice"] == [
        "me switched this thread to another conversation."
    ]
    before = harness.session("demo")
    await chat.open("demo", None, "me", reader, resume="new")
    assert harness.session("demo") is before, "the thread has it"
    await chat.send("demo", "hello", "me")
    await reader.until("turn_end")
    await chat.open("demo", None, "me", reader, resume="old")
    assert not [call for call in asked(harness) if call.startswith("session/delete")], "nobody has asked for that"


async def test_a_conversation_that_another_thread_has_is_named_and_refused(make_harness):
    harness = make_harness(argv=conversations(listed=LISTED), workspace_mode="shared")
    harness.offer_agents("demo", "the-same")
    chat, _ = await opened(harness, "one", resume="old")
    await chat.open("two", "the-same", "me", Reader())
    known = await chat.conversations("two")
    assert {one.acp_session_id: one.thread_id for one in known.conversations}["old"] == "one"
    with pytest.raises(Conflict, match="thread one has it"):
        await chat.open("two", None, "me", Reader(), resume="old")


async def test_a_conversation_that_the_agent_does_not_know_is_one_that_begins_and_is_ours(make_harness):
    harness = make_harness(argv=conversations(refuses=["session/resume"]))
    chat, reader = await opened(harness, resume="gone")
    await reader.until("notice")
    await chat.command("demo", "status", None, "me")
    await chat.command("demo", "model", None, "me")
    thread = harness.session("demo").thread
    assert (thread.acp_session_id, thread.adopted) == ("acp-1", False)


async def test_a_turn_that_runs_and_a_drain_refuse_it(harness):
    chat, reader = await opened(harness)
    await chat.send("demo", "hang", "me")
    await reader.until("turn_start")
    with pytest.raises(Conflict, match="a turn is running in demo; cancel it first"):
        await chat.open("demo", None, "me", reader, resume="old")
    with pytest.raises(InvalidParams, match="cannot use agent 'warp'"):
        await chat.open("demo", "warp", "me", reader, resume="old")
    assert harness.row("demo").state == "busy"
    with pytest.raises(InvalidParams, match="an id has 1 to 256 characters"):
        await chat.open("other", None, "me", Reader(), resume="x" * 300)
    harness.pool.draining = True
    with pytest.raises(Draining):
        await chat.open("other", None, "me", Reader(), resume="old")
    with pytest.raises(NotFound):
        await chat.conversations("other")


async def test_a_message_that_comes_while_the_old_session_ends_goes_before(make_harness):
    harness = make_harness(argv=conversations(listed=LISTED))
    chat, reader = await opened(harness)
    await chat.conversations("demo")
    ends = asyncio.Event()
    harness.pool.subscribe(lambda _change, row: ends.set() if row.state == "closing" else None)
    taking = asyncio.create_task(chat.open("demo", None, "me", reader, resume="old"))
    await asyncio.wait_for(ends.wait(), 20)
    await chat.send("demo", "hello", "me")
    with pytest.raises(Conflict, match="a message came to demo in the meantime; try again"):
        await taking
    await reader.until("turn_end")
    assert harness.row("demo").acp_session_id != "old"


async def test_the_demo_agent_lists_what_was_said_in_the_same_folder(make_harness):
    harness = make_harness(workspace_mode="shared")
    chat, reader = await opened(harness, "one")
    await chat.send("one", "remember the blue door", "me")
    await reader.until("turn_end")
    before = harness.row("one").acp_session_id
    await harness.pool.suspend("one", harness.row("one").session_id)
    harness.pool.forget("one")
    other = Reader()
    await chat.open("two", None, "me", other)
    assert before in [one.acp_session_id for one in (await chat.conversations("two")).conversations]
    await chat.open("two", None, "me", other, resume=before)
    await chat.send("two", "recall", "me")
    assert "the blue door" in (await other.until("turn_end"))["text"]
