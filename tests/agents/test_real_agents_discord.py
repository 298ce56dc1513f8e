"""Real agents in a thread of Discord: a command that a person types runs, and the answer and the title read well."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.daemon import DaemonProcess
from tests.fakes.discord.server import DiscordServer
from tests.support.agent_stack import LIMIT, Gate, running
from tests.support.real_agents import ASKING, configuration, recipe

pytestmark = [pytest.mark.real_agents, pytest.mark.timeout(3 * LIMIT)]


COMMANDS = {
    "codex": ("/compact", "Context compacted", "CONTEXT CHECKPOINT COMPACTION"),
    "codex-newest": ("/compact", "Compact", "CONTEXT CHECKPOINT COMPACTION"),
    "opencode": ("/init", "AGENTS.md", "AGENTS.md"),
}
"""A command, a word of what the thread then shows, and one of what the agent itself asks the model for it."""


@pytest.fixture(params=sorted(COMMANDS))
def agent_name(request):
    return request.param


@pytest.fixture
async def discord(agent_name, tmp_path, model):
    """A Discord with a person, a channel, and a daemon with the agent."""
    async with Gate() as gate, DiscordServer() as server:
        guild = server.make_guild("home")
        channel, ada = server.make_channel(guild, "general"), server.make_user("ada", guild)
        home = tmp_path / "home"
        argv, env = recipe(agent_name, home, model.base_url, gate.url)
        discord = (
            f'[discord]\nbot_token = "{server.token}"\nallowed_users = ["{ada.id}"]\n'
            f'api_base = "{server.api_base}"\ngateway_url = "{server.gateway_url}"\n'
        )
        config = discord + configuration(argv, env, ASKING.get(agent_name))
        daemon = await asyncio.to_thread(DaemonProcess, tmp_path / "d", config)
        with daemon:
            await server.wait_until_connected()
            yield server, channel, ada, daemon
            await asyncio.to_thread(daemon.stop)
        assert running(HOME=str(home)) == []
        assert gate.tried == []


async def test_a_command_runs_and_answer_and_title_read_well(discord, model, agent_name):
    server, channel, ada, daemon = discord
    ada.says(channel, "explain echo hi", mentions=[server.bot])
    thread = await server.wait_for_thread(channel, seconds=LIMIT)

    def allow(message) -> list[str]:
        return [button["custom_id"] for button in message.buttons if button["label"].startswith("Allow")]

    def asked_or_done(message) -> bool:
        return bool(allow(message)) or "The tool said" in message.content

    message = await server.wait_for_message(thread, asked_or_done, seconds=LIMIT)
    if allow(message):
        ada.clicks(message, allow(message)[0])
    await server.wait_for_message(thread, lambda message: "The tool said" in message.content, seconds=LIMIT)
    text = "\n\n".join(message.content for message in server.messages_in(thread, by=server.bot))
    assert "I look at it first.\n" in text, "a paragraph of its own, above a question in a message of its own"

    command, shown, prompt = COMMANDS[agent_name]
    ada.says(thread, command)
    await server.wait_for_message(thread, lambda message: shown in message.content, seconds=LIMIT)

    def said() -> list[str]:
        return [text for request in model.requests for text in request.users]

    await server.wait_for(lambda: any(prompt in text for text in said()), seconds=LIMIT, what="the agent's own prompt")
    assert [text for text in said() if command in text] == [], "the model did not get the command as text"
    assert any(text.startswith("explain echo hi\n") for text in said()), "nothing is glued to a person's words"

    with daemon.wire() as wire:
        (row,) = wire.call("sessions.list")["sessions"]
    assert "acpbot-context" not in thread.name + (row["title"] or "")
    assert "Data about this message" not in thread.name + (row["title"] or "")
