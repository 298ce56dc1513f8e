"""Programs that put an agent into Discord, each ready to be started on the same loopback Discord and model server."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.fakes.model_server import MODEL

if TYPE_CHECKING:
    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.model_server import ModelServer

REPOSITORY = Path(__file__).parents[2]
REDIRECTED = Path(__file__).parent / "redirected"
AGENT = REPOSITORY / "tests" / "fakes" / "agents" / "model_agent.py"
HERMES = "ACPBOT_BENCH_HERMES"
"""A virtual environment that has hermes-agent[messaging]."""
PEER = "ACPBOT_BENCH_PEER"
"""The command of another one; it gets the variables of `environment`."""
STOP_SECONDS = 20


class Play(NamedTuple):
    """What a gateway works with."""

    discord: DiscordServer
    model: ModelServer
    user: str
    """The id of who may use it."""
    channel: str
    """The id of where it is asked."""


class Gateway:
    """One of the programs. ``folder`` is its home, which stays over a restart."""

    name = ""

    def __init__(self, folder: Path, play: Play) -> None:
        self.folder = folder
        self.play = play
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return its command and what its environment needs."""
        raise NotImplementedError

    def start(self) -> None:
        argv, environ = self.command()
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder / "state")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**kept, **home, **environ},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """End it at once, as the kernel does where memory is short: it alone, and not what it has started."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order, and then all that is left of it."""
        if self.process is None:
            return
        left = tree(self.pid)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Acpbot(Gateway):
    """This program, with an agent that only passes on what the model says."""

    name = "acpbot"

    def command(self) -> tuple[list[str], dict[str, str]]:
        discord = self.play.discord
        config = self.folder / "config.toml"
        tables: dict[str, dict[str, object]] = {
            "discord": {
                "bot_token": discord.token,
                "api_base": discord.api_base,
                "gateway_url": discord.gateway_url,
                "allow_all_channels": True,
                "allowed_users": [self.play.user],
                "allow_user_messages": "involved",
            },
            "agent": {"command": sys.executable, "args": [str(AGENT), self.play.model.base_url]},
            "pool": {"max_sessions": 20, "workspace": str(self.folder / "work")},
        }
        text = "".join(
            f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for table, values in tables.items()
        )
        config.write_text(text)
        config.chmod(0o600)
        environ = {"PYTHONPATH": str(REPOSITORY), "ACPBOT_SOCKET": str(self.folder / "run" / "acpbot.sock")}
        return [sys.executable, "-m", "acpbot", "run", "--config", str(config)], environ


def environment(play: Play) -> dict[str, str]:
    """Return what a peer is told by its environment; discord.py in any Python program obeys the first three."""
    return {
        "PEER_API_BASE": play.discord.api_base,
        "PEER_GATEWAY_URL": play.discord.gateway_url,
        "PYTHONPATH": str(REDIRECTED),
        "PEER_MODEL_URL": play.model.base_url,
        "PEER_MODEL": MODEL,
        "PEER_USER": play.user,
        "PEER_CHANNEL": play.channel,
        "DISCORD_BOT_TOKEN": play.discord.token,
    }


class Hermes(Gateway):
    """The gateway of Hermes Agent, with answers that are streamed, as acpbot's are."""

    name = "Hermes"

    def command(self) -> tuple[list[str], dict[str, str]]:
        home = self.folder / ".hermes"
        home.mkdir(exist_ok=True)
        url = self.play.model.base_url
        settings = {
            "model": {
                "default": MODEL,
                "provider": "custom",
                "base_url": url,
                "api_key": "x",
                "context_length": 100_000,
            },
            "streaming": {"enabled": True},
            "security": {"tirith_enabled": False},  # it would fetch that program
        }
        (home / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML too
        environ = {
            "HERMES_HOME": str(home),
            "OPENAI_API_KEY": "x",
            "OPENAI_BASE_URL": url,
            "DISCORD_ALLOWED_USERS": self.play.user,
            "DISCORD_HOME_CHANNEL": self.play.channel,  # or each new thread begins with a hint to choose one
        }
        program = Path(os.environ[HERMES]) / "bin" / "hermes"
        return [str(program), "gateway", "run"], {**environment(self.play), **environ}


class Peer(Gateway):
    """Any other one, by its command."""

    name = "peer"

    def command(self) -> tuple[list[str], dict[str, str]]:
        return shlex.split(os.environ[PEER]), environment(self.play)


def installed() -> tuple[list[type[Gateway]], str]:
    """Return the gateways that there are, acpbot first, and why there is no peer where there is none."""
    found: list[type[Gateway]] = [Acpbot]
    if os.environ.get(HERMES):
        found.append(Hermes)
    elif os.environ.get(PEER):
        found.append(Peer)
    else:
        return (
            found,
            f"no peer: set {HERMES} to a virtual environment with hermes-agent[messaging], or {PEER} to a command",
        )
    return found, ""


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it, parents first. Source: proc_pid_stat(5)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1]) if entry.name.isdigit() else 0
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(entry.name) if parent else 0)
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory(pid: int) -> float:
    """Return the MiB of a process and its descendants; what several share is counted once (Pss in proc(5))."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024
