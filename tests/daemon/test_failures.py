"""A failure at the start ends the daemon, and a failure while it runs is reported: in this process, with real parts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest

from acpbot.config import loader
from acpbot.daemon.daemon import Daemon, _every
from acpbot.daemon.reload import Reload
from acpbot.daemon.systemd import ServiceManager
from acpbot.errors import StartError
from tests.fakes.daemon import DEMO_AGENT, LIMIT
from tests.fakes.discord.server import DiscordServer
from tests.support.management_server import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from acpbot.config.settings import Settings


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of $NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


async def wait_for(manager: socket.socket, line: str) -> None:
    """Wait until the service manager has got this line."""
    lines: list[str] = []
    while line not in lines:
        message = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 4096), LIMIT)
        lines = message.decode().split("\n")


def load(folder: Path, text: str) -> Settings:
    config = folder / "config.toml"
    config.write_text(f'{text}[store]\npath = "{folder}/acpbot.sqlite3"\n')
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder)}
    return loader.load(config, environ)


def not_asked() -> Settings:
    raise AssertionError("nobody has asked for a reload")


async def test_what_fails_every_second_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    calls, enough = 0, asyncio.Event()

    async def fail() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            enough.set()
        raise OSError("too many open files")

    repeated = asyncio.create_task(_every(0, fail))
    await asyncio.wait_for(enough.wait(), LIMIT)
    repeated.cancel()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "periodic_work_failed"
    ]


async def test_a_failure_after_discord_has_started_ends_the_daemon(tmp_path: Path) -> None:
    async with DiscordServer(unit=0.01) as server:
        discord = {"bot_token": server.token, "allowed_users": ["1"], "api_base": server.api_base}
        lines = [f"{name} = {json.dumps(value)}" for name, value in discord.items()]
        settings = load(tmp_path, "\n".join(["[discord]", *lines, DEMO_AGENT]))
        environ = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "\ud800"}  # no path: the first message to it fails
        path = tmp_path / "run" / "acpbot.sock"
        with pytest.raises(UnicodeEncodeError):
            await asyncio.wait_for(Daemon(settings, path, environ, reload=not_asked).run(), LIMIT)
        assert not path.exists()
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "discord"]


async def test_probes_whose_port_is_taken_end_the_daemon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        settings = load(tmp_path, f'{DEMO_AGENT}[management.probes]\nenabled = true\nbind = "{bind}"\n')
        path = tmp_path / "run" / "acpbot.sock"
        daemon = Daemon(settings, path, {"PATH": os.environ["PATH"]}, reload=not_asked)
        with pytest.raises(StartError, match=f"cannot serve probes at {bind}: .*ddress already in use"):
            await asyncio.wait_for(daemon.run(), LIMIT)
    assert not path.exists()


def named(name: str) -> list[asyncio.Task]:
    """The tasks of that name that run."""
    return [task for task in asyncio.all_tasks() if task.get_name() == name]


async def test_a_background_task_that_has_ended_is_named_by_health_and_started_again(
    tmp_path: Path, manager: socket.socket
) -> None:
    class Crash(BaseException):
        """What no task survives."""

    settings, crashes = load(tmp_path, DEMO_AGENT), [Crash()]

    def crash() -> Settings:
        if crashes:
            raise crashes.pop()
        return settings

    path = tmp_path / "run" / "acpbot.sock"
    environ = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(tmp_path / "notify")}
    daemon = Daemon(settings, path, environ, reload=crash)
    running = asyncio.create_task(daemon.run())
    await wait_for(manager, "READY=1")
    client = Client(*await asyncio.open_unix_connection(str(path)))
    client.hello = await client.read()

    async def check() -> dict:
        (check,) = [check for check in (await client.call("health.get"))["checks"] if check["name"] == "tasks"]
        return check

    assert await check() == {"name": "tasks", "ok": True, "reason": None}
    daemon.reload()
    while (found := await check())["ok"]:
        pass
    assert found["reason"] == "background tasks have ended with an error: reload; see the log, and restart acpbot"
    assert (await client.call("health.get"))["ready"]
    await wait_for(manager, "READY=1")
    daemon.reload()
    await wait_for(manager, "RELOADING=1")
    await wait_for(manager, "READY=1")
    (tick,) = named("daemon: tick")
    tick.cancel()
    await asyncio.wait([tick])
    while not named("daemon: tick"):
        await check()
    assert (await check())["reason"].startswith("background tasks have ended with an error: reload, tick;")
    asyncio.get_running_loop().call_soon(divmod, 1, 0)
    while "a callback of the event loop" not in (await check())["reason"]:
        pass
    await client.close()
    daemon.stop()
    await asyncio.wait_for(running, LIMIT)


@pytest.mark.parametrize("part", ["load", "apply"])
async def test_a_reload_that_fails_is_reported_and_the_next_one_is_served(
    tmp_path: Path, manager: socket.socket, part: str
) -> None:
    settings = load(tmp_path, DEMO_AGENT)
    failures: list[Callable[[], object]] = [lambda: 1 / 0]

    def fail(where: str) -> None:
        if where == part and failures:
            failures.pop()()

    def read() -> Settings:
        fail("load")
        return settings

    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}, str)
    reload = Reload(settings, read, lambda _settings: fail("apply"), service)
    task = asyncio.create_task(reload.run())
    reload.request()
    await wait_for(manager, "READY=1")
    assert reload.problem == "cannot use the configuration: internal error (ZeroDivisionError), see the log"
    reload.request()
    await wait_for(manager, "READY=1")
    assert reload.problem is None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
