"""The commands of the README and the pages in docs/: what runs each of them in a test, or why none does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

NOT_RUN: Final = {
    r"git (clone|pull)\b": "needs the network",
    r"pipx install |~/\S*/pip install |python3 -m venv ": "needs a package index: check_dist.py installs the wheel",
    r"sudo (apt|npm|python3 -m venv|/opt/acpbot/bin/pip) ": "needs root and a package index",
    r"sudo (cp|ln|install|systemctl|systemd-\w+) ": "needs root, and the systemd of the machine",
    r"sudo acpbot (init|install-service)": "needs root: the same without sudo is run",
    r"sudo -u acpbot ": "needs root and the user of the service: the same without sudo is run",
    r"acpbot exec claude ": "needs the agent, and a person's account: tests/commands/test_exec.py runs others",
    r".*acpbot demo --agent 'gemini --acp'": "needs the agent: tests/demo/test_demo.py runs another",
    r"acpbot install-service --user": "writes into the systemd of whoever runs it: see test_install_service.py",
    r"cd packaging/": "is only for the commands below it",
    r"cp \.\./\.\./config\.toml\.example ": "is only for the commands below it",
    r"docker |AGENTS=": "needs Docker and its registry: see tests/packaging/test_container_image.py",
    r"kubectl |helm ": "needs a cluster: see tests/packaging/test_kubernetes_page.py and test_helm.py",
    r"make test$": "is the suite itself",
}
"""What a command begins with, and why no test of the pages runs it; the other tests that a reason names come near."""

RUN: Final = {
    r"(\.venv/bin/|sudo |echo .*\| |git diff \| )?acpctl ": "daemon",
    r"printf .*\| socat ": "daemon",
    r"curl .*127\.0\.0\.1:8090": "daemon",
    r"make demo": "demo",
    r"acpbot demo$": "demo",
    r"(\.venv/bin/)?acpbot (init|check|run|config)\b": "set up",
}
"""What a command begins with, and the group of tests in tests/packaging/test_page_commands.py that runs it."""


class Command(NamedTuple):
    """A command of a block of a page, whole: lines that a backslash continues are one."""

    page: str
    line: str

    @property
    def bare(self) -> str:
        """It without the comment behind it."""
        return re.sub(r"\s+# .*$", "", self.line)

    def matches(self, table: dict[str, str]) -> list[str]:
        """The patterns of a table that it begins with."""
        return [pattern for pattern in table if re.match(pattern, self.bare)]


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in a language, without their indentation."""
    found = re.findall(rf"(?m)^( *)```{language}\n((?:.*\n)*?) *```$", page.read_text(encoding="utf-8"))
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) for indent, text in found]


def commands() -> list[Command]:
    """Every command of every shell block."""
    return [
        Command(page.name, line.strip())
        for page in PAGES
        for block in blocks(page, "(?:sh|bash|console|shell)")
        for line in re.sub(r"\\\n\s*", "", block).splitlines()
        if line.strip() and not line.startswith("#")
    ]


def run_by(group: str) -> list[str]:
    """The commands that a group of tests runs, each once, without comments."""
    return list(dict.fromkeys(one.bare for one in commands() for way in one.matches(RUN) if RUN[way] == group))
