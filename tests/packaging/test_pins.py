"""The pinned versions fit pyproject.toml, and the list of components fits them."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from acpbot import __version__

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "packaging" / "constraints.txt"
SBOM = ROOT / "packaging" / "sbom.cdx.json"
SCRIPT = runpy.run_path(str(ROOT / "packaging" / "pins.py"))
PRINT_SBOM = f"import runpy; print(runpy.run_path({str(ROOT / 'packaging' / 'pins.py')!r})['sbom'](), end='')"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(text) for text in sum(EXTRAS.values(), PROJECT["dependencies"])]


def pins() -> dict[str, str]:
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in lines), "a name and a version, nothing else"
    return dict(line.split("==") for line in lines)


def components(text: str) -> dict[str, str]:
    return {one["name"]: one["version"] for one in json.loads(text)["components"]}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_and_extra_has_a_pinned_version_in_its_range(requirement):
    assert requirement.specifier.contains(Version(pins()[canonicalize_name(requirement.name)]), prereleases=True)


def test_every_extra_is_pinned_and_those_for_users_are_in_the_list_of_components():
    assert set(SCRIPT["EXTRAS"]) == set(EXTRAS)
    assert set(SCRIPT["SHIPPED_EXTRAS"]) == set(EXTRAS) - {"dev", "docs"}
    known = components(SBOM.read_text())
    wanted = PROJECT["dependencies"] + [text for extra in SCRIPT["SHIPPED_EXTRAS"] for text in EXTRAS[extra]]
    assert {canonicalize_name(Requirement(text).name) for text in wanted} <= set(known)


def test_the_list_of_components_has_the_pinned_versions():
    found = components(SBOM.read_text())
    assert found == {name: pins().get(name) for name in found}, "run: make pins"
    about = json.loads(SBOM.read_text())["metadata"]["component"]
    assert (about["name"], about["version"]) == ("acpbot", __version__), "run: make pins"


def test_every_component_is_needed_by_another_one_and_has_a_name_that_is_no_address():
    document = json.loads(SBOM.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    graph = {one["ref"]: set(one["dependsOn"]) for one in document["dependencies"]}
    root = document["metadata"]["component"]["bom-ref"]
    refs = {one["bom-ref"] for one in document["components"]}
    assert all(
        one["purl"] == one["bom-ref"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in document["components"]
    )
    assert graph.keys() == refs | {root}
    reached: set[str] = set()
    todo = [root]
    while todo:
        ref = todo.pop()
        todo += graph[ref] - reached
        reached.add(ref)
    assert reached == graph.keys()


@pytest.mark.parametrize("path", [CONSTRAINTS, SBOM], ids=lambda path: path.name)
def test_neither_file_has_addresses_paths_or_times(path):
    text = path.read_text()
    assert not re.search(r"://|--hash|sha256|index|/(home|root|work|tmp|usr|opt)\b|\d\d:\d\d", text)


def test_the_same_packages_give_the_same_bytes_for_everybody(tmp_path):
    texts = set()
    for number, zone in enumerate(("UTC", "Pacific/Kiritimati")):
        environ = {"PATH": os.defpath, "HOME": str(tmp_path), "TZ": zone, "PYTHONHASHSEED": str(number)}
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, "-c", PRINT_SBOM]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environ)
        assert "/" not in re.sub("pkg:pypi/", "", done.stdout)
        texts.add(done.stdout)
    assert len(texts) == 1


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(
        LookupError, match="cannot write the versions: no-such-package is not installed; run: make pins"
    ):
        list(SCRIPT["_requirements"]("no-such-package", frozenset()))
