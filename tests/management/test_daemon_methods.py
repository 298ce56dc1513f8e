"""daemon.reload, config.get and audit.list: what they answer, and what is audited of them."""

from __future__ import annotations

import asyncio

import pytest

from acpbot.errors import InvalidParams
from acpbot.management.audit import Audit
from acpbot.storage.store import DENIED, Store
from tests.support.management_server import CONFIG, THREAD


@pytest.fixture
async def client(harness):
    return await harness.client()


async def test_a_reload_says_what_holds_now_and_what_waits_for_a_restart(client, audit_log):
    answer = await client.call("daemon.reload")
    assert answer == {"reloaded": ["[pool] max_sessions"], "needs_restart": ["[log] format"]}
    assert audit_log.outcomes() == [("daemon.reload", "daemon", "reloaded [pool] max_sessions")]


async def test_a_refused_configuration_is_the_error_of_the_reload_and_is_audited(harness, client, audit_log):
    harness.reload.answer = InvalidParams("cannot use /etc/acpbot/config.toml: [pool] max_sessions is 0")
    error = await client.refused("daemon.reload")
    assert (error["code"], error["data"]) == (-32602, {"kind": "invalid"})
    assert error["message"] == "cannot use /etc/acpbot/config.toml: [pool] max_sessions is 0"
    assert audit_log.outcomes() == [("daemon.reload", "daemon", "configuration refused")]


async def test_the_configuration_is_given_whole(client):
    assert await client.call("config.get") == {"path": "/etc/acpbot/config.toml", "config": CONFIG}


async def test_the_audit_is_listed_newest_first_by_pages_and_by_thread(make_harness, tmp_path):
    store = Store.open(tmp_path / "acpbot.sqlite3")
    audit = Audit(store)
    harness = await make_harness(audit=audit)
    client = await harness.client()
    for number in range(3):
        audit.record(None, "permission", f"t{number}", "allowed by policy")
    await client.call("sessions.cancel", thread=THREAD)
    audit.record(None, "sessions.kill", f"{THREAD}/s-1", "ended")
    audit.record(None, "sessions.kill", f"{THREAD}9/s-1", "ended")
    audit.record(None, "connect", "", DENIED)
    page = await client.call("audit.list", limit=2)
    assert [entry["outcome"] for entry in page["entries"]] == ["denied", "ended"]
    assert page["more"] is True
    rest = await client.call("audit.list", before=page["entries"][-1]["id"])
    assert [entry["target"] for entry in rest["entries"]] == [f"{THREAD}/s-1", THREAD, "t2", "t1", "t0"]
    assert rest["more"] is False
    ids = [entry["id"] for entry in page["entries"] + rest["entries"]]
    assert ids == sorted(ids, reverse=True)
    of_thread = (await client.call("audit.list", thread="0123"))["entries"]
    assert [(entry["method"], entry["target"]) for entry in of_thread] == [
        ("sessions.kill", f"{THREAD}/s-1"),
        ("sessions.cancel", THREAD),
    ]
    assert of_thread[1]["uid"] is not None
    assert (await client.call("audit.list", thread="t1"))["entries"][0]["target"] == "t1"
    for wrong in ({"limit": 0}, {"limit": 1001}, {"before": -1}, {"thread": 1}):
        assert (await client.refused("audit.list", **wrong))["code"] == -32602
    await asyncio.to_thread(store.close)
    (tmp_path / "acpbot.sqlite3").unlink()
    error = await client.refused("audit.list")
    assert error["message"].startswith("cannot read the audit: ")


async def test_without_a_database_the_audit_is_empty(client):
    assert await client.call("audit.list") == {"entries": [], "more": False}
