"""What threads read of the places where their agents run: a start, another place; and the HOME of a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from acpbot.chat.turn_events import TurnEvents
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.sessions import workspace
from acpbot.sessions.turn import Place, Turn
from acpbot.storage.records import ThreadRecord
from tests.support.pool import Listener, harnesses, make_settings

if TYPE_CHECKING:
    from acpbot.runtimes.runtime import AgentProcess, LaunchSpec, Progress, StdoutSink

WAIT = 20


class SlowPlace:
    """Starts agents as this machine does, once ``ready`` is set; until then it says what the start does."""

    def __init__(self) -> None:
        self._runtime = local_runtime("auto")[0]
        self.ready = asyncio.Event()
        self.asked = asyncio.Event()
        self.say: Progress = lambda _: None

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Progress) -> AgentProcess:
        self.say = progress
        self.asked.set()
        await self.ready.wait()
        return await self._runtime.launch(spec, stdout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


@pytest.fixture
async def make_harness(tmp_path):
    async with harnesses(tmp_path) as make:
        yield make


async def test_while_an_agent_starts_the_row_and_the_messages_that_wait_say_what_that_does(make_harness):
    place = SlowPlace()
    harness = make_harness(launcher=place)
    places: list[Place] = []
    listener = Listener()
    text = [{"type": "text", "text": "say hello"}]
    turn = Turn(text, listener, text="say hello", key="a", asker="7", on_place=places.append)
    harness.pool.submit("1001", turn, platform="test", owner="7")
    await asyncio.wait_for(place.asked.wait(), WAIT)
    assert (harness.row("1001").activity, places) == (None, [])
    for said in ("Fetching the image, 40%", "Fetching the image, 40%", "Fetching\nthe image,\x1b[2J 80%" + "!" * 999):
        place.say(said)
    row = harness.row("1001")
    assert (row.state, row.runtime, row.place, row.alive) == ("starting", "local", None, False)
    assert row.activity is not None
    assert (row.activity[:23], len(row.activity), "\x1b" in row.activity) == ("Fetching the image, 80%", 100, False)
    assert places == [Place(0, start="Fetching the image, 40%"), Place(0, start=row.activity)]
    place.ready.set()
    await asyncio.wait_for(listener.over.wait(), WAIT)
    row = harness.row("1001")
    assert (listener.text, row.activity, row.alive) == ("hello", None, True)


def test_a_terminal_reads_once_what_a_start_does_however_often_its_numbers_change():
    events: list[dict[str, Any]] = []
    view = TurnEvents(events.append, "hello")
    for start in ("Fetching the image, 1%", "Fetching the image, 40%", "Starting the container", "", "Fetching, 2%"):
        view.on_queued(Place(0, start=start))
    assert [event["text"] for event in events] == [
        "Fetching the image, 1%.",
        "Starting the container.",
        "Fetching, 2%.",
    ]


@pytest.mark.parametrize(("before", "moved"), [("bubblewrap", ["1001"]), ("local", []), (None, [])])
async def test_a_thread_reads_that_its_agent_runs_in_another_place_when_it_resumes_there(make_harness, before, moved):
    harness = make_harness()
    await harness.turn("1001", "say a")
    thread = harness.pool.thread("1001")
    assert thread.ran_in == "local"
    await asyncio.wait_for(harness.session("1001").end("evicted"), WAIT)
    thread.ran_in = before
    assert (await harness.turn("1001", "say b")).text == "b"
    assert (harness.events.moved, harness.events.started_fresh, thread.ran_in) == (moved, [], "local")


async def test_a_new_conversation_has_run_nowhere_else(make_harness):
    harness = make_harness()
    await harness.turn("1001", "say a")
    assert harness.events.moved == []


@pytest.mark.parametrize("removes", [True, False])
async def test_a_forgotten_thread_s_home_goes_with_its_folder(make_harness, tmp_path, removes):
    harness = make_harness(remove_workspace=removes)
    for number in ("1001", "1002"):
        await harness.turn(number, "say a")
        (tmp_path / "homes" / number).mkdir(parents=True)
        (tmp_path / "homes" / number / "auth.json").write_text("secret")
    await harness.pool.kill([harness.target("1001")], forget=True)
    await harness.pool.close()
    left = {path.name for path in (tmp_path / "homes").iterdir()}
    assert left == ({"1002"} if removes else {"1001", "1002"})


def test_the_volume_of_a_thread_goes_with_it_whatever_its_working_dir(tmp_path):
    thread = ThreadRecord("1001", "test", "demo", None, None, "", 0.0)
    settings = make_settings(tmp_path)
    for runtime, own in (("local", False), ("kubernetes", True)):
        agent = msgspec.structs.replace(settings.agents["demo"], working_dir=tmp_path / "project", runtime=runtime)
        changed = msgspec.structs.replace(settings, agents={"demo": agent})
        assert workspace.has_own_files(changed, thread) is own


async def test_a_home_that_is_a_link_is_not_followed(make_harness, tmp_path):
    harness = make_harness(remove_workspace=True)
    await harness.turn("1001", "say a")
    kept = tmp_path / "elsewhere"
    kept.mkdir()
    (kept / "file").write_text("kept")
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes" / "1001").symlink_to(kept)
    await harness.pool.kill([harness.target("1001")], forget=True)
    await harness.pool.close()
    assert (kept / "file").read_text() == "kept"


async def test_a_session_that_ends_is_no_leftover(make_harness):
    harness = make_harness()
    await harness.turn("1001", "say a")
    session = harness.session("1001")
    end = session.end("evicted")
    assert harness.pool.live == [session.session_id]
    await asyncio.wait_for(end, WAIT)
    assert harness.pool.live == []
