"""The crash campaign's judgement of a thread: what is fine passes, and each thing that is wrong is found."""

from __future__ import annotations

import random

import pytest

from tests.fakes.discord.server import DiscordServer
from tests.support.soak.prompts import Prompt, draft
from tests.support.soak.transcripts import Reader, Thread

CRASHED = "⚠️ acpbot was restarted in the middle of this answer, and the agent was stopped with it."
STOPPING = "😱 acpbot is stopping. Your next message picks the conversation up again."
BUTTONS = [{"type": 1, "components": [{"type": 2, "style": 3, "label": "✅ Allow once", "custom_id": "a:0"}]}]


class Room:
    """A thread with a person and a bot that says what the test wants; no client is connected."""

    def __init__(self) -> None:
        self.server = DiscordServer()
        guild = self.server.make_guild()
        self.ada = self.server.make_user("ada", guild)
        self.channel = self.server.make_channel(guild)
        self.thread = self.server.make_thread(self.channel, self.server.bot, "work")
        self.prompts: list[Prompt] = []

    def asks(self, kind="say") -> Prompt:
        number = len(self.prompts) + 1
        chance = random.Random(number)  # noqa: S311 - it chooses what a test says
        text, before, answer = draft(kind, number, chance)
        message = self.ada.says(self.thread, text)
        self.prompts.append(Prompt(number, kind, text, before, answer, message, self.server.world))
        return self.prompts[-1]

    def bot(self, *lines: str, **fields):
        return self.server.world.post(self.thread, self.server.bot, "\n".join(lines), **fields)

    def answers(self, prompt: Prompt, *after: str):
        return self.bot(*prompt.before, prompt.answer, *after)

    def view(self, **given) -> Thread:
        return Thread(Reader(self.server.bot).pages(self.thread), self.prompts, **given)

    def found(self, **given) -> list[str]:
        return [finding.kind for finding in self.view(**given).check()]


@pytest.fixture
def room() -> Room:
    return Room()


def test_answers_of_all_kinds_in_order_are_fine(room):
    kinds = ("say", "long", "tool", "rejected", "sleep", "remember", "orphan", "fork")
    for prompt in [room.asks(kind) for kind in kinds]:
        room.bot("🔧 `a tool`", *prompt.before, prompt.answer)
    assert room.found() == []
    assert not any(verdict.open for verdict in room.view().verdicts.values())


def test_a_long_answer_may_go_over_several_messages_and_begin_as_another_does(room):
    for prompt in (room.asks("long"), room.asks("long")):
        room.bot(*prompt.before[:100])
        room.bot(*prompt.before[100:], "", prompt.answer)
    assert room.found() == []


@pytest.mark.parametrize("said", [(), ("I am thinking",), ("👀 Queued: 1 message is before this one.",)])
def test_a_prompt_without_an_answer_is_lost(room, said):
    prompt = room.asks()
    if said:
        room.bot(*said)
    assert room.view().verdict(prompt).open
    assert room.found() == ["lost"]


def test_a_part_of_an_answer_is_none(room):
    prompt = room.asks("say")
    room.bot(prompt.answer.rsplit(" ", 1)[0])
    other = room.asks("tool")
    room.bot(other.answer)
    assert room.found() == ["lost", "lost"]


def test_what_others_say_is_no_answer(room):
    prompt = room.asks()
    room.ada.says(room.thread, prompt.answer)
    room.server.world.post(room.thread, room.server.bot, prompt.answer, flags=64, visible_to=room.ada)
    assert room.found() == ["lost"]


def test_an_answer_before_its_notice_that_it_is_changed_into_counts_as_it_stands(room):
    prompt = room.asks()
    message = room.bot(prompt.answer[:10])
    reader = Reader(room.server.bot)
    assert Thread(reader.pages(room.thread), room.prompts).verdict(prompt).open
    room.server.world.edit(message, content=prompt.answer)
    assert not Thread(reader.pages(room.thread), room.prompts).verdict(prompt).open


# told


@pytest.mark.parametrize("notice", [CRASHED, STOPPING, "cannot take it: acpbot is about to stop or restart."])
def test_a_prompt_is_told_by_a_message_after_it(room, notice):
    prompt = room.asks()
    room.bot(notice)
    assert room.view(ends=1).verdict(prompt).told == 1
    assert room.found(ends=1) == []


def test_a_prompt_is_told_below_the_part_of_its_answer(room):
    first, second = room.asks(), room.asks()
    room.bot(second.answer[:12], CRASHED)
    view = room.view(ends=1)
    assert (view.verdict(first).told, view.verdict(second).told) == (0, 1)
    assert room.found(ends=1) == ["lost"]


def test_a_prompt_is_told_by_a_reply(room):
    first, second = room.asks(), room.asks()
    room.bot(STOPPING, reference={"message_id": str(second.message.id)}, referenced=second.message)
    view = room.view(ends=1)
    assert (view.verdict(first).told, view.verdict(second).told) == (0, 1)


def test_notices_go_to_the_open_prompts_in_their_order(room):
    answered, *others = room.asks(), room.asks(), room.asks()
    room.answers(answered)
    room.bot(STOPPING)
    room.bot(STOPPING)
    assert [room.view(ends=1).verdict(one).told for one in others] == [1, 1]
    assert room.found(ends=1) == []


def test_a_notice_before_a_prompt_is_not_about_it(room):
    room.bot(STOPPING)
    room.asks()
    assert room.found(ends=1) == ["lost"]


def test_a_daemon_that_dies_just_after_an_answer_may_say_so_once(room):
    room.answers(room.asks())
    room.bot(CRASHED)
    assert room.found(ends=1) == []
    room.bot(CRASHED)
    assert "told twice" in room.found(ends=1)


def test_a_notice_without_an_end_is_one_too_many(room):
    room.answers(room.asks())
    room.bot(STOPPING)
    assert room.found() == ["told twice"]


def test_two_notices_about_one_prompt_are_one_too_many(room):
    prompt = room.asks()
    room.bot(prompt.answer[:12], STOPPING, STOPPING)
    assert room.found(ends=2) == ["told twice"]


def test_a_crash_interrupts_one_turn_of_a_thread(room):
    room.asks()
    room.asks()
    room.bot(CRASHED)
    room.bot(CRASHED)
    assert room.found(ends=1) == ["told twice"]
    assert room.found(ends=2) == []


def test_a_turn_that_a_stop_cancels_is_told_why_by_the_next_line(room):
    cancelled, waiting = room.asks(), room.asks()
    room.bot(cancelled.answer[:12], "⏹️ Cancelled.")
    assert room.found() == ["only cancelled", "lost"]
    room.bot(STOPPING)
    room.answers(waiting)
    assert room.found(ends=1) == []


def test_a_notice_is_about_what_was_cancelled_before_it_is_about_what_waits(room):
    first, second, third = room.asks(), room.asks("tool"), room.asks()
    room.bot(first.answer)
    room.bot("❌ `echo ran-00002 >> x`", "⏹️ Cancelled.")
    room.bot("⏹️ Cancelled.")
    room.bot(CRASHED)
    view = room.view(ends=1)
    assert [view.verdict(one).told for one in (first, second, third)] == [0, 1, 0]
    assert [view.verdict(one).cancelled for one in (first, second, third)] == [False, True, True]
    assert room.found(ends=1) == ["only cancelled"]


# twice


def test_an_answer_that_is_there_twice(room):
    prompt = room.asks()
    room.answers(prompt)
    room.answers(prompt, "✅ and something else, so that the message is another")
    assert room.found() == ["answered twice"]


def test_a_turn_that_was_begun_again(room):
    prompt = room.asks()
    room.bot(prompt.answer[:12], "…")
    room.answers(prompt)
    assert room.found() == ["run twice"]


def test_a_prompt_of_earlier_that_runs_again(room):
    prompt = room.asks()
    room.answers(prompt)
    room.prompts.clear()
    assert room.found() == ["run twice"]


@pytest.mark.parametrize("said", ["hello", "✅ Allowed once by <@1>: `echo ran-00001`"])
def test_a_message_that_is_there_twice(room, said):
    room.bot(said)
    room.bot(said)
    assert room.found() == ["said twice"]


@pytest.mark.parametrize("said", ["🔧 `sleep 0.3`", "👀 Queued: 1 message is before this one."])
def test_what_says_nothing_of_one_prompt_may_be_there_twice(room, said):
    room.bot(said)
    room.bot(said)
    assert room.found() == []


def test_the_beginning_of_a_long_answer_that_is_there_twice(room):
    prompt = room.asks("long")
    room.bot(*prompt.before[:100])
    room.bot(*prompt.before[:100])
    room.bot(*prompt.before[100:], prompt.answer)
    assert room.found() == ["said twice"]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (("remember", "fork"), "I"),
        (("fork", "fork"), "I started 2"),
        (("orphan", "orphan"), "The orphan's"),
        (("sleep", "orphan"), "The"),
        (("sleep", "sleep"), "✅ `sleep 0.3`\nThe command"),
    ],
)
def test_as_many_answers_as_were_interrupted_may_have_come_to_the_same_words(room, kinds, said):
    for kind in kinds:
        prompt = room.asks(kind)
        room.bot(said)
        room.bot(CRASHED, reference={"message_id": str(prompt.message.id)}, referenced=prompt.message)
    assert room.found(ends=2) == []
    room.bot(said)
    assert room.found(ends=2) == ["said twice"]


def test_the_first_words_of_an_answer_that_went_on_are_not_there_twice(room):
    prompt, other = room.asks("remember"), room.asks("say")
    room.bot("I")
    room.answers(prompt)
    room.bot("I")
    room.bot(CRASHED, reference={"message_id": str(other.message.id)}, referenced=other.message)
    assert room.found(ends=1) == ["said twice"]


def test_a_question_that_is_asked_twice(room):
    prompt = room.asks("tool")
    for text in ("🔐 `echo ran-00001 >> x`", "🔐 again `echo ran-00001 >> x`"):
        message = room.bot(text, components=BUTTONS)
        room.server.world.edit(message, content="✅ Allowed once", components=[])
        room.server.world.edit(message, content=text + " ended")
    room.answers(prompt)
    assert room.found() == ["asked twice"]


# order


def test_answers_out_of_order(room):
    first, second, third = room.asks(), room.asks(), room.asks()
    for prompt in (second, first, third):
        room.answers(prompt)
    assert room.found() == ["out of order"]


def test_a_prompt_that_was_only_told_has_no_place_in_the_order(room):
    first, second, third = room.asks(), room.asks(), room.asks()
    room.answers(second)
    room.bot(first.answer[:12], CRASHED)
    room.answers(third)
    assert room.found(ends=1) == []


# memory


def test_what_was_told_is_recalled(room):
    fact, recall = room.asks("remember"), room.asks("recall")
    room.answers(fact)
    room.bot(f"You told me to remember: fact-00000; {fact.fact}", recall.answer)
    view = room.view(facts=["fact-00000"])
    assert (view.check(), view.facts()) == ([], [fact.fact])


@pytest.mark.parametrize("said", ["You told me to remember nothing.", "You told me to remember: fact-00009"])
def test_what_was_told_is_forgotten(room, said):
    fact, recall = room.asks("remember"), room.asks("recall")
    room.answers(fact)
    room.bot(said, recall.answer)
    assert room.found() == ["forgotten"]
    assert room.found(facts=["fact-00000"]) == ["forgotten", "forgotten"]


def test_what_an_interrupted_agent_was_told_may_be_forgotten_or_not(room):
    fact, other, recall = room.asks("remember"), room.asks("remember"), room.asks("recall")
    room.answers(fact, CRASHED)
    room.bot(other.answer[:12], CRASHED)
    room.bot(f"You told me to remember: {other.fact}", recall.answer)
    assert room.found(ends=2) == []
    assert room.view(ends=2).facts() == []


def test_what_was_told_once_is_not_kept_twice(room):
    fact, recall = room.asks("remember"), room.asks("recall")
    room.answers(fact)
    room.bot(f"You told me to remember: {fact.fact}; {fact.fact}", recall.answer)
    assert room.found() == ["run twice"]
