"""sessions.watch, sessions.tail, chat.event: in order, within limits, and without a wait in the daemon."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from acpbot.management.access import AccessRule
from acpbot.management.protocol import Access, Limits
from acpbot.management.stream import Stream
from tests.fakes.pool import make_row
from tests.support.management_server import THREAD

SMALL = Limits(unsent=64 * 1024)


class Outlet:
    """A connection of which a test says whether it has room."""

    def __init__(self) -> None:
        self.has_room = True
        self.lines: list[dict] = []

    def post(self, line: bytes) -> None:
        self.lines.append(msgspec.json.decode(line)["params"])


class Counter:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def make_stream(outlet: Outlet, **others) -> Stream:
    return Stream(outlet, "m", lambda: [{"snapshot": True}], others.pop("leave", Counter()), **others)


def test_nothing_is_sent_before_the_answer():
    outlet = Outlet()
    stream = make_stream(outlet)
    stream.send({"n": 1})
    assert outlet.lines == []
    stream.release()
    assert outlet.lines == [{"snapshot": True}]
    stream.send({"n": 2})
    assert outlet.lines[1:] == [{"n": 2}]


def test_missed_events_are_replaced_by_a_snapshot():
    outlet = Outlet()
    missed: list[dict] = []
    stream = make_stream(outlet, missed=missed.append)
    stream.release()
    stream.send({"n": 1})
    outlet.has_room = False
    stream.send({"n": 2})
    outlet.has_room = True
    stream.send({"n": 3})
    assert outlet.lines == [{"n": 1}], "an event must not overtake those before it"
    stream.catch_up()
    stream.send({"n": 4})
    assert outlet.lines == [{"n": 1}, {"snapshot": True}, {"n": 4}]
    assert missed == [{"n": 2}, {"n": 3}]


def test_a_closed_stream_sends_nothing_and_unsubscribes_once():
    outlet, left = Outlet(), Counter()
    stream = make_stream(outlet, leave=left)
    stream.release()
    stream.close()
    stream.close()
    stream.send({"n": 1})
    stream.catch_up()
    assert (outlet.lines, left.times) == ([], 1)


async def test_watch_sends_rows_then_numbered_changes(harness):
    client = await harness.client()
    result = await client.call("sessions.watch")
    assert result == {"sessions": [msgspec.to_builtins(make_row(THREAD))], "max_sessions": 10, "seq": 0}
    harness.pool.change(make_row(THREAD, state="idle"))
    harness.pool.change(make_row("2"))
    harness.pool.change(make_row("2", state="gone", alive=False), "gone")
    events = [await client.notified() for _ in range(3)]
    assert [(event["seq"], event["event"]) for event in events] == [(1, "changed"), (2, "changed"), (3, "gone")]
    assert [(event["session"]["thread_id"], event["session"]["state"]) for event in events] == [
        (THREAD, "idle"),
        ("2", "busy"),
        ("2", "gone"),
    ]


async def test_a_second_watch_on_one_connection_replaces_the_first(harness):
    client = await harness.client()
    await client.call("sessions.watch")
    harness.pool.change(make_row("2"))
    assert (await client.call("sessions.watch"))["seq"] == 0
    assert (await client.notified())["seq"] == 1
    harness.pool.change(make_row("3"))
    event = await client.notified()
    assert (event["seq"], event["session"]["thread_id"]) == (1, "3")
    assert len(harness.pool.subscribers) == 1


async def test_a_slow_watcher_gets_a_snapshot_and_delays_nobody(make_harness):
    harness = await make_harness(SMALL)
    slow, quick = await harness.client(), await harness.client()
    await slow.call("sessions.watch")
    await quick.call("sessions.watch")
    slow.reader._transport.pause_reading()
    for number in range(1500):
        harness.pool.change(make_row(THREAD, turns=number))
        if number % 20 == 0:
            await asyncio.sleep(0)  # let the loop send
    harness.pool.change(make_row(THREAD, turns=1500, state="idle"))

    async def until_last(client) -> list[dict]:
        events = [await client.notified()]
        while (events[-1].get("session") or events[-1]["sessions"][0])["turns"] != 1500:
            events.append(await client.notified())
        return events

    await until_last(quick)
    slow.reader._transport.resume_reading()
    events = await until_last(slow)
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert len(events) < 1200, "most were missed"
    gap = next(index for index in range(1, len(numbers)) if numbers[index] != numbers[index - 1] + 1)
    assert events[gap]["event"] == "snapshot"
    assert set(events[gap]) == {"seq", "event", "sessions", "max_sessions"}
    assert (await slow.call("health.get"))["live"], "it is served as before"


async def test_tail_sends_recent_output_then_new_output(harness):
    for number in range(5):
        harness.pool.say(THREAD, f"line {number}")
    client = await harness.client()
    lines = (await client.call("sessions.tail", thread="0123", lines=2))["lines"]
    assert [line["text"] for line in lines] == ["line 3", "line 4"]
    output = harness.pool.say(THREAD, "boom", "stderr")
    assert await client.notified() == output
    assert len((await client.call("sessions.tail", thread=THREAD))["lines"]) == 6
    assert (await client.call("sessions.tail", thread=THREAD, lines=0))["lines"] == []


async def test_tail_follows_the_threads_next_session(harness):
    client = await harness.client()
    await client.call("sessions.tail", thread=THREAD)
    ended = make_row(THREAD, state="gone", alive=False)
    harness.pool.change(ended, "gone")
    harness.pool.change(make_row(THREAD, session_id="s-next", state="starting"))
    harness.pool.say(THREAD, "here I am again")
    output = await client.notified()
    assert (output["session_id"], output["text"]) == ("s-next", "here I am again")
    harness.pool.change(make_row(THREAD, session_id="s-next", state="idle"))
    harness.pool.say(THREAD, "once only")
    assert (await client.notified())["text"] == "once only"
    harness.pool.change(make_row("2"))
    harness.pool.say("2", "of another thread")
    harness.pool.say(THREAD, "the last")
    assert (await client.notified())["text"] == "the last"


class Readers(AccessRule):
    """Everybody may read, and nobody more."""

    def at_once(self, _peer) -> Access:
        return "read"


async def test_tail_of_a_suspended_thread_has_what_is_kept_and_then_its_next_session(harness):
    harness.pool.by_thread["2222"] = make_row("2222", state="suspended", session_id=None)
    kept = {"thread": "2222", "session_id": "s-old", "kind": "stderr", "text": "boom", "at": "2026-11-24T08:00:01.000Z"}
    harness.pool.ended["2222"] = [{**kept, "text": "before"}, kept]
    client = await harness.client()
    assert (await client.call("sessions.tail", thread="2222", lines=1))["lines"] == [kept]
    harness.pool.change(make_row("2222", session_id="s-next", state="starting"))
    harness.pool.say("2222", "here I am again")
    assert (await client.notified())["text"] == "here I am again"


@pytest.mark.parametrize(
    ("rule", "kinds"),
    [(AccessRule(), ["prompt", "permission", "text"]), (Readers(), ["text"])],
    ids=["admin", "reader"],
)
async def test_tail_shows_prompts_and_permissions_to_admins_only(make_harness, rule, kinds):
    harness = await make_harness(rule=rule)
    harness.pool.by_thread["2222"] = make_row("2222", state="suspended", session_id=None)
    for kind in ("prompt", "permission", "text"):
        line = {"thread": "2222", "session_id": "s-old", "kind": kind, "text": kind, "at": "2026-11-24T08:00:01.000Z"}
        harness.pool.ended.setdefault("2222", []).append(line)
        harness.pool.say(THREAD, f"{kind} before", kind)
    client = await harness.client()
    for thread in (THREAD, "2222"):
        assert [line["kind"] for line in (await client.call("sessions.tail", thread=thread))["lines"]] == kinds
    for kind in ("prompt", "permission", "text"):
        harness.pool.say(THREAD, f"{kind} after", kind)
    assert [(await client.notified())["text"] for _ in kinds] == [f"{kind} after" for kind in kinds]


async def test_a_slow_tail_gets_the_last_lines_and_how_many_were_left_out(make_harness):
    harness = await make_harness(SMALL)
    client = await harness.client()
    await client.call("sessions.tail", thread=THREAD)
    client.reader._transport.pause_reading()
    for number in range(4000):
        harness.pool.say(THREAD, f"line {number}")
        if number % 20 == 0:
            await asyncio.sleep(0)  # let the loop send
    client.reader._transport.resume_reading()
    said: list[str] = []
    while not said or said[-1] != "line 3999":
        said.append((await client.notified())["text"])
    (notice,) = [index for index, text in enumerate(said) if "left out" in text]
    left_out = int(said[notice].split()[0])
    assert said[:notice] == [f"line {number}" for number in range(notice)]
    assert said[notice + 1 :] == [f"line {number}" for number in range(3800, 4000)]
    assert notice + left_out + 200 == 4000, "every line is shown or counted"


async def test_a_slow_chat_gets_a_snapshot(make_harness):
    harness = await make_harness(SMALL)
    client = await harness.client()
    await client.call("chat.open", thread="demo")
    client.reader._transport.pause_reading()
    for _ in range(2000):
        harness.hub.emit("demo", type="text", text="x" * 400)
    await asyncio.sleep(0)
    client.reader._transport.resume_reading()
    while (event := await client.notified())["text"] != "a snapshot":
        assert event["text"] == "x" * 400
    harness.hub.emit("demo", type="turn_end", stop_reason="end_turn", text="whole", error=None)
    assert (await client.notified())["text"] == "whole"


async def test_a_slow_chat_misses_no_notice(make_harness):
    harness = await make_harness(SMALL)
    client = await harness.client()
    await client.call("chat.open", thread="demo")
    client.reader._transport.pause_reading()
    for _ in range(2000):
        harness.hub.emit("demo", type="text", text="x" * 400)
    for number in range(25):
        harness.hub.emit("demo", type="notice", text=f"notice {number}")
    await asyncio.sleep(0)
    client.reader._transport.resume_reading()
    while (event := await client.notified())["type"] != "notice":
        assert event["text"] == "x" * 400
    texts = [event["text"], *[(await client.notified())["text"] for _ in range(20)]]
    assert texts == [*[f"notice {number}" for number in range(5, 25)], "a snapshot"], "the last 20 of them"
    harness.hub.emit("demo", type="notice", text="another")
    assert (await client.notified())["text"] == "another"


async def test_events_during_the_opening_come_after_the_answer(harness):
    harness.hub.may_open.clear()
    client = await harness.client()
    opening = client.send("chat.open", {"thread": "demo"})
    await asyncio.wait_for(harness.hub.opening.wait(), 10)
    stream = next(iter(harness.server._connections))._streams["chat demo"]
    stream.send({"thread": "demo", "type": "text", "text": "early"})
    harness.hub.may_open.set()
    assert (await client.read())["id"] == opening
    assert (await client.notified())["text"] == "a snapshot"


async def test_a_closed_connection_holds_no_subscription(harness):
    client, other = await harness.client(), await harness.client()
    await client.call("sessions.watch")
    await client.call("sessions.tail", thread=THREAD)
    await client.call("chat.open", thread="demo")
    assert harness.pool.following() == 3
    await client.close()
    while harness.pool.following():
        await other.call("health.get")
    assert harness.hub.listeners["demo"] == []


async def test_streams_of_a_connection_are_bounded(make_harness):
    harness = await make_harness(Limits(streams=2))
    client = await harness.client()
    await client.call("chat.open", thread="a")
    await client.call("chat.open", thread="b")
    assert (await client.refused("chat.open", thread="c"))["data"]["kind"] == "too_many"
    assert (await client.refused("sessions.watch"))["data"]["kind"] == "too_many"
    assert (await client.refused("sessions.tail", thread=THREAD))["data"]["kind"] == "too_many"
    assert harness.pool.following() == 0
    await client.call("chat.leave", thread="a")
    await client.call("chat.open", thread="c")


async def test_a_subscription_that_fails_to_end_does_not_keep_the_others(harness, caplog):
    client, other = await harness.client(), await harness.client()

    def broken(*_) -> None:
        raise RuntimeError("no")

    harness.hub.leave = broken
    await client.call("chat.open", thread="demo")
    await client.call("sessions.watch")
    await client.close()
    while harness.pool.following():
        await other.call("health.get")
    assert "stream_not_closed" in caplog.text


async def test_many_watchers_get_the_same_events(harness):
    clients = [await harness.client() for _ in range(32)]
    for client in clients:
        await client.call("sessions.watch")
    for number in range(20):
        harness.pool.change(make_row(THREAD, turns=number))
    for client in clients:
        events = [message["params"] for message in await client.read_many(20)]
        assert [(event["seq"], event["session"]["turns"]) for event in events] == [(n + 1, n) for n in range(20)]


async def test_a_tail_since_a_time_leaves_older_lines_out(make_harness):
    harness = await make_harness()
    client = await harness.client()
    harness.pool.say(THREAD, "at eight and one second")
    late = await client.call("sessions.tail", thread=THREAD, since="2026-11-24T09:00:02+01:00")
    early = await client.call("sessions.tail", thread=THREAD, since="2026-11-24T08:00:01Z")
    assert (late["lines"], [line["text"] for line in early["lines"]]) == ([], ["at eight and one second"])
    assert (await client.refused("sessions.tail", thread=THREAD, since="soon"))["code"] == -32602
