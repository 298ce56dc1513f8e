"""The quirks of misbehaving agents, by name: a function that replaces handlers of a correct agent."""

from __future__ import annotations

QUIRKS: dict = {}
MEGABYTE = 1024 * 1024
LONGER_THAN_A_TEST = "300"


def quirk(function):
    QUIRKS[function.__name__] = function
    return function
