"""The man pages and docs/commands.md are current, whole, and valid for groff."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from acpctl.command_line import COMMANDS
from acpctl.examples import EXAMPLES
from tests.support.configs import all_keys

FOLDER = Path("packaging/man")
GENERATOR = runpy.run_path(str(FOLDER / "generate.py"))
PAGES = ("acpctl.1", "acpbot.1", "config.toml.5")


def test_the_pages_are_current():
    for path, text in GENERATOR["made"]().items():
        assert path.read_text() == text, f"{path} is not current; run: make man"


def test_every_command_has_a_section_with_its_examples():
    page, man = Path("docs/commands.md").read_text(), (FOLDER / "acpctl.1").read_text()
    for command in COMMANDS:
        assert f"\n### acpctl {command}\n" in page
        assert f"\n.SS acpctl {command} " in man
        for line, meaning in EXAMPLES[command]:
            assert line in page
            assert meaning in page


def test_every_key_of_the_configuration_has_an_entry():
    page = (FOLDER / "config.toml.5").read_text()
    for _table, key in all_keys():
        if _table != "mcp_servers":
            assert f"\n.BR {key} " in page, key


@pytest.mark.parametrize("name", PAGES)
def test_groff_has_nothing_to_say_about_a_page(name):
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=100n", str(FOLDER / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    assert "NAME" in shown
    if name == "acpctl.1":
        assert "acpctl sessions -o json | jq '.sessions[].state'" in shown
        assert "--expect N" in shown
