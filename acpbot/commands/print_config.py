"""`acpbot config`: the settings in force, or the example with every key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.commands.install_service import template
from acpbot.config import loader
from acpbot.config.describe import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def print_config(path: Path | None, environ: Mapping[str, str], say: Callable[[str], None], *, example: bool) -> None:
    """Say the settings in force, secrets masked, or with ``example`` the text of config.toml.example.

    ``path`` is --config or ``None``. Raises ``ConfigError``.
    """
    say((template("config.toml.example") if example else describe(loader.load(path, environ))).rstrip())
