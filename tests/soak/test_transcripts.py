"""The crash campaign's judgement of a thread: what is fine passes, and each thing that is wrong is found."""

from __future__ import annotations

import random

import pytest

from tests.fakes.discord.server import DiscordServer
from tests.support.soak.prompts import Prompt, draft
from tests.support.soak.transcripts import Reader, Thread

CRASHED = "⚠️ I was restarted mid-answer, so this one is incomplete."
STOPPING = "😱 I'm restarting. Send a message to carry on where you left off."
BUTTONS = [{"type": 1, "components": [{"type": 2, "style": 3, "label": "Allow", "custom_id": "a:0"}]}]


class Scene:
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
def scene() -> Scene:
    return Scene()


def test_answers_of_all_kinds_in_order_are_fine(scene):
    kinds = ("say", "long", "tool", "rejected", "sleep", "remember", "orphan", "fork")
    for prompt in [scene.asks(kind) for kind in kinds]:
        scene.bot("🔧 `a tool`", *prompt.before, prompt.answer)
    assert scene.found() == []
    assert not any(verdict.open for verdict in scene.view().verdicts.values())


def test_a_long_answer_may_go_over_several_messages_and_begin_as_another_does(scene):
    for prompt in (scene.asks("long"), scene.asks("long")):
        scene.bot(*prompt.before[:100])
        scene.bot(*prompt.before[100:], "", prompt.answer)
    assert scene.found() == []


def test_a_note_that_a_message_waits_may_stand_between_two_messages_of_an_answer(scene):
    prompt, queued = scene.asks("long"), scene.asks()
    scene.bot(*prompt.before[:100])
    scene.bot("👀 Queued, 1 ahead of you.")
    scene.bot(*prompt.before[100:], prompt.answer)
    scene.bot(CRASHED)
    assert scene.view(ends=1).verdict(queued).notified == 1
    assert scene.found(ends=1) == []


@pytest.mark.parametrize("said", [(), ("I am thinking",), ("👀 Queued, 1 ahead of you.",)])
def test_a_prompt_without_an_answer_is_lost(scene, said):
    prompt = scene.asks()
    if said:
        scene.bot(*said)
    assert scene.view().verdict(prompt).open
    assert scene.found() == ["lost"]


def test_a_part_of_an_answer_is_no_answer(scene):
    prompt = scene.asks("say")
    scene.bot(prompt.answer.rsplit(" ", 1)[0])
    other = scene.asks("tool")
    scene.bot(other.answer)
    assert scene.found() == ["lost", "lost"]


def test_what_others_say_is_no_answer(scene):
    prompt = scene.asks()
    scene.ada.says(scene.thread, prompt.answer)
    scene.server.world.post(scene.thread, scene.server.bot, prompt.answer, flags=64, visible_to=scene.ada)
    assert scene.found() == ["lost"]


def test_an_edited_message_counts_with_its_new_text(scene):
    prompt = scene.asks()
    message = scene.bot(prompt.answer[:10])
    reader = Reader(scene.server.bot)
    assert Thread(reader.pages(scene.thread), scene.prompts).verdict(prompt).open
    scene.server.world.edit(message, content=prompt.answer)
    assert not Thread(reader.pages(scene.thread), scene.prompts).verdict(prompt).open


# notices


@pytest.mark.parametrize("notice", [CRASHED, STOPPING, "cannot take it: acpbot is about to stop or restart."])
def test_a_notice_in_a_later_message_belongs_to_the_prompt(scene, notice):
    prompt = scene.asks()
    scene.bot(notice)
    assert scene.view(ends=1).verdict(prompt).notified == 1
    assert scene.found(ends=1) == []


def test_a_notice_below_a_part_of_an_answer_belongs_to_its_prompt(scene):
    first, second = scene.asks(), scene.asks()
    scene.bot(second.answer[:12], CRASHED)
    view = scene.view(ends=1)
    assert (view.verdict(first).notified, view.verdict(second).notified) == (0, 1)
    assert scene.found(ends=1) == ["lost"]


def test_a_notice_that_replies_to_a_prompt_belongs_to_it(scene):
    first, second = scene.asks(), scene.asks()
    scene.bot(STOPPING, reference={"message_id": str(second.message.id)}, referenced=second.message)
    view = scene.view(ends=1)
    assert (view.verdict(first).notified, view.verdict(second).notified) == (0, 1)


def test_notices_go_to_the_open_prompts_in_their_order(scene):
    answered, *others = scene.asks(), scene.asks(), scene.asks()
    scene.answers(answered)
    scene.bot(STOPPING)
    scene.bot(STOPPING)
    assert [scene.view(ends=1).verdict(one).notified for one in others] == [1, 1]
    assert scene.found(ends=1) == []


def test_a_notice_before_a_prompt_is_not_about_it(scene):
    scene.bot(STOPPING)
    scene.asks()
    assert scene.found(ends=1) == ["lost"]


def test_a_crash_just_after_an_answer_may_leave_one_notice(scene):
    scene.answers(scene.asks())
    scene.bot(CRASHED)
    assert scene.found(ends=1) == []
    scene.bot(CRASHED)
    assert "notified twice" in scene.found(ends=1)


def test_a_notice_without_an_end_is_one_too_many(scene):
    scene.answers(scene.asks())
    scene.bot(STOPPING)
    assert scene.found() == ["notified twice"]


def test_two_notices_about_one_prompt_are_one_too_many(scene):
    prompt = scene.asks()
    scene.bot(prompt.answer[:12], STOPPING, STOPPING)
    assert scene.found(ends=2) == ["notified twice"]


def test_a_crash_interrupts_one_turn_of_a_thread(scene):
    scene.asks()
    scene.asks()
    scene.bot(CRASHED)
    scene.bot(CRASHED)
    assert scene.found(ends=1) == ["notified twice"]
    assert scene.found(ends=2) == []


def test_a_notice_may_follow_a_cancelled_turn(scene):
    cancelled, waiting = scene.asks(), scene.asks()
    scene.bot(cancelled.answer[:12], "⏹️ Cancelled.")
    assert scene.found() == ["only cancelled", "lost"]
    scene.bot(STOPPING)
    scene.answers(waiting)
    assert scene.found(ends=1) == []


def test_a_notice_belongs_to_a_cancelled_prompt_before_a_waiting_one(scene):
    first, second, third = scene.asks(), scene.asks("tool"), scene.asks()
    scene.bot(first.answer)
    scene.bot("❌ `echo ran-00002 >> x`", "⏹️ Cancelled.")
    scene.bot("⏹️ Cancelled.")
    scene.bot(CRASHED)
    view = scene.view(ends=1)
    assert [view.verdict(one).notified for one in (first, second, third)] == [0, 1, 0]
    assert [view.verdict(one).cancelled for one in (first, second, third)] == [False, True, True]
    assert scene.found(ends=1) == ["only cancelled"]


# twice


def test_a_duplicate_answer_is_found(scene):
    prompt = scene.asks()
    scene.answers(prompt)
    scene.answers(prompt, "✅ and something else, so that the message is another")
    assert scene.found() == ["answered twice"]


def test_a_turn_that_runs_twice_is_found(scene):
    prompt = scene.asks()
    scene.bot(prompt.answer[:12], "…")
    scene.answers(prompt)
    assert scene.found() == ["run twice"]


def test_a_settled_prompt_that_runs_again_is_found(scene):
    prompt = scene.asks()
    scene.answers(prompt)
    scene.prompts.clear()
    assert scene.found() == ["run twice"]


@pytest.mark.parametrize("said", ["hello", "✅ Allowed once by <@1>: `echo ran-00001`"])
def test_a_duplicate_message_is_found(scene, said):
    scene.bot(said)
    scene.bot(said)
    assert scene.found() == ["said twice"]


@pytest.mark.parametrize("said", ["🔧 `sleep 0.3`", "⏹️ `sleep 0.3`", "👀 Queued, 1 ahead of you."])
def test_messages_that_name_no_prompt_may_repeat(scene, said):
    scene.bot(said)
    scene.bot(said)
    assert scene.found() == []


def test_a_duplicate_beginning_of_a_long_answer_is_found(scene):
    prompt = scene.asks("long")
    scene.bot(*prompt.before[:100])
    scene.bot(*prompt.before[:100])
    scene.bot(*prompt.before[100:], prompt.answer)
    assert scene.found() == ["said twice"]


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
def test_interrupted_answers_may_end_after_the_same_words(scene, kinds, said):
    for kind in kinds:
        prompt = scene.asks(kind)
        scene.bot(said)
        scene.bot(CRASHED, reference={"message_id": str(prompt.message.id)}, referenced=prompt.message)
    assert scene.found(ends=2) == []
    scene.bot(said)
    assert scene.found(ends=2) == ["said twice"]


def test_a_notice_is_not_about_a_prompt_that_was_written_after_the_end(scene):
    answered = scene.asks()
    scene.answers(answered)
    ended = scene.server.world.snowflake()
    later = scene.asks("recall")
    scene.bot(CRASHED)
    view = scene.view(ends=1, last_end=ended)
    assert view.verdict(later).open
    assert [finding.kind for finding in view.check()] == ["lost"]
    scene.answers(later)
    assert scene.found(ends=1, last_end=ended) == []


def test_duplicate_first_words_of_a_complete_answer_are_found(scene):
    prompt, other = scene.asks("remember"), scene.asks("say")
    scene.bot("I")
    scene.answers(prompt)
    scene.bot("I")
    scene.bot(CRASHED, reference={"message_id": str(other.message.id)}, referenced=other.message)
    assert scene.found(ends=1) == ["said twice"]


def test_a_duplicate_question_is_found(scene):
    prompt = scene.asks("tool")
    for text in ("🔐 `echo ran-00001 >> x`", "🔐 again `echo ran-00001 >> x`"):
        message = scene.bot(text, components=BUTTONS)
        scene.server.world.edit(message, content="✅ Allowed once", components=[])
        scene.server.world.edit(message, content=text + " ended")
    scene.answers(prompt)
    assert scene.found() == ["asked twice"]


# order


def test_answers_out_of_order_are_found(scene):
    first, second, third = scene.asks(), scene.asks(), scene.asks()
    for prompt in (second, first, third):
        scene.answers(prompt)
    assert scene.found() == ["out of order"]


def test_a_prompt_with_only_a_notice_has_no_place_in_the_order(scene):
    first, second, third = scene.asks(), scene.asks(), scene.asks()
    scene.answers(second)
    scene.bot(first.answer[:12], CRASHED)
    scene.answers(third)
    assert scene.found(ends=1) == []


# memory


def test_a_remembered_fact_is_recalled(scene):
    fact, recall = scene.asks("remember"), scene.asks("recall")
    scene.answers(fact)
    scene.bot(f"You told me to remember: fact-00000; {fact.fact}", recall.answer)
    view = scene.view(facts=["fact-00000"])
    assert (view.check(), view.facts()) == ([], [fact.fact])


@pytest.mark.parametrize("said", ["You told me to remember nothing.", "You told me to remember: fact-00009"])
def test_a_forgotten_fact_is_found(scene, said):
    fact, recall = scene.asks("remember"), scene.asks("recall")
    scene.answers(fact)
    scene.bot(said, recall.answer)
    assert scene.found() == ["forgotten"]
    assert scene.found(facts=["fact-00000"]) == ["forgotten", "forgotten"]


def test_a_fact_of_an_interrupted_turn_may_be_forgotten_or_not(scene):
    fact, other, recall = scene.asks("remember"), scene.asks("remember"), scene.asks("recall")
    scene.answers(fact, CRASHED)
    scene.bot(other.answer[:12], CRASHED)
    scene.bot(f"You told me to remember: {other.fact}", recall.answer)
    assert scene.found(ends=2) == []
    assert scene.view(ends=2).facts() == []


def test_a_fact_that_is_remembered_twice_is_found(scene):
    fact, recall = scene.asks("remember"), scene.asks("recall")
    scene.answers(fact)
    scene.bot(f"You told me to remember: {fact.fact}; {fact.fact}", recall.answer)
    assert scene.found() == ["run twice"]
