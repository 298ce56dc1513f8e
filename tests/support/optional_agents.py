"""Further agents that `make test-agents` tries where ACPBOT_TEST_AGENTS names them, offline, as the others."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Final

from tests.fakes.model_server import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Recipe = Callable[[Path, Path, str], tuple[tuple[str, ...], dict[str, str]]]

VARIABLE: Final = "ACPBOT_TEST_AGENTS"


def _copilot(program: Path, _home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    provider = {"BASE_URL": base_url, "TYPE": "openai", "API_KEY": "x"}
    env = {f"COPILOT_PROVIDER_{name}": value for name, value in provider.items()}
    offline = {"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false"}
    return (str(program), "--acp"), {**env, "COPILOT_MODEL": MODEL, **offline}


def _hermes(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    folder = home / ".hermes"
    folder.mkdir(exist_ok=True)
    settings = {
        "model": {
            "default": MODEL,
            "provider": "custom",
            "base_url": base_url,
            "api_key": "x",
            "context_length": 100_000,
        },
        # It would fetch that program.
        "security": {"tirith_enabled": False},
        "approvals": {"mode": "manual"},
    }
    (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML too
    return (str(program),), {"HERMES_HOME": str(folder), "OPENAI_API_KEY": "x", "OPENAI_BASE_URL": base_url}


def _qwen(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    folder = home / ".qwen"
    folder.mkdir(exist_ok=True)
    settings = {
        "security": {"auth": {"selectedType": "openai"}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"disableAutoUpdate": True, "disableUpdateNag": True},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    # It asks its proxy for loopback too, so it has none.
    proxies = {spelt: "" for name in ("http_proxy", "https_proxy", "all_proxy") for spelt in (name, name.upper())}
    return (str(program), "--acp"), {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": base_url,
        "OPENAI_MODEL": MODEL,
        **proxies,
    }


OPTIONAL: Final[dict[str, tuple[str, Recipe]]] = {
    "copilot": ("copilot", _copilot),
    "hermes": ("hermes-acp", _hermes),
    "qwen": ("qwen", _qwen),
}
"""The program of each, and how it is run."""

COMMANDS: Final = {"copilot": ("/context", "Context"), "hermes": ("/context", "ontext"), "qwen": ("/context", "ontext")}
"""A command that needs no model, and a word of its answer."""

LOOKS_AROUND: Final = {"hermes": {"/api/v1/models", "/api/tags", "/v1/props", "/props", "/version"}}
"""What an agent asks of every model server to find out which one it is."""


def chosen() -> list[str]:
    """Return the agents that the environment names. Raises ValueError for one that is not in the table."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if name not in OPTIONAL:
            raise ValueError(f"cannot test the agent {name}: {VARIABLE} takes {', '.join(OPTIONAL)}")
    return names


def program_of(name: str, agents: Path) -> str | None:
    """Return the path of an agent's program, below ``agents`` or on PATH; ``None`` where it is not installed."""
    program = OPTIONAL[name][0]
    return shutil.which(program, path=str(agents / "node_modules" / ".bin")) or shutil.which(program)
