"""acpbot.service under systemd itself, on a separate machine: the tests run what `acpbot install-service` prints."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from tests.fakes.daemon import Wire, marked_processes
from tests.fakes.discord.server import DiscordServer
from tests.support.packaging.machine import Machine, missing
from tests.support.packaging.packaged_daemon import SECRETS, Home, acpctl_at
from tests.support.packaging.units import FOLDER

pytestmark = pytest.mark.service

PYTHON = "/opt/acpbot/bin/python"
LOCAL = f'[agent]\ncommand = "{PYTHON}"\nargs = ["-m", "acpbot.demo.agent"]\n'
UNIT = "acpbot.service"
NESTED = "unshare --user --map-root-user --pid --fork --mount --mount-proc true"  # as bubblewrap does


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "try").mkdir()
    if reason := missing(tmp_path / "try"):
        pytest.skip(f"systemd can't be run here: {reason}")
    with Machine(tmp_path / "machine") as machine:
        yield machine


def next_commands(output: str) -> list[list[str]]:
    """The commands that `acpbot install-service` prints, split into words."""
    _, _, lines = output.partition("\nNext:\n")
    return [shlex.split(line, comments=True) for line in lines.splitlines()]


MANAGER = """
[Service]
Type=notify
User=ada
Environment=XDG_RUNTIME_DIR=/run/user/2001
ExecStartPre=+install -d -m 700 -o ada -g ada /run/user/2001 /home/ada
ExecStart=/lib/systemd/systemd --user
Delegate=yes
KillMode=mixed
"""


def install(machine: Machine, config: str, *, starts: bool = True) -> None:
    """Install as an administrator does: write a configuration, run `acpbot install-service`, run what it prints."""
    machine.write("/etc/acpbot/config.toml", config, 0o600)
    commands = next_commands(machine.run("acpbot", "install-service", "--yes").stdout)
    assert ["systemctl", "enable", "--now", UNIT] in commands
    for command in commands:
        machine.run(*command, check=starts)


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "--no-pager", "--unit", UNIT).stdout


def state(machine: Machine, *names: str) -> list[str]:
    shown = machine.run("systemctl", "show", UNIT, *(f"--property={name}" for name in names)).stdout
    found = dict(line.split("=", 1) for line in shown.splitlines())
    return [found[name] for name in names]


def wire(machine: Machine) -> Wire:
    return Wire(machine.root / "run/acpbot/acpbot.sock")


async def test_a_bot_with_its_token_in_the_credential_store(machine):
    async with DiscordServer(unit=0.01, token=SECRETS["acpbot.discord-token"]) as server:
        home = Home(server)
        for name, secret in SECRETS.items():
            machine.write(f"/etc/credstore/{name}", secret, 0o600)
        config = home.configuration(PYTHON, '[management]\nsocket_group = "acpbot"\n')
        await asyncio.to_thread(install, machine, config)
        session = (await home.is_served(acpctl_at(machine.root / "run/acpbot/acpbot.sock")))["session_id"]
        assert len(marked_processes([session])) == 1
        await asyncio.to_thread(machine.run, "systemctl", "stop", UNIT)
        assert state(machine, "ActiveState", "Result", "ExecMainStatus") == ["inactive", "success", "0"]
        assert marked_processes([session]) == []
        assert not (machine.root / "run/acpbot").exists()
        logged = await asyncio.to_thread(journal, machine)
    assert "kind=cgroup" in logged
    assert "Traceback" not in logged
    assert server.token not in logged


def test_file_permissions_of_the_service(machine):
    install(machine, LOCAL + '[management]\nsocket_group = "acpbot"\n')
    machine.write("/etc/sysusers.d/people.conf", "u ada 2001 - /home/ada\nm ada acpbot\nu bob 2002 - /home/bob\n")
    machine.run("systemd-sysusers", "people.conf")
    assert machine.run("acpctl", "doctor", user="ada").returncode == 0
    denied = machine.run("acpctl", "sessions", user="bob", check=False)
    assert (denied.returncode, "permission denied" in denied.stderr) == (4, True)
    for user in ("ada", "bob"):
        refused = machine.run("cat", "/etc/acpbot/config.toml", user=user, check=False)
        assert "Permission denied" in refused.stderr
    assert "Permission denied" in machine.run("ls", "/var/lib/acpbot", user="ada", check=False).stderr


def tools(machine: Machine, commands: list[str]) -> dict[str, tuple[int, str]]:
    """Let an agent's tool run shell commands, one after the other; the status and the output of each."""
    lines = [f"sh -c {shlex.quote(text)} > {n}.out 2>&1; echo $? > {n}.status" for n, text in enumerate(commands)]
    machine.write("/srv/try.sh", "\n".join(lines))
    with wire(machine) as chat:
        chat.call("chat.open", thread="try")
        chat.turn("try", "tool sh /srv/try.sh")
    place = machine.root / "var/lib/acpbot/workspaces/try"
    return {
        text: (int((place / f"{n}.status").read_text()), (place / f"{n}.out").read_text())
        for n, text in enumerate(commands)
    }


def test_an_agent_can_write_only_where_it_should(machine):
    machine.write("/home/ada/code", "x")
    machine.write("/opt/acpbot/readable", "x")
    install(machine, LOCAL)
    may = [
        "echo x > /tmp/x && rm /tmp/x",
        "cat /opt/acpbot/readable && cp -a /etc/passwd . && tar cf x.tar passwd && tar xf x.tar",
        "ulimit -c 0 && nice -n 5 true",
        'python3 -c "import multiprocessing as m; assert m.Pool(2).map(abs, [-1]) == [1]"',
    ]
    if machine.run("which", "node", check=False).returncode == 0:
        code = "const o = require('os'); process.exit(o.cpus().length && o.networkInterfaces().lo ? 0 : 1)"
        may.append(f'node -e "{code}"')
    may_not = [
        "touch /etc/x",
        "touch /opt/acpbot/x",
        "cat /home/ada/code",
        "echo 1 > /proc/sys/vm/drop_caches",
        "mount -t tmpfs tmpfs /tmp",
        NESTED,
    ]
    ended = tools(machine, may + may_not)
    assert {text: end for text, end in ended.items() if text in may and end[0] != 0} == {}
    assert {text: end for text, end in ended.items() if text in may_not and end[0] == 0} == {}


def test_an_agent_can_use_its_own_sandbox_with_the_drop_in(machine):
    drop_in = (FOLDER / "nested-sandbox.conf").read_text()
    place = next(word for word in drop_in.split() if word.startswith("/etc/")).rstrip(",")
    machine.write(place, drop_in)
    machine.run("umount", "--lazy", "/proc/sys")  # a machine's own /proc has nothing mounted over it
    install(machine, LOCAL)
    assert tools(machine, [NESTED]) == {NESTED: (0, "")}


def test_a_wrong_configuration_is_not_restarted(machine):
    install(machine, "x = [", starts=False)
    assert state(machine, "ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
    assert "cannot use /etc/acpbot/config.toml: not TOML at line 1" in journal(machine)


def test_after_a_crash_it_is_restarted_and_no_process_is_left(machine):
    machine.write(f"/etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nRestartSec=0\n")
    install(machine, LOCAL)
    with wire(machine) as chat:
        session = chat.call("chat.open", thread="try")["session"]["session_id"]
        chat.turn("try", "orphan 300")
        assert len(marked_processes([session])) == 2
        machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", UNIT)
        while chat.lines.readline():
            pass
    machine.logged(UNIT, "Started ", times=2)
    assert state(machine, "ActiveState", "NRestarts") == ["active", "1"]
    assert marked_processes([session]) == []
    with wire(machine) as chat:
        assert chat.call("health.get")["ready"]


def test_a_reload_reads_the_configuration_again(machine):
    install(machine, LOCAL)
    with wire(machine) as chat:
        assert chat.call("sessions.list")["max_sessions"] == 10
        with (machine.root / "etc/acpbot/config.toml").open("a") as config:
            config.write("[pool]\nmax_sessions = 3\n")
        machine.run("systemctl", "reload", UNIT)
        machine.logged(UNIT, "Reloaded ")
        assert chat.call("sessions.list")["max_sessions"] == 3
    assert state(machine, "ActiveState", "NRestarts") == ["active", "0"]


def test_a_daemon_that_hangs_is_killed_and_restarted(machine):
    machine.write(f"/etc/systemd/system/{UNIT}.d/soon.conf", "[Service]\nRestartSec=0\nWatchdogSec=500ms\n")
    install(machine, LOCAL)
    machine.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", UNIT)
    machine.logged(UNIT, "Started ", times=2)
    assert "Watchdog timeout" in journal(machine)
    assert state(machine, "ActiveState") == ["active"]


def test_a_user_service_runs(machine):
    machine.write("/etc/sysusers.d/people.conf", "u ada 2001 - /home/ada\n")
    machine.run("systemd-sysusers", "people.conf")
    machine.write("/etc/systemd/system/manager.service", MANAGER)
    machine.run("systemctl", "start", "manager.service")
    own = {"user": "ada", "XDG_RUNTIME_DIR": "/run/user/2001"}
    machine.run("install", "-d", "/home/ada/.config/acpbot", **own)
    machine.write("/home/ada/.config/acpbot/config.toml", LOCAL)
    output = machine.run("acpbot", "install-service", "--user", "--yes", **own).stdout
    linger, *commands = next_commands(output)
    assert linger == ["loginctl", "enable-linger"]  # this machine has no logins
    for command in commands:
        machine.run(*command, **own)
    with Wire(machine.root / "run/user/2001/acpbot/acpbot.sock") as chat:
        session = chat.call("chat.open", thread="try")["session"]
        assert session["cwd"] == "/home/ada/.local/state/acpbot/workspaces/try"
        chat.turn("try", "orphan 300")
        started = marked_processes([session["session_id"]])
        assert len(started) == 2
        assert all(session["session_id"] in Path(f"/proc/{pid}/cgroup").read_text() for pid in started)
    machine.run("systemctl", "--user", "stop", UNIT, **own)
    assert machine.run("systemctl", "--user", "show", "--property=Result", UNIT, **own).stdout == "Result=success\n"
    assert marked_processes([session["session_id"]]) == []
    refused = machine.run("acpctl", "health", check=False, **own)
    assert (refused.returncode, "no such file" in refused.stderr) == (6, True)
