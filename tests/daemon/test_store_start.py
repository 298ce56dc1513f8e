"""A daemon that starts while the one before, in another pod, still ends its turns."""

from __future__ import annotations

import asyncio
import fcntl
import os

import pytest

from acpbot.daemon.store_start import open_store
from acpbot.errors import InUse
from tests.support import configs


class Holder:
    """Holds the lock of a database, as a daemon on this host does."""

    def __init__(self, database, host: str) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self.lock = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        os.pwrite(self.lock, f"7\n{host}\n".encode(), 0)

    def end(self) -> None:
        os.close(self.lock)


@pytest.fixture
def database(tmp_path):
    return tmp_path / "state" / "acpbot.sqlite3"


def settings(database, more: str = ""):
    return configs.parse(f'{configs.AGENT}[store]\npath = "{database}"\n{more}')


async def until_it_waits(caplog) -> str:
    """Return what is logged then."""
    async with asyncio.timeout(10):
        while not caplog.records:  # noqa: ASYNC110 - the log has no event
            await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.message == "database_in_use"
    return str(record.__dict__)


async def test_it_waits_until_a_daemon_in_another_pod_has_ended(database, caplog):
    holder = Holder(database, "acpbot-5d8f-x2x")
    opening = asyncio.create_task(open_store(settings(database), asyncio.Event(), retry_seconds=0))
    await until_it_waits(caplog)
    assert not opening.done()
    holder.end()
    store = await asyncio.wait_for(opening, 10)
    await asyncio.to_thread(store.close)
    assert len(caplog.records) == 1, "it is said once"


async def test_it_names_the_pod_that_it_waits_for_and_ends_when_it_is_stopped(database, caplog):
    holder = Holder(database, "acpbot-5d8f-x2x")
    stop = asyncio.Event()
    opening = asyncio.create_task(open_store(settings(database), stop, retry_seconds=0))
    logged = await until_it_waits(caplog)
    assert "acpbot (pid 7 on acpbot-5d8f-x2x) already uses the database" in logged
    stop.set()
    with pytest.raises(InUse, match=r"cannot start: acpbot \(pid 7 on acpbot-5d8f-x2x\) already uses the database"):
        await opening
    holder.end()


async def test_a_second_daemon_on_this_host_is_refused_at_once(database, caplog):
    holder = Holder(database, os.uname().nodename)
    with pytest.raises(InUse, match=r"acpbot \(pid 7\) already uses the database"):
        await open_store(settings(database), asyncio.Event())
    assert not caplog.records
    holder.end()


async def test_a_lock_of_an_earlier_version_names_no_host_and_is_refused_at_once(database):
    holder = Holder(database, "")
    with pytest.raises(InUse, match=r"acpbot \(pid 7\) already uses the database"):
        await open_store(settings(database), asyncio.Event())
    holder.end()
