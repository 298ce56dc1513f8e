"""The daemon, from top to bottom: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from acpbot import __version__, logs
from acpbot.aio import TaskSet
from acpbot.chat.local import LocalChat
from acpbot.chat.platform import ChatFacts
from acpbot.daemon import health
from acpbot.daemon.drain import Drain
from acpbot.daemon.loop_metrics import LoopLag, rss_bytes
from acpbot.daemon.reload import Reload
from acpbot.daemon.systemd import ServiceManager, SystemdWatchdog, watchdog_interval
from acpbot.logs import get_logger
from acpbot.management.access import AccessRule
from acpbot.management.audit import Audit
from acpbot.management.listener import Listener, inherited
from acpbot.management.method import Services
from acpbot.management.server import ManagementServer
from acpbot.runtimes.local.launcher import choose_launcher
from acpbot.runtimes.local.leftovers import kill_orphans
from acpbot.runtimes.local.process_tracker import is_of_an_agent
from acpbot.runtimes.runtime import ProcessIdentity
from acpbot.sessions.pool import Pool
from acpbot.storage.store import Store

if TYPE_CHECKING:
    import socket as socket_module
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
    from pathlib import Path

    from acpbot.chat.discord.discord_chat import DiscordChat
    from acpbot.config.settings import Settings

log = get_logger(__name__)

TICK_SECONDS: Final = 1.0
SAMPLE_SECONDS: Final = 2.0
LOCAL: Final = ChatFacts(platform="local", connected=True)


class Daemon:
    """Serves a configuration until :meth:`stop`, SIGTERM or SIGINT; a second request ends it at once.

    ``socket``: where to bind the management socket, ``None`` for none. ``reload`` returns the configuration as it is
    then, or raises ConfigError; it may block.
    """

    def __init__(
        self,
        settings: Settings,
        socket: Path | None,
        environ: MutableMapping[str, str],
        *,
        reload: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._socket = socket
        self._environ = environ
        self._manager = ServiceManager(environ, self._summary)
        self._reload = Reload(settings, reload, self._apply, self._manager)
        self._started_at = time.monotonic()
        self._stop = asyncio.Event()
        self._stop_requested = False
        self._tasks = TaskSet("daemon")
        self._crashed_tasks: list[str] = []
        self._store = Store()
        self._pool: Pool | None = None
        self._drain: Drain | None = None
        self._loop_lag: LoopLag | None = None
        self._discord: DiscordChat | None = None

    async def run(self, *, stop_at_eof: bool = False) -> None:
        """Start, serve, drain, and stop. ``stop_at_eof``: stop when stdin closes.

        Raises StartError and ConfigError before anything is served, and ConfigError when Discord refuses for good.
        """
        async with contextlib.AsyncExitStack() as stack:
            loop = asyncio.get_running_loop()
            for number, handler in (
                (signal.SIGTERM, self.stop),
                (signal.SIGINT, self.stop),
                (signal.SIGHUP, self.reload),
            ):
                loop.add_signal_handler(number, handler)
                stack.callback(loop.remove_signal_handler, number)
            if stop_at_eof:
                loop.add_reader(sys.stdin.fileno(), self._on_stdin)

            pool, drain, address = await self._start(stack)
            drain.started = True
            self._manager.ready()
            log.info("daemon_running", version=__version__, pid=os.getpid(), socket=address or "off")

            await self._stop.wait()

            drain.begin_stop()
            self._manager.stopping()
            seconds = self._settings.shutdown.drain_seconds
            log.info("daemon_draining", seconds=seconds, status=self._summary())
            await drain.wait(seconds)

            log.info("daemon_stopping", sessions=len(pool.sessions()))
            await pool.close()
        log.info("daemon_stopped")

    def stop(self) -> None:
        """Begin to stop: running turns may go on for a while. A second call ends agents at once, without grace."""
        if self._stop_requested and self._pool is not None:
            log.warning("daemon_forced")
            self._pool.force()
        self._stop_requested = True
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again."""
        if self._stop.is_set():
            log.warning("reload_ignored", reason="acpbot is stopping")
        else:
            self._reload.request()

    # Start.

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[Pool, Drain, str | None]:
        """Start everything; returns the pool, its drain, and the address of the management socket.

        ``stack`` closes what has started, in reverse order, also where a later part fails to start. So Discord closes
        while the background tasks still report to the service manager, and the socket closes late.
        """
        settings = self._settings
        for warning in settings.warnings:
            log.warning("configuration", warning=warning)
        listening, address = self._listen(stack)
        store = self._store = await asyncio.to_thread(Store.open, settings.store.path)
        stack.push_async_callback(asyncio.to_thread, store.close)
        for left in await asyncio.to_thread(
            kill_orphans,
            remembered=[
                ProcessIdentity(found.pid, found.start_time, found.boot_id) for found in store.restored.processes
            ],
        ):
            log.warning(
                "orphan_process_ended",
                pid=left.pid,
                command=left.command[:200],
                session=left.session_id,
                ended=left.ended,
            )
        store.forget_processes()
        launcher, reason = choose_launcher("auto", owns_children=True)
        stack.push_async_callback(launcher.aclose)
        log.info("containment", kind=launcher.kind, reason=reason)
        pool = self._pool = Pool(settings, launcher=launcher, store=store, environ=self._environ)
        stack.push_async_callback(pool.close)  # where the start fails: restored sessions stay as they are
        drain = self._drain = Drain(pool, self._on_drain_ended)
        chat = LocalChat(pool)
        chat.recover()
        if listening is not None:
            services = Services(
                version=__version__,
                state=drain.state,
                health=lambda: health.report(self._health_inputs(pool, drain)),
                rule=AccessRule(settings.management.admin_users),
                audit=Audit(store),
                pool=pool,
                chat=chat,
                drain=drain.drain,
                is_of_an_agent=is_of_an_agent,
            )
            server = ManagementServer(services)
            await server.start(listening)
            stack.push_async_callback(server.close)
        if settings.management.probes.enabled:
            await self._start_probes(pool, drain, stack)
        self._start_tasks(pool, address, stack)
        if settings.discord is not None:
            self._start_discord(pool, stack)
        store.clear_restored()
        return pool, drain, address

    def _listen(self, stack: contextlib.AsyncExitStack) -> tuple[socket_module.socket | None, str | None]:
        """The listening socket, and the path that clients connect to."""
        passed = inherited(self._environ)
        if passed is not None:
            stack.callback(passed.close)
            return passed, str(passed.getsockname())
        if self._socket is None:
            return None, None
        listener = Listener(self._socket, self._settings.management.socket_group)
        stack.callback(listener.close)
        return listener.open(), str(listener.path)

    async def _start_probes(self, pool: Pool, drain: Drain, stack: contextlib.AsyncExitStack) -> None:
        from acpbot.management.probes import Probes  # noqa: PLC0415 - aiohttp is loaded only where it is wanted

        settings = self._settings.management.probes
        probes = Probes(lambda: health.readiness(self._health_inputs(pool, drain)), settings.host, settings.port)
        await probes.start()
        stack.push_async_callback(probes.close)
        log.info("probes_running", address="{}:{}".format(*probes.address))

    def _start_tasks(self, pool: Pool, address: str | None, stack: contextlib.AsyncExitStack) -> None:
        """Start the background tasks. None of them ends by itself; one that crashes is named by health."""
        self._loop_lag = LoopLag()
        stack.callback(self._loop_lag.stop)
        stack.push_async_callback(self._tasks.cancel)
        self._start_task("tick", _every(TICK_SECONDS, partial(self._tick, pool)))
        self._start_task("sample", _every(SAMPLE_SECONDS, pool.sample))
        self._start_task("reload", self._reload.run())
        seconds = watchdog_interval(self._environ)
        if seconds is not None:
            self._start_task("watchdog", SystemdWatchdog(self._manager, address, seconds=seconds).run())

    def _start_task(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.start(work, name=name, on_crash=partial(self._on_task_crash, name))

    def _start_discord(self, pool: Pool, stack: contextlib.AsyncExitStack) -> None:
        """Connect in the background: the daemon is there and can be managed while Discord is not."""
        from acpbot.chat.discord.discord_chat import DiscordChat  # noqa: PLC0415 - discord.py is loaded only where it is wanted

        discord = self._discord = DiscordChat(self._settings, pool)
        discord.recover()
        connection = asyncio.create_task(discord.run(), name="discord")
        connection.add_done_callback(self._on_discord_ended)
        stack.push_async_callback(_close_discord, discord, connection)

    # What others call while the daemon runs.

    def _on_stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.stop()

    def _on_discord_ended(self, connection: asyncio.Task[None]) -> None:
        if not connection.cancelled() and (error := connection.exception()) is not None:
            log.error("discord_failed", reason=str(error) or type(error).__name__)
        self._stop.set()

    def _on_drain_ended(self) -> None:
        if self._discord is not None:
            self._discord.go_on()

    def _on_task_crash(self, name: str, _error: BaseException) -> None:
        self._crashed_tasks.append(name)

    async def _tick(self, pool: Pool) -> None:
        pool.tick()
        self._manager.tick()

    def _apply(self, settings: Settings) -> None:
        """Hold to other settings, as far as that goes while everything runs."""
        self._settings = settings
        logs.set_level(settings.log.level)
        if self._pool is not None:
            self._pool.reconfigure(settings)
        if self._discord is not None:
            self._discord.reconfigure(settings)

    # Health.

    def _summary(self) -> str:
        if self._pool is None or self._drain is None:
            return "starting"
        return health.summary(self._drain.state(), self._pool.counts())

    def _health_inputs(self, pool: Pool, drain: Drain) -> health.HealthInputs:
        return health.HealthInputs(
            version=__version__,
            state=drain.state(),
            uptime_seconds=time.monotonic() - self._started_at,
            chat=LOCAL if self._discord is None else self._discord.facts(),
            pool=pool.counts(),
            loop_lag_ms=None if self._loop_lag is None else round(self._loop_lag.milliseconds, 1),
            rss_bytes=rss_bytes(),
            store_problem=self._store.problem,
            grace_seconds=self._settings.management.probes.grace_seconds,
            config_problem=self._reload.problem,
            crashed_tasks=self._crashed_tasks,
            strays=pool.strays,
        )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            # One failure must not end all later calls.
            log.exception("periodic_work_failed")


async def _close_discord(discord: DiscordChat, connection: asyncio.Task[None]) -> None:
    """Close Discord, and wait for its task; an error of the task is the daemon's error."""
    await discord.close()
    await connection
