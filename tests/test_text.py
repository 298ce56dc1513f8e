"""Cleaning: what goes, what stays, and that it never makes a text longer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.text import clean, escaped, one_line, operator_line, printable, terminal_text
from tests.support.hidden_text import HIDDEN, ORDINARY, hides_nothing

_ANY = st.text(
    st.characters() | st.sampled_from("\x1b[]\x9b\u200c\u200d\ufe0f\u034f\U0001f3f4\U000e0067\U000e007fक्aم👩")
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_all_scripts_stays_as_it_is(text):
    assert clean(text) == text
    assert clean(text, "\ufffd") == text
    assert escaped(text) == text
    assert one_line(text, 200) == text


@pytest.mark.parametrize("text", HIDDEN)
def test_what_hides_something_is_removed(text):
    assert hides_nothing(clean(text))
    assert hides_nothing(clean(text, "\ufffd"))


@given(_ANY)
def test_a_second_cleaning_changes_nothing_and_none_makes_a_text_longer(text):
    for instead in ("", "\ufffd", " "):
        cleaned = clean(text, instead)
        assert clean(cleaned, instead) == cleaned
        assert len(cleaned) <= len(text)
    assert hides_nothing(clean(text))


@given(_ANY)
def test_each_kind_of_line_is_one_clean_line(text):
    for line in (one_line(text, 50), printable(text), terminal_text(text), operator_line(text), escaped(text)):
        assert hides_nothing(line)
        assert not {"\n", "\t"} & set(line)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_escaped_json_string_decodes_to_the_same_text(text):
    assert json.loads(escaped(json.dumps(text, ensure_ascii=False))) == text
