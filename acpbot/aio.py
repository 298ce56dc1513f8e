"""Helpers for asyncio: waits between tries, repeated calls, locks by key, tasks that log their failure, and threads."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import msgspec

from acpbot.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

log = get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_DOUBLINGS_MAX: Final = 30


class Backoff(msgspec.Struct, frozen=True):
    """Waits of ``first`` seconds, doubled each time up to ``most`` seconds; half of each wait is random."""

    first: float = 0.5
    most: float = 30.0

    def seconds(self, failures: int) -> float:
        """How long to wait after so many failures in a row (1 or more)."""
        whole = min(self.most, self.first * 2.0 ** min(failures - 1, _DOUBLINGS_MAX))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    async def pause(self, failures: int) -> None:
        """Wait so long."""
        await asyncio.sleep(self.seconds(failures))


RESTARTS: Final = Backoff(first=0.5, most=60.0)
"""The pauses before a task that has crashed is started again."""


class WakeableBackoff:
    """A :class:`Backoff` that any number of callers share; :meth:`wake` ends the waits of all of them."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._woken = asyncio.Event()

    async def pause(self, failures: int) -> None:
        """Wait as :meth:`Backoff.pause` does, or until the next :meth:`wake`."""
        try:
            async with asyncio.timeout(self._backoff.seconds(failures)):
                await self._woken.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """Let everybody who waits now try again: what made the calls fail is over."""
        self._woken.set()
        self._woken = asyncio.Event()


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[BaseException], ...],
    backoff: Backoff | WakeableBackoff,
    attempts: int | None = None,
    should_retry: Callable[[BaseException], bool] = lambda _: True,
    on_failure: Callable[[BaseException, int], object] = lambda _error, _failures: None,
) -> T:
    """Await ``call()`` until it succeeds; return its result.

    An exception of a type in ``on`` is a failure: ``on_failure`` gets it with the number of failures so far, then the
    next try follows after ``backoff``. The exception is raised where ``should_retry`` is false for it, or where it is
    failure number ``attempts`` (``None``: no limit). Every other exception is raised at once.
    """
    failures = 0
    while True:
        try:
            return await call()
        except on as error:
            failures += 1
            on_failure(error, failures)
            if failures == attempts or not should_retry(error):
                raise
        await backoff.pause(failures)


class Wakeup:
    """Lets one task wait until another part of the program calls :meth:`wake`; a tenth of the size of an Event.

    Unlike an Event it is not set: a call that comes while nobody waits changes nothing, so look at the state first.
    """

    __slots__ = ("_waiter",)

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Wait for the next :meth:`wake`."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        """Let the task that waits go on."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class UnexpectedEnd(Exception):
    """A task has ended though nobody has asked for that: it was cancelled, or it returned and must not."""


@dataclass(eq=False, slots=True)
class _Started:
    """A task's start. ``again`` makes its work once more; ``endless``: it must not return."""

    name: str
    on_crash: Callable[[BaseException], object] | None
    endless: bool
    again: Callable[[], Coroutine[Any, Any, Any]] | None
    began: float = 0.0
    failures: int = 0
    may_end: bool = False


class TaskSet:
    """Background tasks of one owner: none of them ends unseen. All methods belong to the event loop's thread.

    A task that raises, that is cancelled by anything but a method of this class, or that returns where it must not, is
    logged with ``owner``, and ``on_crash`` is called with the exception. asyncio reports nothing of this kind: the
    exception of a task that nobody awaits is lost until it is garbage-collected, a cancellation for good.
    """

    __slots__ = ("_backoff", "_on_crash", "_owner", "_restarts", "_tasks")

    def __init__(
        self,
        owner: str,
        on_crash: Callable[[BaseException], object] | None = None,
        *,
        backoff: Backoff = RESTARTS,
    ) -> None:
        self._owner = owner
        self._on_crash = on_crash
        self._backoff = backoff
        self._tasks: dict[asyncio.Task[Any], _Started] = {}
        self._restarts: dict[_Started, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._tasks) + len(self._restarts)

    def start(
        self,
        work: Coroutine[Any, Any, T],
        *,
        name: str,
        on_crash: Callable[[BaseException], object] | None = None,
        endless: bool = False,
    ) -> asyncio.Task[T]:
        """Run ``work`` in the background. ``on_crash`` is called in place of the set's own."""
        return self._start(work, _Started(name, on_crash or self._on_crash, endless, None))

    def keep(
        self,
        make_work: Callable[[], Coroutine[Any, Any, T]],
        *,
        name: str,
        on_crash: Callable[[BaseException], object] | None = None,
        endless: bool = False,
    ) -> asyncio.Task[T]:
        """Run ``make_work()`` as :meth:`start` does, and again, after a pause, each time that it ends unexpectedly."""
        return self._start(make_work(), _Started(name, on_crash or self._on_crash, endless, make_work))

    def release(self) -> None:
        """From now on each of these tasks may be cancelled and may return: their owner ends."""
        for started in self._tasks.values():
            started.may_end = True
        for timer in self._restarts.values():
            timer.cancel()
        self._restarts.clear()

    def cancel_one(self, task: asyncio.Task[Any]) -> None:
        """Cancel one of the tasks; do not wait. Nothing happens where it has ended."""
        if task in self._tasks:
            self._tasks[task].may_end = True
            task.cancel()

    async def cancel(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = tuple(self._tasks)
        self.cancel_soon()
        if tasks:
            await asyncio.wait(tasks)

    def cancel_soon(self) -> None:
        """Cancel every task; do not wait."""
        self.release()
        for task in tuple(self._tasks):
            task.cancel()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait up to ``seconds`` until every task has ended; return whether they have."""
        if not self._tasks and self._restarts:
            due = min(timer.when() for timer in self._restarts.values()) - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, due if seconds is None else min(due, seconds)))
            return False
        if not self._tasks:
            return True
        _, running = await asyncio.wait(tuple(self._tasks), timeout=seconds)
        return not running

    def _start(self, work: Coroutine[Any, Any, T], started: _Started) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=f"{self._owner}: {started.name}")
        started.began = asyncio.get_running_loop().time()
        self._tasks[task] = started
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        started = self._tasks.pop(task)
        error = _unexpected_end(task, started)
        if error is None:
            return
        log.error("task_crashed", exc_info=error, task=task.get_name())
        if started.again is not None and not started.may_end:
            loop = asyncio.get_running_loop()
            started.failures = 1 if loop.time() - started.began > self._backoff.most else started.failures + 1
            seconds = self._backoff.seconds(started.failures)
            self._restarts[started] = loop.call_later(seconds, self._restart, started)
        if started.on_crash is None:
            return
        try:
            started.on_crash(error)
        except Exception:
            # Broad: this is a callback of the event loop, where nobody else would log it.
            log.exception("crash_handler_failed", task=task.get_name())

    def _restart(self, started: _Started) -> None:
        del self._restarts[started]
        if started.again is not None:
            self._start(started.again(), started)


def _unexpected_end(task: asyncio.Task[Any], started: _Started) -> BaseException | None:
    if task.cancelled():
        return None if started.may_end else UnexpectedEnd("the task was cancelled")
    error = task.exception()
    if error is None and started.endless and not started.may_end:
        return UnexpectedEnd("the task has returned")
    return error


class KeyedLocks:
    """One lock for each key, which its waiters get in the order of their calls. A lock that nobody holds is gone."""

    def __init__(self) -> None:
        self._locks: dict[object, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: object) -> AsyncIterator[None]:
        """Hold the key's lock within the block."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


class Threads(ThreadPoolExecutor):
    """At most ``most`` threads for blocking calls of one kind, so that a kind that hangs holds up no other kind.

    They are daemon threads: the process ends although a call hangs, and :meth:`shutdown` waits for none. A thread is
    started when it is needed. Of ThreadPoolExecutor only the type is used: asyncio takes no other default executor.
    """

    def __init__(self, name: str, most: int) -> None:
        super().__init__(most)
        self._name = name
        self._most = most
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()  # guards everything here
        self._started = self._idle = 0
        self._closed = False

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call in a thread. Raises RuntimeError after :meth:`shutdown`, and where no thread can be started."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the {self._name} threads were shut down")
            if len(self._calls) >= self._idle and self._started < self._most:
                self._start()
            self._calls.append((future, partial(call, *args, **kwargs)))
            self._changed.notify()
        return future

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await a call in a thread. A cancel takes back a call that waits; one that runs goes on."""
        return await asyncio.get_running_loop().run_in_executor(self, partial(call, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - its base's signature
        """Take no more calls, and let the threads end once those that wait are done. Waits for nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        """Start a thread; where the system has none left, one that runs already has to do."""
        name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:
            if not self._started:
                raise
        else:
            self._started += 1

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._calls or self._closed)
                self._idle -= 1
                if not self._calls:
                    return
                future, call = self._calls.popleft()
            if future.set_running_or_notify_cancel():
                _finish(future, call)
            del future, call  # they must not stay until the next call


def _finish(future: Future[T], call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


async def in_thread(name: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await one blocking call in a thread of its own, which waits for no other call."""
    threads = Threads(name, 1)
    try:
        return await threads.run(call, *args, **kwargs)
    finally:
        threads.shutdown()


DISK: Final = Threads("disk", 4)
"""For calls that wait for a disk: its own threads, since a network file system may hang for ever."""
