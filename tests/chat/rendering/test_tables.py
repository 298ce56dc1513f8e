from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acpbot.chat.rendering.adapt import HELD_MAX, Adapter
from acpbot.chat.rendering.adapt import adapt as convert

if TYPE_CHECKING:
    from acpbot.chat.rendering.tables import TableMode

TABLE = "| Name | Count |\n|:-----|------:|\n| **a** | 1 |\n| `bc` | 22 |\n"
ALIGNED = "```\nName  Count\n────  ─────\na         1\nbc       22\n```\n"
MODES: list[TableMode] = ["code", "bullets", "off"]


def feed(parts: list[str], mode: TableMode) -> str:
    adapter = Adapter(mode)
    return "".join([*("".join(adapter.feed(part)) for part in parts), adapter.finish()])


def feed_one(adapter: Adapter, part: str) -> str:
    return "".join(adapter.feed(part))


def test_a_table_is_aligned_in_a_block():
    assert convert(f"Before.\n\n{TABLE}\nAfter.", "code") == f"Before.\n\n{ALIGNED}\nAfter."
    assert convert(TABLE.rstrip("\n"), "code") == ALIGNED.rstrip("\n")
    assert convert(TABLE.replace("\n", "\r\n"), "code") == ALIGNED


def test_a_table_as_bullets():
    assert convert(TABLE, "bullets") == "**Name · Count**\n- **a**: 1\n- **bc**: 22\n"
    wide = "|A|B|C|\n|-|-|-|\n|x|1||\n||[l](u)|y|\n"
    assert convert(wide, "bullets") == "**A · B · C**\n- **x**\n  - B: 1\n- **A**\n  - B: [l](u)\n  - C: y\n"
    assert convert("|A|B|\n|-|-|\n", "bullets") == "**A · B**\n"
    assert convert("|A||\n|-|-|\n|x|y|\n", "bullets") == "**A**\n- **x**: y\n"


def test_tables_stay_as_they_are_when_conversion_is_off():
    assert convert(TABLE, "off") == TABLE


def test_a_table_too_wide_for_a_block_becomes_bullets():
    long = "w" * 60
    assert convert(f"|A|B|\n|-|-|\n|{long}|{long}|\n", "code") == f"**A · B**\n- **{long}**: {long}\n"


def test_wide_characters_take_two_columns():
    text = convert("|名前|x|\n|-|-|\n|é|y|\n|e\u0301|z|\n|👍|w|\n", "code")
    assert text == "```\n名前  x\n────  ─\né     y\ne\u0301     z\n👍    w\n```\n"


def test_cells_are_split_at_pipes_that_are_not_escaped():
    text = convert("|a \\| b|c|\n|-|-|\n|1|2|3|\n|4|\n| x<br/>y | ~~~ |\n", "code")
    assert text == "```\na | b  c\n─────  ───  ─\n1      2    3\n4\nx y    ~~~\n```\n"


@pytest.mark.parametrize(
    "text",
    [
        *("| not a table\nmore", "| a | b |\n", "| a | b |", "| a | b |\n|---|\n| c | d |\n", "|\n|\n|", "||||\n"),
        *(
            "```\n| a |\n|---|\n| b |\n```\n",
            "```md\n| a |\n|---|\n",
            "    | a |\n    |---|\n",
            "a | b\n--|--|--\nc | d\n",
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


def test_a_line_waits_for_the_next_one_only_where_that_may_change_it():
    adapter = Adapter("code")
    assert feed_one(adapter, "Hel") == ""
    assert feed_one(adapter, "lo\n- item\n|") == "Hello\n- item\n"
    assert feed_one(adapter, " a |\n|--") == ""
    assert feed_one(adapter, "-|\n| b |\n") == ""
    assert feed_one(adapter, "Then\n\n") == "```\na\n─\nb\n```\nThen\n\n"
    assert adapter.held == ""
    assert feed_one(adapter, "| no") == ""
    assert adapter.if_it_ended() == "| no"
    assert adapter.finish() == "| no"


def test_a_table_without_end_is_not_held_back_for_ever():
    rows = "| a | b |\n" * (HELD_MAX // 5)
    text = f"| a | b |\n|---|---|\n{rows}"
    adapter = Adapter("code")
    shown = "".join(feed_one(adapter, text[at : at + 100]) for at in range(0, len(text), 100))
    assert len(shown) > len(text) - 200
    assert shown + adapter.finish() == text
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
    if "|" not in text and "~~~" not in text:
        assert found == text


def test_the_rest_of_a_table_that_is_too_long_is_not_converted():
    text = TABLE + "| a | b |\n" * HELD_MAX + TABLE
    assert convert(text, "code") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b\n--|--\n1 | 2\n", "a  b\n─  ─\n1  2"),
        ("a | b |\n:-: | -:\nlong | 2\n", " a    b\n────  ─\nlong  2"),
        ("|a|b|\n|-|-|\n|`x|y`|z|\n", "a    b\n───  ─\nx|y  z"),
        ("|a|b|\n|-|-|\n|``x|`y``|z|\n", "a     b\n────  ─\nx|`y  z"),
        ("|a|b|\n|-|-|\n|`x|y`|\n", "a   b\n──  ──\n`x  y`"),
        ("|a|b|\n|-|-|\n|x\\|y|z|\n", "a    b\n───  ─\nx|y  z"),
        ("|a|b|\n|-|-|\n|1|2|3|4|\n", "a  b\n─  ─  ─  ─\n1  2  3  4"),
        ("|a|b|\n|-|-|\n1|2\n|3|\n", "a  b\n─  ─\n1  2\n3"),
        ("|a|b|\n|-|-|\n", "a  b\n─  ─"),
    ],
)
def test_every_cell_is_shown(text, shown):
    assert convert(text, "code").replace("\u200b", "") == f"```\n{shown}\n```\n"


def test_tables_in_lists_and_quotes():
    assert convert("- text\n  |a|b|\n  |-|-|\n  |1|2|\n- more\n", "code") == (
        "- text\n```\na  b\n─  ─\n1  2\n```\n- more\n"
    )
    assert convert("3. |a|b|\n   |-|-|\n   |1|2|\n", "code") == "3.\n```\na  b\n─  ─\n1  2\n```\n"
    assert convert("> |a|b|\n> |-|-|\n> |1|2|\n>\n> x\n", "code") == "> **a · b**\n> - **1**: 2\n> \n> x\n"
    assert convert("> > |a|b|\n> > |-|-|\n> > |1|2|\nx\n", "code") == "> │ **a · b**\n> │ - **1**: 2\nx\n"
    mixed = "> |a|b|\n|-|-|\n> |1|2|\n"
    assert convert(mixed, "code") == mixed


cells = st.sampled_from(["one", "`two|two`", "three\\|3", "", "**four**", "`five", "六", "<br>seven", "a" * 40])
table_rows = st.lists(st.lists(cells, min_size=1, max_size=5).map("|".join), max_size=5)


@settings(max_examples=50)
@given(cells, table_rows, st.sampled_from(["", "> ", "  "]), st.sampled_from(["code", "bullets"]), st.booleans())
def test_no_cell_of_a_table_is_lost(cell, rows, start, mode, outer):
    pipe = "|" if outer else ""
    lines = [f"{cell}x|y{cell}", "--|--", *rows]
    text = "".join(f"{start}{pipe}{line}{pipe}\n" for line in lines)
    shown = convert(text, mode)
    for word in ("one", "two", "three", "four", "five", "六", "seven", "a" * 40, "x", "y"):
        assert shown.count(word) >= text.count(word), (word, shown)


def test_many_lines_that_look_like_headers_are_not_held_back():
    lines = "| x |\n" * HELD_MAX
    assert convert(lines + TABLE, "code") == lines + ALIGNED


@pytest.mark.parametrize("mode", MODES)
def test_a_dash_or_a_star_inside_a_header_is_no_mark_of_a_list(mode):
    text = "| Price - net | **b** | 1. x |\n|---|---|---|\n| 1 | 2 | 3 |\n"
    shown = convert(text, mode)
    assert "Price - net" in shown
    assert "1. x" in shown
    assert "b* " not in shown
