"""Where one turn is shown in Discord: the live message as posts of its thread, and all that goes with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from acpbot.chat.discord.outbound.reactions import Event, end_event
from acpbot.chat.discord.outbound.rest import BAD_REQUEST, File, Refused, Unreachable
from acpbot.chat.rendering.formatting import diffs
from acpbot.chat.rendering.live_message import LiveMessage
from acpbot.chat.rendering.tables import Tables
from acpbot.logs import get_logger
from acpbot.text import is_blank

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    from acpbot.acp.schema import Update
    from acpbot.chat.discord.access import CurrentSettings
    from acpbot.chat.discord.interactions.permission_prompts import PermissionPrompts
    from acpbot.chat.discord.outbound.outbox import Outbox, Post
    from acpbot.chat.discord.outbound.reaction_updater import ReactionUpdater
    from acpbot.chat.platform import IncomingMessage
    from acpbot.sessions.turn import PermissionRequest, TurnEnd
    from acpbot.storage.records import Fate

log = get_logger(__name__)

LIMIT: Final = 2000
FILE_MAX: Final = 8 * 1024 * 1024
"""Bytes of one attached file; Discord takes 10 MiB."""

_DIFFS_MOST: Final = 10
_FALLBACK_BODIES: Final = 50
_TYPING_SECONDS: Final = 8.0

_STOPPED: Final = {
    "cancelled": "⏹️ Cancelled.",
    "refusal": "The agent refused to go on.",
    "max_tokens": "The answer was cut: it has reached the model's limit of tokens.",
    "max_turn_requests": "The agent stopped: it has reached its limit of requests in one turn.",
}


class DiscordMessage(LiveMessage):
    """A live message whose tables are made fit for Discord as they come in."""

    def __init__(self, settings: CurrentSettings) -> None:
        super().__init__(limit=LIMIT, tool_display=settings.discord.tool_display)
        self._tables = Tables(settings.markdown.tables)

    def append(self, text: str) -> None:
        """Add a chunk of the agent's text."""
        super().append(self._tables.feed(text))

    def finish(self) -> None:
        """The text has ended."""
        super().append(self._tables.finish())


class DiscordTurnView:
    """One turn. Nothing here waits: what is to be seen is handed to the outbox, which paces itself.

    ``cwd`` gives the folder in which the thread's agent works, empty where nobody knows; ``deleted`` holds the ids of
    messages that somebody has deleted lately. ``turn_started`` and ``turn_over`` are called with the view when the turn
    runs, and when it has ended. ``undelivered`` is called once where Discord takes no more messages in the thread.
    """

    def __init__(
        self,
        incoming: IncomingMessage,
        *,
        outbox: Outbox,
        reactions: ReactionUpdater,
        prompts: PermissionPrompts,
        show_diffs: bool,
        cwd: Callable[[str], str],
        deleted: Container[str],
        turn_started: Callable[[DiscordTurnView], None],
        turn_over: Callable[[DiscordTurnView], None],
        undelivered: Callable[[DiscordTurnView, Refused], None],
    ) -> None:
        self.incoming = incoming
        self.thread_id = incoming.thread_id
        self.asker_id = incoming.owner
        self.end: TurnEnd | None = None
        self._outbox = outbox
        self._reactions = reactions
        self._prompts = prompts
        self._show_diffs = show_diffs
        self._cwd = cwd
        self._deleted = deleted
        self._turn_started = turn_started
        self._turn_over = turn_over
        self._on_undelivered = undelivered
        self._live: LiveMessage | None = None
        self._settled: Callable[[], None] | None = None
        self._posts: list[Post] = []
        self._note: Post | None = None
        self._typing: asyncio.Task[None] | None = None
        self._diffs: set[tuple[str, str]] = set()
        self._started = False
        self._end_told = False
        self._loss_told = False
        self._said_anew: set[int] = set()

    # What the chat tells.

    def queued(self, before: int) -> None:
        """Tell the user how many messages are before theirs."""
        words = "1 message is" if before == 1 else f"{before} messages are"
        words = f"👀 Queued: {words} before this one."
        self._note = self._outbox.post(self.thread_id, words, reply_to=self.incoming.key, fate="retract")

    def end_is_told(self, text: str) -> None:
        """The thread is told this right after the end: what it says need not be said twice."""
        if self.end is not None and self.end.error is not None and self.end.error.casefold() in text.casefold():
            self._end_told = True

    # Surface.

    def on_started(self) -> None:
        """The turn runs now."""
        self._started = True
        self._drop_note()
        self._reactions.on(Event.THINKING)
        self._type()
        self._turn_started(self)

    def on_update(self, live: LiveMessage, update: Update) -> None:
        """Something has been added."""
        self._live = live
        self._reactions.update(update)
        if self._show_diffs and update.kind in {"tool_call", "tool_call_update"}:
            self._show(update.body)
        self._outbox.refresh(self.thread_id, self._render)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """Show the buttons."""
        self._rest_typing()
        self._reactions.on(Event.ASKED)
        if self._show_diffs:
            self._show(ask.asked.params.tool_call)
        self._prompts.asked(self.thread_id, self.asker_id, ask)

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """Take the buttons away."""
        self._reactions.on(Event.ANSWERED)
        self._type()
        self._prompts.ended(ask)

    def on_ended(self, live: LiveMessage, end: TurnEnd, settled: Callable[[], None]) -> None:
        """Deliver all of it, in the loop's next step at the latest: what becomes of the session is told in this one."""
        self._live, self.end, self._settled = live, end, settled
        self._rest_typing()
        self._drop_note()
        self._reactions.on(end_event(end.stop_reason))
        self._turn_over(self)
        asyncio.get_running_loop().call_soon(self._conclude)

    def on_deferred(self) -> None:
        """It is shown again when it runs."""
        self._drop_note()
        self._turn_over(self)

    def _conclude(self) -> None:
        """Hand the whole answer over, if it was not yet: what is said of the session's end is said after it."""
        self._outbox.refresh(self.thread_id, self._render, urgent=True)
        self._outbox.bring_up_to_date(self.thread_id)

    # The posts.

    def _render(self) -> None:
        """Bring the posts in line with the live message; called when something can be delivered."""
        live = self._live
        if live is None:
            return
        if self.end is not None:
            self._tell_end(live, self.end)
            self._try_again()
        bodies = live.bodies()
        for index, body in enumerate(bodies):
            if index < len(self._posts):
                self._posts[index].show(body, last=self.end is not None)
            else:
                self._posts.append(self._say(index, body))
        for post in self._posts[len(bodies) :]:
            post.retract()
        del self._posts[len(bodies) :]
        if self.end is not None:
            self._attach(live.overflow())
            self._live = None
            if self._settled is not None:  # in this very step: it is kept for delivery, or to be told as lost
                self._settled()

    def _try_again(self) -> None:
        """At the end what was refused is tried once more, and what comes after it again: a permission may be back."""
        unsaid = [index for index, post in enumerate(self._posts) if post.failed and post.message_id is None]
        if unsaid and unsaid[0] not in self._said_anew:
            self._said_anew.update(range(unsaid[0], len(self._posts)))
            for post in self._posts[unsaid[0] :]:
                post.retract()
            del self._posts[unsaid[0] :]

    def _tell_end(self, live: LiveMessage, end: TurnEnd) -> None:
        if isinstance(live, DiscordMessage):
            live.finish()
        if end.stop_reason == "error":
            if not self._end_told:
                live.notice(f"😱 {end.error or 'The turn failed.'}")
        elif end.stop_reason == "cancelled":
            if self._started and end.error is None:
                live.notice(_STOPPED["cancelled"])
        elif end.stop_reason in _STOPPED:
            live.notice(_STOPPED[end.stop_reason])
        elif end.stop_reason != "end_turn":
            live.notice(f"The agent stopped: {end.stop_reason}.")
        elif is_blank("".join(live.bodies())):
            live.notice("The agent ended its turn without saying anything.")

    def _attach(self, rest: str | None) -> None:
        """The rest of a long answer, and only the rest, as files."""
        if rest is None:
            return
        parts = list(cut_bytes(rest, FILE_MAX))
        for number, part in enumerate(parts, 1):
            name = "answer.txt" if len(parts) == 1 else f"answer-{number}.txt"
            file = File(name, part.encode())
            self._outbox.post(self.thread_id, "", file=file, on_failed=lambda part=part: self._spell_out(part))  # type: ignore[misc]

    def _say(self, index: int, body: str) -> Post:
        fate: Fate = "leave" if self.end is None else "deliver"
        return self._outbox.post(self.thread_id, body, on_failed=lambda: self._body_failed(index), fate=fate)

    def _body_failed(self, index: int) -> None:
        """Discord will not take a part. One whose edit is refused is said anew, once, unless people took it away."""
        post = self._posts[index]
        if post.failed is None or (post.message_id is not None and post.message_id in self._deleted):
            return
        if post.failed.status == BAD_REQUEST:
            self._tell_loss(str(post.failed))
        elif index in self._said_anew:
            self._undelivered(post.failed)
        elif post.message_id is not None or self.end is not None:
            self._said_anew.add(index)
            self._posts[index] = self._say(index, post.wanted[0])

    def _undelivered(self, error: Refused) -> None:
        """Nothing can be said here any more."""
        if not self._loss_told:
            self._loss_told = True
            self._reactions.on(Event.ERROR)
            self._on_undelivered(self, error)

    def _tell_loss(self, reason: str) -> None:
        if not self._loss_told:
            self._loss_told = True
            words = f"😱 A part of the answer could not be shown: Discord refused it ({reason})."
            self._outbox.post(self.thread_id, words)

    def _spell_out(self, rest: str) -> None:
        """Files are not allowed here: as messages, as many as are bearable."""
        more = LiveMessage(limit=LIMIT, max_bodies=_FALLBACK_BODIES)
        more.append(rest)
        for body in more.bodies():
            self._outbox.post(self.thread_id, body)
        left = more.overflow()
        if left:
            words = f"The last {len(left):,} characters could not be attached: I need the permission Attach Files here."
            self._outbox.post(self.thread_id, words)

    def _show(self, body: dict[str, Any]) -> None:
        """The file changes of a tool call, each once."""
        for diff in diffs(_relative(body, self._cwd(self.thread_id))):
            key = (diff.path, diff.text)
            if not diff.text or key in self._diffs or len(self._diffs) >= _DIFFS_MOST:
                continue
            self._diffs.add(key)
            block, whole = diff.fenced()
            file = None if whole else File(diff.filename, diff.text.encode()[:FILE_MAX])
            self._post_without_file_at_worst(f"✏️ {diff.summary}\n{block}", file)

    def _post_without_file_at_worst(self, text: str, file: File | None) -> None:
        def refused() -> None:
            self._outbox.post(self.thread_id, text)

        self._outbox.post(self.thread_id, text, file=file, on_failed=refused)

    def _drop_note(self) -> None:
        if self._note is not None:
            self._note.retract()
            self._note = None

    # Signs of life.

    def _type(self) -> None:
        if self._typing is None and self.end is None:
            self._typing = asyncio.create_task(self._keep_typing(), name=f"discord typing {self.thread_id}")

    def _rest_typing(self) -> None:
        if self._typing is not None:
            self._typing.cancel()
            self._typing = None

    async def _keep_typing(self) -> None:
        while True:
            try:
                await self._outbox.rest.typing(self.thread_id)
            except Refused:
                return
            except Unreachable as error:
                log.debug("discord_typing_failed", thread=self.thread_id, error=str(error))
            await asyncio.sleep(_TYPING_SECONDS)


def cut_bytes(text: str, most: int) -> list[str]:
    """The text in parts of at most ``most`` bytes of UTF-8 each (4 at least)."""
    if len(text) * 4 <= most:
        return [text]
    parts: list[str] = []
    data = text.encode()
    start = 0
    while start < len(data):
        end = min(start + most, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            end -= 1
        parts.append(data[start:end].decode())
        start = end
    return parts


def _relative(body: dict[str, Any], cwd: str) -> dict[str, Any]:
    """The body with the paths of its diffs as seen from where the agent works."""
    content = body.get("content")
    if not cwd or not isinstance(content, list):
        return body
    inside = f"{cwd}/"

    def near(item: Any) -> Any:
        path = item.get("path") if isinstance(item, dict) else None
        return {**item, "path": path.removeprefix(inside)} if isinstance(path, str) else item

    return {**body, "content": [near(item) for item in content]}
