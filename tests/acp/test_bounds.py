"""What is kept of an agent's messages, however long they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.acp import bounds
from acpbot.acp.connection import AgentConnection
from acpbot.acp.shorten import Shortener
from acpbot.sessions.open_tool_calls import OpenToolCalls
from tests.support.hidden_text import HIDDEN, ORDINARY, hides_nothing

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=9), inner, max_size=9),
    max_leaves=80,
)


def shorten(text: bytes, step: int, **limits: int) -> tuple[bytes | None, bool]:
    shortener = Shortener(**{"bytes_most": 600, "string_most": 40, "members_most": 25, "outer_depth": 3, **limits})
    for start in range(0, len(text), step):
        shortener.feed(text[start : start + step])
    return shortener.finish(), shortener.cut


@given(_JSON, _JSON, st.booleans(), st.integers(1, 50))
def test_a_shortened_text_is_json_with_its_outer_members_whatever_the_pieces(first, second, ascii_only, step):
    value = {"id": 1, "params": {"update": {"a": first, "b": second, "last": "yes"}}, "end": 2}
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    short, cut = shorten(text, step)
    assert (short, cut) == shorten(text, len(text))
    assert short is not None
    kept = json.loads(short)
    assert kept == value if not cut else (kept["end"], kept["params"]["update"]["last"]) == (2, "yes")


async def items(connection: AgentConnection) -> list[Any]:
    return [*await connection.next_batch()]


def kept_of(calls: OpenToolCalls, tool_call_id: str) -> Any:
    return calls.get(tool_call_id)


_M = 256 * 1024
LONG = {
    "one string": b'"' + b"x" * _M + b'"',
    "escapes": b'"' + rb"\"" * (_M // 2) + b'"',
    "empty lists": b"[" + b"[]," * (_M // 3) + b"[]]",
    "numbers": b"[" + b"1," * (_M // 2) + b"1]",
    "empty strings": b"[" + b'"",' * (_M // 3) + b'""]',
    "members": b"{" + b'"a":1,' * (_M // 6) + b'"b":2}',
    "nested lists": b"[" * _M + b"]" * _M,
    "white space": b" " * _M + b"1",
}


def update(kind: str, members: bytes) -> bytes:
    return (
        b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"%b",%b}}}\n'
        % (kind.encode(), members)
    )


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("max_line", [64 * 1024, bounds.LINE_MOST])
async def test_a_long_input_of_a_tool_is_cut_and_what_follows_it_is_read(name, max_line):
    if name == "nested lists" and max_line == bounds.LINE_MOST:
        pytest.skip("a line that nests so deep is no message")
    connection = AgentConnection(max_line=max_line)
    line = update("tool_call", b'"toolCallId":"t","rawInput":' + LONG[name] + b',"status":"completed"')
    for start in range(0, len(line), 65_536):
        connection.data_received(line[start : start + 65_536])
    (item,) = await items(connection)
    assert item.body["status"] == "completed"
    assert item.cut == (max_line < bounds.LINE_MOST or name not in {"one string", "escapes", "white space"})
    assert len(json.dumps(item.body["rawInput"])) <= 2 * _M
    assert count(item.body) <= bounds.MEMBERS_MOST + 300


def count(value) -> int:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, members))


async def one(line: bytes) -> Any:
    connection = AgentConnection()
    connection.data_received(line)
    (item,) = await items(connection)
    return item


async def test_a_plan_a_title_and_lists_are_cut():
    entries = json.dumps([{"content": "c" * 5000, "status": "pending"}] * 1000).encode()
    item = await one(update("plan", b'"entries":' + entries[: len(entries)]))
    assert (item.cut, len(item.body["entries"]) <= bounds.PLAN_ENTRIES_MOST) == (True, True)
    assert all(len(entry["content"]) <= bounds.TITLE_MOST for entry in item.body["entries"])
    item = await one(update("tool_call", b'"toolCallId":"%b","title":"%b"' % (b"i" * 5000, b"t" * 5000)))
    assert (item.cut, len(item.body["title"]), len(item.body["toolCallId"])) == (
        True,
        bounds.TITLE_MOST,
        bounds.ID_MOST,
    )
    commands = json.dumps([{"name": f"n{number}", "description": "d" * 9000} for number in range(900)]).encode()
    item = await one(update("available_commands_update", b'"availableCommands":' + commands))
    assert (item.cut, len(item.body["availableCommands"])) == (True, bounds.COMMANDS_MOST)


def test_long_ids_of_tool_calls_stay_different():
    first, second = "x" * 999 + "1", "x" * 999 + "2"
    assert len({bounds.identity(first), bounds.identity(second), bounds.identity("x")}) == 3
    assert bounds.identity(bounds.identity(first)) == bounds.identity(first)


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_an_answer_is_cleaned_as_one_text_however_it_is_cut_into_chunks(size):
    for text in (*ORDINARY, *(hidden for hidden in HIDDEN if "\x1b" not in hidden and "\x9d" not in hidden)):
        if "\ud800" in text:
            continue
        connection = AgentConnection()
        for start in range(0, len(text), size):
            content = json.dumps({"type": "text", "text": text[start : start + size]}, ensure_ascii=False).encode()
            connection.data_received(update("agent_message_chunk", b'"content":' + content))
        said = "".join([item.body["content"]["text"] for item in await items(connection)])
        assert hides_nothing(said)
        if text in ORDINARY:
            assert said == text


async def test_a_stop_reason_and_an_error_are_one_clean_line():
    connection = AgentConnection()

    class Stream:
        def write(self, data: bytes) -> None: ...

    connection.stream = Stream()  # type: ignore[assignment]  # nothing else of it is used here
    asked = connection._peer.request("session/prompt", {})[0]
    connection.data_received(b'{"id":%d,"result":{"stopReason":"a\\u202e\\n%b"}}\n' % (asked, b"x" * 5000))
    (ended,) = await items(connection)
    assert len(ended.stop_reason) == bounds.REASON_MOST
    assert hides_nothing(ended.stop_reason)
    asked = connection._peer.request("session/prompt", {})[0]
    connection.data_received(b'{"id":%d,"error":{"code":1,"message":"a\\u009b\\n%b"}}\n' % (asked, b"x" * 500_000))
    (ended,) = await items(connection)
    assert len(str(ended.error)) < 1000
    assert hides_nothing(str(ended.error))


def test_open_calls_keep_what_they_are_about_within_a_budget():
    calls = OpenToolCalls(lambda: 0.0)
    calls.handle({"toolCallId": "a", "title": "t", "rawInput": {"command": "ls"}, "content": [{"type": "x"}]})
    calls.handle({"toolCallId": "a", "status": "in_progress"})
    call = kept_of(calls, "a")
    assert (call.title, call.status, call.raw_input, call.content, call.cut) == (
        *("t", "in_progress", {"command": "ls"}),
        *([{"type": "x"}], False),
    )
    for number in range(300):
        calls.handle({"toolCallId": str(number), "rawInput": "x" * 60_000})
    kept = [kept_of(calls, str(number)) for number in range(255)]
    assert sum(len(call.raw_input or "") for call in kept) <= 256 * 1024
    assert all(call.cut == (call.raw_input is None) for call in kept)
    assert kept_of(calls, "299") is None
    for number in range(300):
        calls.handle({"toolCallId": str(number), "status": "completed"})
    calls.handle({"toolCallId": "again", "rawInput": "x" * 60_000})
    assert kept_of(calls, "again").raw_input is not None


@pytest.mark.parametrize(
    ("field", "most"), [("title", bounds.TITLE_MOST), ("kind", bounds.KIND_MOST), ("status", bounds.KIND_MOST)]
)
def test_each_text_of_a_tool_call_may_reach_its_limit_and_is_cut_beyond_it(field, most):
    fits, longer = {field: "x" * most}, {field: "x" * (most + 1)}
    assert (bounds.tool_call(fits), fits) == (False, {field: "x" * most})
    assert bounds.tool_call(longer)
    assert len(longer[field]) <= most
