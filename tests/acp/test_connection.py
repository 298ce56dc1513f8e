"""The agent's wire, fed by hand: order, bounds, answers of all shapes."""

from __future__ import annotations

import asyncio
import json

import pytest

from acpbot.acp import connection as module
from acpbot.acp import schema
from acpbot.acp.agent import Agent
from acpbot.acp.connection import Closed, PermissionAsked, PromptEnded, RequestCancelled
from acpbot.errors import AgentGone, AgentRefused, AgentTimeout
from tests.fakes.process import MemoryStream


@pytest.fixture
def stream():
    return MemoryStream()


@pytest.fixture
def connection(stream):
    connection = Agent()
    connection.stream = stream
    return connection


def line(**members) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def update(kind: str, session="s", **body) -> bytes:
    return line(method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **body}})


def chunk(text: str) -> bytes:
    return update("agent_message_chunk", content={"type": "text", "text": text})


async def test_updates_requests_and_the_end_come_in_the_order_of_the_wire(connection):
    prompt = connection.prompt([])
    asked = line(
        id="p-1",
        method="session/request_permission",
        params={
            "sessionId": "s",
            "toolCall": {"toolCallId": "t"},
            "options": [{"optionId": "a", "kind": "allow_once"}],
        },
    )
    connection.data_received(chunk("one") + asked + chunk("two") + line(id=prompt, result={"stopReason": "end_turn"}))
    connection.data_received(chunk("late"))
    connection.eof()
    kinds = [type(item) for item in await connection.next_batch()]
    assert kinds == [schema.Update, PermissionAsked, schema.Update, PromptEnded, schema.Update, Closed]


@pytest.mark.parametrize(
    "kind",
    [
        "user_message_chunk",
        "agent_message_chunk",
        "agent_thought_chunk",
        "tool_call",
        "tool_call_update",
        "plan",
        "available_commands_update",
        "current_mode_update",
        "config_option_update",
        "session_info_update",
        "usage_update",
        "notice",
        "compaction_update",
        "compaction_summary_chunk",
        "subagent_update",
        "something_of_tomorrow",
    ],
)
async def test_every_update_kind_is_passed_on_whole(connection, kind):
    connection.data_received(update(kind, tomorrow={"a": [1]}, _meta={"session_id": "other"}))
    (item,) = await connection.next_batch()
    assert item == schema.Update(
        "s", kind, {"sessionUpdate": kind, "tomorrow": {"a": [1]}, "_meta": {"session_id": "other"}}
    )


SPELLINGS = (
    b'{"jsonrpc":"2.0","method":"session/update","params":%b}',
    b'{"jsonrpc": "2.0", "method": "session/update", "params": %b}',
    b'{"method":"session/update","params":%b,"jsonrpc":"2.0"}',
    b'{"params":%b, "method":"session/update"}',
    b'{"jsonrpc":"2.0","method":"session/update","params":%b,"more":{"id":1}}',
    b'{"jsonrpc":"2.0","method":"other","params":{},"method":"session/update","params":%b}',
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("text", ["plain", "a\\u0007b \\ud83d\\ude00", "\u2066 bidi", "x" * 20_000], ids=str.__len__)
async def test_an_update_means_the_same_however_its_line_is_written(connection, spelling, text):
    body = b'{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"%b"}}' % text.encode()
    connection.data_received(spelling % (b'{"sessionId":"s","update":%b}' % body) + b"\n")
    (found,) = await connection.next_batch()
    shown = {"plain": "plain", "x" * 20_000: "x" * 20_000}.get(text, " bidi" if "bidi" in text else "ab \U0001f600")
    assert found == schema.Update("s", "agent_message_chunk", found.body)
    assert found.body["content"]["text"] == shown


@pytest.mark.parametrize("end", [b',"id":7}', b',"id":"seven"}'])
async def test_an_update_with_an_id_is_a_request_for_what_is_not_offered(connection, stream, end):
    whole = chunk("x")
    connection.data_received(whole.removesuffix(b"}\n") + end + b"\n" + chunk("next"))
    (found,) = await connection.next_batch()
    assert found.body["content"]["text"] == "next"
    assert b"-32601" in b"".join(stream.written)


@pytest.mark.parametrize("end", [b"", b"]}", b"}}}}", b',"update":1}}'])
async def test_a_line_that_only_begins_as_an_update_is_counted_as_malformed(connection, end):
    connection.data_received(b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s"' + end + b"\n")
    connection.data_received(chunk("next"))
    (found,) = await connection.next_batch()
    assert found.body["content"]["text"] == "next"
    assert connection.malformed == 1


async def test_an_answer_is_matched_whatever_the_type_of_its_id(connection, stream):
    asking = asyncio.create_task(connection.request("session/new", {}, schema.SessionResult, limit=5))
    await stream.wrote.wait()
    request = json.loads(stream.written[0])
    connection.data_received(line(id=str(request["id"]), result={"sessionId": "x", "models": {"m": 1}, "new": 1}))
    assert (await asking).session_id == "x"


async def test_a_null_answer_is_an_empty_one(connection, stream):
    asking = asyncio.create_task(connection.request("session/load", {}, schema.SessionResult, limit=5))
    await stream.wrote.wait()
    connection.data_received(line(id=1, result=None))
    assert await asking == schema.SessionResult()


async def test_the_replay_of_a_load_is_dropped_but_session_updates_are_kept(connection, stream):
    asking = asyncio.create_task(connection.request("session/load", {}, schema.SessionResult, limit=5, mute=True))
    await stream.wrote.wait()
    connection.data_received(
        update("user_message_chunk")
        + chunk("old")
        + update("available_commands_update")
        + line(id=1, result={})
        + chunk("new")
    )
    await asking
    assert [item.kind for item in await connection.next_batch()] == ["available_commands_update", "agent_message_chunk"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            {"error": {"code": 400, "message": "no such model"}},
            AgentRefused,
            "refused session/new: no such model (400)",
        ),
        ({"error": "odd"}, AgentRefused, "odd"),
        (
            {"error": {"code": 1, "message": "Internal error", "data": {"message": "no\nkey"}}},
            AgentRefused,
            "refused session/new: no key (1)",
        ),
        (
            {"error": {"code": 1, "message": "Internal error", "data": "no key"}},
            AgentRefused,
            "refused session/new: no key (1)",
        ),
        ({"result": [7]}, AgentRefused, "cannot use the agent's answer to session/new"),
    ],
)
async def test_a_bad_answer_raises_one_clear_error(connection, stream, answer, error, words):
    asking = asyncio.create_task(connection.request("session/new", {}, schema.SessionResult, limit=5))
    await stream.wrote.wait()
    connection.data_received(line(id=1, **answer))
    with pytest.raises(error, match=r"^cannot ") as caught:
        await asking
    assert words in str(caught.value)


async def test_a_request_has_a_time_limit_and_its_late_answer_is_dropped(connection):
    with pytest.raises(AgentTimeout, match=r"did not answer initialize within 0\.01 s"):
        await connection.request("initialize", {}, schema.InitializeResult, limit=0.01)
    connection.data_received(line(id=1, result={"protocolVersion": 1}) + chunk("on"))
    assert [item.kind for item in await connection.next_batch()] == ["agent_message_chunk"]


async def test_the_end_fails_open_requests_and_all_later_ones(connection, stream):
    asking = asyncio.create_task(connection.request("initialize", {}, schema.InitializeResult, limit=5))
    await stream.wrote.wait()
    connection.eof()
    with pytest.raises(AgentGone):
        await asking
    with pytest.raises(AgentGone):
        connection.prompt([])


async def test_a_prompt_may_end_with_an_error_or_an_unknown_reason(connection):
    first, second, third = connection.prompt([]), connection.prompt([]), connection.prompt([])
    connection.data_received(
        line(id=first, result={"stopReason": "of_tomorrow"})
        + line(id=second, error={"code": -32603, "message": "model down"})
        + line(id=third, result={})
    )
    ends = await connection.next_batch()
    assert ends[0].stop_reason == "of_tomorrow"
    assert "model down" in str(ends[1].error)
    assert (ends[2].stop_reason, ends[2].error) == ("end_turn", None)


@pytest.mark.parametrize("method", ["fs/read_text_file", "terminal/create", "_ext/thing"])
async def test_a_request_for_what_we_do_not_offer_is_refused(connection, stream, method):
    connection.data_received(line(id="x", method=method, params={}))
    answer = json.loads(stream.written[0])
    assert (answer["id"], answer["error"]["code"]) == ("x", -32601)


async def test_a_malformed_permission_request_is_answered(connection, stream):
    connection.data_received(line(id=9, method="session/request_permission", params={"options": 1}))
    assert json.loads(stream.written[0])["error"]["code"] == -32602


async def test_a_cancelled_request_is_passed_on(connection):
    connection.data_received(line(method="$/cancel_request", params={"requestId": 9}) + line(method="$/cancel_request"))
    assert await connection.next_batch() == [RequestCancelled(9)]
    assert connection.malformed == 1


async def test_malformed_lines_are_counted_and_skipped(connection):
    noise = b'\n garbage\n[1]\n"x"\n\xff\xfe\n' + line(method="session/update", params={"sessionId": "s"})
    connection.data_received(noise + line(error={"code": 1, "message": "no id"}) + chunk("on"))
    assert [item.kind for item in await connection.next_batch()] == ["agent_message_chunk"]
    assert connection.malformed == 5


async def test_reading_pauses_while_nobody_reads_the_batches(connection, stream):
    connection.data_received(chunk("x") * module.HIGH_WATER_ITEMS)
    assert stream.paused
    seen = 0
    while stream.paused:
        seen += len(await connection.next_batch())
    assert seen == module.HIGH_WATER_ITEMS


async def test_a_few_big_updates_pause_reading_too(connection, stream):
    big = chunk("x" * (module.HIGH_WATER_BYTES // 4)) * 2
    connection.data_received(big)
    assert not stream.paused
    connection.data_received(big)
    assert stream.paused


async def test_next_batch_waits_for_a_whole_message(connection):
    reading = asyncio.create_task(connection.next_batch())
    await asyncio.sleep(0)
    connection.data_received(chunk("a")[:10])
    assert not reading.done()
    connection.data_received(chunk("a")[10:])
    assert len(await reading) == 1
