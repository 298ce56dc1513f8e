"""The button 'Send now' below the note of a message that waits, and channels in which messages interrupt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acpbot.chat.discord.interactions.send_now_button import GONE, LABEL, NEXT
from tests.chat.discord.test_bound_channels import bind, bound
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Channel, Message


def labels(message: Message) -> list[str]:
    return [one["label"] for one in message.buttons]


async def busy(scene: Scene, text: str = "say first; stall 60") -> Channel:
    thread = await scene.opens(text)
    await scene.says(thread, "first")
    return thread


async def waiting(scene: Scene, thread: Channel, *texts: str) -> list[Message]:
    """The notes of messages of Bob's, each with its button."""
    notes = []
    for ahead, text in enumerate(texts, 1):
        scene.bob.says(thread, text)
        notes.append(await note_of(scene, thread, f"Queued, {ahead} ahead"))
    return notes


async def note_of(scene: Scene, thread: Channel, words: str) -> Message:
    return await scene.server.wait_for_message(thread, lambda one: words in one.content)


async def test_the_last_of_three_messages_is_sent_at_once_and_the_others_keep_their_order(scene: Scene):
    thread = await busy(scene)
    notes = await waiting(scene, thread, "say two", "say three", "say four")
    assert [labels(note) for note in notes] == [[LABEL]] * 3
    click = await scene.server.wait_for_answer(scene.ada.clicks(notes[2], label=LABEL))
    assert click.response_type == 6
    await scene.idle(thread, 4)
    interrupted = f"first\n⏹️ Interrupted by {scene.ada.mention} to send the next message."
    assert [one.content for one in scene.bodies(thread)] == [interrupted, "four", "two", "three"]
    assert all(one.deleted for one in notes)
    assert not any(one.pings for one in scene.bodies(thread))


async def test_only_those_who_may_stop_the_running_turn_may_press_it(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await busy(scene)
        (note,) = await waiting(scene, thread, "say two")
        click = await scene.server.wait_for_answer(scene.bob.clicks(note, label=LABEL))
        assert click.answer_text == f"Only {scene.ada.mention} or an admin can do this here."
        assert scene.harness.row(str(thread.id)).state == "busy"
        assert labels(note) == [LABEL]


async def test_while_the_agent_does_not_obey_the_note_says_so_and_has_no_button(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await busy(scene, "say first; hang")
        notes = await waiting(scene, thread, "say two", "say three")
        scene.ada.clicks(notes[1], label=LABEL)
        await scene.says(thread, "👀 Stopping the current answer to send this.")
        await scene.server.wait_for(lambda: not notes[0].buttons and not notes[1].buttons, what="no buttons")
        assert [note.content for note in notes] == [
            "👀 Queued, 2 ahead of you.",
            "👀 Stopping the current answer to send this.",
        ]


async def test_a_permission_that_waits_is_cancelled_and_has_no_buttons_any_more(scene: Scene):
    thread = await scene.opens("tool echo hi")
    asking = await scene.server.wait_for_message(thread, lambda one: one.asks)
    (note,) = await waiting(scene, thread, "say two")
    scene.ada.clicks(note, label=LABEL)
    await scene.idle(thread, 2)
    assert asking.buttons == []
    assert "No longer needed" in asking.content
    assert scene.text(thread).endswith("two")


async def test_a_message_is_sent_as_it_was_edited_and_with_its_files(scene: Scene):
    thread = await busy(scene)
    message = scene.bob.says(thread, "say wrong", attachments={"notes.txt": "the file"})
    note = await scene.server.wait_for_message(thread, lambda one: "Queued" in one.content)
    scene.bob.edits(message, "what")
    await scene.server.wait_for(lambda: scene.harness.session(str(thread.id)).turns.queue[0].text == "what")
    scene.ada.clicks(note, label=LABEL)
    await scene.idle(thread, 2)
    assert "notes.txt" in scene.text(thread)


async def test_a_message_that_is_deleted_after_the_press_does_not_run(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await busy(scene, "say first; stall 60")
        message = scene.bob.says(thread, "say never")
        note = await scene.server.wait_for_message(thread, lambda one: "Queued" in one.content)
        scene.bob.deletes(message)
        await scene.server.wait_for(lambda: note.deleted, what="the end of the note")
        late = await scene.server.wait_for_answer(scene.ada.sends_click(note, f"acpbot-now:{message.id}"))
        assert late.answer_text == GONE
        assert scene.harness.row(str(thread.id)).state == "busy"


async def test_a_button_that_is_left_over_goes_away_with_a_press(scene: Scene):
    thread = await busy(scene)
    (note,) = await waiting(scene, thread, "say two")
    late = await scene.server.wait_for_answer(scene.ada.sends_click(note, "acpbot-now:12345"))
    await scene.server.wait_for(lambda: late.answer_text)
    assert late.answer_text == GONE


async def test_a_button_has_its_effect_after_a_restart_too(scene: Scene):
    thread = await busy(scene)
    (note,) = await waiting(scene, thread, "say two")
    await scene.restart()
    await scene.server.wait_for_answer(scene.ada.clicks(note, label=LABEL))
    await scene.server.wait_for(lambda: scene.turns(thread) == 2, what="two turns")


async def test_a_press_where_the_answer_is_being_stopped_already_puts_the_message_first(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await busy(scene, "say first; hang")
        notes = await waiting(scene, thread, "say two", "say three")
        await scene.pool.cancel(str(thread.id))
        click = await scene.server.wait_for_answer(scene.ada.clicks(notes[1], label=LABEL))
        assert click.answer_text == NEXT
        assert [turn.text for turn in scene.harness.session(str(thread.id)).turns.queue] == ["say three", "say two"]


# [discord.channels."ID"] on_busy = "interrupt"


async def test_where_messages_interrupt_the_next_one_of_the_asker_cancels_the_running_turn(tmp_path):
    async with bound(tmp_path, on_busy="interrupt") as scene:
        thread = await busy(scene)
        scene.bob.says(thread, "say his")
        await scene.says(thread, "Queued, 1 ahead of you.")
        before = len(scene.server.requests_to("POST", rest.MESSAGES))
        scene.ada.says(thread, "say mine")
        await scene.idle(thread, 3)
        interrupted = f"first\n⏹️ Interrupted by {scene.ada.mention} to send the next message."
        assert [one.content for one in scene.bodies(thread)] == [interrupted, "mine", "his"]
        assert len(scene.server.requests_to("POST", rest.MESSAGES)) == before + 2, "no note for the message itself"
        bind(scene, on_busy="queue")
        scene.ada.says(thread, "say again; stall 60")
        await scene.says(thread, "again")
        scene.ada.says(thread, "say waits")
        await scene.says(thread, "Queued, 1 ahead of you.")
