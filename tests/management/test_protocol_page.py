"""docs/protocol.md is correct: a live server answers as it documents, keys and types, at every depth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from acpbot import errors, jsonrpc
from acpbot.daemon.descriptors import FEW_LEFT
from acpbot.management.connect_rate import OF_PROCESS, OF_USER
from acpbot.management.protocol import PROTOCOL, Limits
from acpbot.sessions.views import Row
from acpbot.storage.store import AUDIT_MOST
from tests.fakes.daemon import DaemonProcess
from tests.fakes.pool import make_row
from tests.support.management_server import THREAD

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BLOCKS = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
EXCHANGES = [
    (request, BLOCKS[index + 1]) for index, request in enumerate(BLOCKS) if "id" in request and "method" in request
]
NOTIFIED = [block for block in BLOCKS if "method" in block and "id" not in block]


def differences(live, documented, path: str = "") -> list[str]:
    """Where the shapes differ; null and an empty list match everything."""
    if live is None or documented is None:
        return []
    kinds = [float if type(value) is int else type(value) for value in (live, documented)]
    if kinds[0] is not kinds[1]:
        return [f"{path}: {live!r} where the page has {documented!r}"]
    if isinstance(live, dict):
        found = [f"{path}.{key} is on one side only" for key in live.keys() ^ documented.keys()]
        for key in live.keys() & documented.keys():
            found += differences(live[key], documented[key], f"{path}.{key}")
        return found
    if isinstance(live, list) and documented:
        return [line for item in live for line in differences(item, documented[0], f"{path}[]")]
    return []


def documented(method: str, **members) -> dict:
    """The params of the documented notification that has these members."""
    (found,) = [n["params"] for n in NOTIFIED if n["method"] == method and members.items() <= n["params"].items()]
    return found


async def ask(client, request: dict) -> dict:
    client.write(json.dumps(request).encode() + b"\n")
    return await client.answer(request["id"])


@pytest.mark.parametrize(("request_", "answer"), EXCHANGES, ids=[request["method"] for request, _ in EXCHANGES])
async def test_a_documented_request_gets_the_documented_answer(harness, request_, answer):
    assert answer["id"] == request_["id"]
    harness.pool.say(THREAD, "I will run the tests first.")
    if request_["method"] == "sessions.forget":
        harness.pool.change(make_row(request_["params"]["thread"], state="suspended", session_id=None))
    if request_["method"] == "sessions.get":
        harness.pool.change(make_row(THREAD, state="waiting", waiting_for="pytest -q"))
    client = await harness.client()
    if request_["method"] in {"chat.send", "chat.permit", "chat.command", "chat.conversations", "chat.leave"}:
        await client.call("chat.open", thread="demo")
    live = await ask(client, request_)
    assert differences(live, answer) == []
    assert list(live["result"]) == list(answer["result"]), "in the documented order"


async def test_every_method_is_documented_with_its_access(harness):
    methods = harness.server.dispatcher.methods
    shown = [request["method"] for request, _ in EXCHANGES]
    assert sorted(shown) == sorted(methods)
    for name, method in methods.items():
        section = PAGE.split(f"### `{name}`\n")[1].split("\n#")[0]
        assert f"Access: {method.access}." in section
        for parameter in method.params.__struct_fields__:
            assert f"`{parameter}`" in section, f"{name} takes {parameter}"


def test_every_error_is_documented():
    rows = {(int(code), kind) for code, kind in re.findall(r"^\| (-\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)}
    classes: list[type[errors.WireError]] = [errors.WireError, *errors.WireError.__subclasses__()]
    ours = {(error.code, error.kind) for error in classes}
    codec = {(code, "invalid") for code in (jsonrpc.PARSE_ERROR, jsonrpc.INVALID_REQUEST, jsonrpc.METHOD_NOT_FOUND)}
    assert rows == {pair for pair in ours if pair[0] != jsonrpc.METHOD_NOT_FOUND} | codec | {
        (jsonrpc.LINE_TOO_LONG, "line_too_long")
    }


def test_every_key_of_a_row_is_documented_in_order():
    table = PAGE[PAGE.index("| `thread_id` | string |") :].partition("\n\n")[0]
    keys = [key for cell in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for key in re.findall(r"\w+", cell)]
    assert tuple(keys) == Row.__struct_fields__


def test_every_limit_is_documented():
    limits = Limits()
    for words in (
        f"| {limits.max_line:,} bytes | `line_too_long`",
        f"| brackets in each other | {limits.max_depth} |",
        f"| connections | {limits.connections} |",
        f"| connections of all clients that may only read | {limits.connections - limits.admin_connections} |",
        f": {limits.admin_connections} are kept for admins",
        f"| connections of one user who may only read | {limits.uid_connections} |",
        f"| connects of one process | {OF_PROCESS.per_second} a second after a burst of {OF_PROCESS.burst} |",
        f"connects of one user who may only read | {OF_USER.per_second} a second after a burst of {OF_USER.burst} |",
        f"within {limits.lookup_seconds:g} s, its access is `read`",
        f"fewer than {FEW_LEFT} more files",
        f"the last {AUDIT_MOST['denied']:,} denials",
        f"| from a line's first byte to its newline | {limits.line_seconds:g} s |",
        f"| requests of one connection under way | {limits.running} |",
        f"| streams of one connection | {limits.streams} |",
        f"| streams of one connection that may only read | {limits.reader_streams} |",
        f"| what a client leaves unread | {limits.unsent:,} bytes |",
        f"so for {limits.stall_seconds:g} s",
        f"Protocol number: **{PROTOCOL}**",
    ):
        assert words in PAGE


async def test_hello_and_errors_are_as_documented(harness):
    client = await harness.client()
    (hello,) = [notification for notification in NOTIFIED if notification["method"] == "hello"]
    assert differences(client.hello, hello) == []
    assert list(client.hello["params"]) == list(hello["params"])
    (error,) = [block for block in BLOCKS if "error" in block]
    live = await ask(client, {"jsonrpc": "2.0", "id": error["id"], "method": "sessions.get", "params": {"thread": "x"}})
    assert differences(live, error) == []


async def test_notifications_of_sessions_are_as_documented(harness):
    client = await harness.client()
    await client.call("sessions.watch")
    harness.pool.change(make_row(THREAD, state="idle"))
    assert differences(await client.notified(), documented("sessions.event", event="changed")) == []
    await client.call("sessions.tail", thread=THREAD)
    harness.pool.say(THREAD, "warning", "stderr")
    assert differences(await client.notified(), documented("sessions.output")) == []
    client.reader._transport.pause_reading()
    while not next(iter(harness.server._connections))._streams["watch"]._behind:
        harness.pool.change(make_row(THREAD, title="x" * 100_000))
    client.reader._transport.resume_reading()
    while (event := await client.notified())["event"] != "snapshot":
        pass
    assert differences(event, documented("sessions.event", event="snapshot")) == []


def test_a_real_daemon_speaks_as_documented(tmp_path):
    """The whole harness: what the chat sends, and the rows of real processes."""
    answers = {request["method"]: answer["result"] for request, answer in EXCHANGES}
    with DaemonProcess(tmp_path / "d") as daemon, daemon.wire() as wire:
        assert differences(wire.call("chat.open", thread="demo"), answers["chat.open"]) == []
        wire.turn("demo", "say hello; plan; tool")
        chosen = wire.call("chat.command", thread="demo", name="model", value="shout")
        assert chosen == {"text": "The model is now shout."}
        assert wire.call("sessions.get", thread="demo")["session"]["model"] == "shout"
        assert wire.call("chat.conversations", thread="demo")["conversations"] == []
        for wrong in ({"name": "warp"}, {"name": "model", "value": "x"}, {"name": "reset", "value": "x"}):
            assert wire.refused("chat.command", thread="demo", **wrong)["data"]["kind"] == "invalid"
        assert wire.refused("chat.command", thread="other", name="status")["data"]["kind"] == "not_found"
        wire.call("chat.send", thread="demo", text="hang")
        wire.event("turn_start")
        live = {name: wire.call(name) for name in ("sessions.list", "health.get", "sessions.watch")}
        live["sessions.get"] = wire.call("sessions.get", thread="demo")
        live["sessions.tail"] = wire.call("sessions.tail", thread="demo")
        target = {"thread_id": "demo", "session_id": live["sessions.list"]["sessions"][0]["session_id"]}
        sent = wire.call("sessions.send", thread="demo", text="say queued")
        assert differences(sent, answers["sessions.send"]) == []
        live["daemon.reload"] = wire.call("daemon.reload")
        live["audit.list"] = wire.call("audit.list", thread="demo")
        live["events.list"] = wire.call("events.list", follow=True)
        shown = wire.call("config.get")
        assert shown["path"] == str(daemon.config)
        assert shown["config"]["pool"]["max_sessions"] == 10
        live["sessions.kill"] = wire.call("sessions.kill", targets=[target], grace_seconds=0.2)
        wire.notifications = [one for one in wire.notifications if one["method"] == "events.event"]
        live["daemon.drain"] = wire.call("daemon.drain", on=True, deadline_seconds=60)
        assert "daemon.drain" in wire.hello["params"]["capabilities"]
        for method, result in live.items():
            assert differences(result, answers[method]) == [], method
        assert live["sessions.get"]["session"]["process_tree"]
        kinds = [event["kind"] for event in live["events.list"]["events"]]
        assert kinds[:2] == ["daemon_started", "session_started"]
        events = [one["params"] for one in wire.notifications if one["method"] == "events.event"]
        assert [event["kind"] for event in events] == ["session_ended", "drain_started"]
        assert all(differences(event, documented("events.event")) == [] for event in events)


def test_the_chat_events_of_a_real_daemon_are_as_documented(tmp_path):
    with DaemonProcess(tmp_path / "d") as daemon, daemon.wire() as wire, daemon.wire() as admin:
        wire.call("chat.open", thread="demo")
        wire.call("chat.send", thread="demo", text="say hello; think; plan; tool")
        seen: dict[str, dict] = {}

        def take() -> dict:
            message = wire.notifications.pop(0) if wire.notifications else wire.read()
            if message.get("method") == "chat.event":
                seen[message["params"]["type"]] = message["params"]
                assert differences(message["params"], documented("chat.event", type=message["params"]["type"])) == []
            return message.get("params", {})

        while (event := take()).get("type") != "turn_end":
            if event.get("type") == "permission":
                option = event["options"][0]["option_id"]
                wire.call("chat.permit", thread="demo", request=event["request"], option=option)
        session = seen["session"]["session"]["session_id"]
        admin.call("sessions.kill", targets=[{"thread_id": "demo", "session_id": session}])
        while take().get("type") != "notice":
            pass
        assert seen.keys() >= {"turn_start", "text", "plan", "tool", "permission", "permission_end", "session"}
