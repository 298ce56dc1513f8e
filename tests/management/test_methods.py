"""Each method: what it takes, what it refuses, what it does."""

from __future__ import annotations

import asyncio
import pwd
import socket
from os import getpid, getuid
from typing import TYPE_CHECKING

import msgspec
import pytest

from acpbot.errors import AgentGone, Conflict, Draining
from acpbot.management.access import AccessRule
from tests.fakes.pool import make_row
from tests.support.management_server import THREAD

if TYPE_CHECKING:
    from acpbot.management.protocol import Access

OTHER = "1417221234567890999"


@pytest.fixture
async def client(harness):
    return await harness.client()


async def test_hello_comes_first(client):
    assert client.hello == {
        "jsonrpc": "2.0",
        "method": "hello",
        "params": {
            "server": "acpbot",
            "version": "0.1.0",
            "protocol": 1,
            "state": "running",
            "access": "admin",
            "capabilities": [
                "audit.list", "chat.command", "chat.conversations", "chat.leave", "chat.open", "chat.permit",
                "chat.send", "config.get", "daemon.drain", "daemon.reload", "events.list", "health.get",
                "sessions.answer", "sessions.cancel", "sessions.forget", "sessions.get", "sessions.kill",
                "sessions.list", "sessions.permit", "sessions.restart", "sessions.send", "sessions.suspend",
                "sessions.tail", "sessions.watch",
            ],
        },
    }  # fmt: skip


async def test_a_method_without_its_service_is_not_served(make_harness):
    harness = await make_harness(chat=None, operator=None, events=None, drain=None, reload=None, config=None)
    client = await harness.client()
    assert client.hello["params"]["capabilities"] == [
        "audit.list", "health.get", "sessions.answer", "sessions.cancel", "sessions.get", "sessions.kill",
        "sessions.list", "sessions.tail", "sessions.watch",
    ]  # fmt: skip
    for method in ("chat.open", "sessions.send", "daemon.drain", "daemon.reload", "config.get"):
        assert (await client.refused(method))["code"] == -32601


async def test_hello_has_the_state(harness):
    harness.state = "draining"
    assert (await harness.client()).hello["params"]["state"] == "draining"


class Readers(AccessRule):
    """Everybody may read, and nobody more."""

    def at_once(self, _peer) -> Access:
        return "read"


@pytest.mark.parametrize(("rule", "is_admin"), [(None, True), (Readers(), False)])
async def test_only_admins_see_what_a_permission_is_wanted_for(make_harness, rule, is_admin):
    harness = await make_harness(rule=rule)
    waiting = make_row(THREAD, state="waiting", waiting_for="pytest -q --token x", activity="Run the tests")
    harness.pool.change(waiting)
    client = await harness.client()
    assert client.hello["params"]["access"] == ("admin" if is_admin else "read")
    seen = "pytest -q --token x" if is_admin else "Run the tests"
    (listed,) = (await client.call("sessions.list"))["sessions"]
    (watched,) = (await client.call("sessions.watch"))["sessions"]
    harness.pool.change(msgspec.structs.replace(waiting, turns=4))
    changed = (await client.notified())["session"]
    detail = (await client.call("sessions.get", thread=THREAD))["session"]
    assert [row["waiting_for"] for row in (listed, watched, changed, detail)] == [seen] * 4
    permission = detail["permission"]
    assert (permission["request"], permission["title"]) == ("s-0123-1", "Run the tests")
    assert (permission["action"] is not None, permission["raw_input"] is not None) == (is_admin, is_admin)


async def test_params_may_be_left_out_where_nothing_is_required(client):
    answer = await client.answer(client.send("sessions.list", None))
    assert answer["result"]["max_sessions"] == 10


@pytest.mark.parametrize("request_id", [0, -1, 2**53, "", "seven", "\u00e9\U0001f600"])
async def test_the_answer_has_the_id_of_its_request(client, request_id):
    assert (await client.answer(client.send("health.get", {}, request_id)))["id"] == request_id


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("health.get", {"x": 1}, "unknown parameter 'x'"),
        ("sessions.list", {"State": "idle"}, "unknown parameter 'State'"),
        ("sessions.list", {"state": "asleep"}, "the parameter 'state': invalid enum value 'asleep'"),
        ("sessions.list", {"suspended": 1}, "the parameter 'suspended': expected boolean, got integer"),
        ("sessions.get", {}, "the parameter 'thread' is missing"),
        ("sessions.get", {"thread": 1417221234567890123}, "the parameter 'thread': expected string, got integer"),
        ("sessions.get", {"thread": None}, "the parameter 'thread': expected string, got null"),
        ("sessions.kill", {}, "the parameter 'targets' is missing"),
        ("sessions.kill", {"targets": "all"}, "the parameter 'targets': expected array, got string"),
        ("sessions.kill", {"targets": []}, "the parameter 'targets': expected array of length >= 1"),
        ("sessions.kill", {"targets": [{"thread_id": "1"}]}, "the parameter 'targets[0].session_id' is missing"),
        ("sessions.kill", {"targets": [{"thread_id": "*", "session_id": "s", "all": True}]}, "'targets[0].all'"),
        ("sessions.kill", {"targets": [{"thread_id": "1", "session_id": "s"}] * 2}, "'targets' holds a pair twice"),
        ("sessions.kill", {"targets": [{"thread_id": "1", "session_id": "s"}], "grace_seconds": 301}, "<= 300"),
        ("sessions.kill", {"targets": [{"thread_id": "1", "session_id": "s"}], "grace_seconds": -1}, ">= 0"),
        ("sessions.kill", {"targets": [{"thread_id": "1", "session_id": "s"}], "grace_seconds": True}, "grace_seconds"),
        ("sessions.kill", {"targets": [{"thread_id": "1", "session_id": "s"}], "forget": 1}, "'forget'"),
        ("sessions.cancel", {"thread": THREAD, "session_id": 7}, "'session_id': expected string | null, got integer"),
        ("sessions.tail", {"thread": THREAD, "lines": -1}, "'lines': expected integer >= 0"),
        ("sessions.tail", {"thread": THREAD, "lines": 1001}, "'lines': expected integer <= 1000"),
        ("daemon.drain", {}, "the parameter 'on' is missing"),
        ("daemon.drain", {"on": True, "deadline_seconds": -0.5}, "'deadline_seconds'"),
        ("daemon.drain", {"on": False, "deadline_seconds": 1}, "'deadline_seconds'"),
        ("chat.open", {"thread": "../etc"}, "cannot use '../etc' as a thread"),
        ("chat.open", {"thread": ""}, "cannot use '' as a thread"),
        ("chat.open", {"thread": "x" * 65}, "as a thread"),
        ("chat.open", {"thread": "demo\n"}, "as a thread"),
        ("chat.send", {"thread": "demo", "text": " \n\t"}, "'text' is empty"),
        ("chat.send", {"thread": "demo", "text": "a\0b"}, "NUL"),
        ("chat.send", {"thread": "demo"}, "the parameter 'text' is missing"),
    ],
)
async def test_refused_parameters_are_named_and_change_nothing(harness, client, audit_log, *, method, params, words):
    error = await client.refused(method, **params)
    assert (error["code"], error["data"]) == (-32602, {"kind": "invalid"})
    assert words in error["message"]
    assert error["message"].startswith("cannot ")
    assert "\n" not in error["message"]
    assert (harness.pool.kills, harness.pool.cancels, harness.hub.opened, harness.hub.sent, harness.drain.asked) == (
        [],
    ) * 5
    assert audit_log.lines == [], "neither a change nor a denial"


async def test_a_long_unknown_name_is_shortened(client):
    error = await client.refused("health.get", **{"y" * 5000: 1})
    assert len(error["message"]) < 200
    error = await client.refused("z" * 5000)
    assert (error["code"], error["data"]["kind"]) == (-32601, "invalid")
    assert len(error["message"]) < 200


async def test_health_get_returns_the_report(client):
    result = await client.call("health.get")
    assert (result["status"], result["live"], result["ready"], result["state"]) == ("ok", True, True, "running")


async def test_list_filters_by_state(harness, client):
    for row in (make_row("2", state="idle"), make_row("3", state="stuck"), make_row("4", state="suspended")):
        harness.pool.by_thread[row.thread_id] = row

    async def listed(**params):
        return [row["thread_id"] for row in (await client.call("sessions.list", **params))["sessions"]]

    assert await listed() == [THREAD, "2", "3"]
    assert await listed(suspended=True) == [THREAD, "2", "3", "4"]
    assert await listed(state="stuck") == ["3"]
    assert await listed(state="suspended") == ["4"]
    assert await listed(state="gone") == []


async def test_list_filters_by_agent_and_owner_and_counts_the_suspended_threads(harness, client):
    for row in (
        make_row("2", agent="codex", owner="ben"),
        make_row("3", agent="codex", state="suspended", session_id=None),
        make_row("4", state="suspended", session_id=None),
    ):
        harness.pool.by_thread[row.thread_id] = row

    async def listed(**params):
        answer = await client.call("sessions.list", **params)
        return [row["thread_id"] for row in answer["sessions"]], answer["suspended"]

    assert await listed() == ([THREAD, "2"], 2)
    assert await listed(suspended=True) == ([THREAD, "2", "3", "4"], 2)
    assert await listed(agent="codex") == (["2"], 1)
    assert await listed(agent="codex", suspended=True) == (["2", "3"], 1)
    assert await listed(owner="rosa", state="suspended") == (["3", "4"], 2)
    assert await listed(owner="ben") == (["2"], 0)
    assert await listed(agent="claude") == ([], 0)


async def test_a_row_has_every_key_in_order(client):
    (row,) = (await client.call("sessions.list"))["sessions"]
    assert row == msgspec.to_builtins(make_row(THREAD))
    assert list(row) == list(type(make_row(THREAD)).__struct_fields__)


async def test_a_path_that_is_not_utf8_is_escaped(harness, client):
    harness.pool.by_thread["2"] = make_row("2", cwd="/srv/caf\udce9")
    rows = (await client.call("sessions.list"))["sessions"]
    assert [row["cwd"] for row in rows] == [f"/srv/work/{THREAD}", "/srv/caf\\udce9"]


async def test_get_takes_a_unique_suffix(harness, client):
    harness.pool.by_thread[OTHER] = make_row(OTHER)
    session = (await client.call("sessions.get", thread="0123"))["session"]
    assert session["thread_id"] == THREAD
    assert session["process_tree"][0]["pid"] == 4242
    assert (session["stderr"], session["tool_calls"][0]["title"]) == (["warming up"], "pytest -q")
    harness.pool.by_thread["7" + OTHER] = make_row("7" + OTHER)
    assert (await client.refused("sessions.get", thread="0999"))["data"]["kind"] == "ambiguous"
    assert (await client.refused("sessions.get", thread="999"))["data"]["kind"] == "not_found"
    assert (await client.refused("sessions.get", thread="\0"))["data"]["kind"] == "not_found"


async def test_kill_answers_each_pair(harness, client, audit_log):
    harness.pool.by_thread[OTHER] = make_row(OTHER)
    targets = [
        {"thread_id": THREAD, "session_id": "s-0123"},
        {"thread_id": OTHER, "session_id": "an-older-one"},
        {"thread_id": "5", "session_id": "s-5"},
    ]
    results = (await client.call("sessions.kill", targets=targets, grace_seconds=2, forget=True))["results"]
    assert [result["outcome"] for result in results] == ["ended", "conflict", "already_gone"]
    assert results[0] == {
        "thread_id": THREAD,
        "session_id": "s-0123",
        "outcome": "ended",
        "reached": "sigterm",
        "processes_ended": 3,
        "processes_left": 0,
        "proof": "system",
        "seconds": 0.087,
        "resumable": False,
    }
    ((asked, grace, forget),) = harness.pool.kills
    assert ([target.thread_id for target in asked], grace, forget) == ([THREAD, OTHER, "5"], 2.0, True)
    assert audit_log.outcomes() == [
        ("sessions.kill", f"{THREAD}/s-0123", "ended"),
        ("sessions.kill", f"{OTHER}/an-older-one", "conflict"),
        ("sessions.kill", "5/s-5", "already_gone"),
    ]
    assert {(line["uid"], line["pid"]) for line in audit_log.lines} == {(getuid(), getpid())}


@pytest.mark.parametrize(("count", "fits"), [(1000, True), (1001, False)])
async def test_a_kill_has_at_most_a_thousand_targets(harness, client, count, fits):
    targets = [{"thread_id": str(number), "session_id": "s"} for number in range(count)]
    answer = await client.answer(client.send("sessions.kill", {"targets": targets}))
    assert ("result" in answer) is fits
    assert len(harness.pool.kills) == fits


async def test_a_slow_kill_delays_no_other_request(harness, client):
    harness.pool.free.clear()
    kill = client.send("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}]})
    await asyncio.wait_for(harness.pool.killing.wait(), 10)
    assert (await client.call("health.get"))["live"]
    other = await harness.client()
    assert (await other.call("sessions.list"))["sessions"]
    harness.pool.free.set()
    assert (await client.answer(kill))["result"]["results"][0]["outcome"] == "ended"


async def test_a_kill_goes_on_after_its_client_has_gone(harness, client, audit_log):
    harness.pool.free.clear()
    client.send("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}]})
    await asyncio.wait_for(harness.pool.killing.wait(), 10)
    await client.close()
    harness.pool.free.set()
    other = await harness.client()
    while not audit_log.lines:
        await other.call("health.get")
    assert audit_log.outcomes() == [("sessions.kill", f"{THREAD}/s-0123", "ended")]


async def test_cancel_stops_the_turn(harness, client, audit_log):
    assert await client.call("sessions.cancel", thread="0123") == {"outcome": "cancelled"}
    assert (await client.refused("sessions.cancel", thread=THREAD, session_id="old"))["code"] == -32003
    harness.pool.by_thread[THREAD] = make_row(THREAD, state="idle")
    assert await client.call("sessions.cancel", thread=THREAD, session_id="s-0123") == {"outcome": "idle"}
    assert audit_log.outcomes() == [
        ("sessions.cancel", THREAD, "cancelled"),
        ("sessions.cancel", THREAD, "conflict"),
        ("sessions.cancel", THREAD, "idle"),
    ]


async def test_drain_begins_and_ends(harness, client, audit_log):
    assert await client.call("daemon.drain", on=True, deadline_seconds=30) == {"state": "draining"}
    assert await client.call("daemon.drain", on=False) == {"state": "running"}
    assert harness.drain.asked == [(True, 30.0), (False, None)]
    assert audit_log.outcomes() == [("daemon.drain", "daemon", "draining"), ("daemon.drain", "daemon", "running")]


async def test_a_chat_is_opened_used_and_left(harness, client, audit_log):
    me = pwd.getpwuid(getuid()).pw_name
    opened = await client.call("chat.open", thread="demo", agent="default")
    assert opened["session"]["state"] == "starting"
    assert harness.hub.opened == [("demo", "default", me)]
    assert await client.call("chat.send", thread="demo", text="hello") == {"queued": 0}
    assert await client.call("chat.send", thread="demo", text="again") == {"queued": 1}
    assert harness.hub.sent == [("demo", "hello", me), ("demo", "again", me)]
    harness.hub.emit("demo", type="turn_start", prompt="hello")
    assert await client.notified() == {"thread": "demo", "type": "turn_start", "prompt": "hello"}
    assert await client.call("chat.permit", thread="demo", request="p1", option="allow") == {}
    assert harness.hub.permitted == [("demo", "p1", "allow")]
    assert (await client.refused("chat.permit", thread="demo", request="p9", option="allow"))["code"] == -32001
    assert await client.call("chat.leave", thread="demo") == {}
    assert harness.hub.listeners["demo"] == []
    assert await client.call("chat.leave", thread="demo") == {}
    assert ("chat.send", "demo", "queued") in audit_log.outcomes()


async def test_a_thread_must_be_open_on_the_same_connection(harness, client):
    other = await harness.client()
    await client.call("chat.open", thread="demo")
    error = await other.refused("chat.send", thread="demo", text="hello")
    assert error["data"]["kind"] == "not_found"
    assert "chat.open" in error["message"]
    assert harness.hub.sent == []


async def test_a_thread_that_is_opened_twice_sends_each_event_once(harness, client):
    await client.call("chat.open", thread="demo")
    await client.call("chat.open", thread="demo")
    harness.hub.emit("demo", type="text", text="once")
    assert (await client.notified())["text"] == "once"
    assert len(harness.hub.listeners["demo"]) == 1


async def test_a_thread_that_cannot_be_opened_again_stays_open(harness, client):
    await client.call("chat.open", thread="demo")
    harness.hub.refuse = Draining("cannot start a turn: acpbot is about to stop")
    assert (await client.refused("chat.open", thread="demo"))["code"] == -32005
    harness.hub.emit("demo", type="text", text="still here")
    assert (await client.notified())["text"] == "still here"


async def test_a_thread_that_cannot_be_opened_has_no_listener(harness, client):
    harness.hub.refuse = Conflict("cannot change the agent")
    assert (await client.refused("chat.open", thread="demo"))["code"] == -32003
    harness.hub.refuse = None
    assert (await client.refused("chat.send", thread="demo", text="x"))["code"] == -32001


async def test_chat_requests_take_effect_in_order(harness, client):
    harness.hub.may_open.clear()
    opening = client.send("chat.open", {"thread": "demo"})
    sends = [client.send("chat.send", {"thread": "demo", "text": str(number)}) for number in range(5)]
    await asyncio.wait_for(harness.hub.opening.wait(), 10)
    assert (await client.call("health.get"))["live"], "it is not held up by a thread that opens"
    harness.hub.may_open.set()
    assert "result" in await client.answer(opening)
    assert "result" in await client.answer(sends[-1])
    assert [text for _, text, _ in harness.hub.sent] == ["0", "1", "2", "3", "4"]


async def test_a_thread_is_left_when_the_connection_goes(harness, client):
    await client.call("chat.open", thread="demo")
    await client.close()
    await harness.server.close()
    assert harness.hub.listeners["demo"] == []


async def test_a_thread_is_left_when_the_connection_goes_while_it_opens(harness, client):
    harness.hub.may_open.clear()
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(harness.path))
        wire.sendall(b'{"jsonrpc":"2.0","id":1,"method":"chat.open","params":{"thread":"demo"}}\n')
        await asyncio.wait_for(harness.hub.opening.wait(), 10)
        # It goes without having read hello: the server sees a reset connection (unix(7)).
    while len(harness.server._connections) > 1:
        await client.call("health.get")
    harness.hub.may_open.set()
    await harness.server.close()
    assert harness.hub.opened, "it was opened after all"
    assert harness.hub.listeners["demo"] == []


async def test_a_crash_gets_a_one_line_answer_and_is_logged(harness, client, caplog):
    harness.pool.broken = RuntimeError("a secret of the inside")
    error = await client.refused("sessions.list")
    assert error == {
        "code": -32603,
        "message": "cannot answer sessions.list: an internal error; see acpbot's log",
        "data": {"kind": "internal"},
    }
    (record,) = [record for record in caplog.records if record.message == "method_crashed"]
    assert "a secret of the inside" in caplog.text
    assert record.exc_info is not None
    harness.pool.broken = None
    assert await client.call("sessions.list")


async def test_an_expected_failure_keeps_its_message(harness, client, caplog):
    harness.pool.broken = AgentGone("cannot reach the agent: it has ended")
    error = await client.refused("sessions.list")
    assert (error["code"], error["message"]) == (-32603, "cannot reach the agent: it has ended")
    assert "Traceback" not in caplog.text


async def test_a_result_that_cannot_be_encoded_is_a_crash(harness, client):
    harness.pool.max_sessions = object()
    assert (await client.refused("sessions.list"))["data"]["kind"] == "internal"


async def test_a_question_is_answered_in_any_thread_and_audited(harness, client):
    answer = {"thread": THREAD[-4:], "request": "q1", "action": "accept", "content": {"color": "r"}}
    assert await client.call("sessions.answer", **answer) == {}
    assert harness.pool.answers == [("accept", {"color": "r"})]
    assert (await client.refused("sessions.answer", thread=THREAD, request="q2", action="decline"))["code"] == -32001
    assert (await client.refused("sessions.answer", thread=THREAD, request="q1", action="ignore"))["code"] == -32602


async def test_a_question_of_a_thread_without_a_session_is_not_found(harness, client):
    harness.pool.change(make_row(THREAD, session_id=None, state="suspended"))
    assert (await client.refused("sessions.answer", thread=THREAD, request="q1", action="decline"))["code"] == -32001
