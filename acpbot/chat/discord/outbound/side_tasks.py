"""What is done beside a channel's posts and edits: reactions, deletions, and changes of buttons alone, one at a time.

Reactions to strangers' messages have a task of their own, so that nothing else waits for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from acpbot.chat.discord.outbound.delivery import CRASHES_MOST
from acpbot.chat.discord.outbound.post import Post, PostState
from acpbot.chat.discord.outbound.rest import LibraryFailure, RequestRefused, Unreachable
from acpbot.logs import get_logger

if TYPE_CHECKING:
    from acpbot.chat.discord.outbound.delivery import Delivery, Workers
    from acpbot.chat.discord.outbound.post import Components

log = get_logger(__name__)

DENIALS_MOST: Final = 3
"""Reactions to strangers' messages that wait in a channel; further ones are dropped."""


class _Reaction(NamedTuple):
    """A reaction of ours to put on a message, or to take off. ``repeated``: it may be as wanted already."""

    message_id: str
    emoji: str
    add: bool
    repeated: bool = False


class _Buttons(NamedTuple):
    """The buttons that a message is to have; ``post`` is settled with that, where there is one."""

    message_id: str
    rows: Components
    post: Post | None = None


class SideTasks:
    """The reactions and deletions of one channel."""

    def __init__(self, channel_id: str, delivery: Delivery, workers: Workers) -> None:
        self._channel_id = channel_id
        self._rest = delivery.rest
        self._store = delivery.store
        self._workers = workers
        self._first: deque[Post | _Buttons] = deque()  # posts to be deleted, and buttons
        self._reactions: deque[_Reaction] = deque()
        self._denials: deque[_Reaction] = deque()
        self._failed: Post | _Buttons | _Reaction | None = None  # to be tried again
        self._crashes = 0  # of the one that has failed

    def delete(self, post: Post) -> None:
        """Delete the message of a post, whose state is DELETING."""
        self._first.append(post)
        self._workers.wake("side task", self._do_next)

    def show_buttons(self, message_id: str, rows: Components, post: Post | None = None) -> None:
        """Replace the buttons of a message that nothing else changes; its text stays. ``post`` is settled with that."""
        self._first.append(_Buttons(message_id, rows, post))
        self._workers.wake("side task", self._do_next)

    def react(self, message_id: str, emoji: str, *, add: bool, repeated: bool = False) -> None:
        """Put a reaction on a message or take it off, in order. Two that wait and undo each other are dropped.

        ``repeated``: an earlier try, or an earlier run of the daemon, may have done the same. Then the opposite is sent
        in any case.
        """
        wanted = _Reaction(message_id, emoji, add, repeated)
        waiting = next((one for one in self._reactions if one[:3] == (message_id, emoji, not add)), None)
        if waiting is None or waiting.repeated:
            if waiting is not None:
                self._reactions.remove(waiting)
                wanted = wanted._replace(repeated=True)
            self._reactions.append(wanted)
            self._workers.wake("side task", self._do_next)
            return
        at = self._reactions.index(waiting)
        del self._reactions[at]
        # The next reaction to the message takes its place, so that the message always has one.
        for later in list(self._reactions)[at:]:
            if later.message_id == message_id and later.add:
                self._reactions.remove(later)
                self._reactions.insert(at, later)
                return

    def deny(self, message_id: str, emoji: str) -> None:
        """Put a reaction on a stranger's message when nothing else waits; it is dropped where several wait already."""
        if len(self._denials) < DENIALS_MOST:
            self._denials.append(_Reaction(message_id, emoji, add=True))
            self._workers.wake("denial", self._deny_next)

    async def _do_next(self) -> bool:
        """Do one of these things; return whether there was one. Raises Unreachable: try again.

        One that has failed may have taken effect all the same: nothing that comes later makes it superfluous.
        """
        task, self._failed = self._failed, None
        if task is None:
            if not self._first and not self._reactions:
                return False
            self._crashes = 0
            task = self._first.popleft() if self._first else self._reactions.popleft()
        if isinstance(task, Post):
            await self._store.durable()  # else the next run of the daemon might post it again
        try:
            await self._workers.unarchived(partial(self._do, task))
        except RequestRefused as error:
            # This harms nobody: the message may be gone, or the permission.
            log.debug("discord_side_task_refused", channel=self._channel_id, error=str(error))
        except (Exception, asyncio.CancelledError) as error:
            # Broad: whatever the defect is, it is tried again, or given up.
            if isinstance(error, LibraryFailure) or not isinstance(error, (Unreachable, asyncio.CancelledError)):
                self._crashes += 1
            if self._crashes < CRASHES_MOST:
                self._failed = task
                raise
            log.exception("discord_side_task_lost", channel=self._channel_id)
        if isinstance(task, Post):
            task.move_to(PostState.DELETED)
        settled = task.post if isinstance(task, _Buttons) else task
        if isinstance(settled, Post):
            self._store.post_settled(settled.nonce)
            settled.settled()
        return True

    async def _do(self, task: Post | _Buttons | _Reaction) -> None:
        rest, channel_id = self._rest, self._channel_id
        match task:
            case Post():
                await rest.delete(channel_id, task.message_id or "")
            case _Buttons():
                await rest.show_buttons(channel_id, task.message_id, task.rows)
            case _Reaction():
                await rest.react(channel_id, task.message_id, task.emoji, add=task.add)

    async def _deny_next(self) -> bool:
        """React to one stranger's message, in one try, while no side task waits; return whether there was one."""
        while (side_task := self._workers.running.get("side task")) is not None and not side_task.done():
            await asyncio.wait([side_task])
        if not self._denials:
            return False
        denial = self._denials.popleft()
        try:
            await self._rest.react(self._channel_id, denial.message_id, denial.emoji, add=True, spare=True)
        except (RequestRefused, Unreachable) as error:
            log.debug("discord_denial_lost", channel=self._channel_id, error=str(error))
        return True
