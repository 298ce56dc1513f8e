"""One turn: a prompt, who listens to its answer, and the permissions that it waits for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from acpbot.acp import permissions
from acpbot.acp.schema import AUTH_REQUIRED, CANCELLED_ERROR, PermissionOption, PromptCapabilities
from acpbot.errors import Conflict, InvalidParams
from acpbot.logs import get_logger
from acpbot.sessions.permission_action import Action
from acpbot.sessions.questions import QuestionListener

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acpbot.acp.connection import PermissionAsked, PromptEnded
    from acpbot.acp.schema import Update
    from acpbot.acp.usage import Cost
    from acpbot.errors import AcpbotError

log = get_logger(__name__)

PermissionOutcome = Literal["selected", "cancelled", "expired"]
AnswerReason = Literal[
    "policy",
    "always",
    "timeout",
    "too_many",
    "no_turn",
    "no_options",
    "unshown",
    "changed",
    "repeated_id",
    "unreadable",
]
"""Why acpbot answers a permission request by itself."""
Blocks = list[dict[str, Any]]
Fit = Callable[[Blocks, PromptCapabilities], Blocks]


_LINE_MAX: Final = 200
_TITLE_MAX: Final = 1000

NOT_SIGNED_IN: Final = "The agent isn't signed in. Ask your admin."
"""What people in a chat read of an agent that wants its operator to sign in."""
ANSWERED: Final = "This request was already answered."
UNCHECKED: Final = "I couldn't check whether this message may run, so I didn't run it. An admin can check the log."
OPERATOR: Final = "operator"
"""Who has cancelled a turn by ``acpctl``: no person of a chat platform."""
DEFERRED: Final = "kept"
"""The stop reason of a turn that is deferred until the daemon's next start; the value is the wire's."""


class TurnFacts(msgspec.Struct, frozen=True):
    """What a turn that ran has taken: ``seconds``, and ``cost``; tokens in the context at its end, and how many fit.

    ``model`` is the name of the model in force. ``None`` is unknown.
    """

    agent: str
    model: str | None
    seconds: float
    context_used: int | None
    context_size: int | None
    cost: Cost | None


class TurnEnd(msgspec.Struct, frozen=True):
    """How a turn ended: ACP's stop reason, or ``error`` with a sentence for people.

    ``detail``: the same for operators, where that says more.

    ``kept``: it never ran, and waits on disk until the daemon is started again. ``reason``: what the agent itself
    names as the reason in ``error``; its answer may hold the same. ``facts``: ``None`` where it never ran.
    ``cancelled_by``: the platform's id of the person who has cancelled it, or :data:`OPERATOR`. ``at_limit``: it was
    cancelled since it has taken as long as a turn may. ``interrupted``: it was cancelled for another one to run now.
    """

    stop_reason: str
    error: str | None = None
    reason: str = ""
    facts: TurnFacts | None = None
    cancelled_by: str | None = None
    at_limit: bool = False
    interrupted: bool = False
    detail: str = ""

    @property
    def for_operators(self) -> str | None:
        """``detail``, else ``error``."""
        return self.detail or self.error


def failed(error: AcpbotError) -> TurnEnd:
    """How a turn ends that this error ends."""
    return TurnEnd("error", error.for_people, detail=str(error))


def last_answer(answer: TurnEnd | None, end: TurnEnd, reason: str) -> TurnEnd:
    """How the running turn of a session ends that ends: by its ``answer``, where there is one, else by ``end``."""
    if answer is None or reason == "crashed":
        return end
    if reason == "stuck" and answer.stop_reason == "cancelled":
        return TurnEnd("cancelled", end.for_operators)
    if answer.stop_reason == "cancelled" and answer.error is None and answer.cancelled_by is None:
        return TurnEnd("cancelled", end.error)  # nobody has cancelled it: the end of the session has
    return answer


def session_over(reason: str, detail: str | None, for_people: str) -> TurnEnd:
    """How the turns of a session end that has ended; ``for_people`` is empty where ``detail`` is a sentence for all."""
    stop_reason = "cancelled" if reason in {"killed", "suspended"} else "error"
    return TurnEnd(stop_reason, for_people or detail, detail=(for_people and detail) or "")


class PermissionNote(msgspec.Struct, frozen=True):
    """``text`` is a clause of our own (``Allowed by policy``), ``action`` the agent's text that it is about."""

    text: str
    action: str = ""

    @property
    def line(self) -> str:
        """Both on one line, without markup."""
        return f"{self.text}: {self.action}" if self.action else f"{self.text}."


class Place(msgspec.Struct, frozen=True):
    """Where a turn waits: ``ahead`` turns of its thread are before it.

    ``in_line``: the place of its thread among those that wait for an agent, 1 is the next one; ``None``: it has one.
    ``busy``: how many agents there are, where all are busy, else 0. ``start``: what the start of its agent does now, in
    a few words, such as 'Fetching the image, 40%'; empty where it has said nothing, and once the agent has started.
    ``may_interrupt``: a turn runs that can be cancelled for this one. ``is_next``: one is being cancelled for it.
    """

    ahead: int
    in_line: int | None = None
    busy: int = 0
    start: str = ""
    may_interrupt: bool = False
    is_next: bool = False


class TurnListener(QuestionListener, Protocol):
    """Who follows a turn. The calls come on the event loop, in order, and may not block."""

    def on_started(self) -> None:
        """The prompt has been sent."""

    def on_update(self, update: Update) -> None:
        """A piece of the turn's content: a message or thought chunk, a tool call, a plan, or a kind not known here."""

    def on_permission_request(self, ask: PermissionRequest) -> None:
        """The agent waits for a permission; answer it by :meth:`PermissionRequest.select`."""

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        """A permission request was answered, or no longer needs an answer; ``ask.outcome`` says which."""

    def on_permission_note(self, note: PermissionNote) -> None:
        """A permission request was answered, and no person did it."""

    def on_ended(self, end: TurnEnd) -> None:
        """The turn is over; nothing follows. Called once for every turn that was accepted, run or not."""


class PermissionRequest:
    """One permission request. ``request`` is the daemon's own name for it, never reused.

    ``line`` is what it is for, on one line. ``withheld``: why it can't be allowed, as a clause; then ``options`` are
    rejections only. ``expires_at``: Unix time. ``reason``: why acpbot has answered it by itself, else ``None``.
    ``answered_by``: the chat user who has answered it. ``opened``: people were asked. ``on_resolved`` is called once,
    with the option that was chosen (``None``: cancelled).
    """

    def __init__(
        self,
        request: str,
        asked: PermissionAsked,
        action: Action,
        *,
        tool_call_id: str | None,
        timeout_seconds: float,
        expires_at: float,
        on_resolved: Callable[[PermissionRequest, PermissionOption | None], None],
    ) -> None:
        self.request = request
        self.asked = asked
        self._action = msgspec.json.encode(action)  # decoded it takes many times the memory
        self.line = action.line(_LINE_MAX)
        self.withheld = action.cut
        self.tool_call_id = tool_call_id
        self.title = action.title[:_TITLE_MAX] or "a tool"
        self.kind = action.kind
        self.timeout_seconds = timeout_seconds
        self.expires_at = expires_at
        self.outcome: PermissionOutcome | None = None
        self.chosen: PermissionOption | None = None
        self.reason: AnswerReason | None = None
        self.answered_by: str | None = None
        self.opened = False
        self._on_resolved = on_resolved

    @property
    def action(self) -> Action:
        """What it is for; made anew at each access."""
        return msgspec.json.decode(self._action, type=Action)

    @property
    def options(self) -> Sequence[PermissionOption]:
        """The answers that a person may choose."""
        offered = self.asked.params.options
        return offered if self.withheld is None else [one for one in offered if one.kind in permissions.REJECT]

    def withhold(self, why: str) -> None:
        """Let nobody allow it: the person who would could not see all of it. ``why``: a clause for people."""
        self.withheld = self.withheld or why

    def select(self, option_id: str, *, by: str | None = None) -> None:
        """Answer with an option. ``by``: the chat user who does; ``None`` is nobody whom acpbot knows.

        Raises Conflict (answered already), InvalidParams (no such option, or it can't be allowed).
        """
        option = next((option for option in self.options if option.option_id == option_id), None)
        if option is None:
            if self.withheld is not None and any(one.option_id == option_id for one in self.asked.params.options):
                people = f"This request can't be allowed: {self.withheld}."
                raise InvalidParams(f"cannot allow this request: {self.withheld}", for_people=people)
            offered = ", ".join(option.option_id for option in self.options)
            raise InvalidParams(f"cannot choose {option_id!r}: the options are {offered or 'none'}")
        if self.outcome is not None:
            raise Conflict(f"cannot answer: this permission request was already {self.outcome}", for_people=ANSWERED)
        self.answered_by = by
        self.resolve("selected", option)

    def reject(self, outcome: PermissionOutcome, reason: AnswerReason) -> None:
        """Answer with the mildest rejection on offer (``cancelled`` to the agent where there is none)."""
        self.resolve(outcome, permissions.choose(self.options, permissions.REJECT), reason)

    def resolve(
        self, outcome: PermissionOutcome, option: PermissionOption | None, reason: AnswerReason | None = None
    ) -> None:
        """Send the answer, once; later calls change nothing. ``reason``: why acpbot answers by itself."""
        if self.outcome is None:
            self.outcome, self.chosen, self.reason = outcome, option, reason
            self._on_resolved(self, option)

    # As what asks outside turns calls it: see AfterTurn.

    def show_in(self, listener: TurnListener) -> None:
        """Have the listener ask for it."""
        listener.on_permission_request(self)

    def show_end_in(self, listener: TurnListener) -> None:
        """Have the listener show that it needs no answer any more."""
        listener.on_permission_resolved(self)

    def refuse(self, reason: Literal["no_turn", "unshown"]) -> None:
        """Answer that nobody has been asked."""
        self.reject("cancelled", reason)


@dataclass(eq=False)
class Turn:
    """A prompt on its way. ``key`` names the chat message that it came from; ``text`` is what a person typed.

    ``title`` is what a thread that begins with it is named after, where that is not its text.

    ``asker`` is the platform's id of the person who asked for it; ``None``: an operator, whom no limit counts.

    ``fit`` makes of the blocks those that the agent takes, once the agent's capabilities are known; ``command_alone``
    makes the blocks of a prompt that is a command of the agent, of its text. ``message`` is what the chat needs to make
    the turn again after a restart; ``None``: a restart loses it. ``turn_id`` stays the same over
    restarts; ``recovered``: an earlier daemon accepted it. ``check`` is awaited before the turn runs, and may revise or
    withdraw it; it returns why the turn may not run, a sentence for people, or ``None``.
    """

    blocks: Blocks
    listener: TurnListener
    _: KW_ONLY
    text: str
    title: str = ""
    key: str = ""
    asker: str | None = None
    fit: Fit | None = None
    command_alone: Callable[[str], Blocks] | None = None
    message: bytes | None = None
    turn_id: str = field(default_factory=partial(secrets.token_hex, 8))
    recovered: bool = False
    check: Callable[[], Awaitable[str | None]] | None = None
    lost_access: Callable[[], Awaitable[str | None]] | None = None
    """Asked after a reload: a sentence for people where the asker certainly may not use the bot any more."""
    on_place: Callable[[Place], None] | None = None
    """Called with the turn's place while it waits, whenever that has changed."""
    place: Place | None = None
    started: bool = False
    """Whether its listener knows that it has started."""
    prompt_id: int | None = None
    """The request that the agent is to answer, once it was sent."""
    cancelled_at: float | None = None
    cancel_reason: str | None = None
    """Why it was cancelled, a sentence for people; ``None``: a person asked for it."""
    cancelled_by: str | None = None
    """As :attr:`TurnEnd.cancelled_by`."""
    at_limit: bool = False
    """As :attr:`TurnEnd.at_limit`."""
    now: bool = False
    """It goes before others that wait, and the running turn is cancelled for it."""
    interrupted: bool = False
    """As :attr:`TurnEnd.interrupted`."""
    end: TurnEnd | None = None
    counted: Callable[[TurnEnd], None] | None = None
    """Called with the end of a turn that has started, to count it."""

    def waits_at(self, place: Place) -> None:
        """Report the turn's place, where it is another one than before."""
        if place == self.place:
            return
        self.place = place
        try:
            if self.on_place is not None:
                self.on_place(place)
        except Exception:
            # Whoever shows places must not keep turns from running.
            log.exception("turn_listener_failed", turn=self.turn_id)

    def finish(self, end: TurnEnd) -> None:
        """Report to the listener that the turn is over; later calls change nothing."""
        if self.end is not None:
            return
        self.end = end
        try:
            if self.counted is not None:
                self.counted(end)
            self.listener.on_ended(end)
        except Exception:
            # A listener's defect must not keep a session from ending, nor other turns.
            log.exception("turn_listener_failed", turn=self.turn_id)


async def refusal_of(turn: Turn) -> str | None:
    """Why a turn that is about to run may not, as its check says; a check that fails refuses it too."""
    try:
        return None if turn.check is None else await turn.check()
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        # Broad: whatever has failed, nobody knows whether the turn may run, so it does not.
        log.exception("turn_check_failed", turn=turn.turn_id)
        return UNCHECKED


def finish_all(turns: list[Turn], end: TurnEnd) -> None:
    """End all of these turns, and empty the list."""
    for turn in turns:
        turn.finish(end)
    turns.clear()


def cancelled(turn: Turn) -> TurnEnd:
    """How a turn ends that was cancelled."""
    return TurnEnd(
        "cancelled",
        turn.cancel_reason,
        cancelled_by=turn.cancelled_by,
        at_limit=turn.at_limit,
        interrupted=turn.interrupted,
    )


def end_of(turn: Turn, ended: PromptEnded) -> TurnEnd:
    """How a turn ended that the agent has answered."""
    if turn.cancelled_at is not None:
        return cancelled(turn)  # as ACP requires; some say end_turn or answer with an error
    if ended.error is None:
        return TurnEnd(ended.stop_reason or "end_turn")
    if ended.error.code == CANCELLED_ERROR:
        return TurnEnd("cancelled")
    if ended.error.code == AUTH_REQUIRED:
        return TurnEnd("error", NOT_SIGNED_IN)
    log.warning("prompt_refused", turn=turn.turn_id, reason=str(ended.error))
    detail = "" if ended.error.said else str(ended.error)
    return TurnEnd("error", ended.error.for_people, ended.error.core, detail=detail)
