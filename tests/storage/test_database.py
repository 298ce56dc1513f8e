"""The file: what a step writes is whole; a damaged, foreign or newer one is left alone; a full disk is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.errors import StartError
from acpbot.storage.database import Database, DiskLimits
from acpbot.storage.records import PlaceRecord, PostRecord, ThreadRecord
from acpbot.storage.store import APPLICATION_ID, AUDIT_MOST, MIGRATIONS, Store

TABLE = ("CREATE TABLE things (name TEXT PRIMARY KEY) STRICT",)


def open_things(path, migrations=TABLE, **limits) -> Database:
    return Database(path, application_id=7, migrations=migrations, limits=DiskLimits(**limits))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "acpbot.sqlite3"


@pytest.fixture
def things(path):
    database = open_things(path)
    database.start()
    yield database
    database.close()


def names(path) -> list[str]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        found = [name for (name,) in connection.execute("SELECT name FROM things ORDER BY rowid")]
    connection.close()
    return found


def events(caplog) -> list[str]:
    """What the store itself has logged; asyncio logs slow steps in debug mode."""
    return [record.message for record in caplog.records if record.name.startswith("acpbot")]


async def test_what_was_written_is_there_once_it_is_durable(things, path):
    things.write("INSERT INTO things VALUES (?)", "one")
    await things.durable()
    assert names(path) == ["one"]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_step_is_written_even_if_nobody_waits_for_it(path):
    database = open_things(path)
    database.start()
    for name in ("one", "two"):
        database.write("INSERT INTO things VALUES (?)", name)
    await asyncio.to_thread(database.close)
    assert names(path) == ["one", "two"]


async def test_a_step_is_written_whole_or_not_at_all(things, path, caplog):
    things.write("INSERT INTO things VALUES (?)", "before")
    await asyncio.sleep(0)
    things.write("INSERT INTO things VALUES (?)", "half")
    things.write("INSERT INTO nowhere VALUES (?)", "a defect")
    await asyncio.sleep(0)
    things.write("INSERT INTO things VALUES (?)", "after")
    await things.durable()
    assert names(path) == ["before", "after"]
    assert events(caplog) == ["store_step_failed"]
    assert things.problem == "1 change could not be stored; see the log"


async def test_a_text_that_is_not_utf_8_is_written_so_that_people_can_read_it(things, path):
    things.write("INSERT INTO things VALUES (?)", "caf\udce9")
    await things.durable()
    assert names(path) == ["caf\\udce9"]
    assert things.problem is None


async def test_a_store_whose_path_is_not_utf_8_keeps_what_is_written(tmp_path):
    path = tmp_path / "caf\udce9" / "acpbot.sqlite3"
    things = open_things(path)
    things.start()
    things.write("INSERT INTO things VALUES (?)", "one")
    await things.durable()
    assert things.problem is None
    await asyncio.to_thread(things.close)
    assert open_things(path).read("SELECT name FROM things") == [("one",)]


async def look(things: Database) -> None:
    """Have the writer look whether its file is in place, as it does every few seconds."""
    things.write("DELETE FROM things WHERE name = 'nothing'")
    await things.durable()
    things.write("DELETE FROM things WHERE name = 'nothing'")
    await things.durable()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("what", ["moved", "deleted", "replaced"])
async def test_a_database_that_is_not_at_its_path_any_more_is_reported_until_it_is_back(path, caplog, suffix, what):
    things = open_things(path, look_seconds=0.0)
    things.start()
    await look(things)
    assert things.problem is None
    file = path.with_name(path.name + suffix)
    kept = path.with_name("kept")
    kept.hardlink_to(file)
    file.unlink()
    if what == "replaced":
        file.touch()
    await look(things)
    assert things.problem == (
        f"{file} was moved, replaced or deleted: what happens now would not survive a restart; restart acpbot"
    )
    kept.replace(file)
    await look(things)
    assert things.problem is None
    await asyncio.to_thread(things.close)
    assert events(caplog) == ["store_moved", "store_works_again"]


async def test_a_disk_that_hangs_does_not_hold_up_the_end(path, caplog):
    things = open_things(path, close_seconds=0.05)
    things.start()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        things.write("INSERT INTO things VALUES (?)", "one")
        await asyncio.to_thread(things.close)
        assert events(caplog) == ["store_unwritten"]
        other.execute("ROLLBACK")
    things._thread.join()
    assert names(path) == ["one"]
    things._connection.close()
    os.close(things._lock)


@pytest.mark.parametrize("value", [2**64, object()])
async def test_a_value_that_can_t_be_written_stops_no_later_write(things, path, value):
    things.write("INSERT INTO things VALUES (?)", value)
    await asyncio.sleep(0)
    things.write("INSERT INTO things VALUES (?)", "after")
    await asyncio.wait_for(things.durable(), 10)
    assert names(path) == ["after"]


async def test_damage_to_a_file_in_use_is_reported(path, caplog):
    open_once(path)
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO things VALUES (?)", [(f"{number:0200}",) for number in range(200)])
    connection.close()
    things = open_things(path, retry_seconds=0.01)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    things.read("PRAGMA shrink_memory")
    things.start()
    things.write("INSERT INTO things VALUES (?)", "one")
    await asyncio.wait_for(things.durable(), 10)
    assert "can't be written (database disk image is malformed)" in str(things.problem)
    await asyncio.to_thread(things.close)
    assert events(caplog) == ["store_failed", "store_unwritten"]


@pytest.mark.usefixtures("things")
def test_a_second_daemon_reads_who_holds_the_file(path):
    with pytest.raises(StartError) as refused:
        open_things(path)
    assert str(refused.value) == f"cannot start: acpbot (pid {os.getpid()}) already uses the database {path}"


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_second_daemon_reads_who_holds_the_file_by_a_link_too(path, tmp_path, what):
    link = tmp_path / "link"
    link.symlink_to(path if what == "file" else path.parent)
    with pytest.raises(StartError, match="already uses the database"):
        open_things(link if what == "file" else link / path.name)


def test_a_closed_file_can_be_opened_again(path):
    for _ in range(2):
        database = open_things(path)
        database.start()
        database.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (b"this is no database, but long enough to be taken for one" * 100, "is damaged (file is not a database)"),
        (b"SQLite format 3\0" + b"\xff" * 4096, "is damaged"),
    ],
)
def test_a_damaged_file_is_refused_and_kept(path, damage, words):
    path.parent.mkdir()
    path.write_bytes(damage)
    with pytest.raises(StartError) as refused:
        open_things(path)
    assert words in str(refused.value)
    assert str(refused.value).startswith(f"cannot start: the database {path} ")
    assert "move it away" in str(refused.value)
    assert path.read_bytes() == damage


def test_damage_inside_the_file_is_found_at_the_start(path):
    with sqlite3.connect(path_made(path)) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("CREATE TABLE things (name TEXT PRIMARY KEY) STRICT")
        connection.executemany("INSERT INTO things VALUES (?)", [(f"{number:0200}",) for number in range(200)])
    connection.close()
    data = bytearray(path.read_bytes())
    data[8192 + 8 : 8192 + 600] = os.urandom(592)
    path.write_bytes(data)
    with pytest.raises(StartError, match="is damaged"):
        open_things(path)
    assert path.read_bytes() == data


def path_made(path):
    path.parent.mkdir(exist_ok=True)
    return path


def test_a_newer_file_is_refused_and_kept(path):
    open_once(path, migrations=(*TABLE, "CREATE TABLE more (name TEXT)", "CREATE TABLE most (name TEXT)"))
    before = path.read_bytes()
    with pytest.raises(StartError, match=r"written by a newer acpbot \(schema 3, this one knows 1\)"):
        open_things(path)
    assert path.read_bytes() == before


def test_another_program_s_file_is_refused_and_kept(path):
    with sqlite3.connect(path_made(path)) as connection:
        connection.execute("CREATE TABLE theirs (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StartError, match="another program's database"):
        open_things(path)
    assert path.read_bytes() == before


def open_once(path, migrations=TABLE) -> list[tuple]:
    database = open_things(path, migrations)
    found = database.read("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    database.start()
    database.close()
    return found


def test_an_older_file_is_brought_up_to_date(path):
    assert open_once(path) == [("things",)]
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")
    connection.close()
    assert open_once(path, (*TABLE, "CREATE TABLE more (name TEXT)")) == [("more",), ("things",)]
    assert names(path) == ["kept"]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path):
    open_once(path)
    with pytest.raises(StartError, match="can't be used"):
        open_things(path, (*TABLE, "CREATE TABLE more (name TEXT); CREATE TABLE things (name TEXT)"))
    assert open_once(path) == [("things",)]


@pytest.mark.parametrize("where", ["/proc/none/acpbot.sqlite3", "/dev/null/acpbot.sqlite3"])
def test_a_folder_that_can_t_be_written_is_reported(where):
    with pytest.raises(StartError, match=r"cannot start: the database .* can't be used: .*\[store\] path"):
        open_things(Path(where))


async def test_a_full_disk_is_reported_and_writes_wait_until_there_is_space(path, caplog):
    things = open_things(path, retry_seconds=0.01)
    assert things.read("PRAGMA max_page_count = 5") == [(5,)]
    things.start()
    big = [f"{number}{'x' * 3000}" for number in range(10)]
    for name in big:
        things.write("INSERT INTO things VALUES (?)", name)
    await asyncio.wait_for(things.durable(), 10)  # nobody waits for a disk that takes nothing
    assert "can't be written (database or disk is full)" in str(things.problem)
    assert names(path) == []
    logged = [record for record in caplog.records if record.message == "store_failed"]
    assert [record.levelname for record in logged] == ["WARNING"]
    things._connection.execute("PRAGMA max_page_count = 100000")
    await asyncio.to_thread(things.close)
    assert names(path) == big
    assert things.problem is None


async def test_nobody_waits_for_ever_for_a_disk_that_does_not_answer(path, caplog):
    things = open_things(path, hang_seconds=0.05, retry_seconds=0.01)
    things.start()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        things.write("INSERT INTO things VALUES (?)", "one")
        await asyncio.wait_for(things.durable(), 10)
        assert str(things.problem).startswith("the disk has not answered for 0 s: what happens now would not survive")
        assert names(path) == []
        other.execute("ROLLBACK")
    await asyncio.to_thread(things.close)
    assert things.problem is None
    assert names(path) == ["one"]
    assert events(caplog) == ["store_slow", "store_works_again"]


@pytest.mark.parametrize("most", [{"pending_most": 3}, {"pending_bytes": 30_000}])
async def test_a_disk_that_stays_full_costs_the_oldest_writes_and_no_more_memory(path, caplog, most):
    things = open_things(path, retry_seconds=0.01, **most)
    things.read("PRAGMA max_page_count = 1")
    for number in range(6):
        things.write("INSERT INTO things VALUES (?)", f"{number}{'x' * 9000}")
        things._hand_over()
    things.start()
    await things.durable()
    await asyncio.to_thread(things.close)
    logged = {record.message: record.fields for record in caplog.records if hasattr(record, "fields")}
    assert logged["store_steps_lost"] == {"steps": 3}
    assert logged["store_unwritten"]["steps"] == 3


def test_a_killed_process_leaves_a_consistent_file(path):
    """Each step is two rows; whenever the writer is killed, there are as many of the one as of the other."""
    program = """
import asyncio, sys
from pathlib import Path
from acpbot.storage.database import Database
async def main():
    database = Database(Path(sys.argv[1]), application_id=7, migrations=[sys.argv[2]])
    database.start()
    for number in range(10**9):
        database.write("INSERT OR IGNORE INTO things VALUES (?)", f"left {number}")
        database.write("INSERT OR IGNORE INTO things VALUES (?)", f"right {number}")
        await database.durable()
        if number == 20:
            print("going", flush=True)
asyncio.run(main())
"""
    argv = [sys.executable, "-c", program, str(path), *TABLE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"going\n"
        writer.kill()
    database = open_things(path)
    rows = [name for (name,) in database.read("SELECT name FROM things")]
    database.start()
    database.close()
    sides = [{name.split()[1] for name in rows if name.startswith(side)} for side in ("left", "right")]
    assert sides[0] == sides[1]
    assert len(sides[0]) > 20


def test_the_contents_of_an_older_store_are_restored(path):
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:1]).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO posts (nonce, channel_id, fate, content, components, created_at)"
            " VALUES ('n', '1', 'deliver', 'words', x'5b5d', 5.0)"
        )
        connection.execute(
            "INSERT INTO threads"
            " VALUES ('1001', 'test', 'demo', NULL, '/srv/old', 'a title', '2026', 5.0, 'acp', 1, 2, '{}')"
        )
    connection.close()
    store = Store.open(path)
    store.close()
    wanted = PostRecord(nonce="n", channel_id="1", fate="deliver", content="words", created_at=5.0, sent=None)
    assert store.restored.posts == [wanted]
    thread = ThreadRecord("1001", "test", "demo", None, "a title", "2026", 5.0, "acp", resumable=True, turns=2)
    assert store.restored.threads == [thread]


def test_an_older_store_and_its_copy_get_ids_of_their_own_and_only_the_original_names_processes(path, tmp_path):
    Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS[:1]).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO processes VALUES ('s', 4711, 5, 'boot \"x\"')")
    connection.close()
    first = Store.open(path)
    first.close()
    again = Store.open(path)
    again.close()
    place = PlaceRecord("s", "local", {"pid": 4711, "start_time": 5, "boot_id": 'boot "x"'})
    assert first.restored.places == again.restored.places == [place]
    assert first.instance == again.instance
    copied = tmp_path / "copy.sqlite3"
    copied.write_bytes(path.read_bytes())
    copy = Store.open(copied)
    copy.close()
    assert copy.restored.places == []
    assert copy.instance != first.instance
    second = Store.open(copied)
    second.close()
    assert second.instance == copy.instance


def test_a_new_store_has_the_current_schema(path):
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("chosen", ["'{'", "CAST(x'ff' AS TEXT)"])
def test_a_row_that_can_t_be_decoded_is_reported_as_damage(path, chosen):
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        columns = "thread_id, platform, agent, created_at, used_at, resumable, turns, chosen"
        values = f"'1001', 'test', 'demo', '2026', 0.0, 0, 0, {chosen}"
        connection.execute(f"INSERT INTO threads ({columns}) VALUES ({values})")  # noqa: S608 - the test's own
    connection.close()
    for _ in range(2):
        with pytest.raises(StartError, match="is damaged"):
            Store.open(path)


def audit_rows(path) -> list[tuple]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT uid, pid, method, target, outcome, times FROM audit ORDER BY sequence")
        found = list(rows)
    connection.close()
    return found


async def test_neither_denials_nor_what_acpbot_does_by_itself_push_out_what_was_done(path, monkeypatch):
    for kind, most in (("done", 3), ("denied", 2), ("automatic", 2)):
        monkeypatch.setitem(AUDIT_MOST, kind, most)
    store = Store.open(path)
    for number in range(5):
        store.audited(0, 7, "sessions.kill", f"done {number}", "ended")
        for other in range(10):
            store.audited(1000, 8, "sessions.kill", f"denied {number}.{other}", "denied")
            store.audited(None, None, "permission", f"automatic {number}.{other}", "allowed by policy")
    await store.durable()
    store.close()
    assert [target for _, _, _, target, _, _ in audit_rows(path)] == [
        *("done 2", "done 3", "done 4"),
        *("denied 4.8", "automatic 4.8", "denied 4.9", "automatic 4.9"),
    ]


async def test_repeated_denials_are_counted_in_the_row_of_the_first(path):
    store = Store.open(path)
    store.audited(1000, 8, "connect", "", "denied")
    store.audited(1000, 9, "connect", "", "denied")
    store.audited(None, None, "connect", "", "denied")
    store.denied_again(1000, 8, "connect", 10_499)
    store.denied_again(None, None, "connect", 1)
    await store.durable()
    store.close()
    assert [(uid, pid, times) for uid, pid, *_, times in audit_rows(path)] == [
        (1000, 8, 10_500),
        (1000, 9, 1),
        (None, None, 2),
    ]
