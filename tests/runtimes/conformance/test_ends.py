"""How agents end, and that a kill leaves nothing: the look from outside shares no code with the product."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.runtimes.conformance.outside import Watched
from tests.runtimes.conformance.scene import FAMILY, LIMIT


@pytest.mark.parametrize("code", [0, 1, 42, 127, 255])
async def test_an_exit_code_is_told_as_it_is(scene, code):
    agent = await scene.start()
    assert (agent.process.alive, agent.process.returncode, agent.process.end_reason) == (True, None, None)
    agent.process.write(b"exit %d 1\n" % code)
    assert await agent.ended() == code
    assert (agent.process.alive, agent.process.returncode) == (False, code)
    assert agent.process.end_reason == f"exit code {code}"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
async def test_a_signal_that_ends_an_agent_is_named(scene, number):
    agent = await scene.start()
    agent.process.write(b"signal %d\n" % number)
    assert await agent.ended() == -number
    assert agent.process.end_reason == number.name


async def test_eof_ends_an_agent_that_obeys(scene):
    agent = await scene.start()
    assert await agent.ask("echo 1") == "echo 1"
    agent.process.close_stdin()
    assert await agent.ended() == 0


async def test_sigterm_reaches_the_agent(scene):
    agent = await scene.start()
    assert await agent.ask("obey") == "obey"
    agent.process.terminate()
    assert await agent.ended() == 43


async def test_any_number_of_tasks_can_wait_for_the_end(scene):
    agent = await scene.start()
    waits = [asyncio.create_task(agent.ended()) for _ in range(5)]
    agent.process.write(b"exit 7 1\n")
    assert await asyncio.gather(*waits) == [7] * 5
    assert await agent.ended() == 7


async def test_an_agent_that_ignores_everything_is_ended(scene):
    agent = await scene.start()
    assert await agent.ask("ignore") == "ignore"
    agent.process.terminate()
    agent.process.close_stdin()
    assert agent.pids(), "it runs on"
    agent.process.kill()
    assert await agent.ended() == -signal.SIGKILL
    report = await agent.process.kill_all()
    assert (report.left, report.settled) == ((), True)
    assert agent.pids() == set()


async def test_a_kill_leaves_no_process_whatever_it_did_to_hide(scene):
    agent = await scene.start()
    assert await agent.ask("family") == "family"
    assert await agent.ask("ignore") == "ignore"
    pids = agent.pids()
    assert len(pids) == FAMILY
    watched = Watched(pids)
    await agent.process.look()
    report = await agent.process.kill_all()
    assert watched.running() == 0, "gone when it is said, not some time later"
    assert agent.pids() == set()
    assert (report.left, report.settled) == ((), True)
    assert report.proof in scene.place.proofs
    assert agent.process.alive is False
    watched.close()


async def test_what_an_agent_leaves_when_it_ends_is_found_and_ended(scene):
    agent = await scene.start()
    assert await agent.ask("family") == "family"
    watched = Watched(agent.pids())
    agent.process.write(b"exit 5 1\n")
    assert await agent.ended() == 5
    report = await agent.process.kill_all()
    assert (report.left, report.settled) == ((), True)
    assert watched.running() == 0
    watched.close()


async def test_closing_a_process_ends_it_and_can_be_done_twice(scene):
    agent = await scene.start()
    assert await agent.ask("family") == "family"
    assert await agent.ask("ignore") == "ignore"
    watched = Watched(agent.pids())
    await agent.process.aclose()
    assert watched.running() == 0
    await agent.process.aclose()
    watched.close()


async def test_a_kill_of_what_has_ended_finds_nothing(scene):
    agent = await scene.start()
    agent.process.write(b"exit 0 1\n")
    await agent.ended()
    for _ in range(2):
        report = await agent.process.kill_all()
        assert (report.left, report.settled) == ((), True)
    agent.process.terminate()
    agent.process.kill()


async def test_ending_one_agent_leaves_the_others_alone(scene):
    ended, other = await scene.start(), await scene.start()
    assert await other.ask("family") == "family"
    assert await ended.ask("ignore") == "ignore"
    await ended.process.kill_all()
    await ended.process.aclose()
    assert len(other.pids()) == FAMILY
    assert await other.ask("echo 1") == "echo 1"


async def test_a_look_shows_the_agent_first_and_all_that_it_has_started(scene):
    agent = await scene.start()
    assert await agent.ask("family") == "family"
    look = await agent.process.look()
    assert look[0].is_main
    assert agent.word in look[0].command.split(), "the agent itself, and nothing that holds it"
    words = [info.command.split() for info in look]  # those of its sandbox too
    shown = [one for one in words if agent.word in one and Path(one[0]).name.startswith("python")]
    assert len(shown) == FAMILY
    assert shown[0][-2].endswith("agent.py")
    assert shown[0] == look[0].command.split()
    assert sum(info.rss_bytes for info in look) > 1_000_000


async def test_a_sample_has_what_each_session_uses(scene):
    agent, other = await scene.start(), await scene.start()
    assert await agent.ask("family") == "family"
    assert await other.ask("echo 1") == "echo 1"
    usage = await scene.runtime.sample([one.process for one in (agent, other)])
    assert usage[agent.word].processes >= FAMILY > usage[other.word].processes >= 1
    assert usage[agent.word].rss_bytes > usage[other.word].rss_bytes > 1_000_000
    other.process.write(b"exit 0 1\n")
    await other.ended()
    await other.process.aclose()
    async with asyncio.timeout(LIMIT):
        assert (await scene.runtime.sample([agent.process]))[agent.word].processes >= FAMILY
