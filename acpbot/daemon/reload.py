"""Read the configuration again, by SIGHUP or by request.

A key that ``NEEDS_RESTART`` of its settings lists keeps its old value, and is reported. A bad configuration is refused
as a whole.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from acpbot.aio import DISK
from acpbot.config.field_types import FieldType, keys_of
from acpbot.config.settings import channel_table
from acpbot.errors import ConfigError, InvalidParams, WireError, internal_error
from acpbot.logs import get_logger
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from acpbot.config.settings import Settings
    from acpbot.daemon.systemd import ServiceManager

log = get_logger(__name__)

_INTERNAL: Final = WireError("cannot read the configuration again: an internal error; see acpbot's log")


def merge(in_force: Settings, wanted: Settings) -> Settings:
    """``wanted``, except for the keys that need a restart (``NEEDS_RESTART`` of their table): those of ``in_force``."""
    tables: dict[str, Struct | None] = {}
    for name in wanted.__struct_fields__:
        old, new = getattr(in_force, name), getattr(wanted, name)
        if name == "discord" and (old is None or new is None):
            tables[name] = old  # another chat
        elif keys := getattr(old, "NEEDS_RESTART", ()):
            tables[name] = structs.replace(new, **{key: getattr(old, key) for key in keys})
    return structs.replace(wanted, **tables)


def differences(old: Settings, new: Settings) -> list[str]:
    """The names of what differs, such as '[pool] max_sessions'; never values, which may be secret.

    Agents and channels are named whole, such as '[agents.claude]', and so is [discord] where it is on one side only.
    """
    before, after = dict(_named(old)), dict(_named(new))
    shared = before.keys() & after.keys()
    return [
        name
        for name in before | after
        if before.get(name) != after.get(name) and (name in shared or name.endswith("]"))
    ]


def _named(settings: Settings) -> Iterator[tuple[str, Any]]:
    yield "default_agent", settings.default_agent
    if settings.discord is not None:
        yield "[discord]", True
        for channel_id, channel in settings.discord.channels.items():
            yield f"[{channel_table(channel_id)}]", channel
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Struct):
            yield from _keys(name, value)
    yield "[[schedule]]", settings.schedule
    for agent in settings.agents.values():
        yield "[agent]" if agent.name == "default" else f"[agents.{agent.name}]", agent


def _keys(table: str, struct: Struct) -> Iterator[tuple[str, Any]]:
    for key, field_type in keys_of(type(struct)).items():
        value = getattr(struct, key)
        if isinstance(field_type, FieldType):
            yield f"[{table}] {key}", value
        else:
            yield from _keys(f"{table}.{key}", value)


class Reloaded(Struct, frozen=True):
    """The names of the keys and tables that hold now, and of those that need a restart; see :func:`differences`."""

    reloaded: list[str]
    needs_restart: list[str]


class Reload:
    """Reads the configuration again after each :meth:`request`, once at a time.

    ``load`` may block and raises ConfigError; ``apply`` puts settings in force. ``problem`` is why the configuration
    that was read last is not in force, ``None`` where it is. ``waiting``: its keys that need a restart.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings], None],
        manager: ServiceManager,
        report: Callable[[Reloaded | str], None] = lambda _outcome: None,
    ) -> None:
        """``report`` gets what became of each configuration that was read: that, or why it was refused."""
        self._in_force = settings
        self._load = load
        self._apply = apply
        self._manager = manager
        self._report = report
        self._requested = asyncio.Event()
        self._waiting: list[asyncio.Future[Reloaded]] = []
        self.problem: str | None = None
        self.waiting: Sequence[str] = ()

    def request(self) -> None:
        """Read the configuration again, soon."""
        self._requested.set()

    async def now(self) -> Reloaded:
        """Read the configuration again; what became of it. Raises InvalidParams where it is refused."""
        waiting: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.request()
        return await waiting

    async def run(self) -> None:
        """Serve requests until cancelled. The service manager gets READY again whatever happens."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            waiting, self._waiting = self._waiting, []
            try:
                self._manager.reloading()
                taken = self._take(await DISK.run(self._load))
                _answer(waiting, taken)
            except ConfigError as error:
                self._refuse(str(error))
                _answer(waiting, InvalidParams(operator_line(str(error))))
            except asyncio.CancelledError:
                _answer(waiting, _INTERNAL)
                raise
            except BaseException as error:
                # Broad: whatever failed, the problem is reported. What is no Exception ends this task, which the daemon
                # starts again.
                log.exception("reload_crashed")
                self._refuse(internal_error("use the configuration", error))
                _answer(waiting, _INTERNAL)
                if not isinstance(error, Exception):
                    raise
            finally:
                self._manager.ready()

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        log.error("config_refused", reason=problem)
        self._report(problem)

    def _take(self, wanted: Settings) -> Reloaded:
        merged = merge(self._in_force, wanted)
        changed, waiting = differences(self._in_force, merged), differences(merged, wanted)
        self._apply(merged)
        self._in_force = merged
        self.problem, self.waiting = None, waiting
        for warning in wanted.warnings:
            log.warning("configuration", warning=warning)
        if waiting:
            log.warning("config_needs_restart", keys=", ".join(waiting))
        log.info("config_reloaded", source=wanted.source, changed=", ".join(changed) or "-")
        reloaded = Reloaded(changed, waiting)
        self._report(reloaded)
        return reloaded


def _answer(waiting: list[asyncio.Future[Reloaded]], answer: Reloaded | Exception) -> None:
    for future in waiting:
        if future.done():
            continue  # nobody waits any more
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
