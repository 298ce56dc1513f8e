from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from tests.management.rig import AuditLog, House


@pytest.fixture
async def make_house(tmp_path):
    houses = []

    async def make(*args, folder=None, **services) -> House:
        house = House(folder or tmp_path / str(len(houses)), *args, **services)
        houses.append(house)
        await house.start()
        return house

    yield make
    for house in houses:
        await house.stop()


@pytest.fixture
async def house(make_house):
    return await make_house()


@pytest.fixture
def audit_log():
    handler = AuditLog()
    logger = logging.getLogger("acpbot.audit")
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
