"""An SQLite file with one writer, off the event loop; what one step of the loop writes is written whole or not at all.

Source: https://sqlite.org/wal.html, https://sqlite.org/pragma.html. WAL needs memory that its users share, so the file
may not lie on a network file system. ``synchronous`` is FULL: a commit has reached the disk when it is reported, so
that not even a power cut can make a prompt run twice. It costs one fsync for all steps that came together; only the
writer's own thread waits for it, and a turn before its prompt is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from acpbot.aio import DISK
from acpbot.errors import StartError
from acpbot.logs import get_logger
from acpbot.storage.lock_file import take_lock
from acpbot.text import operator_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    Statement = tuple[str, tuple[Any, ...]]

log = get_logger(__name__)

_BUSY_SECONDS: Final = 5.0
_WAL_BYTES: Final = 4 * 1024 * 1024
_STORAGE: Final = frozenset(
    {
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_NOMEM),
    }
)
_LOST: Final = "what happens now would not survive a restart"
_WAY_OUT: Final = "or name another file in [store] path"


class DiskLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What happens while the disk takes nothing.

    A write that failed is tried again every ``retry_seconds``; nobody waits longer than ``hang_seconds`` for one that
    does not return, nor :meth:`Database.close` longer than ``close_seconds``. Every ``look_seconds`` the
    writer looks whether the file is still at its path. At most ``pending_most`` statements of ``pending_bytes`` wait
    in memory; the oldest go first.
    """

    retry_seconds: float = 2.0
    hang_seconds: float = 10.0
    close_seconds: float = 10.0
    look_seconds: float = 10.0
    pending_most: int = 20_000
    pending_bytes: int = 256 * 1024 * 1024


class Database:
    """An open file, locked for this process. Read before :meth:`start`, then :meth:`write` and :meth:`query`.

    A thread writes the steps in their order; those that wait are committed together. Raises StartError where the file
    can't be used; a damaged, a foreign or a newer one is left as it is.
    """

    def __init__(
        self,
        path: Path,
        *,
        application_id: int,
        migrations: Sequence[str],
        limits: DiskLimits | None = None,
    ) -> None:
        # By its real name: under a link's name there would be a second lock, and two daemons on one database.
        self.path = path = Path(os.path.realpath(path))
        self._disk_problem: str | None = None
        self._missing: str | None = None
        self._lost = 0
        self._lock = _locked(path)
        try:
            self._connection = _open(path, application_id, migrations)
        except BaseException:
            os.close(self._lock)
            raise
        self._limits = limits or DiskLimits()
        self._files = {path: _identity(path)}
        self._look_at = 0.0
        self._step: list[Statement] = []  # what this step of the event loop has written so far
        self._changed = threading.Condition()  # guards what follows
        self._steps: deque[list[Statement]] = deque()
        self._put = self._done = 0
        self._waiting: list[tuple[int, Future[None]]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why what happens now may not survive a restart, as a clause for people; ``None`` where all is well.

        While the disk takes nothing, the steps wait in memory and are tried again.
        """
        if self._missing is not None:
            return self._missing
        if self._disk_problem is not None:
            return self._disk_problem
        changes = f"{self._lost} change{'s' * (self._lost != 1)}"
        return f"{changes} could not be stored; see the log" if self._lost else None

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query; only before :meth:`start`."""
        return self._connection.execute(sql).fetchall()

    def start(self) -> None:
        """Begin to write; from now on everything belongs to the event loop's thread."""
        self._thread.start()

    def write(self, sql: str, *values: Any) -> None:
        """Have a statement written, together with all others of this step of the event loop."""
        if not self._step:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._step.append((sql, values))

    def _hand_over(self) -> None:
        if self._step:
            step, self._step = self._step, []
            with self._changed:
                self._steps.append(step)
                self._put += 1
                self._changed.notify()

    async def durable(self) -> None:
        """Return once all that was written is on disk; at once where the disk takes nothing (see :attr:`problem`)."""
        self._hand_over()
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # so that it can't be cancelled when the writer ends it
        with self._changed:
            if self._done >= self._put or self._disk_problem is not None:
                return
            self._waiting.append((self._put, future))
        try:
            async with asyncio.timeout(self._limits.hang_seconds):
                await asyncio.wrap_future(future)
        except TimeoutError:
            # A disk that hangs must not hold a turn up for ever; once it takes the step, all is well again.
            log.warning("store_slow", seconds=self._limits.hang_seconds)
            self._disk_problem = f"the disk has not answered for {self._limits.hang_seconds:.0f} s: {_LOST}"

    async def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of a query once all that was written before is there. Raises sqlite3.Error."""
        await self.durable()
        return await DISK.run(self._query, sql, values)

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        # A connection of its own: the writer's may be in the middle of a transaction.
        uri = f"file:{quote(str(self.path))}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
            return connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Write what is left, and give the file back. Blocks; no more writes follow.

        A disk that does not answer within ``close_seconds`` keeps the file, until the process ends.
        """
        self._hand_over()
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(self._limits.close_seconds)
        if self._thread.is_alive():
            log.error("store_unwritten", steps=len(self._steps), reason="the disk does not answer")
            return
        with contextlib.suppress(sqlite3.Error):  # a full disk: the next start does it
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        os.close(self._lock)

    # The writer's thread.

    def _run(self) -> None:
        while True:
            try:
                self._write_steps()
            except Exception:
                # Broad: without this thread nothing would be written any more, and nobody would see that.
                log.exception("store_writer_crashed")
                self._disk_problem = f"the database writer failed, see the log: {_LOST}"
                time.sleep(self._limits.retry_seconds)
            else:
                return

    def _write_steps(self) -> None:
        while True:
            with self._changed:
                if not self._steps and not self._closing:
                    self._changed.wait(self._limits.look_seconds)
                steps, closing = list(self._steps), self._closing
            written = self._commit(steps) if steps else 0
            self._look()
            if closing and not steps:
                return
            with self._changed:
                for _ in range(written):
                    self._steps.popleft()
                self._done += written
                waiting, self._waiting = self._waiting, []
                for count, future in waiting:
                    if count <= self._done or self._disk_problem is not None:
                        future.set_result(None)
                    else:
                        self._waiting.append((count, future))
                if self._disk_problem is not None:
                    if self._closing:
                        log.error("store_unwritten", steps=len(self._steps), reason=self._disk_problem)
                        return
                    self._changed.wait_for(lambda: self._closing, self._limits.retry_seconds)

    def _commit(self, steps: list[list[Statement]]) -> int:
        """Return how many of the steps are finished: written, or given up."""
        try:
            self._transaction(steps)
        except Exception as error:  # not only SQLite's: a value that it can't take raises others
            if _is_storage(error):
                return self._store_failed(error, steps)
            if len(steps) == 1:
                # Our own defect: it is logged, and the steps after it must not be lost with it.
                log.exception("store_step_failed", statements=len(steps[0]))
                self._lost += 1
                return 1
            return self._one_by_one(steps)
        if self._disk_problem is not None:
            log.warning("store_works_again")
            self._disk_problem = None
        return len(steps)

    def _one_by_one(self, steps: list[list[Statement]]) -> int:
        for number, step in enumerate(steps):
            if not self._commit([step]):
                return number
        return len(steps)

    def _transaction(self, steps: list[list[Statement]]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for step in steps:
                for sql, values in step:
                    try:
                        execute(sql, values)
                    except UnicodeEncodeError:
                        # A lone surrogate: the text of a file name, or of a program, that is not UTF-8.
                        execute(sql, tuple(map(_encodable, values)))
            execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:  # some errors have rolled it back already
                execute("ROLLBACK")
            raise

    def _store_failed(self, error: Exception, steps: list[list[Statement]]) -> int:
        if self._disk_problem is None:
            log.warning("store_failed", error=str(error), next_try_in=self._limits.retry_seconds)
        self._disk_problem = f"the database can't be written ({error}): {_LOST}"
        dropped = self._too_many(steps)
        if dropped:
            log.error("store_steps_lost", steps=dropped)
            self._lost += dropped
        return dropped

    def _too_many(self, steps: list[list[Statement]]) -> int:
        """Return how many of the steps, the oldest, exceed what may wait in memory."""
        statements = size = 0
        for number, step in enumerate(reversed(steps)):
            statements += len(step)
            size += sum(len(value) for _, values in step for value in values if isinstance(value, (bytes, str)))
            if statements > self._limits.pending_most or size > self._limits.pending_bytes:
                return len(steps) - number
        return 0

    def _look(self) -> None:
        """Notice a database that is not at its path any more: the next daemon would find another one, or none."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._limits.look_seconds
        # SQLite makes the log with the first write, and keeps it while the database is open.
        log_path = self.path.with_name(f"{self.path.name}-wal")
        if log_path not in self._files and (found := _identity(log_path)) is not None:
            self._files[log_path] = found
        moved = next((path for path, identity in self._files.items() if _identity(path) != identity), None)
        missing = None if moved is None else f"{moved} was moved, replaced or deleted: {_LOST}; restart acpbot"
        if missing is not None and self._missing is None:
            log.error("store_moved", path=str(moved))
        elif missing is None and self._missing is not None:
            log.warning("store_works_again")
        self._missing = missing


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _is_storage(error: Exception) -> bool:
    """Whether the disk is to blame: full, failing, damaged, gone read-only.

    The low byte is the primary code. Source: https://sqlite.org/rescode.html.
    """
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _STORAGE


def _locked(path: Path) -> int:
    """Take the lock beside the file: two daemons on one database would both resume its threads."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            busy = f"cannot start: acpbot (pid {{pid}}) already uses the database {path}"
            file = path.with_name(f"{path.name}.lock")
            return take_lock(folder, file, busy, _WAY_OUT, shared_by_hosts=True)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refused(path, error.strerror or str(error), "fix that") from None


def _open(path: Path, application_id: int, migrations: Sequence[str]) -> sqlite3.Connection:
    try:
        # It holds prompts: nobody else may read it. SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except OSError as error:
        raise _refused(path, error.strerror or str(error), "fix its permissions") from None
    except sqlite3.Error as error:
        raise _refused(path, str(error), "fix that") from None
    try:
        _check(connection, path, application_id, len(migrations))
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"journal_size_limit = {_WAL_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")
        _migrate(connection, application_id, migrations)
    except sqlite3.Error as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise _refused(path, str(error), "fix that") from None
        raise damaged(path, str(error)) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path, application_id: int, known: int) -> None:
    """Look, and write nothing: a file that is refused must stay as it was."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (whose,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and whose != application_id:
        raise _refused(path, "it is another program's database", "move it away")
    if version > known:
        raise StartError(
            operator_line(
                f"cannot start: the database {path} was written by a newer acpbot (schema {version}, this one knows "
                f"{known}); run that version, {_WAY_OUT}"
            )
        )
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found)


def _migrate(connection: sqlite3.Connection, application_id: int, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(migrations[version:], version + 1):
        stamp = f"PRAGMA application_id = {application_id}; PRAGMA user_version = {number}"
        connection.executescript(f"BEGIN IMMEDIATE; {script}; {stamp}; COMMIT;")


def _refused(path: Path, problem: str, way_out: str) -> StartError:
    return StartError(
        operator_line(f"cannot start: the database {path} can't be used: {problem}; {way_out}, {_WAY_OUT}")
    )


def damaged(path: Path, problem: str) -> StartError:
    """The error for a file in which not everything can be read."""
    return StartError(
        operator_line(
            f"cannot start: the database {path} is damaged ({problem}); restore a backup, or move it away: "
            "threads then start new conversations"
        )
    )
