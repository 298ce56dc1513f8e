"""How an agent is started by a shell: what it is given, and what the shell tells of it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from acpbot.runtimes.kubernetes.agent_start import COMMAND, Marks, head, read_begin, read_exit, why_not_started

ODD = "a b  'c' \"d\" $HOME `e` \\ é\nsecond=line;"
MARK = "0123456789abcdef"
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


@pytest.fixture(params=SHELLS)
def run(request):
    """Starts an agent; returns its exit code, its stdout, its stderr and the marks."""

    def start(*argv, cwd="/", env=None, stdin=b""):
        result = subprocess.run(
            [request.param, *COMMAND[1:]],
            input=head(MARK, argv, cwd, env or {}) + stdin,
            capture_output=True,
            check=False,
        )
        rest, found = bytearray(), list[list[str]]()
        marks = Marks(MARK, rest.extend, found.append)
        for at in range(len(result.stderr)):
            marks.feed(result.stderr[at : at + 1])
        marks.flush()
        return result.returncode, result.stdout, bytes(rest), found

    return start


def test_an_agent_gets_its_folder_its_variables_and_its_arguments_as_they_are(run, tmp_path):
    script = 'printf "%s|" "$PWD" "$ODD" "$EMPTY" "$@"'
    argv = ("sh", "-c", script, "sh", "", "--flag", ODD)
    code, out, _, _ = run(*argv, cwd=str(tmp_path), env={"ODD": ODD, "EMPTY": ""})
    assert (code, out.decode()) == (0, "|".join([str(tmp_path), ODD, "", "", "--flag", ODD, ""]))


def test_what_follows_on_stdin_is_the_agents_own(run):
    assert run("cat", stdin=b"first\n\0second")[1] == b"first\n\0second"


def test_the_shell_tells_the_begin_and_the_exit_code(run):
    code, out, _, marks = run("sh", "-c", "echo $$; exit 7")
    begin = read_begin(marks[0])
    assert begin is not None
    assert (code, begin.pid, [read_exit(words) for words in marks]) == (7, int(out), [None, 7])


def test_a_signal_is_told_as_128_and_its_number(run):
    assert read_exit(run("sh", "-c", "kill -KILL $$")[3][-1]) == 137


@pytest.mark.parametrize("program", ["no-such-program-anywhere", "/no/such/program", "/etc/passwd", "/tmp"])
def test_a_program_that_cannot_be_run_is_named(run, program):
    marks = run(program, "--acp")[3]
    reason = why_not_started(marks[0], program, "/")
    assert reason is not None
    assert program in reason
    assert read_begin(marks[0]) is None


def test_a_program_whose_interpreter_is_missing_is_told_after_the_begin(run, tmp_path):
    program = tmp_path / "agent"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    marks = run(str(program))[3]
    assert [bool(why_not_started(words, str(program), "/")) for words in marks] == [False, True, False]


def test_a_folder_that_is_not_there_is_named(run):
    assert "/no/such/folder" in str(
        why_not_started(run("true", cwd="/no/such/folder")[3][0], "true", "/no/such/folder")
    )


def test_the_agents_own_stderr_has_no_marks(run):
    text = "one\n\x1ea mark of its own\nno end of line \x1e"
    code, _, err, marks = run("sh", "-c", 'printf "%s" "$TEXT" >&2', env={"TEXT": text})
    assert (code, err.decode(), len(marks)) == (0, text, 2)


def test_an_endless_line_after_a_mark_is_passed_on():
    rest: list[bytes] = []
    marks = Marks(MARK, rest.append, lambda words: pytest.fail(str(words)))
    text = f"\x1e{MARK} ".encode() + b"x" * 10_000
    marks.feed(text)
    marks.flush()
    assert b"".join(rest) == text


@pytest.mark.parametrize(("env", "argv"), [({"A-B": "1"}, ["x"]), ({"A": "\0"}, ["x"]), ({}, ["x", "\0"])])
def test_what_no_shell_can_set_is_refused(env, argv):
    with pytest.raises(ValueError, match=r"name that a shell|NUL"):
        head(MARK, argv, "/", env)


def test_no_variable_and_no_word_of_the_agent_is_in_the_command():
    assert os.fsencode("secret") in head(MARK, ["agent", "secret"], "/", {"KEY": "secret"})
    assert "secret" not in " ".join(COMMAND)


def test_an_endless_line_after_a_mark_is_not_kept():
    kept: list[bytes] = []
    marks = Marks(MARK, kept.append, lambda words: pytest.fail(str(words)))
    for _ in range(10):
        marks.feed(f"\x1e{MARK} ".encode() + b"x" * 1_000)
    assert sum(map(len, kept)) > 9_000


def test_an_exit_code_that_no_shell_tells_is_none():
    assert read_exit(["exit", "255"]) == 255
    assert read_exit(["exit", "9" * 200]) is None
