"""What an error of an agent says: found at any depth, said once, bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.acp.error_text import error_text, repeats

BODY = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}}


@pytest.mark.parametrize(
    ("message", "data", "said"),
    [
        ("no such model", None, "no such model"),
        ("Internal error", "no key", "no key"),
        ("Internal error", {"message": "no\nkey"}, "no key"),
        ("Internal error", {"details": "no key"}, "no key"),
        ("Internal error", {"error": {"message": "no key"}}, "no key"),
        ("Internal error", {"error": {"code": 5, "cause": {"cause": {"detail": "no key"}}}}, "no key"),
        ("Internal error", {"errors": [{"code": 1, "message": "no key"}, {"message": "second"}]}, "no key"),
        ("Internal error", {"errors": ["no key", "second"]}, "no key"),
        ("Internal error", ["no key"], "no key"),
        ("Internal error", {"message": "Internal error", "cause": {"message": "no key"}}, "no key"),
        ("Internal error", {"response": {"body": json.dumps(BODY)}}, "prompt is too long"),
        ("Internal error", json.dumps({"detail": "no key"}), "no key"),
        ("Internal error", {"message": json.dumps({"error": {"message": "no key"}})}, "no key"),
        ("Internal error", {"details": f"400 {json.dumps(BODY)}"}, "400 prompt is too long"),
        (f"API Error: 400 {json.dumps(BODY)}", None, "API Error: 400 prompt is too long"),
        (f"Error: {json.dumps(BODY)} · Please run /login", None, "Error: prompt is too long · Please run /login"),
        (f"run {{x}} failed: {json.dumps(BODY)} (request 7)", None, "run {x} failed: prompt is too long (request 7)"),
        ("Internal error", json.dumps(json.dumps(BODY)), "prompt is too long"),
        ("Internal error", {"error_msg": "no key", "code": 7}, "no key"),
        ("Internal error", {"a": [{"b": {"c": {"message": "no key"}}}]}, "no key"),
        ("Invalid params", {"_errors": [], "cwd": {"_errors": ["must be absolute"]}}, None),
        ("Internal error", {"errorMessage": "no key"}, "no key"),
        ("Internal error", {"Message": "no key"}, "no key"),
        ("Internal error", {"code": "invalid_key", "status": 401}, '{"code":"invalid_key","status":401}'),
        ("Request failed", {"status": 429}, 'Request failed: {"status":429}'),
        ("Request failed", {"message": "Too many requests"}, "Request failed: Too many requests"),
        ("Request failed: too many requests.", {"message": "too many requests"}, "Request failed: too many requests."),
        ("Error: no key\n    at main (file:///x.js:3:5)\n    at y", None, "Error: no key"),
        ("Internal error", {"message": "no key\n    at main (file:///x.js:3:5)"}, "no key"),
        ("Internal error", {"message": "", "details": "no key"}, "no key"),
        ("Internal error", {"message": 5, "details": {"x": None, "reason": "no key"}}, "no key"),
        ("Internal error", {}, "Internal error"),
        ("Internal error", None, "Internal error"),
        ("", {"message": "no key"}, "no key"),
        ("", None, "it gives no reason"),
        ("Internal error", {"message": "\x1b[31mno\u202e key\x1b[0m"}, "no key"),
    ],
)  # fmt: skip
def test_the_first_sentence_at_any_depth_is_what_people_read(message: str, data: Any, said: str | None):
    found = error_text(message, data).said
    if said is None:
        assert "must be absolute" in found
    else:
        assert found == said


def test_data_without_a_sentence_is_short_json():
    said = error_text("Request failed", {"rows": list(range(1000))}).said
    assert said.startswith('Request failed: {"rows":[0,1,2')
    assert len(said) <= len("Request failed: ") + 300


def test_deep_data_is_bounded():
    data: Any = {"message": "the bottom"}
    for _ in range(5000):
        data = {"cause": data}
    assert error_text("Internal error", data).said


def test_an_error_that_the_answer_holds_already_is_recognized():
    core = error_text("Internal error", {"details": f"400 {json.dumps(BODY)}"}).core
    assert repeats("API Error: 400 Prompt is too\nlong", "Prompt is too long")
    assert not repeats("Hello", core)
    assert not repeats("Hello", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["message", "error", "cause", "errors", "x"]) | st.text(max_size=5), inner)
    ),
    max_leaves=20,
)


@given(message=st.text(max_size=60), data=JSON | JSON.map(json.dumps))
def test_any_data_gives_one_bounded_line(message: str, data: Any):
    found = error_text(message, data)
    assert found.said
    assert len(found.said) <= 1000
    assert "\n" not in found.said
