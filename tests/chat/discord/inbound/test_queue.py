"""Messages that come while the agent works: queued, edited, deleted; and who may write to the bot at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acpbot.chat.discord.inbound.intake import RESTARTING
from acpbot.chat.discord.inbound.recheck import NO_ACCESS
from tests.fakes.discord import rest
from tests.support.discord_scene import Scene, staged

if TYPE_CHECKING:
    from tests.fakes.discord.state import Role, User


async def busy(scene: Scene):
    """A thread whose agent works until it is cancelled."""
    thread = await scene.opens("say first; stall 60")
    await scene.says(thread, "first")
    return thread


async def test_a_queued_message_gets_a_note_and_runs_in_its_turn(scene: Scene):
    thread = await busy(scene)
    two = scene.ada.says(thread, "say second")
    scene.bob.says(thread, "say third")
    await scene.says(thread, "👀 Queued, 1 ahead of you.", "👀 Queued, 2 ahead of you.")
    await scene.server.wait_for(lambda: two.shown_reactions == ["👀"], what="the reaction")
    (note,) = [one for one in scene.bodies(thread) if "1 ahead" in one.content]
    assert note.referenced is two
    assert not note.pings
    await scene.pool.cancel(str(thread.id))
    await scene.idle(thread, 3)
    assert scene.text(thread) == "first\n⏹️ Cancelled.\nsecond\nthird"
    assert two.shown_reactions == ["🆗"]


async def test_a_queued_message_can_be_edited_and_deleted(scene: Scene):
    thread = await busy(scene)
    two = scene.ada.says(thread, "say wrong")
    three = scene.ada.says(thread, "say never")
    await scene.says(thread, "2 ahead of you")
    scene.ada.edits(two, "say right")
    scene.ada.deletes(three)
    await scene.server.wait_for(lambda: scene.harness.row(str(thread.id)).queued == 1)
    await scene.pool.cancel(str(thread.id))
    await scene.idle(thread, 2)
    assert scene.text(thread) == "first\n⏹️ Cancelled.\nright"


async def test_the_answer_to_another_message_does_not_cut_an_answer_in_two(scene: Scene):
    thread = await busy(scene)
    scene.pool.draining = True
    scene.ada.says(thread, "say second")
    await scene.says(thread, RESTARTING)
    scene.pool.draining = False
    await scene.pool.cancel(str(thread.id))
    await scene.idle(thread, 1)
    assert [one.content for one in scene.bodies(thread)] == ["first\n⏹️ Cancelled.", RESTARTING]


async def test_roles_are_checked_with_every_message_and_edit(tmp_path):
    roles: list[Role] = []

    def by_role(scene: Scene) -> dict[str, object]:
        roles.append(scene.server.make_role(scene.guild, "coders"))
        scene.server.give_roles(scene.guild, scene.eve, roles)
        return {"allowed_role_ids": (str(roles[0].id),)}

    async with staged(tmp_path, setup=by_role) as scene:
        thread = await busy(scene)
        waiting = scene.eve.says(thread, "say allowed")
        await scene.says(thread, "Queued")
        scene.server.give_roles(scene.guild, scene.eve, [])
        scene.eve.edits(waiting, "say changed when she was not allowed")
        denied = scene.eve.says(thread, "say never")
        await scene.server.wait_for(lambda: denied.shown_reactions == ["🚫"])
        await scene.pool.cancel(str(thread.id))
        await scene.says(thread, NO_ACCESS)
        expected = f"first\n⏹️ Cancelled.\n😱 {NO_ACCESS}"
        await scene.server.wait_for(lambda: scene.text(thread) == expected, what="the end of the note")
        scene.server.give_roles(scene.guild, scene.eve, roles)
        scene.eve.says(thread, "say back")
        await scene.says(thread, "back")


async def test_a_member_who_left_is_denied_and_their_permission_request_expires(tmp_path):
    def by_role(scene: Scene) -> dict[str, object]:
        role = scene.server.make_role(scene.guild, "coders")
        scene.server.give_roles(scene.guild, scene.eve, [role])
        return {"allowed_role_ids": (str(role.id),)}

    async with staged(tmp_path, setup=by_role, limits={"timeout_seconds": 0.2}) as scene:
        asking = scene.asks("tool echo hi", scene.eve)
        thread = await scene.server.wait_for(lambda: asking.thread)
        await scene.server.wait_for_message(thread, lambda one: one.asks)
        scene.server.remove_member(scene.guild, scene.eve)
        last = scene.eve.says(thread, "say a last word")
        await scene.server.wait_for(lambda: last.shown_reactions == ["🚫"])
        await scene.says(thread, "You didn't allow it")
        scene.bob.says(thread, "say his")
        await scene.idle(thread, 2)
        assert scene.text(thread).endswith("his")
        assert "a last word" not in scene.text(thread)


async def test_an_edit_while_the_thread_opens_replaces_the_text(scene: Scene):
    held = scene.server.faults.hold("POST", rest.MESSAGE_THREADS)
    message = scene.asks("say wrong")
    await held.arrived.wait()
    scene.ada.edits(message, f"{scene.server.bot.mention} say right")
    later = scene.asks("say later", scene.bob)
    await scene.server.wait_for(lambda: later.shown_reactions)
    held.release()
    thread = await scene.server.wait_for(lambda: message.thread)
    assert await scene.says(thread, "right") == "right"


async def test_without_read_message_history_the_note_is_no_reply(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await busy(scene)
        scene.server.set_permissions(scene.channel, scene.server.bot, deny=["READ_MESSAGE_HISTORY"])
        scene.ada.says(thread, "say second")
        await scene.says(thread, "👀 Queued, 1 ahead of you.")
        await scene.pool.cancel(str(thread.id))
        await scene.says(thread, "second")


async def test_an_edit_of_an_answered_message_has_no_effect(scene: Scene):
    message = scene.asks("say one")
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    scene.ada.edits(message, f"{scene.server.bot.mention} say two")
    scene.ada.says(thread, "say three")
    await scene.idle(thread, 2)
    assert scene.text(thread) == "one\nthree"


async def test_a_full_queue_is_reported(tmp_path):
    async with staged(tmp_path, limits={"max_queued": 1}) as scene:
        thread = await busy(scene)
        scene.ada.says(thread, "say second")
        await scene.says(thread, "Queued")
        refused = scene.ada.says(thread, "say third")
        text = "The queue is full (1 waiting). Please resend once I've answered one."
        said = await scene.server.wait_for_message(thread, lambda message: message.content == text)
        assert said.referenced is refused, "others write in the thread too"
        await scene.server.wait_for(lambda: refused.shown_reactions == ["😱"])


async def test_a_stranger_is_denied_by_one_reaction_and_nothing_else(scene: Scene):
    message = scene.asks("say hello", scene.eve)
    await scene.server.wait_for(lambda: message.shown_reactions == ["🚫"])
    assert await scene.chat.outbox.flush(5)
    assert scene.server.threads_of(scene.channel) == []
    assert scene.server.requests_to("POST", rest.MESSAGES) == []
    assert scene.pool.rows() == []


async def test_messages_without_a_mention_and_system_messages_are_ignored(scene: Scene):
    scene.ada.says(scene.channel, "say hello")
    scene.ada.starts_thread(scene.channel, "theirs")
    message = scene.asks("say now")
    thread = await scene.server.wait_for(lambda: message.thread)
    await scene.idle(thread, 1)
    assert [row.thread_id for row in scene.pool.rows()] == [str(thread.id)]


@pytest.mark.parametrize("allowed", [True, False])
async def test_direct_messages_only_where_they_are_allowed(tmp_path, allowed):
    async with staged(tmp_path, allow_dm=allowed) as scene:
        channel = scene.server.dm(scene.ada)
        scene.ada.says(channel, "say psst")
        if allowed:
            assert await scene.says(channel, "psst") == "psst"
        else:
            thread = await scene.opens("say here")
            await scene.idle(thread, 1)
            assert scene.bodies(channel) == []


async def test_a_mention_without_text_gets_a_hint(scene: Scene):
    message = scene.asks("")
    hint = await scene.server.wait_for_message(scene.channel)
    assert hint.referenced is message
    assert "Mention me with a task" in hint.content
    assert scene.server.threads_of(scene.channel) == []


async def test_files_reach_the_agent_or_are_named_as_left_out(scene: Scene):
    scene.asks("what", attachments={"notes.txt": "remember the milk", "data.bin": b"\x00\x01\x02" * 50})
    thread = await scene.server.wait_for_thread(scene.channel)
    await scene.idle(thread, 1)
    text = scene.text(thread)
    assert "resource attachment:///notes.txt, text/plain, 17 characters" in text
    assert "Skipped `data.bin`" in text


async def test_a_missing_permission_to_open_threads_is_reported_in_the_channel(scene: Scene):
    scene.server.set_permissions(scene.channel, scene.guild.everyone, deny=["CREATE_PUBLIC_THREADS"])
    message = scene.asks("say hello")
    hint = await scene.server.wait_for_message(scene.channel)
    assert "Create Public Threads" in hint.content
    await scene.server.wait_for(lambda: message.shown_reactions == ["😱"])


async def test_a_message_deleted_before_its_thread_opens_is_not_answered(scene: Scene):
    held = scene.server.faults.hold("POST", rest.MESSAGE_THREADS)
    message = scene.asks("say never")
    await held.arrived.wait()
    scene.ada.deletes(message)
    held.release()
    other = scene.asks("say now")
    thread = await scene.server.wait_for(lambda: other.thread)
    await scene.idle(thread, 1)
    assert scene.bodies(scene.channel) == []


async def test_a_channel_without_threads_gets_a_hint(scene: Scene):
    scene.server.faults.status(400, "POST", rest.MESSAGE_THREADS, body={"code": 50024, "message": "Cannot execute"})
    scene.asks("say hello")
    hint = await scene.server.wait_for_message(scene.channel)
    words = "I can't open threads in this kind of channel. Mention me in a text channel, or in a thread."
    assert hint.content == words


async def test_a_deleted_thread_ends_its_session(scene: Scene):
    thread = await busy(scene)
    scene.ada.deletes_thread(thread)
    await scene.server.wait_for(lambda: not scene.pool.rows(suspended=True), what="no session, and nothing kept")


async def test_after_a_restart_the_bots_own_threads_need_no_mention(tmp_path):
    def before(scene: Scene) -> dict[str, object]:
        scene.server.make_thread(scene.channel, scene.server.bot, "from before")
        theirs = scene.server.make_thread(scene.channel, scene.ada, "somebody's")
        assert theirs.owner is scene.ada
        return {}

    async with staged(tmp_path, setup=before) as scene:
        ours, theirs = scene.server.threads_of(scene.channel)
        scene.ada.says(theirs, "say nothing")
        scene.ada.says(ours, "say back")
        assert await scene.says(ours, "back") == "back"
        assert scene.bodies(theirs) == []
        scene.asks_in(theirs, "say here too")
        assert await scene.says(theirs, "here too") == "here too"


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_webhook_follows_the_rules_for_programs(tmp_path, trusted):
    hooks: list[User] = []

    def by_id(scene: Scene) -> dict[str, object]:
        hooks.append(scene.server.make_webhook(scene.ada.name))
        heard = {"allow_bot_messages": "mentions", "trusted_bot_ids": (str(hooks[0].id),)}
        return {"allow_all_users": True, **(heard if trusted else {})}

    async with staged(tmp_path, setup=by_id) as scene:
        text = f"{scene.server.bot.mention} say from a hook"
        message = scene.server.webhook_says(hooks[0], scene.channel, text)
        if trusted:
            thread = await scene.server.wait_for(lambda: message.thread)
            await scene.says(thread, "from a hook")
        other = scene.asks("say from a person")
        thread = await scene.server.wait_for(lambda: other.thread)
        await scene.idle(thread, 1)
        assert bool(message.thread) == trusted
        assert bool(message.reaction_log) == trusted


async def test_the_bot_ignores_its_own_messages(scene: Scene):
    thread = await scene.opens(f'say "{scene.server.bot.mention} say never"')
    await scene.idle(thread, 1)
    scene.ada.says(thread, "say now")
    await scene.idle(thread, 2)
    assert scene.text(thread).endswith("now")
    assert scene.harness.row(str(thread.id)).turns == 2


async def test_two_bots_do_not_answer_each_other_for_ever(tmp_path):
    async with staged(tmp_path, allow_bot_messages="all", max_bot_turns=2) as scene:
        other = scene.server.make_user("other", scene.guild)
        other.bot = True
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        for text in ("say two", "say three", "say never"):
            message = other.says(thread, text)
        await scene.server.wait_for(lambda: message.shown_reactions == ["🚫"])
        await scene.idle(thread, 3)
        assert scene.text(thread) == "one\ntwo\nthree"
