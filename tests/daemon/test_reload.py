"""SIGHUP: what is put in force, what is refused, and what waits for a restart."""

from __future__ import annotations

import json
import signal
import time

import pytest
from msgspec import structs

from acpbot.daemon.reload import differences, merge
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.support import configs

BASE = configs.DISCORD + configs.AGENT
NEED_RESTART = [
    ("[discord]", "bot_token", '"another"'),
    ("[discord]", "allow_dm", "true"),
    ("[discord]", "allow_resume", "true"),
    ("[discord]", "api_base", '"https://proxy.example/api/v10"'),
    ("[discord]", "gateway_url", '"wss://proxy.example"'),
    ("[pool]", "workspace", '"/srv/elsewhere"'),
    ("[pool]", "workspace_mode", '"shared"'),
    ("[pool]", "remove_workspace", "true"),
    ("[management]", "enabled", "false"),
    ("[management]", "socket", '"/run/other.sock"'),
    ("[management]", "socket_group", '"wheel"'),
    ("[management]", "admin_users", '["rosa"]'),
    ("[management.probes]", "enabled", "true"),
    ("[management.probes]", "bind", '"0.0.0.0:8090"'),
    ("[management.probes]", "grace_seconds", "1"),
    ("[management.probes]", "metrics", "true"),
    ("[store]", "path", '"/srv/other.sqlite3"'),
    ("[log]", "format", '"json"'),
]


def settings(*changes: tuple[str, str, str], base: str = BASE):
    text = base
    for table, key, value in changes:
        if key == "bot_token":
            text = text.replace('"${DISCORD_BOT_TOKEN}"', value)
        elif f"{table}\n" in text:
            text = text.replace(f"{table}\n", f"{table}\n{key} = {value}\n")
        else:
            text += f"{table}\n{key} = {value}\n"
    return configs.parse(text)


@pytest.mark.parametrize("change", NEED_RESTART, ids=lambda change: f"{change[0]} {change[1]}")
def test_a_key_that_needs_a_restart_keeps_its_value_and_is_named(change):
    before, wanted = settings(), settings(change)
    merged = merge(before, wanted)
    assert differences(before, merged) == []
    assert differences(merged, wanted) == [f"{change[0]} {change[1]}"]


def changed(struct, path: list[str]):
    """The struct with another value at the end of the path."""
    key, *rest = path
    old = getattr(struct, key)
    if rest:
        new = changed(old, rest)
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, tuple):
        new = (*old, "999999999999999999")
    else:
        new = 1 if old is None else old + ("x" if isinstance(old, str) else 1)
    return structs.replace(struct, **{key: new})


def test_every_other_key_changes_at_a_reload():
    need_restart = {(table.strip("[]"), key) for table, key, _ in NEED_RESTART}
    named_whole = {"", "agent", "agent.bubblewrap", "agent.container", "agent.kubernetes", "discord.channels.ID"}
    taken = {(table, key) for table, key in configs.all_keys() - need_restart if table not in named_whole}
    before = settings()
    assert len(taken) > 40
    for table, key in taken - {("discord", "bot_token_file")}:
        wanted = changed(before, [*table.split("."), key])
        assert merge(before, wanted) == wanted
        assert differences(before, wanted) == [f"[{table}] {key}"]


def test_agents_and_the_default_agent_change_and_are_named_as_a_whole():
    before = configs.parse(configs.AGENT + '[agents.old]\ncommand = "old"\n')
    wanted = configs.parse(
        'default_agent = "new"\n' + configs.AGENT + 'args = ["--fast"]\n[agents.new]\ncommand = "new"\n'
    )
    assert merge(before, wanted) == wanted
    assert sorted(differences(before, wanted)) == ["[agent]", "[agents.new]", "[agents.old]", "default_agent"]


@pytest.mark.parametrize(("before", "wanted"), [(BASE, configs.AGENT), (configs.AGENT, BASE)])
def test_another_chat_needs_a_restart(before, wanted):
    before, wanted = configs.parse(before), configs.parse(wanted)
    merged = merge(before, wanted)
    assert merged.discord == before.discord
    assert differences(merged, wanted) == ["[discord]"]


def test_values_are_never_named():
    secret = "hunter2-hunter2-hunter2"
    env = configs.AGENT + f'env = {{ KEY = "{secret}" }}\n'
    assert secret not in repr(differences(configs.parse(configs.AGENT), configs.parse(env)))


# A daemon.


def check(wire, name: str = "config") -> dict:
    (found,) = [check for check in wire.call("health.get")["checks"] if check["name"] == name]
    return found


def reload(daemon, text: str | None = None) -> None:
    """Write a configuration, send SIGHUP, and wait until the service manager has got READY again."""
    if text is not None:
        daemon.config.write_text(text)
    before = time.monotonic_ns() // 1000
    daemon.process.send_signal(signal.SIGHUP)
    message = daemon.message()
    while "RELOADING" not in message:
        message = daemon.message()
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    daemon.wait_for(b"READY=1")


def last_event(daemon, name: str) -> dict:
    """The last such event of a log in JSON."""
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    return next(line for line in reversed(lines) if line["event"] == name)


JSON_LOG = '[log]\nformat = "json"\n'


def test_a_good_configuration_is_put_in_force(tmp_path):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT + JSON_LOG) as daemon, daemon.wire() as wire:
        assert check(wire) == {"name": "config", "ok": True, "reason": None}
        wire.call("chat.open", thread="one")
        wire.turn("one", "remember the blue door")
        second = DEMO_AGENT.replace("[agent]", "[agents.second]")
        changes = '[pool]\nmax_sessions = 3\n[permissions]\npolicy = "allow"\n[shutdown]\ndrain_seconds = 0\n'
        reload(daemon, second + changes + JSON_LOG + 'level = "debug"\n')
        assert wire.call("sessions.list")["max_sessions"] == 3
        assert "the blue door" in wire.turn("one", "recall")["text"]
        assert wire.refused("chat.open", thread="two", agent="default")["data"] == {"kind": "invalid"}
        assert wire.call("chat.open", thread="two")["session"]["agent"] == "second"
        wire.call("chat.send", thread="two", text="tool true; hang")
        while wire.event("tool")["status"] != "completed":  # unasked
            pass
        assert check(wire)["ok"]
        record = last_event(daemon, "config_reloaded")
        assert record["source"] == str(daemon.config)
        assert sorted(record["changed"].split(", ")) == [
            "[agent]", "[agents.second]", "[log] level", "[permissions] policy", "[pool] max_sessions",
            "[shutdown] drain_seconds", "default_agent",
        ]  # fmt: skip
        assert daemon.stop() == 0
        levels = {json.loads(line)["level"] for line in daemon.log.read_text().splitlines()}
        assert "debug" in levels


def test_a_bad_configuration_is_refused_as_a_whole_until_a_good_one_comes(tmp_path):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT + JSON_LOG) as daemon, daemon.wire() as wire:
        good = daemon.config.read_text()
        reload(daemon, good + "[pool]\nmax_sessions = 3\nmax_session = 4\n")
        problem = f"cannot use {daemon.config}: [pool] has no key max_session; did you mean max_sessions?"
        assert check(wire) == {"name": "config", "ok": False, "reason": problem}
        assert (last_event(daemon, "config_refused")["reason"], wire.call("health.get")["ready"]) == (problem, True)
        assert wire.call("sessions.list")["max_sessions"] == 10
        daemon.config.unlink()
        reload(daemon)
        assert "there is no such file" in check(wire)["reason"]
        wire.call("chat.open", thread="one")
        assert wire.turn("one", "say all goes on")["text"] == "all goes on"
        reload(daemon, good + "[pool]\nmax_sessions = 3\n")
        assert check(wire) == {"name": "config", "ok": True, "reason": None}
        assert wire.call("sessions.list")["max_sessions"] == 3
    assert "Traceback" not in daemon.log.read_text()


def test_keys_that_need_a_restart_are_named_and_the_others_change(tmp_path):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT + JSON_LOG) as daemon, daemon.wire() as wire:
        good = daemon.config.read_text()
        reload(daemon, good.replace("json", "text") + '[pool]\nmax_sessions = 3\nworkspace = "/srv/elsewhere"\n')
        keys = "[pool] workspace, [log] format"
        reason = f"a restart is needed for {keys}"
        assert check(wire) == {"name": "config", "ok": False, "reason": reason}
        assert wire.call("health.get")["warnings"] == ["config"]
        warning = last_event(daemon, "config_needs_restart")
        assert (warning["level"], warning["keys"]) == ("warning", keys)
        assert wire.call("sessions.list")["max_sessions"] == 3
        assert wire.call("chat.open", thread="one")["session"]["cwd"].startswith(str(tmp_path))
        reload(daemon, good)
        assert check(wire)["ok"]
        assert wire.call("sessions.list")["max_sessions"] == 10


def test_what_a_reload_can_t_change_in_running_sessions_is_named_until_they_end(tmp_path):
    with DaemonProcess(tmp_path / "d", DEMO_AGENT) as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="one")
        wire.turn("one", "say a")
        text = daemon.config.read_text()
        reload(daemon, text.replace("[agent]\n", "[agent]\nmemory_max = 1073741824\npids_max = 512\n"))
        reason = "1 session still uses the earlier memory_max, pids_max of agent 'default' (one): kill or suspend it"
        assert check(wire, "agents") == {"name": "agents", "ok": False, "reason": reason}
        assert wire.call("health.get")["ready"]
        session = wire.call("sessions.get", thread="one")["session"]["session_id"]
        wire.call("sessions.kill", targets=[{"thread_id": "one", "session_id": session}])
        assert check(wire, "agents")["ok"]


def test_a_thread_whose_agent_was_removed_is_named_with_the_way_out_also_after_a_restart(tmp_path):
    first, second = DEMO_AGENT, DEMO_AGENT.replace("[agent]", "[agents.second]")
    reason = (
        "1 thread has agent 'default', which is no longer in the configuration: choose another one there with /agent"
    )
    with DaemonProcess(tmp_path / "d", f'default_agent = "default"\n{first}{second}') as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="one")
        wire.turn("one", "say a")
        reload(daemon, second)
        notice = wire.event("notice")["text"]
        assert notice.startswith("An admin removed the agent default.")
        assert check(wire, "agents")["reason"] == reason
        assert daemon.stop() == 0
    with DaemonProcess(tmp_path / "d", second) as daemon, daemon.wire() as wire:
        assert check(wire, "agents")["reason"] == reason
        error = wire.refused("chat.open", thread="one")
        assert error["message"].startswith("cannot use agent 'default' of one: it is no longer in the configuration; ")
        assert wire.call("chat.open", thread="one", agent="second")["session"]["agent"] == "second"
        assert check(wire, "agents")["ok"]


def test_a_smaller_pool_and_a_policy_that_becomes_deny_hold_within_two_seconds(tmp_path):
    with (
        DaemonProcess(tmp_path / "d", DEMO_AGENT + '[permissions]\npolicy = "allow"\n') as daemon,
        daemon.wire() as wire,
    ):
        for thread in ("one", "two", "three"):
            wire.call("chat.open", thread=thread)
            wire.turn(thread, "say a")
        reload(daemon, DEMO_AGENT + '[permissions]\npolicy = "deny"\n[pool]\nmax_sessions = 1\n')
        began = time.monotonic()
        while len(wire.call("sessions.list")["sessions"]) > 1:
            assert time.monotonic() - began < 2
        (left,) = wire.call("sessions.list")["sessions"]
        assert "didn't allow" in wire.turn(left["thread_id"], "tool true")["text"]


def test_a_reload_reads_the_file_that_the_start_found(tmp_path):
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text(DEMO_AGENT)
    with DaemonProcess(tmp_path / "d", ACPBOT_CONFIG=str(elsewhere)) as daemon, daemon.wire() as wire:
        reload(daemon, DEMO_AGENT + "[pool]\nmax_sessions = 3\n")
        assert wire.call("sessions.list")["max_sessions"] == 3


def test_a_stopping_daemon_ignores_a_reload(tmp_path):
    with DaemonProcess(tmp_path / "d") as daemon, daemon.wire() as wire:
        wire.call("chat.open", thread="one")
        wire.call("chat.send", thread="one", text="tool true")
        asked = wire.event("permission")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for(b"STOPPING=1")
        daemon.process.send_signal(signal.SIGHUP)
        wire.call("health.get")
        option = asked["options"][0]["option_id"]
        wire.call("chat.permit", thread="one", request=asked["request"], option=option)
        assert daemon.process.wait(20) == 0
        assert not any("RELOADING" in message for message in daemon.messages())
    assert "reload_ignored" in daemon.log.read_text()


def test_a_channel_that_is_bound_anew_is_named_whole_and_needs_no_restart():
    table = '[discord.channels."5"]\n'
    before, wanted = settings(), configs.parse(f'{configs.DISCORD}{table}mode = "plan"\n{configs.AGENT}')
    changed = configs.parse(f'{configs.DISCORD}{table}mode = "ask"\n{configs.AGENT}')
    assert differences(before, wanted) == ["[discord] allow_all_channels", '[discord.channels."5"]']
    assert differences(wanted, changed) == ['[discord.channels."5"]']
    assert differences(merge(wanted, changed), changed) == []
