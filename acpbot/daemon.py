"""One daemon's life, readable from top to bottom: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from acpbot import __version__, health
from acpbot.acp import procfs
from acpbot.acp.agent import Profile, environment
from acpbot.acp.containment import choose_launcher, end_leftovers
from acpbot.chat.local import LocalChat
from acpbot.management import audit
from acpbot.management.access import AccessRule
from acpbot.management.listener import Listener, inherited
from acpbot.management.route import Services
from acpbot.management.server import ManagementServer
from acpbot.management.vitals import LoopLag, rss_bytes
from acpbot.notify import Notifier
from acpbot.sessions.home import Limits
from acpbot.sessions.pool import AgentChoice, Pool, PoolLimits
from acpbot.sessions.store import Store
from acpbot.sessions.thread import Workspace

if TYPE_CHECKING:
    import socket as socket_module
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping
    from pathlib import Path

    from acpbot.acp.process import Launcher
    from acpbot.acp.procfs import ProcessKey
    from acpbot.chat.discord.port import DiscordChat
    from acpbot.config import AgentSettings, Settings
    from acpbot.health import State

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
SAMPLE_SECONDS: Final = 2.0
LOCAL: Final = health.ChatFacts(platform="local", connected=True)


def profile(settings: AgentSettings, environ: Mapping[str, str]) -> Profile:
    """How an agent of the configuration is started."""
    return Profile(
        name=settings.name,
        argv=(settings.command, *settings.args),
        env=environment(environ, settings.inherit_env, settings.env),
        start_timeout=settings.start_timeout_seconds,
        memory_max=settings.memory_max,
        pids_max=settings.pids_max,
    )


def make_pool(settings: Settings, environ: Mapping[str, str], launcher: Launcher, store: Store) -> Pool:
    """The pool that the configuration describes."""
    pool = settings.pool
    return Pool(
        agents={
            agent.name: AgentChoice(profile=profile(agent, environ), working_dir=agent.working_dir)
            for agent in settings.agents.values()
        },
        default_agent=settings.default_agent,
        launcher=launcher,
        workspace=Workspace(pool.workspace, pool.workspace_mode),
        limits=PoolLimits(
            max_sessions=pool.max_sessions,
            idle_seconds=pool.idle_timeout_seconds,
            ttl_seconds=pool.session_ttl_hours * 3600,
            turn_timeout_seconds=pool.turn_timeout_seconds,
            remove_workspace=pool.remove_workspace,
            on_stuck=pool.on_stuck,
            session=Limits(
                policy=settings.permissions.policy,
                permission_seconds=settings.permissions.timeout_seconds,
                grace_seconds=pool.grace_seconds,
                stuck_after_seconds=pool.stuck_after_seconds,
                max_queued=pool.max_queued,
            ),
        ),
        store=store,
    )


class Daemon:
    """Serves one configuration until :meth:`stop`, SIGTERM or SIGINT; asked twice, it ends at once.

    ``socket``: where the management socket is bound, ``None`` for none.
    """

    def __init__(self, settings: Settings, socket: Path | None, environ: MutableMapping[str, str]) -> None:
        self._settings = settings
        self._socket = socket
        self._environ = environ
        self._notifier = Notifier(environ)
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._store = Store()
        self._pool: Pool | None = None
        self._lag: LoopLag | None = None
        self._discord: DiscordChat | None = None
        self.state: State = "starting"

    def stop(self) -> None:
        """Begin to end; asked again, end agents without grace."""
        if self._stop.is_set() and self._pool is not None:
            log.warning("daemon_forced")
            self._pool.force()
        self._stop.set()

    async def run(self, *, stop_at_eof: bool = False) -> None:
        """Live. ``stop_at_eof``: end when stdin closes.

        Raises StartError, ConfigError before anything is served, and ConfigError when Discord refuses for good.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._handle_signals(stack)
            if stop_at_eof:
                asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._stdin_readable)
            pool = await self._start(stack)
            self.state = "running"
            self._notifier.send(READY="1", STATUS="running")
            fields = {"version": __version__, "pid": os.getpid(), "socket": str(self._socket or "off")}
            log.info("daemon_running", extra={"fields": fields})
            await self._stop.wait()
            self.state = "stopping"
            self._notifier.send(STOPPING="1", STATUS="ending sessions")
            log.info("daemon_stopping", extra={"fields": {"sessions": len(pool.sessions())}})
            await pool.close()
            if self._discord is not None:
                await self._discord.close()
        log.info("daemon_stopped")

    async def _start(self, stack: contextlib.AsyncExitStack) -> Pool:
        """Start everything; what stands later in here is closed earlier, so that the socket goes last."""
        settings = self._settings
        for warning in settings.warnings:
            log.warning("configuration", extra={"fields": {"warning": warning}})
        listening = self._listen(stack)
        store = self._store = await asyncio.to_thread(Store.open, settings.store.path)
        stack.push_async_callback(asyncio.to_thread, store.close)
        stack.callback(audit.keep(store))
        for left in await asyncio.to_thread(end_leftovers, remembered=_remembered(store)):
            fields = {"pid": left.pid, "command": left.command[:200], "session": left.session_id, "ended": left.ended}
            log.warning("leftover_ended", extra={"fields": fields})
        store.forget_processes()
        launcher, reason = choose_launcher("auto", owns_children=True)
        stack.push_async_callback(launcher.aclose)
        log.info("containment", extra={"fields": {"kind": launcher.kind, "reason": reason}})
        pool = self._pool = make_pool(settings, self._environ, launcher, store)
        chat = LocalChat(pool)
        chat.recover()
        if listening is not None:
            rule = AccessRule(settings.management.admin_users)
            services = Services(
                version=__version__, state=lambda: self.state, facts=self._facts, rule=rule, pool=pool, chat=chat
            )
            server = ManagementServer(services)
            await server.start(listening)
            stack.push_async_callback(server.close)
        await self._start_probes(stack)
        self._start_discord(pool, stack)
        store.drop_left()
        for name, work, seconds in (("tick", self._tick, TICK_SECONDS), ("sample", pool.sample, SAMPLE_SECONDS)):
            task = asyncio.create_task(_every(seconds, work), name=name)
            stack.push_async_callback(_cancelled, task)
        self._lag = LoopLag()
        self._lag.start()
        stack.callback(self._lag.stop)
        return pool

    def _listen(self, stack: contextlib.AsyncExitStack) -> socket_module.socket | None:
        handed = inherited(self._environ)
        if handed is not None:
            stack.callback(handed.close)
            return handed
        if self._socket is None:
            return None
        listener = Listener(self._socket, self._settings.management.socket_group)
        stack.callback(listener.close)
        return listener.open()

    async def _start_probes(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings.management.probes
        if not settings.enabled:
            return
        from acpbot.management.probes import Probes  # noqa: PLC0415 - aiohttp is loaded only where it is wanted

        probes = Probes(self._facts, settings.host, settings.port)
        await probes.start()
        stack.push_async_callback(probes.close)
        log.info("probes_running", extra={"fields": {"address": "{}:{}".format(*probes.address)}})

    def _start_discord(self, pool: Pool, stack: contextlib.AsyncExitStack) -> None:
        """Connect in the background: the daemon is there and can be managed while Discord is not."""
        if self._settings.discord is None:
            return
        from acpbot.chat.discord.port import DiscordChat  # noqa: PLC0415 - discord.py is loaded only where it is wanted

        self._discord = DiscordChat(self._settings, pool)
        self._discord.recover()
        connected = asyncio.create_task(self._discord.run(), name="discord")
        connected.add_done_callback(lambda _: self._stop.set())
        stack.push_async_callback(_result, connected)

    def _handle_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop)
            stack.callback(loop.remove_signal_handler, signum)

    def _stdin_readable(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.stop()

    async def _tick(self) -> None:
        if self._pool is not None:
            self._pool.tick()

    def _facts(self) -> health.Facts:
        pool = self._pool
        if pool is None:
            raise AssertionError("facts are asked for only once the pool is there")
        return health.Facts(
            version=__version__,
            state=self.state,
            uptime_seconds=time.monotonic() - self._started,
            chat=LOCAL if self._discord is None else self._discord.facts(),
            pool=msgspec.convert(pool.counts(), health.PoolFacts, from_attributes=True),
            loop_lag_ms=None if self._lag is None else round(self._lag.milliseconds, 1),
            rss_bytes=rss_bytes(),
            store_problem=self._store.problem,
            grace_seconds=self._settings.management.probes.grace_seconds,
        )


def _remembered(store: Store) -> list[ProcessKey]:
    """The processes that an earlier life left in this boot, which is dead: the store is ours alone."""
    boot = procfs.boot_id()
    return [procfs.ProcessKey(left.pid, left.start_time) for left in store.left.processes if left.boot_id == boot]


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
