from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.demo_agent import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start agents in the test's folder; they are killed at its end."""
    started: list[Driver] = []

    def start(**settings: Any) -> Driver:
        driver = Driver(tmp_path, **settings)
        started.append(driver)
        driver.call("initialize", {"protocolVersion": 1})
        return driver

    yield start
    for driver in started:
        driver.close()


@pytest.fixture
def agent(start: Callable[..., Driver]) -> Driver:
    return start()
