"""Discord's time, in place of a clock of this machine that is wrong."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from acpbot.chat.discord.discord_time import DiscordClock, snowflake
from tests.support.pool import Clock

YEAR = 365.25 * 86_400
NOW = 1_800_000_000.0
WRONG = {"1970": -time.time(), "30 years ahead": 30 * YEAR, "75 years ahead": 75 * YEAR, "a day behind": -86_400.0}


def clocks() -> tuple[Clock, Clock, DiscordClock]:
    """This machine's wall clock, the seconds since its start, and Discord's time by both."""
    wall, boottime = Clock(), Clock()
    wall.now = NOW
    return wall, boottime, DiscordClock(wall, boottime)


def test_this_machines_clock_counts_while_it_agrees_with_discords():
    wall, _, now = clocks()
    assert (now(), now.is_known) == (NOW, False)
    now.read(formatdate(NOW - 5, usegmt=True))
    assert (now(), now.is_known) == (NOW, True)
    wall.move(0.25)
    assert now() == NOW + 0.25


@pytest.mark.parametrize("ahead", WRONG.values(), ids=WRONG)
def test_a_wrong_clock_gives_discords_time(ahead):
    wall, boottime, now = clocks()
    wall.move(ahead)
    now.read(formatdate(NOW, usegmt=True))
    assert now() == NOW + 0.5
    boottime.move(500)
    assert now() == NOW + 500.5, "also where the wall clock has not moved"


def test_a_clock_that_is_set_while_it_runs_changes_nothing():
    wall, boottime, now = clocks()
    now.read(formatdate(NOW, usegmt=True))
    wall.move(-30 * YEAR)
    boottime.move(60)
    assert now() == NOW + 60.5
    wall.now = NOW + 60
    assert now() == NOW + 60, "it is right again"


def test_a_wrong_clock_is_logged_once(caplog):
    wall, _, now = clocks()
    wall.move(YEAR)
    for _ in range(3):
        now.read(formatdate(NOW, usegmt=True))
    assert [record.message for record in caplog.records] == ["clock_differs_from_discord"]


@pytest.mark.parametrize("date", ["", "soon", "Sat, 99 Nov 2026 00:00:00 GMT", "0", "\ud800", "1 Nov 99999 0:0:0 GMT"])
def test_a_date_that_is_none_changes_nothing(date):
    _, _, now = clocks()
    now.read(date)
    assert (now(), now.is_known) == (NOW, False)


def test_an_id_of_any_time_can_be_stored():
    assert snowflake(-1e12) == snowflake(0) == 0
    assert snowflake(1e12) == snowflake(NOW + 75 * YEAR) == 2**63 - 1
    assert snowflake(NOW) == 1_593_540_240_998_400_000
