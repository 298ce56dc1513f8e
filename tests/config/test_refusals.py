from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acpbot.config import loader
from acpbot.config.describe import describe
from acpbot.config.field_types import FieldType, keys_of
from acpbot.config.settings import TABLES
from acpbot.config.values import to_toml
from acpbot.errors import ConfigError
from tests.support.configs import AGENT, DISCORD, ENVIRON, TOKEN, USER, assert_one_line, parse, problem

# --- what is wrong

BAD: list[tuple[str, str]] = [
    # types and ranges
    (
        '[pool]\nmax_sessions = "ten"',
        '[pool] max_sessions must be a whole number from 1 to 10000, not "ten"; write for example max_sessions = 10',
    ),
    ("[pool]\nmax_sessions = true", "max_sessions must be a whole number from 1 to 10000, not true; write for"),
    ("[pool]\nmax_sessions = 0", "not 0; write for example max_sessions = 10"),
    ("[pool]\nmax_sessions = 1e3", "a whole number from 1 to 10000, not 1000;"),
    ("[pool]\nmax_sessions = 10001", "from 1 to 10000, not 10001;"),
    ("[pool]\nmax_sessions = 0x" + "f" * 5000, "from 1 to 10000, not a very large number;"),
    ("[pool]\nmax_sessions = [1]", "not a list;"),
    ("[pool]\nmax_sessions = { a = 1 }", "not a table;"),
    ("[pool]\nmax_sessions = 1979-05-27", "not a date or time;"),
    (
        "[pool]\ngrace_seconds = nan",
        "[pool] grace_seconds must be a number of seconds from 0 to 300, not nan; write for example grace_seconds = 5",
    ),
    ("[pool]\ngrace_seconds = inf", "not inf;"),
    ("[pool]\ngrace_seconds = -1", "not -1;"),
    ("[pool]\ngrace_seconds = false", "not false;"),
    (
        "[pool]\nremove_workspace = 1",
        "[pool] remove_workspace must be true or false, not 1; write for example remove_workspace = false",
    ),
    ('[pool]\nremove_workspace = "yes"', 'must be true or false, not "yes"'),
    (
        '[pool]\non_stuck = "kil"',
        '[pool] on_stuck must be "notify", "cancel" or "kill", not "kil"; did you mean "kill"?',
    ),
    (
        '[permissions]\npolicy = "maybe"',
        'must be "ask", "allow" or "deny", not "maybe"; write for example policy = "ask"',
    ),
    ("[log]\nlevel = 3", 'must be "debug", "info", "warning" or "error", not 3;'),
    ('[log]\nlevel = "INFO"', 'not "INFO"; did you mean "info"?'),
    ('[log]\nlevel = "${LOUD}"', 'not the value of "${LOUD}"; write for example level = "info"'),
    (
        "[reactions.timing]\nstall_hard_ms = 5",
        "[reactions.timing] stall_hard_ms must not be less than stall_soft_ms; write stall_hard_ms = 10000",
    ),
    (
        '[reactions.emojis]\ndone = "ok"',
        '[reactions.emojis] done must be an emoji such as 👀, or a custom one as <:name:id>, not "ok";',
    ),
    ('[reactions.emojis]\ndone = ""', 'not ""'),
    # sizes and addresses
    (
        '[agent]\nmemory_max = "512MB"',
        'a number of bytes (or a string such as "512M": K, M, G, T are powers of 1024) from 1048576 to',
    ),
    ("[agent]\nmemory_max = 5", 'from 1048576 to 1152921504606846976, not 5; write for example memory_max = "512M"'),
    ("[agent]\nmemory_max = 1.5", "not 1.5;"),
    ("[agent]\nmode = 3", '[agent] mode must be a mode of the agent, not 3; write for example mode = "plan"'),
    ('[agent]\nmode = ""', 'not ""; write for example mode = "plan"'),
    ('[agent]\nmodel = "a\\nb"', 'must be a model of the agent, not "a\\nb"'),
    ("[agent]\noptions = 3", "[agent] options must be a table of strings, true and false, not 3;"),
    ("[agent]\noptions = { fast = 1 }", 'not one where fast is 1; write fast = "..." or true'),
    ('[agent]\noptions = { mode = "a" }', 'not one with mode; write mode = "..." beside it'),
    ("[agent]\npids_max = 0", "[agent] pids_max must be a whole number from 1 to 4194304, not 0"),
    (
        '[management.probes]\nbind = "8090"',
        '[management.probes] bind must be "host:port" or "[IPv6 address]:port", not "8090"; write for example',
    ),
    ('[management.probes]\nbind = "::1:8090"', 'not "::1:8090"'),
    ('[management.probes]\nbind = "[::g]:1"', 'not "[::g]:1"'),
    ('[management.probes]\nbind = "300.0.0.1:1"', 'not "300.0.0.1:1"'),
    ('[management.probes]\nbind = "h:65536"', 'not "h:65536"'),
    ('[management.probes]\nbind = ":1"', 'not ":1"'),
    ('[management.probes]\nbind = "a b:1"', 'not "a b:1"'),
    # unknown names
    ("[pool]\nmax_sesions = 1", "[pool] has no key max_sesions; did you mean max_sessions?"),
    ("[pool]\nMAX_SESSIONS = 1", "[pool] has no key MAX_SESSIONS; did you mean max_sessions?"),
    ("[log]\nxyz = 1", "[log] has no key xyz; its keys are level, format"),
    ('[log]\n"a\\nb" = 1', '[log] has no key "a\\nb";'),
    ("[reactions]\ntool_display = 'full'", "[reactions] has no key tool_display; it belongs in [discord]"),
    ("[management]\nbind = 'x'", "[management] has no key bind; it belongs in [management.probes]"),
    (
        "[pool]\ndefault_agent = 'x'",
        "[pool] has no key default_agent; it belongs at the top of the file, above the first [table]",
    ),
    ("[slack]\na = 1", "there is no table [slack]; the tables are [agents], [discord], [agent],"),
    ("[Discrod]\na = 1", "there is no table [Discrod]; did you mean [discord]?"),
    ("[[cronjobs]]\na = 1", "there is no table [cronjobs]; the tables are"),
    # not a table
    (
        "[management]\nprobes = 3",
        "[management.probes] must be a table, not 3; write [management.probes] and below it enabled = true",
    ),
    # texts and lists
    ('[agent]\nargs = "acp"', '[agent] args must be a list of strings, not "acp"; write for example args = ["acp"]'),
    ('[agent]\nargs = ["a", 1]', "[agent] args must be a list of strings, not one with 1;"),
    ('[agent]\nargs = ["a\\u0000b"]', "one with a NUL character"),
    (
        '[agent]\nworking_dir = "work"',
        '[agent] working_dir must be an absolute path (or begin with ~/), not "work"; write for example',
    ),
    ('[agent]\nworking_dir = "~root/work"', 'not "~root/work"'),
    ('[agent]\nworking_dir = ""', 'not ""'),
    ('[store]\npath = "a.db"', '[store] path must be an absolute path (or begin with ~/), not "a.db"'),
    (
        "[agent]\nenv = { A = 1 }",
        '[agent] env must be a table of strings, not one where A is not a string; write A = "..."',
    ),
    ('[agent]\nenv = { "A=B" = "1" }', '[agent] env must be a table of strings, not one with the name "A=B"'),
    ('[agent]\nenv = { "" = "1" }', 'not one with the name ""'),
    ('[agent]\nenv = "A=1"', 'must be a table of strings, not "A=1"; write for example env = { NAME = "text" }'),
    ('[agent]\ninherit_env = ["A", "A"]', '[agent] inherit_env names "A" twice; remove one'),
    ('[agent]\ninherit_env = ["A=B"]', 'a list of names of environment variables, not one with "A=B"'),
    (
        '[management]\nsocket_group = "a b"',
        '[management] socket_group must be the name of a group, not "a b"; write for example socket_group = "acpbot"',
    ),
    ('[management]\nadmin_users = ["@"]', 'must be a list of user names, uids in quotes or @groups, not one with "@"'),
    (
        '[management]\nsocket = "/' + "s" * 107 + '"',
        "has 108 bytes, and a socket's path may have 107; choose a shorter one, such as /run/acpbot/acpbot.sock",
    ),
    # variables
    (
        '[agent]\nargs = ["${NOPE}"]',
        "[agent] args needs the environment variable NOPE, which is not set; set it, or write $${NOPE}",
    ),
    ('[agent]\nenv = { A = "${NOPE}" }', "[agent] env needs the environment variable NOPE"),
    (
        '[log]\nlevel = "${"',
        "[log] level holds ${ without a variable's name and }; write ${NAME}, or $${ for the characters ${",
    ),
    ('[log]\nlevel = "${}"', "holds ${ without a variable's name"),
    ('[log]\nlevel = "${A-B}"', "holds ${ without a variable's name"),
    # agents
    ('[agents.default]\ncommand = "a"', "[agent] and [agents.default] are the same agent; remove one"),
    (
        '[agents.Claude]\ncommand = "a"',
        "[agents.Claude] must have a name of 1 to 32 of a-z, 0-9 and -; write for example [agents.claude]",
    ),
    ('[agents."a b"]\ncommand = "a"', '[agents."a b"] must have a name'),
    (f"[agents.{'a' * 33}]\ncommand = 'a'", "must have a name of 1 to 32"),
    ("[agents.b]\nargs = []", '[agents.b] has no command; add for example command = "claude-agent-acp"'),
    (
        "[agents]\nb = 3",
        '[agents.b] must be a table, not 3; write [agents.b] and below it command = "claude-agent-acp"',
    ),
    # discord
    (
        "[discord]",
        '[discord] has no token; add bot_token = "${DISCORD_BOT_TOKEN}", or bot_token_file = "/path/of/a/file"',
    ),
    (DISCORD + 'bot_token_file = "/x"', "[discord] has both bot_token and bot_token_file; remove one"),
    ('[discord]\nbot_token = "${EMPTY}"', "[discord] bot_token is empty; put only the token there"),
    ('[discord]\nbot_token = " \\n"', "[discord] bot_token is empty;"),
    (
        f'[discord]\nbot_token = "Bot {TOKEN}"',
        "[discord] bot_token has a space or an invalid character;",
    ),
    (
        "[discord]\nbot_token = 123456",
        '[discord] bot_token must be a bot token, not something else; write for example bot_token = "${DISCORD',
    ),
    ('[discord]\nbot_token = "${DISCORD_BOT_TOKEN}"', '[discord] lets nobody in; add allowed_users = ["YOUR ID"]'),
    (f'[discord]\nbot_token = "t"\nadmin_users = ["{USER}"]', "[discord] lets nobody in;"),
    (DISCORD + "allow_all_channels = false", "[discord] allows no channel; add allowed_channels"),
    (
        DISCORD + 'allowed_channels = "1"',
        'must be a list of Discord ids, digits in quotes, not "1"; write for example allowed_channels = ["1234',
    ),
    (
        DISCORD + 'allowed_channels = ["general"]',
        'not one with "general"; write for example allowed_channels = ["123456789012345678"]',
    ),
    (DISCORD + f'allowed_channels = ["<#{USER}>"]', f'not one with "<#{USER}>"; write "{USER}"'),
    (DISCORD + "allowed_channels = [-5]", "not one with -5;"),
    (DISCORD + "allowed_channels = [true]", "not one with true;"),
    (DISCORD + 'allowed_channels = ["١٢٣"]', 'not one with "١٢٣"'),
    (
        DISCORD + f'allowed_channels = ["{USER}", {USER}]',
        f"[discord] allowed_channels names {USER} twice; remove one",
    ),
    (
        DISCORD + 'api_base = "discord.com"',
        "[discord] api_base must be a URL that begins with https:// or http://, not what is there; write",
    ),
    (DISCORD + 'gateway_url = "https://x"', "gateway_url must be a URL that begins with wss:// or ws://,"),
    (DISCORD + 'gateway_url = "wss://[x"', "gateway_url must be a URL"),
    # the token must not reach an agent
    (
        '[agent]\nenv = { T = "${DISCORD_BOT_TOKEN}" }',
        "[agent] env.T would give the bot token to the agent; leave it out",
    ),
    (
        f'[discord]\nbot_token = "{TOKEN}"\nallow_all_users = true\n[agent]\nenv = {{ T = "Bot {TOKEN}" }}',
        "[agent] env.T would give the bot token to the agent;",
    ),
    ('[agent]\nmode = "${DISCORD_BOT_TOKEN}"', "[agent] mode would give the bot token to the agent;"),
    ('[agent]\noptions = { x = "${DISCORD_BOT_TOKEN}" }', "[agent] options.x would give the bot token to"),
    (
        f'[discord]\nbot_token = "{TOKEN}"\nallow_all_users = true\n[agent]\nargs = ["--token={TOKEN}"]',
        "[agent] args would give the bot token to the agent;",
    ),
    (
        '[discord]\nbot_token = "${NAME}"\nallow_all_users = true\n[agent]\ninherit_env = ["NAME"]',
        "[agent] inherit_env with NAME would give the bot token to the agent;",
    ),
    ('[agent]\ninherit_env = ["DISCORD_BOT_TOKEN"]', "[agent] inherit_env with DISCORD_BOT_TOKEN would give"),
    ('[agent]\ninherit_env = ["DISCORD_TOKEN"]', "inherit_env with DISCORD_TOKEN would give"),
    (
        f'[discord]\nbot_token = "{TOKEN}"\nallow_all_users = true\n[agent]\ninherit_env = ["COPY"]',
        "inherit_env with COPY would give",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_an_error_names_the_key_the_problem_and_the_fix(text: str, expected: str):
    head = "" if "[agent]\n" in text else "[agent]\n"
    text = text.replace("[agent]\n", AGENT) if not head else f"{text}\n{AGENT}"
    assert expected in problem(text, ENVIRON | {"COPY": TOKEN})


def test_an_error_names_the_file():
    with pytest.raises(ConfigError) as caught:
        loader.parse('[agent]\ncommand = "x"\n[pool]\nmax_sessions = "ten"', "/path/config.toml", ENVIRON)
    assert str(caught.value) == (
        "cannot use /path/config.toml: [pool] max_sessions must be a whole number from 1 to 10000, "
        'not "ten"; write for example max_sessions = 10'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pool = 3\n", "[pool] must be a table, not 3; write [pool] and below it max_sessions = 10000"),
        ("agents = []\n", "[agents.NAME] must be a table, not a list;"),
        (
            "default_agent = 1\n",
            'default_agent must be "default", not 1; write default_agent = "default"',
        ),
        ('default_agent = "x"\n', 'default_agent must be "default", not "x"; write default_agent = "default"'),
        ('default_agnet = "x"\n', "there is no key default_agnet above the first [table]; did you mean default_agent?"),
        (
            "max_sessions = 3\n",
            "there is no key max_sessions above the first [table]; it belongs in [agent.kubernetes] or [pool]",
        ),
        ("zzz = 3\n", "there is no key zzz above the first [table]; the only one is default_agent"),
    ],
)
def test_errors_above_the_first_table(text: str, expected: str):
    assert expected in problem(text + AGENT)


def test_without_an_agent_the_error_shows_lines_that_work():
    message = problem("")
    lines = re.search(r"add \[agent\] and below it (command = .*?) and (args = \[.*?\])", message)
    assert lines
    settings = parse(f"[agent]\n{lines[1]}\n{lines[2]}")
    assert settings.agents["default"].command == sys.executable
    assert settings.agents["default"].args == ("-m", "acpbot.demo.agent")


def test_with_several_agents_and_no_default_the_error_shows_the_line_to_add():
    text = '[agents.a]\ncommand = "a"\n[agents.b]\ncommand = "b"\n'
    message = problem(text)
    assert message == 'it names 2 agents but no default; add default_agent = "a" as its first line'
    assert parse('default_agent = "a"\n' + text).default_agent == "a"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ('""', 'must be the name of a program on PATH or its absolute path, not ""; write for example command ='),
        ('"  "', 'not "  "'),
        ('"bin/agent"', 'not "bin/agent"'),
        ('"./agent"', 'not "./agent"'),
        ('"claude --acp"', 'not a whole line; write command = "claude" and args = ["--acp"]'),
        ("[]", "not a list"),
    ],
)
def test_a_command_is_a_name_or_an_absolute_path(command: str, expected: str):
    assert expected in problem(f"[agent]\ncommand = {command}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[pool]\nmax_sessions == 3", "not TOML at line 2, column 15: Invalid value; correct it there"),
        ("[pool", "not TOML at line 1, column 6: "),
        ('a = "\n', "not TOML at line 1, column 6: "),
        ("a = 1\na = 2", "not TOML at line 2, column 6: Cannot overwrite a value"),
        ("[agent]\n[agent]", "not TOML at line 2, column 7: Cannot declare ('agent',) twice"),
        (
            "x = ${DISCORD_BOT_TOKEN}",
            'not TOML at line 1, column 5: Invalid value; a variable is written in quotes: "${NAME}"',
        ),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5000, "a number in it has too many digits"),
        ("a = 1979-99-99", "not TOML at line 1, column "),
        ("\0", "not TOML at line 1, column 1: "),
    ],
)
def test_a_toml_error_has_line_and_column(text: str, expected: str):
    assert expected in problem(text)


def test_a_refused_value_is_quoted_as_it_was_written():
    environ = ENVIRON | {"PASSWORD": "hunter2-hunter2"}
    for line in (
        '[log]\nlevel = "${PASSWORD}"',
        '[pool]\nmax_sessions = "${PASSWORD}"',
        '[store]\npath = "${PASSWORD}"',
    ):
        message = problem(AGENT + line, environ)
        assert '"${PASSWORD}"' in message
        assert "hunter2" not in message


def test_a_token_in_the_wrong_place_is_not_quoted():
    for text in (
        f'[pool]\nmax_sessions = "{TOKEN}"',
        f'[discord]\nbot_token_file = "{TOKEN}"',
        f'[log]\n"{TOKEN}" = 1',
    ):
        assert "***" in problem(AGENT + text)


# --- random input

NAMES = [
    key for cls in TABLES.values() for key, field_type in keys_of(cls).items() if isinstance(field_type, FieldType)
]
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["${NAME}", "${LOUD}", "$${", "${", "/x", "~/x", "512M", "ask", "1", "[::1]:1", "a:1", "https://x", TOKEN]
    ),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=4), SCALARS, max_size=2))
KEYS = st.one_of(st.sampled_from(NAMES), st.text(max_size=6))
HEADS = st.sampled_from([*TABLES, 'discord.channels."1"', "agents.a", "agents.b", "slack"])
TABLE_LISTS = st.dictionaries(HEADS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4)
FRAGMENTS = [*"[]=\"'{}\n\r#.,\\\0", "${", "agent", "pool", "1", "nan", "é"]


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{to_toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return to_toml(value)


def refusal(text: str) -> str | None:
    """The text of the error; ``None`` where the text is a valid configuration."""
    try:
        describe(loader.parse(text, "/etc/c\n.toml", ENVIRON))
    except ConfigError as error:
        return str(error)
    return None


def assert_parses_or_is_refused(text: str) -> None:
    if message := refusal(text):
        assert_one_line(message)
        assert message.startswith("cannot use /etc/c\\n.toml: ")


@given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)))
def test_any_text_parses_or_is_refused_in_one_line(text: str):
    assert_parses_or_is_refused(text)
    assert_parses_or_is_refused(AGENT + text)


@given(TABLE_LISTS)
def test_any_values_parse_or_are_refused_in_one_line(tables: dict[str, dict[str, object]]):
    lines = []
    for head, pairs in tables.items():
        lines += [f"[{head}]", *(f"{to_toml(key)} = {toml(value)}" for key, value in pairs.items())]
    text = "\n".join(lines)
    tomllib.loads(text)
    assert_parses_or_is_refused(text if "agent" in tables else f"{text}\n{AGENT}")


@given(st.sampled_from(sorted(TABLES)), st.data())
def test_one_key_with_any_value_parses_or_is_refused_by_its_name(table: str, data: st.DataObject):
    key = data.draw(st.sampled_from(sorted(keys_of(TABLES[table]))))
    line = f"{key} = {toml(data.draw(VALUES))}\n"
    head = table.replace("ID", '"1"')
    text = f"[{head}]\n{line}{'' if table == 'agent' else AGENT}"
    if table == "agent" and key != "command":
        text += 'command = "x"\n'
    if message := refusal(text):
        assert_one_line(message)
        assert key in message or table.startswith("discord") or "${" in line


EXAMPLE = re.sub("(?m)^# ?", "", (Path(__file__).parents[2] / "config.toml.example").read_text(encoding="utf-8"))
EDITS = st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.sampled_from(FRAGMENTS) | st.text(max_size=8))


@example([(0, 0, "\ufeff")])
@example([(0, 0, "[agent]\n"), (0, 0, "a.b.c = 1\n")])
@example([(0, len(EXAMPLE), 'agent = [{command = "x"}]\n')])
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_the_example_with_any_edits_parses_or_is_refused_in_one_line(edits: list[tuple[int, int, str]]):
    lines = EXAMPLE
    for start, length, put in edits:
        lines = lines[:start] + put + lines[start + length :]
    assert_parses_or_is_refused(lines)
    assert_parses_or_is_refused("\n".join(line for line in lines.splitlines() if " = " in line or line.startswith("[")))
