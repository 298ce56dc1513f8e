"""An install in which discord.py cannot be imported: whoever tries fails at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def without_discord(folder: Path) -> str:
    """What PYTHONPATH is to be; made in ``folder``."""
    package = folder / "without-discord" / "discord"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ImportError("discord.py was imported")\n')
    return str(package.parent)
