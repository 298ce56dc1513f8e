"""The crash campaign's own looks from outside: each finds what it is there for. No daemon runs in these."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.fakes.discord.server import DiscordServer
from tests.soak.test_transcripts import BUTTONS
from tests.support.soak import leftovers
from tests.support.soak.campaign import Campaign
from tests.support.soak.daemon_runs import Moment, Stop, at, until

if TYPE_CHECKING:
    from tests.support.soak.people import PermissionRequest


@pytest.fixture
async def server():
    async with DiscordServer(unit=0.01) as server:
        yield server


@pytest.fixture
def campaign(server, tmp_path):
    return Campaign(server, tmp_path, size=2, answer_seconds=0.05)


def kinds(campaign) -> list[str]:
    return [finding.kind for finding in campaign.findings]


def thread_of(campaign):
    return campaign.server.make_thread(campaign.people.channel, campaign.server.bot, "work")


def asks(campaign, prompt) -> PermissionRequest:
    """The bot asks whether the prompt's tool may run; the campaign's look at it."""
    text = f"🔐 `echo ran-{prompt.number:05} >> ran.log`"
    campaign.server.world.post(prompt.thread, campaign.server.bot, text, components=BUTTONS)
    campaign.people.see_asks()
    return campaign.people.asks[-1]


# processes and files


@pytest.fixture
def sleeper():
    def start(**environ: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], **environ}))
        return started[-1]

    started: list[subprocess.Popen[bytes]] = []
    yield start
    for one in started:
        one.kill()
        one.wait()


async def test_processes_of_ended_daemons_and_of_their_sessions_are_leftovers(campaign, sleeper):
    # None of these daemons ever was: its pid is past the kernel's last one, so that no real daemon ends the sleepers.
    of_dead = sleeper(ACPBOT_SESSION="s-1", ACPBOT_DAEMON="1:4194305:7").pid
    of_session = sleeper(ACPBOT_SESSION="s-2").pid
    sleeper(ACPBOT_SESSION="s-3", ACPBOT_DAEMON="1:4194305:8")
    sleeper(ACPBOT_SESSIONS="s-2")
    campaign._dead = {(4194305, 7): set(), (4194305, 9): {"s-2"}}
    await campaign._check_leftovers("now")
    assert kinds(campaign) == ["leftover", "leftover"]
    found = " ".join(finding.what for finding in campaign.findings)
    assert f"pid {of_dead} " in found
    assert f"pid {of_session} " in found


async def test_zombies_and_unmarked_processes_are_no_leftovers(campaign, sleeper):
    gone = sleeper(ACPBOT_SESSION="s-1", ACPBOT_DAEMON="1:4194305:7")
    gone.kill()
    # A zombie: nothing of it runs.
    await asyncio.to_thread(os.waitid, os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    sleeper()
    campaign._dead = {(4194305, 7): {"s-1", ""}}
    await campaign._check_leftovers("now")
    assert campaign.findings == []


def test_the_database_of_a_killed_daemon_is_read_with_its_write_ahead_log(tmp_path):
    path = tmp_path / "store.sqlite3"
    assert leftovers.integrity(path) is None
    script = (
        "import os, sqlite3; c = sqlite3.connect('store.sqlite3', isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE t (x)')\n"
        "for _ in range(500): c.execute('INSERT INTO t VALUES (?)', ('x' * 500,))\n"
        "c.execute('BEGIN'); c.execute('INSERT INTO t VALUES (1)'); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=tmp_path).returncode == -signal.SIGKILL
    log = path.with_name("store.sqlite3-wal").read_bytes()
    assert leftovers.integrity(path) == "ok"
    assert path.with_name("store.sqlite3-wal").read_bytes() == log
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM t").fetchone() == (500,)
    database.close()


async def test_a_damaged_database_is_found(campaign):
    with sqlite3.connect(campaign.store) as database:
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 500)
    database.close()
    campaign._check_database()
    assert kinds(campaign) == []
    whole = campaign.store.read_bytes()
    campaign.store.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    campaign._check_database()
    campaign.store.write_bytes(b"something else" * 1000)
    campaign._check_database()
    assert kinds(campaign) == ["database", "database"]
    assert campaign.tally.databases == 3


# buttons and tools


async def test_a_click_that_is_not_answered_in_time_is_found(campaign):
    ask = asks(campaign, campaign.people.write(thread_of(campaign), "tool"))
    campaign.people.click(ask)
    assert ask.click is not None
    campaign._check_clicks()
    assert kinds(campaign) == ["click"]


async def test_people_click_as_planned(campaign):
    thread = thread_of(campaign)
    one, two, three = (campaign.people.write(thread, kind) for kind in ("tool", "unanswered", "unanswered"))
    for prompt in (one, two):
        campaign.people.click(asks(campaign, prompt))
    assert [ask.allowed for ask in campaign.people.asks] == [True, False]
    campaign.people.generous = True
    campaign.people.click(asks(campaign, three))
    assert [ask.allowed for ask in campaign.people.asks] == [True, False, True]
    assert campaign.tally.clicks == 2


async def test_a_stale_button_without_an_answer_is_found(campaign):
    ask = asks(campaign, campaign.people.write(thread_of(campaign), "unanswered"))
    campaign.people.run += 1
    assert await campaign.people.press_stale(lambda _number: 0, 0.05) == [ask.stale_click]
    assert await campaign.people.press_stale(lambda _number: 0, 0.05) == []
    assert campaign.tally.stale_clicks == 1


async def test_a_stale_button_that_still_has_an_effect_is_found(campaign):
    ask = asks(campaign, campaign.people.write(thread_of(campaign), "unanswered"))
    ask.allowed = True
    ask.stale_click = campaign.people.ada.sends_click(ask.message, ask.custom_id)
    (campaign.folder / "ran.log").write_text("ran-00001\n")
    campaign._check_tools()
    assert kinds(campaign) == ["stale button"]


@pytest.mark.parametrize(
    ("allowed", "ran", "found"), [(True, 1, []), (True, 2, ["run twice"]), (False, 1, ["tool"]), (False, 0, [])]
)
async def test_a_tool_that_runs_twice_or_unasked_is_found(campaign, allowed, ran, found):
    asks(campaign, campaign.people.write(thread_of(campaign), "tool")).allowed = allowed
    (campaign.folder / "ran.log").write_text("ran-00001\n" * ran)
    campaign._check_tools()
    assert kinds(campaign) == found


# what is judged


async def test_a_prompt_without_a_thread_is_lost_unless_a_notice_is_in_the_channel(campaign):
    prompt = campaign.people.write(campaign.people.channel, "say")
    assert campaign.people.open() == [prompt]
    campaign._judge()
    assert kinds(campaign) == ["lost"]
    reply = {"reference": {"message_id": str(prompt.message.id)}, "referenced": prompt.message}
    campaign.server.world.post(campaign.people.channel, campaign.server.bot, "I'm restarting.", **reply)
    assert campaign.people.open() == []


async def test_an_interruption_within_the_drain_time_is_found(campaign):
    prompt = campaign.people.write(thread_of(campaign), "say")
    campaign._fits, campaign.people.ends = [prompt], 1
    campaign.server.world.post(prompt.thread, campaign.server.bot, f"{prompt.answer[:20]}\nI'm restarting.")
    campaign._judge()
    assert kinds(campaign) == ["interrupted"]


async def test_prompts_behind_an_unanswered_question_are_blocked(campaign):
    thread, other = thread_of(campaign), thread_of(campaign)
    first, asked, after, elsewhere = (
        campaign.people.write(where, kind)
        for where, kind in ((thread, "say"), (thread, "unanswered"), (thread, "say"), (other, "say"))
    )
    assert not campaign.people.blocked(asked)
    asks(campaign, asked)
    assert [campaign.people.blocked(one) for one in (first, asked, after, elsewhere)] == [False, True, True, False]


# moments


async def post(server, channel, text: str) -> int:
    url = f"{server.api_base}/channels/{channel.id}/messages"
    headers = {"Authorization": f"Bot {server.token}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.post(url, json={"content": text}) as answer:
        return answer.status


@pytest.mark.parametrize(("kind", "seen"), [("call", ["one"]), ("answer", ["one", "two"])])
async def test_a_request_is_held_before_or_after_its_effect(server, campaign, kind, seen):
    over = asyncio.Event()
    requests = asyncio.create_task(post_both(server, campaign.people.channel))
    async with at(server, Moment(kind, 2), over.wait(), seconds=5):
        assert [message.content for message in server.messages_in(campaign.people.channel)] == seen
        assert not requests.done()
    assert await requests == [200, 200]
    assert server.faults.rules == []


async def post_both(server, channel) -> list[int]:
    return [await post(server, channel, text) for text in ("one", "two")]


async def test_a_moment_that_does_not_come_ends_with_the_load(server):
    over = asyncio.Event()
    over.set()
    for moment in (Moment("call", 5), Moment("event", 5), Moment("delay", seconds=50), Moment("rest")):
        async with at(server, moment, over.wait(), seconds=50):
            pass
    assert server.faults.rules == []


async def test_an_error_while_waiting_for_a_moment_is_raised(server):
    async def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with at(server, Moment("rest"), failing(), seconds=50):
            pass


async def test_until_checks_again_after_each_change(server, campaign):
    waiting = asyncio.create_task(until(server, lambda: len(server.messages) == 2))
    campaign.people.ada.says(campaign.people.channel, "one")
    campaign.people.ada.says(campaign.people.channel, "two")
    await asyncio.wait_for(waiting, 5)


def test_random_choices_follow_from_the_seed():
    def drawn(seed: int) -> list[str]:
        chance = random.Random(seed)  # noqa: S311 - it chooses what a test does
        return [str(Stop.any(chance, calls=100)) for _ in range(50)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert {word.split()[0] for word in drawn(1)} == {"SIGKILL", "SIGTERM"}
