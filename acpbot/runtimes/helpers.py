"""The children of this process that are no agents: neither they nor what is below them are strays."""

from __future__ import annotations

from typing import Final

PIDS: Final[set[int]] = set()
"""Their process ids. A child is entered when it starts, and taken out before it is reaped: until then no other process
can get its pid. Any thread may do so."""
