"""What is visible in a sandbox, asked of the real bwrap."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from acpbot.runtimes.bubblewrap.installation import installation
from acpbot.runtimes.bubblewrap.sandbox import Hidden, Refused, Sandbox, mounts, words
from acpbot.runtimes.bubblewrap.seccomp import seccomp_filter
from acpbot.runtimes.homes import LoginFile

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.geteuid() == 0


@pytest.fixture
def folders(tmp_path):
    """A machine of the daemon: its state with two threads, its configuration and its socket."""
    for name in ("state/homes/t", "state/homes/other", "state/workspaces/t", "state/workspaces/other", "config", "run"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("state/acpbot.db", "state/homes/other/secret", "state/workspaces/other/secret", "config/token"):
        (tmp_path / name).write_text("secret")
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "run" / "s"))
        daemon.listen()
        yield tmp_path


def sandbox(root: Path, **more) -> Sandbox:
    state = root / "state"
    hidden = Hidden(
        state=state,
        folders=(state / "homes", state / "logins", state / "workspaces"),
        files=(root / "config" / "token", root / "run" / "s"),
    )
    place = Sandbox(folder=state / "workspaces" / "t", home=state / "homes" / "t", hidden=hidden)
    return replace(place, **more)


def run(place: Sandbox, code: str, **options):
    """Run Python code in a sandbox; return what it leaves in ``result``."""
    argv = [
        "bwrap",
        *words(place, root=ROOT, **options),
        "/usr/bin/env",
        "python3",
        "-c",
        f"import json\n{code}\nprint(json.dumps(result))",
    ]
    return json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)


pytestmark = pytest.mark.runtimes

REACHABLE = """
import os, socket
def reached(path):
    try:
        if path.endswith('/s'):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            open(path).read()
    except OSError:
        return False
    return True
result = [path for path in {paths} if reached(path)]
"""


def secrets(root: Path) -> list[str]:
    names = ("state/acpbot.db", "state/homes/other/secret", "state/workspaces/other/secret", "config/token", "run/s")
    return [str(root / name) for name in names]


def test_the_daemons_state_token_and_socket_and_other_threads_are_not_there(folders):
    assert run(sandbox(folders), REACHABLE.format(paths=secrets(folders))) == []


def test_they_stay_hidden_where_a_folder_above_them_is_shown(folders):
    (folders / "code").write_text("")
    shown = str(folders / "code")
    for given in ({"readable": (folders,)}, {"writable": (folders,)}, {"folder": folders}):
        found = run(sandbox(folders, **given), REACHABLE.format(paths=[*secrets(folders), shown]))
        assert found == [shown], given


def test_they_stay_hidden_where_a_link_leads_above_them(folders):
    (folders / "link").symlink_to(folders)
    paths = secrets(folders / "link")
    assert run(sandbox(folders, readable=(folders / "link",)), REACHABLE.format(paths=paths)) == []


def test_what_hides_them_cannot_be_taken_away(folders):
    code = f"""
import ctypes, os
from contextlib import suppress
libc = ctypes.CDLL(None)
libc.unshare(0x10000000 | 0x00020000)  # CLONE_NEWUSER, CLONE_NEWNS
for path in {[str(folders / "state"), str(folders / "config/token"), str(folders / "run/s")]}:
    libc.umount2(path.encode(), 2)
{REACHABLE.format(paths=secrets(folders))}"""
    assert run(sandbox(folders, readable=(folders,)), code) == []


@pytest.mark.parametrize(
    "name", ["state", "state/homes", "state/homes/other", "state/workspaces/other", "config/token"]
)
def test_a_setting_that_names_them_is_refused(folders, name):
    for key in ("readable", "writable"):
        with pytest.raises(Refused, match=f"{name} is acpbot's own or another thread's; take it out of"):
            mounts(sandbox(folders, **{key: (folders / name,)}))


def test_a_path_that_is_not_there_is_refused_with_the_way_out(folders):
    with pytest.raises(Refused, match="missing does not exist; create it, or take it out of readable and writable"):
        mounts(sandbox(folders, readable=(folders / "missing",)))


def test_the_folder_of_the_database_is_no_working_dir(folders):
    with pytest.raises(Refused, match="choose another working_dir"):
        mounts(sandbox(folders, folder=folders / "state"))


def test_what_an_operator_adds_is_there_and_written_only_where_that_is_allowed(folders):
    (folders / "r").mkdir()
    (folders / "w").mkdir()
    code = f"""
import os
def written(path):
    try:
        open(os.path.join(path, 'x'), 'w')
    except OSError:
        return False
    return True
places = {[str(folders / "r"), str(folders / "w")]} + [os.getcwd(), '/tmp', '/usr', '/etc', '/', '/run', '/var']
result = [path for path in places if written(path)]
"""
    place = sandbox(folders, readable=(folders / "r",), writable=(folders / "w",))
    assert run(place, code) == [str(folders / "w"), str(place.folder), "/tmp"]
    assert (folders / "w" / "x").exists()


def test_a_login_file_is_shared_and_written_in_place(folders):
    login = folders / "auth.json"
    login.write_text("old")
    shown = folders / "state/homes/t/.agent/auth.json"
    code = f"result = open({str(shown)!r}).read(); open({str(shown)!r}, 'w').write('new')"
    assert run(sandbox(folders, logins=(LoginFile(login, shown),)), code) == "old"
    assert login.read_text() == "new"


def test_settings_that_name_programs_cannot_be_written(folders):
    (folders / "config.toml").write_text("old")
    shown = folders / "state/homes/t/.codex/config.toml"
    code = f"""
import os
shown = {str(shown)!r}
attempts = [lambda: open(shown, 'w'), lambda: os.unlink(shown), lambda: os.rename('x', shown)]
open('x', 'w').close()
result = [open(shown).read()]
for attempt in attempts:
    try:
        attempt()
        result.append('written')
    except OSError:
        pass
"""
    place = sandbox(folders, logins=(LoginFile(folders / "config.toml", shown, read_only=True),))
    assert run(place, code) == ["old"]
    assert (folders / "config.toml").read_text() == "old"


def test_only_the_processes_of_the_sandbox_are_in_its_proc(folders):
    code = "import os; result = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())"
    assert run(sandbox(folders), code) == [1, 2]


def test_nothing_of_the_system_in_its_proc_can_be_written(folders):
    """Such as /proc/sys/kernel/core_pattern, which names a program that the kernel runs as root outside."""
    code = """
import os
result = []
for folder, folders, files in os.walk('/proc'):
    folders[:] = [name for name in folders if not name.isdigit() and name not in ('self', 'thread-self')]
    for path in (os.path.join(folder, name) for name in files):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            result.append(path)
        except OSError:
            pass
"""
    assert run(sandbox(folders), code) == []


def test_the_network_can_be_taken_away(folders):
    code = "import socket; result = [name for _, name in socket.if_nameindex()]"
    assert run(sandbox(folders, network=False), code) == ["lo"]
    assert run(sandbox(folders), code) == [name for _, name in socket.if_nameindex()]


def test_nobody_in_a_sandbox_has_rights_or_gets_some(folders):
    code = """
lines = dict(line.split(':') for line in open('/proc/self/status').read().splitlines())
result = [lines['CapEff'].strip(), lines['CapPrm'].strip(), lines['NoNewPrivs'].strip()]
"""
    assert run(sandbox(folders), code) == ["0" * 16, "0" * 16, "1"]


def test_a_user_can_make_another_sandbox_inside_and_root_cannot(folders):
    """A map of root's own id takes a capability that root does not have there (user_namespaces(7))."""
    nested = shlex.split("bwrap --unshare-user --unshare-pid --ro-bind / / --proc /proc --dev /dev true")
    place = sandbox(folders)
    if ROOT:
        assert subprocess.run(["bwrap", *words(place, root=True), *nested], check=False, capture_output=True).returncode
        subprocess.run(["chown", "-R", "65534:65534", folders], check=True)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if ROOT else []
    assert subprocess.run([*user, "bwrap", *words(place, root=False), *nested], check=False).returncode == 0


def test_the_filter_refuses_what_traces_and_what_types_into_a_terminal(folders, tmp_path):
    with (tmp_path / "filter").open("w+b") as file:
        file.write(seccomp_filter() or b"")
        file.seek(0)
        code = """
import ctypes, errno, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
refused = []
for name, call in {'ptrace': (101, 0, 0, 0), 'keyctl': (250, 0, 0), 'bpf': (321, 0, 0)}.items():
    if libc.syscall(*map(ctypes.c_long, call)) < 0 and ctypes.get_errno() == errno.EPERM:
        refused.append(name)
try:
    fcntl.ioctl(os.openpty()[1], 0x5412, b'x')
except PermissionError:
    refused.append('TIOCSTI')
result = refused
"""
        options = ["--seccomp", str(file.fileno()), *words(sandbox(folders), root=ROOT)]
        argv = ["bwrap", *options, "/usr/bin/env", "python3", "-c", f"{code}\nimport json; print(json.dumps(result))"]
        found = subprocess.run(argv, check=True, stdout=subprocess.PIPE, pass_fds=[file.fileno()]).stdout
    assert json.loads(found) == ["ptrace", "keyctl", "bpf", "TIOCSTI"]


def test_a_filter_is_known_for_the_two_common_machines_only():
    assert [seccomp_filter(name) is None for name in ("x86_64", "aarch64", "riscv64")] == [False, False, True]


def make(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def shown(argv: list[str], home: Path, search: str = "/usr/bin") -> set[str]:
    return {mount.path.removeprefix(f"{home}/") for mount in installation(argv, search, (home, home / ".local"))}


def test_a_program_of_npm_is_shown_with_its_modules_and_its_node(tmp_path):
    prefix = tmp_path / ".nvm/versions/node/v22"
    make(prefix / "bin/node", "\x7fELF")
    script = make(prefix / "lib/node_modules/agent/cli.js", "#!/usr/bin/env node\n")
    (prefix / "bin/agent").symlink_to("../lib/node_modules/agent/cli.js")
    found = shown([str(prefix / "bin/agent")], tmp_path, str(prefix / "bin"))
    assert found == {".nvm/versions/node/v22", ".nvm/versions/node/v22/lib/node_modules"}
    assert script.exists()


def test_of_a_prefix_in_a_home_only_the_program_and_the_modules_are_shown(tmp_path):
    make(tmp_path / ".local/lib/node_modules/agent/cli.js")
    make(tmp_path / ".local/share/keyrings/secret")
    (tmp_path / ".local/bin").mkdir()
    (tmp_path / ".local/bin/agent").symlink_to("../lib/node_modules/agent/cli.js")
    found = shown([str(tmp_path / ".local/bin/agent")], tmp_path)
    assert found == {".local/bin", ".local/lib/node_modules"}


def test_a_program_of_a_virtual_environment_is_shown_with_it_and_its_python(tmp_path):
    python = make(tmp_path / ".local/share/uv/python/cpython/bin/python3", "\x7fELF")
    (tmp_path / ".local/share/uv/python/cpython/lib").mkdir()
    venv = tmp_path / ".local/share/uv/tools/agent"
    make(venv / "bin/agent", f"#!{venv}/bin/python\n")
    (venv / "pyvenv.cfg").write_text("")
    (venv / "bin/python").symlink_to(python)
    (tmp_path / ".local/bin").mkdir()
    (tmp_path / ".local/bin/agent").symlink_to(venv / "bin/agent")
    found = shown([str(tmp_path / ".local/bin/agent")], tmp_path)
    assert found == {".local/bin", ".local/share/uv/tools/agent", ".local/share/uv/python/cpython"}


def test_a_script_that_lies_in_a_home_is_shown_alone(tmp_path):
    make(tmp_path / "agent.sh")
    make(tmp_path / ".ssh/id")
    assert shown([str(tmp_path / "agent.sh")], tmp_path) == {"agent.sh"}


def test_a_program_of_the_system_needs_nothing_more():
    assert installation(["/usr/bin/env"], "/usr/bin", ()) == ()


def test_an_interpreter_runs_the_script_that_is_its_argument(folders):
    script = make(folders / "opt/agent/agent.py", "import json; print(json.dumps(__file__))")
    argv = [os.path.realpath(sys.executable), str(script)]
    place = sandbox(folders, installed=installation(argv, "", (folders / "state",)))
    found = subprocess.run(["bwrap", *words(place, root=ROOT), *argv], check=True, stdout=subprocess.PIPE).stdout
    assert json.loads(found) == str(script)
