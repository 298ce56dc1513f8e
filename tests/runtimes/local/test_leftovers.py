"""What a dead daemon left is found and ended, and nothing else is: see leftover_scenarios."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.launched_agents import LIMIT, PYTHON_ENV, ROOT
from tests.support.leftover_scenarios import CASES
from tests.support.own_namespace import own_namespace

SKIPPED = 77


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
