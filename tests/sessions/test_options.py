"""Modes, models, config options, commands and usage; and what a tool's own time limit means for the watchdog."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.acp.schema import SessionResult, Update
from acpbot.errors import InvalidParams
from acpbot.sessions.open_tool_calls import OpenToolCalls
from acpbot.sessions.options import Choice, Options
from tests.sessions.test_pool import kill


def current(session, category: str) -> str:
    return next(choice.value for choice in session.options.choices(category) if choice.current)


async def test_what_is_chosen_is_set_in_the_agent_and_kept_for_the_next_session(harness):
    await harness.turn("1001", "say a")
    session = harness.session("1001")
    for category in ("mode", "model"):
        offered = session.options.choices(category)
        other = next(choice.value for choice in offered if not choice.current)
        await session.choose(category, other)
        assert current(session, category) == other
        with pytest.raises(InvalidParams, match="this agent offers"):
            await session.choose(category, "of-tomorrow")
    chosen = {category: current(session, category) for category in ("mode", "model")}
    await kill(harness, "1001")
    await harness.turn("1001", "say b")
    again = harness.pool.get("1001")
    assert again is not session
    assert {category: current(again, category) for category in chosen} == chosen


async def test_commands_usage_and_title_are_kept(harness):
    await harness.turn("1001", "say a")
    session = harness.session("1001")
    assert session.options.commands
    assert session.options.usage.context_used
    await harness.turn("1001", "title Blue doors")
    assert harness.row("1001").title == "Blue doors"


def test_choices_come_from_the_older_models_list_and_modes():
    options = Options()
    models = {"currentModelId": "a", "availableModels": [{"modelId": "a", "name": "A"}, {"modelId": "b"}, "x"]}
    modes = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "auto", "name": ""}]}
    options.opened(SessionResult(session_id="s", models=models, modes=modes))
    assert options.choices("model") == [Choice("a", "A", current=True), Choice("b", "b", current=False)]
    options.handle(Update("s", "current_mode_update", {"currentModeId": "auto"}))
    assert [choice.current for choice in options.choices("mode")] == [False, True]
    assert options.choices("temperature") == []


def test_config_options_with_groups_come_first():
    options = Options()
    values = [{"group": "g", "options": [{"value": "x", "name": "X"}]}, {"value": "y"}, {"value": 7}]
    config = [{"id": "m", "category": "model", "currentValue": "y", "options": values}, {"id": 3}]
    options.opened(SessionResult(session_id="s", models={"availableModels": [{"modelId": "old"}]}))
    options.handle(Update("s", "config_option_update", {"configOptions": config}))
    assert [(choice.value, choice.current) for choice in options.choices("model")] == [("x", False), ("y", True)]
    assert options.choices("m") == options.choices("model")


def test_a_mode_that_the_agent_reports_counts_also_where_its_modes_are_a_config_option():
    options = Options()
    values = [{"value": "ask", "name": "Ask"}, {"value": "auto", "name": "Auto"}]
    config = [{"id": "approval", "category": "mode", "currentValue": "ask", "options": values}]
    options.opened(SessionResult(session_id="s", config_options=config))
    seen = []
    for mode in ("auto", "of-its-own", "ask"):
        options.handle(Update("s", "current_mode_update", {"currentModeId": mode}))
        seen.append((options.mode, options.unasked))
    assert seen == [("auto", "auto"), (None, None), ("ask", None)]


def test_an_option_that_is_on_or_off_has_two_choices():
    options = Options()
    config = [{"type": "boolean", "id": "fast", "name": "Fast", "currentValue": True}]
    options.opened(SessionResult(session_id="s", config_options=config))
    assert options.choices("fast") == [Choice("true", "On", current=True), Choice("false", "Off", current=False)]


def test_what_an_agent_sends_in_place_of_options_is_passed_over():
    options = Options()
    odd: list[Any] = [
        {"id": "a", "category": ["mode"], "options": {"value": "x"}},
        {"id": ["mode"]},
        {"category": "mode"},
        7,
    ]
    options.opened(SessionResult(session_id="s", config_options=odd, modes={"availableModes": [{"id": 3}, {"id": ""}]}))
    assert [options.choices(category) for category in ("mode", "model", "a")] == [[], [], []]
    assert (options.mode, options.model) == (None, None)


@pytest.mark.parametrize(
    ("raw_input", "after", "within"),
    [
        ({"timeout": 120_000}, 100, True),
        ({"timeout_ms": 120_000}, 121, False),
        ({"timeout": True}, 1, False),
        ({"timeout": 10**12}, 1, False),
        ({"timeout": "soon"}, 1, False),
        (["timeout"], 1, False),
        (None, 1, False),
    ],
)
def test_a_tool_may_be_silent_within_its_own_time_limit(raw_input, after, within):
    now = [0.0]
    calls = OpenToolCalls(lambda: now[0])
    calls.handle({"toolCallId": "t", "title": "make", "status": "in_progress", "rawInput": raw_input})
    now[0] += after
    assert calls.within_limit is within
    calls.handle({"toolCallId": "t", "status": "completed"})
    assert not calls.within_limit
