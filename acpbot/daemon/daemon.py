"""One daemon's life, readable from top to bottom: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from acpbot import __version__, logs
from acpbot.chat.local import LocalChat
from acpbot.chat.platform import ChatFacts
from acpbot.daemon import health, systemd_watchdog
from acpbot.daemon.drain import Drain
from acpbot.daemon.reload import Reload
from acpbot.daemon.systemd import Notifier, Service
from acpbot.daemon.wiring import agent_choices, pool_limits
from acpbot.logs import get_logger
from acpbot.management import audit
from acpbot.management.access import AccessRule
from acpbot.management.listener import Listener, inherited
from acpbot.management.loop_metrics import LoopLag, rss_bytes
from acpbot.management.route import Services
from acpbot.management.server import ManagementServer
from acpbot.runtimes.local.launcher import choose_launcher
from acpbot.runtimes.local.leftovers import is_of_an_agent, kill_orphans
from acpbot.runtimes.runtime import ProcessIdentity
from acpbot.sessions.pool import Pool
from acpbot.sessions.thread import Workspace
from acpbot.storage.store import Store

if TYPE_CHECKING:
    import socket as socket_module
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
    from pathlib import Path

    from acpbot.chat.discord.discord_chat import DiscordChat
    from acpbot.config.loader import Settings
    from acpbot.management.readiness import State
    from acpbot.runtimes.runtime import Launcher
    from acpbot.sessions.views import PoolCounts

log = get_logger(__name__)

TICK_SECONDS: Final = 1.0
SAMPLE_SECONDS: Final = 2.0
LOCAL: Final = ChatFacts(platform="local", connected=True)


def make_pool(settings: Settings, environ: Mapping[str, str], launcher: Launcher, store: Store) -> Pool:
    """The pool that the configuration describes."""
    return Pool(
        agents=agent_choices(settings, environ),
        default_agent=settings.default_agent,
        launcher=launcher,
        workspace=Workspace(settings.pool.workspace, settings.pool.workspace_mode),
        limits=pool_limits(settings),
        store=store,
    )


class Daemon:
    """Serves a configuration until :meth:`stop`, SIGTERM or SIGINT; asked twice, it ends at once.

    ``socket``: where the management socket is bound, ``None`` for none. ``reload`` gives the configuration as it is
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
        self._notifier = Notifier(environ)
        self._service = Service(self._notifier, self._summary)
        self._reload = Reload(settings, reload, self._apply, self._service)
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._store = Store()
        self._asked = False
        self._running = False
        self._pool: Pool | None = None
        self._drain: Drain | None = None
        self._lag: LoopLag | None = None
        self._discord: DiscordChat | None = None

    @property
    def state(self) -> State:
        """What hello and health tell."""
        return self._drain.state if self._running and self._drain is not None else "starting"

    def stop(self) -> None:
        """Begin to end: running turns may go on for a while. Asked again, end agents at once and without grace."""
        if self._asked and self._pool is not None:
            log.warning("daemon_forced")
            self._pool.force()
        self._asked = True
        self._stop.set()

    def reload(self) -> None:
        """Read the configuration again."""
        if self._stop.is_set():
            log.warning("reload_ignored", reason="acpbot is stopping")
        else:
            self._reload.ask()

    async def run(self, *, stop_at_eof: bool = False) -> None:
        """Live. ``stop_at_eof``: end when stdin closes.

        Raises StartError, ConfigError before anything is served, and ConfigError when Discord refuses for good.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._handle_signals(stack)
            if stop_at_eof:
                asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._stdin_readable)
            pool, drain, address = await self._start(stack)
            self._running = True
            self._service.ready()
            log.info("daemon_running", version=__version__, pid=os.getpid(), socket=address or "off")
            self._keep_alive(address, stack)
            await self._stop.wait()
            drain.begin_last()
            self._service.stopping()
            seconds = self._settings.shutdown.drain_seconds
            log.info("daemon_draining", seconds=seconds, status=self._summary())
            await drain.finish(seconds)
            log.info("daemon_stopping", sessions=len(pool.sessions()))
            await pool.close()
        log.info("daemon_stopped")

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[Pool, Drain, str | None]:
        """Start everything; what stands later in here is closed earlier, so that the socket goes last.

        With pool and drain it gives the management socket's address.
        """
        settings = self._settings
        for warning in settings.warnings:
            log.warning("configuration", warning=warning)
        listening, address = self._listen(stack)
        store = self._store = await asyncio.to_thread(Store.open, settings.store.path)
        stack.push_async_callback(asyncio.to_thread, store.close)
        stack.callback(audit.keep(store))
        for left in await asyncio.to_thread(
            kill_orphans,
            remembered=[
                ProcessIdentity(found.pid, found.start_time, found.boot_id) for found in store.restored.processes
            ],
        ):
            log.warning(
                "leftover_ended", pid=left.pid, command=left.command[:200], session=left.session_id, ended=left.ended
            )
        store.forget_processes()
        launcher, reason = choose_launcher("auto", owns_children=True)
        stack.push_async_callback(launcher.aclose)
        log.info("containment", kind=launcher.kind, reason=reason)
        pool = self._pool = make_pool(settings, self._environ, launcher, store)
        stack.push_async_callback(pool.close)  # for a start that fails: what was taken up is left as it was
        drain = self._drain = Drain(pool, self._drain_over)
        chat = LocalChat(pool)
        chat.recover()
        if listening is not None:
            rule = AccessRule(settings.management.admin_users)
            services = Services(
                version=__version__,
                state=lambda: self.state,
                health=lambda: health.report(self._facts()),
                rule=rule,
                pool=pool,
                chat=chat,
                drain=drain,
                is_of_an_agent=is_of_an_agent,
            )
            server = ManagementServer(services)
            await server.start(listening)
            stack.push_async_callback(server.close)
        await self._start_probes(stack)
        self._start_discord(pool, stack)
        store.clear_restored()
        _beside("tick", _every(TICK_SECONDS, self._tick), stack)
        _beside("sample", _every(SAMPLE_SECONDS, pool.sample), stack)
        _beside("reload", self._reload.serve(), stack)
        self._lag = LoopLag()
        self._lag.start()
        stack.callback(self._lag.stop)
        return pool, drain, address

    def _listen(self, stack: contextlib.AsyncExitStack) -> tuple[socket_module.socket | None, str | None]:
        """The listening socket, and where clients find it."""
        handed = inherited(self._environ)
        if handed is not None:
            stack.callback(handed.close)
            return handed, str(handed.getsockname())
        if self._socket is None:
            return None, None
        listener = Listener(self._socket, self._settings.management.socket_group)
        stack.callback(listener.close)
        return listener.open(), str(listener.path)

    async def _start_probes(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings.management.probes
        if not settings.enabled:
            return
        from acpbot.management.probes import Probes  # noqa: PLC0415 - aiohttp is loaded only where it is wanted

        probes = Probes(lambda: health.readiness(self._facts()), settings.host, settings.port)
        await probes.start()
        stack.push_async_callback(probes.close)
        log.info("probes_running", address="{}:{}".format(*probes.address))

    def _start_discord(self, pool: Pool, stack: contextlib.AsyncExitStack) -> None:
        """Connect in the background: the daemon is there and can be managed while Discord is not."""
        if self._settings.discord is None:
            return
        from acpbot.chat.discord.discord_chat import DiscordChat  # noqa: PLC0415 - discord.py is loaded only where it is wanted

        chat = self._discord = DiscordChat(self._settings, pool)
        connected = asyncio.create_task(chat.run(), name="discord")
        connected.add_done_callback(lambda _: self._stop.set())
        stack.push_async_callback(_result, connected)
        stack.push_async_callback(chat.close)  # before _result, also where the start fails: run() ends only then
        chat.recover()

    def _keep_alive(self, address: str | None, stack: contextlib.AsyncExitStack) -> None:
        seconds = systemd_watchdog.interval(self._environ)
        if seconds is not None:
            _beside("keepalive", systemd_watchdog.KeepAlive(self._notifier, address, seconds=seconds).run(), stack)

    def _handle_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for signum, handler in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self.reload)):
            loop.add_signal_handler(signum, handler)
            stack.callback(loop.remove_signal_handler, signum)

    def _stdin_readable(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.stop()

    async def _tick(self) -> None:
        if self._pool is not None:
            self._pool.tick()
        if self._running:
            self._service.tick()

    def _apply(self, settings: Settings) -> None:
        """Hold to other settings, as far as that goes while everything runs."""
        self._settings = settings
        logs.set_level(settings.log.level)
        if self._pool is not None:
            agents, limits = agent_choices(settings, self._environ), pool_limits(settings)
            self._pool.reconfigure(agents=agents, default_agent=settings.default_agent, limits=limits)
        if self._discord is not None:
            self._discord.reconfigure(settings)

    def _drain_over(self) -> None:
        if self._discord is not None:
            self._discord.go_on()

    def _summary(self) -> str:
        return health.summary(self.state, self._counts())

    def _counts(self) -> PoolCounts:
        if self._pool is None:
            raise AssertionError("facts are asked for only once the pool is there")
        return self._pool.counts()

    def _facts(self) -> health.Facts:
        return health.Facts(
            version=__version__,
            state=self.state,
            uptime_seconds=time.monotonic() - self._started,
            chat=LOCAL if self._discord is None else self._discord.facts(),
            pool=self._counts(),
            loop_lag_ms=None if self._lag is None else round(self._lag.milliseconds, 1),
            rss_bytes=rss_bytes(),
            store_problem=self._store.problem,
            grace_seconds=self._settings.management.probes.grace_seconds,
            config_problem=self._reload.problem,
        )


def _beside(name: str, work: Coroutine[Any, Any, None], stack: contextlib.AsyncExitStack) -> None:
    """Run ``work`` beside everything else, until the stack is left."""
    stack.push_async_callback(_cancelled, asyncio.create_task(work, name=name))


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:
            # One bad look must not end all later ones; what it was is in the log.
            log.exception("periodic_work_failed")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _result(task: asyncio.Task[None]) -> None:
    """Let an error of the task's be the daemon's."""
    await task
