"""Whatever a client sends: each request gets one answer, none is an internal error, and other clients are served."""

from __future__ import annotations

import asyncio
import json
from itertools import starmap
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from acpbot.management.dispatch import Dispatcher
from tests.support.management_server import LIMIT, THREAD, Harness
from tests.support.short_folder import short_folder

METHODS = Dispatcher(Harness(Path("/nowhere")).services, running=1).methods
NAMES = sorted({field.encode_name for method in METHODS.values() for field in msgspec.structs.fields(method.params)})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [THREAD, "s-0123", "2026-11-18T00:00:00Z", "0000-00-00T00:00:00Z", "allow", "deny", "\x00", "\ud800"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "thread_id", "session_id"]) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def fields_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters with the names of the method's own, the required ones among them."""
    fields = msgspec.structs.fields(METHODS[name].params)
    required = {field.encode_name: likely(field.encode_name) for field in fields if field.required}
    optional = {field.encode_name: likely(field.encode_name) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


def likely(name: str) -> st.SearchStrategy[Any]:
    """Mostly a value that passes the check of types."""
    known = {
        "thread": st.just(THREAD),
        "targets": st.lists(st.just({"thread_id": THREAD, "session_id": "s-0123"}), min_size=1, max_size=2),
        "limit": st.integers(-1, 1001),
    }
    return known.get(name, st.text(max_size=6)) | VALUES


CALLS = st.sampled_from(sorted(METHODS)).flatmap(lambda name: st.tuples(st.just(name), fields_of(name) | VALUES))
LINES = st.one_of(
    CALLS.map(lambda call: encoded(*call)),
    st.tuples(CALLS, st.integers(0, 200), st.binary(max_size=3)).map(
        lambda drawn: encoded(*drawn[0])[: drawn[1]] + drawn[2] + encoded(*drawn[0])[drawn[1] :]
    ),
    st.binary(max_size=60),
)


def encoded(method: str, params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


@example([encoded("sessions.kill", {"targets": [{"thread_id": THREAD, "session_id": "s-0123"}] * 2})])
@example([encoded("sessions.watch", {}), encoded("sessions.watch", {})])
@example([b'{"jsonrpc":"2.0","id":1,"method":"events.list","params":{"since":"0000-00-00T00:00:00Z"}}'])
@example([b'{"jsonrpc":"2.0","id":"\\ud800","method":"health.get"}', b"[]", b"\xff", b" "])
@given(st.lists(LINES, max_size=6))
def test_any_lines_are_answered_one_by_one_and_never_by_an_internal_error(lines: list[bytes]):
    with short_folder() as folder:
        answers = asyncio.run(answered(folder, b"\n".join(lines) + b"\n"))
    assert all(starmap(is_sound, enumerate(answers)))


def is_sound(_number: int, answer: dict[str, Any]) -> bool:
    if "error" not in answer:
        return True
    message = answer["error"]["message"]
    return message.startswith("cannot ") and "\n" not in message and "internal error" not in message


async def answered(folder: Path, sent: bytes) -> list[dict[str, Any]]:
    """What the client gets until the server closes; another client is served then too."""
    harness = Harness(folder)
    await harness.start()
    try:
        client, other = await harness.client(), await harness.client()
        client.write(sent)
        client.writer.write_eof()
        received = await asyncio.wait_for(client.reader.read(), LIMIT)
        assert (await other.call("health.get"))["live"]
    finally:
        await harness.stop()
    return [json.loads(line) for line in received.splitlines()]
