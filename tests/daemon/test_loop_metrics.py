from __future__ import annotations

import asyncio
import time

import pytest

from acpbot.daemon.loop_metrics import LoopLag, rss_bytes


async def after(seconds: float) -> None:
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, done.set)
    await done.wait()


@pytest.fixture
async def lag():
    lag = LoopLag(interval=0.01, window=0.2)
    yield lag
    lag.stop()


async def test_a_blocked_loop_is_late(lag):
    await after(0.02)
    time.sleep(0.1)  # noqa: ASYNC251 - to block the loop is the point
    assert lag.milliseconds >= 90, "a delay that still lasts counts"
    await after(0.02)
    assert lag.milliseconds >= 90, "the worst one is reported for a while"
    while lag.milliseconds >= 90:
        await after(0.02)


async def test_a_stopped_measurement_schedules_nothing(lag):
    lag.stop()
    lag.stop()
    before = lag.milliseconds
    await after(0.03)
    assert lag.milliseconds == before


def test_rss_grows_with_what_is_held():
    before = rss_bytes()
    assert before is not None
    held = bytearray(64 * 1024 * 1024)
    held[::4096] = b"x" * len(held[::4096])
    after_ = rss_bytes()
    assert after_ is not None
    assert after_ - before > 32 * 1024 * 1024
    del held
