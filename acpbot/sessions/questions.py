"""The questions of a session's agent to people (``elicitation/create``): time limit, answers, and who has answered.

Source: https://agentclientprotocol.com/protocol/elicitation.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from acpbot.acp import form_values
from acpbot.errors import Conflict, InvalidParams, NotFound
from acpbot.logs import get_logger
from acpbot.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from acpbot.acp.connection import ElicitationAsked
    from acpbot.config.in_force import SettingsInForce
    from acpbot.jsonrpc import Id

log = get_logger(__name__)

MOST_OPEN: Final = 8
"""Questions that may be open at once in a session."""

MOST_ASKED: Final = 64
"""Questions of one turn, and between two turns: each is a message that people read."""

_LINE_MOST: Final = 200

Action = Literal["accept", "decline", "cancel"]
Outcome = Literal["accepted", "declined", "cancelled", "expired", "completed"]
"""``completed``: what was to be done at an address is done, as the agent says."""
Reason = Literal["policy", "timeout", "too_many", "no_turn", "repeated_id", "unshown"]
"""Why acpbot answers by itself."""

_ACTIONS: Final[dict[Outcome, Action]] = {
    "accepted": "accept",
    "completed": "accept",
    "declined": "decline",
    "cancelled": "cancel",
    "expired": "cancel",
}


class QuestionListener(Protocol):
    """Who asks people. The calls come on the event loop, in order, and may not block."""

    def on_question(self, question: Question) -> None:
        """The agent asks people something; :meth:`Question.answer` answers."""

    def on_question_closed(self, question: Question) -> None:
        """A question was answered, or no longer needs an answer; ``question.outcome`` says which."""


class Question:
    """One question. ``request`` is the daemon's own name for it, never reused; ``form`` says what is asked.

    ``line`` is what is asked, on one line. ``expires_at``: Unix time. ``content`` is what was answered. ``reason``: why
    acpbot has answered it by itself, else ``None``. ``answered_by``: the chat user who has answered it. ``opened``:
    people were asked. ``on_resolved`` is called once.
    """

    def __init__(
        self,
        request: str,
        asked: ElicitationAsked,
        *,
        timeout_seconds: float,
        expires_at: float,
        on_resolved: Callable[[Question], None],
    ) -> None:
        self.request = request
        self.request_id = asked.request_id
        self.form = asked.form
        self.line = one_line(asked.form.message, _LINE_MOST) or "a question without a text"
        self.timeout_seconds = timeout_seconds
        self.expires_at = expires_at
        self.outcome: Outcome | None = None
        self.content: dict[str, Any] = {}
        self.reason: Reason | None = None
        self.answered_by: str | None = None
        self.opened = False
        self._on_resolved = on_resolved

    def answer(self, action: Action, content: Mapping[str, Any] | None = None, *, by: str | None = None) -> None:
        """Answer it. ``by``: the chat user who does; ``None`` is nobody whom acpbot knows.

        ``content`` are the values of the form's fields, by their names. Raises Conflict (answered already),
        InvalidParams (it can't be accepted, or the content does not fit), WrongAnswerError (nor does this value).
        """
        if self.outcome is not None:
            raise Conflict(
                f"cannot answer: this question was already {self.outcome}",
                for_people="This question was already answered.",
            )
        if action != "accept":
            if content:
                raise InvalidParams(f"cannot answer: {action!r} takes no content")
            self.answered_by = by
            self.resolve("declined" if action == "decline" else "cancelled")
            return
        if self.form.unusable is not None:
            raise InvalidParams(f"cannot accept this question: {self.form.unusable}")
        try:
            checked = form_values.checked(self.form.fields, content or {})
        except KeyError as error:
            raise InvalidParams(f"cannot answer: the question has no field {error.args[0][:80]!r}") from None
        self.answered_by, self.content = by, checked
        self.resolve("accepted")

    def resolve(self, outcome: Outcome, reason: Reason | None = None) -> None:
        """Send the answer, once; later calls change nothing. ``reason``: why acpbot answers by itself."""
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason
            self._on_resolved(self)

    def reply(self) -> dict[str, Any]:
        """The answer to the agent, once there is an outcome."""
        if self.outcome is None:
            raise ValueError("cannot reply: the question is open")
        reply: dict[str, Any] = {"action": _ACTIONS[self.outcome]}
        if self.outcome == "accepted" and self.form.mode == "form":
            reply["content"] = self.content
        return reply

    # As what asks outside turns calls it: see AfterTurn.

    def show_in(self, listener: QuestionListener) -> None:
        """Have the listener ask it."""
        listener.on_question(self)

    def show_end_in(self, listener: QuestionListener) -> None:
        """Have the listener show that it needs no answer any more."""
        listener.on_question_closed(self)

    def refuse(self, reason: Literal["no_turn", "unshown"]) -> None:
        """Answer that nobody has been asked."""
        self.resolve("cancelled", reason)


class Questions:
    """Keeps questions open until somebody answers, their time runs out, the turn ends, or the agent withdraws them.

    ``send`` sends the answer to the agent; it is called once for each, before ``on_closed``, which is called for those
    that were open. ``open`` are the open ones by name, oldest first. ``wall``: Unix time.
    """

    def __init__(
        self,
        settings: SettingsInForce,
        *,
        prefix: str,
        wall: Callable[[], float],
        send: Callable[[Question], None],
        on_closed: Callable[[Question], None],
    ) -> None:
        self.open: dict[str, Question] = {}
        self._settings = settings
        self._prefix = prefix
        self._wall = wall
        self._send = send
        self._on_closed = on_closed
        self._numbers = itertools.count(1)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._asked = 0

    def add(self, asked: ElicitationAsked, *, refuse: bool) -> Question | None:
        """Open a question and return it, or answer it at once. ``refuse``: there is nobody to ask."""
        permissions = self._settings.now.permissions
        question = Question(
            f"{self._prefix}-q{next(self._numbers)}",
            asked,
            timeout_seconds=permissions.timeout_seconds,
            expires_at=self._wall() + permissions.timeout_seconds,
            on_resolved=self._resolved,
        )
        same_id = [one for one in self.open.values() if one.request_id == asked.request_id]
        for one in same_id:  # an answer to one of them would be taken for an answer to the other
            one.resolve("cancelled", "repeated_id")
        if same_id:
            question.resolve("cancelled", "repeated_id")
        elif refuse:
            question.resolve("cancelled", "no_turn")
        elif permissions.policy == "deny":
            question.resolve("cancelled", "policy")
        elif len(self.open) >= MOST_OPEN or self._asked >= MOST_ASKED:
            question.resolve("cancelled", "too_many")
        else:
            self._asked += 1
            expire = asyncio.get_running_loop().call_later
            name, seconds = question.request, permissions.timeout_seconds
            self._timers[name] = expire(seconds, question.resolve, "expired", "timeout")
            self.open[name] = question
            question.opened = True
            return question
        return None

    def get(self, request: str) -> Question:
        """The open question of that name. Raises NotFound."""
        if request not in self.open:
            raise NotFound(f"cannot answer: no question {request[:80]!r} is open in this session")
        return self.open[request]

    def answer(self, request: str, action: Action, content: Mapping[str, Any] | None) -> None:
        """Answer the open question of that name for an operator. Raises NotFound, Conflict, InvalidParams."""
        try:
            self.get(request).answer(action, content)
        except form_values.WrongAnswerError as error:
            raise InvalidParams(f"cannot accept this answer: {error}") from None

    def apply_policy(self) -> None:
        """Cancel the open questions where the policy has become ``deny``: nobody may answer them any more."""
        if self._settings.now.permissions.policy == "deny":
            self._cancel(self.open, "policy")

    def cancel_all(self, but: Mapping[str, Any] | None = None) -> None:
        """Cancel every open question, ``but`` those of these names: their turn is over, or is to end."""
        self._cancel({name for name in self.open if name not in (but or {})})
        self._asked = 0

    def _cancel(self, names: Mapping[str, Any] | set[str], reason: Reason | None = None) -> None:
        for name in tuple(names):
            if name in self.open:
                self.open[name].resolve("cancelled", reason)

    def withdraw(self, request_id: Id) -> None:
        """Close the question to which the agent no longer wants an answer."""
        for question in tuple(self.open.values()):
            if question.request_id == request_id:
                question.resolve("cancelled")

    def completed(self, elicitation_id: str) -> None:
        """Close the question about an address where everything is done, as the agent says."""
        for question in tuple(self.open.values()):
            if question.form.mode == "url" and question.form.elicitation_id == elicitation_id:
                question.resolve("completed")

    def _resolved(self, question: Question) -> None:
        self._send(question)
        if self.open.pop(question.request, None) is not None:
            self._timers.pop(question.request).cancel()
            self._on_closed(question)
