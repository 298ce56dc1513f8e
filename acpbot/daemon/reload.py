"""SIGHUP: the configuration is read again, and what of it can change while everything runs is put in force.

A bad one is refused whole. What is used once, at the start, stays as it was and is named.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from acpbot.config.field_types import FieldType, keys_of
from acpbot.config.settings import LogSettings, ManagementSettings, StoreSettings
from acpbot.errors import ConfigError
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from acpbot.config.settings import Settings
    from acpbot.daemon.systemd import Service

log = get_logger(__name__)

# What connects, binds, opens or places something; all other keys are looked at again and again.
_AT_START: Final[Mapping[str, tuple[str, ...]]] = {
    "discord": ("bot_token", "allow_dm", "api_base", "gateway_url"),
    "pool": ("workspace", "workspace_mode", "remove_workspace"),
    "management": tuple(keys_of(ManagementSettings)),
    "store": tuple(keys_of(StoreSettings)),
    "log": tuple(key for key in keys_of(LogSettings) if key != "level"),
}


def merge(in_force: Settings, wanted: Settings) -> Settings:
    """``wanted``, as far as it can be in force without a restart."""
    tables: dict[str, Struct | None] = {}
    for name, keys in _AT_START.items():
        old, new = getattr(in_force, name), getattr(wanted, name)
        if old is None or new is None:
            tables[name] = old  # the chat would be another one
        else:
            tables[name] = structs.replace(new, **{key: getattr(old, key) for key in keys})
    return structs.replace(wanted, **tables)


def differences(old: Settings, new: Settings) -> list[str]:
    """The names of what differs, such as '[pool] max_sessions'; never values, which may be secret.

    Agents are named whole, such as '[agents.claude]', and so is [discord] where it is on one side only.
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
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Struct):
            yield from _keys(name, value)
    for agent in settings.agents.values():
        yield "[agent]" if agent.name == "default" else f"[agents.{agent.name}]", agent


def _keys(table: str, struct: Struct) -> Iterator[tuple[str, Any]]:
    for key, field_type in keys_of(type(struct)).items():
        value = getattr(struct, key)
        if isinstance(field_type, FieldType):
            yield f"[{table}] {key}", value
        else:
            yield from _keys(f"{table}.{key}", value)


class Reload:
    """Reads the configuration again whenever :meth:`ask` is called, one time after the other.

    ``load`` may block and raises ConfigError; ``apply`` puts settings in force, which never fails.
    """

    def __init__(
        self, settings: Settings, load: Callable[[], Settings], apply: Callable[[Settings], None], service: Service
    ) -> None:
        self._in_force = settings
        self._load = load
        self._apply = apply
        self._service = service
        self._asked = asyncio.Event()
        self.problem: str | None = None
        """Why the configuration, as it was last read, is not in force, or what of it is not."""

    def ask(self) -> None:
        """Read it again, soon."""
        self._asked.set()

    async def serve(self) -> None:
        """Do as asked until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            self._service.reloading()
            await self._reload()
            self._service.ready()

    async def _reload(self) -> None:
        try:
            wanted = await asyncio.to_thread(self._load)
        except ConfigError as error:
            self._refuse(str(error))
        except Exception as error:
            # What was in force goes on, whatever it is that could not be read.
            log.exception("reload_crashed")
            self._refuse(f"cannot use the configuration: internal error ({type(error).__name__}), see the log")
        else:
            self._take(wanted)

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        log.error("config_refused", reason=problem)

    def _take(self, wanted: Settings) -> None:
        merged = merge(self._in_force, wanted)
        changed, waiting = differences(self._in_force, merged), differences(merged, wanted)
        self._apply(merged)
        self._in_force = merged
        self.problem = f"a restart is needed for {', '.join(waiting)}" if waiting else None
        for warning in wanted.warnings:
            log.warning("configuration", warning=warning)
        if waiting:
            log.warning("config_needs_restart", keys=", ".join(waiting))
        log.info("config_reloaded", source=wanted.source, changed=", ".join(changed) or "-")
