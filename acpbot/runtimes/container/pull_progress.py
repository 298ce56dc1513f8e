"""How far a pull is, from the lines that the engine's client writes where it has no terminal. Pure.

Docker names each layer, and what it does with it; Podman names the layers that it copies, with figures in some
versions. Where there are no figures there is no percentage.
"""

from __future__ import annotations

import re
from typing import Final

_DOCKER: Final = re.compile(
    r"^([0-9a-f]{12}): (Pulling fs layer|Waiting|Verifying Checksum|Download complete|Pull complete|Already exists)$"
)
_PODMAN: Final = re.compile(
    r"^Copying blob (?:sha256:)?([0-9a-f]{6,64})(?: \[[^\]]*\] ([\d.]+)([kKMGT]?i?B) / ([\d.]+)([kKMGT]?i?B))?(.*)$"
)
_SHARE: Final = {"Verifying Checksum": 0.45, "Download complete": 0.5, "Pull complete": 1.0, "Already exists": 1.0}
_POWERS: Final = {"B": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class PullProgress:
    """Takes the lines of one pull; :meth:`feed` returns what to tell people where that has changed."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._has_figures = False
        self._percent = -1

    def feed(self, line: str) -> str | None:
        """Take a line; return the new clause for people, or ``None`` where it is as before."""
        line = line.strip()
        if (found := _DOCKER.match(line)) is not None:
            layer, state = found.groups()
            self._has_figures = True
            self._shares[layer] = max(self._shares.get(layer, 0.0), _SHARE.get(state, 0.0))
        elif (found := _PODMAN.match(line)) is not None:
            layer, done, unit, size, size_unit, rest = found.groups()
            if done is not None:
                self._has_figures = True
                self._shares[layer] = min(1.0, _bytes(done, unit) / max(1.0, _bytes(size, size_unit)))
            elif rest.strip() in {"done", "skipped: already exists"}:
                self._has_figures = True
                self._shares[layer] = 1.0
            else:
                self._shares.setdefault(layer, 0.0)
        if not self._has_figures:
            return None
        percent = int(100 * sum(self._shares.values()) / len(self._shares))
        if percent <= self._percent:  # it never goes back, although further layers turn up
            return None
        self._percent = percent
        return f"Fetching the image, {percent}%"


def _bytes(figure: str, unit: str) -> float:
    return float(figure) * float(1024 ** _POWERS[unit[0].upper()])
