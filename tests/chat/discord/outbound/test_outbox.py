"""Delivery without a Discord: what is sent, in which order, and how often, by an API that fails on demand."""

from __future__ import annotations

import asyncio
from collections import deque

import discord
import pytest

from acpbot.aio import Backoff
from acpbot.chat.discord.gateway.supervisor import GatewayStatus
from acpbot.chat.discord.outbound.channel_queue import AS_FILE, MAY_BE_TWICE, NOT_TAKEN
from acpbot.chat.discord.outbound.delivery import CRASHES_MOST
from acpbot.chat.discord.outbound.outbox import Outbox
from acpbot.chat.discord.outbound.post import PostState
from acpbot.chat.discord.outbound.reactions import ReactionEvent, ReactionUpdater
from acpbot.chat.discord.outbound.rest import LibraryFailure, RequestRefused, Rest, Unreachable
from acpbot.chat.discord.outbound.side_tasks import DENIALS_MOST
from acpbot.config.settings import ReactionSettings, TimingSettings
from acpbot.text import split_bytes
from tests.support.pool import Clock

ME = "7"


class Api(Rest):
    """A channel in memory. ``trouble``: what each next request meets; ``lost`` takes effect all the same.

    It takes ``seconds_lost`` until it is known that the answer to a message is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged_in.set()
        self.clock = Clock()
        self.log: list[tuple] = []
        self.there: dict[str, dict] = {}
        self.trouble: deque[str] = deque()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.down = asyncio.Event()
        self.number = 100
        self.seconds_lost = 200.0

    async def _meet(self) -> bool:
        """Whether the answer is lost after the effect."""
        self.entered.set()
        await self.gate.wait()
        await asyncio.sleep(0)
        trouble = self.trouble.popleft() if self.trouble else ""
        if trouble == "down":
            self.down.set()
            raise Unreachable("down")
        if trouble == "refused":
            raise RequestRefused(403, 50013, "Missing Permissions")
        if trouble == "blocked":
            raise RequestRefused(400, 240000, "Message blocked by harmful links filter")
        if trouble == "unknown":
            raise LibraryFailure(trouble)
        if trouble == "odd":
            raise ValueError(trouble)
        return trouble == "lost"

    async def send(self, _channel, content, *, nonce, components=(), file=None, reply_to=None, pings=None) -> str:
        assert (list(components), reply_to, pings) == ([], None, None)
        lost = await self._meet()
        self.number += 1
        self.there[str(self.number)] = {
            "id": str(self.number),
            "content": content.strip(),
            "author": {"id": ME},
            "n": nonce,
            "file": file,
            "attachments": [] if file is None else [{"filename": file.filename}],
        }
        self.log.append(("send", content))
        if lost:
            self.clock.move(self.seconds_lost)
            raise Unreachable("the answer is lost")
        return str(self.number)

    async def edit(self, _channel, message_id, latest, *, urgent) -> tuple:
        assert isinstance(urgent, bool)
        lost = await self._meet()
        content, components = latest()
        self.there[message_id]["content"] = content
        self.log.append(("edit", content))
        if lost:
            raise Unreachable("the answer is lost")
        return content, components

    async def delete(self, _channel, message_id) -> None:
        await self._meet()
        del self.there[message_id]
        self.log.append(("delete", message_id))

    async def react(self, _channel, _message, emoji, *, add, spare=False) -> None:
        assert isinstance(spare, bool)
        lost = await self._meet()
        self.log.append(("+" if add else "-", emoji))
        if lost:
            raise Unreachable("the answer is lost")

    async def posted_since(self, _channel, message_id) -> list[dict]:
        return [one for one in self.there.values() if int(one["id"]) > int(message_id)]

    def edit_delay(self, _channel) -> float:
        return 0.0


@pytest.fixture
async def api():
    return Api()


@pytest.fixture
async def outbox(api):
    made = Outbox(api, Backoff(first=0.001, most=0.001), clock=api.clock, wall=api.clock, own_id=lambda: ME)
    yield made
    await made.close()


async def test_posts_are_sent_in_order_through_every_failure(api, outbox):
    api.trouble.extend(["down", "", "down", "down", "", "odd", ""])
    for text in ("one", "two", "three", "four"):
        outbox.post("1", text)
    assert await outbox.flush(5)
    assert api.log == [("send", "one"), ("send", "two"), ("send", "three"), ("send", "four")]


@pytest.mark.parametrize("trouble", ["odd", "unknown"])
async def test_a_defect_costs_no_delivery_if_another_try_works(api, outbox, trouble):
    post = outbox.post("1", "one")
    assert await outbox.flush(5)
    api.trouble.extend([trouble] * 3)
    post.show("two", last=True)
    assert await outbox.flush(5)
    api.trouble.extend([trouble] * 3)
    outbox.react("1", "9", "👍", add=True)
    assert await outbox.flush(5)
    api.trouble.extend([trouble] * 3)
    post.retract()
    assert await outbox.flush(5)
    assert api.log == [("send", "one"), ("edit", "two"), ("+", "👍"), ("delete", "101")]


@pytest.mark.parametrize("trouble", ["odd", "unknown"])
async def test_a_post_that_no_try_delivers_is_reported_and_those_after_it_are_sent(api, outbox, trouble):
    reported = []
    api.trouble.extend([trouble] * CRASHES_MOST)
    outbox.post("1", "one", on_refused=lambda: reported.append("one"))
    outbox.post("1", "two")
    assert await outbox.flush(5)
    post = outbox.post("1", "three", on_refused=lambda: reported.append("three"))
    assert await outbox.flush(5)
    api.trouble.extend([trouble] * CRASHES_MOST)
    post.show("more", last=True)
    assert await outbox.flush(5)
    api.trouble.extend([trouble] * CRASHES_MOST)
    outbox.react("1", "9", "👍", add=True)
    outbox.react("1", "9", "👀", add=True)
    assert await outbox.flush(5)
    assert reported == ["one", "three"]
    assert api.log == [("send", "two"), ("send", "three"), ("+", "👀")]


async def test_an_exception_of_the_library_that_nobody_knows_is_a_failure_of_its_own():
    async def fails(_route, **_options):
        raise ZeroDivisionError

    rest, client = Rest(), discord.Client(intents=discord.Intents.none())
    setattr(client.http, "request", fails)  # noqa: B010 - its type is the library's
    rest.use(client)
    with pytest.raises(LibraryFailure, match="ZeroDivisionError"):
        await rest.typing("1")


async def test_a_text_that_discord_refuses_goes_as_a_file_in_its_place(api, outbox):
    refused = []
    api.trouble.extend(["blocked"])
    outbox.post("1", "one", on_refused=lambda: refused.append("one"))
    outbox.post("1", "two")
    assert await outbox.flush(5)
    assert api.log == [("send", AS_FILE), ("send", "two")]
    assert api.there["101"]["file"].data == b"one"
    assert refused == ["one"]


async def test_a_text_that_discord_refuses_in_an_edit_goes_as_a_file(api, outbox):
    post = outbox.post("1", "one", growing=True)
    assert await outbox.flush(5)
    api.trouble.extend(["blocked"] * 3)
    post.show("one and more", last=True)
    assert await outbox.flush(5)
    assert api.log == [("send", "one"), ("send", AS_FILE)]
    assert api.there["102"]["file"].data == b"one and more"


async def test_a_text_that_still_grows_does_not_go_as_a_file(api, outbox):
    api.trouble.extend(["blocked"])
    outbox.post("1", "one", growing=True)
    assert await outbox.flush(5)
    assert api.log == []


@pytest.mark.parametrize("trouble", ["blocked", "refused"])
async def test_a_file_that_discord_refuses_too_is_reported_once(api, outbox, trouble):
    api.trouble.extend(["blocked", trouble])
    outbox.post("1", "one")
    assert await outbox.flush(5)
    assert api.log == [("send", NOT_TAKEN)]
    api.trouble.extend(["blocked", trouble, "blocked"])
    outbox.post("1", "two")
    assert await outbox.flush(5)


@pytest.mark.parametrize("what", ["send", "edit", "side task"])
async def test_a_delivery_that_is_cancelled_by_nobody_goes_on(api, outbox, what):
    post = outbox.post("1", "one")
    assert await outbox.flush(5)
    api.gate.clear()
    api.entered.clear()
    if what == "send":
        outbox.post("1", "two")
    elif what == "edit":
        post.show("two", last=True)
    else:
        outbox.react("1", "9", "two", add=True)
    await api.entered.wait()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"discord delivery: {what} 1"]
    task.cancel()
    await asyncio.wait([task])
    api.gate.set()
    assert await outbox.flush(5)
    assert api.log == [("send", "one"), ("+" if what == "side task" else what, "two")]


async def test_a_source_that_fails_keeps_nothing_else_from_the_channel(api, outbox):
    outbox.queue("1").refresh(lambda: 1 // 0)
    outbox.post("1", "one")
    assert await outbox.flush(5)
    assert api.log == [("send", "one")]


async def test_an_edit_carries_the_newest_text_only(api, outbox):
    post = outbox.post("1", "a")
    assert await outbox.flush(5)
    api.gate.clear()
    post.show("ab")
    api.entered.clear()
    await api.entered.wait()
    post.show("abc")
    post.show("abcd")
    api.gate.set()
    assert await outbox.flush(5)
    assert api.log == [("send", "a"), ("edit", "abcd")]


async def test_a_source_is_asked_only_when_something_can_be_sent(api, outbox):
    asked = []

    def source() -> None:
        asked.append(len(api.log))
        if len(asked) == 1:
            outbox.post("1", "made by the source")

    for _ in range(10):
        outbox.queue("1").refresh(source)
    outbox.post("1", "after it")
    assert await outbox.flush(5)
    assert api.log == [("send", "made by the source"), ("send", "after it")]
    assert len(asked) == 1


async def test_a_source_that_fails_stops_no_other(api, outbox, caplog):
    asked = []

    def broken() -> None:
        raise RuntimeError("a defect")

    outbox.queue("1").refresh(broken)
    outbox.queue("1").refresh(lambda: asked.append("other"))
    outbox.post("1", "next")
    assert await outbox.flush(5)
    assert (asked, api.log) == (["other"], [("send", "next")])
    assert "discord_source_failed" in caplog.text


async def test_a_refused_post_is_reported_and_the_next_one_is_sent(api, outbox):
    refused = []
    api.trouble.extend(["refused"])
    post = outbox.post("1", "no", on_refused=lambda: refused.append("no"))
    outbox.post("1", "yes")
    assert await outbox.flush(5)
    assert (refused, api.log) == (["no"], [("send", "yes")])
    assert post.state is PostState.REFUSED
    assert post.error is not None
    assert post.error.code == 50013


async def test_long_after_a_lost_answer_the_channel_is_searched_before_a_second_try(api, outbox):
    api.trouble.extend(["lost"])
    post = outbox.post("1", "once ")
    assert await outbox.flush(5)
    assert api.log == [("send", "once ")]
    assert post.message_id == "101"


async def test_a_post_is_sent_again_with_a_warning_where_the_channel_cannot_be_searched(api, outbox):
    api.trouble.extend(["lost", "refused"])
    api.posted_since = refusing(api)
    post = outbox.post("1", "once")
    assert await outbox.flush(5)
    assert (api.log, post.error) == ([("send", "once"), ("send", "once"), ("send", MAY_BE_TWICE)], None)


def refusing(api):
    async def posted_since(_channel, _message_id) -> list[dict]:
        await api._meet()
        return []

    return posted_since


async def test_the_gateway_s_echo_replaces_a_lost_answer(api, outbox):
    api.seconds_lost = 0.0
    api.trouble.extend(["lost"])
    post = outbox.post("1", "once")
    outbox.confirm(post.nonce, "101")
    assert await outbox.flush(5)
    assert (api.log, post.message_id) == ([("send", "once")], "101")


async def test_a_post_retracted_in_the_queue_is_never_sent(api, outbox):
    outbox.post("1", "never").retract()
    sent = outbox.post("1", "briefly")
    assert await outbox.flush(5)
    sent.retract()
    sent.show("too late")
    assert await outbox.flush(5)
    assert api.log == [("send", "briefly"), ("delete", "101")]


async def test_reactions_that_undo_each_other_while_they_wait_are_not_sent(api, outbox):
    api.gate.clear()
    outbox.react("1", "5", "👀", add=True)
    await api.entered.wait()
    outbox.react("1", "5", "🤔", add=True)
    outbox.react("1", "5", "👀", add=False)
    outbox.react("1", "5", "🤔", add=False)
    api.trouble.extend(["down", "", "refused"])
    outbox.react("1", "5", "🆗", add=True)
    api.gate.set()
    assert await outbox.flush(5)
    assert api.log == [("+", "👀"), ("+", "🆗")]


async def test_a_reaction_that_an_earlier_run_has_made_is_taken_off_in_any_case(api, outbox):
    """The emoji of a message that waited over a restart is there, whether or not this run has sent it again."""
    api.gate.clear()
    outbox.react("1", "6", "👀", add=True)
    await api.entered.wait()
    updater = ReactionUpdater(outbox, ReactionSettings(timing=TimingSettings(debounce_ms=0)), "1", "5", again=True)
    updater.on(ReactionEvent.THINKING)
    updater.on(ReactionEvent.DONE)
    api.gate.set()
    assert await outbox.flush(5)
    done = ReactionSettings().emojis.done
    assert api.log == [("+", "👀"), ("+", done), ("-", "👀")]


async def test_a_repeated_reaction_that_is_put_on_again_is_sent(api, outbox):
    api.gate.clear()
    outbox.react("1", "6", "🚫", add=True)
    await api.entered.wait()
    queue = outbox.queue("1")
    for add in (True, False, True):
        queue.react("5", "👀", add=add, repeated=True)
    queue.react("5", "👀", add=False)
    api.gate.set()
    assert await outbox.flush(5)
    assert api.log == [("+", "🚫"), ("-", "👀")]


async def test_reactions_to_strangers_wait_for_all_others_and_are_few(api, outbox):
    api.gate.clear()
    outbox.react("1", "5", "👀", add=True)
    await api.entered.wait()
    for message in range(150):
        outbox.deny("1", str(message), "🚫")
    for emoji in "🤔🔥👍":
        outbox.react("1", "5", emoji, add=True)
    api.gate.set()
    assert await outbox.flush(5)
    assert [emoji for _, emoji in api.log] == ["👀", "🤔", "🔥", "👍", *"🚫" * DENIALS_MOST]


async def test_a_reaction_to_a_stranger_is_tried_once(api, outbox):
    api.trouble.extend(["down", "refused"])
    outbox.deny("1", "5", "🚫")
    outbox.deny("1", "6", "🚫")
    outbox.deny("1", "7", "🚫")
    assert await outbox.flush(5)
    assert api.log == [("+", "🚫")]


async def test_a_message_always_has_one_reaction(api, outbox):
    outbox.react("1", "5", "👀", add=True)
    assert await outbox.flush(5)
    api.gate.clear()
    outbox.react("1", "6", "🚫", add=True)
    await api.entered.wait()
    for new, old in (("🤔", "👀"), ("🆗", "🤔")):
        outbox.react("1", "5", new, add=True)
        outbox.react("1", "5", old, add=False)
    api.gate.set()
    assert await outbox.flush(5)
    assert api.log == [("+", "👀"), ("+", "🚫"), ("+", "🆗"), ("-", "👀")]


async def test_a_reaction_whose_answer_was_lost_is_taken_off_again(api):
    patient = Outbox(api, Backoff(first=600, most=600), clock=api.clock, own_id=lambda: ME)
    api.trouble.extend(["lost"])
    patient.react("1", "5", "👀", add=True)
    assert not await patient.flush(0.01)
    patient.react("1", "5", "👀", add=False)
    patient.wake_retries()
    assert await patient.flush(5)
    assert api.log == [("+", "👀"), ("+", "👀"), ("-", "👀")]


@pytest.mark.parametrize("by", ["the gateway", "a request that works after an outage"])
async def test_a_wait_for_the_next_try_ends_when_discord_can_be_reached(api, by):
    patient = Outbox(api, Backoff(first=600, most=600), clock=api.clock, wall=api.clock, own_id=lambda: ME)
    api.trouble.extend(["down"])
    patient.post("1", "one")
    await api.entered.wait()
    assert not await patient.flush(0.01)
    (patient.wake_retries if by == "the gateway" else api.on_recovery)()
    assert await patient.flush(5)
    assert api.log == [("send", "one")]


async def test_a_message_that_is_too_long_is_cut(api, outbox):
    outbox.post("1", "x" * 3000)
    assert await outbox.flush(5)
    assert len(api.log[0][1]) == 2000


def test_backoff_grows_to_its_end():
    backoff = Backoff(first=1, most=8)
    for failures, whole in ((1, 1), (2, 2), (4, 8), (500, 8)):
        assert whole / 2 <= backoff.seconds(failures) <= whole


def test_gateway_status_says_since_when():
    clock = Clock()
    status = GatewayStatus(clock)
    assert status.facts(None).disconnected_seconds is None
    status.set(connected=True)
    up = status.facts(None)
    assert (up.connected, up.disconnected_seconds) == (True, None)
    status.set(connected=False)
    clock.move(20)
    status.set(connected=False)
    down = status.facts(None)
    assert (down.connected, down.disconnected_seconds) == (False, 20)
    assert (up.since or "").endswith("Z")


@pytest.mark.parametrize("most", [4, 5, 7, 100])
def test_files_are_cut_between_characters(most):
    text = "aé€😀" * 5
    parts = split_bytes(text, most)
    assert "".join(parts) == text
    assert all(len(part.encode()) <= most for part in parts)
