from __future__ import annotations

from pathlib import Path

import pytest

from acpbot.config import loader
from acpbot.config.field_types import keys_of
from acpbot.config.settings import TABLES, Settings
from acpbot.errors import ConfigError
from tests.support.hidden_text import hides_nothing

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GabcDe.0123456789abcdefghijklmnopqrstuvwxyz01"
ENVIRON = {"HOME": "/home/u", "DISCORD_BOT_TOKEN": TOKEN, "EMPTY": "", "LOUD": "loud", "NAME": "x"}
USER = "123456789012345678"
AGENT = '[agent]\ncommand = "agent"\n'
DISCORD = f'[discord]\nbot_token = "${{DISCORD_BOT_TOKEN}}"\nallowed_users = ["{USER}"]\n'
EXAMPLE = Path(__file__).parents[2] / "config.toml.example"


def parse(text: str, environ: dict[str, str] | None = None, source: str = "/etc/c.toml") -> Settings:
    return loader.parse(text, source, ENVIRON if environ is None else environ)


def problem(text: str, environ: dict[str, str] | None = None) -> str:
    """What is wrong with ``text``, without the words that all such messages begin with."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ)
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert message.startswith("cannot use /etc/c.toml: ")
    assert_one_line(message)
    return message.removeprefix("cannot use /etc/c.toml: ")


def assert_one_line(message: str) -> None:
    assert hides_nothing(message)
    assert not {"\n", "\t"} & set(message)
    assert TOKEN not in message


def all_keys() -> set[tuple[str, str]]:
    found = {("", "default_agent")}
    for name, cls in TABLES.items():
        found |= {(name, key) for key in keys_of(cls) if f"{name}.{key}" not in TABLES}
    return found
