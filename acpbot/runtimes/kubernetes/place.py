"""One namespace in which agents run: its API, its pods and its claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from acpbot.runtimes.kubernetes.leftovers import Reported

if TYPE_CHECKING:
    from acpbot.runtimes.kubernetes.api import Cluster
    from acpbot.runtimes.kubernetes.claims import Claims
    from acpbot.runtimes.kubernetes.pod_spec import Owner
    from acpbot.runtimes.kubernetes.pods import Pods


@dataclass(frozen=True, eq=False)
class Place:
    """``owner``: what acpbot itself belongs to, where that is known and in this namespace."""

    cluster: Cluster
    pods: Pods
    claims: Claims
    owner: Owner | None
    reported: Reported = field(default_factory=Reported)
