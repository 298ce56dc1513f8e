"""Pieces of a long answer, with budgets that differ from piece to piece."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from acpbot.chat.rendering.splitter import BUDGET_MIN, Splitter
from acpbot.text import units
from tests.chat.rendering.test_live_message import texts

BUDGETS = st.lists(st.integers(BUDGET_MIN, 400), min_size=1, max_size=8)


def split(chunks: list[str], budgets: list[int], most: int) -> Splitter:
    splitter = Splitter(lambda index: budgets[index % len(budgets)], most)
    for chunk in chunks:
        splitter.feed(chunk)
    return splitter


@example("```py\n" + "x" * 300 + "\n```\n", [0], [BUDGET_MIN], 2)
@example("~" * 32 + "q" * 200 + "\n" + "a\n" * 200, [120], [BUDGET_MIN, 400], 5)
@example("\U0001f468\u200d\U0001f469" * 60, [1, 2, 3], [BUDGET_MIN], 3)
@example("\n" * 300 + "a" + " " * 300 + "b", [], [BUDGET_MIN], 1)
@given(texts, st.lists(st.integers(0, 300), max_size=6), BUDGETS, st.integers(1, 6))
def test_pieces_keep_to_their_budgets_lose_nothing_and_do_not_depend_on_the_chunks(text, cuts, budgets, most):
    cuts = sorted(min(cut, len(text)) for cut in cuts)
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    splitter = split(chunks, budgets, most)
    pieces = [*splitter.closed, *filter(None, [splitter.open()])]
    assert splitter.text == text
    assert "".join([*splitter.raws(), splitter.rest]) == text or not text.strip()
    assert len(pieces) == len(splitter.raws()) <= most
    for number, piece in enumerate(pieces):
        assert units("".join(piece)) <= budgets[number % len(budgets)]
        assert piece.shown.strip()
    whole = split([text], budgets, most)
    assert (whole.closed, whole.open(), whole.raws(), whole.rest) == (
        splitter.closed, splitter.open(), splitter.raws(), splitter.rest,
    )  # fmt: skip


@given(texts, texts, BUDGETS, st.integers(1, 4))
def test_a_fork_goes_on_by_itself(first, second, budgets, most):
    splitter = split([first], budgets, most)
    before = (list(splitter.closed), splitter.open(), splitter.raws(), splitter.rest, splitter.text)
    fork = splitter.fork()
    fork.feed(second)
    assert (splitter.closed, splitter.open(), splitter.raws(), splitter.rest, splitter.text) == before
    assert (fork.closed, fork.text) == (split([first, second], budgets, most).closed, first + second)
