"""How the suite searches: always in the same way. `make fuzz` searches anew each time, and longer.

A run of the suite says whether a change has broken something; what a search finds by chance is for whoever searches.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile("suite")
