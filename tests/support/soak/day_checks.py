"""What must hold at the end of the recorded day: each finding is one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acpbot.config.field_types import keys_of
from acpbot.config.settings import TABLES
from tests.support.soak.day import DONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.discord.state import Message
    from tests.support.soak.day import Day, Prompt

KEYS = sorted({key for table in TABLES.values() for key in keys_of(table) if "_" in key})
NEVER = re.compile(r"(?!)")
TECHNICAL = {
    "an operator's error": re.compile(r"\b[Cc]annot \w"),
    "a JSON-RPC code": re.compile(r"-32\d{3}\b"),
    "a code of Discord": re.compile(r"\b(?:1[0-6]0\d{3}|24000\d|5\d{4}|10\d{3})\b"),
    "an HTTP status": re.compile(r"\bHTTP\b|\b[45]\d\d (?:Bad|Internal|Forbidden|Unauthorized|Not|Service|Gateway)"),
    "a path": re.compile(r"(?<![\w/:.])/(?:tmp|home|work|usr|var|etc|root|run)/"),
    "a configuration key": re.compile(rf"\b(?:{'|'.join(KEYS)})\b|\[(?:pool|discord|store|agents?)\]"),
    "a traceback": re.compile(r"Traceback|\b\w+Error\b|\bException\b"),
}


def findings(day: Day) -> list[str]:
    """What is wrong with the day."""
    server = day.server
    found = [f"lost: {one}" for one in day.prompts if one.outcome is None]
    found += [f"over a rate limit: {call!r}" for call in server.rate_limited]
    found += [f"unknown request: {call!r}" for call in server.unserved]
    found += [f"a command or click without an answer: {one!r}" for one in day.interactions if not one.answered]
    found += [*_technical(day), *_reactions(day), *_order(day)]
    log = day.log
    if "Traceback" in log:
        found.append(f"a traceback in the log: {log[log.index('Traceback') :][:1500]}")
    return found


def _technical(day: Day) -> Iterator[str]:
    for message in day.server.messages:
        if message.author is day.server.bot:
            texts = {version.content for version in message.versions}
            texts |= {str(item.get("label")) for item in message.buttons}
            # A permission request names the folder in which the agent is about to run a command.
            kinds = TECHNICAL | {"a path": NEVER} if _asks(message) else TECHNICAL
            for kind, pattern in kinds.items():
                for text in texts:
                    if (match := pattern.search(text)) is not None:
                        yield f"{kind} ({match[0]}) in #{message.channel.name}: {text[:300]!r}"
                        break


def _asks(message: Message) -> bool:
    """Whether it is, or was, a permission request."""
    rows = [row for version in message.versions for row in version.components]
    labels = [str(item.get("label")) for row in rows for item in row.get("components", ())]
    return any("allow" in label.lower() for label in labels)


def _reactions(day: Day) -> Iterator[str]:
    by_message = {one.message: one for one in day.prompts}
    for message in day.server.messages:
        prompt = by_message.get(message)
        done = DONE in message.reactions
        is_continue = message.author is day.server.bot  # what the bot says for somebody who presses Continue
        if done and not is_continue and (prompt is None or prompt.outcome != "answered"):
            yield f"{DONE} on a message that was not answered: {message!r}"
        elif not done and prompt is not None and prompt.outcome == "answered":
            yield f"no {DONE} on an answered message: {prompt}"


def _order(day: Day) -> Iterator[str]:
    """The end of an answer is the bot's last message before the next thing that a person does there."""
    ends = {one.end for one in day.prompts if one.end is not None}
    for prompt in day.prompts:
        if prompt.end is None or prompt.outcome != "answered":
            continue
        later = _until_the_next_act(day, prompt)
        if later and not ends.intersection(later):
            said = " | ".join(one.content[:80] for one in later)
            yield f"after the end of the answer to {prompt}: {said!r}"


def _until_the_next_act(day: Day, prompt: Prompt) -> list[Message]:
    place, end = prompt.place, prompt.end
    if end is None:
        return []
    acts = [one.id for one in place.messages.values() if one.author is not day.server.bot]
    acts += [one.id for one in day.server.interactions.all if one.channel is place]
    until = min((number for number in acts if number > end.id), default=1 << 63)
    later = [one for one in day.bodies(place) if end.id < one.id < until]
    # What notifies the person, and answers to other people's messages, may follow.
    return [one for one in later if not one.pings and one.referenced in (None, prompt.message)]
