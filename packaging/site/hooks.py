"""Puts the pages outside docs/ on the site, and corrects links that would leave it.

Source: https://www.mkdocs.org/user-guide/configuration/#hooks and https://www.mkdocs.org/dev-guide/api/.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = "https://github.com/acpbot/acpbot/blob/main/"
# Files of the repository that are pages of the site, by their names there.
PAGES: Final = {"README.md": "index.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}

_LINK: Final = re.compile(r"(?<!\\)(\]\(|<img [^>]*src=\"|<a [^>]*href=\")([^)#\s\"]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to a page of the site, or to the file in the repository."""
    del config
    name = page.file.src_path
    origin = {page_name: source for source, page_name in PAGES.items()}.get(name, f"docs/{name}")

    def corrected(match: re.Match[str]) -> str:
        before, link = match.groups()
        if "://" in link or link.startswith(("mailto:", "#")):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
        inside = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if inside is not None and files.get_file_from_path(inside) is not None:
            return before + inside
        return f"{before}{SOURCE}{path}"

    return "\n".join(_indented(_LINK.sub(corrected, markdown).splitlines()))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    """Indent what belongs to an item of a list by four spaces, for Python-Markdown; GitHub takes two or three."""
    fence: int | None = None
    for line in lines:
        spaces = len(line) - len(line.lstrip(" "))
        kept = spaces if fence is None else min(fence, spaces)
        yield " " * (4 * (kept // 2)) + line[kept:]
        if line.lstrip().startswith("```"):
            fence = spaces if fence is None else None
