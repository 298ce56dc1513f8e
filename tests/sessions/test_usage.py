"""What an agent reports of its context and cost: bounded, in rows, and added up in the database."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING

import pytest

from acpbot.acp.usage import Cost, Usage, usage
from acpbot.sessions.usage import UsageMeter
from acpbot.sessions.views import Target
from tests.fakes.agents import updating
from tests.sessions.test_pool import kill
from tests.support.pool_restarts import rows, started

if TYPE_CHECKING:
    from acpbot.storage.records import CostRecord

ARGV = (sys.executable, "-m", updating.__name__)


def report(amount=None, currency="USD", used=10, size=100) -> dict:
    cost = {} if amount is None else {"cost": {"amount": amount, "currency": currency}}
    return {"sessionUpdate": "usage_update", "used": used, "size": size, **cost}


def script(*updates) -> str:
    return json.dumps(updates)


@pytest.mark.parametrize(
    ("used", "size", "found"),
    [
        (10, 100, (10, 100)),
        (10.0, 1e2, (10, 100)),
        (0, 0, (0, None)),
        (101, 100, (101, 100)),
        (-1, -5, (None, None)),
        ("10", "many", (None, None)),
        (True, False, (None, None)),
        (10**13, 10**400, (None, None)),
        (1.5, None, (None, None)),
        (math.nan, math.inf, (None, None)),
        ([], {}, (None, None)),
    ],
)
def test_numbers_of_tokens_that_can_t_be_true_are_left_out(used, size, found):
    assert usage({"used": used, "size": size}) == Usage(*found)


@pytest.mark.parametrize(
    ("cost", "found"),
    [
        ({"amount": 0.5, "currency": "usd"}, Cost(0.5, "USD")),
        ({"amount": 1, "currency": "EUR"}, Cost(1.0, "EUR")),
        ({"amount": -0.5, "currency": "USD"}, None),
        ({"amount": "0.5", "currency": "USD"}, None),
        ({"amount": True, "currency": "USD"}, None),
        ({"amount": math.nan, "currency": "USD"}, None),
        ({"amount": math.inf, "currency": "USD"}, None),
        ({"amount": 1e300, "currency": "USD"}, None),
        ({"amount": 10**400, "currency": "USD"}, None),
        ({"amount": 1, "currency": "@everyone"}, None),
        ({"amount": 1, "currency": None}, None),
        ({"amount": 1}, None),
        ("free", None),
        (None, None),
    ],
)
def test_a_cost_that_can_t_be_true_is_left_out(cost, found):
    assert usage({"cost": cost}).cost == found


@pytest.mark.parametrize(
    ("cost", "words"),
    [(Cost(0.0123, "USD"), "$0.0123"), (Cost(1234.5, "EUR"), "€1,234.50"), (Cost(2, "CHF"), "2.00 CHF")],
)
def test_a_cost_reads_as_people_write_it(cost, words):
    assert str(cost) == words


def test_a_meter_adds_what_each_report_has_more_than_the_one_before():
    meter = UsageMeter("1", "demo")
    for session, amount in (("a", 0.1), ("a", 0.1), ("a", 0.3), ("b", 0.05), ("b", 0.02)):
        meter.report(session, report(amount))
    assert meter.cost is not None
    assert meter.cost.amount == pytest.approx(0.37)  # 0.3, then another session, then one that begins again
    assert meter.take_turn_cost() == meter.cost
    assert meter.take_turn_cost() is None


def test_a_meter_keeps_few_currencies_and_writes_nothing_before_it_is_settled():
    saved: list[CostRecord] = []
    meter = UsageMeter("1", "demo", {}, saved.append)
    for number in range(1000):
        meter.report("a", report(1 + number, currency=f"{chr(65 + number // 26 % 26)}X{chr(65 + number % 26)}"))
    assert saved == []
    meter.settle()
    meter.settle()
    assert len(saved) == 8


async def test_usage_is_in_the_row_and_a_bad_report_changes_no_total(make_harness):
    harness = make_harness(argv=ARGV)
    await harness.turn("1001", script(report(0.25, used=34_000, size=200_000)))
    row = harness.row("1001")
    assert (row.context_used, row.context_size, row.cost) == (34_000, 200_000, Cost(0.25, "USD"))
    line = '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"$SESSION","update":%s}}'
    bad = [
        line % '{"sessionUpdate":"usage_update","used":NaN,"size":1e999}',
        report("1", used="x", size=-1),
        report(-1),
    ]
    await harness.turn("1001", script(*bad, report(used="x", size=[])))
    row = harness.row("1001")
    assert (row.context_used, row.context_size, row.cost) == (None, None, Cost(0.25, "USD"))


async def test_the_total_of_a_thread_and_agent_survives_a_kill_at_any_moment_and_goes_on_after_a_resume(tmp_path):
    async with started(tmp_path, argv=ARGV) as first:
        end = (await first.turn("1001", script(report(0.25)))).end
        assert end.facts is not None
        assert end.facts.cost == Cost(0.25, "USD")
        left = await first.killed()
    async with started(tmp_path, left, argv=ARGV) as second:
        (row,) = second.pool.rows(suspended=True)
        assert (row.cost, row.context_used) == (Cost(0.25, "USD"), None)
        again = (await second.turn("1001", script(report(0.5)))).end
        assert again.facts is not None
        assert again.facts.cost == Cost(0.25, "USD")
        assert second.row("1001").cost == Cost(0.5, "USD")
        await kill(second, "1001")
        assert second.row("1001").cost == Cost(0.5, "USD")


async def test_what_comes_after_a_turn_is_stored_at_the_next_tick(tmp_path):
    async with started(tmp_path, argv=ARGV) as harness:
        await harness.turn("1001", script())
        harness.session("1001").options.usage.report("acp-1", report(0.75))
        harness.pool.tick()
        await harness.store.durable()
        assert [(one["agent"], one["amount"]) for one in rows(harness.path, "costs")] == [("demo", 0.75)]


@pytest.mark.parametrize("running", [True, False])
async def test_a_forgotten_thread_leaves_no_total(tmp_path, running):
    async with started(tmp_path, argv=ARGV) as harness:
        await harness.turn("1001", script(report(0.25)))
        target = Target(thread_id="1001", session_id=harness.session("1001").session_id)
        await harness.pool.kill([target], forget=running)
        if not running:
            assert harness.pool.forget("1001")
        await harness.store.durable()
        assert rows(harness.path, "costs") == []
        await harness.turn("1001", script())
        assert harness.row("1001").cost is None


async def test_each_agent_of_a_thread_has_a_total_of_its_own(tmp_path):
    async with started(tmp_path, argv=ARGV) as harness:
        harness.offer_agents("one", "two")
        await harness.turn("1001", script(report(0.25)))
        await kill(harness, "1001")
        harness.pool.ensure("1001", platform="test", agent="two")
        await harness.turn("1001", script(report(1.5)))
        await harness.store.durable()
        assert [(one["agent"], one["amount"]) for one in rows(harness.path, "costs")] == [("one", 0.25), ("two", 1.5)]
        assert harness.row("1001").cost == Cost(1.5, "USD")
