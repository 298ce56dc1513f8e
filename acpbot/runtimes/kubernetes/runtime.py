"""Starts agents in pods of a Kubernetes cluster: a pod for each session, and a claim for each thread.

A pod's first process ends the pod once its daemon is silent (`deadman`); the agent is started beside it. The volume of
a thread holds its HOME and its workspace and stays where the pod goes.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from acpbot.aio import TaskSet
from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.kubernetes import check, claims, leftovers, pod_spec
from acpbot.runtimes.kubernetes.api import SERVICE_ACCOUNT, Cluster, ClusterUnreachable
from acpbot.runtimes.kubernetes.claims import Claims
from acpbot.runtimes.kubernetes.deadman import COMMAND
from acpbot.runtimes.kubernetes.owner import find_owner
from acpbot.runtimes.kubernetes.place import Place
from acpbot.runtimes.kubernetes.pods import Pods
from acpbot.runtimes.kubernetes.process import KubernetesProcess, start_process
from acpbot.runtimes.kubernetes.waiting import Waiting
from acpbot.runtimes.kubernetes.warm_pods import WarmPods

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from acpbot.config.runtime_settings import KubernetesSettings
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.kubernetes.pod_ref import PodRef
    from acpbot.runtimes.kubernetes.pod_spec import Owner
    from acpbot.runtimes.runtime import AgentProcess, LaunchSpec, Leftover, PlaceRef, StdoutSink, StoredPlace, Usage

log = get_logger(__name__)

_SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")
_LOOKS_AT_ONCE: Final = 20
_LAST_SECONDS: Final = 5.0
# The folders of a volume belong to root and to the agent's group, and git works in folders of its own user alone
# (git-config(1), safe.directory). All that is in the pod is of one thread.
_GIT: Final = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


class KubernetesRuntime:
    """An `acpbot.runtimes.runtime.Runtime` for pods.

    ``daemon_id`` is in the labels of all pods and claims of this daemon, and of no other daemon. ``environ`` is the
    daemon's environment: where the cluster is. ``settings`` returns the tables of the agents that run in pods now, and
    ``threads`` the ids of all threads, ``None`` where they are not known yet. ``pace``: the length of each pause and
    each limit, as a factor.
    """

    kind = "kubernetes"
    sample_seconds = 60.0
    gives_home = True
    has_files_here = False

    def __init__(
        self,
        *,
        daemon_id: str,
        environ: Mapping[str, str],
        settings: Callable[[], Iterable[KubernetesSettings]] = tuple,
        threads: Callable[[], Collection[str] | None] = lambda: None,
        service_account: Path = SERVICE_ACCOUNT,
        pace: float = 1.0,
    ) -> None:
        self._daemon_id = daemon_id
        self._environ = environ
        self._settings = settings
        self._threads = threads
        self._service_account = service_account
        self._pace = pace
        self._places: dict[tuple[str | None, str | None], asyncio.Task[Place]] = {}
        self._starting: dict[str, str] = {}
        self._running: dict[KubernetesProcess, str] = {}
        self._tasks = TaskSet("pods")
        self._warm = WarmPods(daemon_id, lambda one: self._place(one.context, one.namespace), self._tasks, pace=pace)
        self._closed = False

    @property
    def strays(self) -> Sequence[PlaceRef]:
        """The pods of which no kubelet has said that they have ended."""
        return [
            {"context": place.cluster.context, "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
            for place in self._opened()
            for pod in place.pods.unconfirmed.values()
        ]

    @property
    def warm_places(self) -> int:
        """How many pods hold room for the next threads."""
        return self._warm.count

    def hold_places(self, agents: Iterable[AgentSettings]) -> None:
        """Have as many pods hold room as ``warm`` of each of these agents says."""
        if not self._closed:
            self._warm.hold(agents)

    def environment(self, settings: AgentSettings, home: Path | None) -> dict[str, str]:
        """Return what is added to the image's own: HOME, what ``inherit_env`` names, and the agent's."""
        env = {**_GIT} if home is None else {"HOME": str(home), **_GIT}
        env.update({name: self._environ[name] for name in settings.inherit_env if name in self._environ})
        return {**env, **settings.env}

    def sees_programs(self, argv: Sequence[str]) -> bool:
        """Return False: an image has programs of its own."""
        del argv
        return False

    async def launch(self, spec: LaunchSpec, stdout: StdoutSink, progress: Callable[[str], None]) -> KubernetesProcess:
        """Start an agent; cancelled, its pod is deleted in the background, and its claim stays.

        Raises `AgentStartError` where it can't be started, `ValueError` for a session_id that is malformed or in use.
        """
        if not _SESSION_ID.fullmatch(spec.session_id) or spec.session_id in self._starting:
            raise ValueError(f"cannot launch session {spec.session_id!r}: that isn't a session id, or it is in use")
        if self._closed:
            raise AgentStartError("cannot start the agent: the daemon is stopping")
        settings = _settings_of(spec.kubernetes)
        self._running = {one: agent for one, agent in self._running.items() if not one.settled}
        self._check_room(settings, spec.agent)
        self._starting[spec.session_id] = spec.agent
        try:
            process = await self._launch(spec, settings, stdout, progress)
        except ClusterUnreachable as error:
            raise AgentStartError(
                f"cannot start the agent: {error.strerror}; check that `kubectl get pods` works",
                for_people="The cluster doesn't answer. Please try again later.",
            ) from error
        finally:
            del self._starting[spec.session_id]
        self._running[process] = spec.agent
        return process

    async def sample(self, processes: Iterable[AgentProcess]) -> dict[str, Usage]:
        """Return what each session uses, by session_id: a look inside each pod. Who does not answer is left out."""
        limit = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(process: KubernetesProcess) -> tuple[str, Usage] | None:
            async with limit:
                try:
                    return process.session_id, await process.usage()
                except OSError as error:
                    log.debug("pod_not_sampled", session=process.session_id, reason=str(error))
                    return None

        own = [one for one in processes if isinstance(one, KubernetesProcess) and not one.settled]
        return dict(found for found in await asyncio.gather(*map(look, own)) if found is not None)

    async def leftovers(self, stored: Sequence[StoredPlace], live: Collection[str]) -> list[Leftover]:
        """End the pods of earlier daemons with this database; return what was found.

        Found are the pods with the label of this daemon in every namespace that the settings or ``stored`` name. Never
        touched are the sessions in ``live``, those that start now, pods of another daemon, and claims. A cluster that
        can't be asked leaves what it may hold unknown.
        """

        def spared() -> set[str]:
            ids = {*live, *self._starting, *(one.session_id for one in self._running if not one.settled)}
            return {pod_spec.pod_name(session_id) for session_id in ids} | self._warm.names

        wanted = {(one.context, one.namespace) for one in self._settings()} | set(self._places)
        named = [place for place in stored if isinstance(place.ref.get("namespace"), str)]
        wanted |= {(place.ref.get("context"), place.ref["namespace"]) for place in named}
        found: list[Leftover] = []
        seen: set[tuple[str | None, str]] = set()
        for context, namespace in sorted(wanted, key=str):
            try:
                place = await self._place(context, namespace)
                key = (context, place.cluster.namespace)
                if key in seen:
                    continue
                seen.add(key)
                found += await leftovers.end_pods(place.pods, spared, place.reported)
                if (threads := self._threads()) is not None:
                    await leftovers.report_claims(place.claims, threads, place.cluster.namespace, place.reported)
            except (ClusterUnreachable, AgentStartError) as error:
                log.warning("pod_leftovers_unknown", context=context, namespace=namespace, reason=str(error))
                if namespace is not None:
                    found += leftovers.unknown(named, context, namespace)
        return found

    async def check(self, settings: AgentSettings) -> list[str]:
        """Return what an operator must know before a start. Raises AgentStartError where agents can't run."""
        table = _settings_of(settings.kubernetes)
        place = await self._place(table.context, table.namespace)
        spec = pod_spec.example(settings, "check")
        pod = self._manifest(spec, table, None, None)
        claim = claims.claim_manifest(table, self._daemon_id, "check", claims.MODES[0])
        return await check.check(place.cluster, settings, pod, claim)

    async def forget(self, thread_id: str) -> None:
        """Delete a forgotten thread's claim, with all that is on its volume, in every namespace of the settings."""
        for context, namespace in {(one.context, one.namespace) for one in self._settings()} | set(self._places):
            try:
                place = await self._place(context, namespace)
            except (AgentStartError, ClusterUnreachable) as error:
                log.warning("claim_not_removed", thread=thread_id, reason=str(error))
            else:
                await place.claims.remove(thread_id)

    async def aclose(self) -> None:
        """End what still runs, and delete its pods; a pod whose end takes long is left to the next daemon."""
        if self._closed:
            return
        self._closed = True
        self._warm.end()
        results = await asyncio.gather(*(process.aclose() for process in self._running), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                log.error("agent_not_closed", exc_info=result)
        try:
            async with asyncio.timeout(_LAST_SECONDS * self._pace):
                while self._tasks:  # what deletes a pod may start once its name is known
                    await self._tasks.wait()
        except TimeoutError:
            log.info("pods_left_to_the_cluster", reason="they are deleted, and their nodes have not confirmed it yet")
        await self._tasks.cancel()
        for task in self._places.values():
            if not task.done():
                task.cancel()
        for place in self._opened():
            await place.cluster.aclose()

    # one start

    def _check_room(self, settings: KubernetesSettings, agent: str) -> None:
        if settings.max_sessions is None:
            return
        count = Counter([*self._starting.values(), *self._running.values()])[agent]
        if count >= settings.max_sessions:
            raise AgentStartError(
                f"cannot start the agent: it has {count} pod{'s' * (count != 1)} already; "
                "raise max_sessions in its table kubernetes, or end a session",
                for_people="This agent can't take on more threads right now. Please try again later.",
            )

    async def _launch(
        self, spec: LaunchSpec, settings: KubernetesSettings, stdout: StdoutSink, progress: Callable[[str], None]
    ) -> KubernetesProcess:
        place = await self._place(settings.context, settings.namespace)
        claim: str | None = None
        if spec.thread_id:
            claim = await place.pods.wait_for_room(
                lambda: place.claims.ensure(settings, spec.thread_id, progress, pace=self._pace), progress
            )
        manifest = self._manifest(spec, settings, claim, place.owner, self._warm.nodes(spec.agent))
        with self._warm.room_for(spec.agent, place, progress) as told:
            ref = await self._make_pod(place, spec, manifest, told)
        try:
            return await start_process(
                place.cluster,
                place.pods,
                ref,
                spec,
                stdout,
                limits_not_held=pod_spec.limits_not_held(spec),
            )
        except BaseException:
            # Broad: also where it is cancelled, its pod is deleted.
            self._discard(place, spec)
            raise

    async def _make_pod(
        self, place: Place, spec: LaunchSpec, manifest: dict[str, object], progress: Callable[[str], None]
    ) -> PodRef:
        """Make the session's pod, and wait until it runs."""
        try:
            made = await place.pods.create(manifest, progress)
            return await Waiting(place.cluster, made, progress, pace=self._pace).until_it_runs()
        except BaseException:
            # Broad: also where it is cancelled, its pod is deleted.
            self._discard(place, spec)
            raise

    def _discard(self, place: Place, spec: LaunchSpec) -> None:
        name = pod_spec.pod_name(spec.session_id)
        self._tasks.start(place.pods.discard(name), name=f"discard {name}")

    def _manifest(
        self,
        spec: LaunchSpec,
        settings: KubernetesSettings,
        claim: str | None,
        owner: Owner | None,
        near: Iterable[str] = (),
    ) -> dict[str, object]:
        return pod_spec.manifest(
            spec, settings, daemon_id=self._daemon_id, first_process=COMMAND, claim=claim, owner=owner, near=near
        )

    # where

    async def _place(self, context: str | None, namespace: str | None) -> Place:
        """The namespace, opened once. Raises AgentStartError, ClusterUnreachable."""
        key = (context, namespace)
        task = self._places.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._places[key] = asyncio.ensure_future(self._open(context, namespace))
        try:
            return await asyncio.shield(task)
        except (AgentStartError, ClusterUnreachable):
            if self._places.get(key) is task:
                del self._places[key]
            raise

    async def _open(self, context: str | None, namespace: str | None) -> Place:
        cluster = await Cluster.open(context, namespace, self._environ, service_account=self._service_account)
        try:
            owner = await find_owner(cluster, self._environ)
        except BaseException:
            # Broad: whatever it is, its connections are closed.
            await cluster.aclose()
            raise
        pods = Pods(cluster, self._daemon_id, self._tasks, pace=self._pace)
        return Place(cluster, pods, Claims(cluster, self._daemon_id), owner)

    def _opened(self) -> list[Place]:
        done = (task for task in self._places.values() if task.done() and not task.cancelled())
        return [task.result() for task in done if task.exception() is None]


def _settings_of(settings: KubernetesSettings | None) -> KubernetesSettings:
    """Return the table. Raises AgentStartError where it names no image."""
    if settings is None or settings.image is None:
        raise AgentStartError(
            'cannot start the agent: runtime = "kubernetes" needs an image; set image in its table "kubernetes"'
        )
    return settings
