"""How many functions and files three flows pass through: a message, a kill, and a restart.

``python -m tests.support.count_functions``, from the repository's root; with ``--list`` each function is named. A real
daemon, with the real discord.py and the demo agent, runs against the tests' own Discord, and ``acpctl`` is run as an
operator runs it. Each is a process of its own, where a profile hook notes what is called, or resumed, of acpbot and
acpctl: comprehensions and lambdas too where Python runs them as functions, bodies of modules and classes never.

Every few seconds a daemon also looks after itself. Where that falls is chance, so each flow is watched for some seconds
more, and what is then called in the same way as in a daemon that nobody talks to is left out. At its start a daemon
looks for what dead ones left: ``restart`` has up to ten functions more where others run or ran on the machine.
Nothing of acpbot is imported here, so that its modules may be moved and renamed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import runpy
import signal
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from inspect import CO_OPTIMIZED
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from types import CodeType, FrameType

    from tests.fakes.discord.server import DiscordServer
    from tests.fakes.discord.state import Channel

    Call = tuple[str, str]  # a function, and the first of ours that led to it

ROOT = Path(__file__).resolve().parents[2]
OURS = (f"{ROOT}/acpbot/", f"{ROOT}/cli/acpctl/")
LOOP_STEP = asyncio.Handle._run.__code__
LIMIT = 30.0  # seconds that anything may take
QUIET = 0.2  # seconds: a daemon that has slept for so long has done what there was to do
WATCHED = 7.0  # seconds: more than a daemon lets pass between two looks after itself
PROMPT = 'say "hello "; stall 1; say world; stall 1'  # one after the other, so that a message is edited
ANSWER = "hello world"
DONE = "🆗"
CONFIG = """
[discord]
bot_token = "{server.token}"
allowed_users = ["{person.id}"]
allowed_channels = ["{channel.id}"]
api_base = "{server.api_base}"
gateway_url = "{server.gateway_url}"
footer = false
[agent]
command = "{sys.executable}"
args = ["-m", "acpbot.demo.agent"]
env.PYTHONPATH = "{ROOT}"
[reactions.emojis]
done = "{DONE}"
"""


class Hook:
    """A profile function that notes calls, and reports them on what was stdout until then; now that is stderr."""

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._report = os.dup(1)
        os.dup2(2, 1)

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & CO_OPTIMIZED and code.co_filename.startswith(OURS):
            self._calls.add((name_of(code), name_of(first_of_ours(frame))))

    def report(self) -> None:
        """Write a line with the calls since the last report."""
        calls, self._calls = self._calls, set()
        data = json.dumps(list(calls.copy())).encode() + b"\n"  # a copy: another thread may add its last one
        while data:
            data = data[os.write(self._report, data) :]


def name_of(code: CodeType) -> str:
    """``FILE:LINE:NAME``."""
    return f"{code.co_filename[len(str(ROOT)) + 1 :]}:{code.co_firstlineno}:{code.co_qualname}"


def first_of_ours(frame: FrameType) -> CodeType:
    """The outermost function of ours in this step of the event loop, or in this thread."""
    found, above = frame.f_code, frame.f_back
    while above is not None and above.f_code is not LOOP_STEP:
        if above.f_code.co_filename.startswith(OURS):
            found = above.f_code
        above = above.f_back
    return found


def run_watched(module: str, *arguments: str) -> None:
    """Be ``python -m MODULE ARGUMENTS``; SIGUSR1 asks for a report, and another one comes at the end."""
    hook = Hook()
    signal.signal(signal.SIGUSR1, lambda *_: hook.report())
    sys.argv[1:] = arguments
    threading.setprofile(hook)
    sys.setprofile(hook)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.setprofile(None)
        hook.report()


@asynccontextmanager
async def watched(folder: Path, *words: str) -> AsyncIterator[Process]:
    """``python -m WORDS``, watched from its first line on; it has ended when the block is left."""
    log = folder / "log"
    environ = {"HOME": str(folder), "ACPBOT_SOCKET": f"{folder}/run/acpbot.sock", "PYTHONPATH": f"{ROOT}:{ROOT}/cli"}
    environ["PATH"] = os.environ["PATH"]
    argv = [sys.executable, "-m", "tests.support.count_functions", "--child", *words]
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environ,
            cwd=folder,
            limit=1 << 24,
        )
    try:
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        await end(process)


async def end(process: Process) -> None:
    """End it as a service manager does."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), LIMIT)
    except TimeoutError:
        process.kill()
        await process.wait()


async def next_report(process: Process) -> set[Call]:
    """The calls that it reports next."""
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), LIMIT)
    assert line, "it has ended without a report"
    return {(function, first) for function, first in json.loads(line)}


async def calls_of(process: Process, seconds: float = WATCHED) -> set[Call]:
    """The calls since the last time, or since its start, and those of so many seconds from now on."""
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGUSR1)
    return await next_report(process)


async def quiet(process: Process) -> None:
    """Return once its event loop has slept through a moment."""
    status, before = Path(f"/proc/{process.pid}/status"), ""
    async with asyncio.timeout(LIMIT):
        while before != (now := (await asyncio.to_thread(status.read_text)).partition("voluntary_ctxt_switches")[2]):
            before = now
            await asyncio.sleep(QUIET)


class Town:
    """A Discord with one person in one channel, and the folder of the daemon that answers there."""

    def __init__(self, server: DiscordServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.channel = server.make_channel(server.make_guild())
        self.person = server.make_user("ada", self.channel.guild)
        values = {"server": server, "person": self.person, "channel": self.channel, "sys": sys}
        (folder / "config.toml").write_text(CONFIG.format(**values, ROOT=ROOT, DONE=DONE))

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Process]:
        """A daemon that is connected, and has done all that it does at its start."""
        await self.server.wait_for(lambda: not self.server.gateway.connected, seconds=LIMIT)
        async with watched(self.folder, "acpbot", "run", "--config", f"{self.folder}/config.toml") as process:
            await self.server.wait_until_connected(seconds=LIMIT)
            await quiet(process)
            yield process

    async def message(self, where: Channel) -> Channel:
        """Somebody asks the bot something, and all is answered; the thread of the answer."""
        asked = self.person.says(where, PROMPT, mentions=[] if where.is_thread else [self.server.bot])
        await self.server.wait_for(lambda: asked.shown_reactions == [DONE], seconds=LIMIT, what="the end of the turn")
        thread = where if where.is_thread else await self.server.wait_for_thread(where)
        said = self.server.messages_in(thread, by=self.server.bot)[-1]
        await self.server.wait_for(lambda: said.content == ANSWER, seconds=LIMIT, what="the whole answer")
        return thread

    async def kill(self, thread: Channel) -> set[Call]:
        """An operator ends the thread's session, and the thread reads so; the calls of acpctl."""
        async with watched(self.folder, "acpctl", "kill", str(thread.id), "--yes") as acpctl:
            calls = await next_report(acpctl)
            assert await acpctl.wait() == 0, "acpctl has failed"
        await self.server.wait_for_message(thread, lambda message: message.content != ANSWER, seconds=LIMIT)
        return calls


async def measure(folder: Path) -> dict[str, set[str]]:
    """The functions of each flow, and of a daemon that nobody talks to ("idle")."""
    from tests.fakes.discord.server import DiscordServer  # noqa: PLC0415 - not in the processes that are watched

    calls: dict[str, set[Call]] = {}
    async with DiscordServer(unit=0.01) as server:
        town = Town(server, folder)
        async with town.daemon() as daemon:
            await calls_of(daemon, 0)
            thread = await town.message(town.channel)
            calls["message"] = await calls_of(daemon)
            calls["kill"] = await town.kill(thread) | await calls_of(daemon)
        async with town.daemon() as daemon:
            await town.message(thread)
            calls["restart"] = await calls_of(daemon)
            idle = await calls_of(daemon)
    left = {flow: found - idle for flow, found in calls.items()} | {"idle": idle}
    return {flow: {function for function, _ in found} for flow, found in left.items()}


def show(flow: str, functions: set[str], *, listed: bool) -> None:
    """A line with the numbers; ``listed``: and the functions by file, in their order there."""
    parts = sorted((file, int(line), name) for file, line, name in (one.split(":", 2) for one in functions))
    print(f"{flow}: {len(parts)} functions in {len({file for file, _, _ in parts})} files")
    for file, those in groupby(parts if listed else (), key=lambda part: part[0]):
        print(f"  {file}", *(f"    {line}: {name}" for _, line, name in those), sep="\n")


def main() -> None:
    """Measure, and show the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="name the functions, those of an idle daemon too")
    listed = parser.parse_args().list
    with tempfile.TemporaryDirectory() as folder:
        functions = asyncio.run(measure(Path(folder)))
    for flow in functions if listed else ("message", "kill", "restart"):
        show(flow, functions[flow], listed=listed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run_watched(*sys.argv[2:])
    else:
        main()
