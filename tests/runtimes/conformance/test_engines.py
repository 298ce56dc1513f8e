"""An engine that hangs or can't be reached: then nobody can tell, nothing is said to be gone, and nobody else waits."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress

import pytest

from acpbot.errors import AgentStartError
from acpbot.runtimes.runtime import StoredPlace
from tests.runtimes.conformance import places
from tests.runtimes.conformance.fake_api import FakeApi
from tests.runtimes.conformance.fake_engine import FakeEngine
from tests.runtimes.conformance.outside import containers_with, pids_with
from tests.runtimes.conformance.scene import Scene, new_word
from tests.support.launched_agents import Sink

pytestmark = [pytest.mark.runtimes, pytest.mark.timeout(240)]

DAEMON_ID = new_word()
CALL_SECONDS = 100.0
"""More than a runtime waits for its engine, whatever is asked for."""


@pytest.fixture(params=["podman", "docker", "kubernetes"])
def engine(request, tmp_path):
    place = places.PLACES[request.param]
    place = place.with_engine(request.getfixturevalue(request.param).environ)
    made = FakeApi(place, tmp_path) if place.kind == "kubernetes" else FakeEngine(place, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["hang", "refuse"])
def failure(request):
    return request.param


@pytest.fixture
async def scene(engine, tmp_path):
    async with engine.place.runtime(DAEMON_ID) as runtime:
        scene = Scene(engine.place, runtime, tmp_path)
        yield scene
        engine.answer()
        # What could not be removed while nobody could ask is found by the look of each minute.
        await scene.runtime.leftovers([], [one.word for one in scene.agents if one.process.alive])
        await scene.aclose()


async def test_what_runs_goes_on_while_the_engine_fails(scene, engine, failure):
    agent = await scene.start()
    engine.become(failure)
    assert agent.process.alive is not False
    assert await agent.ask("echo 1") == "echo 1"
    with suppress(OSError):
        async with asyncio.timeout(CALL_SECONDS):
            assert await agent.process.look(), "a look that shows nothing would say that it is gone"
    with suppress(OSError):
        async with asyncio.timeout(CALL_SECONDS):
            assert (await scene.runtime.sample([agent.process])).get(agent.word) is None or agent.pids()
    assert (agent.process.alive, agent.process.returncode) in ((True, None), (None, None))
    assert await agent.ask("echo 2") == "echo 2"


async def test_a_kill_that_the_engine_does_not_do_is_never_said_to_be_done(scene, engine, failure):
    agent = await scene.start()
    assert await agent.ask("family") == "family"
    assert await agent.ask("ignore") == "ignore"
    engine.become(failure)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            report = await agent.process.kill_all(2.0)
    except OSError:
        pass  # nobody can tell
    else:
        assert not report.settled or report.left or report.proof == "none" or not agent.pids()
    engine.answer()
    report = await agent.process.kill_all()
    assert (report.left, report.settled) == ((), True)
    assert agent.pids() == set()


async def test_a_cut_connection_is_neither_success_nor_an_end(scene, engine):
    """The client is killed while the engine can't be asked; the agent runs on."""
    agent = await scene.start()
    assert await agent.ask("ignore") == "ignore"
    engine.become("hang")
    engine.cut(agent)
    async with asyncio.timeout(CALL_SECONDS):
        await agent.sink.ended.wait()
    if agent.pids():
        assert agent.process.alive is not False
        assert agent.process.returncode in {None, 255}, "it is unknown"
    engine.answer()
    # An agent that nobody can talk to is of no use: once the engine answers, it is ended.
    report = await agent.process.kill_all()
    assert (report.left, report.settled) == ((), True)
    async with asyncio.timeout(CALL_SECONDS):
        assert await agent.process.wait() != 0
    assert agent.process.end_reason
    assert agent.pids() == set()


async def test_the_engine_is_asked_how_an_agent_is_whose_connection_was_cut(scene, engine):
    agent = await scene.start()
    assert await agent.ask("ignore") == "ignore"
    engine.cut(agent)
    assert await agent.ended() == 255, "it is unknown; the client's own code says nothing of the agent"
    what = "pod" if engine.place.kind == "kubernetes" else "container"
    assert agent.process.end_reason == f"the connection to the {what} was cut"
    assert agent.process.alive is None or not agent.pids()
    report = await agent.process.kill_all()
    assert (report.left, report.settled) == ((), True)
    assert agent.process.alive is False
    assert agent.pids() == set()


async def test_a_client_that_is_cut_while_its_agent_is_killed_is_no_success(scene, engine):
    agents = [await scene.start() for _ in range(3)]
    for agent in agents:
        assert await agent.ask("ignore") == "ignore"
        engine.cut(agent)
    reports = await asyncio.gather(*(agent.process.kill_all() for agent in agents))
    assert all(report.settled for report in reports)
    assert {await agent.ended() for agent in agents} <= {255, -signal.SIGKILL}


async def test_a_start_fails_with_the_reason_while_the_engine_fails(scene, engine, failure):
    engine.become(failure)
    word = new_word()
    with pytest.raises(AgentStartError, match=r"^cannot start the agent: ") as error:
        async with asyncio.timeout(CALL_SECONDS):
            await scene.runtime.launch(scene.spec(word), Sink(), scene.told.append)
    assert "\n" not in str(error.value)
    engine.answer()
    assert await asyncio.to_thread(containers_with, engine.real, word) == []
    agent = await scene.start()
    assert await agent.ask("echo 1") == "echo 1"


async def test_a_start_can_be_cancelled_while_the_engine_hangs(scene, engine):
    engine.become("hang")
    word = new_word()
    start = asyncio.create_task(scene.runtime.launch(scene.spec(word), Sink(), scene.told.append))
    done, _ = await asyncio.wait({start}, timeout=0.5)
    assert not done
    start.cancel()
    await asyncio.wait({start}, timeout=CALL_SECONDS)
    assert start.cancelled()
    engine.answer()
    assert pids_with(word) == set()
    assert await asyncio.to_thread(containers_with, engine.real, word) == []


async def test_leftovers_that_nobody_can_look_for_are_not_said_to_be_gone(scene, engine, failure):
    agent = await scene.start()
    assert await agent.ask("ignore") == "ignore"
    stored = StoredPlace(session_id=agent.word, runtime=engine.place.kind, ref=agent.process.place_ref)
    async with engine.place.runtime(DAEMON_ID) as later:
        engine.become(failure)
        found = [None]
        with suppress(OSError):  # nobody can tell
            async with asyncio.timeout(CALL_SECONDS):
                found = [one.ended for one in await later.leftovers([stored], ())]
        assert found == [None] or not agent.pids()
        engine.answer()


async def test_agents_elsewhere_do_not_wait_for_an_engine_that_hangs(engine, tmp_path):
    async with AsyncExitStack() as stack:
        here = Scene(places.LOCAL, await stack.enter_async_context(places.LOCAL.runtime(DAEMON_ID)), tmp_path / "here")
        runtime = await stack.enter_async_context(engine.place.runtime(DAEMON_ID))
        there = Scene(engine.place, runtime, tmp_path / "there")
        agent = await there.start()
        engine.become("hang")
        look = asyncio.create_task(agent.process.look())
        kill = asyncio.create_task(agent.process.kill_all())
        other = await here.start()
        assert await other.ask("echo 1") == "echo 1"
        assert (await other.process.kill_all()).settled
        await here.aclose()
        engine.answer()
        await asyncio.wait({look, kill}, timeout=CALL_SECONDS)
        await there.runtime.leftovers([], ())
        await there.aclose()
        for task in (look, kill):
            assert task.done()
            with suppress(OSError):
                task.result()


async def test_an_image_that_is_not_there_is_named(scene):
    table = scene.place.tables.get("container")
    if table is None:
        pytest.skip("a cluster fetches images itself")
    for image, pull in (("localhost/acpbot-no-such-image:1", "never"), ("127.0.0.1:1/acpbot/no-such:1", "missing")):
        settings = type(table)(engine=table.engine, image=image, pull=pull)
        word = new_word()
        with pytest.raises(AgentStartError, match=r"^cannot start the agent: ") as error:
            await scene.runtime.launch(scene.spec(word, container=settings), Sink(), scene.told.append)
        assert image in str(error.value)
        assert "\n" not in str(error.value)
        await scene.assert_nothing_is_left(word)
