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

from tests.support.real_agents import AGENTS, NEWEST

# Node trusts its own list of authorities only; here, as elsewhere, what the system trusts is trusted.
SYSTEM_AUTHORITIES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
PACKAGES: Final = {
    AGENTS: {"@zed-industries/codex-acp": "0.16", "opencode-ai": "1.18"},
    # These want Node.js 22, which comes as a package of npm.
    NEWEST: {"@agentclientprotocol/codex-acp": "2.6.0", "@agentclientprotocol/claude-agent-acp": "0.101", "node": "22"},
}


def installed_version(folder: Path, package: str) -> str | None:
    """Return the version of a package in the folder; ``None`` where it is not there."""
    try:
        return json.loads((folder / "node_modules" / package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):  # npm completes what it has left half done
        return None


def main() -> int:
    """Return 0 once all are there, 1 after one line that says why they are not."""
    return max(install(folder, packages) for folder, packages in PACKAGES.items())


def install(folder: Path, packages: dict[str, str]) -> int:
    """Install these packages into the folder, where they are not there yet; return as :func:`main`."""
    found = {package: installed_version(folder, package) for package in packages}
    if all(f"{found[package]}.".startswith(f"{wanted}.") for package, wanted in packages.items()):
        versions = ", ".join(f"{package} {version}" for package, version in found.items())
        print(f"installed in {folder}: {versions}")
        return 0
    npm = shutil.which("npm")
    if npm is None:
        print("cannot install the agents: npm was not found; install Node.js 20 or later", file=sys.stderr)
        return 1
    specs = [f"{package}@{wanted}" for package, wanted in packages.items()]
    print(f"installing {', '.join(specs)} into {folder} ...", flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"cannot install the agents: {folder}: {error.strerror}; set ACPBOT_AGENTS", file=sys.stderr)
        return 1
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    authorities = next((path for path in SYSTEM_AUTHORITIES if Path(path).is_file()), None)
    environ = ({} if authorities is None else {"NODE_EXTRA_CA_CERTS": authorities}) | os.environ
    argv = [npm, "install", *quiet, "--prefix", str(folder), *specs]
    code = subprocess.run(argv, check=False, env=environ).returncode
    if code != 0:
        print(f"cannot install the agents: npm ended with status {code}; see its words above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
