from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from acpbot.management.audit import LOGGER
from tests.support.management_server import AuditLog, Harness


@pytest.fixture
async def make_harness(tmp_path):
    harnesses: list[Harness] = []

    async def make(*args, folder=None, **services) -> Harness:
        harness = Harness(folder or tmp_path / str(len(harnesses)), *args, **services)
        harnesses.append(harness)
        await harness.start()
        return harness

    yield make
    for harness in harnesses:
        await harness.stop()


@pytest.fixture
async def harness(make_harness):
    return await make_harness()


@pytest.fixture
def audit_log():
    handler = AuditLog()
    logger = logging.getLogger(LOGGER)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def public_path():
    """A folder that every user can reach: pytest's own are 0700."""
    with tempfile.TemporaryDirectory(prefix="acpbot-test-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
