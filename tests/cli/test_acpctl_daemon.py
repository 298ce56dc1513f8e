"""`acpctl reload`, `config` and `audit` on a real daemon: exit codes, stdout, stderr."""

from __future__ import annotations

import json
import tomllib

import pytest

from acpctl.render.toml import toml_lines
from tests.fakes.daemon import DEMO_AGENT, DaemonProcess
from tests.fakes.management import WireError
from tests.support.acpctl import HEAVY_MODULES, imported_modules


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    config = DEMO_AGENT + 'env = { KEY = "sk-very-secret" }\n'
    with DaemonProcess(tmp_path_factory.mktemp("daemon") / "d", config) as daemon:
        yield daemon


@pytest.fixture
def run(real, program, monkeypatch):
    monkeypatch.setenv("ACPBOT_SOCKET", str(real.socket))
    return program


# reload


def test_reload_says_what_holds_now_and_what_needs_a_restart(real, run):
    before = real.config.read_text()
    real.config.write_text(before + "[pool]\nmax_sessions = 3\nworkspace_mode = 'shared'\n")
    changed = run("reload")
    assert (changed.code, changed.out) == (0, "reloaded: [pool] max_sessions\n")
    assert changed.err == "a restart is needed for [pool] workspace_mode\n"
    real.config.write_text(before)
    assert json.loads(run("reload", "-o", "json").out) == {"reloaded": ["[pool] max_sessions"], "needs_restart": []}
    assert run("reload") == (0, "reloaded: nothing has changed\n", "")


def test_a_file_that_cannot_be_used_exits_with_1_and_its_error(real, run):
    before = real.config.read_text()
    real.config.write_text(before + "[pool]\nmax_sesions = 3\n")
    refused = run("reload")
    real.config.write_text(before)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("cannot ")
    assert refused.err.count("\n") == 1
    assert "max_sesions" in refused.err
    assert "max_sessions" in refused.err
    assert run("reload").code == 0


# config


def test_config_shows_what_is_in_force_as_toml_without_secrets(real, run):
    shown = run("config")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"# {real.config}\ndefault_agent = ")
    assert "sk-very-secret" not in shown.out
    config = tomllib.loads(shown.out)
    assert config["agent"]["env"] == {"KEY": "***"}
    assert config["pool"]["max_sessions"] == 10
    answer = run("config", "-o", "json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == {"path": str(real.config), "config": config}


def test_any_configuration_survives_the_way_through_toml():
    config = {
        "a": 'quote " and \\ and \u202e',
        "b": [1, 2.5, True, "x"],
        "discord": {"channels": {"12": {"agent": "x"}}, "allowed_users": []},
        "agents": {"claude code": {"env": {"A.B": "c"}, "mcp_servers": [{"name": "x", "args": ["y"]}]}},
        "empty": {},
    }
    assert tomllib.loads("\n".join(toml_lines(config))) == config


# audit


def test_audit_lists_what_was_done_the_latest_last_and_by_thread(real, run):
    with real.wire() as wire:
        for thread in ("one", "two"):
            wire.call("chat.open", thread=thread)
            wire.call("chat.leave", thread=thread)
    shown = run("audit", "-n", "2")
    assert (shown.code, shown.err) == (0, "")
    header, *lines = shown.out.splitlines()
    assert header.split() == ["AT", "USER", "PID", "METHOD", "TARGET", "OUTCOME"]
    assert [line.split()[3:] for line in lines] == [["chat.open", "two", "opened"], ["chat.leave", "two", "left"]]
    of_thread = json.loads(run("audit", "--thread", "one", "-o", "json").out)
    assert [entry["outcome"] for entry in of_thread["entries"]] == ["left", "opened"]
    assert of_thread["more"] is False
    assert run("audit", "--thread", "never-seen") == (0, "", "no entries\n")
    assert run("audit", "-n", "0").code == 2
    everything = json.loads(run("audit", "--since", "1h", "-o", "json").out)["entries"]
    assert json.loads(run("audit", "--since", everything[1]["at"], "-o", "json").out)["entries"] == everything[:2]
    assert run("audit", "--since", "2999-01-01T00:00:00Z") == (0, "", "no entries\n")
    assert run("audit", "--since", "soon").code == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_the_audit_shows_whole_threads_and_outcomes(daemon, terminal, columns):
    entry = {"id": 2, "at": "2026-11-24T08:00:00.000Z", "uid": None, "pid": 7, "method": "sessions.suspend"}
    target = "1310203040506071234/0123456789abcdef"
    daemon.on("audit.list", lambda *_: {"entries": [{**entry, "target": target, "outcome": "ended"}], "more": True})
    screen = terminal("audit", "-n", "1", columns=columns, TZ="UTC")
    assert screen.end() == 0
    _, line, more = screen.text().splitlines()
    assert line.split()[-3:] == ["sessions.suspend", "1310203040506071234", "ended"]
    assert more == "older entries are left out; -n shows more"


def test_audit_reads_as_many_pages_as_are_wanted(daemon, acpctl):
    def page(params, _client):
        first = params.get("before", 2501) - 1
        ids = range(first, max(first - params["limit"], 0), -1)
        entry = {"at": "x", "uid": None, "pid": None, "method": "m", "target": "t", "outcome": "o"}
        return {"entries": [{"id": one, **entry} for one in ids], "more": ids[-1] > 1}

    daemon.on("audit.list", page)
    answer = json.loads(acpctl("audit", "-n", "2200", "-o", "json").out)
    assert [entry["id"] for entry in answer["entries"]] == list(range(2500, 300, -1))
    assert answer["more"] is True
    assert [asked["limit"] for asked in daemon.asked("audit.list")] == [1000, 1000, 200]
    assert len(acpctl("audit", "-n", "9999").out.splitlines()) == 2501


@pytest.mark.parametrize(
    ("command", "method"), [("reload", "daemon.reload"), ("config", "config.get"), ("audit", "audit.list")]
)
def test_who_may_only_read_is_told_so(daemon, acpctl, command, method):
    def deny(_params, _client):
        raise WireError(-32004, "access_denied", f"cannot call {method}: uid 1 may only read")

    daemon.on(method, deny)
    assert acpctl(command) == (4, "", f"cannot call {method}: uid 1 may only read\n")
    daemon.without(method)
    assert acpctl(command).code == 1


@pytest.mark.usefixtures("run")
def test_piped_commands_import_no_heavy_module():
    for command in ("config", "audit", "reload"):
        assert imported_modules(command) & HEAVY_MODULES == set()
