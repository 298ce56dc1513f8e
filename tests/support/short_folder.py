"""Folders whose sockets have paths that fit, whatever TMPDIR and the test's name are."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH_MAX = 30  # bytes: a socket path holds 107 (unix(7)), and tests bind up to 60 bytes below their folder


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder below TMPDIR where its path is short enough, else below /tmp; it is removed at the end."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > LENGTH_MAX:
        parent = "/tmp"
    with tempfile.TemporaryDirectory(prefix="acpbot-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
