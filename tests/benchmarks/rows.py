"""What a benchmark returns: rows, each a figure with its goal, and curves, each a cost at several sizes."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Any, Literal

FLAT = 1.5
"""A curve is flat up to the size whose cost exceeds the least one before it by this factor."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: the whole, or a short form that shows whether the benchmarks work."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        """How often each figure is measured."""
        return 2 if self.quick else 5

    def pick(self, whole: Any, quick: Any) -> Any:
        return quick if self.quick else whole


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: ``runs``, one after the other, in ``unit``, and what they are ``judged`` by.

    ``peer_runs`` are those of what it is measured against, in the same rounds; ``ratio`` and ``difference`` need them.
    ``goal`` is the most that the figure may be, or the least with ``at_least``. ``note`` says why there are no runs, or
    what else there is to know.
    """

    key: str
    what: str
    unit: str
    runs: tuple[float, ...] = ()
    peer: str = ""
    peer_runs: tuple[float, ...] = ()
    judged: Literal["value", "ratio", "difference"] = "value"
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def figures(self) -> tuple[float, ...]:
        """What is judged, one for each round."""
        match self.judged:
            case "ratio":
                return tuple(mine / peer for mine, peer in zip(self.runs, self.peer_runs, strict=True))
            case "difference":
                return tuple(mine - peer for mine, peer in zip(self.runs, self.peer_runs, strict=True))
        return self.runs

    @property
    def figure(self) -> float | None:
        """The median of the figures; ``None`` where nothing was measured."""
        return statistics.median(self.figures) if self.runs else None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; ``None`` where there is none, or no figure."""
        figure = self.figure
        if figure is None or self.goal is None:
            return None
        return figure >= self.goal if self.at_least else figure <= self.goal

    @property
    def share(self) -> float | None:
        """The figure as a part of what is allowed: up to 1 it holds. ``None`` as for :attr:`holds`."""
        figure = self.figure
        if figure is None or self.goal is None:
            return None
        if self.goal == 0:  # it allows nothing at all
            return 0.0 if self.holds else float("inf")
        return self.goal / figure if self.at_least else max(0.0, figure / self.goal)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What something costs at several sizes: ``points`` are pairs of a size and its runs, in ``unit``, by size.

    ``along`` names the sizes. ``why`` says where it stops being flat, as a profile has shown it.
    """

    key: str
    what: str
    along: str
    unit: str
    points: tuple[tuple[float, tuple[float, ...]], ...]
    why: str = ""

    @property
    def medians(self) -> tuple[tuple[float, float], ...]:
        return tuple((size, statistics.median(runs)) for size, runs in self.points)

    @property
    def flat_until(self) -> float | None:
        """The first size that costs over FLAT times the least cost of the smaller ones; ``None`` where none does."""
        least = float("inf")
        for size, cost in self.medians:
            if cost > FLAT * least:
                return size
            least = min(least, cost)
        return None


Result = Row | Curve


def missing(key: str, what: str, why: str) -> Row:
    """Return the row of what this machine cannot measure."""
    return Row(key=key, what=what, unit="", note=why)


def to_json(result: Result) -> dict[str, Any]:
    """Return it as JSON has it, with what follows from the runs for whoever reads only that."""
    fields = dataclasses.asdict(result)
    if isinstance(result, Row):
        fields["runs"] = [rounded(run) for run in result.runs]
        fields["peer_runs"] = [rounded(run) for run in result.peer_runs]
        figure = result.figure
        return {**fields, "figure": None if figure is None else rounded(figure), "holds": result.holds}
    fields["points"] = [[size, [rounded(run) for run in runs]] for size, runs in result.points]
    return {**fields, "flat_until": result.flat_until}


def from_json(fields: dict[str, Any]) -> Result:
    """Return the result that :func:`to_json` has written."""
    if "points" in fields:
        names = {field.name for field in dataclasses.fields(Curve)}
        points = tuple((size, tuple(runs)) for size, runs in fields["points"])
        return Curve(**{name: value for name, value in fields.items() if name in names} | {"points": points})
    names = {field.name for field in dataclasses.fields(Row)}
    runs = {name: tuple(fields[name]) for name in ("runs", "peer_runs")}
    return Row(**{name: value for name, value in fields.items() if name in names} | runs)


def rounded(value: float) -> float:
    """Four digits are more than any of them is good for."""
    return float(f"{value:.4g}")


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile; that of fewer than two values is the one, or 0."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100)[percent - 1]
