"""What a dead daemon left is found and ended, and nothing else is: see leftover_scenarios."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from tests.support.launched_agents import LIMIT, PYTHON_ENV, ROOT
from tests.support.leftover_scenarios import CASES

SKIPPED = 77


@functools.cache
def own_namespace() -> tuple[str, ...]:
    """A command prefix that gives a program a pid namespace of its own; empty where that is not allowed."""
    for more in ((), ("--user", "--map-root-user")):
        prefix = ("unshare", *more, "--pid", "--fork", "--mount-proc", "--kill-child")
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    return ()


@pytest.mark.parametrize("case", CASES)
def test_leftovers(case, tmp_path):
    first_process = ("sh", "-c", '"$@"; exit $?', "sh")  # pid 1 of a namespace gets its orphans
    program = (sys.executable, "-m", "tests.support.leftover_scenarios", case, str(tmp_path))
    result = subprocess.run(
        [*own_namespace(), *first_process, *program],
        cwd=ROOT,
        env=PYTHON_ENV,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    if result.returncode == SKIPPED:
        pytest.skip(result.stdout.strip() or "this machine has no nested pid namespaces")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("held in pid:[")
