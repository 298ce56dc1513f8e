"""What happened in a crash campaign, counted."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Tally:
    """``both``: prompts that have the whole answer and a notice that they were interrupted."""

    cycles: int = 0
    kills: int = 0
    early: int = 0
    stops: int = 0
    cut: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    prompts: Counter[str] = field(default_factory=Counter)
    written_while_stopped: int = 0
    answered: int = 0
    notified: int = 0
    both: int = 0
    clicks: int = 0
    stale_clicks: int = 0
    recalls: int = 0
    facts: int = 0
    left_behind: int = 0
    stale_notes: int = 0
    databases: int = 0
    requests: int = 0
    rate_limited: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def table(self) -> str:
        """The counts, one a line."""
        rows = [
            ("cycles", self.cycles),
            ("runs ended by SIGKILL", self.kills),
            ("  of these while starting", self.early),
            ("runs ended by SIGTERM", self.stops),
            ("  of these killed all the same", self.cut),
            ("  at", _listed(sorted(self.moments.items()))),
            ("prompts", self.prompts.total()),
            ("  of these", _listed(self.prompts.most_common())),
            ("  written while no daemon ran", self.written_while_stopped),
            ("answered", self.answered),
            ("notified of an interruption", self.notified),
            ("  of these answered all the same", self.both),
            ("clicks", self.clicks),
            ("clicks on stale buttons", self.stale_clicks),
            ("recalls", self.recalls),
            ("  facts recalled", self.facts),
            ("processes that ends left behind", self.left_behind),
            ("notes of a queue left in threads", self.stale_notes),
            ("databases checked", self.databases),
            ("requests to Discord", self.requests),
            ("  over a rate limit", self.rate_limited),
            *((f"seconds: {name}", _spread(values)) for name, values in self.seconds.items()),
        ]
        return "\n".join(f"{name:<34} {value}" for name, value in rows)


def _listed(counts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts)


def _spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.2f}, most {max(values):.2f} ({len(values)})"
