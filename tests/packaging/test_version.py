"""The version number is changed in one place; all others are copies of it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

import acpbot
import acpctl

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "packaging" / "set_version.py"))
with_version = SCRIPT["with_version"]


@pytest.mark.parametrize("name", SCRIPT["COPIES"])
def test_every_copy_of_the_version_is_current(name):
    text = (ROOT / name).read_text()
    assert text == with_version(text, SCRIPT["COPIES"][name], acpbot.__version__), "run: make version"


def test_acpctl_has_the_version_of_acpbot():
    assert SCRIPT["version"]() == acpbot.__version__ == acpctl.__version__


@pytest.mark.parametrize("name", SCRIPT["COPIES"])
def test_another_version_is_written_to_every_copy(name):
    text = (ROOT / name).read_text()
    for pattern in SCRIPT["COPIES"][name]:
        changed = with_version(text, (pattern,), "12.34.56rc1")
        assert "12.34.56rc1" in changed
        assert with_version(changed, (pattern,), acpbot.__version__) == text


def test_a_place_that_is_gone_is_an_error():
    with pytest.raises(ValueError, match="cannot set the version: no text matches a:"):
        with_version("b: 1", ("a: (?P<version>.+)",), "2")
