"""What must survive a restart, SIGKILL included: threads, turns that have not ended, processes, unsent messages, audit.

Rows say what is unfinished: a turn is written when it is accepted, marked before its prompt is sent, and removed in the
same step in which its answer is written as messages to deliver; such a message is removed once it is delivered.
So at whatever moment a daemon ends, the next one finds each prompt either waiting, or begun, or answered.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from acpbot.errors import StoreError
from acpbot.logs import get_logger
from acpbot.storage.database import Database, damaged
from acpbot.storage.records import (
    AuditEntry,
    CostRecord,
    EventRecord,
    KnownThread,
    LastEnd,
    PlaceRecord,
    PostRecord,
    PromptRecord,
    RestoredState,
    ThreadRecord,
    TurnRecord,
)
from acpbot.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = get_logger(__name__)

APPLICATION_ID: Final = 0x61637062  # 'acpb', so that file(1) and we can tell it from other databases
DENIED: Final = "denied"
"""The outcome of a request, or a connection, that was refused for want of rights."""
AUDIT_MOST: Final = {"done": 10_000, "denied": 1_000, "automatic": 10_000}
"""How many rows of each kind are kept; no kind takes the place of another.

``denied``: what was refused. ``automatic``: what acpbot did by itself, as agents can make it do. ``done``: the rest.
"""

PROMPTS_MOST: Final = 10_000
"""Threads whose last prompt is among so many of all threads keep it."""
PROMPT_FILES_MOST: Final = 100
"""The files of so many prompts are kept."""
EVENTS_MOST: Final = 1000
"""How many events are kept."""

MIGRATIONS: Final = (
    """
    CREATE TABLE threads (
        thread_id TEXT PRIMARY KEY, platform TEXT NOT NULL, agent TEXT NOT NULL, owner TEXT, cwd TEXT NOT NULL,
        title TEXT, created_at TEXT NOT NULL, used_at REAL NOT NULL, acp_session_id TEXT, resumable INTEGER NOT NULL,
        turns INTEGER NOT NULL, chosen TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE processes (
        session_id TEXT PRIMARY KEY, pid INTEGER NOT NULL, start_time INTEGER NOT NULL, boot_id TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE turns (
        sequence INTEGER PRIMARY KEY, turn_id TEXT NOT NULL UNIQUE, thread_id TEXT NOT NULL, platform TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running')), message BLOB NOT NULL
    ) STRICT;
    CREATE TABLE posts (
        sequence INTEGER PRIMARY KEY, nonce TEXT NOT NULL UNIQUE, channel_id TEXT NOT NULL,
        fate TEXT NOT NULL CHECK (fate IN ('deliver', 'leave', 'retract')), content TEXT NOT NULL,
        components BLOB NOT NULL, file_name TEXT, file BLOB, reply_to TEXT, message_id TEXT, created_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE seen (platform TEXT NOT NULL, message_id INTEGER NOT NULL, PRIMARY KEY (platform, message_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE marks (platform TEXT PRIMARY KEY, message_id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY, at REAL NOT NULL, uid INTEGER, pid INTEGER, method TEXT NOT NULL,
        target TEXT NOT NULL, outcome TEXT NOT NULL
    ) STRICT;
    """,
    "ALTER TABLE posts ADD COLUMN sent TEXT;",
    "ALTER TABLE threads ADD COLUMN removal_notice_at REAL;",
    "ALTER TABLE threads DROP COLUMN cwd;",
    """
    ALTER TABLE audit ADD COLUMN kind TEXT NOT NULL DEFAULT 'done';
    ALTER TABLE audit ADD COLUMN times INTEGER NOT NULL DEFAULT 1;
    UPDATE audit SET kind = 'denied' WHERE outcome = 'denied';
    CREATE INDEX audit_kind ON audit (kind, sequence);
    """,
    "CREATE TABLE instance (id TEXT PRIMARY KEY, file TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    """
    CREATE TABLE costs (
        thread_id TEXT NOT NULL, agent TEXT NOT NULL, currency TEXT NOT NULL, amount REAL NOT NULL,
        acp_session_id TEXT NOT NULL, reported REAL NOT NULL, PRIMARY KEY (thread_id, agent, currency)
    ) STRICT, WITHOUT ROWID;
    """,
    "ALTER TABLE threads ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE threads ADD COLUMN channel TEXT;",
    "ALTER TABLE posts ADD COLUMN pings TEXT;",
    """
    CREATE TABLE known_threads (
        thread_id TEXT PRIMARY KEY, platform TEXT NOT NULL, used_at REAL NOT NULL, other_bots INTEGER,
        expired INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO known_threads SELECT thread_id, platform, used_at, NULL, 0 FROM threads;
    """,
    """
    CREATE TABLE prompts (
        sequence INTEGER PRIMARY KEY, thread_id TEXT NOT NULL UNIQUE, message BLOB NOT NULL, has_files INTEGER NOT NULL,
        files BLOB
    ) STRICT;
    CREATE INDEX prompt_files ON prompts (sequence) WHERE files IS NOT NULL;
    """,
    """
    ALTER TABLE threads ADD COLUMN last_end TEXT;
    CREATE TABLE outputs (thread_id TEXT PRIMARY KEY, lines BLOB NOT NULL) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, thread_id TEXT, session_id TEXT, agent TEXT,
        reason TEXT, exit_code INTEGER, detail TEXT
    ) STRICT;
    """,
    "ALTER TABLE processes ADD COLUMN thread_id TEXT;",
    "CREATE TABLE schedules (key TEXT PRIMARY KEY, handled_at REAL NOT NULL) STRICT, WITHOUT ROWID;",
    """
    CREATE TABLE places (
        session_id TEXT PRIMARY KEY, runtime TEXT NOT NULL, ref TEXT NOT NULL, thread_id TEXT
    ) STRICT, WITHOUT ROWID;
    INSERT INTO places SELECT session_id, 'local',
        json_object('pid', pid, 'start_time', start_time, 'boot_id', boot_id), thread_id FROM processes;
    DROP TABLE processes;
    ALTER TABLE threads ADD COLUMN ran_in TEXT;
    """,
    "ALTER TABLE known_threads ADD COLUMN begun_anew_at REAL NOT NULL DEFAULT 0;",
)

_CHOSEN: Final = msgspec.json.Decoder(dict[str, str])
_LAST_END: Final = msgspec.json.Decoder(LastEnd)
_REF: Final = msgspec.json.Decoder(dict[str, Any])
_THREAD: Final = ", ".join(ThreadRecord.__struct_fields__)
_KNOWN: Final = ", ".join(KnownThread.__struct_fields__)
_EVENT: Final = ", ".join(EventRecord.__struct_fields__)
_SAVE_EVENT: Final = f"INSERT INTO events ({_EVENT}) VALUES ({', '.join('?' * len(EventRecord.__struct_fields__))})"  # noqa: S608 - the same
_POST: Final = ", ".join(PostRecord.__struct_fields__)
_THREAD_MARKS: Final = ", ".join("?" * len(ThreadRecord.__struct_fields__))
_SAVE_THREAD: Final = f"INSERT OR REPLACE INTO threads ({_THREAD}) VALUES ({_THREAD_MARKS})"  # noqa: S608 - our own names
_POST_MARKS: Final = ", ".join("?" * len(PostRecord.__struct_fields__))
_POST_CHANGES: Final = ", ".join(
    f"{name} = excluded.{name}" for name in ("fate", "content", "components", "message_id", "sent")
)
_SAVE_POST: Final = (
    f"INSERT INTO posts ({_POST}) VALUES ({_POST_MARKS}) ON CONFLICT (nonce) DO UPDATE SET {_POST_CHANGES}"  # noqa: S608 - the same
)


class Store:
    """Writes what happens; ``restored`` is what an earlier daemon stored, until :meth:`clear_restored`.

    ``instance`` is an id of this database file, by its device and inode. A copy of the file gets another one, and
    restores no processes: they are those of the daemon that has the original. Without a database it keeps nothing. What
    one step of the event loop writes is written whole or not at all. All methods belong to the loop's thread, but
    :meth:`open` and :meth:`close`, which block.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database
        self._write = _keep_nothing if database is None else database.write
        self.restored = RestoredState()
        self.instance = secrets.token_hex(8)
        if database is not None:
            self.restored = _restored(database)
            self.instance, is_copy = _instance(database)
            if is_copy:  # they are processes of the daemon that has the original
                self.restored.places.clear()
            database.start()

    @classmethod
    def open(cls, path: Path) -> Store:
        """The store in this file, made where there is none. Raises StartError."""
        database = Database(path, application_id=APPLICATION_ID, migrations=MIGRATIONS)
        try:
            return cls(database)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            database.close()
            raise damaged(path, str(error)) from None

    def clear_restored(self) -> None:
        """Forget what was restored, once all have taken their part."""
        self.restored = RestoredState()

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now, as a clause for people; ``None`` where all is well."""
        return None if self._database is None else self._database.problem

    async def durable(self) -> None:
        """Return once everything is on disk, or it is known that the disk takes nothing (see :attr:`problem`)."""
        if self._database is not None:
            await self._database.durable()

    def close(self) -> None:
        """Write what is left, and give the file back."""
        if self._database is not None:
            self._database.close()

    # Threads.

    def save_thread(self, record: ThreadRecord) -> None:
        """Keep a thread as it is now."""
        values = msgspec.structs.asdict(record)
        values["chosen"] = msgspec.json.encode(record.chosen).decode()
        values["last_end"] = None if record.last_end is None else msgspec.json.encode(record.last_end).decode()
        self._write(_SAVE_THREAD, *values.values())

    def forget_thread(self, thread_id: str) -> None:
        """The thread's conversation is over for good."""
        self._write("DELETE FROM threads WHERE thread_id = ?", thread_id)
        self._write("DELETE FROM costs WHERE thread_id = ?", thread_id)
        self._write("DELETE FROM prompts WHERE thread_id = ?", thread_id)
        self._write("DELETE FROM outputs WHERE thread_id = ?", thread_id)

    def save_known_thread(self, record: KnownThread) -> None:
        """Keep what is known of a thread that the bot takes part in, apart from its conversation."""
        self._write("INSERT OR REPLACE INTO known_threads VALUES (?, ?, ?, ?, ?, ?)", *msgspec.structs.astuple(record))

    def forget_known_thread(self, thread_id: str) -> None:
        """The thread is gone, or was unused for longest of too many."""
        self._write("DELETE FROM known_threads WHERE thread_id = ?", thread_id)

    def save_cost(self, record: CostRecord) -> None:
        """Keep what an agent has cost in a thread."""
        self._write("INSERT OR REPLACE INTO costs VALUES (?, ?, ?, ?, ?, ?)", *msgspec.structs.astuple(record))

    def save_output(self, thread_id: str, lines: bytes) -> None:
        """Keep the last output of a thread, in place of what was kept."""
        self._write("INSERT OR REPLACE INTO outputs VALUES (?, ?)", thread_id, lines)

    def forget_outputs(self) -> None:
        """Erase what is kept of all threads."""
        self._write("DELETE FROM outputs")

    async def output(self, thread_id: str) -> bytes | None:
        """The last output of a thread; ``None`` where none is kept, and where the file can't be read now."""
        rows = await self._rows("SELECT lines FROM outputs WHERE thread_id = ?", thread_id)
        return rows[0][0] if rows else None

    async def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query; none where the file can't be read now, which is logged."""
        if self._database is None:
            return []
        try:
            return await self._database.query(sql, *values)
        except sqlite3.Error as error:
            log.warning("store_not_read", error=str(error))
            return []

    # Processes.

    def process_started(self, record: PlaceRecord) -> None:
        """A session's agent runs."""
        ref = msgspec.json.encode(record.ref).decode()
        values = record.session_id, record.runtime, ref, record.thread_id
        self._write("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", *values)

    def clock_set(self, now: float) -> None:
        """The wall clock was set: every thread counts as used ``now`` (Unix time)."""
        self._write("UPDATE threads SET used_at = ?", now)
        self._write("UPDATE threads SET removal_notice_at = ? WHERE removal_notice_at IS NOT NULL", now)

    def process_ended(self, session_id: str) -> None:
        """Nothing of a session's is left."""
        self._write("DELETE FROM places WHERE session_id = ?", session_id)

    def forget_processes(self) -> None:
        """Nothing that an earlier daemon started is left."""
        self._write("DELETE FROM places")

    # Turns.

    def turn_queued(self, record: TurnRecord) -> None:
        """A turn was accepted; one that is known already keeps its place in the order."""
        self._write(
            "INSERT INTO turns (turn_id, thread_id, platform, state, message) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (turn_id) DO UPDATE SET state = excluded.state, message = excluded.message",
            *msgspec.structs.astuple(record),
        )

    def turn_revised(self, turn_id: str, message: bytes) -> None:
        """A waiting turn asks for something else now."""
        self._write("UPDATE turns SET message = ? WHERE turn_id = ?", message, turn_id)

    def turns_passed(self, turn_ids: Sequence[str]) -> None:
        """Another turn of their thread runs before these waiting ones: they come after all others, in this order."""
        last = "(SELECT max(sequence) FROM turns)"
        for turn_id in turn_ids:
            self._write(f"UPDATE turns SET sequence = {last} + 1 WHERE turn_id = ?", turn_id)  # noqa: S608 - our own words

    def turn_started(self, turn_id: str) -> None:
        """Its prompt is about to be sent: no later daemon may send it again."""
        self._write("UPDATE turns SET state = 'running' WHERE turn_id = ?", turn_id)

    def turn_settled(self, turn_id: str) -> None:
        """The thread has read how it ended, or will from posts."""
        self._write("DELETE FROM turns WHERE turn_id = ?", turn_id)

    # The last prompts.

    def save_prompt(self, record: PromptRecord) -> None:
        """Keep a thread's last prompt in the place of the one before; the oldest of too many are dropped."""
        self._write(
            "INSERT OR REPLACE INTO prompts (thread_id, message, has_files, files) VALUES (?, ?, ?, ?)",
            *msgspec.structs.astuple(record),
        )
        newest = "(SELECT max(sequence) FROM prompts)"
        self._write(f"DELETE FROM prompts WHERE sequence <= {newest} - ?", PROMPTS_MOST)  # noqa: S608 - our own words
        self._write(
            f"UPDATE prompts SET files = NULL WHERE files IS NOT NULL AND sequence <= {newest} - ?",  # noqa: S608 - the same
            PROMPT_FILES_MOST,
        )

    async def prompt(self, thread_id: str) -> PromptRecord | None:
        """A thread's last prompt; ``None`` where none is kept, or the file can't be read now."""
        prompt = "SELECT thread_id, message, has_files, files FROM prompts WHERE thread_id = ?"
        found = await self._rows(prompt, thread_id)
        return PromptRecord(found[0][0], found[0][1], bool(found[0][2]), found[0][3]) if found else None

    # The bot's own messages.

    def save_post(self, record: PostRecord) -> None:
        """Keep a message until it is delivered in its final form; a known one keeps its place in the order."""
        self._write(_SAVE_POST, *msgspec.structs.astuple(record))

    def post_settled(self, nonce: str) -> None:
        """It is delivered in its final form, is gone, or will never be delivered."""
        self._write("DELETE FROM posts WHERE nonce = ?", nonce)

    # How far a platform's messages were read.

    def message_seen(self, platform: str, message_id: int) -> None:
        """A person's message was handled: it must not be handled again."""
        self._write("INSERT OR IGNORE INTO seen VALUES (?, ?)", platform, message_id)

    def read_up_to(self, platform: str, message_id: int) -> None:
        """All messages up to this one were handled."""
        self._write("INSERT OR REPLACE INTO marks VALUES (?, ?)", platform, message_id)
        self._write("DELETE FROM seen WHERE platform = ? AND message_id <= ?", platform, message_id)

    # Events.

    def save_event(self, record: EventRecord) -> None:
        """Keep an event; the last ``EVENTS_MOST`` are kept."""
        self._write(_SAVE_EVENT, *msgspec.structs.astuple(record))
        self._write("DELETE FROM events WHERE id <= ?", record.id - EVENTS_MOST)

    # Audit.

    def schedule_handled(self, key: str, time: float) -> None:
        """The runs of this entry of ``[[schedule]]`` up to ``time`` are dealt with."""
        self._write("INSERT OR REPLACE INTO schedules VALUES (?, ?)", key, time)

    def forget_schedule(self, key: str) -> None:
        """The configuration has this entry no more."""
        self._write("DELETE FROM schedules WHERE key = ?", key)

    def audited(self, uid: int | None, pid: int | None, method: str, target: str, outcome: str) -> None:
        """Who did what; the last rows of each kind are kept (``AUDIT_MOST``). ``uid`` ``None``: acpbot by itself."""
        kind = "denied" if outcome == DENIED else "automatic" if uid is None else "done"
        self._write(
            "INSERT INTO audit (at, uid, pid, method, target, outcome, kind) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(time.time(), uid, pid, method, target, outcome, kind),
        )
        self._write(
            "DELETE FROM audit WHERE kind = ? AND sequence <= "
            "(SELECT sequence FROM audit WHERE kind = ? ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
            *(kind, kind, AUDIT_MOST[kind]),
        )

    async def audit(self, *, limit: int, before: int | None = None, thread: str | None = None) -> list[AuditEntry]:
        """The newest entries, the newest first: ``limit`` at most, older than ``before``, about ``thread``.

        Raises StoreError.
        """
        if self._database is None:
            return []
        try:
            rows = await self._database.query(
                "SELECT sequence, at, uid, pid, method, target, outcome FROM audit WHERE (?1 IS NULL OR sequence < ?1) "
                "AND (?2 IS NULL OR target = ?2 OR substr(target, 1, length(?2) + 1) = ?2 || '/') "
                "ORDER BY sequence DESC LIMIT ?3",
                *(before, thread, limit),
            )
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the audit: {error}") from None
        return [AuditEntry(sequence, rfc3339(at), *rest) for sequence, at, *rest in rows]

    def denied_again(self, uid: int | None, pid: int | None, method: str, times: int) -> None:
        """The newest denial of these was repeated so many times."""
        self._write(
            "UPDATE audit SET times = times + ? WHERE sequence = (SELECT max(sequence) FROM audit "
            "WHERE kind = 'denied' AND uid IS ? AND pid IS ? AND method = ?)",
            *(times, uid, pid, method),
        )


def _keep_nothing(_sql: str, *_values: Any) -> None:
    """Write nothing: there is no database."""


def _instance(database: Database) -> tuple[str, bool]:
    """The id of the database file, and whether it is a copy of the file that had another one."""
    status = database.path.stat()
    file = f"{status.st_dev}:{status.st_ino}"
    known = database.read("SELECT id, file FROM instance")
    if known and known[0][1] == file:
        return known[0][0], False
    fresh = secrets.token_hex(8)
    with contextlib.suppress(sqlite3.OperationalError):  # the disk is full: the next start makes another id
        database.read("DELETE FROM instance")
        database.read(f"INSERT INTO instance VALUES ('{fresh}', '{file}')")  # noqa: S608 - digits and our own id
    return fresh, bool(known)


def _restored(database: Database) -> RestoredState:
    state = RestoredState(seen={})
    for row in database.read(f"SELECT {_THREAD} FROM threads"):  # noqa: S608 - our own names
        values = dict(zip(ThreadRecord.__struct_fields__, row, strict=True))
        values |= {name: bool(values[name]) for name in ("resumable", "adopted")}
        values["chosen"] = _CHOSEN.decode(values["chosen"])
        values["last_end"] = None if values["last_end"] is None else _LAST_END.decode(values["last_end"])
        state.threads.append(ThreadRecord(**values))
    for row in database.read(f"SELECT {_KNOWN} FROM known_threads"):  # noqa: S608 - the same
        thread_id, platform, used_at, bots, expired, anew = row
        other_bots = None if bots is None else bool(bots)
        state.known_threads.append(KnownThread(thread_id, platform, used_at, other_bots, bool(expired), anew))
    for row in database.read("SELECT thread_id, agent, currency, amount, acp_session_id, reported FROM costs"):
        state.costs.append(CostRecord(*row))
    for row in database.read("SELECT turn_id, thread_id, platform, state, message FROM turns ORDER BY sequence"):
        state.turns.append(TurnRecord(*row))
    for row in database.read(f"SELECT {_POST} FROM posts ORDER BY sequence"):  # noqa: S608 - the same
        state.posts.append(PostRecord(**dict(zip(PostRecord.__struct_fields__, row, strict=True))))
    for row in database.read(f"SELECT {_EVENT} FROM events ORDER BY id"):  # noqa: S608 - the same
        state.events.append(EventRecord(**dict(zip(EventRecord.__struct_fields__, row, strict=True))))
    for session_id, runtime, ref, thread_id in database.read("SELECT session_id, runtime, ref, thread_id FROM places"):
        state.places.append(PlaceRecord(session_id, runtime, _REF.decode(ref), thread_id))
    for platform, message_id in database.read("SELECT platform, message_id FROM seen"):
        state.seen.setdefault(platform, set()).add(message_id)
    state.schedules = dict(database.read("SELECT key, handled_at FROM schedules"))
    state.read_up_to = dict(database.read("SELECT platform, message_id FROM marks"))
    return state
