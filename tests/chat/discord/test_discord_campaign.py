"""Every call of a turn meets every fault, and many turns meet the limits: what is said stands there, and once."""

from __future__ import annotations

import asyncio

import pytest

from tests.chat.discord.scene import staged
from tests.chat.discord.test_discord_turns import digits
from tests.fakes.discord import rest

CALLS = {
    "open the thread": ("POST", rest.MESSAGE_THREADS),
    "send": ("POST", rest.MESSAGES),
    "edit": ("PATCH", rest.MESSAGE),
    "react": ("PUT", rest.REACTION),
    "take a reaction back": ("DELETE", rest.REACTION),
    "type": ("POST", rest.TYPING),
    "rename": ("PATCH", rest.CHANNEL),
}
FAULTS = ("500 before", "500 after", "503", "dropped", "403", "404", "429")
# Without a thread there is nowhere to answer: what matters is that the daemon lives and the next message works.
FINAL = {("open the thread", "403"), ("open the thread", "404"), ("send", "403"), ("send", "404")}


def arrange(faults, fault: str, method: str, route: str) -> None:
    match fault.split():
        case ["dropped"]:
            faults.abort(method, route, times=2 if method in {"PUT", "DELETE"} else 1)
        case ["429"]:
            faults.too_many(method, route, retry_after=0.05)
        case [status, when]:
            faults.status(int(status), method, route, when=when)
        case [status]:
            faults.status(int(status), method, route)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_turn_survives(tmp_path, call, fault):
    method, route = CALLS[call]
    async with staged(tmp_path, limits={"env": {"ACPBOT_DEMO_PACE": "0.01"}}) as scene:
        arrange(scene.server.faults, fault, method, route)
        scene.asks("stream 12; title A better name")
        if (call, fault) not in FINAL:
            thread = await scene.server.wait_for_thread(scene.channel, seconds=20)
            await scene.idle(thread, 1)
            body = scene.bodies(thread)[-1]
            said = scene.pool.get(str(thread.id)).output.follow(print)[0]
            lines = [line["text"] for line in said if line["kind"] == "text" and line["text"].strip()]
            assert lines, "the agent has said something"
            assert all(line.strip() in body.content for line in lines)
        scene.server.faults.clear()
        again = scene.asks("say and on we go")
        await scene.server.wait_for(
            lambda: any("and on we go" in scene.text(thread) for thread in scene.server.threads_of(scene.channel)),
            seconds=20,
            what="the answer to the next message",
        )
        assert again.content


async def test_20_000_characters_in_2_000_chunks_cost_no_429(tmp_path):
    async with staged(tmp_path, unit=0.05) as scene:
        thread = await scene.opens("long 20000")
        await scene.idle(thread, 1)
        *bodies, last = scene.bodies(thread)
        shown = "\n".join(body.content for body in bodies).rpartition("\n… ")[0]
        assert (shown + "\n" + last.attachments[0].text.lstrip("\n")).strip() == digits(20000).strip()
        assert scene.server.answered_429 == []


async def test_20_threads_at_once_are_complete_and_cost_no_429(tmp_path):
    limits = {"max_sessions": 20, "env": {"ACPBOT_DEMO_PACE": "0.005"}}
    async with staged(tmp_path, unit=0.05, limits=limits) as scene:
        asked = [scene.asks(f"long {3000 + number}") for number in range(20)]
        for number, message in enumerate(asked):
            thread = await scene.server.wait_for(
                lambda m=message: next((t for t in scene.server.threads_of(scene.channel) if t.id == m.id), None),
                seconds=20,
                what="a thread for each message",
            )
            await asyncio.wait_for(scene.idle(thread, 1), 30)
            assert "\n".join(body.content for body in scene.bodies(thread)).strip() == digits(3000 + number).strip()
        assert scene.server.answered_429 == []
