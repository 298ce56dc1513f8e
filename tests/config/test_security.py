"""What is found of an installation's security, by settings and by the modes of real files."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from acpbot.config import loader, security
from acpbot.config.security import FileFacts
from acpbot.errors import ConfigError
from tests.support.configs import AGENT, DISCORD, ENVIRON, TOKEN, USER, parse

if TYPE_CHECKING:
    from pathlib import Path

    from acpbot.config.settings import Settings

UID, GID = 1000, 1000
OPENCODE = '[agent]\ncommand = "/opt/bin/opencode"\nargs = ["acp"]\n'
LITERAL = f'[discord]\nbot_token = "{TOKEN}"\nallowed_users = ["{USER}"]\n'


def found(settings: Settings, *files: FileFacts, uid: int = UID, containment: str | None = "cgroup") -> dict[str, str]:
    """The warnings by name, each as text."""
    findings = security.findings(settings, files, uid=uid, gid=GID, containment=containment)
    return {finding.name: str(finding) for finding in findings if finding.level == "warning"}


def facts(role: security.Role, mode: int, uid: int = UID, gid: int = GID, **changes: str) -> FileFacts:
    kind = stat.S_IFDIR if role in {"state_folder", "workspace"} else stat.S_IFREG
    return FileFacts(role=role, path=f"/x/{role}", mode=kind | mode, uid=uid, gid=gid, **changes)


# --- settings


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (DISCORD + "allow_all_users = true\n" + AGENT, "allow_all_users", "everyone who can post in its channels"),
        (DISCORD + 'allow_bot_messages = "all"\n' + AGENT, "untrusted_bots", "name those that may in trusted_bot_ids"),
        (DISCORD + 'allow_bot_messages = "mentions"\n' + AGENT, "untrusted_bots", "lets every bot"),
        (AGENT + '[permissions]\npolicy = "allow"', "policy", "nobody is asked"),
        (AGENT + '[management.probes]\nenabled = true\nbind = "0.0.0.0:1"', "probes", "bind 127.0.0.1"),
        (AGENT + '[management.probes]\nenabled = true\nbind = "[::]:1"', "probes", "can read the probes"),
        (AGENT + '[management.probes]\nenabled = true\nbind = "[::ffff:0.0.0.0]:1"', "probes", "can read the probes"),
        (AGENT + 'env = { PGPASSWORD = "p" }', "keys_in_env", "env holds PGPASSWORD itself"),
        (AGENT + 'env = { MODEL_API_KEY = "sk-1" }', "keys_in_env", "[agent] env holds MODEL_API_KEY itself; write"),
        (AGENT + 'env = { A_TOKEN = "t", B_SECRET = "s" }', "keys_in_env", "env holds A_TOKEN, B_SECRET itself"),
        (AGENT + 'env = { db_password = "x-${NAME}-y", KEY = "k" }', "keys_in_env", "env holds KEY itself"),
        (AGENT + 'args = ["--api-key", "sk-1"]', "keys_in_args", "every user can read the command line"),
        (
            AGENT + 'mcp_servers = [{ name = "a", command = "m", env = { A_KEY = "k", B_KEY = "${NAME}" } }]',
            "keys_in_mcp_servers",
            "the server a holds A_KEY itself",
        ),
        (
            AGENT + 'mcp_servers = [{ name = "a", url = "https://h/?k=1", headers = { Authorization = "Bearer x" } }]',
            "keys_in_mcp_servers",
            "the server a holds Authorization, url itself",
        ),
        (
            AGENT + 'mcp_servers = [{ name = "a", command = "m", args = ["--api-key", "x"] }]',
            "keys_in_args",
            "the server a has a key or a token in args",
        ),
        (OPENCODE, "open_port", "give it OPENCODE_SERVER_PASSWORD in [agent] env"),
        (OPENCODE + 'runtime = "bubblewrap"', "open_port", "opens a port of the loopback"),
        (AGENT + 'args = ["acp", "--token=${NAME}"]', "keys_in_args", "every user can read the command line"),
    ],
)
def test_a_setting_that_lets_others_in_is_found_with_the_way_out(text: str, name: str, words: str):
    assert words in found(parse(text))[name]


@pytest.mark.parametrize(
    "text",
    [
        DISCORD + AGENT,
        DISCORD + f'allow_bot_messages = "all"\ntrusted_bot_ids = ["{USER}"]\n' + AGENT,
        AGENT + '[permissions]\npolicy = "deny"',
        AGENT + '[management.probes]\nbind = "0.0.0.0:1"',
        AGENT + "[management.probes]\nenabled = true",
        AGENT + 'env = { MODEL_API_KEY = "${NAME}", KEYBOARD = "us", TOKENS_MAX = "9", EMPTY_KEY = "" }',
        OPENCODE + 'env = { OPENCODE_SERVER_PASSWORD = "x" }',
        OPENCODE + 'inherit_env = ["OPENCODE_SERVER_PASSWORD"]',
        OPENCODE + 'runtime = "bubblewrap"\nbubblewrap = { network = false }',
        AGENT + 'env = { OPENCODE_SERVER_PASSWORD = "as acpbot init makes it up" }',
        AGENT + '[management.probes]\nenabled = true\nbind = "localhost:1"',
        AGENT + 'args = ["--tokens=9", "--key", "--verbose", "--no-token"]',
    ],
)
def test_other_settings_give_no_warning(text: str):
    assert found(parse(text)) == {}


def test_no_finding_shows_a_secret():
    settings = parse(LITERAL + AGENT + 'env = { A_KEY = "sk-of-mine" }\nargs = ["--key=sk-of-mine"]')
    shown = repr(security.findings(settings, [facts("config_file", 0o644)], uid=0, gid=0, containment=None))
    assert "sk-of-mine" not in shown
    assert TOKEN not in shown


def test_root_is_a_warning_and_isolation_and_containment_are_notes():
    for containment, words in (("cgroup", "a supervisor and a cgroup"), ("subreaper", "no cgroup can be written here")):
        findings = security.findings(parse(AGENT), [], uid=0, gid=0, containment=containment)
        assert [(finding.name, finding.level) for finding in findings] == [
            ("root", "warning"),
            ("isolation", "note"),
            ("containment", "note"),
        ]
        assert words in findings[2].detail
        assert all(str(finding).isprintable() for finding in findings)


@pytest.mark.parametrize(
    ("second", "words"),
    [("local", "agents run as the user"), ("bubblewrap", "these run: default: as the user"), (None, None)],
)
def test_what_is_not_isolated_is_named_and_what_is_is_not(second, words):
    text = AGENT + f'[agents.second]\ncommand = "a"\nruntime = "{second}"\n'
    if second is None:
        text = AGENT + 'runtime = "bubblewrap"\n'
    findings = security.findings(parse(text), [], uid=1, gid=1, containment=None)
    details = [finding.detail for finding in findings if finding.name == "isolation"]
    assert len(details) == (words is not None)
    assert all(words in detail for detail in details)


def test_a_mode_that_does_not_ask_is_found_once_for_each_agent():
    findings = security.unasked_modes([("default", "auto"), ("claude", "yolo"), ("default", "auto")])
    assert [finding.detail.partition(",")[0] for finding in findings] == [
        "agent claude runs in mode yolo",
        "agent default runs in mode auto",
    ]
    assert "[agents.claude] mode" in findings[0].advice


# --- files


@pytest.mark.parametrize("role", ["config_file", "token_file", "state_folder", "database", "workspace"])
def test_a_file_that_others_can_change_is_found(role: security.Role):
    settings = parse(LITERAL + AGENT)
    assert "every user can write" in found(settings, facts(role, 0o702))[role]
    assert "the group (gid 1000) can write" in found(settings, facts(role, 0o720))[role]
    assert "belongs to another user (uid 7)" in found(settings, facts(role, 0o700, uid=7))[role]
    assert "others can write /x and so replace" in found(settings, facts(role, 0o700, changeable="/x"))[role]
    assert found(settings, facts(role, 0o700), facts(role, 0o700, uid=0)) == {}


@pytest.mark.parametrize("role", ["config_file", "token_file", "state_folder", "database"])
def test_a_file_with_secrets_that_others_can_read_is_found(role: security.Role):
    settings = parse(LITERAL + AGENT)
    assert "every user can read" in found(settings, facts(role, 0o704))[role]
    assert "the group (gid 1000) can read" in found(settings, facts(role, 0o740))[role]


def test_a_configuration_without_secrets_may_be_read():
    assert found(parse(DISCORD + AGENT), facts("config_file", 0o644)) == {}
    text = found(parse(AGENT + 'env = { A_KEY = "k" }'), facts("config_file", 0o644))["config_file"]
    assert "which holds a token or a key; run chmod 600" in text


def test_a_file_of_root_that_acpbot_reaches_by_its_group_is_in_order():
    assert found(parse(LITERAL + AGENT), facts("token_file", 0o440, uid=0), facts("state_folder", 0o2770, uid=0)) == {}
    assert "token_file" in found(parse(LITERAL + AGENT), facts("token_file", 0o440, uid=0, gid=7))


def test_a_file_at_which_nobody_could_look_is_a_note():
    (finding,) = [
        finding
        for finding in security.findings(
            parse(AGENT), [facts("database", 0, problem="Permission denied")], uid=UID, gid=GID, containment=None
        )
        if finding.name == "database"
    ]
    assert (finding.level, finding.detail) == ("note", "cannot look at /x/database: Permission denied")


def test_the_modes_of_real_files_are_looked_at(tmp_path: Path):
    path, token = tmp_path / "config.toml", tmp_path / "shared" / "token"
    token.parent.mkdir(mode=0o700)
    token.write_text(TOKEN)
    link = tmp_path / "link"
    link.symlink_to(token)
    path.write_text(f'[discord]\nbot_token_file = "{link}"\nallowed_users = ["{USER}"]\n{AGENT}')
    for each in (path, token):
        each.chmod(0o600)
    settings = loader.load(path, ENVIRON | {"XDG_STATE_HOME": str(tmp_path)})
    uid, gid = os.geteuid(), os.getegid()

    def names() -> list[str]:
        files = security.look(settings, uid, gid)
        findings = security.findings(settings, files, uid=uid, gid=gid, containment=None)
        return [finding.name for finding in findings if finding.level == "warning" and finding.name != "root"]

    assert names() == []
    token.chmod(0o644)
    token.parent.chmod(0o777)  # the link is not in it, the file is
    assert names() == ["token_file", "token_file"]
    token.parent.chmod(0o1777)
    token.chmod(0o600)
    assert names() == []
    token.unlink()
    assert names() == []


# --- a token that others can write


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_a_token_that_others_can_write_is_refused(tmp_path: Path, mode: int):
    path, token = tmp_path / "config.toml", tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(mode)
    path.write_text(f'[discord]\nbot_token_file = "token"\nallowed_users = ["{USER}"]\n{AGENT}')
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"can write it .mode {mode:04o}.; run chmod go-w {token}"):
        loader.load(path, ENVIRON)
    token.chmod(0o444)
    assert loader.load(path, ENVIRON).discord is not None
    path.write_text(LITERAL + AGENT)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"it holds bot_token, and .* can write it"):
        loader.load(path, ENVIRON)
    path.write_text(DISCORD + AGENT)
    assert loader.load(path, ENVIRON).discord is not None


def test_a_channel_that_lets_more_people_in_is_a_note():
    base = '[discord]\nbot_token = "${T}"\nallowed_users = ["1", "2"]\n'
    same = f'{base}[discord.channels."5"]\nallowed_users = ["2"]\n{AGENT}'
    more = f'{base}[discord.channels."5"]\nallowed_users = ["2", "3"]\nallowed_role_ids = ["4"]\n{AGENT}'

    def notes(text: str) -> list[str]:
        settings = parse(text, {"HOME": "/home/u", "T": "t"})
        found = security.findings(settings, [], uid=1, gid=1, containment=None)
        return [one.detail for one in found if one.name == "channel_people"]

    assert notes(same) == []
    assert notes(more) == ['[discord.channels."5"] lets people in whom [discord] does not: user 3, role 4']
