"""Which sign-in method is used without a person."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.acp.sign_in import choose, described

CODEX: list[dict[str, Any]] = [
    {"id": "chatgpt", "name": "Login with ChatGPT", "description": "Use your ChatGPT login (a paid subscription)"},
    {"type": "env_var", "id": "codex-api-key", "name": "Use CODEX_API_KEY", "vars": [{"name": "CODEX_API_KEY"}]},
    {"type": "env_var", "id": "openai-api-key", "name": "Use OPENAI_API_KEY", "vars": [{"name": "OPENAI_API_KEY"}]},
]
GEMINI: list[dict[str, Any]] = [
    {"id": "oauth-personal", "name": "Log in with Google", "description": None},
    {"id": "gemini-api-key", "name": "Use Gemini API key", "description": "Requires setting `GEMINI_API_KEY`"},
    {"id": "vertex-ai", "name": "Vertex AI"},
]
TWO_VARIABLES = [
    {"type": "env_var", "id": "two", "vars": [{"name": "A"}, {"name": "B"}, {"name": "C", "optional": True}]}
]

ODD: list[dict[str, Any]] = [
    {"id": 7},
    {},
    {"id": "", "type": "env_var", "vars": []},
    {"id": "x", "type": "env_var", "vars": 3},
]


@pytest.mark.parametrize(
    ("methods", "environ", "wanted", "chosen"),
    [
        (CODEX, {}, None, None),
        (CODEX, {"OPENAI_API_KEY": "k"}, None, "openai-api-key"),
        (CODEX, {"CODEX_API_KEY": "k", "OPENAI_API_KEY": "k"}, None, "codex-api-key"),
        (CODEX, {"OPENAI_API_KEY": ""}, None, None),
        (CODEX, {"OPENAI_API_KEY": "k"}, "chatgpt", "chatgpt"),
        (CODEX, {"OPENAI_API_KEY": "k"}, "Login with ChatGPT", "chatgpt"),
        (CODEX, {"OPENAI_API_KEY": "k"}, "another", None),
        (GEMINI, {}, None, None),
        (GEMINI, {"GEMINI_API_KEY": "k"}, None, "gemini-api-key"),
        (GEMINI, {"OPENAI_API_KEY": "k"}, None, None),
        ([{"id": "api-key", "name": "API key"}], {"X_API_KEY": "k"}, None, "api-key"),
        ([{"id": "api-key", "name": "API key"}], {"HOME": "/"}, None, None),
        ([{"id": "key", "_meta": {"api-key": {}}}], {"X_API_KEY": "k"}, None, "key"),
        (TWO_VARIABLES, {"A": "1"}, None, None),
        (TWO_VARIABLES, {"A": "1", "B": "2"}, None, "two"),
        ([{"id": "local", "_meta": {"default": True}}], {}, None, "local"),
        ([{"id": "oauth", "_meta": {"default": True}}], {}, None, None),
        ([{"id": "shell", "type": "terminal", "_meta": {"default": True}}], {"X_API_KEY": "k"}, None, None),
        ([{"id": "web", "name": "Sign in with a browser to get an API key"}], {"X_API_KEY": "k"}, None, None),
        (ODD, {}, None, None),
    ],
)  # fmt: skip
def test_a_method_is_used_only_where_no_person_is_needed(methods, environ, wanted, chosen):
    assert choose(methods, environ, wanted) == chosen


def test_the_methods_are_named_for_an_operator():
    assert described(CODEX[:2]) == "chatgpt (Login with ChatGPT), codex-api-key (Use CODEX_API_KEY)"
    assert described([]) == "no method"
    assert "\x1b" not in described([{"id": "\x1b[31ma", "name": None}])
