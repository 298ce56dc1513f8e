"""Reads the messages of threads, and judges each prompt by them. Never looks at the daemon."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tests.fakes.discord.people import is_system
from tests.fakes.discord.state import has_answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.fakes.discord.state import Channel, Message, User
    from tests.support.soak.prompts import Prompt

CRASHED = "I was restarted mid-answer"
NOTICES = (CRASHED, "I'm restarting", "acpbot is about to stop or restart")
"""Notices that a prompt is not (fully) answered."""

CANCELLED = "⏹️ Cancelled."
"""How an answer ends that was cancelled: nobody here cancels, so that it needs one of the lines above too."""

_TOKEN = re.compile(r"tok-(\d{5})\b")
_ASKED = re.compile(r"ran-(\d{5})\b")
_NUMBERS = re.compile(r"[\d\n]+")
_RECALLED = "You told me to remember"
_NOTE = "👀 "
_TOOLS = ("🔧 `", "✅ `", "❌ `", "⏹️ `")


class Finding(NamedTuple):
    """Something that must not happen: a short name of its kind, and what was seen."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(eq=False)
class Page:
    """One message of the bot as it is now, without blank lines; ``tokens`` and ``notices`` with their places in it.

    ``asks`` is the number of the prompt whose tool it asks to run; ``cancelled``: it ends so.
    """

    message: Message
    lines: list[str]
    tokens: list[tuple[int, int]]
    notices: list[tuple[int, str]]
    asks: int | None
    cancelled: bool

    @classmethod
    def of(cls, message: Message) -> Page:
        lines = [line for line in message.content.split("\n") if line.strip()]
        tokens = [(at, int(match[1])) for at, line in enumerate(lines) if (match := _TOKEN.match(line))]
        notices = [(at, line) for at, line in enumerate(lines) if any(words in line for words in NOTICES)]
        first = message.versions[0]
        asked = _ASKED.search(first.content) if has_answers(first.components) else None
        cancelled = bool(lines) and lines[-1] == CANCELLED
        return cls(message, lines, tokens, notices, None if asked is None else int(asked[1]), cancelled)


class Reader:
    """Reads the messages of ``bot``; a message that has not changed is read once."""

    def __init__(self, bot: User) -> None:
        self._bot = bot
        self._pages: dict[int, tuple[int, Page]] = {}

    def pages(self, channel: Channel, *, since: int = 0) -> list[Page]:
        """The bot's messages there, oldest first, without Discord's own and those that only one person sees.

        ``since``: a message id, up to which nothing is looked at.
        """
        found = []
        for message in reversed(channel.messages.values()):
            if message.id <= since:
                break
            if message.author is self._bot and not message.ephemeral and not is_system(message):
                found.append(self._page(message))
        return found[::-1]

    def _page(self, message: Message) -> Page:
        version, page = self._pages.get(message.id, (0, None))
        if page is None or version != len(message.versions):
            page = Page.of(message)
            self._pages[message.id] = len(message.versions), page
        return page


@dataclass
class Verdict:
    """What became of one prompt: the places of its complete answer, and how often it was begun and notified."""

    prompt: Prompt
    begun: int = 0
    answers: list[int] = field(default_factory=list)
    notified: int = 0
    cancelled: bool = False

    @property
    def open(self) -> bool:
        """Whether there is neither an answer nor a notice."""
        return not self.answers and not self.notified


class Thread:
    """Pages of one thread against the prompts that they answer.

    ``ends``: how many daemons have ended in that time; each may leave one notice of a crash, and one about a prompt
    whose answer had just come. ``last_end``: an id of the moment at which the last of them had ended. No notice is
    about a later prompt. ``facts``: what the agent surely got to remember before.
    """

    def __init__(
        self,
        pages: Sequence[Page],
        prompts: Iterable[Prompt],
        *,
        ends: int = 0,
        last_end: int | None = None,
        facts: Sequence[str] = (),
    ) -> None:
        self.pages = pages
        self._last_end = last_end
        self._facts = facts
        self.findings: list[Finding] = []
        self.verdicts = {one.number: Verdict(one) for one in sorted(prompts, key=lambda one: one.message.id)}
        # A note that something is queued stays where it is, also between two messages of one answer.
        answering = [page for page in pages if page not in self.notes]
        self._lines = [line for page in answering for line in page.lines]
        self._find_answers(answering)
        self._attribute(ends)

    def verdict(self, prompt: Prompt) -> Verdict:
        return self.verdicts[prompt.number]

    def _find_answers(self, pages: Sequence[Page]) -> None:
        start = 0
        for page in pages:
            for at, number in page.tokens:
                verdict = self.verdicts.get(number)
                if verdict is None:
                    self._find("run twice", f"prompt {number}, which was settled before, in {page.message.channel.id}")
                    continue
                verdict.begun += 1
                before = verdict.prompt.before
                preceding = self._lines[max(0, start + at - len(before)) : start + at]
                if page.lines[at] == verdict.prompt.answer and tuple(preceding) == before:
                    verdict.answers.append(start + at)
            start += len(page.lines)

    @property
    def notes(self) -> list[Page]:
        """Those that say that something is queued."""
        return [page for page in self.pages if page.message.content.startswith(_NOTE)]

    # Notices.

    def _attribute(self, ends: int) -> None:
        """Find the prompt that each notice is about.

        It is the one that the message answers, by its text or as a reply; else one that was cancelled, else the first
        that is open, as turns run in order; else one whose answer had come just before the end.
        """
        for page in self.pages:
            if page.cancelled and (verdict := self._cancelled(page)) is not None:
                verdict.cancelled = True
        loose: list[tuple[Page, str]] = []
        crashes = 0
        for page in self.pages:
            for at, line in page.notices:
                crashes += CRASHED in line
                own = self._subject(page, at)
                if own is None:
                    loose.append((page, line))
                else:
                    own.notified += 1
        spare = ends
        for page, line in loose:
            open_ones = self._open_before(page)
            first = next((v for v in open_ones if v.cancelled), next(iter(open_ones), None))
            if first is not None:
                first.notified += 1
            elif spare:
                spare -= 1
            else:
                self._find("notified twice", f"no prompt is open for {line!r}")
        if crashes > ends:
            self._find("notified twice", f"{crashes} notices of a crash after {ends} ends")

    def _open_before(self, page: Page) -> list[Verdict]:
        before = page.message.id if self._last_end is None else min(page.message.id, self._last_end)
        return [v for v in self.verdicts.values() if v.open and v.prompt.message.id < before]

    def _cancelled(self, page: Page) -> Verdict | None:
        """The prompt whose answer ends so; the answer may have only its tool."""
        asked = _ASKED.search(page.message.content)
        if asked is not None and not page.tokens:
            return self.verdicts.get(int(asked[1]))
        own = self._subject(page, len(page.lines))
        return own or next((v for v in self._open_before(page) if not v.cancelled), None)

    def _subject(self, page: Page, at: int) -> Verdict | None:
        numbers = [number for line, number in page.tokens if line < at]
        if numbers:
            return self.verdicts.get(numbers[-1])
        replied = page.message.referenced
        return next((v for v in self.verdicts.values() if v.prompt.message is replied), None)

    # What must hold.

    def facts(self, *, before: Prompt | None = None) -> list[str]:
        """What the agent surely remembers: it has confirmed it, and was not interrupted."""
        known = [v.prompt for v in self.verdicts.values() if v.answers and not v.notified and v.prompt.fact is not None]
        return [p.fact or "" for p in known if before is None or p.message.id < before.message.id]

    def check(self) -> list[Finding]:
        """Everything that is wrong."""
        for verdict in self.verdicts.values():
            self._check_one(verdict)
        self._check_order()
        self._check_doubles()
        for verdict in self.verdicts.values():
            if verdict.prompt.recalls and verdict.answers:
                self._check_recall(verdict)
        return self.findings

    def _find(self, kind: str, what: str) -> None:
        self.findings.append(Finding(kind, what))

    def _check_one(self, verdict: Verdict) -> None:
        if verdict.open:
            later = [page for page in self.pages if page.message.id > verdict.prompt.message.id]
            said = " | ".join(f"{page.lines[0][:30]} … {page.lines[-1][-60:]}" for page in later[-12:] if page.lines)
            what = "only cancelled" if verdict.cancelled else "lost"
            self._find(what, f"{verdict.prompt}, after which was said: {said or 'nothing'}")
        if len(verdict.answers) > 1:
            self._find("answered twice", f"{verdict.prompt}")
        elif verdict.begun > 1:
            self._find("run twice", f"{verdict.prompt}: its answer was begun {verdict.begun} times")
        if verdict.notified > 1:
            self._find("notified twice", f"{verdict.prompt}: {verdict.notified} notices")

    def _check_order(self) -> None:
        answered = [verdict for verdict in self.verdicts.values() if verdict.answers]
        for earlier, later in pairwise(answered):
            if earlier.answers[0] > later.answers[0]:
                self._find("out of order", f"{later.prompt} was answered before {earlier.prompt}")

    def _check_doubles(self) -> None:
        said = Counter(page.message.content for page in self.pages if not _may_repeat(page))
        for content, count in said.items():
            if content and count > max(1, self._alike(content)):
                self._find("said twice", f"{count} times: {content[:80]!r}")
        asked = Counter(page.asks for page in self.pages if page.asks is not None)
        for number, count in asked.items():
            if count > 1:
                self._find("asked twice", f"the tool of prompt {number}, {count} times")

    def _alike(self, content: str) -> int:
        """How many of the answers may have this very message without a fault.

        Two interrupted answers may end after the same first words, and two long ones begin alike.
        """
        verdicts = self.verdicts.values()
        if _NUMBERS.fullmatch(content):
            return sum(verdict.prompt.kind == "long" for verdict in verdicts)
        text = "\n".join(line for line in content.split("\n") if line.strip() and not line.startswith(_TOOLS))
        return sum(bool(verdict.notified) and verdict.prompt.opening.startswith(text) for verdict in verdicts)

    def _check_recall(self, verdict: Verdict) -> None:
        end = verdict.answers[0]
        # Its own line is the last of its kind before it.
        start = next((at for at in range(end - 1, -1, -1) if self._lines[at].startswith(_RECALLED)), 0)
        kept = re.findall(r"fact-\d{5}", "\n".join(self._lines[start:end]))
        for fact in [*self._facts, *self.facts(before=verdict.prompt)]:
            if fact not in kept:
                self._find("forgotten", f"{fact}, by {verdict.prompt}, which says {kept}")
        for fact, count in Counter(kept).items():
            if count > 1:
                self._find("run twice", f"{fact} is kept {count} times, says {verdict.prompt}")


def _may_repeat(page: Page) -> bool:
    """Notices and notes may say the same about several prompts, and so may turns that had only begun to use a tool."""
    bare = all(line.startswith(_TOOLS) for line in page.lines) and not _ASKED.search(page.message.content)
    return bare or bool(page.notices) or page.message.content.startswith(_NOTE)


def by_thread(prompts: Iterable[Prompt]) -> dict[Channel | None, list[Prompt]]:
    """The prompts of each thread; those without one yet under ``None``."""
    found: dict[Channel | None, list[Prompt]] = defaultdict(list)
    for one in prompts:
        found[one.thread].append(one)
    return dict(found)
