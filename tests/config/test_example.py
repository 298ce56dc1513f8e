from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from acpbot.config import loader
from acpbot.config.field_types import keys_of
from acpbot.config.schedules import ScheduleSettings
from acpbot.config.settings import ChannelSettings
from acpbot.errors import ConfigError
from tests.support.configs import AGENT, EXAMPLE, all_keys, parse

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.config.settings import Settings

# these have no default: what the example shows for them is an example
UNSET = {
    "discord": {"bot_token", "bot_token_file", "allowed_users", "api_base", "gateway_url"},
    "agent": {"command", "args", "working_dir", "auth_method", "mode", "model", "memory_max", "pids_max"},
    "agent.container": {"engine", "image", "cpus"},
    "agent.kubernetes": {
        *("image", "namespace", "context", "service_account", "storage_class", "runtime_class", "max_sessions"),
    },
    "agents.claude": {"command", "mode"},
    "discord.channels.ID": {"agent", "working_dir", "mode", "allowed_users", "allowed_role_ids"},
    "pool": {"session_ttl_hours"},
    "management": {"socket", "socket_group"},
    "schedule": set(keys_of(ScheduleSettings)),
}
SCHEDULE = {("schedule", key) for key in keys_of(ScheduleSettings) if key != "thread"}  # which a comment shows
EXAMPLE_ENVIRON = {"HOME": "/home/u", "DISCORD_BOT_TOKEN": "from-the-environment"}
LINE = re.compile(r'^#?((?P<key>[a-z_]+) = .*|\[{1,2}(?P<table>[a-z.]+)(?P<id>\."[0-9]+")?\]{1,2})$')


def example_lines() -> list[tuple[str, str, str, bool]]:
    """Table, key, the line without its '#', and whether a comment is on it or above it (or above its neighbour)."""
    table, reason, found = "", False, []
    for line in EXAMPLE.read_text().splitlines():
        match = LINE.match(line)
        if not match:
            reason = line.startswith("# ")
        elif match["table"]:
            table = f"{match['table']}.ID" if match["id"] else match["table"]
        else:
            found.append((table, match["key"], line.removeprefix("#"), reason or "   # " in line))
    return found


def example(*, without: str = "", uncomment: bool = True) -> Settings:
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        match = LINE.match(line)
        if not (match and match["key"] == without):
            lines.append(line.removeprefix("#") if match and uncomment else line)
    return loader.parse("\n".join(lines), str(EXAMPLE), EXAMPLE_ENVIRON)


def test_the_example_is_a_valid_starting_point():
    settings = example(uncomment=False)
    assert settings.discord is not None
    assert settings.discord.bot_token == "from-the-environment"
    assert settings.agents["default"].args == ("-m", "acpbot.demo.agent")
    assert settings.warnings == (
        "[discord] allowed_users holds 1, which is too short for a Discord id (17 to 20 digits)",
    )


def test_the_example_has_every_key_once_with_a_comment():
    lines = [line for line in example_lines() if line[0] != "agents.claude"]
    keys = [(table, key) for table, key, _, _ in lines]
    assert len(keys) == len(set(keys))
    assert set(keys) == all_keys() | SCHEDULE
    assert [line for _, _, line, reason in lines if not reason] == []


def test_the_example_parses_with_all_its_lines(tmp_path: Path):
    with pytest.raises(ConfigError, match="both bot_token and bot_token_file"):
        example()
    settings = example(without="bot_token_file")
    assert list(settings.agents) == ["default", "claude"]
    assert settings.agents["default"].memory_max == 2 * 1024**3
    (tmp_path / "discord-token").write_text("from-a-file")
    from_file = loader.parse(
        "\n".join(line.removeprefix("#") if LINE.match(line) and not line.startswith("bot_token =") else ""
                  for line in EXAMPLE.read_text().splitlines()),
        str(tmp_path / "config.toml"),
        EXAMPLE_ENVIRON,
    )  # fmt: skip
    assert from_file.discord is not None
    assert from_file.discord.bot_token == "from-a-file"


def test_the_example_binds_a_channel_to_a_project():
    settings = example(without="bot_token_file")
    channel = settings.channel("123456789012345678")
    assert channel is not None
    assert (channel.agent, str(channel.working_dir), channel.mode) == ("claude", "/srv/project", "plan")


def test_the_example_sends_a_prompt_at_fixed_times():
    (entry,) = example(without="bot_token_file").schedule
    assert (entry.cron, entry.timezone, entry.agent) == ("0 9 * * 1-5", "Europe/Berlin", "claude")


def test_the_example_shows_the_defaults():
    shown = example(without="bot_token_file")
    defaults = parse('[discord]\nbot_token = "t"\nallow_all_users = true\n' + AGENT, EXAMPLE_ENVIRON)
    compared = 0
    for table, key, line, _ in example_lines():
        if not table or key in UNSET.get(table, ()):
            continue
        if table == "discord.channels.ID":
            assert line.lstrip("#") == f'{key} = "{getattr(ChannelSettings(), key)}"'
            continue
        of_agent, *parts = table.split(".")
        is_agents = of_agent == "agent"
        left, right = (settings.agents["default"] if is_agents else settings for settings in (shown, defaults))
        for part in (*(parts if is_agents else table.split(".")), key):
            left, right = getattr(left, part), getattr(right, part)
        if (table, key) != ("discord", "allow_all_users"):  # the one that the other side needs to be valid
            assert left == right, line
        compared += 1
    assert compared > 50
    assert shown.discord is not None
    assert not shown.discord.allow_all_users
    assert shown.default_agent == defaults.default_agent
