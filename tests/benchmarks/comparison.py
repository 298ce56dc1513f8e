"""What has moved between two reports by more than the noise, and what a goal has become."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.rows import Curve, Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.rows import Result

LEAST = 0.05
"""A median that differs by less has not moved, however steady the runs are."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One figure that is not what it was. ``better``: whether it has moved to the side of its goal."""

    what: str
    before: float
    now: float
    better: bool
    unit: str

    def __str__(self) -> str:
        times = "" if self.before <= 0 else f", {self.now / self.before:.2f}x"
        word = "better" if self.better else "worse"
        return f"{word}: {self.what}: {self.before:.4g} -> {self.now:.4g} {self.unit}{times}"


def apart(before: tuple[float, ...], now: tuple[float, ...]) -> bool:
    """Whether the runs differ by more than the noise: all of one are above all of the other, and the medians differ.

    Where nothing has changed, five runs lie wholly on one side of five others in 1 of 126 comparisons (the rank-sum
    test of Wilcoxon, https://doi.org/10.2307/3001968).
    """
    if not before or not now:
        return False
    if min(now) <= max(before) and min(before) <= max(now):
        return False
    old, new = statistics.median(before), statistics.median(now)
    return abs(new - old) > LEAST * max(abs(old), abs(new))


def moves(before: Iterable[Result], now: Iterable[Result], *, same_machine: bool = True) -> list[Move]:
    """Return what has moved, worst first. Between two machines only ratios can be compared."""
    earlier = {one.key: one for one in before}
    found: list[Move] = []
    for one in now:
        other = earlier.get(one.key)
        if isinstance(one, Row) and isinstance(other, Row) and (same_machine or one.judged == "ratio"):
            found += _row_moves(other, one)
        elif isinstance(one, Curve) and isinstance(other, Curve) and same_machine:
            found += _curve_moves(other, one)
    return sorted(found, key=lambda move: (move.better, -abs(move.now - move.before) / (abs(move.before) or 1.0)))


def _row_moves(before: Row, now: Row) -> list[Move]:
    if before.judged != now.judged or not apart(before.figures, now.figures):
        return []
    old, new = statistics.median(before.figures), statistics.median(now.figures)
    unit = "" if now.judged == "ratio" else now.unit
    return [Move(what=now.what, before=old, now=new, better=(new > old) == now.at_least, unit=unit)]


def _curve_moves(before: Curve, now: Curve) -> list[Move]:
    earlier = dict(before.points)
    found = []
    for size, runs in now.points:
        if apart(earlier.get(size, ()), runs):
            old, new = statistics.median(earlier[size]), statistics.median(runs)
            words = f"{now.what}, {size:,.0f} {now.along}"
            found.append(Move(what=words, before=old, now=new, better=new < old, unit=now.unit))
    return found


def broken_goals(before: Iterable[Result], now: Iterable[Result]) -> list[str]:
    """Return the rows whose goal held and no longer does."""
    held = {one.key for one in before if isinstance(one, Row) and one.holds}
    return [one.what for one in now if isinstance(one, Row) and one.key in held and one.holds is False]
