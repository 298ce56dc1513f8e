"""Permission requests of a hostile or hasty agent: what people are asked, and what acpbot answers by itself."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.errors import InvalidParams
from acpbot.sessions.turn import Turn
from acpbot.storage.store import Store
from tests.support.pool import Harness, Listener
from tests.support.scripted_agents import scripted

if TYPE_CHECKING:
    from acpbot.sessions.turn import PermissionRequest

AGENT = (sys.executable, "-S", str(Path(__file__).parents[1] / "fakes" / "agents" / "deceitful.py"))
STATUS = {"toolCallId": "t", "title": "stub", "kind": "execute", "rawInput": {"command": "git status"}}
REMOVE = {**STATUS, "rawInput": {"command": "git status && rm -rf ./data"}}


@pytest.fixture
def make(make_harness):
    return lambda **keys: make_harness(argv=AGENT, **keys)


@pytest.fixture
def harness(make):
    return make()


def send(harness: Harness, call: dict, *, owner: str = "7", **more: Any) -> Listener:
    listener, text = Listener(), json.dumps({"ask": call, **more})
    turn = Turn([{"type": "text", "text": text}], listener, text="x", key="x", asker=owner)
    harness.pool.submit("1001", turn, platform="test", owner=owner)
    return listener


async def asked(harness: Harness, call: dict, **more: Any) -> tuple[Listener, PermissionRequest]:
    listener = send(harness, call, **more)
    await asyncio.wait_for(listener.wants_permission.wait(), 20)
    return listener, listener.asks[0]


async def ended(listener: Listener) -> list[str]:
    """What the thread read of answers without a person."""
    await asyncio.wait_for(listener.over.wait(), 20)
    assert listener.error == ""
    return [note.line for note in listener.notes]


async def answered(harness: Harness, call: dict, option: str, *, by: str | None = "7", **more: Any) -> Listener:
    listener, ask = await asked(harness, call, **more)
    ask.select(option, by=by)
    await ended(listener)
    return listener


async def test_a_request_shows_the_command_in_the_row_and_the_detail(harness):
    listener, ask = await asked(harness, {**STATUS, "rawInput": {"command": "rm -rf ~", "n": 1}})
    assert harness.row("1001").waiting_for == "rm -rf ~"
    permission = (await harness.pool.detail("1001")).permission
    assert permission is not None
    assert (permission.title, permission.question, permission.action) == (
        "stub",
        "Run this command?",
        "command: rm -rf ~\nn: 1",
    )
    assert permission.raw_input == {"command": "rm -rf ~", "n": 1}
    assert [option.kind for option in permission.options] == [
        "allow_once",
        "allow_always",
        "reject_once",
        "reject_always",
    ]
    ask.select("no", by="7")
    await ended(listener)
    assert (await harness.pool.detail("1001")).permission is None


async def test_the_tool_call_before_says_what_the_request_leaves_out(harness):
    listener, ask = await asked(harness, {"toolCallId": "t", "title": "stub"}, before=REMOVE)
    assert ask.action.text() == "git status && rm -rf ./data"
    ask.select("no", by="7")
    await ended(listener)


async def test_an_always_answers_the_same_request_of_the_same_person_and_says_so(harness):
    await answered(harness, STATUS, "always")
    again = send(harness, STATUS)
    assert await ended(again) == ["Allowed by an earlier Always: git status"]
    assert again.text == "selected once\n", "the mildest permission"
    assert again.asks == []


@pytest.mark.parametrize(
    "other",
    [
        REMOVE,
        {**STATUS, "kind": "read"},
        {**STATUS, "title": "stub "},
        {**STATUS, "rawInput": {"command": "git status", "cwd": "/"}},
        {**STATUS, "content": [{"type": "content", "content": {"type": "text", "text": "x"}}]},
        {"toolCallId": "t", "title": "stub", "kind": "execute"},
    ],
    ids=range(6),
)
async def test_an_always_does_not_answer_another_request(harness, other):
    await answered(harness, STATUS, "always")
    await answered(harness, other, "no")


async def test_an_always_does_not_answer_what_an_earlier_tool_call_changes(harness):
    bare = {"toolCallId": "t", "title": "stub", "kind": "execute"}
    await answered(harness, bare, "always", before=STATUS)
    await answered(harness, bare, "no", before=REMOVE)


async def test_an_always_of_one_person_does_not_answer_for_another(harness):
    await answered(harness, STATUS, "always", owner="7", by="8")
    await answered(harness, STATUS, "no", owner="7", by="7")
    assert await ended(send(harness, STATUS, owner="8")) == ["Allowed by an earlier Always: git status"]


async def test_an_always_of_nobody_known_is_not_remembered(harness):
    await answered(harness, STATUS, "always", by=None)
    await answered(harness, STATUS, "no")


async def test_always_reject_is_remembered_too(harness):
    await answered(harness, STATUS, "never")
    assert await ended(send(harness, STATUS)) == ["Rejected by an earlier Always: git status"]


async def test_an_always_is_gone_with_its_session(harness):
    await answered(harness, STATUS, "always")
    await harness.pool.kill([harness.target("1001")])
    await answered(harness, STATUS, "no")


async def test_an_always_for_a_request_that_says_nothing_is_not_remembered(harness):
    await answered(harness, {"toolCallId": "t"}, "always")
    await answered(harness, {"toolCallId": "t"}, "no")


async def test_a_request_over_a_mebibyte_can_only_be_rejected(harness):
    listener, ask = await asked(harness, STATUS, pad=1024 * 1024)
    assert [option.option_id for option in ask.options] == ["no", "never"]
    with pytest.raises(InvalidParams, match="cannot allow this request: it's larger than 1 MiB, "):
        ask.select("once", by="7")
    assert ask.action.digest is None
    ask.select("no", by="7")
    await ended(listener)


async def test_a_request_of_very_many_parts_can_only_be_rejected(harness):
    listener, ask = await asked(harness, STATUS, parts=100_000)
    assert [option.option_id for option in ask.options] == ["no", "never"]
    assert ask.line == "stub"
    ask.select("no", by="7")
    await ended(listener)


async def test_a_request_of_almost_a_mebibyte_is_shown_whole(harness):
    listener, ask = await asked(harness, STATUS, pad=1024 * 1023)
    assert len(ask.action.text()) == len("git status") + 1024 * 1023
    ask.select("once", by="7")
    await ended(listener)


async def test_a_request_that_can_neither_be_shown_nor_rejected_is_cancelled_and_the_thread_reads_why(harness):
    listener = send(harness, STATUS, pad=1024 * 1024, options=["allow_once:a", "odd:b"])
    assert await ended(listener) == ["Cancelled because it can't be shown in full: stub"]
    assert listener.text == "cancelled\n"


async def test_a_request_without_options_is_cancelled_and_the_thread_reads_so(harness):
    listener = send(harness, STATUS, options=[])
    assert await ended(listener) == ["Cancelled because the agent offers no such answer: git status"]
    assert listener.text == "cancelled\n"


async def test_an_option_whose_id_means_two_things_is_not_offered(harness):
    listener, ask = await asked(
        harness, STATUS, options=["reject_once:a", "allow_once:a", "reject_once:b", "allow_once:c"]
    )
    assert [option.option_id for option in ask.options] == ["b", "c"]
    ask.select("b", by="7")
    await ended(listener)


@pytest.mark.parametrize(
    "change",
    [
        {"rawInput": REMOVE["rawInput"]},
        {"kind": "delete"},
        {"content": [{"type": "diff", "path": "x", "oldText": None, "newText": "y"}]},
        {"rawInput": {"command": "git status", "force": True}, "status": "in_progress"},
        {"rawInput": {"command": "git status", "cwd": "/"}, "status": "in_progress"},
    ],
    ids=["input", "kind", "content", "more input", "another folder"],
)
async def test_a_request_that_changes_after_it_was_shown_is_rejected(harness, change):
    listener, ask = await asked(harness, STATUS, while_open={"toolCallId": "t", **change})
    await ended(listener)
    assert listener.text == "selected no\n"
    assert (ask.outcome, ask.reason) == ("selected", "changed")
    assert listener.notes == [], "the request itself shows how it ended"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "pending"},
        {"rawInput": STATUS["rawInput"], "kind": "execute", "title": "Another title"},
        {"status": "in_progress", "content": [{"type": "content", "content": {"type": "text", "text": "output"}}]},
        {"toolCallId": "other", "rawInput": REMOVE["rawInput"]},
    ],
    ids=["status", "the same", "output", "another call"],
)
async def test_a_request_stays_open_where_what_was_shown_does_not_change(harness, change):
    listener, ask = await asked(harness, STATUS, while_open={"toolCallId": "t", **change})
    await asyncio.wait_for(listener.sees("tool_call_update"), 20)
    ask.select("once", by="7")
    await ended(listener)
    assert listener.text == "selected once\n"


async def test_a_request_stays_open_where_the_update_names_the_folder_of_the_session(harness):
    own = str(harness.tmp_path / "workspaces" / "1001")
    change = {"toolCallId": "t", "status": "in_progress", "rawInput": {"command": "git status", "cwd": own}}
    listener, ask = await asked(harness, STATUS, while_open=change)
    await asyncio.wait_for(listener.sees("tool_call_update"), 20)
    ask.select("once", by="7")
    await ended(listener)
    assert listener.text == "selected once\n"


async def test_requests_that_the_agent_takes_back_do_not_flood_the_thread(harness):
    listener = send(harness, STATUS, withdraw=True, times=40)
    notes = await ended(listener)
    assert len(listener.asks) == 32
    assert notes[0] == "Rejected because there were too many requests: git status"
    listener, ask = await asked(harness, STATUS)
    ask.select("no", by="7")
    await ended(listener)


async def test_a_tool_call_of_another_session_fills_nothing_in(harness):
    listener, ask = await asked(harness, {"toolCallId": "t"}, before=STATUS, session="a sub-agent")
    assert ask.action.text() == "The agent doesn't say what it wants to do."
    ask.select("no", by="7")
    await ended(listener)


async def test_a_long_title_is_cut_beside_the_action(harness):
    listener, ask = await asked(harness, {**STATUS, "title": "x" * 50_000})
    assert len(ask.title) == 1000
    assert ask.line == "git status"
    ask.select("no", by="7")
    await ended(listener)


async def test_two_requests_with_one_id_are_both_cancelled(harness):
    listener, ask = await asked(harness, STATUS, twice=REMOVE)
    notes = await ended(listener)
    assert listener.text == "cancelled cancelled\n"
    assert ask.reason == "repeated_id"
    assert notes == ["Cancelled because the agent reused its id for another request: git status && rm -rf ./data"]


async def test_two_requests_for_one_tool_call_are_two_requests(harness):
    listener, ask = await asked(harness, STATUS, times=2)
    ask.select("no", by="7")
    await asyncio.wait_for(listener.sees("selected no"), 20)
    await ended_with(listener, "once")
    assert listener.text == "selected no\nselected once\n"


async def ended_with(listener: Listener, option: str) -> None:
    while len(listener.asks) < 2:
        listener.wants_permission.clear()
        await asyncio.wait_for(listener.wants_permission.wait(), 20)
    listener.asks[1].select(option, by="7")
    await ended(listener)


async def test_a_request_that_nobody_can_read_is_refused_and_the_thread_reads_so(harness):
    listener = send(harness, STATUS, params={"options": 1})
    assert await ended(listener) == ["Refused because it isn't a valid request."]
    assert listener.text == "error -32602\n"


@pytest.mark.parametrize(
    ("policy", "text", "note"),
    [
        ("allow", "selected once\n", "Allowed by policy: git status"),
        ("deny", "selected no\n", "Rejected by policy: git status"),
    ],
)
async def test_what_a_policy_answers_is_shown(make, policy, text, note):
    listener = send(make(policy=policy), STATUS)
    assert await ended(listener) == [note]
    assert listener.text == text


async def test_a_storm_of_answers_is_shown_logged_and_audited_in_a_few_lines(make, tmp_path, caplog):
    store = Store.open(tmp_path / "audit.sqlite3")
    harness = make(policy="allow", store=store)
    with caplog.at_level("INFO"):
        notes = await ended(send(harness, STATUS, times=500))
    assert notes == [
        *["Allowed by policy: git status"] * 3,
        "497 more requests: 497 allowed by policy.",
    ]
    assert sum(record.message == "permission_answered" for record in caplog.records) == 21
    assert await ended(send(harness, STATUS)) == ["Allowed by policy: git status"], "each turn counts anew"
    await harness.pool.close(grace_seconds=0.5)
    store.close()
    with sqlite3.connect(tmp_path / "audit.sqlite3") as database:
        rows = database.execute("SELECT uid, pid, method, target, outcome FROM audit").fetchall()
    assert rows[0] == (None, None, "permission", "1001", "allowed by policy: git status")
    assert rows[20][4] == "480 more requests: 480 allowed by policy."
    assert len(rows) == 22


async def test_a_time_out_is_audited(make, tmp_path):
    store = Store.open(tmp_path / "audit.sqlite3")
    harness = make(timeout_seconds=0.05, store=store)
    listener, ask = await asked(harness, STATUS)
    assert await ended(listener) == [], "the request itself shows how it ended"
    assert (ask.outcome, ask.reason) == ("expired", "timeout")
    await harness.pool.close(grace_seconds=0.5)
    store.close()
    with sqlite3.connect(tmp_path / "audit.sqlite3") as database:
        rows = database.execute("SELECT outcome FROM audit").fetchall()
    assert rows == [("rejected because it timed out: git status",)]


async def test_a_request_that_is_open_when_the_agent_ends_its_turn_is_closed(make_harness):
    harness = make_harness(argv=scripted(prompts=[[{"ask": STATUS}, {"end": "end_turn"}]]))
    listener = await harness.turn("1001", "x")
    assert [ask.outcome for ask in listener.asks] == ["cancelled"]
    assert listener.ask_outcomes == ["cancelled"]


@pytest.mark.parametrize("how", ["kill", "suspend", "stop"])
async def test_an_agent_reads_that_its_turn_is_cancelled_before_its_request_is(make_harness, tmp_path, how):
    came = tmp_path / "came"
    steps = [{"ask": STATUS}, {"before": str(came)}, {"end": "cancelled"}]
    harness = make_harness(argv=scripted(capabilities={"loadSession": True}, prompts=[steps]))
    listener = send(harness, STATUS)
    await asyncio.wait_for(listener.wants_permission.wait(), 20)
    if how == "kill":
        await harness.pool.kill([harness.target("1001")])
    elif how == "suspend":
        target = harness.target("1001")
        await harness.pool.suspend(target.thread_id, target.session_id)
    else:
        await harness.pool.close(grace_seconds=5)
    assert came.read_text().split() == ["session/cancel"]
