"""What follows from the runs of a benchmark: medians, goals, where a curve stops being flat, and what has moved."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.comparison import apart, broken_goals, moves
from tests.benchmarks.rows import Curve, Result, Row, from_json, missing, percentile, to_json


def row(*runs: float, **more) -> Row:
    return Row(**{"key": "a", "what": "a thing", "unit": "ms", "runs": runs, **more})


def curve(*costs: float) -> Curve:
    points = tuple((10.0**number, (cost, cost * 1.01)) for number, cost in enumerate(costs))
    return Curve(key="c", what="a cost", along="sessions", unit="ms", points=points)


def test_a_figure_is_the_median_of_its_rounds():
    assert row(3.0, 1.0, 2.0).figure == 2.0
    assert row(3.0, 1.0, 2.0, peer_runs=(1.0, 1.0, 1.0), judged="difference").figure == 1.0


def test_a_ratio_is_that_of_each_round_so_that_a_slow_round_is_slow_for_both():
    assert row(1.0, 20.0, 1.0, peer_runs=(2.0, 40.0, 2.0), judged="ratio").figure == 0.5


def test_a_goal_is_the_most_or_the_least_that_a_figure_may_be():
    assert row(5.0, goal=5.0).holds
    assert row(5.1, goal=5.0).holds is False
    assert row(12.0, goal=10.0, at_least=True).holds
    assert row(9.0, goal=10.0, at_least=True).holds is False
    assert row(9.0).holds is None
    assert missing("a", "a thing", "it is not installed").holds is None


def test_a_share_is_up_to_one_where_the_goal_holds():
    assert row(5.0, goal=10.0).share == 0.5
    assert row(20.0, goal=10.0, at_least=True).share == 0.5
    assert row(0.0, goal=0.0).share == 0.0
    assert row(1.0, goal=0.0).share == math.inf
    assert row(1.0).share is None


def test_a_curve_is_flat_up_to_the_size_that_costs_half_as_much_again_as_the_least():
    assert curve(1.0, 1.2, 1.4).flat_until is None
    assert curve(1.0, 1.2, 1.7, 9.0).flat_until == 100.0
    assert curve(9.0, 1.0, 1.2).flat_until is None, "a cost that falls is no step"


@pytest.mark.parametrize(
    "result", [row(1.0, 2.0, peer_runs=(1.0, 1.0), judged="ratio", goal=1.05), curve(1.0, 2.0), missing("x", "y", "z")]
)
def test_a_result_is_the_same_after_json(result):
    assert from_json(to_json(result)) == result


def test_runs_have_moved_only_where_all_of_them_have_and_by_more_than_a_twentieth():
    assert apart((10.0, 11.0, 12.0), (13.0, 14.0, 15.0))
    assert apart((13.0, 14.0, 15.0), (10.0, 11.0, 12.0))
    assert not apart((10.0, 11.0, 12.0), (12.0, 14.0, 15.0)), "they touch"
    assert not apart((100.0, 100.1), (101.0, 101.2)), "all are higher, by one in a hundred"
    assert not apart((), (1.0,))


def test_what_has_moved_is_named_worst_first():
    before: list[Result] = [
        row(1.0, 1.1, key="worse"),
        row(5.0, 5.1, key="better"),
        row(1.0, 1.2, key="same"),
        curve(1.0, 1.0),
    ]
    now: list[Result] = [
        row(2.0, 2.1, key="worse"),
        row(4.0, 4.1, key="better"),
        row(1.1, 1.2, key="same"),
        curve(1.0, 3.0),
    ]
    found = moves(before, now)
    assert [(one.what, one.better) for one in found] == [
        ("a cost, 10 sessions", False),
        ("a thing", False),
        ("a thing", True),
    ]
    assert str(found[1]) == "worse: a thing: 1.05 -> 2.05 ms, 1.95x"


def test_more_is_better_where_the_goal_is_the_least():
    found = moves([row(10.0, goal=5.0, at_least=True)], [row(20.0, goal=5.0, at_least=True)])
    assert [one.better for one in found] == [True]


def test_between_two_machines_only_ratios_are_compared():
    before: list[Result] = [row(1.0, key="value"), row(1.0, key="ratio", peer_runs=(1.0,), judged="ratio"), curve(1.0)]
    now: list[Result] = [row(9.0, key="value"), row(9.0, key="ratio", peer_runs=(1.0,), judged="ratio"), curve(9.0)]
    assert len(moves(before, now)) == 3
    (only,) = moves(before, now, same_machine=False)
    assert only.unit == ""


def test_a_row_that_is_new_or_judged_otherwise_has_not_moved():
    assert moves([], [row(1.0)]) == []
    assert moves([row(1.0)], [row(9.0, peer_runs=(1.0,), judged="ratio")]) == []


def test_a_goal_that_no_longer_holds_is_named():
    assert broken_goals([row(1.0, goal=2.0)], [row(3.0, goal=2.0)]) == ["a thing"]
    assert broken_goals([row(3.0, goal=2.0)], [row(3.0, goal=2.0)]) == []


def test_a_percentile_of_few_values_is_no_error():
    assert percentile([], 99) == 0.0
    assert percentile([4.0], 99) == 4.0
    assert percentile([float(number) for number in range(1, 101)], 50) == 50.5
