"""The archives that `make dist` builds, as a user installs them: `make dist-check`.

The suite does not collect this file by its name: it installs from a package index, which takes a while.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import readme_renderer.markdown
from packaging.metadata import Metadata

from acpbot import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NAME = f"acpbot-{__version__}"
WHEEL, SDIST = ROOT / "dist" / f"{NAME}-py3-none-any.whl", ROOT / "dist" / f"{NAME}.tar.gz"
LIMIT = 50
BUILD_LIMIT = 280
OURS = """
import acpbot.daemon.daemon, acpbot.chat.discord.discord_chat, acpctl.command_line, sys
print(*sys.path, *(module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)))
"""


@pytest.fixture(scope="module")
def wheel() -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(WHEEL) as archive:
        yield archive


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """A virtual environment with only the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", str(WHEEL)], check=True, cwd=folder)
    subprocess.run([*pip, "check"], check=True, cwd=folder)
    return folder


def run(venv: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, in a folder and with variables that do not refer to the source tree."""
    home = venv.parent / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [venv / "bin" / words[0], *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=home,
        env={"PATH": os.defpath, "HOME": str(home), "ACPBOT_SOCKET": str(home / "run" / "acpbot.sock")},
    )
    assert done.returncode == 0, done.stdout
    return done


def test_the_wheel_has_the_files_it_needs_and_no_others(wheel):
    names = set(wheel.namelist())
    assert {"acpbot/py.typed", "acpctl/py.typed"} <= names
    assert {name.split("/")[0] for name in names} == {"acpbot", "acpctl", f"{NAME}.dist-info", f"{NAME}.data"}
    units = {str(path.relative_to(ROOT / "packaging")) for path in (ROOT / "packaging" / "systemd").rglob("*.*")}
    assert {name.removeprefix("acpbot/") for name in names if name.startswith("acpbot/systemd/")} == {
        name for name in units if (ROOT / "packaging" / name).is_file()
    }
    shared = {name.partition("/share/")[2] for name in names if name.startswith(f"{NAME}.data/")}
    assert shared == {
        "bash-completion/completions/acpctl",
        "zsh/site-functions/_acpctl",
        "fish/vendor_completions.d/acpctl.fish",
        "man/man1/acpctl.1",
        "man/man1/acpbot.1",
        "man/man5/config.toml.5",
    }
    assert {name for name in names if re.match("acpbot/(man|completions)/", name)} == {
        *(f"acpbot/man/{name}" for name in ("acpctl.1", "acpbot.1", "config.toml.5")),
        *(f"acpbot/completions/{name}" for name in ("acpctl.bash", "_acpctl", "acpctl.fish")),
    }
    scripts = wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()
    assert re.findall(r"^(\w+) = ", scripts, re.MULTILINE) == ["acpbot", "acpctl"]


def test_the_sdist_can_be_tested_and_packaged():
    with tarfile.open(SDIST) as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    wanted = {
        "Makefile",
        "LICENSE",
        "CHANGELOG.md",
        "config.toml.example",
        "docs/protocol.md",
        "tests/packaging/check_dist.py",
    }
    wanted |= {"packaging/systemd/acpbot.service", "packaging/completions/acpctl.bash", "cli/acpctl/command_line.py"}
    assert wanted <= names
    unwanted = re.compile(r"(^|/)(__pycache__|\.venv|\.git|\.agents|dist|[^/]*\.(lock|pyc))(/|$)|^config\.toml$")
    assert [name for name in names if unwanted.search(name)] == []
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT)
    if "pyproject.toml" in (known := set(tracked.stdout.splitlines())):  # else this is an unpacked sdist itself
        assert names - known == {"PKG-INFO"}


def unpacked(folder: Path) -> Path:
    """The tree of the source archive, without git."""
    with tarfile.open(SDIST) as archive:
        archive.extractall(folder, filter="data")
    return folder / NAME


@pytest.mark.timeout(BUILD_LIMIT + 10)
@pytest.mark.parametrize(("umask", "zone", "given"), [(0o077, "Pacific/Kiritimati", False), (0o002, "UTC", True)])
def test_another_build_gives_the_same_bytes(tmp_path, umask, zone, given):
    """In another folder, with another umask and time zone, at another time, from files of other times and modes."""
    tree = unpacked(tmp_path / "another folder")
    epoch = (tree / "PKG-INFO").stat().st_mtime
    for number, path in enumerate(sorted(tree.rglob("*"))):
        if path.is_file():
            path.chmod((0o755 if path.stat().st_mode & 0o100 else 0o644) & ~umask)
        if path.name != "PKG-INFO":
            os.utime(path, (1.5e9 + number, 1.5e9 + number))
    if given:  # else the Makefile takes that of PKG-INFO
        os.utime(tree / "PKG-INFO", (1.5e9, 1.5e9))
    keep = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "PIP_"))}
    environ = {**keep, "TZ": zone} | ({"SOURCE_DATE_EPOCH": f"{epoch:.0f}"} if given else {})
    home = Path(sys.prefix)
    old = [f"--old-file={home / name}" for name in (".installed", ".ready")]  # nothing is installed into it again
    command = ["make", "--silent", *old, f"VENV={home}", "dist"]
    subprocess.run(command, check=True, cwd=tree, env=environ, umask=umask, timeout=BUILD_LIMIT)
    assert {path.name for path in (tree / "dist").iterdir()} >= {WHEEL.name, SDIST.name}
    for made in (SDIST, WHEEL):
        assert (tree / "dist" / made.name).read_bytes() == made.read_bytes(), f"{made.name} differs"
    shutil.rmtree(tree)


def test_the_times_in_the_archives_are_those_of_the_commit():
    git = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(git, capture_output=True, text=True, check=False, cwd=ROOT)
    if not (ROOT / ".git").exists() or done.returncode:
        pytest.skip("this is no clone")
    with tarfile.open(SDIST) as archive:
        assert {member.mtime for member in archive.getmembers()} == {int(done.stdout)}


def test_the_metadata_are_valid_and_the_page_reads_well(wheel):
    raw = wheel.read(f"{NAME}.dist-info/METADATA")
    metadata = Metadata.from_email(raw, validate=True)
    assert (metadata.license_expression, str(metadata.requires_python)) == ("MIT", ">=3.11")
    readme = email.message_from_bytes(raw).get_payload()
    assert isinstance(readme, str)
    page = readme_renderer.markdown.render(readme)
    assert page is not None
    assert re.search(r"<h1[^>]*>acpbot", page)
    assert page.count("<table>") == page.count("</table>") >= 1
    assert "| command |" not in page
    assert "```" not in page


def test_the_installed_package_does_not_use_the_source_tree(venv):
    places = run(venv, "python", "-c", OURS).stdout.split()
    assert any(place.startswith(str(venv)) and place.endswith("/acpbot/daemon/daemon.py") for place in places)
    assert [place for place in places if place.startswith(str(ROOT))] == []


def test_the_programs_print_their_version(venv):
    for program in ("acpbot", "acpctl"):
        assert run(venv, program, "--version").stdout == f"{program} {__version__}\n"


def test_the_demo_runs_from_the_wheel(venv):
    shown = run(venv, "acpbot", "demo").stdout
    assert "0 processes left" in shown
    assert "carry on where you left off" in shown


def test_the_units_are_found_in_the_wheel(venv):
    image = venv.parent / "image"
    run(venv, "acpbot", "install-service", "--root", str(image), "--yes")
    unit = (image / "etc/systemd/system/acpbot.service").read_text()
    source = (ROOT / "packaging/systemd/acpbot.service").read_text()
    assert unit == source.replace("/usr/bin/acpbot", f"{venv}/bin/acpbot")
    assert (image / "etc/acpbot/config.toml.example").read_text() == (ROOT / "config.toml.example").read_text()
