"""Looks up users and groups in threads of their own: a directory service may be slow, or may never answer.

Source: nss(5), getpwnam(3), getgrnam(3).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import msgspec

from acpbot.aio import Threads
from acpbot.logs import get_logger
from acpbot.management.access import user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from acpbot.management.access import AccessRule, PeerCredentials
    from acpbot.management.protocol import Access

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = 4
_RUNNING_MOST: Final = 64


class CannotLookUp(Exception):
    """The system has not said who a user is; the text is a clause for people."""


class _Running(msgspec.Struct):
    since: float
    result: asyncio.Future[Any]


class UserLookups:
    """Each lookup takes at most ``seconds`` of anybody's time. Lookups of the same thing at the same time are one.

    All methods belong to the event loop's thread.
    """

    def __init__(self, rule: AccessRule, seconds: float) -> None:
        self._rule = rule
        self._seconds = seconds
        self._threads = Threads("user-lookup", _THREADS)
        self._running: dict[tuple[str, int], _Running] = {}
        self._failures = 0

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown()

    @property
    def problem(self) -> str | None:
        """What is wrong while lookups do not return, as a clause for people; ``None`` where nothing is."""
        now = asyncio.get_running_loop().time()
        longest = max((now - running.since for running in self._running.values()), default=0.0)
        if longest <= self._seconds:
            return None
        return (
            f"a lookup of a user has not returned for {longest:.0f} s: users whom [management] admin_users names may "
            "only read; check the directory service (nsswitch.conf)"
        )

    async def access(self, peer: PeerCredentials) -> Access:
        """The peer's access. Raises CannotLookUp."""
        return await self._look_up(("access", peer.uid), self._rule.looked_up, peer)

    async def name(self, uid: int) -> str:
        """The user's name; its number where it has none, or where nobody knows."""
        try:
            return await self._look_up(("name", uid), user_name, uid)
        except CannotLookUp:
            return str(uid)

    async def report_unknown_admins(self) -> None:
        """Log each admin of the configuration that this system does not know."""
        try:
            unknown = await self._look_up(("unknown", -1), self._rule.unknown)
        except CannotLookUp:
            return
        for admin in unknown:
            log.warning("admin_unknown", admin=admin, hint="see [management] admin_users")

    async def _look_up(self, key: tuple[str, int], call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            running = self._begin(key, call, *args, **kwargs)
            async with asyncio.timeout_at(running.since + self._seconds):
                result: T = await asyncio.shield(running.result)
        except TimeoutError:
            raise self._failed(key, f"no answer in {self._seconds:g} s") from None
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            raise self._failed(key, str(error)) from error
        self._failures = 0
        return result

    def _begin(self, key: tuple[str, int], call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> _Running:
        running = self._running.get(key)
        if running is None:
            if len(self._running) >= _RUNNING_MOST:
                raise TimeoutError
            result = asyncio.wrap_future(self._threads.submit(call, *args, **kwargs))
            running = self._running[key] = _Running(asyncio.get_running_loop().time(), result)
            result.add_done_callback(partial(self._ended, key))
        return running

    def _ended(self, key: tuple[str, int], result: asyncio.Future[Any]) -> None:
        del self._running[key]
        if not result.cancelled():
            result.exception()  # it has been raised where somebody still waited

    def _failed(self, key: tuple[str, int], reason: str) -> CannotLookUp:
        self._failures += 1
        what, uid = key
        log.failed_try("user_lookup_failed", self._failures, what=what, uid=uid, reason=reason)
        return CannotLookUp(reason)
