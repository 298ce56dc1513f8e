"""How each real agent is run against a model server on loopback, so that nothing of it looks at the network.

A home of its own in a folder of the test's, settings that keep it offline, and the one proxy that the test gives.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fakes.model_server import MODEL
from tests.support.optional_agents import OPTIONAL, program_of

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY: Final = Path(__file__).resolve().parents[2]
AGENTS: Final = Path(os.environ.get("ACPBOT_AGENTS") or REPOSITORY / ".agents")
NEWEST: Final = AGENTS / "newest"
"""The newest releases have a folder of their own: two packages have a program of the same name."""


def installed(name: str) -> Path | None:
    """Return the program of an agent; ``None`` where it is not installed.

    codex: the native program; codex-wrapped: its node wrapper, which starts that one as a child and waits.
    """
    if name in OPTIONAL:
        found = program_of(name, AGENTS)
        return None if found is None else Path(found)
    patterns = {
        "codex": "node_modules/@zed-industries/codex-acp-linux-*/bin/codex-acp",
        "codex-wrapped": "node_modules/.bin/codex-acp",
        "codex-with-a-key": "node_modules/@zed-industries/codex-acp-linux-*/bin/codex-acp",
        "opencode": "node_modules/.bin/opencode",
        "codex-newest": "newest/node_modules/.bin/codex-acp",
        "codex-newest-with-a-key": "newest/node_modules/.bin/codex-acp",
        "claude-newest": "newest/node_modules/.bin/claude-agent-acp",
    }
    return next((path for path in sorted(AGENTS.glob(patterns[name])) if os.access(path, os.X_OK)), None)


def _codex(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    provider = {"name": "local", "base_url": base_url, "wire_api": "responses", "env_key": "LOCAL_KEY"}
    # Its own repetitions of a failed request would only make the tests slow; one shows that there are any.
    retries = {"request_max_retries": 1, "stream_max_retries": 1}
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in {**provider, **retries}.items())
    settings = {
        # One that it knows: for any other it warns, in a message chunk that runs into the answer's first one.
        "model": '"gpt-5.2-codex"',
        "model_provider": '"local"',
        "model_providers.local": f"{{{table}}}",
        # Its own sandbox wants user namespaces, which containers rarely have; the question is asked before it anyway.
        "approval_policy": '"untrusted"',
        "sandbox_mode": '"danger-full-access"',
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return (str(program), *options), {"CODEX_HOME": str(home / ".codex"), "LOCAL_KEY": "x"}


def _codex_with_a_key(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """It has a key in its environment and nothing else: it must be signed in before it opens a session."""
    # Its own provider, at another address: for any other one it does not ask for a sign-in.
    settings = {"model": '"gpt-5.2-codex"', "openai_base_url": json.dumps(base_url)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return (str(program), *options), {"CODEX_HOME": str(home / ".codex"), "OPENAI_API_KEY": "sk-x"}


def _opencode(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "local",
        "options": {"baseURL": base_url, "apiKey": "x"},
        "models": {MODEL: {"name": MODEL, "limit": {"context": 100_000, "output": 8_000}}},
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"local": provider},
        "model": f"local/{MODEL}",
        "small_model": f"local/{MODEL}",
        "enabled_providers": ["local"],
        "permission": {"bash": "ask", "edit": "ask"},
        "share": "disabled",
        "autoupdate": False,
    }
    path = home / "opencode.json"
    path.write_text(json.dumps(config))
    quiet = (
        "OPENCODE_DISABLE_AUTOUPDATE",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_MODELS_FETCH",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS",
        "OPENCODE_DISABLE_SHARE",
    )
    # At each start it fetches its plugins' interface into every configuration folder, by npm's code, which obeys this.
    offline = {"npm_config_offline": "true"}
    # It listens on a loopback port; without a password anyone on the machine may run commands there, as the agent.
    guard = {"OPENCODE_SERVER_PASSWORD": secrets.token_hex(16)}
    return (str(program), "acp"), {"OPENCODE_CONFIG": str(path), **offline, **guard, **dict.fromkeys(quiet, "1")}


def _codex_newest(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """It takes its settings from a file, and asks before it acts in its mode ``read-only``."""
    provider = {"name": "local", "base_url": base_url, "wire_api": "responses", "env_key": "LOCAL_KEY"}
    retries = {"request_max_retries": 1, "stream_max_retries": 1}
    tables: dict[str, dict[str, object]] = {
        "": {"model": "gpt-5.5", "model_provider": "local", "check_for_update_on_startup": False},
        "model_providers.local": {**provider, **retries},
        "analytics": {"enabled": False},
        # They would be fetched at each start.
        "features": {"plugins": False, "apps": False},
    }
    lines = [
        line
        for table, values in tables.items()
        for line in ([f"[{table}]"] if table else [])
        + [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    ]
    (home / ".codex" / "config.toml").write_text("\n".join(lines) + "\n")
    return (_node(), str(program)), {"CODEX_HOME": str(home / ".codex"), "LOCAL_KEY": "x", "NO_BROWSER": "1"}


def _codex_newest_with_a_key(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """It has a key in its environment and nothing else, as the one before."""
    argv, env = _codex_newest(program, home, base_url)
    path = home / ".codex" / "config.toml"
    own = 'env_key = "LOCAL_KEY"'
    assert own in path.read_text()
    path.write_text(path.read_text().replace(own, "requires_openai_auth = true"))
    return argv, {name: value for name, value in env.items() if name != "LOCAL_KEY"} | {"OPENAI_API_KEY": "sk-x"}


def _claude_newest(program: Path, home: Path, base_url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    env = {
        "ANTHROPIC_BASE_URL": base_url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": "x",
        "CLAUDE_CONFIG_DIR": str(home / ".claude"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    return (_node(), str(program)), env


def _node() -> str:
    """Return the Node.js of the newest releases, which want 22: npm installs it beside them."""
    return str(NEWEST / "node_modules" / "node" / "bin" / "node")


RECIPES: Final[dict[str, Callable[[Path, Path, str], tuple[tuple[str, ...], dict[str, str]]]]] = {
    "codex": _codex,
    "codex-wrapped": _codex,
    "codex-with-a-key": _codex_with_a_key,
    "opencode": _opencode,
    "codex-newest": _codex_newest,
    "codex-newest-with-a-key": _codex_newest_with_a_key,
    "claude-newest": _claude_newest,
    **{name: recipe for name, (_, recipe) in OPTIONAL.items()},
}
ASKING: Final = {"codex-newest": "read-only", "claude-newest": "default"}
"""The mode in which an agent asks before it acts, where its first one does not."""


def recipe(name: str, home: Path, base_url: str, proxy: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the command of an agent and what its environment needs; its settings are written into ``home``.

    ``proxy``: the address that everything but loopback is asked of.
    """
    program = installed(name)
    assert program is not None, f"{name} is not installed in {AGENTS}"
    folders = {
        "config": "XDG_CONFIG_HOME",
        "data": "XDG_DATA_HOME",
        "state": "XDG_STATE_HOME",
        "cache": "XDG_CACHE_HOME",
    }
    for folder in (*folders, ".codex", "tmp"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    argv, env = RECIPES[name](program, home, base_url)
    own = {variable: str(home / folder) for folder, variable in folders.items()}
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = {spelt: proxy for name in names for spelt in (name, name.upper())}
    loopback = {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return argv, {"HOME": str(home), "TMPDIR": str(home / "tmp"), **proxies, **loopback, **own, **env}


def configuration(argv: tuple[str, ...], env: dict[str, str], mode: str | None = None) -> str:
    """Return a daemon's configuration for an agent, as :func:`recipe` gives it, in this mode or in its first one."""
    lines = [
        "[agent]",
        f"command = {json.dumps(argv[0])}",
        f"args = {json.dumps(argv[1:])}",
        *([] if mode is None else [f"mode = {json.dumps(mode)}"]),
        "[agent.env]",
        *(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in env.items()),
    ]
    return "\n".join(lines) + "\n"
