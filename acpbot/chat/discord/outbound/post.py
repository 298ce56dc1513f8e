"""A message of the bot's own: what it should say, and how far its delivery is.

These are the states of a delivery. :meth:`Post.move_to` refuses every change that is not in this table.

===========  ==========================================================  =======================
state        meaning                                                     next state
===========  ==========================================================  =======================
QUEUED       no request has been made                                    SENDING, REFUSED, DELETED
SENDING      a request has been made; whether it took effect is unknown  SENT, REFUSED
UNCONFIRMED  the same, but an earlier run of the daemon made it          SENT, REFUSED, DELETED
SENT         Discord has the message; edits bring it up to date          REFUSED, DELETING
REFUSED      Discord does not take the message, or no more edits of it   DELETING
DELETING     the message waits to be deleted                             DELETED
DELETED      the message does not exist, or can't be deleted
===========  ==========================================================  =======================
"""

from __future__ import annotations

import enum
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from acpbot.chat.discord.outbound.rest import File
from acpbot.logs import get_logger
from acpbot.storage.records import PostRecord

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from acpbot.chat.discord.outbound.rest import RequestRefused
    from acpbot.storage.store import Store

    Components = Sequence[dict[str, Any]]
    Content = tuple[str, Components]

log = get_logger(__name__)

OnRestart = Literal["deliver", "leave", "retract"]
"""What a daemon does with a post that the run before it did not finish: deliver it, leave it as it is, delete it."""


class PostState(enum.Enum):
    """How far the delivery of a post is; see the table above."""

    QUEUED = enum.auto()
    SENDING = enum.auto()
    UNCONFIRMED = enum.auto()
    SENT = enum.auto()
    REFUSED = enum.auto()
    DELETING = enum.auto()
    DELETED = enum.auto()


_NEXT: Final = {
    PostState.QUEUED: {PostState.SENDING, PostState.REFUSED, PostState.DELETED},
    PostState.SENDING: {PostState.SENT, PostState.REFUSED},
    PostState.UNCONFIRMED: {PostState.SENT, PostState.REFUSED, PostState.DELETED},
    PostState.SENT: {PostState.REFUSED, PostState.DELETING},
    PostState.REFUSED: {PostState.DELETING},
    PostState.DELETING: {PostState.DELETED},
    PostState.DELETED: set(),
}


class Post:
    """A message of the bot's own in a channel.

    ``wanted`` is what it should say: text, and Discord's message components. ``delivered`` is what Discord shows for
    certain (``None``: unknown), ``sent`` what the first request says. ``pings``: the only user whom it notifies.
    ``message_id`` is there from SENT on; ``error``
    is Discord's answer where the state is REFUSED. The store keeps a post until Discord shows what is wanted:
    ``on_restart`` is what the next run of the daemon does with it, and ``restart_content`` the text that it says then,
    where that is not ``wanted``; buttons of a post that it leaves as it is are taken away. ``as_file``: where Discord
    refuses the text, it goes as a file. ``ready``: what it should say is known once that is done, and until then it is
    not in the store. ``frozen``: no edits, since somebody else is about to make one. ``growing``: more text follows.
    ``crashes``: tries that failed for a reason that nobody knows. ``first_try``: monotonic seconds. ``created_at``:
    Unix time. ``on_change`` is called after every change of what is wanted; ``on_settled`` once, when nothing is left
    to do: Discord shows what is wanted for good, or does not take it, or the message is deleted.
    """

    __slots__ = (
        "_is_saved_with_text",
        "_on_change",
        "_store",
        "as_file",
        "channel_id",
        "crashes",
        "created_at",
        "delivered",
        "error",
        "file",
        "first_try",
        "frozen",
        "growing",
        "message_id",
        "nonce",
        "on_refused",
        "on_restart",
        "on_settled",
        "pings",
        "ready",
        "refused_edits",
        "reply_to",
        "restart_content",
        "retracted",
        "sent",
        "state",
        "urgent",
        "wanted",
    )

    def __init__(
        self,
        channel_id: str,
        wanted: Content,
        *,
        store: Store,
        on_change: Callable[[Post], None],
        created_at: float,
        file: File | None = None,
        reply_to: str | None = None,
        pings: str | None = None,
        on_refused: Callable[[], object] | None = None,
        on_restart: OnRestart = "deliver",
        restart_content: str | None = None,
        ready: asyncio.Future[Any] | None = None,
        growing: bool = False,
        as_file: bool = False,
        nonce: str | None = None,
    ) -> None:
        self.channel_id = channel_id
        self.as_file = as_file
        self.wanted = wanted
        self._store = store
        self._on_change = on_change
        self.created_at = created_at
        self.file = file
        self.reply_to = reply_to
        self.pings = pings
        self.on_refused = on_refused
        self.on_restart = on_restart
        self.restart_content = restart_content
        self.ready = ready
        self.growing = growing
        self.on_settled: Callable[[], object] | None = None
        self.nonce = nonce or secrets.token_hex(12)
        self.state = PostState.QUEUED
        self.sent: Content = wanted
        self.delivered: Content | None = None
        self.message_id: str | None = None
        self.error: RequestRefused | None = None
        self.first_try = 0.0
        self.refused_edits = 0
        self._is_saved_with_text = growing and restart_content is not None
        self.crashes = 0
        self.urgent = False
        self.frozen = False
        self.retracted = False

    @classmethod
    def from_record(cls, record: PostRecord, *, store: Store, on_change: Callable[[Post], None]) -> Post:
        """The post that an earlier run of the daemon did not finish. ``fate`` in the store is ``on_restart`` here."""
        try:
            components = msgspec.json.decode(record.components)
        except msgspec.MsgspecError:
            log.exception("post_unreadable", channel=record.channel_id)
            components = []
        post = cls(
            record.channel_id,
            (record.content, components),
            store=store,
            on_change=on_change,
            created_at=record.created_at,
            file=None if record.file is None else File(record.file_name or "file.txt", record.file),
            reply_to=record.reply_to,
            pings=record.pings,
            on_restart="leave" if record.fate == "leave" else "deliver",
            as_file=True,
            nonce=record.nonce,
        )
        post.message_id = record.message_id
        post.state = PostState.UNCONFIRMED if record.message_id is None else PostState.SENT
        post.retracted = record.fate == "retract"
        post.urgent = True
        if record.sent is not None:
            post.sent = record.sent, components
        return post

    def save(self) -> None:
        """Write down what the next run of the daemon does with it; nothing where Discord refuses it."""
        if self.error is not None or (self.ready is not None and not self.ready.done()):
            return
        content, components = self.wanted if self.restart_content is None else (self.restart_content, ())
        record = PostRecord(
            nonce=self.nonce,
            channel_id=self.channel_id,
            fate="retract" if self.retracted else self.on_restart,
            content=content,
            components=msgspec.json.encode(components),
            file_name=None if self.file is None else self.file.filename,
            file=None if self.file is None else self.file.data,
            reply_to=self.reply_to,
            message_id=self.message_id,
            created_at=self.created_at,
            sent=self.sent[0],
            pings=self.pings,
        )
        self._store.save_post(record)

    def grow(self, content: str, at_restart: str | None, components: Components = ()) -> None:
        """Have it say this for now. ``at_restart``: what the next run of the daemon has it say, if that is other text.

        It is saved when an edit is about to say it: :meth:`save_growing`.
        """
        self.wanted = content, components
        self.on_restart, self.restart_content = "leave" if at_restart is None else "deliver", at_restart
        self._on_change(self)

    def save_growing(self) -> None:
        """Save a post that grows, where the next run of the daemon would have to change what it says, or would have."""
        if self.growing and (self.restart_content is not None or self._is_saved_with_text):
            self._is_saved_with_text = self.restart_content is not None
            self.save()

    def show(self, content: str, components: Components | None = None, *, last: bool = False) -> None:
        """Have it say this. ``last``: for good, and without waiting for the pace of progress."""
        self.wanted = content, self.wanted[1] if components is None else components
        if last:
            self.urgent, self.growing, self.on_restart, self.restart_content = True, False, "deliver", None
        if self.on_restart == "deliver" and self.restart_content is None:
            self.save()
        self._on_change(self)

    def freeze(self) -> None:
        """Make no edits until :meth:`unfreeze`: somebody else is about to make one."""
        self.frozen = True

    def unfreeze(self, *, delivered: bool = False, components: Components | None = None) -> None:
        """Make edits again. ``delivered``: what is wanted was delivered meanwhile; ``components``: only these were."""
        self.frozen = False
        if delivered:
            self.delivered = self.wanted
        elif components is not None:
            if self.growing and self.wanted[1]:
                self.wanted = self.wanted[0], components
            if self.delivered is not None:
                self.delivered = self.delivered[0], components
        self._on_change(self)

    def retract(self) -> None:
        """Do not send it, or delete it."""
        self.retracted = True
        self.save()
        self._on_change(self)

    def settled(self) -> None:
        """Nothing is left to do."""
        on_settled, self.on_settled = self.on_settled, None
        if on_settled is not None:
            on_settled()

    def move_to(self, state: PostState) -> None:
        """Change the state. Raises RuntimeError where the table above does not allow it."""
        if state not in _NEXT[self.state]:
            raise RuntimeError(f"cannot change the delivery of {self.nonce} from {self.state.name} to {state.name}")
        self.state = state
