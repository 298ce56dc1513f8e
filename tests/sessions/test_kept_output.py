"""What an operator can still read of a thread: its lines in order, how its session before ended, what is kept."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acpbot.acp.schema import Update
from acpbot.chat.local import LocalChat
from acpbot.sessions.kept_output import BYTES_MOST, encoded
from acpbot.sessions.last_end import sentence
from acpbot.sessions.output import OutputRing
from acpbot.sessions.turn import TurnEnd
from acpbot.storage.records import LastEnd
from acpbot.storage.store import Store
from tests.support.pool import Harness, faulty, harnesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence


def ring() -> tuple[OutputRing, list[list[dict]]]:
    kept: list[list[dict]] = []
    return OutputRing("1001", "s-1", lambda lines: kept.append(list(lines))), kept


def shown(lines: Sequence[dict]) -> list[tuple[str, str]]:
    return [(line["kind"], line["text"]) for line in lines]


def lines_of(output: OutputRing) -> list[tuple[str, str]]:
    lines, leave = output.follow(lambda _line: None)
    leave()
    return shown(lines)


def plan(*entries: tuple[str, str]) -> Update:
    listed = [{"status": status, "content": content} for status, content in entries]
    return Update("s", "plan", {"sessionUpdate": "plan", "entries": listed})


def test_text_without_a_newline_comes_before_what_followed_it():
    output, _ = ring()
    output.prompt("fix it\nsoon")
    output.text("I will")
    output.line("tool", "running: ls")
    output.text(" go on")
    output.line("stderr", "warning")
    output.update(plan(("pending", "Read"), ("in_progress", "Fix")))
    output.update(plan(("completed", "Read"), ("in_progress", "Fix")))
    output.text("Done")
    output.line("tool", "completed: ls")
    output.turn_ended(TurnEnd("cancelled", "it took too long", cancelled_by="operator"))
    assert lines_of(output) == [
        ("prompt", "fix it"),
        ("prompt", "soon"),
        ("text", "I will"),
        ("tool", "running: ls"),
        ("stderr", "warning"),
        ("text", " go on"),
        ("plan", "pending: Read"),
        ("plan", "in_progress: Fix"),
        ("plan", "completed: Read"),
        ("text", "Done"),
        ("tool", "completed: ls"),
        ("turn_end", "cancelled by operator: it took too long"),
    ]


def test_a_long_prompt_and_a_long_plan_take_a_bounded_number_of_lines():
    output, _ = ring()
    output.prompt("\n".join(map(str, range(100))))
    output.update(plan(*(("pending", str(number)) for number in range(100))))
    kinds = [kind for kind, _ in lines_of(output)]
    assert (kinds.count("prompt"), kinds.count("plan")) == (21, 20)
    assert ("prompt", "(80 more lines)") in lines_of(output)


def test_lines_are_kept_at_the_end_of_a_turn_and_of_the_session():
    output, kept = ring()
    output.text("Hello")
    assert kept == []
    output.turn_ended(TurnEnd("end_turn"))
    output.session_ended("This session has ended (killed).")
    assert [shown(lines)[-1][0] for lines in kept] == ["turn_end", "notice"]
    again = OutputRing("1001", "s-2", lambda _lines: None)
    again.line("stderr", "here I am")
    again.restore([*kept[-1], {**kept[-1][0], "session_id": "s-2"}])
    assert [text for _, text in lines_of(again)] == [
        "Hello",
        "end_turn",
        "This session has ended (killed).",
        "here I am",
    ]


def test_what_is_kept_of_a_thread_takes_64_kib_at_most():
    output, kept = ring()
    for number in range(200):
        output.line("text", f"{number} " + "日" * 80)
    output.turn_ended(TurnEnd("end_turn"))
    data = encoded(kept[0])
    assert 60_000 < len(data) <= BYTES_MOST
    assert shown(msgspec.json.decode(data))[-1] == ("turn_end", "end_turn")
    assert encoded([]) == b"[]"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (LastEnd("t", "crashed", 3, "no memory"), "This session has ended (crashed, exit code 3): no memory"),
        (LastEnd("t", "crashed", -9), "This session has ended (crashed, SIGKILL)."),
        (LastEnd("t", "killed", -15, "An admin stopped it."), "This session has ended (killed): An admin stopped it."),
    ],
)
def test_an_end_in_words(end, words):
    assert sentence(end) == words


@pytest.fixture
async def opened(tmp_path) -> AsyncIterator[Callable[..., Awaitable[Harness]]]:
    """Make a pool on the test's database; the one before is closed first, as by a restart."""
    stores: list[Store] = []
    async with harnesses(tmp_path) as make:
        made: list[Harness] = []

        async def restart(**keys: Any) -> Harness:
            for harness in made:
                await harness.pool.close(grace_seconds=0.5)
            for store in stores:
                await asyncio.to_thread(store.close)
            stores[:] = [Store.open(tmp_path / "acpbot.sqlite3")]
            made[:] = [make(store=stores[0], wall=lambda: 1_000.0, **keys)]
            return made[0]

        yield restart
    for store in stores:
        await asyncio.to_thread(store.close)


CRASH = (
    sys.executable,
    "-c",
    "import sys; sys.stderr.write('Error: out of memory\\n'); sys.stderr.flush(); sys.exit(3)",
)


async def ended(harness: Harness, thread: str) -> None:
    """Return once the thread has no session any more."""
    gone = asyncio.Event()
    leave = harness.pool.subscribe(lambda _change, _row: gone.set())
    while harness.row(thread).state != "suspended":
        gone.clear()
        await asyncio.wait_for(gone.wait(), 20)
    leave()


async def test_a_start_that_failed_leaves_its_exit_code_its_reason_and_its_stderr(opened):
    harness = await opened(argv=CRASH)
    await harness.turn("1001", "hello")
    await ended(harness, "1001")
    end = harness.row("1001").last_end
    assert (end.at, end.reason, end.exit_code) == ("1970-01-01T00:16:40.000Z", "start_failed", 3)
    assert "out of memory" in end.detail
    kept = await harness.pool.kept.read("1001")
    assert ("stderr", "Error: out of memory") in shown(kept)
    assert (kept[-1]["thread"], kept[-1]["kind"]) == ("1001", "notice")
    assert "Error: out of memory" in (await harness.pool.detail("1001")).stderr


async def test_a_killed_session_leaves_a_trace_that_the_next_daemon_shows_and_forget_erases(opened):
    harness = await opened()
    assert (await harness.turn("1001", "say hello there")).text == "hello there"
    assert harness.row("1001").last_end is None
    await harness.pool.kill([harness.target("1001")])
    assert harness.row("1001").last_end.reason == "killed"
    later = await opened()
    assert later.row("1001").last_end.reason == "killed"
    kept = shown(await later.pool.kept.read("1001"))
    assert kept[0] == ("prompt", "say hello there")
    assert {("text", "hello there"), ("turn_end", "end_turn")} <= set(kept)
    assert (await later.turn("1001", "say more")).text == "more"
    assert shown(later.session("1001").turns.output.follow(lambda _: None)[0])[: len(kept)] == kept
    await later.pool.kill([later.target("1001")], forget=True)
    assert await later.pool.kept.read("1001") == []


async def test_a_session_that_waits_for_the_end_of_the_one_before_has_all_of_its_output(opened):
    harness = await opened()
    await harness.turn("1001", "say hello there")
    ending = harness.session("1001").end("killed", detail="An admin stopped this session.")
    assert harness.row("1001").state == "closing"
    assert (await harness.turn("1001", "say more")).text == "more"
    assert ending.done()
    texts = [text for _, text in lines_of(harness.session("1001").turns.output)]
    assert texts[:4] == [
        "say hello there",
        "hello there",
        "end_turn",
        "This session has ended (killed).",
    ]
    assert texts[4:] == ["say more", "more", "end_turn"]


async def test_a_crash_says_what_the_agent_wrote_last(opened):
    harness = await opened(argv=faulty("dies turn"))
    await harness.turn("1001", "hello")
    await ended(harness, "1001")
    end = harness.row("1001").last_end
    assert (end.reason, end.exit_code, end.detail) == ("crashed", 3, "it broke")
    assert ("stderr", "it broke") in shown(await harness.pool.kept.read("1001"))
    assert sentence(end) == "This session has ended (crashed, exit code 3): it broke"


async def test_without_keep_output_nothing_is_kept_and_a_reload_erases_what_was(opened):
    harness = await opened()
    await harness.turn("1001", "say hello")
    await harness.pool.kill([harness.target("1001")])
    assert await harness.pool.kept.read("1001")
    store = msgspec.structs.replace(harness.settings.store, keep_output=False)
    harness.pool.reconfigure(msgspec.structs.replace(harness.settings, store=store))
    await harness.turn("1001", "say more")
    await harness.pool.kill([harness.target("1001")])
    assert await harness.pool.kept.read("1001") == []
    harness.pool.reconfigure(harness.settings)
    assert await harness.pool.kept.read("1001") == []


async def test_the_terminals_chat_opens_with_what_is_kept_of_a_thread(opened):
    harness = await opened()
    await harness.turn("1001", "say hello there")
    await harness.pool.kill([harness.target("1001")])
    chat = LocalChat(harness.pool)
    assert [text for _, text in shown(await chat.recent("1001", 3))][:2] == ["hello there", "end_turn"]
    assert await chat.recent("new", 3) == []
