"""The site that `make docs` has built: each link of it leads somewhere, and it asks no other server for anything."""

from __future__ import annotations

import html.parser
import urllib.parse
from pathlib import Path
from typing import Final

import pytest

SITE: Final = Path(__file__).parents[2] / "site"
LOADED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Page(html.parser.HTMLParser):
    """The links of a page, what it loads, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name, value in attrs if name in {"id", "name"} and value}
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if (value := given.get(LOADED.get(tag, ""))) and given.get("rel") != "canonical":
            self.loads.append(value)

    def target(self, link: str) -> Path | None:
        """The file that a link leads to; ``None`` for another site."""
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc:
            return None
        if not parts.path:
            return self.path
        return (self.path.parent / urllib.parse.unquote(parts.path)).resolve()


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    # The page for what is not found has addresses of a whole site: no folder has those.
    found = {path.resolve(): Page(path.resolve()) for path in SITE.rglob("*.html") if path.name != "404.html"}
    assert len(found) > 8, "run: make docs"
    return found


def test_every_page_of_the_repository_is_there(pages):
    names = {path.stem for path in (SITE.parent / "docs").glob("*.md")} | {"index", "security", "changelog"}
    assert names == {path.stem for path in pages}


def test_every_link_leads_to_a_page_or_a_file_and_to_a_heading_of_it(pages):
    broken = []
    for page in pages.values():
        for link in page.links:
            target = page.target(link)
            anchor = urllib.parse.unquote(urllib.parse.urlsplit(link).fragment)
            if target is None:
                continue
            if target.is_dir():
                target /= "index.html"
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{page.path.name}: {link}")
    assert broken == []


def test_a_link_to_a_file_of_the_repository_leads_to_one_that_exists(pages):
    source = "https://github.com/acpbot/acpbot/blob/main/"
    named = {link.partition("#")[0] for page in pages.values() for link in page.links if link.startswith(source)}
    assert len(named) > 5
    assert [link for link in named if not (SITE.parent / link.removeprefix(source)).exists()] == []


def test_a_reader_asks_no_other_server(pages):
    assert [(page.path.name, load) for page in pages.values() for load in page.loads if page.target(load) is None] == []
    styles = "".join(path.read_text() for path in SITE.rglob("*.css"))
    assert "fonts.googleapis" not in styles
    assert "@import" not in styles
    assert [load for page in pages.values() for load in page.loads if not page.target(load).is_file()] == []


def test_what_belongs_to_an_item_of_a_list_is_in_it():
    """Python-Markdown reads fewer than four spaces otherwise than GitHub does."""
    text = (SITE / "kubernetes.html").read_text()
    before, _, after = text.partition("show-labels")
    assert after
    assert "</li>" not in before.rpartition("<li>")[2]
    assert [path.name for path in SITE.rglob("*.html") if "```" in path.read_text()] == []
