from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.acp.schema import PermissionOption
from acpbot.chat.discord.interactions import buttons
from acpbot.chat.discord.interactions.buttons import (
    Pressed,
    ask_text,
    buttons_for,
    decode,
    encode,
    end_text,
    label_for,
    style_for,
)
from acpbot.text import units

REQUEST = "0123456789abcdef-12"


def option(kind: str, name: str = "", option_id: str = "o") -> PermissionOption:
    return PermissionOption(option_id, name, kind)


@given(st.text("0123456789abcdef", min_size=1, max_size=16), st.integers(1, 10**9), st.integers(0, 9999))
def test_what_is_encoded_is_decoded(session, number, index):
    custom_id = encode(f"{session}-{number}", index)
    assert len(custom_id) <= 100
    assert decode(custom_id) == Pressed(f"{session}-{number}", index)


@pytest.mark.parametrize(
    "foreign",
    [
        *("", "acpbot", "acpbot:", "acpbot::0", "acpbot:a", "acpbot:a:", "acpbot:a:-1", "acpbot:a:01", "acpbot:a:1:2"),
        *("acpbot:a:1\n", " acpbot:a:1", "ACPBOT:a:1", "acpbot:a b:1", "acpbot:é:1", "acpbot:a:٣", "acpbot:a:99999"),
        *("other:a:1", "acpbot:a:1e3", f"acpbot:{'a' * 90}:1", "x" * 10_000, "acpbot:a:1\u200b"),
    ],
)
def test_ids_of_other_makers_are_not_decoded(foreign):
    assert decode(foreign) is None


@given(st.text())
def test_any_text_is_decoded_to_what_would_be_encoded_so(text):
    pressed = decode(text)
    assert pressed is None or encode(pressed.request, pressed.index) == text


@pytest.mark.parametrize("request_name", ["", "a:b", "a" * 100, "a\n"])
def test_a_name_that_does_not_fit_is_refused(request_name):
    with pytest.raises(ValueError, match=r"\Acannot make a button: "):
        encode(request_name, 0)


def test_labels_say_what_the_kind_does():
    assert label_for(option("allow_once", "Allow")) == "✅ Allow once"
    assert label_for(option("allow_always", "Always allow")) == "✅ Always allow"
    assert label_for(option("reject_once", "No")) == "❌ Reject"
    assert label_for(option("reject_always")) == "❌ Always reject"
    # An agent may name it as it likes; what it does is shown all the same.
    assert label_for(option("allow_always", "Reject")) == "✅ Always allow"
    assert label_for(option("allow_always", "Yes, all `git` commands")) == "✅ Always allow: Yes, all `git` commands"
    assert label_for(option("allow_once", "Allow"), alone=False) == "✅ Allow once: Allow"
    assert label_for(option("someday", "Ask\nlater")) == "❔ Ask later"
    assert label_for(option("", "", "plan-b")) == "❔ plan-b"


@given(st.sampled_from(["allow_once", "allow_always", "reject_once", "?"]), st.text(), st.booleans())
def test_labels_fit_and_are_one_line(kind, name, alone):
    label = label_for(option(kind, name), alone=alone)
    assert 0 < units(label) <= 80
    assert "\n" not in label
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x1f]", label)


def test_a_label_with_bidi_controls_or_half_characters_is_cleaned():
    assert label_for(option("allow_always", "Allow \u202eecno\u202c\u200b")) == "✅ Always allow: Allow ecno"
    long = label_for(option("x", "a" * 76 + "👨‍👩‍👧‍👦 and more"))
    assert long == "❔ " + "a" * 76 + "…"


def test_styles_follow_the_kind():
    kinds = ["allow_once", "allow_always", "reject_once", "reject_always", "", "ALLOW_ONCE"]
    assert [style_for(kind) for kind in kinds] == ["success", "success", "danger", "danger", "secondary", "secondary"]


def test_the_buttons_of_a_request():
    options = [option("reject_once", "No"), option("allow_always", "Tool"), option("allow_always", "Server")]
    assert [(b.custom_id, b.label, b.style) for b in buttons_for(REQUEST, options)] == [
        (f"acpbot:{REQUEST}:0", "❌ Reject", "danger"),
        (f"acpbot:{REQUEST}:1", "✅ Always allow: Tool", "success"),
        (f"acpbot:{REQUEST}:2", "✅ Always allow: Server", "success"),
    ]
    assert buttons_for(REQUEST, []) == []


def test_of_many_options_a_rejection_is_always_shown():
    many = [option("allow_once", str(number)) for number in range(40)]
    assert [decode(b.custom_id) for b in buttons_for(REQUEST, many)] == [Pressed(REQUEST, n) for n in range(25)]
    many[33] = option("reject_once", "No")
    shown = buttons_for(REQUEST, many)
    assert len(shown) == 25
    assert shown[-1] == buttons.Button(f"acpbot:{REQUEST}:33", "❌ Reject", "danger")
    assert len({b.custom_id for b in shown}) == 25


def test_the_ask_names_the_tool_and_who_can_answer():
    assert ask_text("Run `ls`", 300, "42") == (
        "🔐 The agent asks to use `Run 'ls'`\n<@42> or an admin can answer; after 5 minutes it is rejected."
    )
    assert ask_text("x", 1, "not an id").endswith("\nAn admin can answer; after 1 second it is rejected.")
    assert ask_text("x", 86_400, "1").endswith("after 24 hours it is rejected.")
    assert ask_text("rm -rf /\n  cd x", 60, "1") == (
        "🔐 The agent asks to use\n```\nrm -rf /\n  cd x\n```\n"
        "<@1> or an admin can answer; after 60 seconds it is rejected."
    )


@given(st.text(st.sampled_from("a`\n\u202e👨 é@"), max_size=4000) | st.text(), st.floats(1, 86_400))
def test_an_ask_fits_and_has_one_block(title, seconds):
    text = ask_text(title, seconds, "1")
    assert units(text) <= 1500
    assert text.count("```") in {0, 2}
    assert "\u202e" not in text


def test_the_end_text_says_how_the_request_ended():
    once, always = option("allow_once"), option("allow_always")
    assert end_text("selected", "ls", once, answered_by="7") == "✅ Allowed once by <@7>: `ls`"
    assert end_text("selected", "ls", always, answered_by="7") == "✅ Always allowed in this session by <@7>: `ls`"
    assert end_text("selected", "ls", option("reject_once")) == "❌ Rejected by an operator: `ls`"
    assert end_text("selected", "ls", option("?", "Plan B"), answered_by="7") == "❔ Answered `Plan B` by <@7>: `ls`"
    assert end_text("selected", "ls", None) == "❔ Answered by an operator: `ls`"
    assert end_text("expired", "ls", option("reject_once")) == "⌛ Nobody answered in time, so it was rejected: `ls`"
    assert end_text("cancelled", "@everyone\n`", None) == "⏹️ No answer is needed any more: `@everyone '`"


def test_answers_to_clicks_without_effect_say_why():
    assert buttons.not_yours("5") == "Only <@5> or an admin of the bot can answer this one. Nothing was changed."
    assert buttons.not_yours("") == "Only an admin of the bot can answer this one. Nothing was changed."
    assert buttons.answered_already("selected", "5") == "This was answered already by <@5>. Nothing was changed."
    assert buttons.answered_already("selected") == "This was answered already. Nothing was changed."
    assert "rejected" in buttons.answered_already("expired")
    assert "cancelled" in buttons.answered_already("cancelled")
    for sentence in (buttons.STALE, buttons.NOT_OFFERED):
        assert units(sentence) < 200
