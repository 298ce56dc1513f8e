"""The pool of real agents that the tests of sessions use."""

from __future__ import annotations

from tests.sessions.conftest import house, make_house

__all__ = ["house", "make_house"]
