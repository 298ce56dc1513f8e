"""The small line below an answer."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.acp.usage import Cost
from acpbot.chat.rendering.footer import footer_text
from acpbot.chat.rendering.live_message import LiveMessage, join
from acpbot.sessions.turn import TurnFacts
from acpbot.text import units

LINE = "claude · Opus · 12 s · 34k of 200k tokens (17%) · $0.0123"


def facts(**changes) -> TurnFacts:
    known: dict[str, Any] = {"agent": "claude", "model": "Opus", "seconds": 12.0, "cost": Cost(0.0123, "USD")}
    return TurnFacts(**(known | {"context_used": 34_000, "context_size": 200_000} | changes))


def test_it_says_who_has_answered_and_what_that_has_taken():
    assert footer_text(facts()) == LINE


def test_it_leaves_out_what_is_unknown():
    nothing = facts(model=None, context_used=None, context_size=None, cost=None)
    assert footer_text(nothing) == "claude · 12 s"
    assert footer_text(facts(context_size=None, model=None, cost=None)) == "claude · 12 s · 34k tokens"


def test_a_name_of_the_agent_s_has_no_effect():
    text = footer_text(facts(agent="[x](https://e.example)\n# `", model="@everyone <@1> " + "y" * 500))
    assert text.startswith(r"\[x\](https\://e.example) # \` · \@everyone \<\@1\> yyy")
    assert units(text) < 200


@pytest.mark.parametrize("word", ["x", "word ", "a\n", "🙂"])
def test_it_is_in_the_last_message_of_the_answer_and_pushes_none_over_the_limit(word):
    for size in (1, 2, 50, *range(1700, 2010, 3), *range(3700, 4010, 7), 9500, 9999, 12_000):
        live = LiveMessage()
        live.append(text := (word * size)[:size])
        live.finish()
        live.footer(LINE)
        bodies = live.bodies()
        assert all(units(body) <= 2000 for body in bodies)
        assert bodies[-1].endswith(f"\n-# {LINE}")
        assert sum("-# " in body for body in bodies) == 1
        assert live.parts()[-1].shown.strip()
        assert join(live.parts(), live.overflow()) == text


def test_it_follows_the_end_of_an_open_code_block_and_the_notices():
    live = LiveMessage()
    live.append("```py\nx = 1")
    live.notice("Cancelled.")
    live.footer("claude")
    assert live.bodies() == ["```py\nx = 1\n```\nCancelled.\n-# claude"]


def test_notices_that_do_not_fit_beside_it_make_a_message_of_their_own():
    live = LiveMessage()
    live.append("x" * 1600)
    for letter in "abc":
        live.notice(letter * 200)
    live.footer(LINE)
    first, second = live.bodies()
    assert first == f"{'x' * 1600}\n-# {LINE}"
    assert "-#" not in second


def test_there_is_none_without_text():
    live = LiveMessage()
    live.tool("1", title="ls", kind="execute", status="completed")
    live.notice("The agent could not be started.")
    live.footer(LINE)
    assert "-#" not in "".join(live.bodies())


def test_it_fits_below_tools_and_plans_too():
    live = LiveMessage(limit=400, max_bodies=1)
    live.plan([{"content": "step " * 20, "status": "pending"}] * 20)
    live.append("y" * 5000)
    live.notice("z" * 300)
    live.footer(LINE * 5)
    (body,) = live.bodies()
    assert units(body) <= 400
    assert "\n-# " in body
