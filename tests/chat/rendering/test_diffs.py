from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.chat.rendering.diffs import changes, diff
from acpbot.chat.rendering.markdown import code, fence
from acpbot.text import one_line, shorten, size_words, units

if TYPE_CHECKING:
    from pathlib import Path

FAMILY = "👨‍👩‍👧‍👦"
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def apply(old: str, patch: str) -> str:
    """What patch(1) makes of it, hunk by hunk."""
    lines = re.split(r"(?<=\n)", old)
    out: list[str] = []
    at = 0
    for line in re.split(r"(?<=\n)", patch.replace("\n\\ No newline at end of file\n", "\0"))[2:]:
        for part in re.split(r"(?<=\0)", line):
            text = part[1:].removesuffix("\0")
            if match := HUNK.match(part):
                upto = int(match[1]) - (match[2] != "0")
                out += lines[at:upto]
                at = upto
            elif part.startswith("+"):
                out.append(text)
            elif part:
                assert part[0] in " -"
                assert lines[at] == text
                out += [text] if part[0] == " " else []
                at += 1
    return "".join([*out, *lines[at:]])


def test_short_texts_are_left_alone():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
    assert shorten("abcd", 1) == "…"
    assert shorten("abcd", 0) == ""


def test_no_emoji_is_cut_in_two():
    for limit in range(2, units(FAMILY) + 2):
        assert shorten(f"a{FAMILY}", limit) in {"a…", f"a{FAMILY}"}
    assert shorten("a🇩🇪🇫🇷b", 7) == "a🇩🇪…"
    assert shorten("ae\u0301\u0302x", 3) == "a…"
    assert shorten("😀😀", 3) == "😀…"
    # A stack of marks has no end that can be kept whole.
    assert shorten("a" + "\u0301" * 500, 100) == "a" + "\u0301" * 98 + "…"


@given(st.text(), st.integers(1, 50))
def test_shortened_texts_fit_and_begin_the_same(text, limit):
    short = shorten(text, limit)
    assert units(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_one_line_removes_invisible_characters():
    assert one_line(" a\r\n\tb\u2028c ", 20) == "a b c"
    assert one_line("evil\u202etxt.exe\u2066\u200b\ufeff\u00ad\x1b[31m\ue000", 50) == "eviltxt.exe"
    assert one_line("tag\U000e0041\U000e0042", 50) == "tag"
    right_to_left = "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
    assert one_line(right_to_left, 50) == right_to_left
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627"
    assert one_line(f"{FAMILY} {persian}", 50) == f"{FAMILY} {persian}"
    assert one_line("\u200d\u200b \u200c", 50) == ""
    assert one_line("x" * 10**7, 5) == "xxxx…"
    assert one_line("newer than the tables: \U0001fae8\U0001fae9", 50).endswith("\U0001fae8\U0001fae9")


@given(st.text(), st.integers(1, 40))
def test_one_line_is_one_visible_line(text, limit):
    line = one_line(text, limit)
    assert units(line) <= limit
    assert line == " ".join(line.split())
    assert not re.search("[\x00-\x1f\u202a-\u202e\u2066-\u2069\u200b\ud800-\udfff]", line)


def test_inline_code_holds_no_markup_and_no_line_break():
    assert code("a`b``\n@everyone") == "`a'b'' @everyone`"
    assert code("") == "`?`"
    assert code("\u200b") == "`?`"


def test_a_fence_keeps_its_text_and_drops_an_odd_language():
    assert fence("x\n", "py") == "```py\nx\n```"
    assert fence("", "py") == "```py\n \n```"
    assert fence("x", "p" * 3000) == "```\nx\n```"
    assert fence("x", "py\n@everyone") == "```\nx\n```"
    assert fence("a```b", "") == "```\na`\u200b``b\n```"
    assert fence("a`````b`", "") == "```\na`\u200b`\u200b`\u200b``b`\u200b\n```"


@given(st.text(st.sampled_from("`a\n ")))
def test_no_text_ends_a_fence_early(text):
    block = fence(text, "diff")
    assert block.startswith("```diff\n")
    assert block.endswith("\n```")
    assert block.count("```") == 2
    assert not block[:-4].endswith("`")
    assert block[8:-4].replace("\u200b", "") in {text.strip("\n"), " "}


def test_sizes_for_people():
    sizes = [0, 1, 1023, 1024, 1536, 8 * 1024**2, int(30.1 * 1024**2)]
    assert [size_words(size) for size in sizes] == [
        *("0 bytes", "1 byte", "1023 bytes", "1 KiB", "1.5 KiB", "8 MiB", "30.1 MiB")
    ]


def test_a_diff_counts_added_and_removed_lines():
    found = diff("src/a.py", "hello\nworld\n", "hello\neverybody\n")
    assert found.text == "--- src/a.py\n+++ src/a.py\n@@ -1,2 +1,2 @@\n hello\n-world\n+everybody\n"
    assert (found.added, found.removed, found.filename) == (1, 1, "a.py.diff")
    assert found.summary == "`src/a.py` +1 −1"  # noqa: RUF001 - a minus sign
    assert found.fenced() == (f"```diff\n{found.text}```", True)
    assert diff("a", None, "x\n").text == "--- /dev/null\n+++ a\n@@ -0,0 +1 @@\n+x\n"
    assert diff("a", "x\n", "").text == "--- a\n+++ a\n@@ -1 +0,0 @@\n-x\n"
    assert diff("a", "x", "x\n").text == "--- a\n+++ a\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n"
    assert diff("a", "x\ny", "x\nz").text == "--- a\n+++ a\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n"
    assert diff("a", "same", "same").text == ""
    assert diff("a", None, "").text == ""


def test_a_diff_shows_three_lines_around_a_change():
    old = "".join(f"{number}\n" for number in range(1, 101))
    found = diff("a", old, old.replace("50\n", "fifty\n").replace("90\n", ""))
    assert [line for line in found.text.split("\n") if line.startswith("@@")] == [
        "@@ -47,7 +47,7 @@",
        "@@ -87,7 +87,6 @@",
    ]


_line_texts = st.lists(st.sampled_from(["a\n", "b\n", "\n", "c", "--x\n", "\x0c\n", "\r\n"]), max_size=12).map("".join)


@given(_line_texts, _line_texts)
def test_a_diff_turns_the_old_into_the_new(old, new):
    found = diff("f", old, new)
    assert (found.text == "") == (old == new)
    if found.text:
        if old and new and not old.endswith("\n") and not new.endswith("\n"):
            old, new = f"{old}\n", f"{new}\n"
        assert apply(old, found.text) == new


@pytest.mark.parametrize("alike", [True, False])
def test_a_large_change_is_still_a_diff(alike):
    same = [f"same {number}\n" for number in range(50)]
    old = "".join([*same, *("x\n" if alike else f"old {n}\n" for n in range(900)), *same])
    new = "".join([*same, *("x\n" if alike and n % 2 else f"new {n}\n" for n in range(800)), *same])
    found = diff("f", old, new)
    assert apply(old, found.text) == new
    # Of two lines that are alike at the edge, one is no part of it.
    assert found.removed in {900, 899}
    assert found.text.count("@@ -") == 1


def test_git_applies_a_diff(tmp_path: Path):
    old = "".join(f"line {number}\n" for number in range(60)) + "end"
    new = old.replace("line 3\n", "line three\nand more\n").replace("line 50\n", "").replace("end", "END\n")
    (tmp_path / "f.txt").write_text(old)
    patch = diff("f.txt", old, new).text + diff("new.txt", None, "fresh\n").text
    subprocess.run(["git", "apply", "-p0", "-"], cwd=tmp_path, input=patch, text=True, check=True)
    assert (tmp_path / "f.txt").read_text() == new
    assert (tmp_path / "new.txt").read_text() == "fresh\n"


def test_huge_texts_are_only_counted():
    found = diff("f", "a\n" * 200_000, "b\n" * 200_000)
    assert found.text == "--- f\n+++ f\n@@ too large to compare: 200,000 lines, now 200,000 @@\n"


def test_a_long_diff_is_cut_and_says_so():
    found = diff("f", "".join(f"old {n} ```\n" for n in range(300)), "".join(f"new {n} ```\n" for n in range(300)))
    text, whole = found.fenced(1000)
    assert not whole
    assert units(text) <= 1000
    shown = text.split("\n")
    assert shown[0] == "```diff"
    assert shown[-2] == "```"
    assert shown[-1] == f"… {603 - (len(shown) - 3)} more lines."
    assert len(text) > 800


@given(st.text(st.sampled_from("`ab\n👨é"), max_size=600), st.text(max_size=100), st.integers(100, 600))
def test_any_diff_fits_its_block(new, path, limit):
    text, whole = diff(path, None, new).fenced(limit)
    assert units(text) <= limit
    assert text.count("```") == 2
    assert whole or "more line" in text


def test_the_changes_of_a_tool_call_are_found_and_malformed_ones_left_out():
    change = {"type": "diff", "path": "a", "oldText": None, "newText": "x\n"}
    body: dict[str, Any] = {
        "content": [
            {"type": "content", "content": {"type": "text", "text": "t"}},
            *(change, {**change, "oldText": "y\n"}, "text", None, {"type": "diff"}, {**change, "newText": 5}),
            *({**change, "oldText": 5}, {**change, "path": None}),
        ]
    }
    assert changes(body) == [("a", None, "x\n"), ("a", "y\n", "x\n")]
    assert [diff(*found).text.split("\n")[0] for found in changes(body)] == ["--- /dev/null", "--- a"]
    assert len(changes({"content": [change] * 1000})) == 50
    strange: list[dict[str, Any]] = [{}, {"content": None}, {"content": {}}, {"content": "diff"}]
    for malformed in strange:
        assert changes(malformed) == []


def test_a_path_is_shown_on_one_line_and_names_a_file():
    found = diff("../../etc/pass\u202ewd\n@everyone `x`", None, "x\n")
    assert found.text.split("\n")[1] == "+++ ../../etc/passwd @everyone `x`"
    assert found.filename == "passwd @everyone `x`.diff"
    assert diff("..", None, "x").filename == "change.diff"
    assert diff("a\\b\\c.txt", None, "x").filename == "c.txt.diff"
    assert units(diff("n" * 5000, None, "x").filename) <= 90


def test_a_cut_diff_fits_at_every_limit():
    found = diff("f", None, "x\n" * 2_000)
    for limit in range(100, 200):
        text, whole = found.fenced(limit)
        assert not whole
        assert limit - 40 <= units(text) <= limit


def test_many_lines_alike_are_not_matched():
    found = diff("f", "x\n" * 300, "".join("x\n" if n % 2 else f"{n}\n" for n in range(300)))
    assert found.removed >= 299
    few = diff("f", "x\n" * 20, "".join("x\n" if n % 2 else f"{n}\n" for n in range(20)))
    assert few.removed == 10
