"""For every test: how Hypothesis searches, what asyncio's debug mode and the garbage collector do, and a folder.

Hypothesis searches in the same way each time: a run of the suite says whether a change has broken something; what a
search finds by chance is for whoever searches. `make fuzz` searches anew each time, and longer.
"""

from __future__ import annotations

import asyncio.constants
import gc
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.short_folder import short_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

# Debug mode makes every check, but does not note where each callback was made: that is half of its cost.
asyncio.constants.DEBUG_STACK_DEPTH = 0  # type: ignore[misc] # Final in typeshed; a number to set in asyncio

settings.register_profile("suite", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what thousands of tests are made of from the garbage collector, which would look through it all the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's own, whose path is so long below some TMPDIR that sockets cannot be bound in it."""
    with short_folder() as folder:
        yield folder
