"""The base of the errors that say: what was asked of the cluster or of a pod was not answered."""

from __future__ import annotations


class Unanswered(OSError):
    """Nothing is known then. It has no number: it is no error of this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(None, reason)

    def __str__(self) -> str:
        return str(self.strerror)
