"""The installed acpctl program, and what a run of it gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

ACPCTL = Path(sys.executable).with_name("acpctl")
HEAVY_MODULES = {"asyncio", "rich", "prompt_toolkit", "pydantic", "aiohttp", "discord", "msgspec", "acpbot"}


class Result(NamedTuple):
    """The exit code, stdout and stderr of a run."""

    code: int
    out: str
    err: str
