"""How many files this process has open, and may have."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from acpbot.daemon import descriptors


def test_open_files_are_counted():
    before = descriptors.open_files()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    try:
        assert descriptors.open_files().used == before.used + 20
        listed = len(list(Path("/proc/self/fd").iterdir())) - 1  # the listing has one of its own
        assert descriptors._count(before.limit) == listed
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert before.limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_soft_limit_is_raised_to_the_hard_one():
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))\n"
        "from acpbot.daemon import descriptors\n"
        "print(descriptors.raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "(64, 128) (128, 128)\n"


def test_a_limit_that_does_not_fit_the_sessions_is_a_warning(caplog):
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors.warn_if_few((limit - 14) // 4)
    assert caplog.records == []
    descriptors.warn_if_few(limit)
    (record,) = caplog.records
    assert (record.message, record.__dict__["fields"]["needed"]) == ("descriptors_too_few", 4 * limit + 14)
