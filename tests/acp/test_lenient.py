"""One bad member of an agent's answer costs that member, and never the session."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acpbot.acp import lenient, schema
from acpbot.acp.agent import Agent
from acpbot.acp.connection import PermissionAsked, PermissionUnreadable, PromptEnded
from acpbot.sessions.options import Options
from tests.fakes.process import MemoryStream

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def with_any(keys: str, inner: st.SearchStrategy[Any] = JSON) -> st.SearchStrategy[Any]:
    """Objects in which each of these members may be missing or be anything."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(keys.split(), inner | JSON))


VALUE = with_any("value name description group options id modelId")
OPTION = with_any("id name type category currentValue description options", st.lists(VALUE | JSON, max_size=3))
MODES = with_any("currentModeId availableModes currentModelId availableModels", st.lists(VALUE | JSON, max_size=3))
CAPABILITIES = with_any(
    "loadSession promptCapabilities sessionCapabilities mcpCapabilities",
    with_any("image audio embeddedContext resume close http sse"),
)
INITIALIZED = with_any("agentCapabilities agentInfo authMethods", CAPABILITIES | st.lists(VALUE, max_size=2))
OPENED = with_any("modes models configOptions", MODES | st.lists(OPTION | JSON, max_size=3))


@pytest.mark.parametrize(
    ("answer", "kind", "expected", "dropped"),
    [
        ({"stopReason": None}, schema.PromptResult, schema.PromptResult("end_turn"), ["stopReason"]),
        ({}, schema.PromptResult, schema.PromptResult("end_turn"), []),
        ({"modes": [], "sessionId": "s"}, schema.SessionResult, schema.SessionResult("s"), ["modes"]),
        (
            {"configOptions": [{"id": "a"}, 7, None]},
            schema.SessionResult,
            schema.SessionResult(config_options=[{"id": "a"}]),
            ["configOptions[1]", "configOptions[2]"],
        ),
        (
            {"protocolVersion": 1, "agentCapabilities": {"loadSession": True, "promptCapabilities": {"image": "yes"}}},
            schema.InitializeResult,
            schema.InitializeResult(1, schema.AgentCapabilities(load_session=True)),
            ["agentCapabilities.promptCapabilities.image"],
        ),
        (
            {"protocolVersion": 1, "agentCapabilities": None, "agentInfo": {"name": "a", "version": 3}},
            schema.InitializeResult,
            schema.InitializeResult(1, agent_info=schema.Implementation("a")),
            ["agentCapabilities", "agentInfo.version"],
        ),
    ],
)
def test_a_bad_member_gets_its_default_and_a_bad_item_is_left_out(answer, kind, expected, dropped):
    assert lenient.decode(json.dumps(answer).encode(), kind) == (expected, dropped)


def test_what_has_no_default_is_still_required():
    for answer in ("{}", '{"protocolVersion":"one"}', "[]", "7"):
        with pytest.raises(msgspec.ValidationError):
            lenient.decode(answer.encode(), schema.InitializeResult)


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def connected() -> Agent:
    agent = Agent()
    agent.stream = MemoryStream()
    return agent


async def answered(agent: Agent, call: Any, result: Any) -> Any:
    """What a call returns whose request gets this answer."""
    stream = agent.stream
    assert isinstance(stream, MemoryStream)
    before = len(stream.written)
    task = asyncio.create_task(call)
    await asyncio.sleep(0)  # the request is sent in the first step
    assert len(stream.written) == before + 1
    agent.data_received(line(id=json.loads(stream.written[-1])["id"], result=result))
    return await task


@settings(max_examples=60, deadline=None)
@given(initialized=INITIALIZED, opened=OPENED, ended=JSON | with_any("stopReason"), updated=JSON | st.lists(OPTION))
def test_any_json_in_an_answer_leaves_the_session_usable(initialized, opened, ended, updated):
    async def run() -> None:
        agent = connected()
        await answered(agent, agent.initialize(), {**initialized, "protocolVersion": 1})
        await answered(agent, agent.open(Path("/")), {**opened, "sessionId": "s"})
        assert agent.session_id == "s"
        options = Options()
        options.opened(agent.session)
        prompt = agent.prompt([])
        update = {"sessionUpdate": "config_option_update", "configOptions": updated}
        agent.data_received(line(method="session/update", params={"sessionId": "s", "update": update}))
        agent.data_received(line(id=prompt, result=ended))
        told, end = await agent.next_batch()
        assert isinstance(told, schema.Update)
        options.handle(told)
        for category in ("mode", "model", *(option["id"] for option in options._config)):
            options.choices(category)
        assert isinstance(end, PromptEnded)
        assert end.error is None
        assert not agent.closed

    asyncio.run(run())


@given(
    options=JSON | st.lists(with_any("optionId name kind") | JSON, max_size=4),
    call=JSON | with_any("toolCallId title kind rawInput content"),
)
def test_any_json_in_a_permission_request_gets_an_answer_or_a_question(options, call):
    async def run() -> None:
        agent = connected()
        params = {"sessionId": "s", "options": options, "toolCall": call}
        agent.data_received(line(id=1, method="session/request_permission", params=params))
        (item,) = await agent.next_batch()
        assert isinstance(item, PermissionAsked | PermissionUnreadable)

    asyncio.run(run())


def test_an_option_without_a_usable_name_is_kept_and_one_without_an_id_is_left_out():
    params = {
        "sessionId": "s",
        "options": [{"optionId": "a", "name": None, "kind": "allow_once"}, {"name": "b"}, 7, {"optionId": "c"}],
        "toolCall": {"toolCallId": "t"},
    }
    found, whole = schema.permission_params(msgspec.Raw(json.dumps(params).encode()))
    assert whole
    assert [(option.option_id, option.name, option.kind) for option in found.options] == [
        ("a", "", "allow_once"),
        ("c", "", ""),
    ]


async def test_what_is_left_out_is_logged_once(caplog):
    agent = connected()
    for _ in range(3):
        prompt = agent.prompt([])
        agent.data_received(line(id=prompt, result={"stopReason": 4}))
        await agent.next_batch()
    assert [record.message for record in caplog.records].count("agent_answer_incomplete") == 1


async def test_a_byte_order_mark_before_the_first_line_is_ignored():
    agent = connected()
    prompt = agent.prompt([])
    agent.data_received(b"\xef\xbb\xbf" + line(id=prompt, result={"stopReason": "refusal"}))
    (end,) = await agent.next_batch()
    assert isinstance(end, PromptEnded)
    assert (end.stop_reason, agent.malformed) == ("refusal", 0)
