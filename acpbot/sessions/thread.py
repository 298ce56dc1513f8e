"""The chat threads that are known, whether or not an agent runs for them."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, Required, TypedDict

from acpbot.aio import DISK, TaskSet
from acpbot.errors import Ambiguous, InvalidParams, NotFound
from acpbot.logs import get_logger
from acpbot.sessions.known_threads import KnownThreads
from acpbot.sessions.usage import UsageMeter
from acpbot.sessions.views import Row
from acpbot.sessions.workspace import check_thread_id, has_own_files, remove_folders, work_folder
from acpbot.storage.records import LastEnd, ThreadRecord
from acpbot.times import rfc3339

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from acpbot.config.settings import Settings
    from acpbot.runtimes.registry import Runtimes
    from acpbot.sessions.turn import PermissionNote, TurnListener
    from acpbot.sessions.views import Reason
    from acpbot.storage.records import CostRecord
    from acpbot.storage.store import Store

log = get_logger(__name__)

TITLE_LENGTH: Final = 80
SUFFIX_LENGTH: Final = 4
CHOSEN_MOST: Final = 20
CHOSEN_LENGTH: Final = 200
CLOCK_SET_SECONDS: Final = 3600.0
"""Smaller steps of the wall clock do not matter to times to live, which are hours."""
_CUT_OFF: Final = "acpbot ended without stopping it, and noticed at its next start"
REMOVAL_NOTICE_SECONDS: Final = 86_400.0
"""A folder is deleted only so long after its thread has read of it, or after the time to live where that is shorter."""


def title_from(text: str) -> str | None:
    """A title out of a prompt: its first line that is not blank, 80 characters at most."""
    lines = text.strip().splitlines()
    line = lines[0].strip() if lines else ""
    return (line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1].rstrip() + "…") or None


class Beginning(TypedDict, total=False):
    """What is known of a thread whose session may have to begin.

    ``owner``: the platform's id of the person. ``agent``: the one that was chosen, ``None``: the thread's own, else its
    channel's, else the default. ``channel``: the channel that the thread belongs to, ``None``: as it is known.
    """

    platform: Required[str]
    owner: str | None
    agent: str | None
    channel: str | None


class ThreadListener(Protocol):
    """What the pool reports of a thread to its chat platform. The calls may not block."""

    def session_changed(self, thread_id: str) -> None:
        """The thread's row has changed."""

    def session_ended(self, thread_id: str, reason: Reason, detail: str | None, *, resumable: bool) -> None:
        """The thread's session has ended; the next message resumes it (``resumable``) or starts a new one."""

    def session_started_fresh(self, thread_id: str) -> None:
        """The thread's conversation could not be resumed; the agent knows nothing of it."""

    def session_moved(self, thread_id: str) -> None:
        """The agent runs in another kind of place than before, with another HOME."""

    def session_stuck(self, thread_id: str, activity: str | None, seconds: float) -> None:
        """The agent has been silent too long; ``activity`` is the tool that it waits for."""

    def agent_removed(self, thread_id: str, agent: str) -> None:
        """The thread's agent is no longer in the configuration: it works until acpbot is started again."""

    def choice_dropped(self, thread_id: str, category: str, value: str) -> None:
        """The agent did not take the thread's choice, such as its ``model``, when it was set again."""

    def option_not_set(self, thread_id: str, option: str, value: str) -> None:
        """The agent does not take the ``model``, or another option, that the configuration gives it."""

    def unprompted(self, thread_id: str) -> TurnListener:
        """The agent writes, or requests a permission, while no turn runs: who shows it as a message of its own."""

    def permission_answered(self, thread_id: str, note: PermissionNote) -> None:
        """The agent asked for a permission outside a turn, and got an answer without a person."""

    def removal_planned(self, thread_id: str, folder: str, seconds: float) -> None:
        """The thread's folder will be deleted with all files in it, if nobody writes there for so many seconds."""


class ThreadRegistry:
    """All threads by id, restored from the store and kept in it; and the chat platforms that they are part of.

    ``wall``: Unix time in seconds; after a restart a monotonic clock means nothing. ``boottime``: seconds since the
    machine started, its sleep included. ``listeners`` are by platform; ``removals`` are the tasks that delete a folder,
    by thread id. ``unlimited``: platforms whose users are operators. ``by_id`` is for others to read.
    """

    def __init__(
        self, store: Store, wall: Callable[[], float], boottime: Callable[[], float], runtimes: Runtimes
    ) -> None:
        self.by_id: dict[str, ThreadRecord] = {}
        self._of_agents: Counter[str] = Counter()  # counted as they come and go: health asks often, of 50,000 threads
        self.listeners: dict[str, ThreadListener] = {}
        self.unlimited: set[str] = set()
        self.removals: dict[str, asyncio.Task[None]] = {}
        self.tasks = TaskSet("threads")
        self._store = store
        self._wall = wall
        self._boottime = boottime
        self._runtimes = runtimes
        runtimes.threads = self.by_id.keys  # what places keep of other threads is reported
        self._offset: float | None = None
        self.known = KnownThreads(store, wall)
        self._saved: dict[str, ThreadRecord] = {}
        self._costs: dict[str, dict[tuple[str, str], CostRecord]] = {}
        for record in store.restored.threads:
            self._add(record)
        for cost in store.restored.costs:
            self._costs.setdefault(cost.thread_id, {})[cost.agent, cost.currency] = cost
        for place in store.restored.places:
            if (thread := self.by_id.get(place.thread_id or "")) is not None:
                thread.last_end = LastEnd(rfc3339(wall()), "stopped", detail=_CUT_OFF)
                self.save(thread)

    def _add(self, thread: ThreadRecord) -> None:
        earlier = self.by_id.get(thread.thread_id)
        if earlier is not None:
            self._of_agents[earlier.agent] -= 1
        self.by_id[thread.thread_id] = thread
        self._of_agents[thread.agent] += 1

    def of_agents(self) -> dict[str, int]:
        """How many threads each agent has, of those that have any."""
        return {agent: count for agent, count in self._of_agents.items() if count > 0}

    def in_channel(self, thread_id: str, channel: str | None) -> ThreadRecord | None:
        """The thread, which belongs to ``channel``, ``None``: as it is known."""
        thread = self.by_id.get(thread_id)
        if thread is not None and channel is not None:
            thread.channel = channel
        return thread

    def begin(self, thread_id: str, platform: str, agent: str, owner: str | None, channel: str | None) -> ThreadRecord:
        """A new conversation in this thread. Raises InvalidParams."""
        check_thread_id(thread_id)
        thread = ThreadRecord(thread_id, platform, agent, owner, None, rfc3339(), self._wall(), channel=channel)
        self._add(thread)
        self.known.used(thread_id, platform)
        return thread

    def save(self, thread: ThreadRecord) -> None:
        """Store a thread where it has changed."""
        if thread != self._saved.get(thread.thread_id):
            self._saved[thread.thread_id] = copy.copy(thread)
            self._store.save_thread(thread)

    def choose(self, thread_id: str, option: str, value: str) -> None:
        """Keep an option for the thread's next session, which checks it. Raises NotFound, InvalidParams."""
        thread = self.by_id.get(thread_id)
        if thread is None:
            raise NotFound(f"cannot find thread {thread_id[:80]!r}")
        chosen = {**thread.chosen, option: value}
        if len(chosen) > CHOSEN_MOST or max(len(option), len(value)) > CHOSEN_LENGTH or not (option and value):
            most = f"{CHOSEN_MOST} options of {CHOSEN_LENGTH} characters"
            raise InvalidParams(f"cannot keep {option[:40]!r} for later: a thread keeps up to {most}; start its agent")
        thread.chosen = chosen
        self.save(thread)

    def forget(self, thread: ThreadRecord) -> None:
        """Drop a thread whose conversation is over for good."""
        self._of_agents[self.by_id.pop(thread.thread_id).agent] -= 1
        self._saved.pop(thread.thread_id, None)
        self._costs.pop(thread.thread_id, None)
        self._store.forget_thread(thread.thread_id)

    def usage(self, thread: ThreadRecord) -> UsageMeter:
        """What the thread's agent has used so far."""
        known = self._costs.get(thread.thread_id, {}).values()
        records = {cost.currency: cost for cost in known if cost.agent == thread.agent}
        return UsageMeter(thread.thread_id, thread.agent, records, partial(self._save_cost, thread))

    def _save_cost(self, thread: ThreadRecord, cost: CostRecord) -> None:
        if self.by_id.get(thread.thread_id) is thread:  # not where it was forgotten meanwhile
            self._costs.setdefault(thread.thread_id, {})[cost.agent, cost.currency] = cost
            self._store.save_cost(cost)

    def suspended_row(self, thread: ThreadRecord, settings: Settings, queued: int) -> Row:
        """The row of a thread that has no session; ``queued`` of its turns wait for one."""
        costs = self._costs.get(thread.thread_id)  # few of very many threads have some
        cost = None if costs is None else self.usage(thread).cost
        unused = max(0.0, round(self._wall() - thread.used_at, 3))
        agent = settings.agents.get(thread.agent)
        runtime = "local" if agent is None else agent.runtime
        folder = work_folder(settings, thread)
        return Row(
            thread_id=thread.thread_id,
            platform=thread.platform,
            agent=thread.agent,
            title=thread.title,
            owner=thread.owner,
            created_at=thread.created_at,
            turns=thread.turns,
            acp_session_id=thread.acp_session_id,
            resumable=thread.resumable,
            last_end=thread.last_end,
            cwd=folder,
            runtime=runtime,
            cost=cost,
            queued=queued,
            idle_seconds=unused,
        )

    def resolve(self, text: str) -> str:
        """The thread id that ``text`` names: itself, or the one that ends in it (4 characters at least).

        Raises NotFound, Ambiguous.
        """
        if text in self.by_id:
            return text
        fits = [key for key in self.by_id if key.endswith(text)] if len(text) >= SUFFIX_LENGTH else []
        if not fits:
            hint = "" if len(text) >= SUFFIX_LENGTH else f"; a suffix needs {SUFFIX_LENGTH} characters or more"
            raise NotFound(f"cannot find a session for thread {text[:80]!r}{hint}; see `acpctl sessions --all`")
        if len(fits) > 1:
            named = ", ".join(sorted(fits)[:5])
            raise Ambiguous(
                f"cannot tell which thread {text[:80]!r} is: {len(fits)} end like that ({named}); give more of the id"
            )
        return fits[0]

    def check_clock(self) -> None:
        """Where the wall clock was set, restart every thread's time to live: no thread is too old because of that.

        A machine without a clock of its own may start in 1970 and learn the year much later. A machine that has slept
        is none whose clock was set: its threads have been unused all the while.
        """
        now = self._wall()
        offset = now - self._boottime()
        if self._offset is not None and abs(offset - self._offset) >= CLOCK_SET_SECONDS:
            log.warning("clock_set", seconds=round(offset - self._offset))
            # There may be 50,000 threads: one statement writes all of them.
            self._store.clock_set(now)
            for thread in (*self.by_id.values(), *self._saved.values()):
                thread.used_at = now
                if thread.removal_notice_at is not None:
                    thread.removal_notice_at = now
        self._offset = offset

    # The end of a thread.

    def announce_removal(self, thread: ThreadRecord, settings: Settings, seconds: float) -> None:
        """Announce to the thread, once, that its folder is deleted where nobody writes for so many seconds."""
        listener = self.listeners.get(thread.platform)
        is_known = self.by_id.get(thread.thread_id) is thread
        if listener is None or not is_known or thread.removal_notice_at is not None:
            return
        if settings.pool.remove_workspace and has_own_files(settings, thread):
            thread.removal_notice_at = self._wall()
            self.save(thread)
            listener.removal_planned(thread.thread_id, work_folder(settings, thread), seconds)

    def expire(self, thread: ThreadRecord, settings: Settings) -> None:
        """Forget a thread that nobody has used for its time to live, and delete its folder where that is configured.

        A thread that has not read of the deletion yet reads of it now, and keeps everything a while longer.
        """
        notice = min(settings.keep_seconds, REMOVAL_NOTICE_SECONDS)
        self.announce_removal(thread, settings, notice)
        announced_at = thread.removal_notice_at if settings.pool.remove_workspace else None
        if announced_at is not None and self._wall() - announced_at < notice:
            return
        self.forget(thread)
        if thread.turns:
            self.known.conversation_expired(thread.thread_id)
        if announced_at is not None or not has_own_files(settings, thread):
            self.remove_folder(thread, settings)

    def remove_folder(self, thread: ThreadRecord, settings: Settings) -> None:
        """Delete the own folder, the HOME and the volume of a thread that is forgotten, where that is configured.

        It happens in the background.
        """
        if not settings.pool.remove_workspace:
            return
        work = self._remove(thread, settings)
        removal = self.removals[thread.thread_id] = self.tasks.start(work, name=f"remove {thread.thread_id}")
        removal.add_done_callback(lambda _: self.removals.pop(thread.thread_id, None))

    async def _remove(self, thread: ThreadRecord, settings: Settings) -> None:
        await DISK.run(remove_folders, settings, thread)
        await self._runtimes.forget(thread.thread_id)
