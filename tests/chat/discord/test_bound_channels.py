"""A channel that has a table in [discord.channels]: agent, folder, mode and people; its threads inherit all of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acpbot.chat.discord import access
from acpbot.chat.discord.access import Author, MessageSource
from acpbot.chat.discord.inbound import agent_choice
from acpbot.config.settings import ChannelSettings, DiscordSettings
from acpbot.errors import AgentStartError
from acpbot.storage.store import Store
from tests.chat.discord.interactions.test_commands import answer_to
from tests.support.discord_scene import staged
from tests.support.pool import Harness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.discord_scene import Scene


def bind(scene: Scene, *, agents: tuple[str, ...] = ("demo", "other"), **channel: Any) -> None:
    """Reload the settings with a table for the scene's channel, for the chat and for the pool."""
    assert scene.settings.discord is not None
    tables = {str(scene.channel.id): ChannelSettings(**channel)} if channel else {}
    demo = scene.harness.settings.agents["demo"]
    both = {
        "discord": msgspec.structs.replace(scene.settings.discord, channels=tables),
        "agents": {name: msgspec.structs.replace(demo, name=name) for name in agents},
    }
    scene.settings = msgspec.structs.replace(scene.settings, **both)
    scene.chat.reconfigure(scene.settings)
    scene.pool.reconfigure(msgspec.structs.replace(scene.harness.settings, **both))


@asynccontextmanager
async def bound(tmp_path: Path, **channel: Any) -> AsyncIterator[Scene]:
    async with staged(tmp_path) as scene:
        bind(scene, **channel)
        yield scene


async def test_a_thread_works_with_the_agent_the_folder_and_the_mode_of_its_channel(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    async with bound(tmp_path, agent="other", working_dir=folder, mode="auto") as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        row = scene.pool.row(str(thread.id))
        assert (row.agent, row.cwd, row.mode) == ("other", str(folder), "auto")
        await scene.pool.kill([scene.harness.target(str(thread.id))])
        assert scene.pool.row(str(thread.id)).cwd == str(folder)  # suspended
        bind(scene)  # the table is taken out: the folder is derived, not remembered
        assert scene.pool.row(str(thread.id)).cwd == str(tmp_path / "workspaces" / str(thread.id))


async def test_a_mode_that_the_agent_does_not_have_lets_no_session_run(tmp_path):
    async with bound(tmp_path, mode="nonsense") as scene:
        thread = await scene.opens("say hello")
        await scene.says(thread, AgentStartError.for_people)
        assert scene.pool.get(str(thread.id)) is None


async def test_the_channel_of_a_thread_is_known_after_a_restart(tmp_path):
    channel = {"5": ChannelSettings(working_dir=tmp_path)}

    def harness(store: Store) -> Harness:
        made = Harness(tmp_path, store=store)
        discord = DiscordSettings(bot_token="t", channels=channel)
        made.pool.reconfigure(msgspec.structs.replace(made.settings, discord=discord))
        return made

    first = harness(Store.open(tmp_path / "a.sqlite3"))
    first.pool.ensure("1001", platform="test", channel="5")
    await first.turn("1001", "say hello")
    assert first.row("1001").cwd == str(tmp_path)
    await first.pool.close(grace_seconds=0.5)
    await asyncio.to_thread(first.pool.store.close)
    await first.launcher.aclose()
    second = harness(Store.open(tmp_path / "a.sqlite3"))
    assert second.row("1001").cwd == str(tmp_path)
    await second.turn("1001", "say hello again")  # nothing of Discord says which channel it is
    assert second.row("1001").cwd == str(tmp_path)
    await second.pool.close(grace_seconds=0.5)
    await asyncio.to_thread(second.pool.store.close)
    await second.launcher.aclose()


async def test_a_thread_from_before_a_channel_was_stored_learns_it_from_its_next_message(tmp_path):
    async with bound(tmp_path, working_dir=tmp_path) as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        await scene.pool.kill([scene.harness.target(str(thread.id))])
        known = scene.pool.thread(str(thread.id))
        assert known is not None
        known.channel = None
        scene.ada.says(thread, "say again")
        await scene.idle(thread, 2)
        assert scene.pool.row(str(thread.id)).cwd == str(tmp_path)


async def test_a_reload_of_the_table_is_reported_for_the_sessions_that_run(tmp_path):
    async with bound(tmp_path, working_dir=tmp_path) as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        assert scene.pool.outdated() == []
        bind(scene, mode="auto")
        assert [one.keys for one in scene.pool.outdated()] == [("working_dir", "mode")]


async def test_the_people_of_a_channel_replace_those_of_everywhere_else(tmp_path):
    async with staged(tmp_path) as scene:
        bind(scene, allowed_users=(str(scene.eve.id),))
        refused = scene.asks("say hello")
        await scene.server.wait_for(lambda: refused.shown_reactions == ["🚫"], what="the refusal")
        scene.asks("say hello", who=scene.eve)
        thread = await scene.server.wait_for_thread(scene.channel)
        await scene.idle(thread, 1)
        assert "don't have access" in await answer_to(scene, "status", thread, who=scene.ada)


# Choosing the agent of a conversation.


async def test_the_first_words_of_a_message_choose_the_agent(tmp_path):
    async with bound(tmp_path, agent="demo") as scene:
        thread = await scene.opens("Agent: OTHER say fixed")
        assert "fixed" in await scene.says(thread, "fixed")
        assert (thread.name, scene.pool.row(str(thread.id)).agent) == ("say fixed", "other")
        scene.ada.says(thread, "say agent: demo is no prefix here")
        await scene.says(thread, "agent: demo is no prefix here")
        assert scene.pool.row(str(thread.id)).agent == "other"


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("agent: codex fix the test", "codex", "fix the test"),
        ("AGENT:Codex: fix", "codex", "fix"),
        ("agent: `codex`\nfix\nthis", "codex", "fix\nthis"),
        ("agent: codex, fix", "codex", "fix"),
        ("agent: codex", "codex", ""),
        ("agent codex fix", None, "agent codex fix"),
        ("the agent: codex", None, "the agent: codex"),
        ("agent:\nfix", None, "agent:\nfix"),
        ("agent: " + "x" * 100_000, None, "agent: " + "x" * 100_000),
    ],
)
def test_the_words_that_name_an_agent(text, name, rest):
    assert agent_choice.split(text) == (name, rest)


async def test_a_program_that_names_no_agent_of_ours_may_begin_so(tmp_path):
    async with staged(tmp_path, allow_bot_messages="mentions") as scene:
        hook = scene.server.make_webhook("alerts")
        asked = scene.server.webhook_says(hook, scene.channel, f"{scene.server.bot.mention} agent: web-01 is down")
        await scene.server.wait_for(partial(getattr, asked, "thread"), what="the thread")


async def test_an_agent_that_there_is_not_opens_no_thread_and_the_names_are_told(tmp_path):
    async with bound(tmp_path) as scene:
        asked = scene.asks("agent: `@everyone` say hello")
        await scene.says(scene.channel, "I don't know the agent `@everyone`. You can use `demo`, `other`.")
        scene.asks("agent: other", who=scene.bob)
        await scene.says(scene.channel, "What should `other` do?")
        assert asked.thread is None
        assert not any(one.pings for one in scene.bodies(scene.channel))
        assert scene.pool.rows(suspended=True) == []


async def test_an_edit_of_a_message_that_waits_names_no_agent_to_the_agent(tmp_path):
    async with bound(tmp_path, agents=("demo", "other")) as scene:
        asked = scene.asks("agent: other say first")
        scene.ada.edits(asked, f"{scene.server.bot.mention} agent: other say second")
        thread = await scene.server.wait_for_thread(scene.channel)
        await scene.idle(thread, 1)
        assert "agent:" not in scene.text(thread)


async def test_the_agent_command_in_a_channel_chooses_for_the_next_thread_only(tmp_path):
    async with bound(tmp_path, agent="demo") as scene:
        assert "▶️ demo" in await answer_to(scene, "agent", scene.channel)
        chosen = await answer_to(scene, "agent", scene.channel, name="other")
        assert chosen == "Your next thread in this channel will use `other`."
        assert "▶️ other" in await answer_to(scene, "agent", scene.channel)
        assert "▶️ demo" in await answer_to(scene, "agent", scene.channel, who=scene.bob)
        for number, expected in enumerate(["other", "demo"]):
            asked = scene.asks(f"say {number}")
            await scene.server.wait_for(partial(getattr, asked, "thread"), what="the thread")
            thread = asked.thread
            assert thread is not None
            await scene.idle(thread, 1)
            assert scene.pool.row(str(thread.id)).agent == expected


async def test_a_reset_keeps_the_agent_that_somebody_has_chosen_for_the_thread(tmp_path):
    async with bound(tmp_path) as scene:
        thread = await scene.opens("say one")
        await scene.idle(thread, 1)
        await answer_to(scene, "agent", thread, name="other")
        await answer_to(scene, "reset", thread)
        scene.bob.says(thread, "say two")
        await scene.says(thread, "two")
        assert scene.harness.row(str(thread.id)).agent == "other"


async def test_another_agent_by_command_stays_in_the_folder_of_the_channel(tmp_path):
    async with bound(tmp_path, agent="demo", working_dir=tmp_path, mode="auto") as scene:
        thread = await scene.opens("say hello")
        await scene.idle(thread, 1)
        await answer_to(scene, "agent", thread, name="other")
        row = scene.pool.row(str(thread.id))
        assert (row.agent, row.cwd) == ("other", str(tmp_path))


# Which rule denies, for the log.


def test_the_rule_that_denies_is_named():
    settings = DiscordSettings(
        bot_token="t",
        allowed_users=("1",),
        channels={"5": ChannelSettings(allowed_role_ids=("9",)), "6": ChannelSettings()},
    )

    def rule(user: str, source: MessageSource, *roles: str) -> str | None:
        return access.denial(settings, Author(id=user, role_ids=frozenset(roles)), source)

    thread = MessageSource(channel_id="50", parent_id="5", is_thread=True)
    assert rule("2", thread, "9") is None
    assert rule("1", MessageSource(channel_id="6")) is None
    assert str(rule("1", thread)).startswith('person: [discord.channels."5"] allowed_users')
    assert str(rule("2", MessageSource(channel_id="6"))).startswith("person: [discord] allowed_users")
    assert str(rule("1", MessageSource(channel_id="7"))).startswith("place: neither allowed_channels nor")
    assert str(rule("1", MessageSource(channel_id="8", is_dm=True))) == "place: [discord] allow_dm is false"


async def test_a_denial_has_its_rule_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO")
    async with staged(tmp_path) as scene:
        refused = scene.asks("say hello", who=scene.eve)
        await scene.server.wait_for(lambda: refused.shown_reactions == ["🚫"], what="the refusal")
    (denied,) = [record for record in caplog.records if record.message == "message_denied"]
    assert "allowed_users" in str(vars(denied))
