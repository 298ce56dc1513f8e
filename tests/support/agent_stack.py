"""Real agents below the pool, a model server of ours below them, and a look at the processes that they leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from acpbot.sessions.views import Target
from tests.fakes.model_server import HOST, ModelServer
from tests.support.pool import Harness, Listener
from tests.support.real_agents import ASKING, recipe

if TYPE_CHECKING:
    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Detail, KillResult, Row

LIMIT: Final = 60.0


def running(command: str = "", **environ: str) -> list[str]:
    """Return the processes whose command line holds ``command`` and whose environment holds all of ``environ``.

    A look of our own over /proc, so that the launcher's is not its own witness.
    """
    wanted = {f"{name}={value}".encode() for name, value in environ.items()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            variables = set((folder / "environ").read_bytes().split(b"\0")) if wanted else set()
        except OSError:  # it has just ended, or is not ours
            continue
        if line and command in line and wanted <= variables:
            found.append(f"{folder.name}: {line}")
    return found


class Gate:
    """The proxy that agents are configured with: it lets nothing out, and keeps the first line of what was tried."""

    def __init__(self) -> None:
        self.tried: list[str] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._refuse, HOST, 0)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            self.tried.append((await reader.readline()).decode(errors="replace").strip())
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()


class Stack:
    """What the tests need of the daemon: threads that take messages, rows, cancel and kill. Here it is a bare pool.

    Anything else with these methods may replace it.
    """

    def __init__(self, name: str, folder: Path, model: ModelServer, gate: Gate) -> None:
        self.name = name
        self.home = folder / "home"
        argv, env = recipe(name, self.home, model.base_url, gate.url)
        self._harness = Harness(folder, argv=argv, env=env, mode=ASKING.get(name), start_timeout_seconds=LIMIT)

    def send(self, thread: str, text: str) -> Listener:
        return self._harness.send(thread, text)

    def row(self, thread: str) -> Row:
        return self._harness.row(thread)

    def session(self, thread: str) -> Session:
        return self._harness.session(thread)

    async def detail(self, thread: str) -> Detail:
        return await self._harness.pool.detail(thread)

    async def cancel(self, thread: str) -> str:
        return await self._harness.pool.cancel(thread)

    async def kill(self, thread: str, grace: float = 2.0) -> KillResult:
        session_id = self.row(thread).session_id
        assert session_id is not None
        target = Target(thread_id=thread, session_id=session_id)
        (result,) = await self._harness.pool.kill([target], grace_seconds=grace)
        return result

    async def ended(self) -> None:
        """Wait until the chat side learns that a session has ended."""
        await asyncio.wait_for(self._harness.events.ended.wait(), LIMIT)

    async def close(self) -> None:
        await self._harness.pool.close(grace_seconds=1.0)
        await self._harness.launcher.aclose()

    # What follows is made of the above.

    async def turn(self, thread: str, text: str) -> Listener:
        listener = self.send(thread, text)
        await self.over(listener)
        return listener

    async def over(self, listener: Listener) -> None:
        await asyncio.wait_for(listener.over.wait(), LIMIT)

    async def sees(self, listener: Listener, words: str) -> None:
        """Wait until the turn's text or an update's kind or title holds these words; agents may be slow to start."""
        await asyncio.wait_for(listener.running.wait(), LIMIT)
        await listener.sees(words)

    async def asked(self, listener: Listener) -> None:
        await asyncio.wait_for(listener.wants_permission.wait(), LIMIT)

    async def answer(self, listener: Listener, *kinds: str) -> None:
        """Wait for the permission request and choose the first option of the first kind that it offers."""
        await self.asked(listener)
        options = listener.asks[-1].options
        listener.asks[-1].select(next(o.option_id for kind in kinds for o in options if o.kind == kind))

    def nap(self) -> str:
        """Return a command that takes a minute and that no other process runs."""
        return f"sleep 6{secrets.randbelow(10)}.{secrets.randbelow(10**9):09}"

    async def tool(self, thread: str) -> tuple[Listener, str]:
        """Start a turn in which a permitted tool runs for a minute; return once it says so, through a pipe.

        And once the agent says so too: codex reports a tool only when it runs, by then a moment later.
        """
        nap, name = self.nap(), f"up-{secrets.token_hex(4)}"
        listener = self.send(thread, f"run echo up > {name} && {nap}")
        path = Path(self.row(thread).cwd) / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.mkfifo(path)
        await self.answer(listener, "allow_once")
        pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        up = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe, up.set)
        try:
            await asyncio.wait_for(up.wait(), LIMIT)
        finally:
            loop.remove_reader(pipe)
            os.close(pipe)
        await self.sees(listener, "tool_call")
        return listener, nap
