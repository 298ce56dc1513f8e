"""events.list: what it lists, what it refuses, and how its notifications follow."""

from __future__ import annotations

import pytest


@pytest.fixture
async def client(harness):
    return await harness.client()


async def test_the_last_events_are_listed_oldest_first(harness, client):
    for number in range(3):
        harness.events.record("config_reloaded", detail=f"change {number}")
    events = (await client.call("events.list", limit=2))["events"]
    assert [(event["id"], event["kind"], event["detail"]) for event in events] == [
        (2, "config_reloaded", "change 1"),
        (3, "config_reloaded", "change 2"),
    ]
    assert (await client.call("events.list", since="2026-11-18T00:00:00+01:00"))["events"][-1]["id"] == 3
    assert (await client.call("events.list", since="2036-11-24T08:00:00Z")) == {"events": []}


@pytest.mark.parametrize(
    "params", [{"since": "yesterday"}, {"since": "2026-11-24T08:00:00"}, {"limit": 0}, {"limit": 1001}, {"follow": 1}]
)
async def test_wrong_parameters_are_refused(client, params):
    assert (await client.refused("events.list", **params))["code"] == -32602


async def test_new_events_follow_where_that_is_wanted_and_none_is_missed(harness, client):
    await client.call("events.list")
    harness.events.record("drain_started")
    assert [one["kind"] for one in (await client.call("events.list", follow=True))["events"]] == ["drain_started"]
    harness.events.record("drain_ended")
    assert (await client.notified())["kind"] == "drain_ended"
    client.reader._transport.pause_reading()
    (connection,) = harness.server._connections
    count = 0
    while not connection._streams["events"]._behind:
        harness.events.record("config_refused", detail="x" * 500)
        count += 1
    for _ in range(5):
        harness.events.record("config_refused", detail="y")
    client.reader._transport.resume_reading()
    ids = [(await client.notified())["id"] for _ in range(count + 5)]
    assert ids == list(range(3, 3 + count + 5))
    await client.close()
    await harness.stop()
    assert harness.events._followers == []
