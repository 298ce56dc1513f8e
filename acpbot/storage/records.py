"""What is kept over a restart, as plain values: a struct a table of the store."""

from __future__ import annotations

from typing import Literal

import msgspec

TurnState = Literal["queued", "running"]
Fate = Literal["deliver", "leave", "retract"]


class ThreadRecord(msgspec.Struct, frozen=True, gc=False):
    """One thread. ``used_at``: when its last turn ended, or it began (Unix time, seconds).

    There may be many thousands of it, and none can be part of a cycle: the collector need not look at them.
    """

    thread_id: str
    platform: str
    agent: str
    owner: str | None
    cwd: str
    title: str | None
    created_at: str
    used_at: float
    acp_session_id: str | None
    resumable: bool
    turns: int
    chosen: dict[str, str]


class ProcessRecord(msgspec.Struct, frozen=True):
    """The leader of a session's processes. ``start_time``: clock ticks since the boot that ``boot_id`` names."""

    session_id: str
    pid: int
    start_time: int
    boot_id: str


class TurnRecord(msgspec.Struct, frozen=True):
    """A turn that has not come to its end. ``message`` is what the chat needs to make it again, in its own form."""

    turn_id: str
    thread_id: str
    platform: str
    state: TurnState
    message: bytes


class PostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the bot's own that is not yet as it should be.

    ``fate`` is what a restart does with it: ``deliver`` what is here, ``leave`` it as it stands, ``retract`` it.
    ``sent``: the words with which it was sent first, or may have been: what stands then may not be ``content``.
    ``message_id``: the platform's, once it stands. ``created_at``: Unix time. ``components`` are JSON.
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


class RestoredState(msgspec.Struct):
    """What an earlier life left. ``seen`` and ``read_up_to`` are by platform: see :meth:`Store.read_up_to`."""

    threads: list[ThreadRecord] = []
    processes: list[ProcessRecord] = []
    turns: list[TurnRecord] = []
    posts: list[PostRecord] = []
    seen: dict[str, set[int]] = {}
    read_up_to: dict[str, int] = {}
