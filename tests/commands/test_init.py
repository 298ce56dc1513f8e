from __future__ import annotations

import base64
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import termios
import time
import tomllib
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from acpbot.commands.init import DEMO_AGENT, Answers, People, client_id_in, render, write
from acpbot.config import loader
from acpbot.errors import AcpbotError, ConfigError
from tests.support.configs import TOKEN, USER
from tests.support.coverage_environ import COVERAGE_ENVIRON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 20.0
ROLE, CHANNEL, CLIENT = "223456789012345678", "323456789012345678", "123456789012345678"
# A controlling terminal, as after a login: without one Ctrl-C would be an ordinary character. And SIGINT not ignored: a
# shell starts background processes with SIGINT ignored.
START = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.executable, [sys.executable, '-m', 'acpbot', *sys.argv[1:]])"
)
HIDDEN, USERS, ROLES = "Bot token (hidden", "IDs of users", "IDs of roles"
CHANNELS, SURE, AGENT, APPLICATION = "Channel IDs", 'Type "everybody"', "Number, or", "Application ID"
FOLDER, POLICY = "Folder (", "Permissions ("
RUNS_IN, IMAGE = "Place (empty: local)", "Image that holds"
PLACE = ".config/acpbot/config.toml"  # below HOME: where a user's service finds it too


class Terminal:
    """`acpbot` on a pseudo-terminal, and what it shows there."""

    def __init__(self, folder: Path, *args: str, env: dict[str, str] | None = None) -> None:
        self.leader, follower = pty.openpty()
        self.shown, self._seen = "", 0
        (folder / "bin").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *args],
            cwd=folder,
            env={
                "HOME": str(folder),
                "PATH": str(folder / "bin"),
                "LANG": "C.UTF-8",
                "TERM": "dumb",
                **COVERAGE_ENVIRON,
                **(env or {}),
            },
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)

    def until(self, text: str) -> str:
        """Read until `text` is shown; what came before it since the last time."""
        end = time.monotonic() + LIMIT
        while (at := self.shown.find(text, self._seen)) < 0:
            assert self._read(end), f"{text!r} never came; shown: {self.shown}"
        before, self._seen = self.shown[self._seen : at], at + len(text)
        return before

    def answer(self, prompt: str, text: str) -> str:
        before = self.until(prompt)
        if prompt == HIDDEN:  # what is typed before echo is off is shown, and then discarded
            self.until("): ")
        self.type(text + "\n")
        return before

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def press(self, key: str, shows: str) -> None:
        """Press a key until `shows` is there: a SIGINT right before read(2) is handled only after the next key."""
        end = time.monotonic() + LIMIT
        while shows not in self.shown[self._seen :]:
            self.type(key)
            self._read(min(end, time.monotonic() + 1.0))
            while self._read(time.monotonic() + 0.2):
                pass
            assert time.monotonic() < end, f"{shows!r} never came; shown: {self.shown}"

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.leader)[3] & termios.ECHO)

    def ended(self) -> int:
        """The exit status; the rest of what is shown is read."""
        end = time.monotonic() + LIMIT
        while self._read(end):
            pass
        return self.process.wait(LIMIT)

    def _read(self, end: float) -> bool:
        if not select.select([self.leader], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.leader, 65536)
        except OSError:  # EIO: the other side is closed
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(LIMIT)
        os.close(self.leader)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for one in made:
        one.close()


def program(folder: Path, name: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text("#!/bin/sh\n")
    (folder / "bin" / name).chmod(0o755)


def written(folder: Path) -> dict[str, dict[str, object]]:
    return tomllib.loads((folder / PLACE).read_text())


def no_traceback(shown: str) -> None:
    assert "Traceback" not in shown
    assert TOKEN not in shown


def test_all_questions_make_a_file_that_loads(tmp_path, terminals):
    program(tmp_path, "gemini")
    program(tmp_path, "codex-acp")
    terminals.append(seat := Terminal(tmp_path, "init"))
    seat.until(HIDDEN)
    seat.until("): ")
    assert not seat.echoes()
    seat.type(TOKEN + "\n")
    seat.answer(USERS, f"<@{USER}>, 423456789012345678 {USER}")
    seat.answer(ROLES, f"<@&{ROLE}>")
    seat.answer(CHANNELS, f"https://discord.com/channels/523456789012345678/{CHANNEL}")
    choices = seat.answer(AGENT, "2")
    (tmp_path / "code").mkdir()
    assert "Where is the code?" in seat.answer(FOLDER, "~/code")
    assert "  allow  each request is allowed at once" in seat.answer(POLICY, "deny")
    assert seat.ended() == 0
    no_traceback(seat.shown)
    assert re.findall(r"^  -  (\S+) +(npm|pip) install", choices, re.MULTILINE) == [
        *((name, "npm") for name in ("claude-agent-acp", "copilot", "opencode", "qwen")),
        ("hermes-acp", "pip"),
    ]
    assert re.findall(r"^  (\d)  (.*)$", choices, re.MULTILINE) == [
        ("1", "codex-acp"),
        ("2", "gemini --acp"),
        ("3", "the demo agent (no model)"),
    ]
    file = tmp_path / PLACE
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert written(tmp_path)["permissions"] == {"policy": "deny"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    working_dir = str(tmp_path / "code")
    assert written(tmp_path)["agent"] == {"command": "gemini", "args": ["--acp"], "working_dir": working_dir}
    discord = loader.load(file, {"HOME": str(tmp_path)}).discord
    assert discord is not None
    assert (discord.bot_token, discord.allowed_users) == (TOKEN, (USER, "423456789012345678"))
    assert (discord.allowed_role_ids, discord.allowed_channels) == ((ROLE,), (CHANNEL,))
    assert not discord.allow_all_users
    assert not discord.allow_all_channels
    assert f"Wrote {file}" in seat.shown
    assert "Message Content Intent" in seat.shown
    link = re.search(r"https://discord\.com/oauth2/authorize\S+", seat.shown)
    assert link is not None
    query = parse_qs(urlsplit(link[0]).query)
    assert query == {"client_id": [CLIENT], "scope": ["bot applications.commands"], "permissions": ["309237746752"]}


@pytest.mark.parametrize(
    ("answer", "expected"), [("", None), ("bubblewrap", "bubblewrap")], ids=["local unless chosen", "a sandbox"]
)
def test_where_agents_run_is_asked_where_there_is_a_choice(tmp_path, terminals, answer, expected):
    program(tmp_path, "bwrap")
    terminals.append(seat := Terminal(tmp_path, "init"))
    seat.answer(HIDDEN, "")
    asked = seat.answer(RUNS_IN, "podman")
    assert re.findall(r"^  (\w+) +\w", asked, re.MULTILINE) == ["local", "bubblewrap"]
    assert '"podman" isn\'t one of local, bubblewrap.' in seat.answer(RUNS_IN, answer)
    for question in (AGENT, FOLDER, POLICY):
        seat.answer(question, "")
    assert seat.ended() == 0
    assert written(tmp_path)["agent"].get("runtime") == expected


def test_an_agent_in_a_container_needs_an_image_and_no_program_of_this_machine(tmp_path, terminals):
    program(tmp_path, "docker")
    terminals.append(seat := Terminal(tmp_path, "init"))
    seat.answer(HIDDEN, "")
    assert "container of Docker" in seat.answer(RUNS_IN, "container")
    seat.answer(IMAGE, "")
    assert "An image has a name such as" in seat.answer(IMAGE, "localhost/agents:1")
    listed = seat.answer(AGENT, "codex-acp --verbose")
    assert "  1  claude-agent-acp" in listed
    assert "the demo agent" not in listed
    seat.answer(FOLDER, "")
    seat.answer(POLICY, "")
    assert seat.ended() == 0
    assert written(tmp_path)["agent"] == {
        "command": "codex-acp",
        "args": ["--verbose"],
        "runtime": "container",
        "container": {"image": "localhost/agents:1"},
    }


def test_an_empty_token_is_a_local_chat_with_the_demo_agent_and_passes_the_check(tmp_path, terminals):
    (tmp_path / "state").mkdir()
    terminals.append(seat := Terminal(tmp_path, "init", "--config", "state/mine.toml"))
    seat.answer(HIDDEN, "")
    assert "No known agent is on PATH" in seat.answer(AGENT, "")
    seat.answer(FOLDER, "")
    seat.answer(POLICY, "")
    assert seat.ended() == 0
    assert "acpctl chat" in seat.shown
    assert "oauth2" not in seat.shown
    file = tmp_path / "state" / "mine.toml"
    assert f"acpbot check --config {file}" in seat.shown
    settings = loader.load(file, {"HOME": str(tmp_path)})
    assert settings.discord is None
    assert (settings.agents["default"].command, *settings.agents["default"].args) == DEMO_AGENT
    check = subprocess.run(
        [sys.executable, "-m", "acpbot", "check", "--online", "--config", str(file)],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), **COVERAGE_ENVIRON},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert check.returncode == 0, check.stdout + check.stderr
    assert "agent default: ok" in check.stdout
    assert re.search(r"\nresult: ok.*\nnext: `\S*acpbot run --config \S+`\n$", check.stdout)
    assert settings.permissions.policy == "ask"
    assert "there is no token to check" in check.stdout


def test_each_wrong_answer_gets_one_line_and_the_question_again(tmp_path, terminals):
    program(tmp_path, "other-agent")
    terminals.append(seat := Terminal(tmp_path, "init"))
    seat.answer(HIDDEN, "not a token")
    assert seat.answer(HIDDEN, "deadbeef").strip().count("\n") == 0
    assert "three parts separated by dots" in seat.answer(HIDDEN, TOKEN)
    seat.answer(USERS, "12")
    assert '"12" isn\'t a user ID' in seat.answer(USERS, f"<@&{ROLE}>")
    assert "isn't a user ID" in seat.answer(USERS, "")
    seat.answer(ROLES, "moderators")
    assert '"moderators" isn\'t a role ID' in seat.answer(ROLES, "")
    assert "Warning: with no IDs, everyone" in seat.answer(SURE, "yes")  # only the whole word is accepted
    seat.answer(USERS, "")
    seat.answer(ROLES, "")
    seat.answer(SURE, "everybody")
    seat.answer(CHANNELS, "#general")
    assert '"#general" isn\'t a channel ID' in seat.answer(CHANNELS, "")
    seat.answer(AGENT, "7")
    assert "There is no number 7. Pick one from 1 to 1." in seat.answer(AGENT, "no-such-agent --acp")
    assert 'There is no program "no-such-agent"' in seat.answer(AGENT, "./other-agent")
    assert "is a relative path" in seat.answer(AGENT, "'unclosed")
    assert "That isn't a valid command line" in seat.answer(AGENT, "'other agent'")
    assert "isn't the name of a program" in seat.answer(AGENT, "other-agent --say 'a ${HOME} b'")
    seat.answer(FOLDER, "code")
    assert '"code" is a relative path' in seat.answer(FOLDER, "/no/such/folder")
    assert 'There is no folder "/no/such/folder"' in seat.answer(FOLDER, str(tmp_path))
    seat.answer(POLICY, "perhaps")
    assert '"perhaps" isn\'t one of ask, allow, deny.' in seat.answer(POLICY, "allow")
    assert seat.ended() == 0
    no_traceback(seat.shown)
    settings = loader.load(tmp_path / PLACE, {"HOME": str(tmp_path)})
    assert settings.discord is not None
    assert settings.discord.allow_all_users
    assert settings.discord.allow_all_channels
    assert settings.agents["default"].args == ("--say", "a ${HOME} b")
    assert settings.agents["default"].working_dir == tmp_path
    assert f"warning: this file is in {tmp_path}, where agents work" in seat.shown


def test_without_an_id_in_the_token_it_asks_for_the_application(tmp_path, terminals):
    terminals.append(seat := Terminal(tmp_path, "init"))
    seat.answer(HIDDEN, "a.made-up.token")
    seat.answer(USERS, USER)
    seat.answer(ROLES, "")
    seat.answer(CHANNELS, "")
    seat.answer(AGENT, "1")
    seat.answer(FOLDER, "")
    seat.answer(POLICY, "")
    seat.answer(APPLICATION, "my app")
    assert "has 17 to 20 digits" in seat.answer(APPLICATION, "823456789012345678")
    assert seat.ended() == 0
    assert "client_id=823456789012345678&" in seat.shown


@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x04", 1)])
@pytest.mark.parametrize("prompt", [HIDDEN, AGENT])
def test_ctrl_c_and_ctrl_d_write_nothing(tmp_path, terminals, key, status, prompt):
    terminals.append(seat := Terminal(tmp_path, "init"))
    if prompt != HIDDEN:
        seat.answer(HIDDEN, "")
    seat.until(prompt)
    seat.until("): ")
    seat.press(key, "Nothing was written.")
    assert seat.ended() == status
    assert "Nothing was written." in seat.shown
    no_traceback(seat.shown)
    assert not (tmp_path / ".config").exists()
    assert ("cannot go on" in seat.shown) is (status == 1)


def test_an_existing_file_is_kept_and_nothing_is_asked(tmp_path, terminals):
    (tmp_path / PLACE).parent.mkdir(parents=True)
    (tmp_path / PLACE).symlink_to("nowhere")  # as a file: writing through it would make another
    terminals.append(seat := Terminal(tmp_path, "init"))
    assert seat.ended() == 1
    assert seat.shown.strip() == (
        f"cannot write {tmp_path}/{PLACE}: it already exists; edit it, move it away or name another with --config"
    )
    assert not (tmp_path / PLACE).with_name("nowhere").exists()


def test_a_file_that_appears_during_the_questions_is_kept(tmp_path, terminals):
    terminals.append(seat := Terminal(tmp_path, "init", env={"ACPBOT_CONFIG": "named.toml"}))
    seat.answer(HIDDEN, "")
    seat.answer(AGENT, "")
    seat.answer(FOLDER, "")
    seat.until(POLICY)
    (tmp_path / "named.toml").write_text("theirs")
    seat.type("\n")
    assert seat.ended() == 1
    assert "it already exists" in seat.shown
    assert (tmp_path / "named.toml").read_text() == "theirs"


def test_a_missing_folder_is_reported_before_the_first_question(tmp_path, terminals):
    terminals.append(seat := Terminal(tmp_path, "init", "--config", "none/config.toml"))
    assert seat.ended() == 1
    assert seat.shown.strip() == (
        f"cannot write {tmp_path}/none/config.toml: there is no folder {tmp_path}/none; create it first"
    )


def test_without_a_terminal_it_does_not_ask(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "acpbot", "init"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "", **COVERAGE_ENVIRON},
        input="x\n",
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        "cannot ask: there is no terminal; write a file with `acpbot config --example`, and edit it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_opencode_gets_a_password_of_its_own():
    answers = Answers(None, People(), (), ("opencode", "acp"))
    first, second = (tomllib.loads(render(answers))["agent"] for _ in range(2))
    assert first["args"] == ["acp"]
    assert re.fullmatch("[0-9a-f]{48}", first["env"]["OPENCODE_SERVER_PASSWORD"])
    assert first["env"] != second["env"]
    assert "env" not in tomllib.loads(render(answers._replace(agent=("qwen", "--acp"))))["agent"]


def test_a_written_file_that_can_not_be_loaded_is_removed(tmp_path):
    answers = Answers(TOKEN, People((USER,)), (), ("agent", "--token", TOKEN))  # the agent must not get it
    with pytest.raises(ConfigError, match="would give the bot token to the agent"):
        write(tmp_path / "config.toml", render(answers), {"HOME": "/home/u"})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_written_is_an_error_of_one_line(tmp_path):
    with pytest.raises(
        AcpbotError, match=r"^cannot write .*/missing/c\.toml: No such file or directory; choose another"
    ):
        write(tmp_path / "missing" / "c.toml", "", {})


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (TOKEN, CLIENT),
        (base64.b64encode(b"1234567890123456789").decode().rstrip("=") + ".x.y", "1234567890123456789"),
        ("a.made-up.token", None),
        ("AAAA.x.y", None),
        (".x.y", None),
    ],
)
def test_the_first_part_of_a_token_is_the_application_id(token, found):
    assert client_id_in(token) == found


def test_a_file_in_the_current_folder_that_comes_first_is_named(tmp_path, terminals):
    (tmp_path / "config.toml").write_text("")
    terminals.append(seat := Terminal(tmp_path, "init"))
    for prompt in (HIDDEN, AGENT, FOLDER, POLICY):
        seat.answer(prompt, "")
    assert seat.ended() == 0
    assert f"warning: without --config, {tmp_path}/config.toml comes first here" in seat.shown
    assert f" run --config {tmp_path / PLACE};" in seat.shown


def test_without_a_home_it_asks_for_a_place(tmp_path, terminals):
    terminals.append(seat := Terminal(tmp_path, "init", "--config", "here.toml", env={"HOME": ""}))
    for prompt in (HIDDEN, AGENT, FOLDER, POLICY):
        seat.answer(prompt, "")
    assert seat.ended() == 0
    assert (tmp_path / "here.toml").exists()
