"""What a thread's agent has used: its context now, and what it has cost in the thread, over all its sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.acp.usage import AMOUNT_MOST, Cost, usage
from acpbot.storage.records import CostRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CURRENCIES_MOST: Final = 8


class UsageMeter:
    """Adds up what one agent reports in one thread.

    ``context_used`` and ``context_size`` are tokens, ``None`` where the agent has not named them. ``cost`` is the total
    of the thread and agent in the currency that the agent named last. ``records`` are the totals so far by currency;
    ``save`` stores one.

    An agent reports the cost of its whole ACP session: what is added is how much more that is than before. A report
    that is lower than the one before, or of another ACP session, begins at 0 again.
    """

    def __init__(
        self,
        thread_id: str = "",
        agent: str = "",
        records: Mapping[str, CostRecord] | None = None,
        save: Callable[[CostRecord], None] = lambda _record: None,
    ) -> None:
        self.context_used: int | None = None
        self.context_size: int | None = None
        self.cost: Cost | None = None
        self._thread_id = thread_id
        self._agent = agent
        self._records = dict(records or {})
        self._save = save
        self._changed: set[str] = set()
        self._turn_cost: dict[str, float] = {}
        for record in self._records.values():
            self.cost = Cost(record.amount, record.currency)

    def report(self, acp_session_id: str, body: dict[str, Any]) -> None:
        """Take the body of a ``usage_update``. Nothing is stored until :meth:`settle`: there may be very many."""
        reported = usage(body)
        self.context_used, self.context_size = reported.used, reported.size
        if reported.cost is None:
            return
        currency, amount = reported.cost.currency, reported.cost.amount
        known = self._records.get(currency)
        if known is None and len(self._records) >= _CURRENCIES_MOST:
            return
        record = known or CostRecord(self._thread_id, self._agent, currency)
        goes_on = record.acp_session_id == acp_session_id and amount >= record.reported
        more = amount - record.reported if goes_on else amount
        total = min(record.amount + more, AMOUNT_MOST)
        self._records[currency] = msgspec.structs.replace(
            record, amount=total, acp_session_id=acp_session_id, reported=amount
        )
        self.cost = Cost(total, currency)
        self._changed.add(currency)
        self._turn_cost[currency] = self._turn_cost.get(currency, 0.0) + more

    def settle(self) -> None:
        """Store the totals that have changed."""
        for currency in self._changed:
            self._save(self._records[currency])
        self._changed.clear()

    def take_turn_cost(self) -> Cost | None:
        """What was added since the last call, in the currency named last; ``None`` where that is nothing."""
        costs, self._turn_cost = self._turn_cost, {}
        if self.cost is None or not costs.get(self.cost.currency):
            return None
        return Cost(min(costs[self.cost.currency], AMOUNT_MOST), self.cost.currency)
