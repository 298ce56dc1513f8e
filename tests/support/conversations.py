"""Agents that list, resume and delete conversations (tests/fakes/agents/conversations.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CONVERSATIONS = Path(__file__).parents[1] / "fakes" / "agents" / "conversations.py"


def conversations(**script: Any) -> tuple[str, ...]:
    """The command of an agent with this script."""
    return (sys.executable, "-S", str(CONVERSATIONS), json.dumps(script))


def calls(folder: str | Path) -> list[str]:
    """What the agents of this working directory were asked, each with the id of its session."""
    return (Path(folder) / "calls").read_text().splitlines()
