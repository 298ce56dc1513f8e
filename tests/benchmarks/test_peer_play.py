"""How an answer in Discord is compared with what the model said, and how a peer is pointed at the loopback Discord."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks import gateways
from tests.benchmarks.peer_play import FENCE, answer, compare
from tests.fakes.discord.server import DiscordServer
from tests.fakes.model_server import ModelServer
from tests.support.pool import Harness

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

TEXT = answer(1, 12)


def test_an_answer_shown_whole_has_no_wrong_line():
    assert compare(TEXT, [TEXT]) == (0, 0)


def test_a_block_of_code_that_goes_on_in_the_next_message_is_right():
    before, code, after = TEXT.partition("value_1_1 ")
    assert compare(TEXT, [f"{before.rstrip()}\n{FENCE}", f"{FENCE}python\n    {code}{after}"]) == (0, 0)


def test_a_block_that_is_not_closed_shows_its_end_as_code_and_is_counted():
    before, code, after = TEXT.partition("    value_1_1 ")
    wrong, unclosed = compare(TEXT, [before, code + after])
    assert wrong > 0
    assert unclosed == 2


def test_a_line_that_is_lost_or_doubled_or_split_is_wrong():
    lines = TEXT.splitlines()
    assert compare(TEXT, ["\n".join(lines[1:])]) == (1, 0)
    assert compare(TEXT, ["\n".join([lines[0], *lines])]) == (1, 0)
    assert compare(TEXT, [lines[0][:20], "\n".join([lines[0][20:], *lines[1:]])]) == (1, 0)


def test_lines_of_two_answers_differ_and_each_line_is_there_once():
    lines = [line for line in TEXT.splitlines() if not line.startswith(FENCE)]
    assert len(set(lines)) == len(lines)
    assert not set(lines) & set(answer(2, 12).splitlines()) - {FENCE}


def test_without_a_peer_it_is_said_how_to_name_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(gateways.HERMES, raising=False)
    monkeypatch.delenv(gateways.PEER, raising=False)
    found, why = gateways.installed()
    assert found == [gateways.Acpbot]
    assert gateways.HERMES in why
    monkeypatch.setenv(gateways.PEER, "a-gateway --now")
    assert gateways.installed() == ([gateways.Acpbot, gateways.Peer], "")


async def test_the_discord_library_of_a_peer_goes_to_the_loopback_server_and_nowhere_else(tmp_path: Path):
    program = (
        "import json, socket, discord.client\n"
        "from discord.http import Route; from discord.gateway import DiscordWebSocket\n"
        "try: reached = socket.getaddrinfo('example.org', 443)\n"
        "except socket.gaierror: reached = None\n"
        "print(json.dumps([Route.BASE, str(DiscordWebSocket.DEFAULT_GATEWAY), reached]))"
    )
    async with DiscordServer() as discord, ModelServer() as model:
        environ = {**os.environ, **gateways.environment(gateways.Play(discord, model, "1", "2"))}
        argv = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: ASYNC221 - it asks nothing of the servers
        assert json.loads(done.stdout) == [discord.api_base, discord.gateway_url, None]


async def test_the_agent_of_a_model_server_passes_its_pieces_on(tmp_path: Path):
    async with ModelServer({"a": TEXT}) as model:
        harness = Harness(tmp_path, argv=(sys.executable, str(gateways.AGENT), model.base_url))
        listener = await harness.turn("1", "please\ntell a")
        assert listener.text == TEXT
        assert listener.kinds.count("agent_message_chunk") > 50
        assert model.requests[0].last_piece_at > 0
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()
