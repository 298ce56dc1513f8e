"""How many small changes of the code do the tests notice? ``make mutants ARGS='--sample 10 --seed 1'``.

In a copy of the tree each package's tests run once, noting which test runs which line. Then changes are picked at
random, and for each, the tests that run its lines are run in the copy, the tests of the module itself first, for
:data:`TESTS_SECONDS` at most. A change that no test notices is printed; some change nothing that could be noticed.
Subprocesses are not followed: a line that only they run is called not run. What a cache keeps is noted only for the
test that filled it.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.support.mutations import mutations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.mutations import Mutation

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "sessions": ["tests/sessions"],
    "storage": ["tests/storage", "tests/sessions/test_restart.py", "tests/sessions/test_known_threads.py"],
    "management": ["tests/management"],
    "acp": ["tests/acp", "tests/sessions/test_misbehaving_agents.py", "tests/sessions/test_sign_in.py"],
    "config": ["tests/config"],
    "chat": ["tests/chat/rendering", *(f"tests/chat/{name}.py" for name in (
        "test_conversation", "test_earlier_conversations", "test_local", "test_local_commands"))],
}  # fmt: skip
TESTS_SECONDS = 30.0  # what the tests of one change took at most, before the change
LIMIT = 60.0  # seconds that they get in addition
NOT_FOUND = "ERROR: not found"


class Package:
    """A package of acpbot, the changes that can be made in it, and the tests that run each line."""

    def __init__(self, name: str, tree: Path, kept: Path, only: str) -> None:
        self.name = name
        self._tree = tree
        noted = kept / f"{name}.json"
        if not noted.exists():
            environ = {"ACPBOT_LINES_OF": f"{tree}/acpbot/{name}", "ACPBOT_LINES_TO": str(noted)}
            run_tests(tree, ["-p", "tests.support.tests_of_lines", *TESTS[name]], environ=environ, limit=None)
        found = json.loads(noted.read_text())
        self._seconds: dict[str, float] = found["seconds"]
        self._lines: dict[str, dict[str, list[str]]] = found["lines"]
        files = sorted(path for path in (tree / "acpbot" / name).rglob("*.py") if "discord" not in path.parts)
        self.changes = [
            (path.relative_to(tree), change)
            for path in files
            if only in str(path.relative_to(tree))
            for change in mutations(path.read_bytes())
        ]

    def tests_of(self, file: Path, change: Mutation) -> list[str]:
        """The tests that run the lines of the change: those of the module first, then the fast ones."""
        lines = self._lines.get(str(file), {})
        wanted = change.lines if change.in_function else lines
        found = {test for line in wanted for test in lines.get(str(line), [])}
        if not change.in_function:  # what ran while it was imported: no test of these files runs it again
            files = {_file_of(test) for test in found}
            found = {test for test in self._seconds if _file_of(test) in files or not files}
        found &= self._seconds.keys()
        ordered = sorted(found, key=lambda test: (f"test_{file.stem}.py" not in test, self._seconds[test]))
        chosen: list[str] = []
        total = 0.0
        for test in ordered:
            total += self._seconds[test]
            if total > TESTS_SECONDS and chosen:
                break
            chosen.append(test)
        return chosen


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def run_tests(tree: Path, arguments: Sequence[str], *, environ: dict[str, str], limit: float | None) -> tuple[int, str]:
    """Run pytest in ``tree``: its exit code and output; TimeoutExpired after ``limit`` seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    environ = {**os.environ, "PYTHONPATH": f"{tree}:{tree}/cli", **environ}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output


def outcome(tree: Path, file: Path, change: Mutation, tests: list[str]) -> str:
    """What the tests say of the change, which is undone afterwards."""
    if not tests:
        return "not run"
    path = tree / file
    source = path.read_bytes()
    names = tree / "names.txt"
    names.write_text("\n".join(tests))
    forget_compiled(path)
    path.write_bytes(change.applied(source))
    try:
        code, output = run_tests(tree, ["-x", "--timeout=20", f"@{names}"], environ={}, limit=LIMIT + 2 * TESTS_SECONDS)
    except subprocess.TimeoutExpired:
        return "timed out"
    finally:
        path.write_bytes(source)
        forget_compiled(path)
    if NOT_FOUND in output:
        raise SystemExit(f"cannot run the tests of {file}: {output[-2000:]}")
    return "killed" if code else "survived"


def forget_compiled(path: Path) -> None:
    """Remove what Python compiled of the module: it tells versions apart by size and second only."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink(missing_ok=True)


def difference(tree: Path, file: Path, change: Mutation) -> str:
    """The change as a unified diff."""
    source = (tree / file).read_bytes()
    old, new = (text.decode().splitlines() for text in (source, change.applied(source)))
    return "\n".join(difflib.unified_diff(old, new, str(file), change.kind, n=1, lineterm=""))


def copied(folder: Path) -> Path:
    """A copy of all files that git knows of, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def main() -> None:
    """Pick changes, try each, and print the score of each package."""
    parser = argparse.ArgumentParser(description="Which small changes of the code do the tests notice?")
    parser.add_argument("packages", nargs="*", default=list(TESTS), help=f"of: {', '.join(TESTS)}")
    parser.add_argument("--sample", type=int, default=10, help="changes per package (10)")
    parser.add_argument("--seed", type=int, default=None, help="of the choice; another each time unless given")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at once (2)")
    parser.add_argument("--only", default="", help="a part of the paths of the modules to change")
    parser.add_argument("--kind", default="", help="only changes of this kind, such as 'not handed on'")
    parser.add_argument("--kept", type=Path, help="a folder in which the notes of which test runs which line stay")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        first = copied(Path(folder) / "0")
        kept = asked.kept or Path(folder)
        with ThreadPoolExecutor(asked.jobs) as pool:
            packages = list(pool.map(lambda name: Package(name, first, kept, asked.only), asked.packages))
            for number in range(asked.jobs):
                trees.put(copied(Path(folder) / str(number)))
            for package in packages:
                changes = [found for found in package.changes if asked.kind in found[1].kind]
                picked = random.Random(seed).sample(changes, min(asked.sample, len(changes)))  # noqa: S311 # no secret
                scores = Counter(pool.map(partial(_tried, package, trees), picked))
                tried = scores.total() - scores["not run"]
                share = (scores["killed"] + scores["timed out"]) / tried if tried else 1.0
                counts = ", ".join(f"{count} {name}" for name, count in sorted(scores.items()))
                print(
                    f"== {package.name}: {share:.0%} of {tried} noticed ({counts}; {len(changes)} in all)", flush=True
                )


def _tried(package: Package, trees: SimpleQueue[Path], found: tuple[Path, Mutation]) -> str:
    file, change = found
    tests = package.tests_of(file, change)
    tree = trees.get()
    try:
        result = outcome(tree, file, change, tests)
        if result != "killed":
            print(f"-- {result}, {len(tests)} tests\n{difference(tree, file, change)}\n", flush=True)
    finally:
        trees.put(tree)
    return result


if __name__ == "__main__":
    main()
