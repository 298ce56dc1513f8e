"""Install the agents that these tests run, by npm, into <repository>/.agents or $ACPBOT_AGENTS; no more than once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.real_agents import AGENTS, MODULES

# Node trusts its own list of authorities only; here, as elsewhere, what the system trusts is trusted.
SYSTEM_AUTHORITIES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
PACKAGES: Final = {"@zed-industries/codex-acp": "0.16", "opencode-ai": "1.18"}


def installed_version(package: str) -> str | None:
    """Return the version of a package in the folder; ``None`` where it is not there."""
    try:
        return json.loads((MODULES / package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):  # npm mends what it left half done
        return None


def main() -> int:
    """Return 0 once all are there, 1 after one line that says why they are not."""
    found = {package: installed_version(package) for package in PACKAGES}
    if all((found[package] or "").startswith(f"{wanted}.") for package, wanted in PACKAGES.items()):
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        print(f"installed in {AGENTS}: {versions}")
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print("cannot install the agents: npm was not found; install Node.js 20 or later", file=sys.stderr)
        return 1
    specs = [f"{package}@{wanted}" for package, wanted in PACKAGES.items()]
    print(f"installing {', '.join(specs)} into {AGENTS} ...", flush=True)
    try:
        AGENTS.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cannot install the agents: {AGENTS}: {error.strerror}; set ACPBOT_AGENTS", file=sys.stderr)
        return 1
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    authorities = next((path for path in SYSTEM_AUTHORITIES if Path(path).is_file()), None)
    environ = ({} if authorities is None else {"NODE_EXTRA_CA_CERTS": authorities}) | os.environ
    argv = [npm, "install", *quiet, "--prefix", str(AGENTS), *specs]
    code = subprocess.run(argv, check=False, env=environ).returncode
    if code != 0:
        print(f"cannot install the agents: npm ended with status {code}; see its words above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
