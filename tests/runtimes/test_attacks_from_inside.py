"""An agent's tool, in each place, goes for the token, the socket, the state and the other threads: nothing is in reach.

The tool looks everywhere that it can see, under any name, and not only where acpbot keeps things. Left out is Python's
installation. What a test puts into the tool's own HOME shows that it would find the rest.
"""

from __future__ import annotations

import json
import os
import select
import socket
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.fakes.daemon import LIMIT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.daemon import DaemonProcess, Wire

pytestmark = [pytest.mark.runtimes, pytest.mark.timeout(240)]

TOKEN = "MTQxNzIyMTIzNDU2Nzg5MDEyMw.GattaC.an-attack-must-not-find-these-38-chars"
ENVIRONMENT = "another-secret-of-the-environment"
DISCORD = '[discord]\nbot_token = "%s"\nallow_all_users = true\napi_base = "http://127.0.0.1:1"\n'
SECRET = "the-purple-elephant-of-the-victim"

TOOL = """
    import json, os, signal, socket, stat, sys

    attack, *words = sys.argv[1:]
    own = os.path.dirname(os.path.abspath(__file__))
    system = {f"/{name}" for name in ("usr", "lib", "lib32", "lib64", "bin", "sbin", "proc", "sys", "nix", "gnu")}
    system |= {sys.prefix, sys.base_prefix}

    def visible():
        '''Every file that can be seen, but those of the system; and every one of each process.'''
        for folder, folders, files in os.walk("/"):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in {*system, own}]
            yield from (os.path.join(folder, name) for name in files)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            yield from (f"/proc/{pid}/{name}" for name in ("environ", "cmdline"))
            try:
                yield from (f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                pass

    def holds(path, secrets):
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return False
            with open(path, "rb") as file:
                content = file.read(4_000_000)
        except OSError:
            return False
        return any(secret in content for secret in secrets)

    def everywhere(path):
        '''A path as the daemon knows it, and behind each process's root.'''
        yield path
        for pid in filter(str.isdigit, os.listdir("/proc")):
            yield f"/proc/{pid}/root{path}"
            yield f"/proc/{pid}/cwd/../../../../../../../..{path}"

    def secrets():
        '''Files that hold one of these words, which come reversed: this command line must not match.'''
        wanted = [word[::-1].encode() for word in words]
        return [path for path in visible() if not path.startswith(own) and holds(path, wanted)]

    def sockets():
        found = []
        for path in [*everywhere(words[0]), *filter(os.path.exists, visible())]:
            try:
                if path == words[0] or stat.S_ISSOCK(os.stat(path).st_mode):
                    socket.socket(socket.AF_UNIX).connect(path)
                    found.append(path)
            except OSError:
                pass
        return found

    def files():
        '''What is there of these paths, and what can be made in the folders above them.'''
        found = []
        for word in words:
            for path in everywhere(word):
                try:
                    if os.path.isdir(path):
                        found += [f"{path}/{name}" for name in os.listdir(path)]
                    elif os.path.exists(path):
                        found.append(path)
                except OSError:
                    pass
        return found

    def kill():
        '''Everything that can be signalled, by its number here and by the number that it has outside.'''
        for pid in map(int, words):
            try:
                os.kill(pid, 0)
                found.append(pid)
            except OSError:
                pass
        os.kill(-1, signal.SIGKILL)

    found = []
    print(json.dumps({"secrets": secrets, "sockets": sockets, "files": files, "kill": kill}[attack]()))
"""


class Attacked:
    """A daemon with two threads: a victim, which has written SECRET wherever it can, and an attacker."""

    def __init__(self, placed, daemon: DaemonProcess, wire: Wire) -> None:
        self.daemon = daemon
        self.wire = wire
        self.state = daemon.folder / "state" / "acpbot"
        self._python = placed.python
        for thread in ("victim", "attacker"):
            wire.call("chat.open", thread=thread)
        wire.turn("victim", f"remember {SECRET}")
        wire.turn("victim", f"tool echo {SECRET} > here && echo {SECRET} > $HOME/there && echo {SECRET} > /tmp/tmp")
        wire.turn("attacker", "say hello")
        (self.workspace / "attack.py").write_text(textwrap.dedent(TOOL))

    @property
    def workspace(self) -> Path:
        return self.state / "workspaces" / "attacker"

    def command(self, attack: str, *words: object) -> str:
        return f"tool {self._python} {self.workspace / 'attack.py'} {attack} {' '.join(map(str, words))}"

    def finds(self, attack: str, *words: object) -> list:
        """What the attack has found."""
        text = self.wire.turn("attacker", self.command(attack, *words))["text"]
        assert "completed" in text, text
        return json.loads(text[text.index("[") : text.rindex("]") + 1])


@pytest.fixture
def attacked(placed, tmp_path):
    discord = DISCORD % TOKEN if placed.engine is None else DISCORD % "${DISCORD_BOT_TOKEN}"
    with (
        placed.daemon(tmp_path / "d", discord, DISCORD_BOT_TOKEN=TOKEN, OTHER_SECRET=ENVIRONMENT) as daemon,
        daemon.wire() as wire,
    ):
        yield Attacked(placed, daemon, wire)


def test_the_token_is_nowhere_in_reach(attacked):
    seen = attacked.state / "homes/attacker/seen"
    seen.write_text(TOKEN)
    assert attacked.finds("secrets", TOKEN[::-1], ENVIRONMENT[::-1]) == [str(seen)]
    assert attacked.finds("files", attacked.daemon.config) == []


def test_the_socket_is_nowhere_in_reach(attacked):
    seen = attacked.state / "homes/attacker/s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(seen))
        listening.listen()
        assert attacked.finds("sockets", attacked.daemon.socket) == [str(seen)]


def test_the_state_is_nowhere_in_reach(attacked):
    names = [*(path for path in attacked.state.iterdir() if path.is_file()), attacked.daemon.log]
    assert any(path.suffix == ".sqlite3" for path in names)
    assert attacked.finds("files", *names) == []


def test_what_another_thread_has_is_nowhere_in_reach(attacked):
    assert (attacked.state / "workspaces/victim/here").read_text() == f"{SECRET}\n"
    assert (attacked.state / "homes/victim/there").read_text() == f"{SECRET}\n"
    assert attacked.finds("secrets", SECRET[::-1]) == []
    folders = (attacked.state / name / "victim" for name in ("workspaces", "homes"))
    assert attacked.finds("files", *folders) == []


def test_no_process_of_another_thread_or_of_the_daemon_can_be_ended(attacked):
    tree = attacked.wire.call("sessions.get", thread="victim")["session"]["process_tree"]
    pids = [attacked.daemon.process.pid, *(process["pid"] for process in tree)]
    watched = [os.pidfd_open(pid) for pid in pids]
    attacked.wire.call("chat.send", thread="attacker", text=attacked.command("kill", *pids))
    asked = attacked.wire.event("permission")
    option = next(one["option_id"] for one in asked["options"] if one["kind"] == "allow_once")
    attacked.wire.call("chat.permit", thread="attacker", request=asked["request"], option=option)
    attacked.wire.socket.settimeout(LIMIT)
    attacked.wire.event("turn_end")
    assert SECRET in attacked.wire.turn("victim", "recall")["text"]
    assert select.select(watched, [], [], 0)[0] == []
    for pidfd in watched:
        os.close(pidfd)
