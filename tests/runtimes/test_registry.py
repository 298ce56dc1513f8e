"""All runtimes of a daemon: the pace at which each is looked at, and that one which can't be asked delays no other."""

from __future__ import annotations

from typing import Any

import pytest

from acpbot.errors import AgentStartError
from acpbot.runtimes.registry import Runtimes
from acpbot.runtimes.runtime import Leftover, StoredPlace, Usage


class Place:
    """One kind of place in memory. While ``fails``, nobody can look there."""

    def __init__(self, kind: str, sample_seconds: float) -> None:
        self.kind = kind
        self.containment = "memory"
        self.sample_seconds = sample_seconds
        self.strays = [{"id": f"stray of {kind}"}]
        self.fails = False
        self.samples: list[list[str]] = []
        self.stored: list[tuple[list[str], list[str]]] = []
        self.closed = 0

    async def sample(self, processes: Any) -> dict[str, Usage]:
        self.samples.append([process.session_id for process in processes])
        self._look()
        return {name: Usage(1, 2, 3.0) for name in self.samples[-1]}

    async def leftovers(self, stored: Any, live: Any) -> list[Leftover]:
        self.stored.append(([place.session_id for place in stored], list(live)))
        self._look()
        return [Leftover(self.kind, "there", "agent", None, ended=None)]

    async def aclose(self) -> None:
        self.closed += 1
        self._look()

    def _look(self) -> None:
        if self.fails:
            raise OSError("the engine does not answer")


class Process:
    def __init__(self, session_id: str) -> None:
        self.session_id = session_id


class TwoKinds(Runtimes):
    """Has a second kind, "engine", beside this machine's."""

    def __init__(self, local: Place, engine: Place, clock: Any) -> None:
        super().__init__(local, daemon_id="d", clock=clock)  # type: ignore[arg-type]
        self._engine = engine

    def _make(self, kind: str) -> Any:
        return self._engine if kind == "engine" else super()._make(kind)


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def local():
    return Place("local", 2.0)


@pytest.fixture
def engine():
    return Place("engine", 10.0)


@pytest.fixture
def runtimes(local, engine, now):
    found = TwoKinds(local, engine, lambda: now[0])
    assert found.of("engine") is engine
    assert found.of("local") is local
    return found


def test_a_kind_that_there_is_not_is_named_with_the_way_out(runtimes):
    with pytest.raises(AgentStartError, match=r"^cannot start the agent: .*'moon'; set runtime to local$"):
        runtimes.of("moon")


async def test_each_kind_is_sampled_at_its_own_pace(runtimes, local, engine, now):
    processes = [("local", Process("a")), ("engine", Process("b"))]
    assert set(await runtimes.sample(processes)) == {"a", "b"}
    for seconds in (2, 4, 6, 8, 9.9):
        now[0] = 100.0 + seconds
        assert set(await runtimes.sample(processes)) == {"a"}
    now[0] = 110.0
    assert set(await runtimes.sample(processes)) == {"a", "b"}
    assert (len(local.samples), engine.samples) == (7, [["b"], ["b"]])


async def test_an_engine_that_can_not_be_asked_holds_up_nobody_else(runtimes, local, engine):
    engine.fails = True
    assert set(await runtimes.sample([("local", Process("a")), ("engine", Process("b"))])) == {"a"}
    stored = [StoredPlace("a", "local", {}), StoredPlace("b", "engine", {}), StoredPlace("c", "moon", {})]
    assert [left.runtime for left in await runtimes.leftovers(stored, ["d"])] == ["local"]
    assert (local.stored, engine.stored) == ([(["a"], ["d"])], [(["b"], ["d"])])
    await runtimes.aclose()
    assert (local.closed, engine.closed) == (1, 1)


async def test_a_failed_look_at_this_machine_is_an_error(runtimes, local):
    local.fails = True
    with pytest.raises(OSError, match="does not answer"):
        await runtimes.sample([])


def test_strays_are_counted_by_kind(runtimes):
    assert runtimes.strays == {"local": [{"id": "stray of local"}], "engine": [{"id": "stray of engine"}]}
