"""What the deliveries to all channels share, and the tasks of one channel's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from acpbot.aio import retry
from acpbot.chat.discord.outbound.rest import ARCHIVED, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from acpbot.aio import TaskSet, WakeableBackoff
    from acpbot.chat.discord.outbound.rest import Rest
    from acpbot.storage.store import Store

log = get_logger(__name__)
T = TypeVar("T")

CRASHES_MOST: Final = 5
"""Tries of one delivery that fail for a reason that nobody knows, before we give it up."""


@dataclass(frozen=True)
class Delivery:
    """What the queues of all channels share.

    ``clock``: monotonic seconds; ``wall``: Unix time by Discord's clock; ``own_id``: the bot's user id, empty while it
    is unknown. ``echoes``: ids of messages of ours that the gateway has reported, by nonce. ``tasks`` are those of all
    queues.
    """

    rest: Rest
    store: Store
    backoff: WakeableBackoff
    clock: Callable[[], float]
    wall: Callable[[], float]
    own_id: Callable[[], str]
    tasks: TaskSet
    echoes: dict[str, str]


class Workers:
    """The tasks of one channel: ``running``, by what each does. One runs as long as there is something for it to do."""

    def __init__(self, channel_id: str, delivery: Delivery) -> None:
        self._channel_id = channel_id
        self._delivery = delivery
        self.running: dict[str, asyncio.Task[None]] = {}

    def wake(self, what: str, step: Callable[[], Awaitable[bool]]) -> None:
        """Await ``step()`` in the background until it returns false, through outages of any length.

        A step that raises anything but Unreachable has put back what it was about, or has given it up.
        """
        if what not in self.running:
            name = f"{what} {self._channel_id}"
            self.running[what] = self._delivery.tasks.keep(partial(self._run, what, step), name=name)

    async def _run(self, what: str, step: Callable[[], Awaitable[bool]]) -> None:
        log_failure = partial(self._log_failure, what)
        more, crashes = True, 0
        while more:
            try:
                more = await retry(step, on=(Unreachable,), backoff=self._delivery.backoff, on_failure=log_failure)
            except Exception:
                # Broad: a defect must not keep from the channel what comes after it.
                log.exception("discord_delivery_crashed", channel=self._channel_id, what=what)
                crashes += 1
                await self._delivery.backoff.pause(crashes)
            else:
                crashes = 0
        del self.running[what]  # not after a cancellation by nobody: the task is then started again

    def _log_failure(self, what: str, error: BaseException, failures: int) -> None:
        log.failed_try("discord_retry", failures, channel=self._channel_id, what=what, error=str(error))

    async def unarchived(self, request: Callable[[], Awaitable[T]]) -> T:
        """Make a request. Where the thread is archived, reopen it and make the request again."""
        try:
            return await request()
        except RequestRefused as error:
            if error.code != ARCHIVED:
                raise
        await self._delivery.rest.change_thread(self._channel_id, archived=False)
        return await request()
