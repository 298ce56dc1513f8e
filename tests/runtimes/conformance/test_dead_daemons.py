"""What a daemon that is killed leaves is ended by the next one, and nothing of another daemon is: see dead_daemons."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.runtimes.conformance.dead_daemons import CASES
from tests.support.launched_agents import PYTHON_ENV, ROOT
from tests.support.own_namespace import own_namespace

pytestmark = [pytest.mark.runtimes, pytest.mark.timeout(240)]


@pytest.mark.parametrize("case", CASES)
def test_dead_daemons(case, place, tmp_path):
    if case == "agents_end_with_their_daemon" and not place.ends_with_daemon:
        pytest.skip("on this machine the next daemon ends what is left")
    prefix = own_namespace() if place.engine is None else ()
    first_process = ("sh", "-c", '"$@"; exit $?', "sh")  # pid 1 of a namespace gets its orphans
    program = (sys.executable, "-m", "tests.runtimes.conformance.dead_daemons", case, place.name, str(tmp_path))
    result = subprocess.run(
        [*prefix, *first_process, *program],
        cwd=ROOT,
        env={**os.environ, **PYTHON_ENV, **place.environ},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "held\n"
