"""`[[schedule]]` as it is read, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from acpbot.config import loader
from acpbot.config.describe import describe, shown
from acpbot.errors import ConfigError

AGENT = '[agent]\ncommand = "demo"\n'
DISCORD = '[discord]\nbot_token = "abc"\nallow_all_users = true\n'
GOOD = {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "channel": "123456789012345678", "text": "go on"}


def read(keys: dict[str, str], *, discord: bool = True):
    lines = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    text = f"{DISCORD if discord else ''}{AGENT}[[schedule]]\n{lines}"
    return loader.parse(text, "c.toml", {"HOME": "/nowhere"})


def test_an_entry_is_shown_as_it_was_written():
    settings = read(GOOD)
    assert "[[schedule]]" in describe(settings)
    assert shown(settings)["schedule"] == [GOOD]


def test_the_clocks_go_forward_and_each_day_has_one_run():
    (entry,) = read(GOOD | {"cron": "30 2 * * *"}).schedule
    before = datetime(2026, 3, 27, 12, tzinfo=UTC).timestamp()
    times = [datetime.fromtimestamp(time, UTC) for time in islice(entry.times_after(before), 3)]
    assert [time.isoformat()[:16] for time in times] == ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]


def test_another_text_is_another_entry_and_its_place_in_the_file_does_not_matter():
    (entry,) = read(GOOD).schedule
    (same,) = read(dict(reversed(GOOD.items()))).schedule
    (other,) = read(GOOD | {"text": "stop"}).schedule
    assert entry.key == same.key != other.key


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cron": "x"}, "cron must be a cron expression of five fields"),
        ({"cron": "* * * * * *"}, "cron must be a cron expression of five fields"),
        ({"cron": "0 0 30 2 *"}, "cron must be a cron expression of five fields"),
        ({"timezone": "Mars/Base"}, "timezone must be the name of a time zone"),
        ({"timezone": "../../etc/passwd"}, "timezone must be the name of a time zone"),
        ({"thread": "team"}, "has both; keep one of channel"),
        ({"channel": "general"}, "channel must be a Discord id"),
        ({"agent": "claude"}, 'agent must be "default", not "claude"'),
        ({"text": " "}, "text must be a prompt"),
        ({"every": "day"}, "has no key every"),
    ],
)
def test_what_is_wrong_is_named_with_the_way_out(keys, words):
    with pytest.raises(ConfigError, match=r"^cannot use c.toml: \[schedule 1\] ") as caught:
        read(GOOD | keys)
    assert words in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize("missing", ["cron", "text", "channel"])
def test_a_key_that_is_missing_is_named(missing):
    with pytest.raises(ConfigError, match=missing):
        read({key: value for key, value in GOOD.items() if key != missing})


def test_a_channel_needs_discord():
    with pytest.raises(ConfigError, match="needs Discord"):
        read(GOOD, discord=False)


def test_one_table_in_single_brackets_is_refused():
    with pytest.raises(ConfigError, match="double brackets"):
        loader.parse(f"{AGENT}[schedule]\ncron = 'x'\n", "c.toml", {"HOME": "/nowhere"})


def test_the_bot_token_does_not_reach_the_agent_by_a_prompt():
    text = f'{DISCORD.replace("abc", "${DISCORD_BOT_TOKEN}")}{AGENT}[[schedule]]\ncron = "0 9 * * *"\n'
    text += 'channel = "123456789012345678"\ntext = "${DISCORD_BOT_TOKEN}"\n'
    with pytest.raises(ConfigError, match="would give the bot token to the agent"):
        loader.parse(text, "c.toml", {"HOME": "/nowhere", "DISCORD_BOT_TOKEN": "x" * 40})
