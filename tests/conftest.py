"""For every test: how Hypothesis searches, what asyncio and the garbage collector do, and a folder of its own.

Nothing of whoever runs the suite changes a result.

Hypothesis searches in the same way each time: a run of the suite says whether a change has broken something; what a
search finds by chance is for whoever searches. `make fuzz` searches anew each time, and longer.
"""

from __future__ import annotations

import asyncio.constants
import gc
import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.short_folder import short_folder

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

# Debug mode makes every check, but does not note where each callback was made: that is half of its cost.
asyncio.constants.DEBUG_STACK_DEPTH = 0  # type: ignore[misc] # Final in typeshed; a number to set in asyncio

pytest_plugins = ["tests.support.left_out"]

settings.register_profile("suite", max_examples=50, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile("suite")

# Variables that acpbot, acpctl, their libraries or an agent read. A test sets those that it is about.
_FOREIGN = ("ACPBOT_", "DISCORD_", "XDG_", "PYTHON", "SYSTEMD_", "LISTEN_", "WATCHDOG_")
_FOREIGN_NAMES = {"NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "COLUMNS", "LINES"}
_FOREIGN_NAMES |= {"NOTIFY_SOCKET", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY", "INVOCATION_ID"}
_KEPT = ("ACPBOT_SEEDS", "ACPBOT_AGENTS", "ACPBOT_TEST_AGENTS", "ACPBOT_TEST_RUNTIMES", "PYTHONPATH", "PYTHONHOME")
for _name in tuple(os.environ):
    if (_name.startswith(_FOREIGN) or _name in _FOREIGN_NAMES) and _name not in _KEPT:
        del os.environ[_name]
os.umask(0o022)


def _is_no_slow_step(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Executing ")


# asyncio, in debug mode, reports each step of a loop that takes long, as any may while the machine is busy.
logging.getLogger("asyncio").addFilter(_is_no_slow_step)


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
