"""The programs that sign in an agent whose own package does not hold them."""

from __future__ import annotations

from typing import Final

_PACKAGES: Final = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}


def way_to(program: str) -> str:
    """Return what an operator can do, as a clause, where a program was not found."""
    package = _PACKAGES.get(program)
    give = "give its full path"
    return give if package is None else f"run `npm install -g {package}`, or {give}"
