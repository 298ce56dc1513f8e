"""Answers that are not Discord's, or not whole: each is a failure after which the request is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from acpbot.chat.discord.outbound.rest import BAD_REQUEST, RequestRefused, Unreachable
from tests.fakes.discord import rest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acpbot.chat.discord.outbound.rest import Rest
    from tests.support.discord_scene import Scene

PAGE = "<html>sign in to this network</html>"
ODD_ERRORS: list[tuple[int, Any]] = [
    *((status, body) for status in (500, 502, 503, 530) for body in (b"", b"\xff\xfe", b'{"message": ')),
    (503, b"null"),
    (503, b"[]"),
    (429, b"{}"),
    (429, b"[]"),
    (429, b""),
    (503, PAGE),
]
ODD_SUCCESSES: list[tuple[int, Any]] = [
    *((200, body) for body in (b"", b"\xff", b'{"id": "1', b"{}", b"[]", b"null", b'"text"', b"[" * 100_000)),
    (200, b'{"id": null}'),
    (200, PAGE),
]

Request = tuple[str, str, "Callable[[Rest], Awaitable[object]]"]
REQUESTS: list[Request] = [
    ("POST", rest.MESSAGES, lambda api: api.send("1", "text", nonce="n")),
    ("PATCH", rest.MESSAGE, lambda api: api.edit("1", "2", lambda: ("text", ()), urgent=True)),
    ("GET", rest.MESSAGE, lambda api: api.message("1", "2")),
    ("GET", rest.MESSAGES, lambda api: api.posted_since("1", "2")),
    ("POST", rest.MESSAGE_THREADS, lambda api: api.open_thread("1", "2", "name")),
    ("PATCH", rest.CHANNEL, lambda api: api.change_thread("1", name="name")),
    ("GET", rest.MEMBER, lambda api: api.member("1", "2")),
]


@pytest.mark.parametrize(("method", "route", "request_of"), REQUESTS)
async def test_an_odd_answer_is_a_failure_that_another_try_may_end(scene: Scene, method, route, request_of):
    api, faults = scene.chat.outbox.rest, scene.server.faults
    odd = [*ODD_ERRORS, *ODD_SUCCESSES]
    if (method, route) == ("GET", rest.MESSAGES):
        odd.remove((200, b"[]"))  # the history of a channel in which nobody wrote
        odd += [(200, b"[{}]"), (200, b'[{"id": "x", "content": "", "author": {"id": "1"}, "attachments": []}]')]
    for status, body in odd:
        faults.status(status, method, route, body=body)
        with pytest.raises(Unreachable):
            await request_of(api)
        faults.clear()
    # aiohttp tries a GET again by itself, once
    faults.status(200, method, route, body=b'{"id": "1"', cut_short=True, times=2)
    with pytest.raises(Unreachable):
        await request_of(api)
    assert api.client is not None
    assert not api.client.is_closed()


@pytest.mark.parametrize("headers", [{"X-RateLimit-Remaining": "many"}, {"X-RateLimit-Reset-After": "soon"}])
async def test_limits_that_are_no_numbers_do_not_stop_an_answer(scene: Scene, headers: dict[str, str]):
    limits = {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset-After": "0.1", "X-RateLimit-Reset": "1"} | headers
    thread = await scene.opens("say first; tool true; say last")
    asked = await scene.server.wait_for_message(thread, lambda one: one.asks)
    scene.server.faults.status(503, "PATCH", rest.MESSAGE, headers=limits)
    scene.ada.clicks(asked, label="Allow")
    await scene.says(thread, "last")


async def test_a_text_that_cannot_be_sent_is_refused_and_not_tried_for_ever(scene: Scene):
    api = scene.chat.outbox.rest
    with pytest.raises(RequestRefused) as refused:
        await api.send(str(scene.channel.id), "half of a pair: \ud83d", nonce="n")
    assert refused.value.status == BAD_REQUEST


@pytest.mark.parametrize("body", [b"", b"\xff"])
async def test_a_finished_answer_is_delivered_in_spite_of_odd_errors(scene: Scene, body: bytes):
    for method, route in (("POST", rest.MESSAGES), ("PATCH", rest.MESSAGE), ("POST", rest.MESSAGE_THREADS)):
        scene.server.faults.status(502, method, route, body=body, times=2)
    thread = await scene.opens("say first; stall 0.05; say last")
    await scene.idle(thread, 1)
    assert scene.text(thread) == "firstlast"


async def test_a_thread_that_is_not_known_is_looked_up_again_after_an_odd_error(scene: Scene):
    thread = await scene.opens("say one")
    await scene.idle(thread, 1)
    client = scene.chat.outbox.rest.client
    assert client is not None
    guild = client.get_guild(scene.guild.id)
    assert guild is not None
    guild._threads.clear()
    look = scene.server.faults.status(502, "GET", rest.CHANNEL, body=b"", times=2)
    scene.ada.says(thread, "say two")
    await scene.says(thread, "two")
    assert look.hits == 2
