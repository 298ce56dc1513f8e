"""What a conversation consists of, and the interface of a view that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from acpctl.chat.questions import Question
    from acpctl.errors import CliError

ALWAYS: Final = (
    "Always covers exactly this, only for you, until this session ends.",
    "The agent is told too, so it may stop asking about more than this.",
)
_KINDS: Final = {
    "allow_once": "Allow once",
    "allow_always": "Always allow this",
    "reject_once": "Reject",
    "reject_always": "Always reject this",
}
# A name made of nothing but these says no more than the kind does.
_PLAIN: Final = frozenset(
    {"accept", "allow", "allowed", "always", "approve", "cancel", "deny", "no", "once", "reject", "this", "time", "yes"}
)
_ALLOW: Final = ("allow_once", "allow_always")
_REJECT: Final = ("reject_once", "reject_always")


class Option(NamedTuple):
    """An answer to a permission request; ``kind`` as in ACP: allow_once, allow_always, reject_once, reject_always."""

    option_id: str
    name: str
    kind: str

    @property
    def label(self) -> str:
        """What it does, and what the agent calls it where that says more."""
        known = _KINDS.get(self.kind)
        if known is None:
            return self.name or self.option_id
        plain = _PLAIN.issuperset(self.name.lower().split())
        return known if plain else f"{known.removesuffix(' this')}: {self.name}"


class PermissionRequest(NamedTuple):
    """An open permission request.

    ``question`` and ``action`` (of one line or many) say what it is for; ``title`` is the agent's own. ``withheld``:
    why it can't be allowed, empty where it can.
    """

    request: str
    title: str
    options: tuple[Option, ...]
    timeout_seconds: float | None
    question: str = "Allow this?"
    action: str = ""
    withheld: str = ""

    @property
    def summary(self) -> str:
        """What it is for, on one line."""
        return " ".join(self.action.split()) or self.title

    def lines(self) -> list[str]:
        """All that a person must see before an answer; ``action`` begins in the third column, and nothing else does."""
        lines = [self.question, *(f"  {line}" for line in (self.action or self.title).split("\n"))]
        if self.title and self.title not in self.action:
            lines.append(f"The agent calls it: {self.title}")
        if self.withheld:
            lines.append(f"It can't be allowed: {self.withheld}.")
        elif any(option.kind == "allow_always" for option in self.options):
            lines += ALWAYS
        return lines

    @property
    def rejection(self) -> Option | None:
        """The option that rejects least: once rather than always."""
        return self._first_of(_REJECT)

    def match(self, answer: str) -> Option | None:
        """The option that a typed answer means: by number, id, name or kind, or y and n."""
        word = answer.strip().casefold()
        if word.isascii() and word.isdigit() and len(word) < 4:  # noqa: PLR2004 - a number of an option
            index = int(word) - 1
            return self.options[index] if 0 <= index < len(self.options) else None
        if word in {"y", "yes"}:  # before ids and names, which are the agent's
            return self._first_of(_ALLOW)
        if word in {"n", "no"}:
            return self.rejection
        for option in self.options:
            if word in {option.option_id.casefold(), option.name.casefold(), option.kind}:
                return option
        return None

    def _first_of(self, kinds: tuple[str, ...]) -> Option | None:
        return next((option for kind in kinds for option in self.options if option.kind == kind), None)


class ToolCall(NamedTuple):
    """A tool call so far; ``status`` as in ACP: pending, in_progress, completed, failed."""

    title: str
    status: str
    started: float  # time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.status in {"completed", "failed"}


class ChatView(Protocol):
    """Shows one thread's conversation. :class:`acpctl.chat.chat_client.ChatClient` calls it with safe text."""

    def turn_started(self, prompt: str, *, own: bool) -> None:
        """A turn begins; ``own``: this client sent its prompt."""

    def text(self, delta: str) -> None:
        """The answer grows by ``delta``."""

    def thought(self, delta: str) -> None:
        """The agent's thoughts grow by ``delta``."""

    def tool_call(self, call: ToolCall, *, new: bool) -> None:
        """A tool call begins (``new``), or its status or title changes."""

    def plan(self, entries: list[tuple[str, str]]) -> None:
        """The agent's plan, as (status, content)."""

    def permission_requested(self, request: PermissionRequest) -> None:
        """The agent asks for a permission."""

    def permission_ended(self, request: PermissionRequest, outcome: str, reason: str) -> None:
        """A request is no longer open; ``outcome``: ``selected``, ``cancelled`` or ``expired``.

        ``reason``: why the daemon answered it by itself, empty where it did not.
        """

    def question_asked(self, question: Question) -> None:
        """The agent asks something."""

    def question_ended(self, question: Question, outcome: str) -> None:
        """A question is no longer open.

        ``outcome``: ``accepted``, ``declined``, ``cancelled``, ``expired`` or ``completed``.
        """

    def notice(self, text: str) -> None:
        """The daemon has a message for the user."""

    def turn_ended(self, stop_reason: str, error: str, *, own: bool) -> None:
        """A turn ends, after all of its text; an ``own`` one may end before it has started."""

    def queued(self, position: int) -> None:
        """The last prompt waits for ``position`` turns."""

    def request_failed(self, method: str, error: CliError) -> None:
        """The daemon refused a request of this client."""

    def hint(self, text: str) -> None:
        """A short answer to what the user has typed."""
