from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.sessions.visible_text import mixed_words, visible, visible_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git status", "git status"),
        ("a\n\tb", "a\n\tb"),
        ("rm\u202e -rf", "rm\\u202e -rf"),
        ("rm\u200b", "rm\\u200b"),
        ("a\x1b[2Kb\r\x9b", "a\\e[2Kb\\r\\x9b"),
        ("a\0\x7f\xad", "a\\0\\x7f\\xad"),
        ("ls\xa0-la\u2003x", "ls\\xa0-la\\u2003x"),
        ("\U000e0041\ufe0f\u3164\u115f\u2800", "\\U000e0041\\ufe0f\\u3164\\u115f\\u2800"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\ud800", "\\ud800"),
        (
            "👨\u200d👩\u200d👧 ❤\ufe0f \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "👨\u200d👩\u200d👧 ❤\ufe0f \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("a\u200db", "a\\u200db"),
        ("👨\u200d\u200d👩", "👨\\u200d\\u200d👩"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("👨\u200d\u200c\u200d👩", "👨\\u200d\\u200c\\u200d👩"),
        ("ls" + " " * 500 + "; rm", "ls⟨500 spaces⟩; rm"),
        ("ls" + "\t" * 50 + "; rm", "ls⟨50 spaces⟩; rm"),
        ("ls\n" + " \n" * 60 + "rm", "ls\n⟨60 empty lines⟩\nrm"),
        (" " * 40 + "x\n\n\ny", " " * 40 + "x\n\n\ny"),
    ],
)
def test_nothing_is_invisible(text, shown):
    assert visible(text) == shown


def test_a_line_has_no_newline():
    assert visible_line("a\nb\r\n") == "a\\nb\\r\\n"


@given(st.text())
def test_no_character_acts_on_what_is_around_it(text):
    for char in visible(text):
        assert char in "\n\t\u200c\u200d" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"]) | st.sampled_from(" \n")))
def test_ordinary_text_stays_as_it_is(text):
    if "  " not in text and "\n\n" not in text and not any(char in text for char in "\u2800\u3164\u115f\u1160\uffa0"):
        assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("curl https://example.com", []),
        ("\u0441url example.com", ["\u0441url"]),
        ("\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 αβγ", []),
        ("naïve café \u6587\u4ef6.txt 😀", []),
        ("https://good.com\u2215evil.com", ["https://good.com\u2215evil.com"]),
        ("\uff52m x", ["\uff52m"]),
        ("a\u0431 b\u0431 c\u0431 d\u0431", ["a\u0431", "b\u0431", "c\u0431"]),
        ("x" * 100 + "\u0431", ["x" * 60 + "…"]),
    ],
)
def test_words_of_two_alphabets_are_found(text, words):
    assert mixed_words(text) == words
