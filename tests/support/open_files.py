"""A process that may open no more files, for as long as a test says."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file besides those that it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    fill: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        try:
            while True:
                fill.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in fill:
            os.close(descriptor)
