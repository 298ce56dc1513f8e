from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acpbot.config import loader
from acpbot.config.describe import describe
from acpbot.config.paths import state_directory
from acpbot.config.settings import AgentSettings, PoolSettings, Settings, StoreSettings
from acpbot.config.values import show
from tests.support.configs import AGENT, DISCORD, ENVIRON, TOKEN, USER, all_keys, parse, problem

# --- settings and defaults


def test_the_defaults():
    settings = parse(AGENT)
    assert settings.discord is None
    assert settings.default_agent == "default"
    assert settings.agents == {"default": AgentSettings(name="default", command="agent")}
    assert settings.agents["default"].start_timeout_seconds == 60
    assert settings.pool == PoolSettings(workspace=Path("/home/u/.local/state/acpbot/workspaces"))
    pool = settings.pool
    assert (pool.max_sessions, pool.idle_timeout_seconds, pool.max_queued) == (10, 1800, 10)
    assert pool.session_ttl_hours is None
    assert (pool.workspace_mode, pool.remove_workspace, pool.on_stuck) == ("thread", False, "notify")
    assert (pool.turn_timeout_seconds, pool.stuck_after_seconds, pool.grace_seconds) == (3600, 600, 5)
    assert (settings.store.keep_days, settings.keep_seconds) == (30, 30 * 86_400)
    assert settings.store == StoreSettings(path=Path("/home/u/.local/state/acpbot/acpbot.sqlite3"))
    assert (settings.permissions.policy, settings.permissions.timeout_seconds) == ("ask", 300)
    assert settings.management.enabled
    assert not settings.management.probes.enabled
    assert (settings.management.probes.host, settings.management.probes.port) == ("127.0.0.1", 8090)
    assert settings.markdown.tables == "code"
    assert settings.warnings == ()


def test_by_default_only_the_listed_users_are_allowed():
    discord = parse(DISCORD + AGENT).discord
    assert discord is not None
    assert discord.bot_token == TOKEN
    assert discord.allowed_users == (USER,)
    assert discord.allow_all_channels
    assert not discord.allow_all_users
    assert not discord.allow_dm
    assert (discord.allow_user_messages, discord.allow_bot_messages) == ("multibot-mentions", "off")


def test_every_channel_is_allowed_only_where_none_is_listed():
    listed = parse(DISCORD + 'allowed_channels = ["234567890123456789"]\n' + AGENT).discord
    both = parse(DISCORD + "allowed_channels = [234567890123456789]\nallow_all_channels = true\n" + AGENT)
    assert listed is not None
    assert not listed.allow_all_channels
    assert both.discord is not None
    assert both.discord.allow_all_channels
    assert both.warnings == ("[discord] allow_all_channels = true: allowed_channels has no effect",)


def test_ids_are_texts_and_whole_numbers_are_taken_too():
    discord = parse(DISCORD + f'allowed_role_ids = [{USER}, "9"]\n' + AGENT).discord
    assert discord is not None
    assert discord.allowed_role_ids == (USER, "9")


@pytest.mark.parametrize(
    ("written", "bytes_"),
    [
        ("1048576", 2**20),
        ('"512M"', 2**29),
        ('"2 GiB"', 2**31),
        ('"4096K"', 2**22),
        ('"1T"', 2**40),
        ('"1048576"', 2**20),
    ],
)
def test_sizes_are_numbers_or_texts_with_a_unit(written: str, bytes_: int):
    assert parse(AGENT + f"memory_max = {written}").agents["default"].memory_max == bytes_


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [
        ("10.0.0.1:8090", "10.0.0.1", 8090),
        ("[::1]:80", "::1", 80),
        ("[::]:0", "::", 0),
        ("my-host.local:1", "my-host.local", 1),
    ],
)
def test_the_bind_address_of_the_probes_is_split(bind: str, host: str, port: int):
    probes = parse(AGENT + f'[management.probes]\nbind = "{bind}"').management.probes
    assert (probes.host, probes.port) == (host, port)


def test_several_agents_and_their_default():
    text = '[agents.a]\ncommand = "/bin/a"\n[agents.b-2]\ncommand = "~/bin/b"\nargs = ["", "a b", "a b"]\n'
    settings = parse('default_agent = "b-2"\n' + text)
    assert settings.default_agent == "b-2"
    assert list(settings.agents) == ["a", "b-2"]
    assert settings.agents["b-2"].command == "/home/u/bin/b"
    assert settings.agents["b-2"].args == ("", "a b", "a b")
    assert parse('[agents.a]\ncommand = "a"').default_agent == "a"
    assert parse(AGENT + text).default_agent == "default"
    assert parse('[agents.default]\ncommand = "a"\n' + text).default_agent == "default"


def test_paths_may_begin_with_the_home_directory():
    settings = parse(AGENT + 'working_dir = "~/work"\n[store]\npath = "~//db"\n[pool]\nworkspace = "${HOME}/w"')
    assert settings.agents["default"].working_dir == Path("/home/u/work")
    assert settings.store.path == Path("/home/u/db")
    assert settings.pool.workspace == Path("/home/u/w")


def test_settings_are_frozen():
    settings = parse(DISCORD + AGENT + "env = { A = '1' }")
    with pytest.raises(AttributeError):
        settings.pool.max_sessions = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.agents["default"].env["A"] = "2"  # type: ignore[index]
    with pytest.raises(TypeError):
        settings.agents["x"] = settings.agents["default"]  # type: ignore[index]


# --- ${VAR}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "x"),
        ("a${NAME}b${NAME}", "axbx"),
        ("${EMPTY}", ""),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("$${${NAME}", "${x"),
        ("$NAME $ {NAME} $$", "$NAME $ {NAME} $$"),
    ],
)
def test_variables_are_expanded_once(written: str, value: str):
    environ = ENVIRON | {"NAME": "x"}
    assert parse(AGENT + f'args = ["{written}"]', environ).agents["default"].args == (value,)
    assert parse(AGENT + f'env = {{ A = "{written}" }}', environ).agents["default"].env == {"A": value}


def test_an_expanded_value_is_not_expanded_again():
    assert parse(AGENT + 'args = ["${A}"]', {"HOME": "/", "A": "${B}"}).agents["default"].args == ("${B}",)


def test_variables_work_in_every_text():
    environ = ENVIRON | {"ID": USER, "POLICY": "deny", "AT": "[::1]:1", "SIZE": "2M", "EMOJI": "🐢"}
    settings = parse(
        '[discord]\nbot_token = "${DISCORD_BOT_TOKEN}"\nallowed_users = ["${ID}"]\nmax_attachment_bytes = "${SIZE}"\n'
        '[permissions]\npolicy = "${POLICY}"\n[management.probes]\nbind = "${AT}"\n'
        '[reactions.emojis]\ndone = "${EMOJI}"\n[agent]\ncommand = "${NAME}"\n',
        environ,
    )
    assert settings.discord is not None
    assert (settings.discord.allowed_users, settings.discord.max_attachment_bytes) == ((USER,), 2**21)
    assert (settings.permissions.policy, settings.management.probes.host) == ("deny", "::1")
    assert (settings.reactions.emojis.done, settings.agents["default"].command) == ("🐢", "x")


# --- warnings


def test_settings_that_are_probably_mistakes_give_warnings():
    settings = parse(
        '[discord]\nbot_token = "${DISCORD_BOT_TOKEN}"\nallowed_users = ["1"]\nadmin_users = ["223456789012345678"]\n'
        'api_base = "http://proxy.example/api/"\ngateway_url = "ws://127.0.0.1:1"\n'
        + AGENT
        + 'inherit_env = ["NOPE", "NAME"]'
    )
    assert settings.warnings == (
        "[agent] inherit_env names NOPE, which is not set",
        "[discord] allowed_users holds 1, which is too short for a Discord id (17 to 20 digits)",
        "[discord] admin_users names 223456789012345678, whom allowed_users does not let in",
        "[discord] api_base is not encrypted: anyone on the way can read the bot token",
    )
    assert settings.discord is not None
    assert settings.discord.api_base == "http://proxy.example/api"
    everybody = parse(DISCORD + "allow_all_users = true\n" + AGENT)
    assert "allow_all_users = true lets everyone in" in everybody.warnings[0]


# --- the token in a file


def test_the_bot_token_is_read_from_a_file(tmp_path: Path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text(f"  {TOKEN}\n")
    (tmp_path / "token").write_text("beside-the-configuration\n")
    path = tmp_path / "config.toml"
    path.write_text(f'[discord]\nbot_token_file = "token"\nallowed_users = ["{USER}"]\n{AGENT}')
    beside = loader.load(path, ENVIRON).discord
    systemd = loader.load(path, ENVIRON | {"CREDENTIALS_DIRECTORY": str(credentials)})
    assert beside is not None
    assert (beside.bot_token, beside.bot_token_file) == ("beside-the-configuration", tmp_path / "token")
    assert systemd.discord is not None
    assert (systemd.discord.bot_token, systemd.discord.bot_token_file) == (TOKEN, credentials / "token")
    assert "bot_token =" not in describe(systemd)
    assert TOKEN not in describe(systemd) + repr(systemd)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file; correct the path or create it"),
        (b"", "is empty; put only the token into it"),
        (b" \n", "is empty;"),
        (b"a b", "has a space or an invalid character;"),
        (b"\xff", "it is not UTF-8 (line 1); save it as UTF-8"),
        (b"x" * 70_000, "it is larger than 65536 bytes; check that it is the right file"),
    ],
)
def test_an_unusable_token_file_is_refused(tmp_path: Path, content: bytes | None, expected: str):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    message = problem(f'[discord]\nbot_token_file = "{path}"\n{AGENT}')
    assert message.startswith(f"[discord] bot_token_file {path}")
    assert expected in message


# --- describe


def test_describe_is_toml_that_makes_the_same_settings():
    environ = ENVIRON | {"KEY": "sk-secret-of-the-model"}
    settings = parse(
        DISCORD
        + 'api_base = "https://${NAME}.example/${KEY}"\n'
        + AGENT
        + 'env = { KEY = "${KEY}", "a.b" = "${NAME}" }\n'
        'args = ["--key=${KEY}", "\\u007f\\\\\\"\\n"]\nmemory_max = "1G"\n[agents.b]\ncommand = "/b"\n'
        "[pool]\ngrace_seconds = 0.5\n",
        environ,
    )
    text = describe(settings)
    assert parse(text, environ) == settings
    assert "sk-secret" not in text + repr(settings)
    assert TOKEN not in text + repr(settings)
    assert text.startswith('# /etc/c.toml\ndefault_agent = "default"\n')
    assert "\ngrace_seconds = 0.5\n" in text
    assert "\nmemory_max = 1073741824\n" in text
    assert 'args = ["--key=${KEY}", ' in text
    assert "# no [discord]: the chat is local" in describe(parse(AGENT))


def test_describe_names_every_key():
    table, seen = "", set()
    channel = f'[discord.channels."{USER}"]\n'
    for line in describe(parse(DISCORD + channel + AGENT)).splitlines():
        table = found[1].replace(f'"{USER}"', "ID") if (found := re.fullmatch(r"\[(.+)\]", line)) else table
        if found := re.fullmatch(r"(?:# )?(\w+) (?:= .*|is not set)", line):
            seen.add((table, found[1]))
    assert seen == {(name, key) for name, key in all_keys() if key != "default_agent"} | {("", "default_agent")}


def test_describe_masks_secrets_of_settings_that_no_file_made():
    agent = AgentSettings(name="default", command="a", env={"KEY": "plain-secret"})
    pool = PoolSettings(workspace=Path("/w"))
    store = StoreSettings(path=Path("/s"))
    settings = Settings(default_agent="default", agents={"default": agent}, pool=pool, store=store)
    assert "plain-secret" not in describe(settings)


SECRETS = st.text(
    st.characters(codec="ascii", categories=("L", "N"), exclude_characters="\0"), min_size=12, max_size=40
)


@given(token=SECRETS, literal=SECRETS, variable=SECRETS, password=SECRETS)
def test_secrets_never_appear(token: str, literal: str, variable: str, password: str):
    token, literal, variable, password = (f"{kind}{i}" for i, kind in enumerate((token, literal, variable, password)))
    settings = parse(
        f'[discord]\nbot_token = "{token}"\nallow_all_users = true\napi_base = "https://u:{password}@proxy.example/x"\n'
        'gateway_url = "wss://u:${V}@proxy.example/x"\n'
        f'[agent]\ncommand = "a"\nargs = ["--x", "${{V}}"]\nenv = {{ A = "{literal}", B = "${{V}}", C = "x${{V}}" }}\n',
        {"HOME": "/", "V": variable},
    )
    assert settings.agents["default"].env["C"] == f"x{variable}"
    shown = describe(settings) + repr(settings) + "".join(settings.warnings)
    for secret in (token, literal, variable, password):
        assert secret not in shown


# --- no side effects


def test_importing_the_loader_imports_no_discord_and_no_asyncio():
    program = (
        "import sys, acpbot.config.loader; print({'discord', 'aiohttp', 'asyncio', 'typer', 'rich'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_loading_creates_no_files(tmp_path: Path):
    (tmp_path / "config.toml").write_text(
        AGENT + f'working_dir = "{tmp_path}/a"\n[pool]\nworkspace = "{tmp_path}/b"\n[store]\npath = "{tmp_path}/c"\n'
        f'[management]\nsocket = "{tmp_path}/d/s"'
    )
    environ = {"HOME": str(tmp_path), "STATE_DIRECTORY": f"{tmp_path}/e", "TMPDIR": str(tmp_path)}
    settings = loader.load(None, environ, cwd=tmp_path)
    describe(settings)
    state_directory(environ)
    loader.socket_path(None, f"{tmp_path}/f/s", environ)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


# --- channels

CHANNEL = f'[discord.channels."{USER}"]\n'
TWO_AGENTS = 'default_agent = "a"\n' + DISCORD + '[agents.a]\ncommand = "a"\nmode = "x"\n[agents.b]\ncommand = "b"\n'


def test_a_channel_gives_its_own_agent_a_folder_and_a_mode():
    settings = parse(f'{TWO_AGENTS}{CHANNEL}agent = "b"\nworking_dir = "/srv/p"\nmode = "plan"\n')
    assert settings.agent_of(USER) == "b"
    own, other = (settings.in_channel(settings.agents[name], USER) for name in ("b", "a"))
    assert (str(own.working_dir), own.mode) == ("/srv/p", "plan")
    assert (str(other.working_dir), other.mode) == ("/srv/p", "x")  # a person has chosen it: the mode is not its own
    for elsewhere in (None, "1"):
        assert settings.agent_of(elsewhere) == "a"
        assert settings.in_channel(settings.agents["a"], elsewhere) is settings.agents["a"]


def test_a_channel_without_an_agent_has_the_default_one_and_its_mode():
    settings = parse(f'{TWO_AGENTS}{CHANNEL}mode = "plan"\n')
    assert settings.agent_of(USER) == "a"
    assert settings.in_channel(settings.agents["a"], USER).mode == "plan"


def test_a_channel_with_a_table_is_listed_so_the_others_are_not_allowed():
    discord = parse(DISCORD + CHANNEL + AGENT).discord
    assert discord is not None
    assert not discord.allow_all_channels


def test_a_channel_may_let_people_in_where_nobody_else_is():
    text = f'[discord]\nbot_token = "t"\n{CHANNEL}allowed_users = ["{USER}"]\n{AGENT}'
    discord = parse(text).discord
    assert discord is not None
    assert discord.channels[USER].allowed_users == (USER,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[discord.channels."general"]\n', "[discord.channels.general] must be named by a channel's id"),
        (f'[discord.channels."<#{USER}>"]\n', f'write [discord.channels."{USER}"]'),
        ("channels = 4\n", '[discord.channels."ID"] must be a table, not 4'),
        (f'{CHANNEL}agent = "c"\n', f'[discord.channels."{USER}"] agent must be "a" or "b", not "c"'),
        (f'{CHANNEL}agnet = "a"\n', "did you mean agent?"),
        (f"{CHANNEL}allowed_users = []\n", f'[discord.channels."{USER}"] lets nobody in'),
        (f'{CHANNEL}working_dir = "here"\n', "working_dir must be an absolute path"),
        (f'[discord.chanels."{USER}"]\n', "did you mean channels?"),
        (f'{CHANNEL}mode = "${{DISCORD_BOT_TOKEN}}"\n', "would give the bot token to the agent"),
    ],
)
def test_a_table_of_a_channel_that_can_not_be_meant_is_refused(text, expected):
    assert expected in problem(TWO_AGENTS.replace("[agents.a]", f"{text}[agents.a]"))


def test_a_channel_gets_the_warnings_of_agents_and_of_ids(tmp_path):
    text = f'{DISCORD}[discord.channels."5"]\nworking_dir = "{tmp_path}"\nallowed_users = ["7"]\n{AGENT}'
    found = parse(f'{text}[store]\npath = "{tmp_path}/a.sqlite3"\n').warnings
    assert len(found) == 3
    assert "has a name that is too short" in found[0]
    assert "allowed_users holds 7" in found[1]
    assert "holds acpbot's own database" in found[2]


def test_a_number_of_up_to_60_digits_is_shown_and_a_longer_one_is_named():
    longest = 10**60 - 1
    assert (show(longest), show(-longest)) == (str(longest), str(-longest))
    assert (show(longest + 1), show(-longest - 1)) == ("a very large number",) * 2
    assert show("x" * 60) == '"' + "x" * 60 + '"'
    assert show("x" * 61) == '"' + "x" * 57 + '..."'
