"""The settings in force as TOML, without their secrets."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from acpbot.config.field_types import FieldType, keys_of
from acpbot.config.mcp_servers import McpServer
from acpbot.config.settings import Settings, agent_table, channel_table
from acpbot.config.values import Secret, to_toml
from acpbot.text import HIDDEN, operator_line

_SECRET_KEYS = frozenset({"bot_token", "env", "headers"})


def describe(settings: Settings) -> str:
    """Every key with its value, defaults too; a secret by the name of its variable, or as ``***``."""
    lines = [f"# {operator_line(settings.source or 'built in')}"]
    lines.append(f"default_agent = {to_toml(settings.default_agent)}")
    if settings.discord is None:
        lines += ["", "# no [discord]: the chat is local"]
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Struct):
            lines += _table(name, value)
            for channel_id, channel in getattr(value, "channels", {}).items():
                lines += _table(channel_table(channel_id), channel)
        elif isinstance(value, Mapping):
            for agent in value.values():
                lines += _table(agent_table(agent.name), agent)
    for entry in settings.schedule:
        lines += _list_table("schedule", entry)
    return "\n".join(lines) + "\n"


def shown(settings: Settings) -> dict[str, Any]:
    """The same as one object; what is not set is left out."""
    return tomllib.loads(describe(settings))


def _table(name: str, struct: Struct) -> Iterator[str]:
    yield from ("", f"[{name}]")
    for key, field_type in keys_of(type(struct)).items():
        value = getattr(struct, key)
        if key == "bot_token" and getattr(struct, "bot_token_file", None):
            continue  # it is in that file, and only one of the two keys may be set
        if isinstance(value, Struct):
            yield from _table(f"{name}.{key}", value)
        elif value is None:
            yield f"# {key} is not set"
        elif isinstance(field_type, FieldType):
            yield f"{key} = {to_toml(_shown(key, value))}"


def _list_table(name: str, struct: Struct) -> Iterator[str]:
    """A table that there may be any number of: its name is in double brackets."""
    for line in _table(name, struct):
        yield f"[{line}]" if line == f"[{name}]" else line


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return [_shown(key, item) for item in value]
    if isinstance(value, McpServer):
        return {name: _shown(name, item) for name, item in value.keys().items() if item not in ((), {})}
    return _hidden(value) if key in _SECRET_KEYS else value


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hidden(item) for name, item in value.items()}
    return value.shown if isinstance(value, Secret) else HIDDEN
