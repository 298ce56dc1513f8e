"""The daemon, from top to bottom: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from acpbot import __version__, logs
from acpbot.aio import DISK, TaskSet, Threads, in_thread
from acpbot.chat.local import LocalChat
from acpbot.chat.operator import OperatorActions
from acpbot.chat.platform import ChatFacts
from acpbot.config import describe, security
from acpbot.daemon import descriptors, health
from acpbot.daemon.config_watch import ConfigWatch
from acpbot.daemon.drain import Drain
from acpbot.daemon.leftovers import LeftoverLog
from acpbot.daemon.loop_metrics import LoopLag, rss_bytes
from acpbot.daemon.reload import Reload, Reloaded
from acpbot.daemon.schedule import Scheduler
from acpbot.daemon.stop_signals import StopSignals
from acpbot.daemon.store_start import open_store
from acpbot.daemon.systemd import ServiceManager, SystemdWatchdog, watchdog_interval
from acpbot.errors import AcpbotError, Conflict, StartError, internal_error
from acpbot.logs import get_logger
from acpbot.management.access import AccessRule
from acpbot.management.audit import Audit
from acpbot.management.listener import Listener, PassedSocket, inherited
from acpbot.management.method import Services
from acpbot.management.server import ManagementServer
from acpbot.management.socket_watch import SocketWatch
from acpbot.runtimes.bubblewrap.hidden import hidden_files
from acpbot.runtimes.local.hidden_folder import token_folder
from acpbot.runtimes.local.peer import is_of_an_agent
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes
from acpbot.runtimes.runtime import StoredPlace
from acpbot.sessions.pool import Pool
from acpbot.storage.store import Store

if TYPE_CHECKING:
    import socket as socket_module
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping

    from acpbot.chat.discord.discord_chat import DiscordChat
    from acpbot.config.settings import AgentSettings, Settings
    from acpbot.daemon.metrics import Metrics

log = get_logger(__name__)

TICK_SECONDS: Final = 1.0
SAMPLE_SECONDS: Final = 2.0
LEFTOVER_SECONDS: Final = 60.0
_DEFAULT_THREADS: Final = 8  # for what libraries do in threads: name lookups (getaddrinfo)
SECURITY_SECONDS: Final = 10.0
SECURITY_WAIT_SECONDS: Final = 1.0  # a file system that hangs does not keep the daemon from its start
SOCKET_SECONDS: Final = 1.0
CONFIG_SECONDS: Final = 5.0
_STDIN: Final = 0
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
        self._reload = Reload(settings, reload, self._apply, self._manager, self._report_reload)
        self._started_at = time.monotonic()
        self._stop = asyncio.Event()
        self._stop_requested = False
        self._tasks = TaskSet("daemon")
        self._crashed_tasks: list[str] = []
        self._security: tuple[security.Finding, ...] = ()
        self._store = Store()
        self._audit = Audit(self._store)
        self._pool: Pool | None = None
        self._drain: Drain | None = None
        self._leftovers = LeftoverLog()
        self._server: ManagementServer | None = None
        self._loop_lag: LoopLag | None = None
        self._discord: DiscordChat | None = None
        self._socket_watch: SocketWatch | None = None
        self._metrics: Metrics | None = None
        self._scheduler: Scheduler | None = None

    async def run(self, *, stop_at_eof: bool = False) -> None:
        """Start, serve, drain, and stop. ``stop_at_eof``: stop when stdin closes.

        Raises StartError and ConfigError before anything is served, and ConfigError when Discord refuses for good.
        """
        async with contextlib.AsyncExitStack() as stack:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(Threads("default", _DEFAULT_THREADS))
            loop.set_exception_handler(self._on_loop_error)
            stack.callback(StopSignals(loop, self.stop).release)
            loop.add_signal_handler(signal.SIGHUP, self.reload)
            stack.callback(loop.remove_signal_handler, signal.SIGHUP)
            if stop_at_eof:
                self._watch_stdin(loop)

            pool, drain, address = await self._start(stack)
            drain.started = True
            self._manager.ready()
            pool.events.record("daemon_started", detail=f"version {__version__}")
            log.info("daemon_running", version=__version__, pid=os.getpid(), socket=address or "off")

            await self._stop.wait()

            drain.begin_stop()
            pool.events.record("daemon_stopping")
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

    def _report_reload(self, outcome: Reloaded | str) -> None:
        if self._pool is None:
            return
        if isinstance(outcome, str):
            self._pool.events.record("config_refused", detail=outcome)
            return
        waiting = f"; a restart is needed for {', '.join(outcome.needs_restart)}" if outcome.needs_restart else ""
        changed = ", ".join(outcome.reloaded) or "nothing has changed"
        self._pool.events.record("config_reloaded", detail=f"{changed}{waiting}")

    async def _reload_now(self) -> Reloaded:
        if self._stop.is_set():
            raise Conflict("cannot reload: acpbot is stopping")
        return await self._reload.now()

    def _config(self) -> dict[str, Any]:
        return {"path": self._settings.source, "config": describe.shown(self._settings)}

    # Start.

    async def _start(self, stack: contextlib.AsyncExitStack) -> tuple[Pool, Drain, str | None]:
        """Start everything; returns the pool, its drain, and the address of the management socket.

        ``stack`` closes what has started, in reverse order, also where a later part fails to start. So Discord closes
        while the background tasks still report to the service manager, and the socket closes late.
        """
        settings = self._settings
        for warning in settings.warnings:
            log.warning("configuration", warning=warning)
        open_files = descriptors.raise_limit()
        descriptors.warn_if_few(settings.pool.max_sessions)
        listening, bound = await self._listen(stack)
        address = None if bound is None else str(bound.path)
        store = self._store = await open_store(settings, self._stop)
        stack.push_async_callback(in_thread, "store", store.close)
        audit = self._audit = Audit(store)
        stack.callback(audit.flush, everything=True)
        runtimes = await self._open_runtimes(store, open_files)
        stack.push_async_callback(runtimes.aclose)
        stored = [StoredPlace(found.session_id, found.runtime, found.ref) for found in store.restored.places]
        await self._leftovers.look(runtimes, settings, stored, ())
        store.forget_processes()
        pool = self._pool = Pool(settings, runtimes=runtimes, store=store)
        stack.push_async_callback(pool.close)  # where the start fails: restored sessions stay as they are
        drain = self._drain = Drain(pool, self._on_drain_ended)
        chat = LocalChat(pool)
        chat.recover()
        operator = OperatorActions(pool, chat)
        if listening is not None and bound is not None:
            services = Services(
                version=__version__,
                state=drain.state,
                health=lambda: health.report(self._health_inputs(pool, drain)),
                rule=AccessRule(settings.management.admin_users),
                audit=self._audit,
                pool=pool,
                chat=chat,
                operator=operator,
                events=pool.events,
                drain=drain.drain,
                reload=self._reload_now,
                config=self._config,
                is_of_an_agent=is_of_an_agent,
            )
            server = self._server = ManagementServer(services)
            await server.start(listening)
            stack.push_async_callback(server.close)
            self._socket_watch = SocketWatch(bound, server.serve)
        if settings.management.probes.enabled:
            await self._start_probes(pool, drain, stack)
        look = partial(self._look_at_security, runtimes.local.containment)
        first = self._tasks.start(look(), name="first security")
        await asyncio.wait([first], timeout=SECURITY_WAIT_SECONDS)
        self._start_tasks(pool, address, stack)
        self._start_task("security", partial(_every, SECURITY_SECONDS, look))
        if settings.discord is not None:
            self._start_discord(pool, operator, stack)
        scheduler = self._scheduler = Scheduler(
            settings.schedule, operator=operator, store=store, events=pool.events, wall=time.time
        )
        stack.push_async_callback(scheduler.close)
        self._start_task("schedule", partial(_every, TICK_SECONDS, scheduler.tick))
        store.clear_restored()
        return pool, drain, address

    async def _open_runtimes(self, store: Store, open_files: tuple[int, int] | None) -> Runtimes:
        folder = await in_thread("token folder", token_folder, self._settings)
        local, reason = local_runtime(
            "auto", environ=self._environ, owns_children=True, open_files=open_files, hidden=folder
        )
        log.info("containment", kind=local.containment, reason=reason, hidden=None if folder is None else str(folder))
        hidden = hidden_files(self._settings, self._socket, self._environ)
        return Runtimes(
            local,
            daemon_id=store.instance,
            hidden=hidden,
            agents=self._agents_now,
        )

    def _agents_now(self) -> Iterable[AgentSettings]:
        return self._settings.agents.values()

    async def _listen(
        self, stack: contextlib.AsyncExitStack
    ) -> tuple[socket_module.socket | None, Listener | PassedSocket | None]:
        """The listening socket, and what knows the path that clients connect to."""
        passed = inherited(self._environ)
        if passed is not None:
            stack.callback(passed.close)
            return passed, PassedSocket(Path(passed.getsockname()))
        if self._socket is None:
            return None, None
        group = self._settings.management.socket_group
        listener = Listener(self._socket, group, is_of_an_agent=is_of_an_agent)
        stack.callback(listener.close)
        # In a thread: a directory service may take its time to find the group.
        return await in_thread("listener", listener.open), listener

    async def _start_probes(self, pool: Pool, drain: Drain, stack: contextlib.AsyncExitStack) -> None:
        from acpbot.management.probes import Probes  # noqa: PLC0415 - aiohttp is loaded only where it is wanted

        settings = self._settings.management.probes
        page = None
        if settings.metrics:
            from acpbot.daemon.metrics import Metrics  # noqa: PLC0415 - the same for prometheus_client

            pool.watcher = self._metrics = Metrics(pool, lambda: self._health_inputs(pool, drain))
            page = self._metrics.page
        inputs = partial(self._health_inputs, pool, drain)
        probes = Probes(lambda: health.readiness(inputs()), settings.host, settings.port, metrics=page)
        await probes.start()
        stack.push_async_callback(probes.close)
        log.info("probes_running", address="{}:{}".format(*probes.address))

    def _start_tasks(self, pool: Pool, address: str | None, stack: contextlib.AsyncExitStack) -> None:
        """Start the background tasks. One that ends by itself is named by health and started again."""
        self._loop_lag = LoopLag()
        stack.callback(self._loop_lag.stop)
        stack.push_async_callback(self._tasks.cancel)
        self._start_task("tick", partial(_every, TICK_SECONDS, partial(self._tick, pool)))
        self._start_task("sample", partial(_every, SAMPLE_SECONDS, pool.sample))
        self._start_task("leftovers", partial(_every, LEFTOVER_SECONDS, partial(self._look_for_leftovers, pool)))
        self._start_task("reload", self._reload.run)
        if self._settings.source is not None:
            watch = ConfigWatch(self._settings.source, self.reload)
            self._start_task("config", partial(_every, CONFIG_SECONDS, watch.look))
        if self._socket_watch is not None:
            self._start_task("socket", partial(_every, SOCKET_SECONDS, self._socket_watch.look))
        seconds = watchdog_interval(self._environ)
        if seconds is not None:
            self._start_task("watchdog", SystemdWatchdog(self._manager, address, seconds=seconds).run)

    def _start_task(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.keep(work, name=name, on_crash=partial(self._on_task_crash, name), endless=True)

    def _start_discord(self, pool: Pool, operator: OperatorActions, stack: contextlib.AsyncExitStack) -> None:
        """Connect in the background: the daemon is there and can be managed while Discord is not."""
        from acpbot.chat.discord.discord_chat import DiscordChat  # noqa: PLC0415 - discord.py is loaded only where it is wanted

        discord = self._discord = DiscordChat(self._settings, pool, on_crash=partial(self._on_task_crash, "discord"))
        if self._metrics is not None:
            discord.watch_requests(self._metrics.discord_answered)
        discord.recover()
        operator.add_channels(discord.operator)
        connection = asyncio.create_task(discord.run(), name="discord")
        connection.add_done_callback(self._on_discord_ended)
        stack.push_async_callback(_close_discord, discord, connection)

    # What others call while the daemon runs.

    def _watch_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop when stdin closes. Raises StartError where it can't be watched (epoll_ctl(2), EPERM)."""
        try:
            loop.add_reader(_STDIN, self._on_stdin)
        except (OSError, ValueError) as error:
            raise StartError(
                f"cannot wait for the end of stdin: {error}; --stop-at-eof needs a pipe or a terminal there"
            ) from None

    def _on_stdin(self) -> None:
        try:
            ended = not os.read(_STDIN, 4096)
        except OSError as error:
            log.warning("stdin_failed", reason=str(error))
            ended = True
        if ended:
            asyncio.get_running_loop().remove_reader(_STDIN)
            self.stop()

    def _on_discord_ended(self, connection: asyncio.Task[None]) -> None:
        """The daemon without its chat ends; the service manager starts it again."""
        error = asyncio.CancelledError() if connection.cancelled() else connection.exception()
        if error is not None:
            traceback = None if isinstance(error, AcpbotError) else error
            log.error("discord_failed", exc_info=traceback, reason=str(error) or type(error).__name__)
        self._stop.set()

    def _on_drain_ended(self) -> None:
        if self._discord is not None:
            self._discord.go_on()

    def _on_task_crash(self, name: str, _error: BaseException) -> None:
        if name not in self._crashed_tasks:
            self._crashed_tasks.append(name)

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what nobody else reports (loop.call_exception_handler of asyncio); health names failed callbacks."""
        error, failed = context.get("exception"), context.get("handle") or context.get("task") or context.get("future")
        log.error("event_loop_error", exc_info=error, message=context["message"], where=repr(failed)[:300])
        if error is not None and "handle" in context:
            self._on_task_crash("a callback of the event loop", error)

    async def _tick(self, pool: Pool) -> None:
        pool.tick()
        self._audit.flush()
        self._manager.tick()

    async def _look_for_leftovers(self, pool: Pool) -> None:
        await self._leftovers.look(pool.runtimes, self._settings, (), pool.live)

    def _apply(self, settings: Settings) -> None:
        """Hold to other settings, as far as that goes while everything runs."""
        self._settings = settings
        logs.set_level(settings.log.level)
        descriptors.warn_if_few(settings.pool.max_sessions)
        if self._pool is not None:
            self._pool.reconfigure(settings)
        if self._discord is not None:
            self._discord.reconfigure(settings)
        if self._scheduler is not None:
            self._scheduler.replace(settings.schedule)

    # Health.

    async def _look_at_security(self, containment: str) -> None:
        settings, uid, gid = self._settings, os.geteuid(), os.getegid()
        files = await DISK.run(security.look, settings, uid, gid)
        found = tuple(security.findings(settings, files, uid=uid, gid=gid, containment=containment))
        for finding in found:
            if finding.level == "warning" and finding not in self._security:
                log.warning("security", finding=finding.name, detail=finding.detail, advice=finding.advice)
        self._security = found

    def _unasked_modes(self, pool: Pool) -> list[security.Finding]:
        if self._settings.permissions.policy != "ask":
            return []
        sessions = [session for session in pool.sessions() if session.options.unasked is not None]
        return security.unasked_modes((session.thread.agent, session.options.mode) for session in sessions)

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
            config_waiting=self._reload.waiting,
            outdated=pool.outdated(),
            removed_agents=pool.removed_agents(),
            crashed_tasks=self._crashed_tasks,
            open_files=descriptors.open_files(),
            lookup_problem=None if self._server is None else self._server.lookups.problem,
            security=(*self._security, *self._unasked_modes(pool)),
            socket_problem=None if self._socket_watch is None else self._socket_watch.problem,
            strays=pool.strays,
            warm_places=pool.runtimes.warm_places,
        )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    failures = 0
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:
            # One failure must not end all later calls; many of a kind must not fill the log.
            failures += 1
            if failures == 1:
                log.exception("periodic_work_failed")
            else:
                log.failed_try("periodic_work_failed", failures, reason=str(error))
        else:
            failures = 0


async def _close_discord(discord: DiscordChat, connection: asyncio.Task[None]) -> None:
    """Close Discord, and wait for its task; an error of the task is the daemon's error."""
    await discord.close()
    await asyncio.wait([connection])
    error = asyncio.CancelledError() if connection.cancelled() else connection.exception()
    if isinstance(error, AcpbotError):
        raise error
    if error is not None:
        raise StartError(internal_error("go on without Discord", error))
