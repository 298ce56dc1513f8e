"""Which of an agent's sign-in methods needs no person, and what an operator reads where none does. Pure.

Source: https://agentclientprotocol.com/protocol/authentication.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN: Final = 80
_LISTED: Final = 8
_VARIABLE: Final = re.compile(r"\b[A-Z][A-Z0-9]*_(?:API_)?(?:KEY|TOKEN)\b")
_KEY: Final = re.compile(r"api[ _-]?key", re.IGNORECASE)
# Such a method opens a browser, or waits for a person: it is used only where the configuration names it.
_PERSON: Final = re.compile(
    r"browser|oauth|chatgpt|log ?in with|sign ?in with|subscription|device|personal", re.IGNORECASE
)


def choose(methods: Sequence[Mapping[str, Any]], environ: Mapping[str, str], wanted: str | None) -> str | None:
    """The id of the method to use without a person; ``None``: there is none.

    ``environ`` is the agent's own environment. ``wanted``: an id or a name that the configuration gives; then no other
    one is used.
    """
    usable = [method for method in methods if isinstance(method.get("id"), str) and method["id"]]
    if wanted is not None:
        return next((method["id"] for method in usable if wanted in (method["id"], method.get("name"))), None)
    for fits in (_variables_are_set, _key_is_set, _is_default):
        for method in usable:
            if fits(method, environ):
                return str(method["id"])
    return None


def described(methods: Sequence[Mapping[str, Any]]) -> str:
    """The methods by id and name, on one line."""
    texts = []
    for method in methods[:_LISTED]:
        identity, name = (one_line(str(method.get(key) or ""), _SHOWN) for key in ("id", "name"))
        texts.append(f"{identity} ({name})" if name and name != identity else identity)
    return ", ".join(text for text in texts if text) or "no method"


def _variables_are_set(method: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    variables = method.get("vars")
    if method.get("type") != "env_var" or not isinstance(variables, list):
        return False
    needed = [one for one in variables if isinstance(one, dict) and one.get("optional") is not True]
    return bool(variables) and all(environ.get(str(one.get("name"))) for one in needed or variables)


def _key_is_set(method: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether it takes an API key from a variable that it names, and that one is set (gemini, qwen)."""
    if method.get("type") in {"env_var", "terminal"}:
        return False
    meta = method.get("_meta")
    words = " ".join(str(method.get(key) or "") for key in ("id", "name", "description"))
    is_key = _KEY.search(words) is not None or (isinstance(meta, dict) and "api-key" in meta)
    named = _VARIABLE.findall(words)
    if not is_key or (_PERSON.search(words) and not named):
        return False
    return any(environ.get(name) for name in named) if named else any(map(_VARIABLE.fullmatch, _filled(environ)))


def _filled(environ: Mapping[str, str]) -> list[str]:
    return [name for name, value in environ.items() if value and name.endswith("_API_KEY")]


def _is_default(method: Mapping[str, Any], _environ: Mapping[str, str]) -> bool:
    """Whether the agent marks it as the one to use, and it needs no person."""
    meta = method.get("_meta")
    words = " ".join(str(method.get(key) or "") for key in ("id", "name", "description"))
    is_marked = isinstance(meta, dict) and any(meta.get(key) is True for key in ("default", "isDefault", "recommended"))
    return is_marked and method.get("type") not in {"env_var", "terminal"} and _PERSON.search(words) is None
