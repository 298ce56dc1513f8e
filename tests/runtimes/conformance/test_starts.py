"""Starts: what an agent finds in its place, what is said where it can't start, and that nothing is left then."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from acpbot.errors import AgentStartError
from tests.runtimes.conformance.outside import Watched, pids_with
from tests.runtimes.conformance.scene import LIMIT, new_word
from tests.support.launched_agents import Sink

ODD = "a b  'c' \"d\" $HOME `e` \\ é\nsecond=line;"


async def refused(scene, word, **more):
    """The error of a start that fails; nothing of it is left."""
    with pytest.raises(AgentStartError) as error:
        async with asyncio.timeout(LIMIT):
            await scene.runtime.launch(scene.spec(word, **more), Sink(), scene.told.append)
    text = str(error.value)
    assert text.startswith("cannot start the agent: ")
    assert "\n" not in text
    await scene.assert_nothing_is_left(word)
    return text


async def test_an_agent_begins_in_its_workspace_with_its_own_variables_and_arguments(scene):
    agent = await scene.start(settings={"env": {"ODD": ODD, "EMPTY": ""}}, arguments=("", "--flag", ODD))
    around = await agent.around()
    assert around["cwd"] == str(scene.folder / agent.word / "workspace")
    assert around["files"] == ["agent.py"]
    assert around["arguments"] == ["", "--flag", ODD]
    assert (around["env"]["ODD"], around["env"]["EMPTY"]) == (ODD, "")
    assert around["env"]["PATH"]
    assert around["home_is_writable"]
    assert around["tmp_is_writable"]


async def test_an_agent_gets_nothing_of_the_daemons_environment(scene, monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", "secret-of-the-daemon")
    monkeypatch.setenv("SOMETHING_ELSE", "secret-of-the-daemon")
    agent = await scene.start()
    around = await agent.around()
    assert "secret-of-the-daemon" not in str(around["env"])
    assert not set(around["env"]) & set(scene.place.environ)


async def test_a_home_of_the_threads_own_is_kept_between_sessions(scene):
    if not scene.runtime.gives_home:
        pytest.skip("agents have the daemon's HOME here")
    agent = await scene.start()
    home = scene.folder / agent.word / "home"
    assert (await agent.around())["env"]["HOME"] == str(home)
    assert await agent.ask(f"touch {home}/kept") == "touch"
    assert (home / "kept").exists()


async def test_a_workspace_may_have_any_name(scene):
    folder = scene.folder / scene.place.odd_folder
    agent = await scene.start(cwd=folder)
    assert (await agent.around())["cwd"] == str(folder)
    assert await agent.ask("touch written") == "touch"
    assert (folder / "written").exists()


async def test_a_program_that_is_not_there_is_named(scene):
    for program in ("no-such-program-anywhere", "/no/such/program"):
        assert program in await refused(scene, new_word(), argv=(program, "--acp"))


async def test_a_program_that_may_not_be_run_is_named(scene):
    word = new_word()
    program = scene.folder / word / "workspace" / "not-executable"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    assert str(program) in await refused(scene, word, argv=(str(program),))


async def test_a_workspace_that_is_not_there_is_named(scene):
    if not scene.runtime.has_files_here:
        pytest.skip("it is made where it is not there")
    word = new_word()
    spec = scene.spec(word)
    for file in spec.cwd.iterdir():
        file.unlink()
    spec.cwd.rmdir()
    with pytest.raises(AgentStartError, match=r"^cannot start the agent: ") as error:
        await scene.runtime.launch(spec, Sink(), scene.told.append)
    assert str(spec.cwd) in str(error.value)
    await scene.assert_nothing_is_left(word)


async def test_starts_that_are_cancelled_at_any_moment_leave_nothing(scene):
    words = []
    for steps in (0, 1, 3, 10, 30):
        words.append(new_word())
        start = asyncio.create_task(scene.runtime.launch(scene.spec(words[-1]), Sink(), scene.told.append))
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        with suppress(asyncio.CancelledError):
            process = await asyncio.wait_for(start, LIMIT)
            await process.aclose()
    for word in words:
        await scene.assert_nothing_is_left(word)
    agent = await scene.start(word=words[-1])
    assert await agent.ask("echo again") == "echo again"


async def test_a_start_that_is_cancelled_when_the_agent_runs_leaves_nothing(scene):
    """Its program is seen from outside, and then the start is cancelled: what waits for it may have given up."""
    word = new_word()
    sink = Sink()
    spec = scene.spec(word, argv=(scene.place.python, "-S", "-E", "-c", "print('up', flush=True); input()", word))
    start = asyncio.create_task(scene.runtime.launch(spec, sink, scene.told.append))
    done, _ = await asyncio.wait({start, seen := asyncio.create_task(sink.line())}, return_when="FIRST_COMPLETED")
    seen.cancel()
    start.cancel()
    with suppress(asyncio.CancelledError):
        await (await start).aclose()
    assert done
    await scene.assert_nothing_is_left(word)


async def test_many_agents_start_at_once(scene):
    agents = await asyncio.gather(*(scene.start() for _ in range(6)))
    answers = await asyncio.gather(*(agent.ask(f"echo {agent.word}") for agent in agents))
    assert answers == [f"echo {agent.word}" for agent in agents]


async def test_closing_the_runtime_ends_its_agents(place, scene):
    async with place.runtime(new_word()) as other:
        word = new_word()
        process = await other.launch(scene.spec(word), sink := Sink(), scene.told.append)
        process.write(b"family\n")
        assert await sink.line() == "family"
        agent = await scene.start()
        watched = Watched(pids_with(word))
        assert watched.count
    assert watched.running() == 0
    watched.close()
    await scene.assert_nothing_is_left(word)
    assert await agent.ask("echo 1") == "echo 1"


async def test_what_an_operator_must_know_is_said_in_clauses(scene):
    for clause in await scene.runtime.check(scene.place.settings()):
        assert "\n" not in clause
        assert not clause.endswith(".")
