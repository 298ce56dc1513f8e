from __future__ import annotations

import asyncio
import threading

import pytest

from acpbot.aio import (
    Backoff,
    KeyedLocks,
    TaskSet,
    Threads,
    UnexpectedEnd,
    WakeableBackoff,
    Wakeup,
    in_thread,
    retry,
)

NO_WAIT = Backoff(first=0, most=0)


class Flaky:
    """Fails ``failures`` times, then returns its number of calls."""

    def __init__(self, failures: int, error: type[Exception] = OSError) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error(str(self.calls))
        return self.calls


async def test_a_call_is_repeated_until_it_succeeds_and_each_failure_is_reported():
    failures: list[tuple[str, int]] = []
    result = await retry(
        Flaky(3), on=(OSError,), backoff=NO_WAIT, on_failure=lambda error, count: failures.append((str(error), count))
    )
    assert (result, failures) == (4, [("1", 1), ("2", 2), ("3", 3)])


async def test_the_last_of_the_attempts_raises_its_error():
    call = Flaky(9)
    with pytest.raises(OSError, match="3"):
        await retry(call, on=(OSError,), backoff=NO_WAIT, attempts=3)
    assert call.calls == 3


async def test_an_error_of_another_type_or_one_that_is_final_is_raised_at_once():
    other, final = Flaky(1, ValueError), Flaky(1)
    with pytest.raises(ValueError, match="1"):
        await retry(other, on=(OSError,), backoff=NO_WAIT)
    with pytest.raises(OSError, match="1"):
        await retry(final, on=(OSError,), backoff=NO_WAIT, should_retry=lambda _: False)
    assert (other.calls, final.calls) == (1, 1)


async def test_a_wake_ends_the_waits_of_all_who_share_the_backoff():
    shared = WakeableBackoff(Backoff(first=3600, most=3600))
    calls = [Flaky(1), Flaky(1)]
    tries = [asyncio.create_task(retry(call, on=(OSError,), backoff=shared)) for call in calls]
    await asyncio.sleep(0)  # both calls fail in this step of the event loop
    await asyncio.sleep(0)
    shared.wake()
    assert await asyncio.wait_for(asyncio.gather(*tries), 20) == [2, 2]


async def test_a_crash_of_a_task_is_logged_and_reported_to_its_owner(caplog):
    crashes: list[BaseException] = []
    reported = asyncio.Event()

    def on_crash(error: BaseException) -> None:
        crashes.append(error)
        reported.set()

    async def crash() -> None:
        raise RuntimeError("no")

    tasks = TaskSet("owner", on_crash)
    tasks.start(crash(), name="work")
    await asyncio.wait_for(reported.wait(), 20)
    assert [str(error) for error in crashes] == ["no"]
    (record,) = [record for record in caplog.records if record.message == "task_crashed"]
    assert record.fields == {"task": "owner: work"}
    assert len(tasks) == 0


async def test_a_task_that_ends_or_is_cancelled_is_no_crash(caplog):
    tasks = TaskSet("owner", lambda error: pytest.fail(str(error)))
    tasks.start(asyncio.sleep(0), name="short")
    tasks.start(asyncio.Event().wait(), name="endless")
    assert not await tasks.wait(0.01)
    await tasks.cancel()
    assert (await tasks.wait(), len(tasks)) == (True, 0)
    assert "task_crashed" not in caplog.messages


async def test_a_wakeup_lets_the_waiting_task_go_on_and_does_nothing_where_none_waits():
    wakeup = Wakeup()
    wakeup.wake()
    waits = asyncio.create_task(wakeup.wait())
    await asyncio.sleep(0)
    assert not waits.done(), "the call before was for nobody"
    wakeup.wake()
    wakeup.wake()
    await asyncio.wait_for(waits, 20)


async def test_a_key_is_held_by_one_task_at_a_time_in_the_order_of_the_calls_and_keys_do_not_wait_for_each_other():
    locks, order = KeyedLocks(), []
    gate = asyncio.Event()

    async def hold(key: str, number: int) -> None:
        async with locks.hold(key):
            if key == "slow":
                await gate.wait()
            order.append(number)

    slow = [asyncio.create_task(hold("slow", number)) for number in (1, 2, 3)]
    await asyncio.wait_for(hold("fast", 0), 20)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*slow), 20)
    assert order == [0, 1, 2, 3]


async def test_calls_that_hang_hold_up_only_calls_of_their_own_kind():
    free = threading.Event()
    slow, fast = Threads("slow", 2), Threads("fast", 2)
    hung = [asyncio.create_task(slow.run(free.wait, 20)) for _ in range(2)]
    waits = asyncio.create_task(slow.run(str, 1))
    assert await asyncio.wait_for(fast.run(str, 2), 20) == "2"
    assert not waits.done()
    free.set()
    assert await asyncio.wait_for(waits, 20) == "1"
    await asyncio.gather(*hung)


async def test_a_call_that_waits_for_a_thread_can_be_taken_back():
    free = threading.Event()
    called: list[int] = []
    threads = Threads("test", 1)
    hung = asyncio.create_task(threads.run(free.wait, 20))
    waits = asyncio.create_task(threads.run(called.append, 1))
    await asyncio.sleep(0)
    waits.cancel()
    await asyncio.wait([waits])
    free.set()
    await hung
    await threads.run(called.append, 2)
    assert called == [2]


async def test_an_error_is_raised_where_the_result_is_awaited_and_no_call_follows_a_shutdown():
    threads = Threads("test", 1)
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.run(int, "x")
    threads.shutdown()
    with pytest.raises(RuntimeError, match="the test threads were shut down"):
        threads.submit(int)
    assert await in_thread("test", int, "7") == 7


async def test_threads_are_started_when_they_are_needed_and_not_before():
    threads, release = Threads("counted", 4), threading.Event()

    def named() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("counted-")]

    assert named() == []
    calls = [threads.submit(release.wait) for _ in range(2)]
    assert named() == ["counted-0", "counted-1"]
    release.set()
    for call in calls:
        await asyncio.wrap_future(call)
    threads.shutdown()


class Crash(BaseException):
    """What no `except Exception` stops."""


QUICK = Backoff(first=0.001, most=0.001)


async def cancelled_by_a_future() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def raises() -> None:
    raise Crash


async def returns() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("work", [cancelled_by_a_future, raises, returns])
async def test_every_end_of_an_endless_task_is_reported_and_it_is_started_again(caplog, work):
    crashes: list[BaseException] = []
    runs = 0
    third = asyncio.Event()

    async def thrice() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            third.set()
            await asyncio.Event().wait()
        await work()

    tasks = TaskSet("owner", crashes.append, backoff=QUICK)
    tasks.keep(thrice, name="work", endless=True)
    await asyncio.wait_for(third.wait(), 20)
    assert len(crashes) == caplog.messages.count("task_crashed") == 2
    await tasks.cancel()
    assert (len(crashes), runs, len(tasks)) == (2, 3, 0)


async def test_a_task_that_somebody_else_cancels_has_crashed():
    crashes: list[BaseException] = []
    tasks = TaskSet("owner", crashes.append)
    task = tasks.start(asyncio.Event().wait(), name="work")
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert [type(error) for error in crashes] == [UnexpectedEnd]


async def test_the_tasks_of_an_owner_that_ends_may_return_and_be_cancelled(caplog):
    tasks = TaskSet("owner", lambda error: pytest.fail(str(error)))
    gate = asyncio.Event()
    first = tasks.keep(gate.wait, name="one", endless=True)
    second = tasks.start(asyncio.Event().wait(), name="two", endless=True)
    tasks.release()
    gate.set()
    second.cancel()
    await asyncio.wait([first, second])
    assert "task_crashed" not in caplog.messages


async def test_a_restart_that_is_due_is_forgotten_by_a_cancel():
    runs = 0

    async def crash() -> None:
        nonlocal runs
        runs += 1
        raise Crash

    tasks = TaskSet("owner", backoff=Backoff(first=0.01, most=0.01))
    await asyncio.wait([tasks.keep(crash, name="work")])
    assert len(tasks) == 1, "a restart is due"
    await tasks.cancel()
    assert (len(tasks), runs) == (0, 1)


async def test_a_crash_handler_that_fails_is_logged(caplog):
    def fail(_: BaseException) -> None:
        raise RuntimeError

    tasks = TaskSet("owner", fail)
    await asyncio.wait([tasks.start(raises(), name="work")])
    assert "crash_handler_failed" in caplog.messages
