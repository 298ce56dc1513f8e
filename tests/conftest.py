"""For every test: how Hypothesis searches, and a folder.

Hypothesis searches in the same way each time: a run of the suite says whether a change has broken something; what a
search finds by chance is for whoever searches. `make fuzz` searches anew each time, and longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.short_folder import short_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile("suite")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's own, whose path is so long below some TMPDIR that sockets cannot be bound in it."""
    with short_folder() as folder:
        yield folder
