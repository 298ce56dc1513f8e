"""The pictures of a report, as SVG: each figure as a part of what its goal allows, and each curve."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from tests.benchmarks import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.benchmarks.rows import Curve, Row

WIDTH = 960
MOST = 1.25
"""A bar ends here, however far beyond its goal the figure is."""
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
    'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">'
    '<rect width="{width}" height="{height}" rx="8" fill="#ffffff" stroke="#d0d7de"/>'
)
_HOLDS, _MISSES, _GRID, _SPREAD = "#2da44e", "#cf222e", "#d0d7de", "#9fd5ad"
_LEFT, _BAR, _STEP, _TOP = 480, 260, 22, 62
_PANEL_WIDTH, _PANEL_HEIGHT = 480, 230


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = "") -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{fill}>{escape(words)}</text>'


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 1]}…"


def bars(rows: Sequence[Row], title: str) -> str:
    """Return the rows that have a goal: the shorter the bar, the better; the line is the goal."""
    judged = [(row, share) for row in rows if (share := row.share) is not None]
    height = _TOP + _STEP * len(judged) + 16
    goal = _LEFT + _BAR / MOST
    parts = [
        _HEAD.format(width=WIDTH, height=height),
        _text(16, 26, title, size=15),
        _text(16, 46, "Each bar is a measured figure as a part of what its goal allows: shorter is better.", size=11),
        _text(goal, _TOP - 8, "goal", anchor="middle", size=11),
        f'<line x1="{goal:.1f}" y1="{_TOP - 4}" x2="{goal:.1f}" y2="{height - 14}" stroke="#57606a"/>',
    ]
    for number, (row, share) in enumerate(judged):
        y = _TOP + _STEP * number
        length = max(2.0, min(share, MOST) * _BAR / MOST)
        colour = _HOLDS if row.holds else _MISSES
        _, _, _, figure, wanted, _ = report.cells(row)
        parts += [
            _text(_LEFT - 8, y + 15, _short(row.what, 76), anchor="end"),
            f'<rect x="{_LEFT}" y="{y + 4}" width="{length:.1f}" height="14" rx="2" fill="{colour}"/>',
            _text(_LEFT + _BAR + 12, y + 15, f"{figure}  (goal {wanted})", size=11),
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def curves(found: Sequence[Curve], title: str) -> str:
    """Return each curve in a panel of its own: the median, the spread, and where it is no longer flat."""
    lines = (len(found) + 1) // 2
    height = 40 + _PANEL_HEIGHT * lines
    parts = [_HEAD.format(width=WIDTH, height=height), _text(16, 26, title, size=15)]
    for number, curve in enumerate(found):
        parts += _panel(curve, _PANEL_WIDTH * (number % 2), 40 + _PANEL_HEIGHT * (number // 2))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(curve: Curve, left: float, top: float) -> list[str]:
    sizes = [size for size, _ in curve.points]
    highest = max(max(runs) for _, runs in curve.points) or 1.0
    inner_left, inner_right, bottom, upper = left + 60, left + _PANEL_WIDTH - 24, top + 180, top + 40

    def x(size: float) -> float:
        low, high = math.log1p(sizes[0]), math.log1p(sizes[-1])
        return inner_left + (inner_right - inner_left) * (math.log1p(size) - low) / ((high - low) or 1.0)

    def y(cost: float) -> float:
        return bottom - (bottom - upper) * cost / highest

    parts = [
        _text(left + 16, top + 18, f"{_short(curve.what, 60)}, {curve.unit}", size=12),
        _text((inner_left + inner_right) / 2, bottom + 34, curve.along, anchor="middle", size=11),
    ]
    for part in (0.0, 0.5, 1.0):
        height = y(highest * part)
        parts += [
            f'<path d="M {inner_left} {height:.1f} H {inner_right}" stroke="{_GRID}"/>',
            _text(inner_left - 6, height + 4, report.number(highest * part), anchor="end", size=10),
        ]
    upper_edge = [(x(size), y(max(runs))) for size, runs in curve.points]
    lower_edge = [(x(size), y(min(runs))) for size, runs in reversed(curve.points)]
    spread = " ".join(f"{at:.1f},{height:.1f}" for at, height in [*upper_edge, *lower_edge])
    middle = " ".join(f"{x(size):.1f},{y(cost):.1f}" for size, cost in curve.medians)
    parts += [
        f'<polygon points="{spread}" fill="{_SPREAD}" fill-opacity="0.6"/>',
        f'<polyline points="{middle}" fill="none" stroke="{_HOLDS}" stroke-width="2"/>',
    ]
    until = curve.flat_until
    for size, cost in curve.medians:
        colour = _HOLDS if until is None or size < until else _MISSES
        parts += [
            f'<circle cx="{x(size):.1f}" cy="{y(cost):.1f}" r="3.5" fill="{colour}"/>',
            _text(x(size), bottom + 16, brief(size), anchor="middle", size=10),
        ]
    return parts


def brief(size: float) -> str:
    """Return a size in a few characters: 50,000 is 50k."""
    for least, letter in ((1e6, "M"), (1e3, "k")):
        if size >= least:
            return f"{size / least:.3g}{letter}"
    return f"{size:g}"
