"""What all commands share: imports, help, usage errors, streams, Ctrl-C, completion."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from acpctl import __version__, command_line
from acpctl.command_line import COMMANDS, app
from acpctl.commands.sessions import SessionState
from acpctl.examples import EXAMPLES
from tests.fakes.management import FakeDaemon, Silence, row
from tests.support.acpctl import ACPCTL, HEAVY_MODULES, PRINT_IMPORTED_MODULES, imported_modules
from tests.support.terminal import Terminal


@pytest.mark.usefixtures("daemon")
def test_sessions_as_json_imports_no_heavy_module():
    loaded = imported_modules("sessions", "-o", "json")
    assert "acpctl.client" in loaded
    assert loaded & HEAVY_MODULES == set()


@pytest.mark.usefixtures("daemon")
def test_a_command_imports_no_other_command():
    commands = {name for name in imported_modules("sessions") if name.startswith("acpctl.commands.")}
    assert commands == {"acpctl.commands.sessions"}


@pytest.mark.usefixtures("daemon")
def test_a_chat_without_a_terminal_imports_no_heavy_module():
    imported = imported_modules("chat", "local-1")
    assert "acpctl.chat.plain_chat" in imported
    assert imported & HEAVY_MODULES == set()


@pytest.mark.parametrize("arguments", [("sessions",), ("sessions", "-o", "wide"), ("sessions", "-q")])
@pytest.mark.usefixtures("daemon")
def test_piped_output_does_not_import_rich(arguments):
    loaded = imported_modules(*arguments)
    assert "acpctl.render.table" in loaded
    assert loaded & HEAVY_MODULES == set()


@pytest.mark.parametrize(
    ("arguments", "shown", "heavy"),
    [
        (("sessions",), "● busy", {"rich"}),
        (("--no-color", "sessions"), "● busy", {"rich"}),
        (("sessions", "-o", "json"), '"state": "busy"', set()),
        (("sessions", "-q"), "1310203040506075678", set()),
    ],
)
@pytest.mark.usefixtures("daemon")
def test_on_a_terminal_only_tables_import_rich(tmp_path, arguments, shown, heavy):
    modules = tmp_path / "modules"
    program = tmp_path / "program.py"
    program.write_text(PRINT_IMPORTED_MODULES.replace("sys.stderr.write", f"open({str(modules)!r}, 'w').write"))
    screen = Terminal([sys.executable, str(program), *arguments], 80, 90, os.environ)
    try:
        assert screen.end() == 0
    finally:
        screen.close()
    assert shown in screen.text()
    loaded = set(modules.read_text().split())
    assert loaded & HEAVY_MODULES == heavy
    assert ("rich.table" in loaded) == bool(heavy)


def test_help_names_every_command_and_what_it_does(acpctl):
    result = acpctl("--help")
    assert (result.code, result.err) == (0, "")
    for name in COMMANDS:
        line = next(line for line in result.out.splitlines() if line.startswith(f"  {name} "))
        assert line.rstrip().endswith(".")
        assert "..." not in line
    assert acpctl("-h").out == result.out


def test_the_help_of_sort_names_one_default(acpctl):
    assert "[default: state]" not in acpctl("sessions", "--help").out


@pytest.mark.parametrize("command", ["tail", "events"])
def test_the_usual_short_option_to_follow_is_taken(acpctl, command):
    assert "-f, --follow / --no-follow" in acpctl(command, "--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(acpctl, command):
    result = acpctl(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: acpctl {command} [OPTIONS]")


def test_without_a_command_it_shows_the_help_and_fails(acpctl):
    result = acpctl()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: acpctl ")


def test_version_is_printed(program):
    assert program("--version") == (0, f"acpctl {__version__}\n", "")


def test_what_is_registered_for_the_end_runs_and_what_is_written_comes_out():
    code = (
        "import atexit, sys; atexit.register(print, 'bye'); sys.argv = ['acpctl', 'sessions', '--nonsense']; "
        "print('begin'); from acpctl.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "begin\nbye\n")
    assert done.stderr.startswith("cannot run `acpctl sessions`: no such option")


def test_acpctl_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "acpctl", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"acpctl {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sesions",), "there is no command 'sesions'; did you mean `sessions`?"),
        (("\x1b[31mfoo",), "there is no command 'foo'"),
        (("sessions", "--frobnicate"), "no such option: --frobnicate"),
        (("sessions", "-o", "xml"), "'xml' is not one of"),
        (("sessions", "--state", "asleep"), "'asleep' is not one of"),
        (("sessions", "1234"), "unexpected extra argument(s) (1234); use `acpctl show 1234` for one thread; see"),
        (("events", "1234"), "use `acpctl tail 1234` for one thread"),
        (("audit", "1234"), "use --thread 1234"),
        (("config", "pool"), "use `acpctl config -o json | jq .config.pool`"),
        (("show", "1234", "5678"), "unexpected extra argument(s) (5678); see `acpctl show --help`"),
        (("sessions", "--state", "stuck,waiting"), "use --state stuck --state waiting"),
        (("-s", "/x", "sessions"), "use --socket"),
        (("--socket", "unix:///x", "sessions"), "cannot use --socket unix:///x: it isn't a path; give /x"),
        (("--socket", "http://x/", "sessions"), "acpbot listens on a Unix socket only; give its path"),
        (("show",), "missing argument 'THREAD'"),
        (("sessions", "--state"), "cannot run `acpctl sessions`: option '--state' requires an argument"),
        (("--socket",), "cannot run `acpctl`: option '--socket' requires an argument"),
        (("delete", "1234"), "use `acpctl kill THREAD`"),
        (("approve", "1234"), "use `acpctl permit THREAD`"),
        (
            ("--timeout", "soon", "sessions"),
            "'soon' isn't a number of seconds; give 90, 5s or 10m",
        ),
        (("--timeout", "0", "sessions"), "--timeout takes more than 0"),
        (("--timeout", "nan", "sessions"), "--timeout takes more than 0"),
        (("--timeout", "1e9", "sessions"), "up to 86,400"),
        (("sessions", "--socket", "/x"), "--socket belongs before the command: `acpctl --socket ... sessions`"),
        (("show", "1234", "-n", "-1"), "-1 is not in the range x>=0"),
        (("top",), "stdout is not a terminal; use `acpctl sessions --watch`"),
        (("drain", "--off", "--wait"), "--off"),
        (("drain", "--deadline", "-1"), "--deadline"),
        (("drain", "--deadline", "25h"), "cannot drain with --deadline 90000: give 0 to 86,400 seconds"),
        (("kill", "--grace", "5x", "1234"), "invalid value for '--grace': '5x' isn't a number of seconds"),
        (("kill", "--grace", "10m", "--yes", "1234"), "cannot kill with --grace 600: give 0 to 300 seconds"),
        (("kill", "--stuck"), "use `acpctl sessions -q --stuck | xargs -r acpctl kill --yes`"),
        (("cancel", "--all"), "use `acpctl sessions -q | xargs -r acpctl cancel`"),
        (("rollout", "restart"), "use `acpctl restart THREAD`"),
    ],
)
def test_a_usage_error_is_one_line(acpctl, arguments, expected):
    result = acpctl(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("cannot ")
    assert result.err.count("\n") == 1
    assert "\x1b" not in result.err
    assert expected in result.err


def test_a_reader_that_closes_the_pipe_ends_acpctl_quietly(path):
    with FakeDaemon(path, *(row(f"{number:019}") for number in range(5000))):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{ACPCTL} sessions | head -1"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "THREAD", "")


def test_a_reader_that_closes_the_pipe_does_not_change_the_exit_code_of_kill(daemon):
    command = f"{ACPCTL} kill --yes 1310203040506071234 | true"
    daemon.on("sessions.kill", lambda _, __: {"results": []})
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.usefixtures("daemon")
def test_a_full_disk_is_reported(output):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [ACPCTL, "sessions", "-o", output], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "cannot write the answer: No space left on device\n")


@pytest.mark.usefixtures("daemon")
def test_a_closed_stdout_is_reported():
    done = subprocess.run(["bash", "-c", f"{ACPCTL} sessions >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "cannot write the answer: stdout is closed\n")


@pytest.mark.usefixtures("daemon")
def test_closed_stdin_and_stderr_do_no_harm():
    done = subprocess.run(
        ["bash", "-c", f"{ACPCTL} sessions -q <&- 2>&-; {ACPCTL} kill --all <&- 2>&-; echo $?"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.stdout == "1310203040506071234\n1310203040506075678\n2\n"


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("arguments", ["--help", "help kill", "--version", "show -h", "--show-completion bash"])
@pytest.mark.parametrize(
    ("redirect", "problem"), [(">&-", "stdout is closed"), (">/dev/full", "No space left on device")]
)
def test_help_that_can_not_be_written_is_one_line_and_exit_1(arguments, redirect, problem):
    done = subprocess.run(
        ["bash", "-c", f"{ACPCTL} {arguments} {redirect}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"cannot write the answer: {problem}\n")


@pytest.mark.usefixtures("daemon")
def test_a_chat_with_a_closed_stdin_ends_and_reads_nothing_else():
    done = subprocess.run(
        ["bash", "-c", f"timeout 10 {ACPCTL} chat demo <&-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_a_terminal_gets_long_lines_wrapped_at_words(path):
    terminal = Terminal([str(ACPCTL), "sessions"], 40, 20, {"ACPBOT_SOCKET": str(path), "TERM": "xterm", "PATH": ""})
    try:
        assert terminal.end() == 6
        lines = terminal.text().splitlines()
        assert len(lines) > 1
        assert " ".join(lines).startswith("cannot reach acpbot at")
        assert "with --socket or ACPBOT_SOCKET" in " ".join(lines)
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("words", "use"),
    [
        ("ls", "acpctl sessions"),
        ("ps", "acpctl sessions"),
        ("list", "acpctl sessions"),
        ("logs", "acpctl tail THREAD"),
        ("status", "acpctl health"),
        ("describe", "acpctl show THREAD"),
    ],
)
def test_names_that_other_tools_have_lead_to_the_right_command(acpctl, words, use):
    line = f"cannot run `acpctl`: there is no command {words!r}; use `{use}`; see `acpctl --help`\n"
    assert acpctl(words) == (2, "", line)


def test_the_states_are_listed_in_the_help(acpctl):
    shown = " ".join(acpctl("sessions", "-h").out.split())
    assert ", ".join(get_args(SessionState)).replace(", gone", " or gone") in shown


def test_help_of_a_command_can_be_asked_for_by_help(acpctl):
    assert acpctl("help") == acpctl("--help")
    assert acpctl("help", "kill") == acpctl("kill", "--help")
    assert acpctl("--socket", "x", "help", "kill").code == 0
    assert acpctl("help", "nothing").code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_can_be_typed(command):
    group: Any = typer.main.get_command(app)
    context = group.make_context("acpctl", ["health"])
    for line, meaning in EXAMPLES[command]:
        assert meaning
        words = shlex.split(line.split(" | ")[-1 if "| acpctl" in line else 0])
        assert words[:2] == ["acpctl", command]
        made = group.get_command(context, command).make_context(command, words[2:], parent=context)
        made.close()
    context.close()


def test_where_several_daemons_run_it_says_which_one_answers(acpctl, monkeypatch, system_path, tmp_path):
    monkeypatch.delenv("ACPBOT_SOCKET")
    demo = tmp_path / "acpbot-demo-x1" / "acpbot.sock"
    for path in (system_path, demo):
        path.parent.mkdir()
    with FakeDaemon(system_path, row("1")):
        assert acpctl("sessions", "-q") == (0, "1\n", "")
        with FakeDaemon(demo, row("2")):
            line = f"this is the acpbot at {system_path}; another one is at {demo} (name one with --socket)\n"
            assert acpctl("sessions", "-q") == (0, "1\n", line)
            assert acpctl("--socket", str(demo), "sessions", "-q") == (0, "2\n", "")
        assert acpctl("sessions", "-q") == (0, "1\n", ""), "nobody listens there any more"


def test_an_encoding_without_the_characters_gets_escapes(daemon, program):
    daemon.rows = [row("1", title="日本")]
    result = program("sessions", PYTHONIOENCODING="latin-1")
    assert result.code == 0
    assert r"\u65e5\u672c" in result.out
    result = program("sessions", "-o", "json", PYTHONIOENCODING="latin-1")
    assert json.loads(result.out)["sessions"][0]["title"] == "日本"


def test_ctrl_c_during_a_request_shows_no_traceback(daemon):
    def silent(_params, _client):
        raise Silence

    daemon.on("sessions.list", silent)
    running = subprocess.Popen([ACPCTL, "sessions"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    daemon.wait_for("sessions.list")
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (130, "", "")


def test_ctrl_c_before_the_imports_shows_no_traceback():
    # Sends the signal before main() imports anything, and lets it through then.
    program = (
        "import os, signal; from acpctl.app import main; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); os.kill(os.getpid(), signal.SIGINT); "
        "signal.signal(signal.SIGINT, signal.SIG_DFL); signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT}); "
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.usefixtures("daemon")
def test_a_defect_is_reported_in_one_line(monkeypatch, capsys):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert command_line.run(["sessions"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(
        f"cannot go on: acpctl {__version__} has a defect: ValueError('I/O operation on closed file.')"
    )
    assert error.endswith("please report it\n")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("daemon")
def test_completion_offers_the_running_threads(program):
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS="acpctl kill ", COMP_CWORD="2")
    assert result == (0, "1310203040506071234\n1310203040506075678\n", "")
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS="acpctl show 1310203040506075", COMP_CWORD="2")
    assert result.out == "1310203040506075678\n"


@pytest.mark.usefixtures("daemon")
def test_completion_uses_the_named_socket(program, path):
    words = f"acpctl --socket {path} suspend "
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4", ACPBOT_SOCKET="/nowhere")
    assert result.out.splitlines() == ["1310203040506071234", "1310203040506075678"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("cancel ", ["12001", "12002", "12003"]),
        ("permit ", ["12002", "12003"]),
        ("restart ", ["12001", "12002", "12003", "12004"]),
        ("forget ", ["12005"]),
        ("show ", ["12001", "12002", "12003", "12004", "12005"]),
        ("show 12003", ["12003"]),
    ],
)
def test_completion_offers_the_threads_that_a_command_can_do_something_with(daemon, program, words, offered):
    states = ("busy", "waiting", "stuck", "idle", "suspended")
    daemon.rows = [row(f"1200{number}", state) for number, state in enumerate(states, 1)]
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS=f"acpctl {words}", COMP_CWORD="2")
    assert result.out.split() == offered


def test_completion_leaves_out_ids_that_a_shell_would_interpret(daemon, program):
    daemon.rows = [row("$(reboot)"), row("a b"), row("ok-1", state="$(reboot)"), row("x\ny")]
    result = program(_ACPCTL_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="acpctl kill ")
    assert "ok-1" in result.out
    assert "reboot" not in result.out


@pytest.mark.parametrize("greeting", [b"", b"nonsense\n"])
def test_completion_ignores_every_error(path, program, greeting):
    with FakeDaemon(path, greeting=greeting):
        result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS="acpctl kill ", COMP_CWORD="2")
    assert result == (0, "\n", "")


def test_completion_without_a_daemon_offers_nothing(program):
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS="acpctl kill ", COMP_CWORD="2")
    assert result == (0, "\n", "")


def test_completion_offers_commands(program):
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS="acpctl s", COMP_CWORD="1")
    assert result.out.split() == ["sessions", "show", "send", "suspend"]


def test_show_completion_prints_the_script(program):
    result = program("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (result.code, result.err) == (0, "")
    assert "complete -o default -F _acpctl_completion acpctl" in result.out


def test_a_terminal_that_can_not_be_drawn_on_is_named_as_the_reason(daemon, path):
    environ = {"ACPBOT_SOCKET": str(path), "TERM": "dumb", "PATH": ""}
    terminal = Terminal([str(ACPCTL), "top"], 120, 20, environ)
    try:
        assert terminal.end() == 2
        line = "cannot draw: this terminal can't be drawn on, as TERM says; use `acpctl sessions`"
        assert terminal.text() == line
    finally:
        terminal.close()
    terminal = Terminal([str(ACPCTL), "sessions"], 120, 20, environ)
    try:
        assert terminal.end() == 0
        assert b"\x1b" not in terminal.raw
        assert "1310203040506071234" in terminal.text()
    finally:
        terminal.close()
    assert daemon.asked("sessions.list")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("acpctl sessions --agent ", ["claude", "codex"]),
        ("acpctl sessions --agent co", ["codex"]),
        ("acpctl send --agent cl", ["claude"]),
        ("acpctl chat --agent c", ["claude", "codex"]),
        ("acpctl sessions --owner ", ["80351110224678912", "90001"]),
    ],
)
def test_completion_offers_agents_and_owners_of_all_threads(daemon, program, words, offered):
    daemon.rows = [row("1", agent="codex", owner="$(reboot)"), row("2", "suspended", agent="claude"), row("3")]
    daemon.rows[2].update(agent="codex", owner="90001")
    at = len(words.split(" ")) - 1
    result = program(_ACPCTL_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(at))
    assert (result.code, result.out.split(), result.err) == (0, offered, "")
