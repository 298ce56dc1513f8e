"""The codec without a socket: both ends are connected by passing their bytes."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot import jsonrpc
from acpbot.jsonrpc import (
    Answered,
    ErrorObject,
    LenientDecoder,
    Malformed,
    Notification,
    Peer,
    Request,
    Response,
    StrictDecoder,
)
from acpbot.lines import LineSplitter, Overlong

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{}}\n'


def strict(line: bytes) -> jsonrpc.Message:
    (message,) = StrictDecoder().receive(line + b"\n")
    return message


def lenient(line: bytes) -> jsonrpc.Message:
    (message,) = LenientDecoder().receive(line + b"\n")
    assert not isinstance(message, bytes)
    return message


def test_a_line_with_a_deferred_beginning_is_returned_as_it_is_and_can_be_decoded_later():
    decoder = LenientDecoder(deferred=(b'{"method":"m"',))
    line = b'{"method":"m","params":1}'
    other, deferred, last = decoder.receive(b'{"method":"n"}\n' + line + b'\n{"method":"n"}\n')
    assert deferred == line
    assert decoder.message(line) == Notification("m", msgspec.Raw(b"1"))
    assert other == last == Notification("n", msgspec.Raw(b""))


def raw(message: Request | Notification | Answered | Response) -> object:
    return msgspec.json.decode(message.params if hasattr(message, "params") else message.result)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b"hello", -32700, "Expecting value"),
        (b'{"a":1} x', -32700, "extra data"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1,"a":2}}', -32700, "'a' occurs twice"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":NaN}}', -32700, "NaN is not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":-Infinity}}', -32700, "-Infinity"),
        (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":1e999}}', -32700, "range of a double"),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"m"}', -32700, "beyond 64 bits"),
        (b"[" * 10_000, -32700, "deeper than 32"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, -32700, "deeper than 32"),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700, "not UTF-8"),
        (b'{"jsonrpc":"2.0","id":1,"method":"\0"}', -32700, "NUL"),
        (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', -32700, "surrogate"),
        (b"[]", -32600, "batch"),
        (b'"text"', -32600, "JSON object"),
        (b'{"jsonrpc":"2.0","method":"m"}', -32600, "needs an id"),
        (b'{"jsonrpc":"2.0","id":null,"method":"m"}', -32600, "string or an integer"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"m"}', -32600, "string or an integer"),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', -32600, "string or an integer"),
        (b'{"jsonrpc":"2.0","id":{},"method":"m"}', -32600, "string or an integer"),
    ],
)
def test_strict_refuses_a_line_whose_id_is_unknown(line, code, words):
    message = strict(line)
    assert isinstance(message, Malformed)
    assert (message.code, message.kind, message.id, message.fatal) == (code, "invalid", None, False)
    assert message.reason.startswith("cannot ")
    assert words in message.reason


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (b'{"id":"x","method":"m"}', -32600, '"jsonrpc": "2.0"'),
        (b'{"jsonrpc":2.0,"id":"x","method":"m"}', -32600, '"jsonrpc": "2.0"'),
        (b'{"jsonrpc":"2.0","id":"x","method":7}', -32600, "method must be a string"),
        (b'{"jsonrpc":"2.0","id":"x","result":{}}', -32600, "method must be a string"),
        (b'{"jsonrpc":"2.0","id":"x","method":"m","extra":1}', -32600, "'extra'"),
        (b'{"jsonrpc":"2.0","id":"x","method":"m","params":[1]}', -32602, "an object"),
        (b'{"jsonrpc":"2.0","id":"x","method":"m","params":null}', -32602, "an object"),
    ],
)
def test_strict_refuses_a_line_with_its_id_where_it_has_one(line, code, words):
    message = strict(line)
    assert isinstance(message, Malformed)
    assert (message.code, message.id) == (code, "x")
    assert words in message.reason


def test_strict_accepts_a_request_without_params():
    assert strict(b'{"jsonrpc":"2.0","id":"a","method":"m"}') == Request("a", "m", {})
    assert strict(b' {"jsonrpc":"2.0","id":-7,"method":"m","params":{"k":[1,"\\u20ac"]}}\r') == Request(
        -7, "m", {"k": [1, "\u20ac"]}
    )


def test_brackets_in_strings_are_not_depth():
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"t": '[{"\\' * 100}}).encode()
    assert isinstance(strict(line), Request)


def test_strict_line_limit_counts_the_newline_and_is_fatal():
    body = b'{"jsonrpc":"2.0","id":1,"method":"m"}'
    exact = body + b" " * (100 - 1 - len(body)) + b"\n"
    assert isinstance(StrictDecoder(max_line=100).receive(exact)[0], Request)
    decoder = StrictDecoder(max_line=100)
    (message,) = decoder.receive(b" " + exact)
    assert isinstance(message, Malformed)
    assert (message.code, message.kind, message.fatal) == (-32007, "line_too_long", True)
    assert decoder.receive(REQUEST) == []


def test_an_overlong_line_is_reported_before_its_newline():
    decoder = StrictDecoder(max_line=100)
    (message,) = decoder.receive(b"x" * 100)
    assert isinstance(message, Malformed)
    assert message.fatal


def test_mid_line_is_true_inside_a_line():
    decoder = StrictDecoder()
    assert not decoder.mid_line
    decoder.receive(b"{")
    assert decoder.mid_line
    decoder.receive(b"}\n")
    assert not decoder.mid_line


@pytest.mark.parametrize("noise", [b"garbage", b"\xff\xfe", b"[1,2]", b'"text"', b"17", b"null", b"{", b"[" * 100_000])
def test_lenient_reports_noise_and_goes_on(noise):
    first, second = LenientDecoder().receive(noise + b"\n\n  \n" + b'{"method":"m","params":{"a":1}}\n')
    assert isinstance(first, Malformed)
    assert not first.fatal
    assert isinstance(second, Notification)
    assert raw(second) == {"a": 1}


def test_lenient_drops_a_long_line_and_keeps_the_connection():
    decoder = LenientDecoder(max_line=1000)
    first = decoder.receive(b"x" * 600)
    first += decoder.receive(b"x" * 600)
    first += decoder.receive(b"x" * 600)
    (overlong,) = first
    assert isinstance(overlong, Malformed)
    assert overlong.kind == "line_too_long"
    (after,) = decoder.receive(b"x\n" + REQUEST)
    assert isinstance(after, Request)
    assert decoder._lines._size == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id":"7","result":{"a":1}}', "7"),
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":400,"message":"bad"}}', None),
        (b'{"jsonrpc":"2.0","error":{"code":-32700,"message":"bad"}}', None),
    ],
)
def test_lenient_accepts_answers_of_all_shapes(line, expected):
    message = lenient(line)
    assert isinstance(message, Response)
    assert message.id == expected


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (b'{"code":400,"message":"m","data":{"d":1}}', 400, "m"),
        (b'"just text"', -32603, "just text"),
        (b'{"code":"x"}', -32603, "{'code': 'x'}"),
    ],
)
def test_lenient_keeps_odd_errors(error, code, text):
    message = lenient(b'{"id":1,"error":' + error + b"}")
    assert isinstance(message, Response)
    assert message.error is not None
    assert (message.error.code, message.error.message) == (code, text)


def test_an_answer_with_a_null_result_is_an_answer():
    message = lenient(b'{"id":1,"result":null}')
    assert isinstance(message, Response)
    assert raw(message) is None
    assert isinstance(lenient(b'{"id":1}'), Malformed)
    assert isinstance(lenient(b'{"id":[1],"result":null}'), Malformed)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (rb"a\ud83d", "a\ufffd"),
        (rb"\ude00b", "\ufffdb"),
        (rb"\ud83d \ud83d\ude00", "\ufffd \U0001f600"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
    ],
)
def test_half_a_surrogate_pair_loses_no_message(sent, received):
    message = lenient(b'{"method":"m","params":{"t":"' + sent + b'"}}')
    assert isinstance(message, Notification)
    assert raw(message) == {"t": received}


def test_answers_are_matched_with_their_requests():
    client, server = Peer(LenientDecoder()), StrictDecoder()
    first, line1 = client.request("one", {"a": 1})
    second, line2 = client.request("two", {})
    received = server.receive(line1 + line2)
    assert received == [Request(first, "one", {"a": 1}), Request(second, "two", {})]
    answers = client.receive(
        jsonrpc.encode_error(str(second), -32001, "cannot find it", "not_found") + jsonrpc.encode_result(first, [1])
    )
    assert answers[0] == Answered(second, "two", None, ErrorObject(-32001, "cannot find it", {"kind": "not_found"}))
    assert isinstance(answers[1], Answered)
    assert raw(answers[1]) == [1]
    assert isinstance(client.receive(jsonrpc.encode_result(first, [1]))[0], Response), "an id is answered once"


def test_the_answer_to_a_forgotten_request_is_a_plain_response():
    peer = Peer(LenientDecoder())
    request_id, _ = peer.request("slow", {})
    peer.forget(request_id)
    assert isinstance(peer.receive(jsonrpc.encode_result(request_id, {}))[0], Response)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.lists(st.tuples(st.text(min_size=1), st.dictionaries(st.text(), json_values, max_size=3)), max_size=5), st.data()
)
def test_any_requests_in_any_chunks_arrive_as_sent(calls, data):
    sender, receiver = Peer(LenientDecoder()), StrictDecoder(max_line=1 << 20)
    stream = b"".join(sender.request(method, params)[1] for method, params in calls)
    messages: list[jsonrpc.Message] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        messages += receiver.receive(stream[:size])
        stream = stream[size:]
    got = [(m.method, m.params) for m in messages if isinstance(m, Request)]
    assert got == calls


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_make_a_decoder_raise(chunks):
    for decoder in (StrictDecoder(max_line=64), LenientDecoder(max_line=64)):
        for chunk in chunks:
            for message in decoder.receive(chunk):
                assert isinstance(message, Request | Notification | Response | Malformed)


@given(st.binary(max_size=300), st.integers(2, 40), st.data())
def test_chunking_does_not_change_the_lines(stream, limit, data):
    whole = LineSplitter(limit).feed(stream)
    splitter, pieces, rest = LineSplitter(limit), [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces += splitter.feed(rest[:size])
        rest = rest[size:]
    assert [p if isinstance(p, bytes) else Overlong for p in pieces] == [
        p if isinstance(p, bytes) else Overlong for p in whole
    ]
