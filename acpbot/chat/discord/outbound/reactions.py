"""The emoji on a user's message that says how far the answer is.

:class:`Reactions` is the state machine, without I/O: events and times in, reactions out. :class:`ReactionUpdater` runs
it on the event loop's clock.

One emoji is shown at a time. A state is shown once it has lasted ``debounce_ms``, the first one and the last one at
once: Discord limits how often reactions change. Only QUEUED is held back for a moment: where nothing is before a
message its turn begins at once, and the emoji would be put on just to be taken off.

While the agent works and says nothing new, the emoji turns slow, then very slow, but not very slow while a tool runs;
while a message waits in the queue, or the agent for a person, nothing is slow.

Times are seconds of one clock that never goes back.
"""

from __future__ import annotations

import asyncio
import enum
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from acpbot.acp import schema
from acpbot.chat.discord.outbound.rest import RequestRefused

if TYPE_CHECKING:
    from acpbot.acp.schema import Update
    from acpbot.chat.discord.outbound.outbox import Outbox
    from acpbot.config.settings import ReactionSettings

QUEUED_SECONDS: Final = 0.05
_RUNNING_MAX: Final = 256
_TITLE_MAX: Final = 200
_WORDS: Final = re.compile(r"[a-z]+")
_CODING_KINDS: Final = frozenset({"read", "edit", "delete", "move", "execute"})
_WEB_WORDS: Final = frozenset(
    {"browse", "browser", "crawl", "fetch", "http", "https", "internet", "url", "web", "webfetch", "websearch"}
)
_CODING_WORDS: Final = frozenset(
    {
        *("bash", "command", "create", "delete", "edit", "exec", "execute", "file", "glob", "grep", "list", "patch"),
        *("process", "read", "run", "sh", "shell", "terminal", "write"),
    }
)


class ReactionEvent(enum.Enum):
    """What a message's turn does now."""

    QUEUED = enum.auto()
    THINKING = enum.auto()
    TOOL = enum.auto()
    CODING = enum.auto()
    WEB = enum.auto()
    ASKED = enum.auto()
    """A person is to permit a tool: the emoji stays, and nothing is slow until as many were answered."""
    ANSWERED = enum.auto()
    """A permission needs no more answer."""
    DELIVERING = enum.auto()
    """The turn is over, and its answer on its way: the emoji stays, and nothing is slow."""
    DONE = enum.auto()
    ERROR = enum.auto()
    CANCELLED = enum.auto()
    """The emoji is taken away: the turn was neither answered, nor did it fail."""


_ENDS: Final = frozenset({ReactionEvent.DONE, ReactionEvent.ERROR, ReactionEvent.CANCELLED})
_SHOWN: Final = (
    ReactionEvent.QUEUED,
    ReactionEvent.THINKING,
    ReactionEvent.TOOL,
    ReactionEvent.CODING,
    ReactionEvent.WEB,
    ReactionEvent.DONE,
    ReactionEvent.ERROR,
)
"""The states that have an emoji of their own in the settings."""
STOP_EVENTS: Final = {
    "cancelled": ReactionEvent.CANCELLED,
    "error": ReactionEvent.ERROR,
    "refusal": ReactionEvent.ERROR,
}
"""How a turn ended, by :attr:`TurnEnd.stop_reason`; all other reasons are DONE."""


class Change(NamedTuple):
    """A reaction of ours to add or to remove; ``emoji`` as in the settings."""

    action: Literal["add", "remove"]
    emoji: str


def tool_event(kind: str | None, title: str | None) -> ReactionEvent:
    """What a tool is to a reader: by ACP's tool kind, else by the words of its title.

    Source: https://agentclientprotocol.com/protocol/schema#toolkind.
    """
    if kind in _CODING_KINDS:
        return ReactionEvent.CODING
    if kind == "fetch":
        return ReactionEvent.WEB
    if kind == "think":
        return ReactionEvent.THINKING
    # camelCase and snake_case names are tools' names: webSearch, read_file.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", (title or "")[:_TITLE_MAX]).lower()
    words = frozenset(_WORDS.findall(spaced))
    if words & _WEB_WORDS:
        return ReactionEvent.WEB
    return ReactionEvent.CODING if kind == "search" or words & _CODING_WORDS else ReactionEvent.TOOL


class Reactions:
    """The state of one message. ``queued_before``: QUEUED may be shown already, so it is not held back.

    ``due`` is to be called after every event, and at ``next_wakeup``; what it returned is taken as done. Where no
    reactions are wanted it is always empty. A stall time of 0 turns that emoji off.
    """

    def __init__(self, settings: ReactionSettings, *, queued_before: bool = False) -> None:
        timing = settings.timing
        emojis = settings.emojis
        self._emojis: dict[ReactionEvent | None, str] = {}
        for event in _SHOWN:
            self._emojis[event] = getattr(emojis, event.name.lower())
        self._stall_emojis = emojis.stall_soft, emojis.stall_hard
        self._enabled = settings.enabled
        self._hold_back = 0.0 if queued_before else QUEUED_SECONDS
        self._remove = settings.remove_after_reply
        self._debounce = timing.debounce_ms / 1000
        self._soft = timing.stall_soft_ms / 1000
        self._hard = timing.stall_hard_ms / 1000
        self._hold = {ReactionEvent.DONE: timing.done_hold_ms / 1000, ReactionEvent.ERROR: timing.error_hold_ms / 1000}
        self._state: ReactionEvent | None = None
        self._since = 0.0  # the state's emoji has been the same
        self._heard = 0.0  # the last event
        self._now = 0.0  # the latest time that a caller gave
        self._asked = 0
        self._shown: str | None = None
        self._steady: str | None = None  # what was shown last that was not a stall
        self._running: dict[str, tuple[str | None, str | None]] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing is left to show or to remove."""
        return not self._enabled or (self._state in _ENDS and self._target(float("inf")) == self._shown)

    def on(self, event: ReactionEvent, now: float) -> None:
        """Handle what the turn does now; after an end nothing changes any more, unless it turns out to be an error."""
        if self._state in _ENDS and (event is not ReactionEvent.ERROR or self._state is ReactionEvent.ERROR):
            return
        self._heard = self._now = now
        if event in {ReactionEvent.ASKED, ReactionEvent.DELIVERING}:
            self._asked += 1
        elif event is ReactionEvent.ANSWERED:
            self._asked = max(self._asked - 1, 0)
        else:
            if event in _ENDS or self._emojis.get(event) != self._emojis.get(self._state):
                self._since = now
            self._state = event

    def update(self, kind: str, body: dict[str, Any], now: float) -> None:
        """Handle an ACP update of the turn: the agent works, and the tool that runs says which emoji."""
        if kind in {"tool_call", "tool_call_update"} and (call := schema.tool_call(body)) is not None:
            known = self._running.pop(call.tool_call_id, (None, None))
            if call.status not in {"completed", "failed"} and len(self._running) < _RUNNING_MAX:
                self._running[call.tool_call_id] = (call.kind or known[0], call.title or known[1])
        latest = next(reversed(self._running.values()), None)
        self.on(ReactionEvent.THINKING if latest is None else tool_event(*latest), now)

    def due(self, now: float) -> list[Change]:
        """What to do now, in this order: the new emoji is added before the old one is removed."""
        if not self._enabled:
            return []
        self._now = now
        target = self._target(now)
        if self._stall(now) is None:
            self._steady = target
        if target == self._shown:
            return []
        changes = [] if target is None else [Change("add", target)]
        if self._shown is not None:
            changes.append(Change("remove", self._shown))
        self._shown = target
        return changes

    def next_wakeup(self) -> float | None:
        """When ``due`` has something to do if no event comes before; ``None``: never."""
        if not self._enabled or self._state is None:
            return None
        hold = self._hold.get(self._state, 0.0)
        wakeup = None
        for time in (
            self._since + self._hold_back,
            self._since + self._debounce,
            self._heard + self._soft,
            self._heard + self._hard,
            self._since + hold,
        ):
            if time > self._now and (wakeup is None or time < wakeup) and self._target(time) != self._shown:
                wakeup = time
        return wakeup

    def _target(self, now: float) -> str | None:
        """What should be shown at that time."""
        emoji = self._emojis.get(self._state)
        if self._state in self._hold:
            return None if self._remove and now >= self._since + self._hold[self._state] else emoji
        if self._state is ReactionEvent.QUEUED and self._shown is None and now < self._since + self._hold_back:
            return None
        stall = self._stall(now)
        if stall is not None:
            return stall
        lasting = self._steady is None or emoji is None or now >= self._since + self._debounce
        return emoji if lasting else self._steady

    def _stall(self, now: float) -> str | None:
        """The emoji for a silent agent, where it is silent that long at that time."""
        if self._state is None or self._state in _ENDS or self._state is ReactionEvent.QUEUED or self._asked:
            return None
        soft, hard = self._stall_emojis
        if self._hard and now >= self._heard + self._hard and not self._running:
            return hard
        return soft if self._soft and now >= self._heard + self._soft else None


class ReactionUpdater:
    """Shows how far the answer to one message is, by reactions on it. It begins with QUEUED.

    ``again``: an earlier run of the daemon, or an earlier updater, may have shown QUEUED on the message.
    """

    def __init__(
        self, outbox: Outbox, settings: ReactionSettings, channel_id: str, message_id: str, *, again: bool = False
    ) -> None:
        self._queue = outbox.queue(channel_id)
        self._message_id = message_id
        self._again = again
        self._reactions = Reactions(settings, queued_before=again)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.on(ReactionEvent.QUEUED)

    def on(self, event: ReactionEvent) -> None:
        """Handle what the turn does now."""
        self._reactions.on(event, self._loop.time())
        self._apply()

    def update(self, update: Update) -> None:
        """Handle an update of the turn."""
        self._reactions.update(update.kind, update.body, self._loop.time())
        self._apply()

    def _apply(self) -> None:
        """Make the changes that are due, and come back for the next ones."""
        for change in self._reactions.due(self._loop.time()):
            self._queue.react(self._message_id, change.emoji, add=change.action == "add", repeated=self._again)
            self._again = False
        wakeup = self._reactions.next_wakeup()
        if self._timer is not None and (wakeup is None or wakeup < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and wakeup is not None:
            self._timer = self._loop.call_at(wakeup, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._apply()


async def end_reactions(outbox: Outbox, settings: ReactionSettings, channel_id: str, message_id: str) -> None:
    """Take off the reactions that an earlier run of the daemon put on a message, and show that its turn failed."""
    if not settings.enabled:
        return
    try:
        message = await outbox.message(channel_id, message_id)
    except RequestRefused:
        return  # it is gone, or out of reach
    for reaction in message.get("reactions", ()):
        if reaction.get("me"):
            emoji = reaction["emoji"]
            name = f"{emoji['name']}:{emoji['id']}" if emoji.get("id") else emoji["name"]
            outbox.react(channel_id, message_id, name, add=False)
    outbox.react(channel_id, message_id, settings.emojis.error, add=True)
