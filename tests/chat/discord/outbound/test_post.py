"""The states of a delivery: those that the module's table allows, and no others."""

from __future__ import annotations

import itertools
import re

import pytest

from acpbot.chat.discord.outbound import post
from acpbot.chat.discord.outbound.post import Post, PostState
from acpbot.storage.store import Store


def table() -> dict[PostState, set[PostState]]:
    """What the docstring of the module says: for each state, the next ones."""
    found: dict[PostState, set[PostState]] = {}
    for line in (post.__doc__ or "").splitlines():
        state, _, rest = line.partition("  ")
        if state in PostState.__members__:
            following = re.split(r" {2,}", rest.strip())[1:]
            found[PostState[state]] = {PostState[name] for name in (following or [""])[0].split(", ") if name}
    return found


def post_in(state: PostState) -> Post:
    made = Post("1", ("text", ()), store=Store(), on_change=lambda _post: None, created_at=0.0)
    made.state = state
    return made


def test_the_table_has_every_state():
    assert table().keys() == set(PostState)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(PostState, PostState)))
def test_a_post_changes_its_state_only_as_the_table_allows(old, new):
    made = post_in(old)
    if new in table()[old]:
        made.move_to(new)
        assert made.state is new
    else:
        with pytest.raises(RuntimeError, match=f"cannot change the delivery .* from {old.name} to {new.name}"):
            made.move_to(new)
        assert made.state is old
