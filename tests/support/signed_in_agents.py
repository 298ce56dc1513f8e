"""How real agents are signed in with files, as people do it: for places where each thread has a HOME of its own.

The login is in the folder of `acpbot exec`; the settings are in the HOME of the daemon's user.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.fakes.model_server import MODEL

if TYPE_CHECKING:
    from pathlib import Path

KEY: Final = "sk-of-the-login"


class SignedIn(NamedTuple):
    """One agent. ``argv``: its program, by name, and its arguments; ``env``: what keeps it offline.

    ``login`` and ``settings``: a file each, by its path below HOME. ``kept``: where it keeps conversations in HOME.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    login: tuple[str, str]
    settings: tuple[str, str]
    kept: str

    def write(self, logins: Path, home: Path) -> None:
        """Write the login into ``logins`` and the settings into ``home``."""
        for folder, (name, text) in ((logins, self.login), (home, self.settings)):
            (folder / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / name).write_text(text)


def signed_in(name: str, base_url: str, proxy: str) -> SignedIn:
    """Return how an agent, codex or opencode, is signed in. ``proxy``: what all but loopback is asked of."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    env = {spelt: proxy for one in names for spelt in (one, one.upper())}
    env |= {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return (_codex if name == "codex" else _opencode)(base_url, env)


def _codex(base_url: str, env: dict[str, str]) -> SignedIn:
    settings = f"""
model = "gpt-5.2-codex"
model_provider = "local"
approval_policy = "untrusted"
sandbox_mode = "danger-full-access"
cli_auth_credentials_store = "file"
[model_providers.local]
name = "local"
base_url = {json.dumps(base_url)}
wire_api = "responses"
requires_openai_auth = true
request_max_retries = 1
stream_max_retries = 1
"""
    login = json.dumps({"OPENAI_API_KEY": KEY})
    return SignedIn(
        ("codex-acp",), env, (".codex/auth.json", login), (".codex/config.toml", settings), ".codex/sessions"
    )


def _opencode(base_url: str, env: dict[str, str]) -> SignedIn:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "local",
        "options": {"baseURL": base_url},
        "models": {MODEL: {"name": MODEL, "limit": {"context": 100_000, "output": 8_000}}},
    }
    settings = {
        "provider": {"local": provider},
        "model": f"local/{MODEL}",
        "small_model": f"local/{MODEL}",
        "enabled_providers": ["local"],
        "permission": {"bash": "ask", "edit": "ask"},
        "share": "disabled",
        "autoupdate": False,
    }
    quiet = ("AUTOUPDATE", "LSP_DOWNLOAD", "MODELS_FETCH", "DEFAULT_PLUGINS", "SHARE")
    env |= {f"OPENCODE_DISABLE_{what}": "1" for what in quiet}
    env |= {"npm_config_offline": "true", "OPENCODE_SERVER_PASSWORD": secrets.token_hex(16)}
    login = json.dumps({"local": {"type": "api", "key": KEY}})
    return SignedIn(
        ("opencode", "acp"),
        env,
        (".local/share/opencode/auth.json", login),
        (".config/opencode/opencode.json", json.dumps(settings)),
        ".local/share/opencode",
    )
