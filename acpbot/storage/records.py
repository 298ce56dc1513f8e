"""What is kept over a restart, as plain values: one struct for each table of the store."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TurnState = Literal["queued", "running"]
Fate = Literal["deliver", "leave", "retract"]


class LastEnd(msgspec.Struct, frozen=True, gc=False):
    """How a thread's session before ended.

    ``at``: RFC 3339 UTC. ``exit_code``: the leader's, minus the number of the signal that ended it; ``None`` where it
    is not known. ``detail``: why, as one line; ``None`` where ``reason`` says all.
    """

    at: str
    reason: str
    exit_code: int | None = None
    detail: str | None = None


class ThreadRecord(msgspec.Struct, gc=False):
    """One chat thread: what is known of it while the daemon runs, and what is stored of it.

    ``acp_session_id`` is what a resume needs. ``created_at``: RFC 3339 UTC.
    ``used_at``: when its last turn or session ended, or it began (Unix time, seconds). ``chosen``: what people set
    (``mode``, ``model`` or a config option) and the next session sets again; replaced, never changed in place.
    ``adopted``: the ACP session was begun elsewhere, so it is not acpbot's to delete.
    ``removal_notice_at``: when the thread read that its folder will be deleted (Unix time), ``None``: not yet.
    ``channel``: the channel that the thread belongs to, by its platform's id; ``None`` where it belongs to none, and
    where that is not known yet. ``last_end``: of its session before, ``None`` where there was none. ``ran_in``: the
    kind of place where its agent ran last, ``None`` where that was this machine, or none has run.

    There may be many thousands of them, and none can be part of a cycle, so the garbage collector skips them.
    """

    thread_id: str
    platform: str
    agent: str
    owner: str | None
    title: str | None
    created_at: str
    used_at: float
    acp_session_id: str | None = None
    resumable: bool = False
    turns: int = 0
    chosen: dict[str, str] = {}
    removal_notice_at: float | None = None
    adopted: bool = False
    channel: str | None = None
    last_end: LastEnd | None = None
    ran_in: str | None = None


class KnownThread(msgspec.Struct, gc=False):
    """A thread that the bot opened, or was mentioned in. It outlives the thread's conversation.

    ``used_at``: when the bot took part in it, to the day (Unix time, seconds). ``other_bots``: whether other bots write
    in it too; ``None``: nobody has looked. ``expired``: its conversation was forgotten because it was not used for too
    long, and the thread has not read so yet. ``begun_anew_at``: when somebody has had its conversation forgotten last
    (Unix time, seconds); 0: nobody has.
    """

    thread_id: str
    platform: str
    used_at: float
    other_bots: bool | None = None
    expired: bool = False
    begun_anew_at: float = 0.0


class CostRecord(msgspec.Struct, frozen=True):
    """What an agent has cost in a thread, in one currency (a code of ISO 4217), over all its sessions.

    ``reported``: what it said last that its ACP session has cost; that session is ``acp_session_id``.
    """

    thread_id: str
    agent: str
    currency: str
    amount: float = 0.0
    acp_session_id: str = ""
    reported: float = 0.0


class PlaceRecord(msgspec.Struct, frozen=True):
    """Where a session runs. ``ref`` is a JSON object that the place's runtime understands.

    ``thread_id``: the session's thread, ``None`` for a process of no session.
    """

    session_id: str
    runtime: str
    ref: dict[str, Any]
    thread_id: str | None = None


class TurnRecord(msgspec.Struct, frozen=True):
    """A turn that has not ended. ``message`` is what the chat needs to make it again, in the chat's own form."""

    turn_id: str
    thread_id: str
    platform: str
    state: TurnState
    message: bytes


class PromptRecord(msgspec.Struct, frozen=True):
    """The last prompt of a thread, in the chat's own form. ``files`` ``None``: there are none, or they are dropped."""

    thread_id: str
    message: bytes
    has_files: bool = False
    files: bytes | None = None


class PostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the bot's own that is not yet delivered in its final form.

    ``fate`` is what a restart does with it: ``deliver`` it as it is here, ``leave`` it as it is, ``retract`` it.
    ``sent``: the text that was sent first, or may have been: what the platform shows then may differ from ``content``.
    ``pings``: the only user whom it notifies. ``message_id``: the platform's, once it is sent. ``created_at``: Unix
    time. ``components`` are JSON.
    """

    nonce: str
    channel_id: str
    fate: Fate
    content: str
    components: bytes = b"[]"
    file_name: str | None = None
    file: bytes | None = None
    reply_to: str | None = None
    message_id: str | None = None
    created_at: float
    sent: str | None = None
    pings: str | None = None


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that mattered: to a session, or to the daemon. ``id`` grows; ``at``: RFC 3339 UTC.

    ``reason``: why, as one word of the kind's own; ``exit_code`` as the leader's; ``detail``: more of it, as one line.
    """

    id: int
    at: str
    kind: str
    thread_id: str | None = None
    session_id: str | None = None
    agent: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    detail: str | None = None


class RestoredState(msgspec.Struct):
    """What an earlier daemon stored. ``seen`` and ``read_up_to`` are by platform: see :meth:`Store.read_up_to`.

    ``schedules``: up to which time (Unix, seconds) the runs of each entry of ``[[schedule]]`` are dealt with.
    """

    threads: list[ThreadRecord] = []
    known_threads: list[KnownThread] = []
    costs: list[CostRecord] = []
    places: list[PlaceRecord] = []
    turns: list[TurnRecord] = []
    posts: list[PostRecord] = []
    events: list[EventRecord] = []
    seen: dict[str, set[int]] = {}
    read_up_to: dict[str, int] = {}
    schedules: dict[str, float] = {}


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what. ``id`` grows with time; ``uid`` and ``pid`` are ``None`` where acpbot did it by itself."""

    id: int
    at: str
    uid: int | None
    pid: int | None
    method: str
    target: str
    outcome: str
