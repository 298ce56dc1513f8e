from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.sessions.permission_action import Action, action_of

DIFF = {"type": "diff", "path": "/w/calc.py", "oldText": "a\nb\nc\nd\ne\nf\n", "newText": "a\nb\nc\nd\nE\nf\n"}
TEXT = {"type": "content", "content": {"type": "text", "text": "Look:\nhere"}}


def action(raw=None, content=None, **more) -> Action:
    return action_of({"rawInput": raw, "content": content, **more}, {}, None)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"command": "git status"}, "git status"),
        ({"cmd": "git status"}, "git status"),
        ({"command": "ls\nrm -rf ~"}, "ls\nrm -rf ~"),
        ({"command": ["bash", "-lc", "git status && rm x"]}, "bash -lc 'git status && rm x'"),
        ({"command": ["ls", 5]}, '["ls", 5]'),
        ({"command": {"run": "ls"}}, '{"run": "ls"}'),
        ({"url": "https://x.test"}, "https://x.test"),
        ({"query": "cats"}, "cats"),
        ("rm -rf ~", "input: rm -rf ~"),
        (["a", {"b": None}], 'input: ["a", {"b": null}]'),
        ({"tool": "deploy"}, "tool: deploy"),
        # What a shell would run comes first, whatever is before it; nothing is left out.
        ({"description": "git status", "command": "rm -rf ~"}, "command: rm -rf ~\ndescription: git status"),
        (
            {"path": "/a", "command": "x", "n": 1.5, "deep": {"a": [True]}},
            'command: x\npath: /a\nn: 1.5\ndeep: {"a": [true]}',
        ),
        # Ids and what is there twice are left out, and only those.
        (
            {"call_id": "c-1", "turn_id": "01a2", "started_at_ms": 5, "command": "sh -c 'touch a'", "cwd": "/w"}
            | {"parsed_cmd": [{"type": "unknown", "cmd": "touch a"}], "available_decisions": ["approved", "abort"]},
            "command: sh -c 'touch a'\ncwd: /w",
        ),
        (
            {"call_id": "a b", "started_at_ms": "x", "command": "ls", "parsed_cmd": [{"type": "unknown", "cmd": "rm"}]},
            'command: ls\ncall_id: a b\nstarted_at_ms: x\nparsed_cmd: [{"type": "unknown", "cmd": "rm"}]',
        ),
        # A line of a value is no argument.
        ({"command": "true\ntimeout: 5", "cwd": "/"}, "command:\n  true\n  timeout: 5\ncwd: /"),
        ({"a\nb": "x", "c": "y"}, "a\\nb: x\nc: y"),
        ({"command": "r\u202em"}, "r\\u202em"),
        ({"x": ["\u200b"]}, 'x: ["\\u200b"]'),
    ],
)
def test_the_action_is_what_the_tool_gets(raw, text):
    assert action(raw).text() == text


def test_content_and_changes_are_shown_beside_the_raw_input():
    shown = action({"command": "ls"}, [TEXT, DIFF]).text()
    assert shown == (
        "command: ls\ncontent:\n  Look:\n  here\n"
        "--- /w/calc.py\n+++ /w/calc.py\n@@ -2,5 +2,5 @@\n"
        " ⟨1 line above, not shown: the agent says that nothing changes there⟩\n b\n c\n d\n-e\n+E\n f"
    )


def test_a_change_is_not_repeated_where_the_raw_input_has_the_same_text():
    diff = {"type": "diff", "path": "calc.py", "oldText": "a", "newText": "b"}
    same = {"file_path": "calc.py", "old_string": "a", "new_string": "b"}
    assert (
        action(same, [diff])
        .text()
        .startswith(
            "file_path: calc.py\nold_string: as in the change below\nnew_string: as in the change below\n--- calc.py\n"
        )
    )
    assert "new_string: rm" in action({**same, "new_string": "rm"}, [diff]).text()
    assert "command: b" in action({"command": "b"}, [diff]).text(), "a command is shown as one"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (None, "a\nb\n", ["--- /dev/null", "@@ -1,0 +1,2 @@", "+a", "+b"]),
        ("a\n", "", ["--- f", "@@ -1,1 +1,0 @@", "-a"]),
        ("a", "a\n", ["--- f", "@@ -1,1 +1,2 @@", " a", "+"]),
        ("a\nb", "a\nb", ["--- f", "@@ -1,2 +1,2 @@", " a", " b"]),
        ("x\nx\n", "x\n", ["--- f", "@@ -1,2 +1,1 @@", " x", "-x"]),
    ],
)
def test_a_change_has_all_lines_that_differ(old, new, lines):
    shown = action(None, [{"type": "diff", "path": "f", "oldText": old, "newText": new}]).text().split("\n")
    assert [line for line in shown if line != "+++ f"] == lines


def test_what_is_not_as_the_protocol_has_it_is_shown_as_json():
    odd = [{"type": "image", "data": "AAAA"}, "x", {"type": "diff", "path": 5}, {**DIFF, "more": "rm"}]
    shown = action(None, odd).text()
    for words in ('"AAAA"', 'content: "x"', '"path": 5', 'more of this change: {"more": "rm"}'):
        assert words in shown
    assert action(None, "rm -rf ~").text() == 'content: "rm -rf ~"'
    link = {"type": "content", "content": {"type": "text", "text": "a", "annotations": {"rm": 1}}}
    assert '"annotations": {"rm": 1}' in action(None, [link]).text()


def test_places_that_are_named_nowhere_else_are_shown():
    assert action({"path": "/a"}, locations=[{"path": "/a"}]).text() == "path: /a"
    assert action({"path": "/a"}, locations=[{"path": "/b"}]).text() == 'path: /a\nlocations: [{"path": "/b"}]'


def test_an_action_without_input_is_the_title_and_says_so():
    assert action(title="touch a file").text() == "title: touch a file\n(The agent gives no details beyond this title.)"
    assert action().text() == "The agent doesn't say what it wants to do."
    assert action(title="touch a file").line(80) == "touch a file"
    assert action().line(80) == "a tool"


def test_letters_that_look_alike_are_named():
    assert action({"command": "\u0441url x"}).text().endswith("alphabets look alike here: \u0441url")


@pytest.mark.parametrize(
    ("call", "question"),
    [
        ({"kind": "execute"}, "Run this?"),
        ({"kind": "read", "rawInput": {"command": "rm"}}, "Run this command?"),
        ({"kind": "read", "content": [DIFF]}, "Edit a file?"),
        ({"kind": "edit", "rawInput": {"path": "x"}}, "Edit a file?"),
        ({"kind": "other", "rawInput": {"url": "x"}}, "Fetch this?"),
        ({"kind": "search"}, "Search for this?"),
        ({"kind": "rm -rf"}, "Allow this?"),
        ({}, "Allow this?"),
    ],
)
def test_the_question_follows_from_what_happens_and_not_from_the_kind_alone(call, question):
    assert action_of(call, {}, None).question == question


def test_the_one_line_is_the_command_not_the_title():
    assert action({"command": "git  status\n&& rm x", "cmd": "ls"}, title="stub").line(80) == "git status && rm x · ls"
    assert action({"path": "/a"}, kind="delete").line(80) == "Delete /a"
    assert action({"command": "x" * 99}).line(10) == "x" * 9 + "…"
    assert action({"command": "ls" + " " * 5000 + "; rm"}).line(80) == "ls ; rm"


def test_the_tool_call_before_fills_in_what_the_request_leaves_out():
    earlier = {"title": "t", "kind": "execute", "rawInput": {"command": "rm"}, "content": [TEXT]}
    calls: tuple[dict, ...] = ({}, {"title": None, "rawInput": None}, {"rawInput": {}, "content": []})
    for call in calls:
        filled = action_of(call, earlier, None)
        assert (filled.title, filled.kind, filled.raw_input, filled.content) == (
            "t",
            "execute",
            {"command": "rm"},
            [TEXT],
        )
    assert action_of({"rawInput": {"command": "ls"}}, earlier, None).raw_input == {"command": "ls"}


def test_every_part_decides_whether_an_action_is_the_same():
    base = {"title": "t", "kind": "execute", "rawInput": {"command": "ls", "n": 1}, "content": [DIFF]}
    digest = action_of(base, {}, None).digest
    assert digest is not None
    assert action_of({**base, "rawInput": {"n": 1, "command": "ls"}}, {}, None).digest == digest
    others = (
        {"title": "u"},
        {"kind": "read"},
        {"rawInput": {"command": "ls ", "n": 1}},
        {"rawInput": {"command": "ls", "n": True}},
        {"rawInput": {"command": "ls", "n": 1.0}},
        {"rawInput": {"command": "ls" + "x" * 500_000, "n": 1}},
        {"content": [{**DIFF, "newText": ""}]},
        {"locations": [{"path": "/"}]},
    )
    digests = {action_of({**base, **other}, {}, None).digest for other in others}
    assert len(digests | {digest}) == len(others) + 1


def test_what_is_not_known_whole_is_the_same_as_nothing():
    large = action_of({"title": "t"}, {}, "it is too large")
    assert large.digest is None
    assert large.text() == "title: t\n(The agent's other details aren't shown.)"
    assert action().digest is None
    assert action({"command": "\ud800"}).digest is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON, JSON, JSON)
def test_any_request_has_a_text_a_line_and_a_question(raw, content, title):
    shown = action_of({"rawInput": raw, "content": content, "title": title, "kind": title}, {}, None)
    text = shown.text()
    assert text
    assert shown.question.endswith("?")
    assert "\n" not in shown.line(80)
    if isinstance(raw, dict):
        plain = [value for value in raw.values() if isinstance(value, str) and value.isascii() and value.isprintable()]
        assert [value for value in plain if "  " not in value and value not in text] == []
    json.dumps(text.encode("utf-8").decode())
