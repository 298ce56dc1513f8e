"""sessions.send, permit, suspend, restart, forget: what they refuse, what they do, and what the audit says of it."""

from __future__ import annotations

import pytest

from acpbot.errors import Conflict, Draining
from acpbot.management.access import AccessRule
from tests.fakes.pool import make_row
from tests.support.management_server import THREAD

CALLS = {
    "sessions.send": {"thread": THREAD, "text": "run the tests"},
    "sessions.permit": {"thread": THREAD, "request": "p1", "option": "allow"},
    "sessions.suspend": {"thread": THREAD, "session_id": "s-0123"},
    "sessions.restart": {"thread": THREAD, "session_id": "s-0123"},
    "sessions.forget": {"thread": THREAD},
}


@pytest.fixture
async def client(harness):
    return await harness.client()


async def test_a_prompt_is_queued_and_the_events_of_its_turn_come_and_end(harness, client, audit_log):
    assert await client.call("sessions.send", thread="0123", text="say hi") == {"thread_id": THREAD, "queued": 0}
    assert harness.operator.done == [("send", THREAD, "say hi", None)]
    (follower,) = harness.operator.followers
    for kind in ("turn_start", "text", "turn_end", "session"):
        follower.emit({"thread": THREAD, "type": kind})
    assert [(await client.notified())["type"] for _ in range(3)] == ["turn_start", "text", "turn_end"]
    await client.call("sessions.list")
    assert client.kept == []
    assert audit_log.outcomes() == [("sessions.send", THREAD, "queued")]
    await client.call("sessions.send", thread="0123", text="say now", now=True)
    assert audit_log.outcomes()[-1] == ("sessions.send", THREAD, "queued, to run now")


async def test_events_that_come_before_the_answer_are_sent_after_it_as_a_snapshot(harness, client):
    send = harness.operator.send

    def send_and_end(*args, **options) -> int:
        options["follower"].emit({"thread": THREAD, "type": "notice", "text": "All agents are busy."})
        options["follower"].emit({"thread": THREAD, "type": "turn_end"})
        return send(*args, **options)

    harness.operator.send = send_and_end
    await client.call("sessions.send", thread=THREAD, text="say hi")
    assert [(await client.notified())["type"] for _ in range(2)] == ["notice", "text"]
    (connection,) = harness.server._connections
    assert all(stream.closed for stream in connection._streams.values())


async def test_many_prompts_on_one_connection_are_no_problem_once_their_turns_have_ended(harness, client):
    for _ in range(harness.limits.streams + 1):
        await client.call("sessions.send", thread=THREAD, text="say hi")
        harness.operator.followers[-1].emit({"thread": THREAD, "type": "turn_end"})
        assert (await client.notified())["type"] == "turn_end"


async def test_a_prompt_to_a_thread_that_is_open_here_sends_no_event_twice(harness, client):
    harness.pool.change(make_row("demo"))
    await client.call("chat.open", thread="demo")
    await client.call("sessions.send", thread="demo", text="say hi")
    harness.operator.followers[-1].emit({"thread": "demo", "type": "turn_start"})
    harness.hub.emit("demo", type="turn_start")
    await client.call("sessions.list")
    assert [one["params"]["type"] for one in client.kept] == ["turn_start"]


async def test_a_prompt_may_begin_a_thread_in_a_channel(harness, client, audit_log):
    sent = await client.call("sessions.send", channel="99", text="say hi", agent="opus")
    assert sent == {"thread_id": "1417221234567890777", "queued": 0}
    assert harness.operator.done == [("begin", "99", "say hi", "opus")]
    assert audit_log.outcomes() == [("sessions.send", "1417221234567890777", "began in channel 99")]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"thread": THREAD, "text": " "}, "'text' is empty"),
        ({"thread": THREAD, "text": "a\0"}, "'text' is empty or holds a NUL"),
        ({"text": "hi"}, "give one of the parameters 'thread' and 'channel'"),
        ({"thread": THREAD, "channel": "1", "text": "hi"}, "give one of"),
        ({"thread": THREAD}, "'text' is missing"),
        ({"thread": THREAD, "text": "hi", "wait": True}, "unknown parameter 'wait'"),
    ],
)
async def test_a_wrong_prompt_is_refused_before_anything_happens(harness, client, params, words):
    error = await client.refused("sessions.send", **params)
    assert (error["code"], words in error["message"]) == (-32602, True), error
    assert harness.operator.done == []


async def test_a_refused_prompt_leaves_no_stream(harness, client, audit_log):
    harness.operator.refuse = Draining("cannot start a turn")
    assert (await client.refused("sessions.send", thread=THREAD, text="hi"))["data"] == {"kind": "draining"}
    assert (await client.refused("sessions.send", channel="99", text="hi"))["data"] == {"kind": "draining"}
    harness.operator.followers[0].emit({"thread": THREAD, "type": "turn_start"})
    await client.call("sessions.list")
    assert client.kept == []
    assert audit_log.outcomes() == [("sessions.send", THREAD, "draining"), ("sessions.send", "99", "draining")]


async def test_each_action_names_exactly_what_was_seen_and_is_audited(harness, client, audit_log):
    assert await client.call("sessions.permit", **CALLS["sessions.permit"]) == {}
    assert await client.call("sessions.suspend", thread="0123", session_id="s-0123") == {
        "outcome": "ended",
        "session_id": None,
    }
    assert await client.call("sessions.restart", **CALLS["sessions.restart"]) == {
        "outcome": "ended",
        "session_id": "s-0124",
    }
    assert await client.call("sessions.forget", thread=THREAD) == {}
    assert harness.operator.done == [
        ("permit", THREAD, "p1", "allow"),
        ("suspend", THREAD, "s-0123"),
        ("restart", THREAD, "s-0123"),
        ("forget", THREAD),
    ]
    assert audit_log.outcomes() == [
        ("sessions.permit", THREAD, "selected allow"),
        ("sessions.suspend", f"{THREAD}/s-0123", "ended"),
        ("sessions.restart", f"{THREAD}/s-0123", "ended"),
        ("sessions.forget", THREAD, "forgotten"),
    ]


@pytest.mark.parametrize("method", CALLS)
async def test_each_action_answers_an_error_as_documented_and_audits_it(harness, client, audit_log, method):
    assert (await client.refused(method, **CALLS[method] | {"thread": "none"}))["data"] == {"kind": "not_found"}
    harness.operator.refuse = Conflict("cannot do it")
    assert (await client.refused(method, **CALLS[method]))["data"] == {"kind": "conflict"}
    assert audit_log.outcomes() == [(method, "none", "not_found"), (method, THREAD, "conflict")]


@pytest.mark.parametrize("method", CALLS)
async def test_who_may_only_read_does_none_of_it(make_harness, method):
    class Readers(AccessRule):
        def at_once(self, _peer):
            return "read"

    harness = await make_harness(rule=Readers())
    client = await harness.client()
    assert (await client.refused(method, **CALLS[method]))["data"] == {"kind": "access_denied"}
    assert harness.operator.done == []
