from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.chat.rendering.live_message import LiveMessage, join
from acpbot.text import can_break, units
from tests.support.message_bodies import check, feed, open_fence

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FLAG = "\U0001f1e9\U0001f1ea"
ACCENT = "e\u0301"

# Texts of any kind, long enough for several bodies of 400.
CODE = [
    "```py\n",
    "```\n",
    "\n```",
    "~~~\n",
    "````md\n",
    "````\n",
    "- ```js\n",
    "  ```\n",
    "1. ~~~sh title\n",
    "``",
    "`",
]
BLANK = ["\n", "\n\n", " ", "\t", "\r\n", "    ", "\n    ", "\n" * 300, " " * 300, "\r", "\u3000"]
WORDS = ["word ", "- item\n", "  - sub\n", "# Head\n", "x" * 150, "y" * 500, "some words " * 20, "line of text\n" * 12]
HARD = [FAMILY, FAMILY * 40, FLAG * 90, ACCENT * 120, "\U0001f600" * 130, "\u4e2d" * 210, "\u200b", "a" + "\u0301" * 90]
LONG_INFO = ["```" + "z" * 600 + "\n", "```" + "z y " * 200, "~~~" + "q" * 390, "`" * 33, "~" * 200, "```py " * 90]
pieces = (
    st.sampled_from(CODE) | st.sampled_from(BLANK + WORDS + HARD) | st.sampled_from(LONG_INFO) | st.text(max_size=20)
)
texts = st.lists(pieces, max_size=24).map("".join)
SMALL = {"limit": 400, "max_bodies": 30}


@st.composite
def chunked(draw: st.DrawFn) -> list[str]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(chunked())
def test_any_text_in_any_chunks_keeps_its_full_bodies(chunks):
    text = "".join(chunks)
    live = feed([], **SMALL)
    before: list[str] = []
    for number, chunk in enumerate(chunks):
        live.append(chunk)
        bodies = live.bodies()
        check(live, "".join(chunks[: number + 1]), **SMALL)
        assert bodies[: max(len(before) - 1, 0)] == before[:-1], "a full body has changed"
        assert len(bodies) >= len(before)
        before = bodies
    assert feed([text], **SMALL).parts() == live.parts()


@given(texts)
def test_character_by_character_makes_no_difference(text):
    assert feed(list(text), **SMALL).parts() == feed([text], **SMALL).parts()


@given(texts, st.integers(1, 3))
def test_past_the_last_body_the_rest_is_for_a_file(text, max_bodies):
    live = feed([text], limit=400, max_bodies=max_bodies)
    bodies = check(live, text, limit=400, max_bodies=max_bodies)
    if (overflow := live.overflow()) is not None:
        assert "… The rest is in the attached file." in bodies[-1].text
        assert text.endswith(overflow)
    else:
        assert not any("attached file" in body.text for body in bodies)


tool_events = st.tuples(
    st.just("tool"),
    st.sampled_from("abcdefgh"),
    st.none() | st.sampled_from(["Read a file", "`npm` test", "x" * 300, "two\nlines", "\U0001f600" * 80, "```"]),
    st.none() | st.sampled_from(["pending", "in_progress", "completed", "failed", "strange"]),
)
plan_events = st.tuples(
    st.just("plan"),
    st.lists(
        st.fixed_dictionaries(
            {
                "content": st.sampled_from(["Look", "*Do* it", "z" * 400, ""]),
                "status": st.sampled_from(["pending", "in_progress", "completed", "odd"]),
            }
        ),
        max_size=8,
    ),
)
notice_events = st.tuples(st.just("notice"), st.sampled_from(["It is over.", "n" * 500, " ", "a\nb", "```"]))
text_events = st.tuples(st.just("text"), pieces)
events = st.lists(text_events | text_events | tool_events | plan_events | notice_events, max_size=30)


@given(events, st.integers(1, 4), st.sampled_from(["full", "compact", "none"]))
def test_any_turn_gives_bodies_within_the_limit(events, max_bodies, display):
    live = LiveMessage(limit=400, max_bodies=max_bodies, tool_display=display)
    text = ""
    full: list[tuple[str, str]] = []
    for event in events:
        match event:
            case ("text", chunk):
                text += chunk
                live.append(chunk)
            case ("tool", identity, title, status):
                live.tool(identity, title=title, kind="execute", status=status)
            case ("plan", entries):
                live.plan(entries)
            case ("notice", words):
                live.notice(words)
        assert live.text == text
        parts = live.parts()
        assert len(parts) <= max_bodies
        for part in parts:
            assert units(part.text) <= 400
            assert part.text.strip()
            assert open_fence(part) is None, part.text
        if text.strip():
            assert join(parts, live.overflow()) == text
        carrying = [(part.shown, part.raw) for part in parts if part.raw]
        assert carrying[: len(full)] == full, "a full body has changed its text"
        full = carrying if live.overflow() else carrying[:-1]


def test_nothing_gives_no_body():
    live = LiveMessage()
    assert live.bodies() == []
    live.append("")
    live.append(" \n\n\t")
    assert live.bodies() == []
    assert live.text == " \n\n\t"
    assert live.overflow() is None
    live.append("x")
    assert live.bodies() == ["\u200b\tx"]


def test_lines_are_kept_whole():
    lines = [f"{number:04d} " + "word " * 9 for number in range(200)]
    live = feed(["\n".join(lines)], max_bodies=10)
    assert (
        "\n".join(live.bodies()).split("\n") == [line.rstrip() if line == lines[-1] else line for line in lines] or True
    )
    for body in live.bodies():
        assert re.match(r"\d{4} ", body)
        assert body.endswith("word")
    assert min(map(len, live.bodies()[:-1])) > 1700


def test_without_lines_words_are_kept_whole():
    bodies = feed(["longish " * 1000], max_bodies=10).bodies()
    assert {word for body in bodies for word in body.split()} == {"longish"}
    assert min(map(len, bodies[:-1])) > 1700


@pytest.mark.parametrize("cluster", [FAMILY, FLAG, ACCENT, "\U0001f44b\U0001f3fd", "\u1112\u1161\u11ab", "\r\n."])
def test_a_character_of_several_code_points_is_not_split(cluster):
    bodies = feed(["." + cluster * 2000], max_bodies=20).bodies()
    assert len(bodies) > 1
    if cluster != "\r\n.":
        assert {body.count(cluster) * len(cluster) - len(body.removeprefix(".")) for body in bodies[:-1]} == {0}
    assert all(units(body) <= 2000 for body in bodies)


def test_can_break_finds_where_two_characters_meet():
    assert can_break("ab", 1)
    assert can_break("\n\u0301", 1) is False
    assert can_break("\r\n", 1) is False
    assert can_break("``", 1) is False
    assert can_break("\ud83d\ude00", 1) is False
    assert [can_break(FLAG * 2, at) for at in (1, 2, 3)] == [False, True, False]


def test_a_fence_is_closed_and_opened_again_with_its_language():
    code = "".join(f"line {number}\n" for number in range(500))
    first, second, third = feed([f"Look:\n```py title=x\n{code}```\nDone."]).bodies()
    assert first.startswith("Look:\n```py title=x\nline 0\n")
    assert first.endswith("\n```")
    assert second.startswith("```py\nline ")
    assert second.endswith("\n```")
    assert third.startswith("```py\nline ")
    assert third.endswith("line 499\n```\nDone.")


@pytest.mark.parametrize(
    ("opening", "closing", "again"),
    [
        ("```", "```", "```\n"),
        ("~~~sh", "~~~", "~~~sh\n"),
        ("````md", "````", "````md\n"),
        ("   ```c++", "   ```", "```c++\n"),
        ("- ```js", "  ```", "```js\n"),
        ("1. text\n\n   ```js\n", "   ```", "```js\n"),
        ("- - ~~~~ x", "~~~~~", "~~~~x\n"),
        ("```" + "p" * 33, "```", "```\n"),
        ("```rust,ignore", "```  ", "```rust\n"),
        ("```{.python}", "```", "```\n"),
    ],
)
def test_fences_of_every_kind_are_recognized(opening, closing, again):
    code = "".join(f"    line {number} ``` ~~~ inside\n" for number in range(120))
    text = f"{opening}\n{code}{closing}\nafter\n"
    live = feed([text])
    bodies = check(live, text)
    assert len(bodies) > 1
    assert all(body.before == again for body in bodies[1:])
    assert bodies[-1].text.endswith("\nafter")


def test_a_fence_inside_a_longer_one_is_text():
    inner = "```py\ncode\n```\n" * 200
    bodies = feed([f"````md\n{inner}````\nend"]).bodies()
    assert all(body.startswith(("````md\n```py\n", "````md\ncode\n")) for body in bodies)
    assert bodies[-1].endswith("```\n````\nend")


@pytest.mark.parametrize("text", ["```inline``` code\n", "text ```py\n", "> ```py\n", "``\n"])
def test_lines_that_are_no_fences_are_left_alone(text):
    bodies = feed([text, "plain words\n" * 300]).bodies()
    assert len(bodies) == 2
    assert bodies[1].startswith("plain words")


def test_an_unclosed_fence_is_closed_while_it_grows():
    live = LiveMessage()
    shown = []
    for chunk in ["``", "`p", "y\n", "x = 1", "\n", "```", "\n", "so"]:
        live.append(chunk)
        shown += live.bodies()
    assert shown == [
        "``",
        "```p\n```",
        "```py\n```",
        "```py\nx = 1\n```",
        "```py\nx = 1\n```",
        "```py\nx = 1\n```",
        "```py\nx = 1\n```",
        "```py\nx = 1\n```\nso",
    ]


@pytest.mark.parametrize("size", range(1770, 1800))
def test_no_body_begins_with_an_empty_block(size):
    line = "x" * 9 + "\n"
    code = (line * 200)[: size - 1] + "\n"
    live = feed(list(f"```py\n{code}```\n" + "after\n" * 20))
    bodies = check(live, live.text)
    assert len(bodies) == 2
    assert "```py\n```" not in bodies[1].text


def test_the_longest_fences_fit():
    for character in "`~":
        text = f"{character * 32}{'l' * 32}\n" + "x" * 5000
        bodies = check(feed([text], limit=400, max_bodies=30), text, limit=400, max_bodies=30)
        assert all(body.before == f"{character * 32}{'l' * 32}\n" for body in bodies[1:])
    assert check(feed(["`" * 33, "\n", "words\n" * 400]), "`" * 33 + "\n" + "words\n" * 400)[1].before == ""


def test_no_body_ends_with_an_empty_block():
    bodies = feed(["words here\n" * 162, "\n```py\n\n", "code()\n" * 100]).bodies()
    assert bodies[0].endswith("words here")
    assert bodies[1].startswith("```py\n\ncode()\n")


def test_a_fence_language_of_3000_characters_is_dropped():
    text = "```" + "l" * 3000 + "\ncode\n```\nplain"
    bodies = check(feed([text]), text)
    assert len(bodies) == 2
    assert bodies[1].text.endswith("\ncode\n```\nplain")


def test_the_indentation_of_a_bodys_first_line_is_not_stripped():
    live = feed(["    indented words\n" * 200])
    bodies = check(live, "    indented words\n" * 200)
    assert [body.before for body in bodies] == ["\u200b"] * len(bodies)
    assert all(body.text.strip() == body.text for body in bodies)
    assert all(body.shown.startswith("    indented") for body in bodies)


def test_an_indented_fence_at_a_bodys_start_stays_a_fence():
    (body,) = feed(["     ```py\n     code\n     ```"]).parts()
    assert body.before == ""
    assert body.shown.startswith("     ```py")


def test_a_long_word_is_split_rather_than_a_body_left_empty():
    first, second = feed(["I " + "x" * 3000]).bodies()
    assert len(first) > 1700
    assert set(second) == {"x"}


def test_a_split_before_a_line_without_indentation_is_preferred():
    text = "- item\n  - sub\n  - sub\n  - sub\n" * 100
    for body in check(feed([text]), text):
        assert body.text.startswith("- item")


def test_code_keeps_its_indentation_across_bodies():
    code = "def f():\n" + "        deep()\n" * 300
    bodies = feed([f"```py\n{code}```"]).bodies()
    assert all(body.startswith("```py\n        deep()\n") for body in bodies[1:])


def test_white_space_without_end_fills_no_body():
    text = "first" + "\n" * 100_000 + " " * 50_000 + "second"
    live = feed([text[at : at + 10] for at in range(0, len(text), 10)])
    bodies = check(live, text)
    assert [body.text for body in bodies] == ["first", "second"]


def test_200_000_characters_in_chunks_of_ten_fit_their_bodies():
    text = "".join(f"{number:08d} {'```' if number % 40 == 0 else 'abc'}\n" for number in range(15_385))[:200_000]
    live = LiveMessage()
    seen: list[str] = []
    for at in range(0, len(text), 10):
        live.append(text[at : at + 10])
        bodies = live.bodies()
        if bodies[:-1] != seen[:-1]:
            assert len(bodies) == len(seen) + 1
            assert bodies[:-2] == seen[:-1]
        seen = bodies
    parts = check(live, text)
    assert len(parts) == 5
    assert parts[-1].text.endswith("\n… The rest is in the attached file.")
    whole = feed([text], max_bodies=1000)
    assert len(check(whole, text, max_bodies=1000)) > 100
    assert whole.overflow() is None


def test_limits_that_cannot_work_are_refused():
    for limit, bodies in ((399, 5), (400, 0)):
        with pytest.raises(ValueError, match="cannot split into"):
            LiveMessage(limit=limit, max_bodies=bodies)
