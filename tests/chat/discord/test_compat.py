"""Each thing that acpbot uses of discord.py without a promise of its documentation exists in the installed version."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

import discord
import pytest
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import HTTPClient, Route

from acpbot.chat.discord import compat
from tests.support.discord_scene import default_addresses, staged

if TYPE_CHECKING:
    from tests.support.discord_scene import Scene


def test_the_addresses_are_attributes_of_classes():
    assert Route.BASE.startswith("https://discord.com/")
    assert str(DiscordWebSocket.DEFAULT_GATEWAY).startswith("wss://gateway.discord.gg")
    with default_addresses():
        compat.configure("http://127.0.0.1:1/api", "ws://127.0.0.1:1")
        assert Route("GET", "/users/@me").url == "http://127.0.0.1:1/api/users/@me"
        assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "ws://127.0.0.1:1"


def test_without_addresses_they_stay_discord_s_own():
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    compat.configure(None, None)
    assert before == (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)


async def test_the_times_of_heartbeats_are_there(tmp_path):
    async with staged(tmp_path, heartbeat=0.05) as scene:
        await scene.server.wait_for(lambda: scene.server.gateway.heartbeats >= 3)
        heart = compat.heart(scene.chat.outbox.rest.client)
        assert isinstance(heart, KeepAliveHandler)
        for moment in (compat.acknowledged_at(heart), compat.received_at(heart), compat.sent_at(heart)):
            assert isinstance(moment, float)
        assert isinstance(heart.latency, float)


def test_without_a_connection_there_are_no_times():
    assert compat.heart(None) is None
    assert (compat.acknowledged_at(None), compat.received_at(None), compat.sent_at(None)) == (None, None, None)


async def test_the_threads_that_send_heartbeats_are_found_by_client(scene: Scene):
    client = scene.chat.outbox.rest.client
    assert client is not None
    assert compat.hearts(client) == [compat.heart(client)]
    assert compat.hearts(discord.Client(intents=discord.Intents.none())) == []


async def test_a_cut_connection_is_resumed(scene: Scene):
    client = scene.chat.outbox.rest.client
    assert client is not None
    compat.cut(client.ws)
    await scene.server.wait_for(lambda: scene.server.gateway.resumes == 1)


async def test_the_gate_of_the_global_rate_limit_opens():
    http = HTTPClient(asyncio.get_running_loop())
    http._global_over = asyncio.Event()
    compat.open_global_gate(http)
    assert http._global_over.is_set()
    assert "_global_over" in inspect.getsource(HTTPClient.request)


def test_the_warnings_about_voice_can_be_switched_off():
    assert {"warn_nacl", "warn_dave"} <= vars(discord.VoiceClient).keys()


def test_failed_connections_are_logged_where_acpbot_silences_them():
    assert compat.CLIENT_LOGGER in logging.root.manager.loggerDict
    assert discord.client._log.name == compat.CLIENT_LOGGER


async def test_messages_and_members_are_made_of_discord_s_own_data(scene: Scene):
    said = scene.asks("say hello")
    api = scene.chat.outbox.rest
    assert api.client is not None
    guild, channel = api.client.get_guild(scene.guild.id), api.client.get_channel(scene.channel.id)
    assert guild is not None
    assert isinstance(channel, discord.TextChannel)
    message = compat.message_of(channel, await api.message(str(channel.id), str(said.id)))
    assert (message.id, message.channel, message.guild) == (said.id, channel, guild)
    member = compat.member_of(guild, await api.member(str(guild.id), str(scene.ada.id)))
    assert (member.id, member.guild) == (scene.ada.id, guild)


def test_a_body_that_is_no_json_is_found_before_it_is_sent():
    assert compat.to_json({"content": "é"}).startswith("{")
    for body in ({"content": object()}, {1: {2}}):
        with pytest.raises((TypeError, ValueError)):
            compat.to_json(body)
