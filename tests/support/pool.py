"""A pool of real demo agents on a clock that tests move."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from acpbot.config.settings import AgentSettings, PermissionSettings, PoolSettings, Settings, StoreSettings
from acpbot.runtimes.local.runtime import local_runtime
from acpbot.runtimes.registry import Runtimes, ThisMachine
from acpbot.sessions.pauses import Pauses
from acpbot.sessions.pool import Pool
from acpbot.sessions.turn import PermissionNote, PermissionRequest, Turn, TurnEnd
from acpbot.sessions.views import Target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from acpbot.acp.schema import Update
    from acpbot.sessions.questions import Question
    from acpbot.sessions.session import Session
    from acpbot.sessions.views import Row
    from acpbot.storage.store import Store

FAULTY = Path(__file__).parents[1] / "fakes" / "agents" / "faulty.py"


# Each turn waits for them: a test that is about them gives its own.
QUICK = Pauses(settle=0.01, message=0.1, quiet=0.02, replay=0.05)


class Clock:
    """A monotonic clock that moves when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Listener:
    """Collects what a turn reports."""

    def __init__(self) -> None:
        self.text = ""
        self.kinds: list[str] = []
        self.statuses: list[str | None] = []
        self.bodies = ""
        self.asks: list[PermissionRequest] = []
        self.notes: list[PermissionNote] = []
        self.questions: list[Question] = []
        self.question_outcomes: list[str | None] = []
        self._end: TurnEnd | None = None
        self.running = asyncio.Event()
        self.over = asyncio.Event()
        self.tool_spoke = asyncio.Event()
        self.wants_permission = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.ask_outcomes: list[str | None] = []
        self._waiting: list[tuple[str, asyncio.Event]] = []

    def on_started(self) -> None:
        self.running.set()

    @property
    def end(self) -> TurnEnd:
        """How the turn ended."""
        assert self._end is not None, "the turn has not ended"
        return self._end

    @property
    def error(self) -> str:
        """Why it ended with an error, as operators read it; empty where it did not."""
        return self.end.for_operators or ""

    def on_update(self, update: Update) -> None:
        self.kinds.append(update.kind)
        self.statuses.append(update.body.get("status"))
        self.bodies += str(update.body)
        if update.kind == "agent_message_chunk":
            self.text += update.body["content"]["text"]
        if update.kind == "tool_call_update" and update.body.get("content"):
            self.tool_spoke.set()
        for words, event in self._waiting:
            if words in self.text or words in self.kinds or words in str(update.body.get("title")):
                event.set()

    async def sees(self, words: str) -> None:
        """Wait until the text or an update's kind or title holds these words."""
        if words in self.text or words in self.kinds:
            return
        event = asyncio.Event()
        self._waiting.append((words, event))
        await asyncio.wait_for(event.wait(), 20)

    def on_permission_request(self, ask: PermissionRequest) -> None:
        self.asks.append(ask)
        self.wants_permission.set()

    def on_permission_resolved(self, ask: PermissionRequest) -> None:
        self.ask_outcomes.append(ask.outcome)

    def on_question(self, question: Question) -> None:
        self.questions.append(question)
        self.is_asked.set()

    def on_question_closed(self, question: Question) -> None:
        self.question_outcomes.append(question.outcome)

    def on_permission_note(self, note: PermissionNote) -> None:
        self.notes.append(note)

    def on_ended(self, end: TurnEnd) -> None:
        assert self._end is None, "a turn ends once"
        self._end = end
        self.over.set()


class ThreadEvents:
    """The chat side: what the pool reports of threads."""

    def __init__(self) -> None:
        self.endings: list[tuple[str, str, bool]] = []
        self.stuck: list[tuple[str, str | None, float]] = []
        self.started_fresh: list[str] = []
        self.moved: list[str] = []
        self.dropped: list[tuple[str, str, str]] = []
        self.removed: list[tuple[str, str]] = []
        self.not_set: list[tuple[str, str, str]] = []
        self.removals: list[tuple[str, str, float]] = []
        self.permission_notes: list[tuple[str, PermissionNote]] = []
        self.unprompted_listeners: list[tuple[str, Listener]] = []
        self.spoken = asyncio.Event()
        self.changes = 0
        self.ended = asyncio.Event()
        self.noted = asyncio.Event()

    def session_changed(self, _thread_id: str) -> None:
        self.changes += 1

    def session_ended(self, thread_id: str, reason: str, _detail: str | None, *, resumable: bool) -> None:
        self.endings.append((thread_id, reason, resumable))
        self.ended.set()

    def session_started_fresh(self, thread_id: str) -> None:
        self.started_fresh.append(thread_id)

    def session_moved(self, thread_id: str) -> None:
        self.moved.append(thread_id)

    def session_stuck(self, thread_id: str, activity: str | None, seconds: float) -> None:
        self.stuck.append((thread_id, activity, seconds))

    def choice_dropped(self, thread_id: str, category: str, value: str) -> None:
        self.dropped.append((thread_id, category, value))

    def agent_removed(self, thread_id: str, agent: str) -> None:
        self.removed.append((thread_id, agent))

    def option_not_set(self, thread_id: str, option: str, value: str) -> None:
        self.not_set.append((thread_id, option, value))

    def permission_answered(self, thread_id: str, note: PermissionNote) -> None:
        self.permission_notes.append((thread_id, note))
        self.noted.set()

    def unprompted(self, thread_id: str) -> Listener:
        listener = Listener()
        self.unprompted_listeners.append((thread_id, listener))
        self.spoken.set()
        return listener

    def removal_planned(self, thread_id: str, folder: str, seconds: float) -> None:
        self.removals.append((thread_id, folder, seconds))


def make_settings(folder: Path, **keys: Any) -> Settings:
    """Settings with one agent, the demo agent, called ``demo``; ``keys`` are of [agent], [permissions] and [pool]."""
    agent: dict[str, Any] = {"name": "demo", "command": sys.executable, "args": ("-m", "acpbot.demo.agent")}
    permissions: dict[str, Any] = {}
    pool: dict[str, Any] = {"workspace": folder / "workspaces", "grace_seconds": 2.0}
    for key, value in keys.items():
        if key in PermissionSettings.__struct_fields__:
            permissions[key] = value
        elif key in AgentSettings.__struct_fields__:
            agent[key] = value
        else:
            pool[key] = value
    return Settings(
        default_agent="demo",
        agents={"demo": AgentSettings(**agent)},
        pool=PoolSettings(**pool),
        permissions=PermissionSettings(**permissions),
        store=StoreSettings(path=folder / "acpbot.sqlite3"),
    )


class Harness:
    """A pool, made of its settings as the daemon makes it, and what tests do with it. ``keys`` as in `make_settings`.

    ``argv`` is the agent's command with its arguments; ``env`` adds to its environment.
    """

    def __init__(
        self,
        tmp_path: Path,
        *,
        store: Store | None = None,
        wall: Callable[[], float] | None = None,
        boottime: Callable[[], float] | None = None,
        argv: Sequence[str] = (sys.executable, "-m", "acpbot.demo.agent"),
        env: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        launcher: ThisMachine | None = None,
        pauses: Pauses = QUICK,
        **keys: Any,
    ) -> None:
        self.clock = Clock()
        self.events = ThreadEvents()
        self.tmp_path = tmp_path
        self.agent_argv = tuple(argv)
        command, *args = argv
        own = {"ACPBOT_DEMO_PACE": "0", **(env or {})}
        agent = {"command": command, "args": tuple(args), "env": own, "start_timeout_seconds": 20}
        self.settings = settings or make_settings(tmp_path, **agent | keys)
        self.launcher = launcher or local_runtime("auto")[0]
        self.pool = Pool(
            self.settings,
            runtimes=Runtimes(self.launcher, daemon_id="test"),
            store=store,
            clock=self.clock,
            wall=wall or self.clock,
            boottime=boottime or self.clock,
            pauses=pauses,
        )
        self.pool.attach("test", self.events)

    def send(self, thread: str, text: str, *, asker: str = "7") -> Listener:
        listener = Listener()
        self.submit(thread, text, listener, asker=asker)
        return listener

    def submit(self, thread: str, text: str, listener: Listener, *, asker: str = "7") -> None:
        turn = Turn([{"type": "text", "text": text}], listener, text=text, key=text, asker=asker)
        self.position = self.pool.submit(thread, turn, platform="test", owner=asker)

    async def turn(self, thread: str, text: str, *, asker: str = "7") -> Listener:
        listener = self.send(thread, text, asker=asker)
        await asyncio.wait_for(listener.over.wait(), 20)
        return listener

    async def tool(self, thread: str, *, asker: str = "7") -> Listener:
        """A turn in which a tool runs, permitted, for a minute."""
        listener = self.send(thread, "tool echo up && exec sleep 60", asker=asker)
        await asyncio.wait_for(listener.wants_permission.wait(), 20)
        listener.asks[0].select(next(o.option_id for o in listener.asks[0].options if o.kind == "allow_once"))
        await asyncio.wait_for(listener.tool_spoke.wait(), 20)
        return listener

    def row(self, thread: str) -> Row:
        return self.pool.row(thread)

    def reload(self, **keys: Any) -> None:
        """Reload the settings with these keys of [pool] and [permissions] changed."""
        changes: dict[str, dict[str, Any]] = {"pool": {}, "permissions": {}}
        for key, value in keys.items():
            changes["permissions" if key in PermissionSettings.__struct_fields__ else "pool"][key] = value
        replaced = {
            table: msgspec.structs.replace(getattr(self.settings, table), **values) for table, values in changes.items()
        }
        self.settings = msgspec.structs.replace(self.settings, **replaced)
        self.pool.reconfigure(self.settings)

    def offer_agents(self, *names: str) -> None:
        """Reload the settings with the demo agent under each of these names; the first is the default."""
        demo = next(iter(self.settings.agents.values()))
        agents = {name: msgspec.structs.replace(demo, name=name) for name in names}
        self.pool.reconfigure(msgspec.structs.replace(self.settings, agents=agents, default_agent=names[0]))

    def session(self, thread: str) -> Session:
        """The thread's session, which must be there."""
        session = self.pool.get(thread)
        assert session is not None
        return session

    def target(self, thread: str) -> Target:
        """What names the thread's session in a kill."""
        session_id = self.row(thread).session_id
        assert session_id is not None
        return Target(thread_id=thread, session_id=session_id)


def faulty(quirk: str) -> tuple[str, ...]:
    return (sys.executable, "-S", str(FAULTY), *quirk.split(" "))


@contextlib.asynccontextmanager
async def harnesses(folder: Path) -> AsyncIterator[Callable[..., Harness]]:
    """A function that makes harnesses in ``folder``; their pools are closed when the block is left."""
    made: list[Harness] = []

    def make(**limits: Any) -> Harness:
        made.append(Harness(folder, **limits))
        return made[-1]

    yield make
    for harness in made:
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()
