"""The pictures of the README: what differs from run to run aside, they are whole, and show what there is.

`make pictures` takes them again.
"""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree as ET

import pytest
from rich.text import Text

from tests.support.pictures import FOLDER, PICTURES, THREADS, svg

README = FOLDER.parents[1] / "README.md"


def shown(name: str) -> str:
    """The text of a picture, row by row."""
    rows: dict[float, list[tuple[float, str]]] = {}
    drawn = (FOLDER / f"{name}.svg").read_text()
    for x, y, text in re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', drawn):
        rows.setdefault(float(y), []).append((float(x), html.unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(text for _, text in sorted(rows[y])) for y in sorted(rows))


@pytest.mark.parametrize("name", [picture.name for picture in PICTURES])
def test_a_picture_is_whole_and_the_readme_has_it(name):
    text = (FOLDER / f"{name}.svg").read_text()
    ET.fromstring(text)  # noqa: S314 - our own file
    assert f"docs/pictures/{name}.svg" in README.read_text()
    (picture,) = [one for one in PICTURES if one.name == name]
    assert f"acpctl {' '.join(picture.words)}" in shown(name)
    assert picture.shows in shown(name)


def test_no_picture_loads_anything_or_shows_a_path_of_the_machine():
    for path in FOLDER.iterdir():
        known = {picture.name for picture in PICTURES} | {"benchmarks", "curves"}
        assert path.stem in known, "neither make pictures nor make bench writes it"
        assert "url(" not in re.sub(r"url\(#", "(", path.read_text())
        assert not re.search(r"/(home|root|work|Users|usr|opt|tmp)/", shown(path.stem)), path


def test_the_pictures_show_sessions_in_all_states_and_what_is_left():
    sessions = shown("sessions")
    for thread, (_, state) in THREADS.items():
        assert re.search(rf"{thread}\W*{state}", sessions)
    assert "0 processes left" in shown("kill")
    assert "[y/N]" in shown("kill")


def test_a_screen_becomes_a_picture():
    made = svg([Text("busy", style="bold green"), Text("a < b")], "acpctl sessions")
    ET.fromstring(made)  # noqa: S314 - our own
    assert "a&#160;&lt;&#160;b" in made
