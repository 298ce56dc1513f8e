"""Every key of the configuration that sessions use, from the text of config.toml to what can be seen of its effect.

The tables of Discord, reactions, management, probes, log and shutdown belong to other packages, and to their tests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from acpbot.config import loader
from acpbot.config.field_types import keys_of
from acpbot.config.settings import AgentSettings, PermissionSettings, PoolSettings, StoreSettings
from acpbot.errors import TooMany
from acpbot.runtimes.local.process_namespace import NoNamespace, command_prefix
from acpbot.runtimes.local.runtime import local_runtime
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.sessions.test_pool import kill
from tests.support.pool import Harness, faulty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Observe = Callable[[Harness], Awaitable[Any]]

DEMO = {
    "command": json.dumps(sys.executable),
    "args": '["-m", "acpbot.demo.agent"]',
    "env": '{ ACPBOT_DEMO_PACE = "0" }',
}
HOUR = 3600


def configured(folder: Path, **tables: dict[str, str]) -> Harness:
    """A pool from the text of a configuration: the demo agent's, with these keys (as TOML) changed."""
    whole = {"pool": {"workspace": json.dumps(str(folder / "work"))}, "agent": DEMO}
    for table, keys in tables.items():
        whole[table] = {**whole.get(table, {}), **keys}
    text = "\n".join(f"[{table}]\n" + "\n".join(f"{k} = {v}" for k, v in keys.items()) for table, keys in whole.items())
    settings = loader.parse(text, "/etc/config.toml", {"HOME": str(folder)})
    launcher, _ = local_runtime("subreaper")
    return Harness(folder, settings=settings, launcher=launcher)


# What can be seen.


async def cwd(harness: Harness) -> str:
    await harness.turn("1001", "say a")
    return harness.row("1001").cwd.rpartition("/")[2]


async def workspace(harness: Harness) -> str:
    await harness.turn("1001", "say a")
    return harness.row("1001").cwd.split("/")[-2]


async def accepts_a_second_session(harness: Harness) -> bool:
    await harness.tool("1001")
    try:
        harness.send("1002", "say a")
    except TooMany:
        return False
    return harness.row("1002").session_id is not None


async def accepts_a_second_message(harness: Harness) -> bool:
    await harness.tool("1001")
    try:
        harness.send("1001", "say a")
    except TooMany:
        return False
    return True


async def accepts_a_third_message(harness: Harness) -> bool:
    await harness.tool("1001")
    harness.send("1001", "say a")
    try:
        harness.send("1001", "say b")
    except TooMany:
        return False
    return True


async def is_known_after_an_hour(harness: Harness) -> bool:
    await harness.turn("1001", "say a")
    await kill(harness, "1001")
    harness.clock.move(HOUR)
    harness.pool.tick()
    return bool(harness.pool.rows(suspended=True))


async def state_after_a_minute_without_a_turn(harness: Harness) -> str:
    await harness.turn("1001", "say a")
    harness.clock.move(60)
    harness.pool.tick()
    return harness.row("1001").state


async def state_after_a_minute_of_a_turn(harness: Harness) -> str:
    await harness.tool("1001")
    harness.clock.move(60)
    harness.pool.tick()
    return harness.row("1001").state


async def is_cancelled_after(harness: Harness, seconds: float) -> bool:
    await harness.tool("1001")
    harness.clock.move(seconds)
    harness.pool.tick()
    session = harness.session("1001")
    assert session.turns.turn is not None
    return session.turns.turn.cancelled_at is not None


async def is_cancelled_after_a_minute(harness: Harness) -> bool:
    return await is_cancelled_after(harness, 60)


async def is_cancelled_when_it_is_stuck(harness: Harness) -> bool:
    return await is_cancelled_after(harness, 600)


async def keeps_its_folder_when_it_is_forgotten(harness: Harness) -> bool:
    await harness.turn("1001", "say a")
    await kill(harness, "1001")
    harness.clock.move(30 * 24 * HOUR)
    harness.pool.tick()
    await harness.pool.close()
    return any((harness.tmp_path / "work").iterdir())


async def last_step_of_a_kill(harness: Harness) -> str:
    await harness.turn("1001", "say a")
    reached: str = (await kill(harness, "1001")).reached
    return reached


async def permissions_asked(harness: Harness) -> int:
    listener = harness.send("1001", "tool true")
    done = [asyncio.create_task(event.wait()) for event in (listener.wants_permission, listener.over)]
    await asyncio.wait(done, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.cancel()
    return len(listener.asks)


async def time_to_answer_a_permission(harness: Harness) -> float:
    listener = harness.send("1001", "tool true")
    await asyncio.wait_for(listener.wants_permission.wait(), 20)
    return listener.asks[0].timeout_seconds


async def error(harness: Harness) -> str:
    return (await harness.turn("1001", "say a")).error


async def mode(harness: Harness) -> str | None:
    await harness.turn("1001", "say a")
    return harness.row("1001").mode


async def model(harness: Harness) -> str | None:
    await harness.turn("1001", "say a")
    return harness.row("1001").model


async def has_a_footer(harness: Harness) -> bool:
    return "effort" in (await harness.turn("1001", "say a")).text


async def sees_its_variable(harness: Harness) -> bool:
    return "TESTED" in (await harness.turn("1001", "env")).text


async def limits(harness: Harness) -> list[str]:
    await harness.turn("1001", "say a")
    return [held.limit for held in (await harness.pool.detail("1001")).limits_not_held]


async def runs_in_a_namespace(harness: Harness) -> bool:
    try:
        command_prefix()
    except NoNamespace as reason:
        pytest.skip(str(reason))
    await harness.turn("1001", "say a")
    return "namespace_init" in (await harness.pool.detail("1001")).process_tree[0].command


CASES: list[tuple[str, str, str, Observe, Any, Any]] = [
    ("pool", "max_sessions", "1", accepts_a_second_session, True, False),
    ("pool", "session_ttl_hours", "1", is_known_after_an_hour, True, False),
    ("store", "keep_days", "0.04", is_known_after_an_hour, True, False),
    ("pool", "idle_timeout_seconds", "60", state_after_a_minute_without_a_turn, "idle", "closing"),
    ("pool", "workspace", '"/replaced/by/the/test"', workspace, "work", "other"),
    ("pool", "workspace_mode", '"shared"', cwd, "1001", "work"),
    ("pool", "remove_workspace", "true", keeps_its_folder_when_it_is_forgotten, True, False),
    ("pool", "turn_timeout_seconds", "60", is_cancelled_after_a_minute, False, True),
    ("pool", "stuck_after_seconds", "60", state_after_a_minute_of_a_turn, "busy", "stuck"),
    ("pool", "on_stuck", '"cancel"', is_cancelled_when_it_is_stuck, False, True),
    ("pool", "grace_seconds", "0", last_step_of_a_kill, "eof", "sigkill"),
    ("pool", "max_queued", "0", accepts_a_second_message, True, False),
    ("pool", "max_sessions_per_user", "1", accepts_a_second_session, True, False),
    ("pool", "max_queued_per_user", "1", accepts_a_third_message, True, False),
    ("permissions", "policy", '"allow"', permissions_asked, 1, 0),
    ("permissions", "timeout_seconds", "7", time_to_answer_a_permission, 300, 7),
    ("agent", "command", '"/no/such/agent"', error, "", "cannot start"),
    ("agent", "args", '["-c", "raise SystemExit(7)"]', error, "", "cannot start"),
    ("agent", "working_dir", '"/tmp"', cwd, "1001", "tmp"),
    ("agent", "env", '{ TESTED = "1", ACPBOT_DEMO_PACE = "0" }', sees_its_variable, False, True),
    ("agent", "inherit_env", '["TESTED"]', sees_its_variable, False, True),
    ("agent", "mode", '"auto"', mode, "ask", "auto"),
    ("agent", "model", '"shout"', model, "plain", "shout"),
    ("agent", "options", "{ footer = true }", has_a_footer, False, True),
    ("agent", "memory_max", '"2G"', limits, [], ["memory_max"]),
    ("agent", "pids_max", "512", limits, [], ["pids_max"]),
    ("agent", "process_namespace", "true", runs_in_a_namespace, False, True),
]


@pytest.fixture
async def make_configured(tmp_path: Path) -> AsyncIterator[Callable[..., Harness]]:
    harnesses: list[Harness] = []

    def make(**tables: dict[str, str]) -> Harness:
        folder = tmp_path / str(len(harnesses))
        folder.mkdir()
        harnesses.append(configured(folder, **tables))
        return harnesses[-1]

    yield make
    for harness in harnesses:
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()


@pytest.mark.parametrize(
    ("table", "key", "value", "observe", "before", "after"), CASES, ids=[f"{table}.{key}" for table, key, *_ in CASES]
)
async def test_a_key_that_is_changed_changes_what_can_be_seen(  # noqa: PLR0917 - the columns of the table
    make_configured, tmp_path, monkeypatch, table, key, value, observe, before, after
):
    monkeypatch.setenv("TESTED", "1")
    if key == "workspace":
        value = json.dumps(str(tmp_path / "other"))
    seen = [await observe(make_configured()), await observe(make_configured(**{table: {key: value}}))]
    if observe is error:
        seen[1] = seen[1][: len(after)]
    assert seen == [before, after]


async def test_the_start_timeout_bounds_the_start(make_configured):
    deaf = {"command": '"/bin/sleep"', "args": '["60"]'}
    patient = make_configured(agent=deaf).send("1001", "say a")
    hasty = await make_configured(agent={**deaf, "start_timeout_seconds": "1"}).turn("1001", "say a")
    assert "did not answer initialize within 1 s" in hasty.error
    assert not patient.over.is_set()


async def test_the_auth_method_signs_the_agent_in(make_configured):
    command, *args = (*faulty("wants_sign_in"), '[{"id":"web"}]', "web")
    agent = {"command": json.dumps(command), "args": json.dumps(args)}
    assert "signed in" in await error(make_configured(agent=agent))
    assert await error(make_configured(agent={**agent, "auth_method": '"web"'})) == ""


async def test_the_default_agent_is_the_one_of_a_new_thread(tmp_path):
    agents = DEMO_AGENT.replace("[agent]", "[agents.one]") + DEMO_AGENT.replace("[agent]", "[agents.two]")
    for name in ("one", "two"):
        settings = loader.parse(f'default_agent = "{name}"\n{agents}', "/etc/config.toml", {"HOME": str(tmp_path)})
        harness = Harness(tmp_path, settings=settings)
        harness.pool.ensure("1001", platform="test")
        assert harness.row("1001").agent == name
        await harness.pool.close(grace_seconds=0.5)
        await harness.launcher.aclose()


@pytest.mark.parametrize("name", ["one.sqlite3", "two.sqlite3"])
def test_the_store_is_the_file_that_is_named(tmp_path, name):
    with DaemonProcess(tmp_path / "d", f'{DEMO_AGENT}[store]\npath = "{tmp_path / name}"\n'):
        assert [path.name for path in tmp_path.glob("*.sqlite3")] == [name]


def test_no_key_is_left_out():
    elsewhere = {("agent", "start_timeout_seconds"), ("agent", "auth_method"), ("store", "path")}
    elsewhere |= {
        ("agent", "mcp_servers"),
        ("store", "keep_output"),
        ("agent", "warm"),
    }  # in test_mcp_servers.py and others
    elsewhere |= {("agent", key) for key in ("runtime", "bubblewrap", "container", "kubernetes")}  # in tests/runtimes
    tested = {(table, key) for table, key, *_ in CASES} | elsewhere
    tables = {"pool": PoolSettings, "permissions": PermissionSettings, "agent": AgentSettings, "store": StoreSettings}
    assert tested == {(table, key) for table, struct in tables.items() for key in keys_of(struct)}
