"""A plugin of pytest that notes which tests run which lines: ``-p tests.support.tests_of_lines``.

``ACPBOT_LINES_OF`` names the folder of the modules, ``ACPBOT_LINES_TO`` the JSON file that is written: ``lines`` has,
per file and line, the tests that ran it in this process; ``seconds`` what each of those that passed took.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from coverage import Coverage

if TYPE_CHECKING:
    import pytest

_folder = os.environ["ACPBOT_LINES_OF"]
_written = Path(os.environ["ACPBOT_LINES_TO"])
_coverage = Coverage(data_file=None, config_file=False, include=[f"{_folder}/*"])
_seconds: dict[str, float] = {}
_failed: set[str] = set()


def pytest_sessionstart() -> None:
    _coverage.start()


def pytest_runtest_logstart(nodeid: str) -> None:
    _coverage.switch_context(nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed.add(report.nodeid)
    elif report.when == "call":
        _seconds[report.nodeid] = report.duration


def pytest_sessionfinish() -> None:
    _coverage.stop()
    data = _coverage.get_data()
    lines = {os.path.relpath(name): data.contexts_by_lineno(name) for name in data.measured_files()}
    passed = {test: seconds for test, seconds in _seconds.items() if test not in _failed}
    _written.write_text(json.dumps({"lines": lines, "seconds": passed}))
