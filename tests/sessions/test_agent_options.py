"""The mode, the model and the options that the configuration gives an agent: set in every session, or said."""

from __future__ import annotations

import pytest

from acpbot.sessions.options import NotSet
from tests.sessions.test_pool import kill

IMPATIENCE = 0.5


def logged(caplog, event: str) -> list[dict]:
    return [record.fields for record in caplog.records if record.message == event]


# The mode.


@pytest.mark.parametrize("mode", ["ask", "Ask me"])
async def test_the_mode_of_the_configuration_is_set_by_its_id_or_its_name(faulty_harness, mode):
    harness = faulty_harness("modes auto", mode=mode)
    assert (await harness.turn("1001", "x")).text == "ask"
    assert harness.row("1001").mode == "ask"


async def test_without_a_mode_in_the_configuration_the_agent_keeps_its_own_and_the_log_warns(faulty_harness, caplog):
    harness = faulty_harness("modes auto")
    assert (await harness.turn("1001", "x")).text == "auto"
    assert harness.row("1001").mode == "auto"
    assert [fields["mode"] for fields in logged(caplog, "mode_does_not_ask")] == ["auto"]


@pytest.mark.parametrize("changed", [{"policy": "allow"}, {"mode": "ask"}])
async def test_the_log_does_not_warn_where_nobody_is_asked_anyway_or_the_mode_asks(faulty_harness, caplog, changed):
    await faulty_harness("modes auto", **changed).turn("1001", "x")
    assert logged(caplog, "mode_does_not_ask") == []


async def test_a_tool_runs_without_a_question_in_a_mode_that_does_not_ask(make_harness):
    text = (await make_harness(mode="auto").turn("1001", "tool echo hello")).text
    assert "The command completed" in text


@pytest.mark.parametrize(
    ("quirk", "mode", "reason"),
    [
        ("modes auto", "plan", "it has no mode 'plan', it offers ask, auto"),
        ("sound", "plan", "it has no mode 'plan', it offers nothing"),
        ("modes auto refuses", "ask", "it did not take the mode 'ask' ("),
        ("modes auto silent", "ask", "did not answer session/set_mode within 0.5 s"),
        ("config_modes keeps", "ask", "it did not take the mode 'ask', and has 'auto'"),
    ],
)
async def test_a_session_that_does_not_get_its_mode_runs_no_turn(faulty_harness, quirk, mode, reason):
    harness = faulty_harness(quirk, mode=mode, start_timeout_seconds=IMPATIENCE)
    listener = await harness.turn("1001", "x")
    assert listener.text == ""
    assert listener.error.startswith("cannot start agent 'demo': ")
    assert reason in listener.error
    await harness.pool.quiet()
    assert harness.events.endings[0][:2] == ("1001", "start_failed")


async def test_a_mode_that_the_agent_leaves_by_itself_is_set_again_before_the_next_turn(faulty_harness, caplog):
    harness = faulty_harness("modes auto leaves", mode="ask")
    assert [(await harness.turn("1001", text)).text for text in "xyz"] == ["ask", "ask", "ask"]
    assert [(fields["mode"], fields["required"]) for fields in logged(caplog, "mode_left")] == [("auto", "ask")]


async def test_a_mode_that_the_agent_leaves_is_not_set_again_where_nobody_wants_another(faulty_harness):
    harness = faulty_harness("modes ask leaves")
    assert [(await harness.turn("1001", text)).text for text in "xy"] == ["ask", "auto"]
    assert harness.row("1001").mode == "auto"


async def test_an_agent_that_does_not_go_back_to_its_mode_gets_no_further_prompt(faulty_harness):
    harness = faulty_harness("modes ask defiant", mode="ask")
    assert (await harness.turn("1001", "x")).text == "ask"
    listener = await harness.turn("1001", "y")
    assert listener.text == ""
    assert listener.error.startswith("cannot go on: the agent has left its mode, and it did not take the mode 'ask'")


@pytest.mark.parametrize("how", ["takes", "forgets"])
async def test_the_mode_is_set_again_when_the_conversation_is_resumed(faulty_harness, how):
    harness = faulty_harness(f"modes auto {how}", mode="ask")
    for text in "xy":
        assert (await harness.turn("1001", text)).text == "ask"
        await kill(harness, "1001")


async def test_what_a_person_chooses_goes_before_the_configuration_also_in_later_sessions(faulty_harness):
    harness = faulty_harness("modes ask", mode="ask")
    await harness.turn("1001", "x")
    await harness.session("1001").choose("mode", "auto")
    assert (await harness.turn("1001", "y")).text == "auto"
    await kill(harness, "1001")
    assert (await harness.turn("1001", "z")).text == "auto"
    assert (await harness.turn("1002", "x")).text == "ask"


async def test_a_person_s_choice_that_the_agent_does_not_have_any_more_gives_way_to_the_configuration(make_harness):
    harness = make_harness(mode="auto")
    await harness.turn("1001", "say a")
    harness.pool.thread("1001").chosen = {"mode": "of-yesterday"}
    await kill(harness, "1001")
    await harness.turn("1001", "say b")
    assert harness.row("1001").mode == "auto"
    assert harness.events.dropped == [("1001", "mode", "of-yesterday")]
    assert harness.pool.thread("1001").chosen == {}


async def test_a_choice_is_kept_where_a_resumed_agent_does_not_list_its_options_again(faulty_harness):
    harness = faulty_harness("modes ask forgets", model="large")
    await harness.turn("1001", "x")
    assert harness.events.not_set == [("1001", "model", "large")]
    harness.pool.thread("1001").chosen = {"model": "small"}
    await kill(harness, "1001")
    assert (await harness.turn("1001", "y")).text == "ask"
    assert harness.pool.thread("1001").chosen == {"model": "small"}
    assert (harness.events.dropped, len(harness.events.not_set)) == ([], 1)


async def test_the_mode_is_set_after_the_model_which_may_change_it(faulty_harness):
    harness = faulty_harness("config_modes", mode="Ask", model="large", options={"quick": True})
    assert (await harness.turn("1001", "x")).text == "ask large True"
    row = harness.row("1001")
    assert (row.mode, row.model) == ("ask", "large")


async def test_a_mode_that_is_named_by_the_id_of_its_option_must_be_taken_too(faulty_harness):
    harness = faulty_harness("config_modes keeps", options={"approval": "ask"})
    assert "it did not take the mode 'ask'" in (await harness.turn("1001", "x")).error
    other = faulty_harness("config_modes", options={"approval": "ask", "engine": "large"})
    assert (await other.turn("1002", "x")).text == "ask large False"


async def test_an_agent_that_does_not_list_its_options_again_is_believed(faulty_harness):
    harness = faulty_harness("config_modes forgets", mode="ask", options={"quick": True})
    assert (await harness.turn("1001", "x")).text == "ask small True"
    assert harness.row("1001").mode == "ask"


# The model and the options.


async def test_model_and_options_are_set_in_every_session(make_harness):
    harness = make_harness(model="shout", options={"effort": "high", "footer": True})
    for thread in ("1001", "1002"):
        listener = await harness.turn(thread, "hello")
        assert "You said: HELLO" in listener.text
        assert "(mode ask, model shout, effort high)" in listener.text
        assert "agent_thought_chunk" in listener.kinds
    assert harness.row("1001").model == "shout"
    assert harness.events.not_set == []


async def test_a_session_goes_on_without_an_option_that_the_agent_does_not_take(make_harness, caplog):
    harness = make_harness(model="large", options={"effort": True, "speed": "9"})
    assert (await harness.turn("1001", "say a")).text == "a"
    detail = await harness.pool.detail("1001")
    assert detail.options_not_set == (
        NotSet("model", "large", "it has no model 'large', it offers plain, shout"),
        NotSet("effort", "true", "it has no effort 'true', it offers low, high"),
        NotSet("speed", "9", "it has no speed '9', it offers nothing"),
    )
    assert [option for _, option, _ in harness.events.not_set] == ["model", "effort", "speed"]
    assert [fields["option"] for fields in logged(caplog, "option_not_set")] == ["model", "effort", "speed"]
    assert all(fields["reason"] for fields in logged(caplog, "option_not_set"))


async def test_a_thread_without_a_process_has_no_mode(make_harness):
    harness = make_harness()
    await harness.turn("1001", "say a")
    assert (harness.row("1001").mode, harness.row("1001").model) == ("ask", "plain")
    await kill(harness, "1001")
    assert (harness.row("1001").mode, harness.row("1001").model) == (None, None)
