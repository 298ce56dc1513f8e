"""Marks of tests that `make test` leaves out, since they take minutes or need root; each has a target of its own."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

TARGETS: Final = {"attack": "attacks", "campaign": "campaigns", "runtimes": "test-runtimes", "service": "test-service"}
"""The mark, and the make target that runs the tests which have it."""

FOLDERS: Final = {"tests/packaging": "service", "tests/demo": "service", "tests/runtimes/kubernetes": "runtimes"}
"""Folders whose tests all have a mark, but for those in files check_*.py, which run only where they are named."""

_COUNTS: Final = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    for mark, target in TARGETS.items():
        config.addinivalue_line("markers", f"{mark}: runs by `make {target}`, and only when asked for by -m")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.parent.relative_to(config.rootpath).as_posix()
        if folder in FOLDERS and not item.path.name.startswith("check_"):
            item.add_marker(FOLDERS[folder])
    counts = config.stash[_COUNTS] = Counter()
    for mark in TARGETS.keys() - config.option.markexpr.split():
        left_out = [item for item in items if item.get_closest_marker(mark) is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
        counts[mark] = len(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for mark, count in config.stash.get(_COUNTS, Counter[str]()).items():
        if count:
            terminalreporter.write_line(f"{count} tests marked {mark} were left out; to run them: make {TARGETS[mark]}")
