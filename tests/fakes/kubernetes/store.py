"""The objects, their versions, and everything that happened to them: what etcd and the watch cache are."""

from __future__ import annotations

import asyncio
import copy
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes import errors
from tests.fakes.kubernetes.clock import Clock, stamp
from tests.fakes.kubernetes.resources import PODS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]
SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand
GENERATIONS: Final = {"Pod", "Deployment", "NetworkPolicy"}  # those whose metadata.generation counts


@dataclass(frozen=True)
class Change:
    """One entry of the history. `before` is the object as it was, ``None`` for a new one."""

    revision: int
    type: str
    kind: Kind
    now: Object
    before: Object | None


class Store:
    """Keeps copies: what it returns may be kept, and must not be written to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.revision = 1000
        self.history: list[Change] = []
        self.compacted = 0
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._changed = asyncio.Event()

    # reading

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """The object; ApiError 404 where there is none."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise errors.not_found(kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return self._objects.get(kind, {}).get((namespace, name))

    def list(self, kind: Kind, namespace: str = "") -> list[Object]:
        """All of a kind, of one namespace where it is given, by namespace and name."""
        kept = self._objects.get(kind, {})
        return [kept[key] for key in sorted(kept) if not namespace or key[0] == namespace]

    async def change(self) -> None:
        """Returns after the next change of any object."""
        await self._changed.wait()

    def notify(self) -> None:
        """Has everybody who waits for a change look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    # writing

    def create(self, kind: Kind, namespace: str, given: Object) -> Object:
        """Adds it with a name, a UID and a version; ApiError 409 where the name is taken."""
        made = copy.deepcopy(given)
        made = {"apiVersion": kind.api_version, "kind": kind.kind, **made}
        meta = made.setdefault("metadata", {})
        if not meta.get("name"):
            meta["name"] = meta["generateName"] + "".join(secrets.choice(SUFFIX) for _ in range(5))
        if kind.namespaced:
            meta["namespace"] = namespace
        if self.find(kind, namespace, meta["name"]) is not None:
            raise errors.already_exists(kind, meta["name"])
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = stamp(self.clock.now())
        if kind.kind in GENERATIONS:
            meta["generation"] = 1
        return self._put(kind, made, "ADDED")

    def update(self, kind: Kind, made: Object) -> Object:
        """Replaces it; one that waits only for its finalizers, and has none left, goes."""
        made = copy.deepcopy(made)
        meta = made["metadata"]
        old = self.get(kind, meta.get("namespace", ""), meta["name"])
        if made == old:
            return old
        if kind is not PODS and "deletionTimestamp" in meta and not meta.get("finalizers"):
            return self.remove(kind, old)
        if kind.kind in GENERATIONS and made.get("spec") != old.get("spec"):
            meta["generation"] = old["metadata"].get("generation", 1) + 1
        return self._put(kind, made, "MODIFIED")

    def edit(self, kind: Kind, namespace: str, name: str, write: Callable[[Object], object]) -> Object | None:
        """Has `write` change a copy, and stores that; ``None`` where the object is gone."""
        found = self.find(kind, namespace, name)
        if found is None:
            return None
        made = copy.deepcopy(found)
        write(made)
        return self.update(kind, made)

    def remove(self, kind: Kind, one: Object) -> Object:
        """Takes it out at once, whatever waits for it."""
        meta = one["metadata"]
        self._objects[kind].pop((meta.get("namespace", ""), meta["name"]))
        self.revision += 1
        last = copy.deepcopy(one)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._record(Change(self.revision, "DELETED", kind, last, one))
        return last

    def forget_history(self) -> None:
        """Compacts: a watch or a list from an earlier version gets 410."""
        self.history.clear()
        self.compacted = self.revision

    def _put(self, kind: Kind, made: Object, change: str) -> Object:
        meta = made["metadata"]
        kept = self._objects.setdefault(kind, {})
        before = kept.get((meta.get("namespace", ""), meta["name"]))
        self.revision += 1
        meta["resourceVersion"] = str(self.revision)
        kept[(meta.get("namespace", ""), meta["name"])] = made
        self._record(Change(self.revision, change, kind, made, before))
        return made

    def _record(self, change: Change) -> None:
        self.history.append(change)
        self.notify()
