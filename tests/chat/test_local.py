"""The terminal's chat with real agents: which events its readers get, in which order."""

from __future__ import annotations

import asyncio
import json

import pytest

from acpbot.chat.local import LocalChat
from acpbot.errors import Conflict, InvalidParams, NotFound
from acpbot.sessions.views import Target
from tests.support.pool import faulty
from tests.support.scripted_agents import END, scripted


class Reader:
    """Collects the events of a thread."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self._news = asyncio.Event()

    def __call__(self, event: dict) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: str, count: int = 1) -> dict:
        """The count-th event of that type, once it is there."""
        async with asyncio.timeout(20):
            while True:
                found = [event for event in self.events if event["type"] == kind]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()

    def kinds(self) -> list[str]:
        """The types in order, rows left out and repetitions folded."""
        kinds = [event["type"] for event in self.events if event["type"] != "session"]
        return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


@pytest.fixture
async def chat(harness):
    return LocalChat(harness.pool)


@pytest.fixture
async def reader(chat):
    reader = Reader()
    row = await chat.open("demo", None, "me", reader)
    assert (row.thread_id, row.platform, row.owner, row.state) == ("demo", "local", "me", "starting")
    return reader


async def test_readers_get_a_whole_turn_in_order(chat, reader):
    assert await chat.send("demo", "say hello; plan; say there", "me") == 0
    end = await reader.until("turn_end")
    assert reader.kinds()[0] == "turn_start"
    assert "plan" in reader.kinds()
    pieces = "".join(event["text"] for event in reader.events if event["type"] == "text")
    assert pieces == end["text"]
    assert end["text"].startswith("hello")
    assert (end["stop_reason"], end["error"]) == ("end_turn", None)
    assert all(event["thread"] == "demo" for event in reader.events)


async def test_a_permission_is_asked_and_answered_once(chat, reader):
    await chat.send("demo", "tool", "me")
    asked = await reader.until("permission")
    kinds = {option["kind"]: option["option_id"] for option in asked["options"]}
    with pytest.raises(InvalidParams):
        chat.permit("demo", asked["request"], "nonsense", "me")
    with pytest.raises(NotFound):
        chat.permit("demo", "nothing", kinds["allow_once"], "me")
    chat.permit("demo", asked["request"], kinds["reject_once"], "me")
    closed = await reader.until("permission_end")
    assert (closed["outcome"], closed["option_id"]) == ("selected", kinds["reject_once"])
    with pytest.raises((Conflict, NotFound)):
        chat.permit("demo", asked["request"], kinds["allow_once"], "me")
    await reader.until("turn_end")


async def test_messages_queue_and_two_readers_see_the_same(chat, reader):
    other = Reader()
    await chat.open("demo", None, "you", other)
    assert await chat.send("demo", "say one", "me") == 0
    assert await chat.send("demo", "say two", "you") == 1
    await reader.until("turn_end", 2)
    await other.until("turn_end", 2)
    ends = [[e["text"] for e in r.events if e["type"] == "turn_end"] for r in (reader, other)]
    assert ends == [["one", "two"], ["one", "two"]]


async def test_a_reader_that_leaves_gets_nothing_more_and_the_session_goes_on(chat, reader, harness):
    await chat.send("demo", "say one", "me")
    await reader.until("turn_end")
    before = len(reader.events)
    chat.leave("demo", reader)
    chat.leave("demo", reader)
    with pytest.raises(NotFound):
        await chat.send("demo", "say two", "me")
    assert harness.row("demo").state == "idle"
    again = Reader()
    await chat.open("demo", None, "me", again)
    await chat.send("demo", "say three", "me")
    assert (await again.until("turn_end"))["text"] == "three"
    assert len(reader.events) == before


async def test_a_killed_session_gets_a_notice(chat, reader, harness):
    await chat.send("demo", "say one", "me")
    await reader.until("turn_end")
    await harness.pool.kill([Target(thread_id="demo", session_id=harness.row("demo").session_id)])
    notice = await reader.until("notice")
    assert notice["text"] == "An admin stopped this session. Send a message to carry on where you left off."


async def test_a_start_that_fails_is_reported_once_for_each_message(make_harness):
    harness = make_harness(argv=faulty("refuses 400 session/new"))
    chat, reader = LocalChat(harness.pool), Reader()
    await chat.open("demo", None, "me", reader)
    await chat.send("demo", "one", "me")
    await reader.until("turn_end")
    said = [event for event in reader.events if "it said no" in str(event)]
    assert [event["type"] for event in said] == ["turn_end"]


async def test_an_error_that_the_answer_holds_is_not_repeated(make_harness):
    chat, reader = LocalChat(make_harness(argv=faulty("says_its_error")).pool), Reader()
    await chat.open("demo", None, "me", reader)
    await chat.send("demo", "one", "me")
    end = await reader.until("turn_end")
    assert (end["text"], end["error"]) == ("API Error: 400 Your credit is too low.", "The agent reported this error.")


async def test_a_crash_gets_a_notice_with_its_reason(chat, reader):
    await chat.send("demo", "crash 3", "me")
    end = await reader.until("turn_end")
    assert end["stop_reason"] == "error"
    assert "exit code 3" in (await reader.until("notice"))["text"]


async def test_a_reader_that_fell_behind_gets_the_turn_so_far(chat, reader, harness):
    await chat.send("demo", "say so far; tool", "me")
    asked = await reader.until("permission")
    snapshot = chat.snapshot("demo")
    assert [event["type"] for event in snapshot] == ["session", "turn_start", "text", "permission"]
    assert snapshot[2]["text"].startswith("so far")
    assert snapshot[3]["request"] == asked["request"]
    await harness.pool.cancel("demo")
    end = await reader.until("turn_end")
    assert chat.snapshot("demo")[-1] == end


@pytest.mark.parametrize("thread", ["../etc", "A B", ""])
async def test_a_malformed_thread_id_is_refused(chat, thread):
    with pytest.raises(InvalidParams):
        await chat.open(thread, None, "me", Reader())


async def test_another_agent_for_a_running_thread_and_an_unknown_one_are_refused(chat, reader):
    with pytest.raises(InvalidParams, match="the agents are demo"):
        await chat.open("other", "nobody", "me", reader)
    with pytest.raises(InvalidParams):
        await chat.send("demo", "  \n", "me")


async def test_a_thread_of_another_platform_cannot_be_opened(chat, harness):
    await harness.turn("1001", "say a")
    with pytest.raises(InvalidParams, match="it is a test thread"):
        await chat.open("1001", None, "me", Reader())


async def test_a_question_is_asked_and_answered(make_harness):
    fields = {"color": {"type": "string", "enum": ["red", "green"]}}
    form = {"mode": "form", "message": "Which color?", "requestedSchema": {"properties": fields}}
    harness = make_harness(argv=scripted(prompts=[[{"elicit": form}, {"answered": True}, END]]))
    chat, reader = LocalChat(harness.pool), Reader()
    await chat.open("demo", None, "me", reader)
    await chat.send("demo", "go", "me")
    asked = await reader.until("question")
    assert (asked["message"], asked["mode"], asked["unusable"]) == ("Which color?", "form", None)
    assert [choice["value"] for choice in asked["fields"][0]["choices"]] == ["red", "green"]
    assert asked in chat.snapshot("demo")
    late = Reader()
    await chat.open("demo", None, "me", late)
    assert await late.until("question") == asked, "whoever opens the thread later is asked too"
    harness.pool.get("demo").questions.answer(asked["request"], "accept", {"color": "red"})
    ended = await reader.until("question_end")
    assert (ended["request"], ended["outcome"]) == (asked["request"], "accepted")
    end = await reader.until("turn_end")
    assert json.loads(end["text"]) == {"action": "accept", "content": {"color": "red"}}
    assert not [event for event in chat.snapshot("demo") if event["type"] == "question"]


async def test_a_permission_that_is_wanted_is_shown_to_whoever_opens_the_thread_later(chat, reader):
    await chat.send("demo", "tool", "me")
    asked = await reader.until("permission")
    late = Reader()
    await chat.open("demo", None, "me", late)
    assert await late.until("permission") == asked
