"""Agents that want a sign-in before a session opens: what acpbot does by itself, and what it reports."""

from __future__ import annotations

import json

import pytest

from acpbot.config.settings import AgentSettings
from acpbot.errors import AgentNotSignedIn, AgentRefused
from acpbot.sessions.launch import not_signed_in
from tests.support.pool import FAULTY, faulty

KEY = [
    {"id": "web", "name": "Log in with a browser"},
    {"type": "env_var", "id": "key", "name": "Key", "vars": [{"name": "SOME_KEY"}]},
]


def wants(works: str, *resumes: str) -> tuple[str, ...]:
    command, *_ = faulty("sound")
    return (command, str(FAULTY), "wants_sign_in", json.dumps(KEY), works, *resumes)


async def test_a_variable_of_its_environment_signs_the_agent_in(make_harness):
    harness = make_harness(argv=wants("key"), env={"SOME_KEY": "k"})
    assert (await harness.turn("1001", "one")).text == "one"
    assert harness.session("1001").process.stderr.lines() == ["authenticate key"]


@pytest.mark.parametrize("way", ["resume", "load"])
async def test_a_conversation_is_resumed_after_the_sign_in(make_harness, way):
    harness = make_harness(argv=wants("key", way), env={"SOME_KEY": "k"})
    await harness.turn("1001", "one")
    first = harness.session("1001").agent.session_id
    await harness.session("1001").end("suspended")
    assert (await harness.turn("1001", "two")).text == "two"
    assert harness.session("1001").agent.session_id == first
    assert harness.events.started_fresh == []


async def test_the_method_of_the_configuration_is_used(make_harness):
    harness = make_harness(argv=wants("web"), auth_method="web")
    assert (await harness.turn("1001", "one")).text == "one"


async def test_a_method_that_needs_a_person_is_never_used_unasked(make_harness):
    harness = make_harness(argv=wants("web"))
    assert (await harness.turn("1001", "one")).end.error == "The agent isn't signed in. Ask your admin."
    assert harness.events.endings == [("1001", "start_failed", False)]


async def test_a_sign_in_that_fails_is_not_tried_again(make_harness, caplog):
    harness = make_harness(argv=wants("other"), env={"SOME_KEY": "k"})
    assert "signed in" in (await harness.turn("1001", "one")).end.error
    (failed,) = [record for record in caplog.records if record.message == "session_failed"]
    detail = failed.__dict__.get("detail") or str(failed.__dict__)
    assert "wrong method" in detail
    assert "it offers web (Log in with a browser), key (Key)" in detail
    assert "acpbot exec demo" in detail


def asks_at_the_prompt(works: str, *says: str) -> tuple[str, ...]:
    command, *_ = faulty("sound")
    return (command, str(FAULTY), "asks_at_the_prompt", json.dumps(KEY), works, *says)


async def test_an_agent_that_asks_at_the_prompt_is_signed_in_and_gets_the_prompt_again(make_harness):
    harness = make_harness(argv=asks_at_the_prompt("key"), env={"SOME_KEY": "k"})
    listener = await harness.turn("1001", "one")
    assert (listener.text, listener.end.stop_reason) == ("one", "end_turn")
    assert (await harness.turn("1001", "two")).text == "two"
    assert harness.session("1001").process.stderr.lines() == ["authenticate key"]


@pytest.mark.parametrize(("works", "tried"), [("other", "key"), ("fails", "key")])
async def test_a_prompt_is_sent_again_once_at_most(make_harness, works, tried):
    harness = make_harness(argv=asks_at_the_prompt(works), env={"SOME_KEY": "k"})
    for text in ("one", "two"):
        assert (await harness.turn("1001", text)).end.error == "The agent isn't signed in. Ask your admin."
    assert harness.row("1001").state == "idle"
    assert harness.session("1001").process.stderr.lines() == [f"authenticate {tried}"] * 2


async def test_a_prompt_of_which_something_ran_is_not_sent_again(make_harness):
    harness = make_harness(argv=asks_at_the_prompt("key", "half"), env={"SOME_KEY": "k"})
    listener = await harness.turn("1001", "one")
    assert (listener.text, listener.error) == ("half", "The agent isn't signed in. Ask your admin.")
    assert harness.session("1001").process.stderr.lines() == []


async def test_a_prompt_is_refused_where_no_method_works_without_a_person(make_harness):
    harness = make_harness(argv=asks_at_the_prompt("web"))
    assert (await harness.turn("1001", "one")).end.error == "The agent isn't signed in. Ask your admin."
    assert harness.session("1001").process.stderr.lines() == []


def test_an_agent_in_pods_is_signed_in_by_a_secret_and_not_by_a_command_here():
    settings = AgentSettings(name="boxed", command="codex", runtime="kubernetes")
    refused = AgentNotSignedIn(AgentRefused("no", code=-32000, said="Sign in."), "key")
    text = not_signed_in(settings, refused)
    assert "acpbot exec" not in text
    assert "by secrets in its table kubernetes" in text
