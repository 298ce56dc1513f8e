"""What an operator does by acpctl in threads of Discord, as the threads show it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from acpbot.chat.discord.operator_prompts import shown_prompt
from acpbot.chat.operator import OperatorActions
from acpbot.chat.platform import IncomingMessage
from acpbot.errors import Conflict, Draining, InvalidParams, NotFound
from acpbot.storage.records import TurnRecord
from tests.support.discord_scene import staged
from tests.support.scripted_agents import END, says, scripted

ASK = {"ask": {"toolCallId": "b", "title": "make", "rawInput": {"command": "make"}}}


class Desk:
    """An operator at a scene, and the events of the last prompt."""

    def __init__(self, scene) -> None:
        self.scene = scene
        self.actions = OperatorActions(scene.pool)
        self.actions.add_channels(scene.chat.operator)
        self.events: list[dict] = []
        self.news = asyncio.Event()

    def follow(self, text: str):
        def emit(event: dict) -> None:
            self.events.append(event)
            self.news.set()

        return self.actions.follow(emit, text)

    def send(self, thread, text: str, agent: str | None = None, *, now: bool = False) -> int:
        return self.actions.send(str(thread.id), text, "rosa", agent=agent, follower=self.follow(text), now=now)

    async def begin(self, channel_id: str, text: str, agent: str | None = None):
        return await self.actions.begin(channel_id, text, "rosa", agent=agent, follower=self.follow(text))

    async def event(self, kind: str) -> dict:
        async with asyncio.timeout(20):
            while not any(event["type"] == kind for event in self.events):
                self.news.clear()
                await self.news.wait()
        return next(event for event in self.events if event["type"] == kind)


async def test_a_prompt_of_an_operator_can_interrupt(tmp_path):
    async with staged(tmp_path) as scene:
        thread, desk = await scene.opens("say first; stall 60"), Desk(scene)
        await scene.says(thread, "first")
        assert desk.send(thread, "say second", now=True) == 1
        await scene.idle(thread, 2)
        answers = [one.content for one in scene.bodies(thread) if "say second" not in one.content]
        assert answers == ["first", "⏹️ Interrupted by an admin to send the next message.", "second"]


async def test_a_prompt_of_an_operator_is_shown_in_the_thread_with_its_answer_below_and_notifies_nobody(tmp_path):
    prompts = [[says("one"), END], [ASK, {"answer": True}, says(" and built"), END]]
    async with staged(tmp_path, limits={"argv": scripted(prompts=prompts)}, notify_after_seconds=1) as scene:
        thread, desk = await scene.opens("go"), Desk(scene)
        await scene.idle(thread, 1)
        assert desk.send(thread, f"build it\nfor <@{scene.bob.id}>") == 0
        asked = await desk.event("permission")
        await scene.says(thread, "make")
        prompt = next(body for body in scene.bodies(thread) if body.components)
        assert f"Waiting for <@{scene.ada.id}> or an admin." in prompt.content
        desk.actions.permit(str(thread.id), asked["request"], asked["options"][0]["option_id"], "rosa")
        end = await desk.event("turn_end")
        assert (end["thread"], end["stop_reason"], end["text"]) == (
            str(thread.id),
            "end_turn",
            "selected yes and built",
        )
        await scene.idle(thread, 2)
        bodies = [body.content for body in scene.bodies(thread)]
        assert bodies[1] == f"An admin asks:\n> build it\n> for <@{scene.bob.id}>"
        assert bodies[2].startswith("✅ Allowed once by an admin: ")
        assert bodies[3] == "selected yes and built"
        mentions = [body.allowed_mentions for body in scene.bodies(thread)]
        assert mentions == [{"parse": []}] * 4


async def test_an_operator_begins_a_thread_in_a_channel_and_people_go_on_there(tmp_path):
    async with staged(tmp_path) as scene:
        desk = Desk(scene)
        thread_id, queued = await desk.begin(str(scene.channel.id), "say hello")
        assert queued == 0
        thread = await scene.server.wait_for_thread(scene.channel)
        assert (thread_id, thread.name) == (str(thread.id), "say hello")
        (starter,) = scene.bodies(scene.channel)
        assert starter.content == "An admin (`rosa`) asks: say hello"
        await scene.says(thread, "hello")
        assert (await desk.event("turn_end"))["text"] == "hello"
        scene.ada.says(thread, "say more")
        await scene.says(thread, "more")
        assert scene.pool.row(thread_id).owner is None


async def test_a_thread_is_begun_only_where_people_can_use_the_bot(tmp_path):
    async with staged(tmp_path, allow_all_channels=False, allowed_channels=("1",)) as scene:
        desk = Desk(scene)
        with pytest.raises(InvalidParams, match="nobody can use the bot there"):
            await desk.begin(str(scene.channel.id), "say hello")
        with pytest.raises(NotFound, match="can't see a channel"):
            await desk.begin("12345", "say hello")
        with pytest.raises(InvalidParams, match="cannot use agent 'gone'"):
            await desk.begin(str(scene.channel.id), "say hello", agent="gone")
        assert scene.bodies(scene.channel) == []


async def test_a_refused_prompt_leaves_no_message_in_the_thread(tmp_path):
    async with staged(tmp_path) as scene:
        thread, desk = await scene.opens("say one"), Desk(scene)
        await scene.idle(thread, 1)
        scene.pool.draining = True
        with pytest.raises(Draining):
            desk.send(thread, "say two")
        with pytest.raises(Draining):
            await desk.begin(str(scene.channel.id), "say two")
        with pytest.raises(Draining):
            await desk.actions.restart(str(thread.id), "s-1")
        assert "asks" not in scene.text(thread)


async def test_a_prompt_of_an_operator_that_waits_runs_after_a_restart(tmp_path):
    async with staged(tmp_path) as scene:
        thread, desk = await scene.opens("sleep 60"), Desk(scene)
        name = str(thread.id)
        await scene.server.wait_for(lambda: scene.pool.get(name) is not None and scene.pool.row(name).state == "busy")
        assert desk.send(thread, "say mine") == 1
        await scene.says(thread, "An admin asks: say mine")
        session = scene.pool.get(name)
        assert session is not None
        (waiting,) = session.turns.queue
        assert waiting.asker is None
        assert waiting.message is not None
        record = TurnRecord("earlier", name, "discord", "queued", waiting.message)
        scene.pool.store.restored.turns.append(record)
        scene.chat.recover()
        await scene.pool.cancel(name)
        await scene.idle(thread, 3)
        assert (await desk.event("turn_end"))["text"] == "mine"
        assert [body.content for body in scene.bodies(thread)][-2:] == ["mine", "mine"]


async def test_suspend_restart_and_forget_say_so_in_the_thread(tmp_path):
    async with staged(tmp_path) as scene:
        thread, desk = await scene.opens("say one"), Desk(scene)
        name = str(thread.id)
        await scene.idle(thread, 1)
        first = desk.actions.session_of(name)
        assert first is not None
        with pytest.raises(Conflict, match="cannot forget"):
            desk.actions.forget(name)
        outcome, second = await desk.actions.restart(name, first)
        assert outcome == "ended"
        assert second is not None
        assert second != first
        await scene.says(thread, "An admin restarted this session.")
        assert await desk.actions.restart(name, first) == ("conflict", second)
        assert await desk.actions.suspend(name, second) == "ended"
        await scene.says(thread, "An admin closed this session. Send a message to carry on where you left off.")
        desk.actions.forget(name)
        await scene.says(thread, "An admin reset this conversation. Your next message starts a new one.")
        with pytest.raises(NotFound):
            scene.pool.row(name)
        assert desk.actions.find(name) == name
        desk.send(thread, "say anew")
        await scene.says(thread, "anew")


def test_a_long_prompt_is_shown_by_its_beginning_and_attached_whole():
    assert shown_prompt("fix\u202e it") == ("An admin asks: fix it", None)
    long = shown_prompt("word " * 1000)
    assert len(long.text) < 2000
    assert long.file is not None
    assert long.file.data == ("word " * 1000).strip().encode()
    many = shown_prompt("a\n" * 900)
    assert many.text == "An admin sent a prompt; it's in the attached file."
    assert many.file is not None


async def test_a_prompt_of_an_operator_that_a_person_repeats_gets_its_answer_as_usual(tmp_path):
    async with staged(tmp_path) as scene:
        thread = await scene.opens("say one")
        name = str(thread.id)
        await scene.idle(thread, 1)
        repeated = IncomingMessage(thread_id=name, text="say again", owner=str(scene.ada.id), key="operator-1")
        message = msgspec.json.encode(repeated)
        scene.pool.store.restored.turns.append(TurnRecord("earlier", name, "discord", "queued", message))
        scene.chat.recover()
        await scene.says(thread, "again")
        await scene.idle(thread, 2)
        assert [body.content for body in scene.bodies(thread)] == ["one", "again"]
