"""Copy the version number of acpbot/__init__.py to every other file that has it: `make version`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# The number itself is the group `version`; each pattern must be found in its file.
COPIES: Final = {
    "cli/acpctl/__init__.py": (r'__version__ = "(?P<version>[^"]+)"',),
    "docs/kubernetes.md": (r"/acpbot:(?P<version>\d[\w.]*)",),
    "docs/protocol.md": (r'"version": "(?P<version>[^"]+)"',),
    "packaging/container/Dockerfile": (
        r"-t acpbot:(?P<version>\d\S*)",
        r'image\.version="(?P<version>[^"]+)"',
    ),
    "packaging/container/compose.yaml": (r"image: acpbot:(?P<version>\S+)",),
    "packaging/helm/acpbot/Chart.yaml": (r"(?m)^version: (?P<version>\S+)", r"(?m)^appVersion: (?P<version>\S+)"),
    "packaging/kubernetes/base/deployment.yaml": (r"image: acpbot:(?P<version>\S+)",),
    "packaging/kubernetes/example/kustomization.yaml": (r"newTag: (?P<version>\S+)",),
}


def version() -> str:
    """The version number, from the only place where people change it."""
    (found,) = re.findall(r'__version__ = "([^"]+)"', (ROOT / "acpbot" / "__init__.py").read_text(encoding="utf-8"))
    return str(found)


def with_version(text: str, patterns: tuple[str, ...], number: str) -> str:
    """``text`` with this number at each place that the patterns find; ValueError where one of them finds none."""
    for pattern in patterns:
        text, count = re.subn(pattern, lambda found: _replaced(found, number), text)
        if not count:
            raise ValueError(f"cannot set the version: no text matches {pattern}")
    return text


def _replaced(found: re.Match[str], number: str) -> str:
    start, end = (place - found.start() for place in found.span("version"))
    return found[0][:start] + number + found[0][end:]


def main() -> None:
    """Write all copies."""
    for name, patterns in COPIES.items():
        path = ROOT / name
        path.write_text(with_version(path.read_text(encoding="utf-8"), patterns, version()), encoding="utf-8")


if __name__ == "__main__":
    main()
