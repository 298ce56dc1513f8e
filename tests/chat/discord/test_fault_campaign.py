"""Every call of a turn meets every fault, and many turns meet the limits: each answer is delivered once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.chat.discord.outbound.test_turns import digits
from tests.support import fault_campaign
from tests.support.discord_scene import staged

# Where a call is refused for good: what the person gets instead of the answer, and what is only missing.
REFUSED = {
    "open the thread": "reported",
    "take a reaction off": "survived",
    "rename the thread": "survived",
    "send a place in the queue": "survived",
    "delete a place in the queue": "survived",
    "look up a thread": "survived",
    "look at a message of an earlier run": "survived",
    "read what was missed": "survived",
    "fetch a file": "reported",
    "tell a clicker no": "reported",
    "answer a command": "reported",
    "propose while typing": "reported",
    "defer a command": "reported",
    "answer a deferred one": "reported",
    "explain an old button": "survived",
    "register the commands": "survived",
    "look for a lost message": "reported",
}
# An explanation is not given again: it would be there twice.
UNEXPLAINED = {"explain an old button": "survived"}
EXPECTED = {
    **dict.fromkeys(("403", "404"), REFUSED),
    **dict.fromkeys(("503", "dropped", "empty 502"), UNEXPLAINED),
}

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("fault", fault_campaign.FAULTS)
async def test_every_call_survives_every_fault(tmp_path, fault):
    found = await fault_campaign.column(tmp_path, fault)
    print(fault_campaign.table({fault: found}))
    assert {call: outcome for call, outcome in found.items() if outcome != "answered"} == EXPECTED.get(fault, {})


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
                partial(getattr, message, "thread"), seconds=20, what="a thread for each message"
            )
            await asyncio.wait_for(scene.idle(thread, 1), 30)
            assert "\n".join(body.content for body in scene.bodies(thread)).strip() == digits(3000 + number).strip()
        assert scene.server.answered_429 == []
