"""What the daemon keeps from its own user's other processes, and that everything else works as before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.fakes.daemon import DEMO_AGENT, LIMIT, DaemonProcess

TOKEN = "MTQxNzIyMTIzNDU2Nzg5MDEyMw.GattaC.nobody-else-may-see-these-38-characters"
DISCORD = f"""
[discord]
bot_token = "${{THE_TOKEN}}"
allow_all_users = true
api_base = "http://127.0.0.1:1"
{DEMO_AGENT}
[pool]
max_sessions = 3
"""

PROTECTED = """
    import json, os, resource, subprocess, sys
    from acpbot.daemon import loop_metrics
    from acpbot.daemon.hardening import protect_memory
    from acpbot.runtimes.local import cgroup, procfs
    from acpbot.runtimes.local.procfs import Identity
    before = Identity.own()
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    protect_memory()
    def sh(script):
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout.strip()
    folder = os.open("/", os.O_RDONLY)
    print(json.dumps({
        "identity": Identity.own() == before,
        "rss": loop_metrics.rss_bytes() > 0,
        "cgroup": str(cgroup.path_of(os.getpid())).startswith("/"),
        "descriptors": len(os.listdir("/proc/self/fd")) > 3,
        "by descriptor": os.path.isdir(f"/proc/self/fd/{folder}/proc"),
        "markers": procfs.read_markers(os.getpid()) == (None, None),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "another process": sh(f"cat /proc/{os.getpid()}/environ | wc -c; ls /proc/{os.getpid()}/fd | wc -l"),
        "a child's own": sh("echo 700 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj"),
        "a child's child": sh("sleep 100 & cat /proc/$!/environ | wc -c | grep -cv '^0$'; kill $!"),
    }))
"""


def test_only_the_process_itself_reads_what_is_in_it_and_its_children_are_as_ever() -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROTECTED)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout
    assert json.loads(output) == {
        "identity": True,
        "rss": True,
        "cgroup": True,
        "descriptors": True,
        "by descriptor": True,
        "markers": True,
        "core": [0, 0],
        "another process": "0\n0",
        "a child's own": "700",
        "a child's child": "1",
    }


USER_NAMESPACE = """
    import os, subprocess
    from acpbot.daemon.hardening import protect_memory
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    if os.environ["PROTECT"]:
        protect_memory()
    made = subprocess.run(["unshare", "--user", "--map-root-user", "id", "-u"], capture_output=True, text=True)
    print(made.stdout.strip() or made.stderr.strip())
"""


def test_a_child_makes_a_user_namespace_as_before() -> None:
    def made(protect: str) -> str:
        command = [sys.executable, "-c", textwrap.dedent(USER_NAMESPACE)]
        environ = {**os.environ, "PROTECT": protect}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT, check=True).stdout

    if made("") != "0\n":
        pytest.skip("this system gives no user namespaces to users")
    assert made("yes") == "0\n"


FORGETFUL = """
    import ctypes, os, subprocess
    from pathlib import Path
    from acpbot.daemon.hardening import forget_variables, protect_memory
    protect_memory()
    forget_variables(os.environ, ["A_TOKEN", "EMPTY", "NOT_SET", "NOT_UTF8"])
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: for the test to see it
    shown = Path("/proc/self/environ").read_bytes()
    left = {entry for entry in shown.replace(b"\\0\\0", b"\\0").split(b"\\0") if b"TOKEN" in entry or b"UTF8" in entry}
    print(sorted(left), b"secret" in shown, b"\\xe9" in shown)
    print(sorted(name for name in os.environ if "TOKEN" in name or "UTF8" in name or name == "EMPTY"))
    print(subprocess.run(["env"], capture_output=True, text=True).stdout.count("secret"))
"""


def test_a_variable_that_is_forgotten_is_in_no_environment_any_more() -> None:
    environ: dict[bytes, bytes] = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    environ |= {b"A_TOKEN": b"secret", b"A_TOKEN_FILE": b"/kept", b"EMPTY": b"", b"NOT_UTF8": b"\xe9"}
    command = [sys.executable, "-c", textwrap.dedent(FORGETFUL)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT, check=True)
    assert result.stdout.splitlines() == [
        "[b'A_TOKEN=', b'A_TOKEN_FILE=/kept', b'NOT_UTF8='] False False",
        "['A_TOKEN_FILE']",
        "0",
    ]


def test_the_token_leaves_the_environment_and_a_reload_still_knows_it(tmp_path: Path) -> None:
    environ = {"THE_TOKEN": TOKEN}
    with DaemonProcess(tmp_path / "home", DISCORD, **environ) as daemon:  # type: ignore[arg-type]
        if os.geteuid() == 0:  # nobody else may look
            assert TOKEN.encode() not in Path(f"/proc/{daemon.process.pid}/environ").read_bytes()
        daemon.config.write_text(DISCORD.replace("max_sessions = 3", "max_sessions = 4"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(b"RELOADING=1")
        daemon.wait_for(b"READY=1")
        with daemon.wire() as wire:
            health = wire.call("health.get")
            assert next(check for check in health["checks"] if check["name"] == "config")["ok"], health
            assert wire.call("sessions.list")["max_sessions"] == 4
            wire.call("chat.open", thread="1")
            wire.turn("1", f"tool env > {tmp_path}/agents.env")
        assert TOKEN not in (tmp_path / "agents.env").read_text()
        assert TOKEN not in daemon.log.read_text()
