"""Real agents in bubblewrap and in containers, below a whole daemon: a tool, a permission, a kill, a restart, a resume.

They are signed in with files, as people do it. Each thread has a HOME of its own, into which these files are shown.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from typing import TYPE_CHECKING

import pytest

from tests.agents.test_real_agents_daemon import converse
from tests.fakes.daemon import DaemonProcess
from tests.support.agent_stack import LIMIT, Gate, running
from tests.support.container_engine import IMAGE, EngineMissing, podman_engine
from tests.support.missing_places import bubblewrap_lacks, leave_out
from tests.support.real_agents import installed
from tests.support.signed_in_agents import KEY, SignedIn, signed_in

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(4 * LIMIT)]

AGENTS = ("codex", "opencode")
PLACES = {
    "bubblewrap": "",
    "container": f'[agent.container]\nengine = "podman"\nimage = "{IMAGE}"\npull = "never"\n',
}


@pytest.fixture(params=AGENTS)
def agent_name(request):
    return request.param


@pytest.fixture(scope="module")
def podman():
    """A Podman whose image has these agents, and the shell that they run their tools with."""
    programs = [str(program) for name in AGENTS if (program := installed(name)) is not None]
    try:
        with podman_engine(["bash", *programs]) as engine:
            yield engine
    except EngineMissing as missing:
        leave_out("podman", str(missing))


@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def environ(place, agent_name, request):
    """What the daemon needs beside its own: the engine of containers; on this machine, the agent on PATH."""
    if place == "container":
        return dict(request.getfixturevalue("podman").environ)
    missing = bubblewrap_lacks()
    if missing is not None:
        leave_out("bubblewrap", missing)
    program = installed(agent_name)
    assert program is not None
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


class Daemons:
    """Daemons one after the other, in one folder, which is the HOME of their user."""

    def __init__(self, folder: Path, place: str, agent: SignedIn, environ: dict[str, str]) -> None:
        self.folder = folder
        self.state = folder / "state" / "acpbot"
        self.home = self.state / "homes" / "t"
        self._environ = environ
        command, *arguments = agent.argv
        self._config = (
            f'[agent]\ncommand = "{command}"\nargs = {json.dumps(arguments)}\nruntime = "{place}"\n[agent.env]\n'
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in agent.env.items())
            + PLACES[place]
        )
        agent.write(self.state / "logins" / "default", folder)

    def start(self) -> DaemonProcess:
        return DaemonProcess(self.folder, self._config, **self._environ)  # type: ignore[arg-type] # only strings


@pytest.fixture
async def daemons(agent_name, place, environ, tmp_path, model):
    async with Gate() as gate:
        yield Daemons(tmp_path / "d", place, signed_in(agent_name, model.base_url, gate.url), environ)
        assert gate.tried == [], "nothing leaves the machine"


def converse_over_a_restart(daemons: Daemons, place: str) -> None:
    with daemons.start() as daemon:
        converse(daemon)
        with daemon.wire() as wire:
            row = wire.call("sessions.get", thread="t")["session"]
        assert (row["runtime"], row["alive"]) == (place, True)
        ended = os.pidfd_open(row["pid"])
        daemon.stop(signal.SIGKILL)
    with daemons.start() as daemon, daemon.wire() as wire:
        assert select.select([ended], [], [], LIMIT)[0], "the agent of the first daemon has ended"
        os.close(ended)
        wire.socket.settimeout(LIMIT)
        wire.call("chat.open", thread="t")
        wire.call("chat.send", thread="t", text="recall")
        assert "the blue door is open" in wire.event("turn_end")["text"]
        assert running(HOME=str(daemons.home))
        assert daemon.stop() == 0
    assert running(HOME=str(daemons.home)) == []


async def test_a_whole_conversation_with_a_kill_and_a_restart_in_a_place_of_its_own(daemons, place, agent_name, model):
    await asyncio.to_thread(converse_over_a_restart, daemons, place)
    agent = signed_in(agent_name, model.base_url, "")
    assert {request.key for request in model.requests} == {KEY}, "it is signed in with the shared login"
    assert any((daemons.home / agent.kept).iterdir()), "what it keeps is in the HOME of its thread"
    for folder, (name, text) in ((daemons.state / "logins/default", agent.login), (daemons.folder, agent.settings)):
        assert (folder / name).read_text() == text
        assert [path.name for path in (folder / name).parent.iterdir()] == [(folder / name).name]
