from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.acp.connection import PermissionAsked
from acpbot.acp.schema import PermissionOption, PermissionParams
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
from acpbot.sessions.permission_action import action_of
from acpbot.sessions.turn import PermissionOutcome, PermissionRequest
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
    assert label_for(option("allow_once", "Allow")) == "Allow"
    assert label_for(option("allow_always", "Always allow")) == "Always allow"
    assert label_for(option("reject_once", "No")) == "Reject"
    assert label_for(option("reject_always")) == "Always reject"
    # An agent may name it as it likes; what it does is shown all the same.
    assert label_for(option("allow_always", "Reject")) == "Always allow"
    assert label_for(option("allow_always", "Yes, all `git` commands")) == "Always allow: Yes, all `git` commands"
    assert label_for(option("allow_once", "Allow"), alone=False) == "Allow: Allow"
    assert label_for(option("someday", "Ask\nlater")) == "❔ Ask later"
    assert label_for(option("", "", "plan-b")) == "❔ plan-b"


@given(st.sampled_from(["allow_once", "allow_always", "reject_once", "?"]), st.text(), st.booleans())
def test_labels_fit_and_are_one_line(kind, name, alone):
    label = label_for(option(kind, name), alone=alone)
    assert 0 < units(label) <= 80
    assert "\n" not in label
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x1f]", label)


def test_a_label_with_bidi_controls_or_half_characters_is_cleaned():
    assert label_for(option("allow_always", "Allow \u202eecno\u202c\u200b")) == "Always allow: Allow ecno"
    long = label_for(option("x", "a" * 76 + "👨‍👩‍👧‍👦 and more"))
    assert long == "❔ " + "a" * 76 + "…"


def test_styles_follow_the_kind():
    kinds = ["allow_once", "allow_always", "reject_once", "reject_always", "", "ALLOW_ONCE"]
    assert [style_for(kind) for kind in kinds] == ["success", "success", "danger", "danger", "secondary", "secondary"]


def test_the_buttons_of_a_request():
    options = [option("reject_once", "No"), option("allow_always", "Tool"), option("allow_always", "Server")]
    assert [(b.custom_id, b.label, b.style) for b in buttons_for(REQUEST, options)] == [
        (f"acpbot:{REQUEST}:1", "Always allow: Tool", "success"),
        (f"acpbot:{REQUEST}:2", "Always allow: Server", "success"),
        (f"acpbot:{REQUEST}:0", "Reject", "danger"),
    ]
    assert buttons_for(REQUEST, []) == []


def test_the_least_power_comes_first_and_every_button_keeps_its_answer():
    kinds = ["?", "reject_always", "allow_always", "reject_once", "allow_once"]
    shown = buttons_for(REQUEST, [option(kind) for kind in kinds])
    assert [b.label for b in shown] == ["Allow", "Always allow", "Reject", "Always reject", "❔ o"]
    assert [kinds[int(b.custom_id.rpartition(":")[2])] for b in shown] == [
        *("allow_once", "allow_always", "reject_once", "reject_always", "?")
    ]


def test_of_many_options_a_rejection_is_always_shown():
    many = [option("allow_once", str(number)) for number in range(40)]
    assert [decode(b.custom_id) for b in buttons_for(REQUEST, many)] == [Pressed(REQUEST, n) for n in range(25)]
    many[33] = option("reject_once", "No")
    shown = buttons_for(REQUEST, many)
    assert len(shown) == 25
    assert shown[-1] == buttons.Button(f"acpbot:{REQUEST}:33", "Reject", "danger")
    assert len({b.custom_id for b in shown}) == 25


def asked(call: dict, *options: PermissionOption, cut: str | None = None) -> PermissionRequest:
    params = PermissionParams("s", list(options) or [option("allow_once"), option("reject_once", "", "no")])
    action = action_of(call, {}, cut)
    return PermissionRequest(
        REQUEST,
        PermissionAsked(1, params),
        action,
        tool_call_id="t",
        timeout_seconds=300,
        expires_at=1_800_000_000.4,
        on_resolved=lambda *_: None,
    )


def text_of(ask: PermissionRequest, asker: str) -> str:
    return ask_text(ask, buttons.shown(ask.action), asker)


def end_of(ask: PermissionRequest, asker: str) -> str:
    return end_text(ask, buttons.shown(ask.action), asker)


def command(text: str, **more) -> dict:
    return {"toolCallId": "t", "title": "stub", "kind": "execute", "rawInput": {"command": text, **more}}


def test_the_ask_shows_the_command_who_can_answer_and_until_when():
    assert text_of(asked(command("git status")), "42") == (
        "🔐 **Run this command?** `git status`\nThe agent calls it `stub`.\n"
        "Waiting for <@42> or an admin. Expires <t:1800000000:R>."
    )
    assert "\nWaiting for an admin. Expires" in text_of(asked(command("ls")), "not an id")
    assert text_of(asked(command("echo `id`\nrm -rf /")), "1").startswith(
        "🔐 **Run this command?**\n```\necho `id`\nrm -rf /\n```\n"
    )


def test_the_ask_for_a_file_names_the_file():
    change = {"type": "diff", "path": "/w/calc.py", "oldText": "a\n", "newText": "b\n"}
    text = text_of(asked({"toolCallId": "t", "kind": "edit", "content": [change]}), "1")
    assert text.startswith(
        "🔐 **Edit** `/w/calc.py`?\n```diff\n--- /w/calc.py\n+++ /w/calc.py\n@@ -1,1 +1,1 @@\n-a\n+b\n```\n"
    )
    deletion = {"toolCallId": "t", "kind": "delete", "rawInput": {"path": "/etc/passwd"}}
    assert text_of(asked(deletion), "1").startswith("🔐 **Delete** `/etc/passwd`\n")


def test_the_ask_says_what_an_always_covers():
    always = asked(command("ls"), option("allow_once"), option("allow_always", "", "always"))
    assert buttons.ALWAYS in text_of(always, "1")
    assert buttons.ALWAYS not in text_of(asked(command("ls")), "1")


def test_a_long_command_is_shown_from_both_ends_and_says_where_all_of_it_is():
    ask = asked(command("git status #" + "x" * 5000 + "; rm -rf ~"))
    part = buttons.shown(ask.action)
    assert part.left_out > 3000
    text = text_of(ask, "1")
    assert "git status #" in text
    assert "; rm -rf ~\n" in text
    assert f"The attached file has all of it ({part.left_out:,} more characters)." in text


def test_many_lines_do_not_push_the_question_out_of_sight():
    part = buttons.shown(asked(command("\n".join(map(str, range(100))) + "\nrm -rf ~")).action)
    assert part.block.startswith("```\n0\n1\n")
    assert part.block.endswith("\n98\n99\nrm -rf ~\n```")
    assert part.block.count("\n") < 45
    assert part.left_out == len("\n".join(map(str, range(25, 91)))) + 2


def test_what_can_not_be_allowed_says_why():
    ask = asked(command("ls"), option("allow_always"), option("reject_once", "", "no"), cut="it is larger than 1 MiB")
    text = text_of(ask, "1")
    assert "⚠️ It can't be allowed: it is larger than 1 MiB.\n" in text
    assert buttons.ALWAYS not in text
    assert [one.style for one in buttons_for(REQUEST, ask.options)] == ["danger"]


HOSTILE = st.text(st.sampled_from("a`\n\u202e\u200b👨 é@\r\x1b~"), max_size=4000) | st.text()


@given(HOSTILE, HOSTILE, HOSTILE)
def test_an_ask_and_its_end_fit_whatever_the_agent_sends(title, text, content):
    change = {"type": "diff", "path": title, "oldText": text, "newText": content}
    for call in (
        {**command(text, other=content), "title": title},
        {"title": title, "content": [change], "rawInput": {"path": text}},
        {"title": title},
    ):
        always = option("allow_always", "", "always")
        ask = asked(call, always)
        shown = text_of(ask, "1" * 20)
        ask.select("always", by="2" * 20)
        ended = end_of(ask, "1" * 20)
        for message in (shown, ended, buttons.lost_text(ask), buttons.unasked(ask)):
            assert units(message) <= 2000
            assert message.count("```") % 2 == 0
            assert "\u202e" not in message
            assert "\r" not in message
            assert "\x1b" not in message


def ended(kind: str | None, *, by: str | None = None, name: str = "", outcome: PermissionOutcome = "selected") -> str:
    ask = asked(command("ls"))
    ask.answered_by = by
    ask.resolve(outcome, None if kind is None else option(kind, name))
    return end_of(ask, "7")


def test_the_end_text_says_how_the_request_ended():
    assert ended("allow_once", by="7") == "✅ Allowed once by <@7>: `ls`"
    assert ended("allow_always", by="7") == "✅ Allowed for this session by <@7>: `ls`"
    assert ended("allow_always", by="8") == "✅ Allowed by <@8>, whose Always covers only their own messages: `ls`"
    assert ended("reject_once") == "❌ Rejected by an admin: `ls`"
    assert ended("reject_always", by="7") == "❌ Always rejected by <@7>: `ls`"
    assert ended("?", by="7", name="Plan B") == "❔ Answered `Plan B` by <@7>: `ls`"
    assert ended(None) == "❔ Answered by an admin: `ls`"
    assert ended("reject_once", outcome="expired") == "⌛ Timed out, so it wasn't run: `ls`"
    assert ended(None, outcome="cancelled") == "⏹️ No longer needed: `ls`"
    changed = asked(command("ls"))
    changed.reject("selected", "changed")
    assert end_of(changed, "7") == "⏹️ Rejected because the agent changed it after it was shown: `ls`"


def test_what_was_shown_stays_when_the_request_has_ended():
    ask = asked(command("ls\nrm -rf ~"))
    ask.select("o", by="7")
    assert end_of(ask, "7") == "✅ Allowed once by <@7>:\n```\nls\nrm -rf ~\n```"


def test_answers_to_clicks_without_effect_say_why():
    assert buttons.not_yours("5") == "Only <@5> or an admin of the bot can answer this one."
    assert buttons.not_yours("") == "Only an admin of the bot can answer this one."
    assert buttons.answered_already("selected", "5") == "This was already answered by <@5>."
    assert buttons.answered_already("selected") == "This was already answered."
    assert buttons.answered_already("expired") == "Too late: this request timed out."
    assert buttons.answered_already("cancelled") == "This request is no longer needed."
    for sentence in (buttons.STALE, buttons.NOT_OFFERED):
        assert units(sentence) < 200
