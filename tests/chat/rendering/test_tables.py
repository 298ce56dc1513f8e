from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.chat.rendering.tables import HELD_MAX, TableMode, Tables, convert

TABLE = "| Name | Count |\n|:-----|------:|\n| **a** | 1 |\n| `bc` | 22 |\n"
ALIGNED = "```\nName  Count\n────  ─────\na         1\nbc       22\n```\n"
MODES: list[TableMode] = ["code", "bullets", "off"]


def feed(parts: list[str], mode: TableMode) -> str:
    tables = Tables(mode)
    return "".join([*(tables.feed(part) for part in parts), tables.finish()])


def test_a_table_is_aligned_in_a_block():
    assert convert(f"Before.\n\n{TABLE}\nAfter.", "code") == f"Before.\n\n{ALIGNED}\nAfter."
    assert convert(TABLE.rstrip("\n"), "code") == ALIGNED.rstrip("\n")
    assert convert(TABLE.replace("\n", "\r\n"), "code") == ALIGNED


def test_a_table_as_bullets():
    assert convert(TABLE, "bullets") == "- **a**: 1\n- **bc**: 22\n"
    wide = "|A|B|C|\n|-|-|-|\n|x|1||\n||[l](u)|y|\n"
    assert convert(wide, "bullets") == "- **x**\n  - B: 1\n- **A**\n  - B: [l](u)\n  - C: y\n"
    assert convert("|A|B|\n|-|-|\n", "bullets") == "- A · B\n"
    assert convert("|A||\n|-|-|\n|x|y|\n", "bullets") == "- **x**: y\n"


def test_tables_stay_as_they_are_when_conversion_is_off():
    tables = Tables("off")
    assert tables.feed("| a |\n|") == "| a |\n|"
    assert tables.finish() == ""


def test_a_table_too_wide_for_a_block_becomes_bullets():
    long = "w" * 60
    assert convert(f"|A|B|\n|-|-|\n|{long}|{long}|\n", "code") == f"- **{long}**: {long}\n"


def test_wide_characters_take_two_columns():
    text = convert("|名前|x|\n|-|-|\n|é|y|\n|e\u0301|z|\n|👍|w|\n", "code")
    assert text == "```\n名前  x\n────  ─\né     y\ne\u0301     z\n👍    w\n```\n"


def test_cells_are_split_at_pipes_that_are_not_escaped():
    text = convert("|a \\| b|c|\n|-|-|\n|1|2|3|\n|4|\n| x<br/>y | ~~~ |\n", "code")
    assert text == "```\na | b  c\n─────  ───\n1      2\n4\nx y    ~~~\n```\n"


@pytest.mark.parametrize(
    "text",
    [
        *("| not a table\nmore", "| a | b |\n", "| a | b |", "| a | b |\n|---|\n| c | d |\n", "|\n|\n|", "||||\n"),
        *(
            "```\n| a |\n|---|\n| b |\n```\n",
            "~~~md\n| a |\n|---|\n",
            "    | a |\n    |---|\n",
            "a | b\n--|--\nc | d\n",
        ),
        *("|a|\n||\n", "  \n \n", "|" * 40 + "\n" + "|-" * 39 + "|\n", "x\n\n\n", "\t| a |\n\t|---|\n"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_text_that_is_no_table_is_left_alone(text, mode):
    assert convert(text, mode) == text


def test_the_second_line_may_be_the_header():
    assert convert(f"| a thought\n{TABLE}", "code") == f"| a thought\n{ALIGNED}"
    assert convert(f"{TABLE}text\n{TABLE}", "code") == f"{ALIGNED}text\n{ALIGNED}"


def test_a_table_inside_a_fence_is_left_alone():
    text = "```\n| a |\n|---|\n```\n"
    assert convert(text + TABLE, "code") == text + ALIGNED


def test_text_outside_tables_is_shown_at_once():
    tables = Tables("code")
    assert tables.feed("Hel") == "Hel"
    assert tables.feed("lo | there") == "lo | there"
    assert tables.feed("\n|") == "\n"
    assert tables.feed(" a |\n|--") == ""
    assert tables.feed("-|\n| b |\n") == ""
    assert tables.feed("Then") == "```\na\n─\nb\n```\nThen"
    assert tables.feed("\n| no") == "\n"
    assert tables.finish() == "| no"


def test_a_table_without_end_is_not_held_back_for_ever():
    rows = "| a | b |\n" * (HELD_MAX // 5)
    text = f"| a | b |\n|---|---|\n{rows}"
    tables = Tables("code")
    shown = "".join(tables.feed(text[at : at + 100]) for at in range(0, len(text), 100))
    assert len(shown) > len(text) - 200
    assert shown + tables.finish() == text
    assert convert(f"{text}\n{TABLE}", "code") == f"{text}\n{ALIGNED}"
    assert convert("|" + "x" * 10**6, "code") == "|" + "x" * 10**6


_lines = st.lists(
    st.sampled_from(
        ["| a | b |", "|---|:-:|", "| c |", "|", "|-|", "text", "", " ", "```", "~~~", "  | x | y |", "|é|`|`|", "a|b"]
    ),
    max_size=12,
).map("\n".join)


@given(_lines, st.lists(st.integers(0, 80), max_size=10), st.sampled_from(MODES))
def test_chunks_make_no_difference(text, cuts, mode):
    at = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    whole = convert(text, mode)
    assert feed([text[a:b] for a, b in itertools.pairwise(at)], mode) == whole
    assert feed(list(text), mode) == whole


@given(_lines, st.sampled_from(MODES))
def test_no_word_is_lost(text, mode):
    found = convert(text, mode)
    for word in ("text", "é"):
        assert found.count(word) >= text.count(word)
    if not re.search(r"(?m)^ {0,3}\|", text):
        assert found == text


def test_the_rest_of_a_table_that_is_too_long_is_not_converted():
    text = TABLE + "| a | b |\n" * HELD_MAX + TABLE
    assert convert(text, "code") == text


def test_many_lines_that_look_like_headers_are_not_held_back():
    lines = "| x |\n" * HELD_MAX
    assert convert(lines + TABLE, "code") == lines + ALIGNED
