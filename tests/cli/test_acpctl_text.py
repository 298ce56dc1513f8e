"""The functions for text, times, quantities, keys and word wrap: no daemon, no terminal."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acpctl import quantities, text, times
from acpctl.chat.frame_output import Drawn
from acpctl.chat.line_editor import scroll_line
from acpctl.chat.word_wrap import WrappedText
from acpctl.errors import CliError
from acpctl.terminal.keys import KeyParser
from acpctl.text import clean, clean_cell, clean_lines
from acpctl.thread_refs import parse_thread
from tests.support.hidden_text import HIDDEN, ORDINARY, hides_nothing

ACTS = set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029\ufeff\u200b")


@given(st.text())
def test_clean_text_cannot_act_on_a_terminal(given_text):
    made = text.clean(given_text)
    assert not ACTS & set(made)
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in made)


@given(st.text())
def test_clean_lines_keeps_newlines_and_no_other_control_character(given_text):
    made = text.clean_lines(given_text)
    assert not ACTS & set(made)
    assert {character for character in made if unicodedata.category(character) == "Cc"} <= {"\n"}


@pytest.mark.parametrize(
    ("dirty", "made"),
    [
        ("plain", "plain"),
        ("日本 ü 👨‍💻 ✔️", "日本 ü 👨‍💻 ✔️"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "xlink"),
        ("\x1bPq#0\x1b\\x\x1b7y\x1b(Bz", "xyz"),
        ("a\tb\r\n  c\n", "a b c"),
        ("\x07\x9b\x7f\u202e", "\\x07\\x9b\\x7f\\u202e"),
        ("\x1b", "\\x1b"),
        (None, ""),
        (7, "7"),
    ],
)
def test_clean_removes_escape_sequences_and_escapes_the_rest(dirty, made):
    assert text.clean(dirty) == made


@given(st.text(), st.integers(0, 40))
def test_truncated_text_fits(given_text, columns):
    made = text.clean(given_text)
    assert text.width(text.truncate(made, columns)) <= columns
    assert text.width(text.truncate_start(made, columns)) <= columns
    if text.width(made) <= columns:
        assert text.truncate(made, columns) == text.truncate_start(made, columns) == made


@pytest.mark.parametrize(
    ("path", "columns", "shown"),
    [
        ("/srv/a/long/way/down", 40, "/srv/a/long/way/down"),
        ("/srv/a/long/way/down", 12, "…/way/down"),
        ("/srv/workspaces/1310203040506071234", 12, "…40506071234"),
        ("日本日本日本", 7, "…本日本"),
    ],
)
def test_a_path_is_cut_from_the_left(path, columns, shown):
    assert text.truncate_start(path, columns) == shown


@pytest.mark.parametrize(
    ("path", "home", "shown"),
    [
        ("/home/op/x", "/home/op", "~/x"),
        ("/home/op", "/home/op/", "~"),
        ("/home/operator", "/home/op", "/home/operator"),
        ("/x", "/", "/x"),
        ("/x", "", "/x"),
    ],
)
def test_the_home_folder_is_a_tilde(path, home, shown):
    assert text.abbreviate_home(path, home) == shown


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (192, "3m12s"),
        (3600, "1h00m"),
        (86_399, "23h59m"),
        (273_600, "3d04h"),
        (-1, "0s"),
        (None, "-"),
        ("7", "-"),
        (True, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
    ],
)
def test_durations_are_shown_in_two_units(seconds, expected):
    assert times.duration(seconds) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "0B"), (1023, "1023B"), (1024, "1.0K"), (123_731_968, "118M"), (5 * 1024**3, "5.0G"), (1e17, "90949T")],
)
def test_sizes_are_shown_in_one_unit(amount, expected):
    assert quantities.size(amount) == expected


@pytest.mark.parametrize("timestamp", ["yesterday", "9999-12-31T23:59:59.999+00:00", "0001-01-01T00:00:00+00:00"])
def test_a_timestamp_without_a_local_time_is_shown_as_it_is(monkeypatch, timestamp):
    for zone in ("Etc/GMT-14", "Etc/GMT+12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        shown = times.time_of_day(timestamp)
        assert shown == timestamp or len(shown) == len("15:04:05")
    monkeypatch.undo()
    time.tzset()


def test_short_durations_keep_their_hundredths():
    assert [times.precise_duration(value) for value in (0.041, 3.21, 65, None)] == ["0.04s", "3.2s", "1m05s", "-"]


@pytest.mark.parametrize("form", ["<#12", "<#abc>", "https://discord.com/channels/1", "http://x", "\x1b", "a" * 201])
def test_an_invalid_thread_reference_exits_with_2(form):
    with pytest.raises(CliError) as caught:
        parse_thread(form)
    assert caught.value.exit_code == 2


def keys_of(*pieces: bytes) -> list[str]:
    keys = KeyParser()
    return [key for piece in pieces for key in keys.feed(piece)]


def test_special_keys_have_names():
    assert keys_of(b"a\x1b[A\x1bOB\x7f\x03\x1b[3~\r\x1b[5;9~b") == [
        "a", "up", "down", "backspace", "ctrl-c", "delete", "enter", "b",
    ]  # fmt: skip


def test_keys_come_in_any_pieces():
    data = "ü\x1b[Aé\x1b[3~日x".encode()
    expected = ["ü", "up", "é", "delete", "日", "x"]
    assert keys_of(data) == expected
    for cut in range(1, len(data)):
        if data[cut - 1 : cut] != b"\x1b":  # an escape alone at the end of a read is the key Esc
            assert keys_of(data[:cut], data[cut:]) == expected, cut


@given(st.binary())
def test_any_bytes_parse_as_keys(data):
    assert all(isinstance(key, str) for key in keys_of(data, b"x"))


@given(st.text(alphabet="a日 \u2028", max_size=60), st.integers(0, 60), st.integers(1, 20))
def test_the_cursor_stays_in_the_visible_part_of_the_input_line(line, cursor, columns):
    shown, index = scroll_line(line, min(cursor, len(line)), columns)
    assert text.width(shown) <= max(1, columns - 1)
    assert 0 <= index <= len(shown)
    assert "\u2028" not in shown


@pytest.mark.parametrize(
    ("live", "cursor", "columns", "added"),
    [
        ([80, 10], 5, 100, 0),
        ([80, 10], 5, 120, 0),
        ([80, 10], 5, 80, 0),
        ([80, 10], 5, 40, 1),
        ([81, 10], 5, 40, 2),
        ([80, 10], 45, 40, 2),
        ([], 85, 40, 2),
        ([0], 0, 40, 0),
    ],
)
def test_a_narrower_terminal_wraps_the_rows_of_the_last_frame(live, cursor, columns, added):
    assert Drawn(100, live, cursor).rows_added(columns) == added


def wrapped(pieces: list[str], columns: int) -> list[str]:
    rows = WrappedText()
    for piece in pieces:
        rows.add(piece, columns)
    rows.end()
    return rows.take_rows()


@example("``````  `", [7], 2)
@example("ab  \ncd", [3], 2)
@given(st.text(alphabet="abcd 日\n`", max_size=200), st.lists(st.integers(1, 20)), st.integers(2, 12))
def test_wrapping_does_not_depend_on_the_pieces(whole, sizes, columns):
    pieces, rest = [], whole
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    rows = wrapped([*pieces, rest], columns)
    assert rows == wrapped([whole], columns)
    assert all(text.width(row) <= columns for row in rows)
    assert "".join("".join(rows).split()) == "".join(whole.split())


def test_text_breaks_at_words_and_code_breaks_anywhere():
    assert wrapped(["one two three"], 8) == ["one two", "three"]
    assert wrapped(["abcdefghij kl"], 4) == ["abcd", "efgh", "ij", "kl"]
    assert wrapped(["```\nx = one two three\n```\none two three\n\n\n"], 8) == [
        "```", "x = one", "two thre", "e", "```", "one two", "three",
    ]  # fmt: skip


def test_spaces_after_a_full_row_add_no_row():
    assert wrapped(["ab  \ncd\n"], 2) == ["ab", "cd"]


def test_code_with_a_long_first_line_is_still_code():
    assert wrapped(["```python hello\nx = one two\n```\none two three"], 9) == [
        "```python", "hello", "x = one t", "wo", "```", "one two", "three",
    ]  # fmt: skip


def test_empty_lines_are_kept_only_inside_a_text():
    assert wrapped(["\n\na\n\nb\n\n\n"], 10) == ["a", "", "b"]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_all_scripts_stays_as_it_is(text):
    assert clean(text) == text
    assert clean_lines(text) == text


@pytest.mark.parametrize("text", HIDDEN)
def test_what_hides_something_is_removed_or_shown(text):
    assert hides_nothing(clean(text))
    assert hides_nothing(clean_lines(text))
    assert hides_nothing(clean_cell(text))
