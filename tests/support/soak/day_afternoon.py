"""The rest of the recorded day, one thing after the other: a full house, and what breaks."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

from tests.fakes.discord import rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.soak.day import Day

ODD_BODIES = (b"", b"\xff\xfe", b"<html>Bad Gateway</html>", b"null", b"[]")


async def full_house(day: Day, config: Callable[..., str]) -> None:
    """Five tasks where two agents may run: three wait in line, one leaves it."""
    await day.reload(config(max_sessions=2))
    working = [
        day.says(who, day.general, f'say I begin.; stall 3; say "\\nI worked for {who.name}."')
        for who in (day.ada, day.bob)
    ]
    for one in working:
        await day.sees(one, "I begin.")
    waiting = [day.says(who, day.general, f"say I waited for {who.name}.") for who in (day.cleo, day.dan)]
    for one in waiting:
        await day.sees(one, "in line")
    leaves = day.says(day.eve, day.general, "say I never came.")
    await day.sees(leaves, "in line")
    await day.gives(day.eve, await day.thread_of(leaves), "cancel")
    await day.sees(leaves, f"Taken out of the line by {day.eve.mention}")
    leaves.outcome = "withdrawn"
    for one in (*working, *waiting):
        verb = "worked" if one in working else "waited"
        await day.answered(one, f"I {verb} for {one.message.author.name}.")
    await day.reload(config())


async def gateway_cut(day: Day, _config: Callable[..., str]) -> None:
    """The connection is lost in the middle of an answer, and for a while none is accepted."""
    prompt = day.says(day.ada, day.general, 'say I begin.; stall 2; say "\\nI end."')
    await day.sees(prompt, "I begin.")
    gateway = day.server.gateway
    gateway.refuse()
    gateway.cut()
    await day.server.wait_for(lambda: gateway.refused, seconds=20, what="a refused connection")
    gateway.expire()  # no RESUME: what was written meanwhile is read from the channels
    thread = await day.thread_of(prompt)
    missed = [day.says(day.bob, thread, "say You missed me."), day.says(day.cleo, day.general, "say Me too.")]
    gateway.accept()
    await day.answered(prompt, "I end.")
    await day.answered(missed[0], "You missed me.")
    await day.answered(missed[1], "Me too.")


async def rest_outage(day: Day, _config: Callable[..., str]) -> None:
    """Discord answers by errors with odd bodies for a while."""
    prompt = day.says(day.bob, day.general, 'say I begin.; stall 2; say "\\nI end."')
    await day.sees(prompt, "I begin.")
    faults = day.server.faults
    for number, body in enumerate(ODD_BODIES):
        for method, route in (("POST", rest.MESSAGES), ("PATCH", rest.MESSAGE), ("PUT", rest.REACTION)):
            faults.status(502 + number % 3, method, route, body=body)
    thread = await day.thread_of(prompt)
    queued = day.says(day.bob, thread, "say And this one.")
    await day.answered(prompt, "I end.")
    await day.answered(queued, "And this one.")
    await day.asks(day.dan, day.general, "say All is well.", "All is well.")


async def reload_takes_dan_out(day: Day, config: Callable[..., str]) -> None:
    """His message waits in the queue when he loses access."""
    running = day.says(day.cleo, day.general, 'say I begin.; stall 3; say "\\nCleo goes on."')
    await day.sees(running, "I begin.")
    thread = await day.thread_of(running)
    queued = day.says(day.dan, thread, "say This must not run.")
    await day.sees(queued, "ahead of you")
    people = [one for one in day.people if one is not day.dan]
    await day.reload(config(people=people))
    await day.answered(running, "Cleo goes on.")
    await day.refused(queued, "no longer have access")
    await day.denied(day.says(day.dan, thread, "say Nor this."))
    await day.reload(config())
    await day.asks(day.dan, thread, "say I am back in.", "I am back in.")


async def restart(day: Day, config: Callable[..., str]) -> None:
    """SIGTERM in the middle of an answer that takes longer than the drain; messages wait and come meanwhile."""
    short = day.says(day.ada, day.general, "stall 1; say I fit into the drain.")
    long = day.says(day.bob, day.general, "say I begin.; sleep 300; say Never.")
    await day.sees(long, "I begin.")
    thread = await day.thread_of(long)
    queued = day.says(day.cleo, thread, "say I waited in the queue.")
    await day.sees(queued, "ahead of you")
    day.forget_reports()
    day.daemon.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(day.daemon.wait_for, b"STOPPING=1")
    during = day.says(day.dan, day.general, "say I came while you stopped.")
    await day.sees(during, "restart")
    await day.answered(short, "I fit into the drain.")
    status = await day.stop()
    assert status == 0, f"the daemon ended with status {status}"
    await day.server.wait_for(lambda: not day.server.gateway.connections, what="the end of its connections")
    day.server.gateway.expire()
    while_away = day.says(day.eve, day.general, "say I came while you were away.")
    await day.start(config())
    await day.ended(long, "restart")
    await day.answered(queued, "I waited in the queue.")
    await day.answered(during, "I came while you stopped.")
    await day.answered(while_away, "I came while you were away.")
    await day.asks(day.bob, thread, "say We go on.", "We go on.")


async def kill(day: Day, config: Callable[..., str]) -> None:
    """SIGKILL in the middle of an answer."""
    prompt = day.says(day.ada, day.builder, "build before the crash")
    await day.answered(prompt, "before the crash")
    thread = await day.thread_of(prompt)
    cut = day.says(day.eve, day.general, "say I begin.; sleep 300; say Never.")
    await day.sees(cut, "I begin.")
    asked = day.says(day.ada, thread, "fix for ada")
    buttons = await day.sees_buttons(asked)
    await day.stop(signal.SIGKILL)
    await day.server.wait_for(lambda: not day.server.gateway.connections, what="the end of its connections")
    day.server.gateway.expire()
    await day.start(config())
    await day.ended(cut, "restarted mid-answer")
    await day.ended(asked, "restarted mid-answer")
    if buttons.buttons:
        await day.presses(day.ada, buttons, "allow")
    await day.asks(day.ada, thread, "build again", "All three parts build. again")


async def weekend(day: Day, config: Callable[..., str]) -> None:
    """Threads are left on Friday: on Monday they go on, and more than a month later they begin anew."""
    friday = await day.asks(day.ada, day.general, "remember to call the office", "I keep: to call the office")
    thread = await day.thread_of(friday)
    noted = await day.asks(day.dan, day.clerk, "note The office moves in May.", "I note it: The office moves in May.")
    desk = await day.thread_of(noted)
    await _again(day, config, days=2.6)
    await day.gives(day.ada, thread, "status", "asleep")
    await day.asks(day.ada, thread, "recall", "You told me to remember: to call the office")
    look = await day.asks(day.dan, desk, "look and tell me what you know", "and tell me what you know")
    await day.sees(look, "note The office moves in May.")
    await _again(day, config, days=40)
    await asyncio.to_thread(_wait_until_forgotten, day, str(thread.id))
    await day.gives(day.ada, thread, "status", "Just write")
    late = await day.asks(day.ada, thread, "recall", "You told me to remember nothing.")
    await day.sees(late, "starting fresh")


def _wait_until_forgotten(day: Day, thread: str) -> None:
    """Wait until the daemon has found that nobody has used the thread for too long."""
    with day.daemon.wire() as wire:
        while thread in {row["thread_id"] for row in wire.call("sessions.list", suspended=True)["sessions"]}:
            pass


async def _again(day: Day, config: Callable[..., str], *, days: float) -> None:
    """The daemon ends, and is started so many days later."""
    status = await day.stop()
    assert status == 0, f"the daemon ended with status {status}"
    await day.server.wait_for(lambda: not day.server.gateway.connections, what="the end of its connections")
    day.server.gateway.expire()
    await day.start(config(), days_later=days)


SCENES: tuple[Any, ...] = (full_house, gateway_cut, rest_outage, reload_takes_dan_out, restart, kill, weekend)
