"""Agents in real sandboxes: how they end, and what the process table of this machine says afterwards."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from acpbot.config.runtime_settings import BubblewrapSettings
from acpbot.config.settings import AgentSettings
from acpbot.errors import AgentStartError
from acpbot.runtimes.bubblewrap.probe import can_scope_sockets, find_bwrap
from acpbot.runtimes.bubblewrap.runtime import BubblewrapRuntime
from acpbot.runtimes.bubblewrap.sandbox import Hidden
from acpbot.runtimes.local.runtime import LocalRuntime, local_runtime
from acpbot.runtimes.runtime import LaunchSpec
from tests.support.launched_agents import Sink

pytestmark = pytest.mark.runtimes


class Sandboxes:
    """Starts programs of Python in sandboxes."""

    def __init__(self, root: Path, environ: dict[str, str] | None = None) -> None:
        self.state = root / "state"
        self.workspace, self.home = self.state / "workspaces/t", self.state / "homes/t"
        for folder in (self.workspace, self.home):
            folder.mkdir(parents=True)
        self.use(local_runtime("auto", environ=environ or {"PATH": "/usr/bin:/bin", "HOME": str(root)})[0])

    def use(self, local: LocalRuntime) -> None:
        """Start them below this runtime."""
        self.local = local
        hidden = Hidden(state=self.state, folders=(self.state / "homes", self.state / "workspaces"))
        self.runtime = BubblewrapRuntime(local, hidden)

    def spec(self, code: str, **settings) -> LaunchSpec:
        table = BubblewrapSettings(**settings)
        env = self.runtime.environment(AgentSettings(name="agent", command="python3", bubblewrap=table), self.home)
        return LaunchSpec(
            argv=("python3", "-u", "-c", code),
            cwd=self.workspace,
            env=env,
            session_id="s-1",
            thread_id="t",
            home=self.home,
            bubblewrap=table,
        )

    async def start(self, code: str, **settings):
        sink = Sink()
        return await self.runtime.launch(self.spec(code, **settings), sink), sink


@pytest.fixture
async def sandboxes(tmp_path):
    sandboxes = Sandboxes(tmp_path)
    yield sandboxes
    await sandboxes.local.aclose()


def marked(word: str) -> list[int]:
    """The living processes of this machine whose command line has the word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        if word.encode() in words and state not in "ZX":
            found.append(int(folder.name))
    return found


async def test_an_agent_reads_and_writes_and_its_exit_code_is_known(sandboxes):
    process, sink = await sandboxes.start("import sys; print(sys.stdin.readline().strip() + '!'); sys.exit(3)")
    process.write(b"hello\n")
    assert await sink.line() == "hello!"
    assert (await process.wait(), process.end_reason, process.alive) == (3, "exit code 3", False)


async def test_it_has_a_home_of_its_own_and_little_of_the_daemons_environment(sandboxes):
    process, sink = await sandboxes.start("import os; print(os.environ['HOME'], os.getcwd(), os.environ['TMPDIR'])")
    assert await sink.line() == f"{sandboxes.home} {sandboxes.workspace} /tmp"
    await process.wait()


TERM = """
import signal, sys
def end(*_):
    print("asked to end")
    sys.exit(5)
signal.signal(signal.SIGTERM, end)
print("ready")
while True:
    signal.pause()
"""


async def test_the_agent_itself_is_asked_to_end_and_has_time_for_it(sandboxes):
    process, sink = await sandboxes.start(TERM)
    assert await sink.line() == "ready"
    process.terminate()
    assert await sink.line() == "asked to end"
    assert await process.wait() == 5


async def test_an_agent_that_begins_a_session_of_its_own_is_asked_to_end_too(sandboxes):
    process, sink = await sandboxes.start(f"import os\nos.setsid()\n{TERM}")
    assert await sink.line() == "ready"
    process.terminate()
    assert await sink.line() == "asked to end"
    assert await process.wait() == 5


@pytest.mark.parametrize("own_session", [False, True])
async def test_the_main_process_is_the_agent_and_not_its_sandbox(sandboxes, own_session, tmp_path):
    """A helper in another session is not, and neither is what the agent starts and leaves there."""
    begin = "os.setsid()" if own_session else ""
    code = ESCAPES.replace("MARK", f"mark-{tmp_path.name}").replace(
        "import os, signal, sys", f"import os, signal, sys\n{begin}"
    )
    process, sink = await sandboxes.start(code)
    assert await sink.line() == "ready"
    look = await process.look()
    (main,) = [info for info in look if info.is_main]
    assert look[0] == main
    assert main.command.startswith(("python3 ", "/usr/bin/python3 "))
    assert 'print("ready")' in main.command
    assert main.ppid in [info.pid for info in look if info.ppid == process.pid]


async def test_a_signal_that_ends_the_agent_is_named(sandboxes):
    process, sink = await sandboxes.start("print('ready'); input()")
    assert await sink.line() == "ready"
    process.terminate()
    await process.wait()
    assert (process.returncode, process.end_reason) == (-signal.SIGTERM, "SIGTERM")


ESCAPES = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if not os.fork():
        os.setsid()
        if not os.fork():
            code = 'import signal\\nwhile True: signal.pause()'
            os.execve('/usr/bin/python3', ['python3', '-c', code, 'MARK'], {})
        os._exit(0)
    os.wait()
print("ready")
while True:
    signal.pause()
"""


@pytest.mark.parametrize("how", ["kill_all", "kill", "bwrap"])
async def test_no_process_outlives_a_kill_as_seen_from_outside(sandboxes, how, tmp_path):
    mark = f"mark-{tmp_path.name}"
    process, sink = await sandboxes.start(ESCAPES.replace("MARK", mark))
    assert await sink.line() == "ready"
    seen = {info.pid for info in await process.look()}
    assert len(marked(mark)) >= 3
    assert set(marked(mark)) <= seen
    if how == "kill":
        process.kill()
        await process.wait()
    elif how == "bwrap":
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    report = await process.kill_all()
    assert (report.settled, report.proof, report.left) == (True, "system", ())
    assert marked(mark) == []
    await process.aclose()


async def test_the_background_processes_of_an_agent_end_with_it(sandboxes, tmp_path):
    mark = f"mark-{tmp_path.name}"
    code = ESCAPES.replace("MARK", mark).replace("while True:\n    signal.pause()\n", "")
    process, sink = await sandboxes.start(code)
    assert await sink.line() == "ready"
    assert await process.wait() == 0
    assert (await process.kill_all()).settled
    assert marked(mark) == []


async def test_abstract_sockets_of_this_machine_are_out_of_reach(sandboxes, tmp_path):
    name = f"\0acpbot-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(name)
        listening.listen()
        code = f"""
import socket
def reach(name):
    try:
        socket.socket(socket.AF_UNIX).connect(name)
    except OSError as error:
        return type(error).__name__
    return "reached"
own = socket.socket(socket.AF_UNIX)
own.bind('\\0own')
own.listen()
print(reach({name!r}), reach('\\0own'))
"""
        process, sink = await sandboxes.start(code, network=False)
        assert await sink.line() == "ConnectionRefusedError reached"
        await process.aclose()
        if not can_scope_sockets(find_bwrap({"PATH": "/usr/bin:/bin"})):
            pytest.skip("takes Linux 6.12 with Landlock")
        process, sink = await sandboxes.start(code)
        assert await sink.line() == "PermissionError reached"
        await process.aclose()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"readable": (Path("/no/such"),)},
            "/no/such does not exist; create it, or take it out of readable and writable",
        ),
        ({"writable": (Path("/"),)}, "/ is the whole machine; name the folders"),
    ],
)
async def test_a_setting_that_cannot_be_held_stops_the_start_with_the_way_out(sandboxes, settings, problem):
    with pytest.raises(AgentStartError, match=f"cannot start the agent in bubblewrap: {problem}"):
        await sandboxes.start("", **settings)


async def test_without_bwrap_the_error_says_what_to_install(tmp_path):
    sandboxes = Sandboxes(tmp_path, {"PATH": str(tmp_path)})
    wanted = "there is no bwrap program; install the package bubblewrap, or set runtime to local"
    with pytest.raises(AgentStartError, match=wanted):
        await sandboxes.runtime.check(AgentSettings(name="agent", command="python3"))
    await sandboxes.local.aclose()


async def test_a_bwrap_that_is_not_allowed_to_work_is_told_with_its_reason(tmp_path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    program.chmod(0o755)
    sandboxes = Sandboxes(tmp_path, {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    wanted = "cannot start the agent in bubblewrap: No permissions to create new namespace; "
    for attempt in (sandboxes.start(""), sandboxes.runtime.check(AgentSettings(name="agent", command="python3"))):
        with pytest.raises(AgentStartError, match=wanted):
            await attempt
    await sandboxes.local.aclose()


async def test_a_link_in_the_place_of_a_login_file_stops_the_start(sandboxes, tmp_path):
    (tmp_path / ".agent").mkdir()
    (tmp_path / ".agent/auth").write_text("login")
    (sandboxes.home / ".agent").symlink_to("/tmp")
    with pytest.raises(AgentStartError, match=r"a login file can't be shown in .*; remove what is there"):
        await sandboxes.start("", shared=(".agent/auth",))
