"""Pods that hold room for the next threads: ``[agents.NAME] warm`` where agents run in pods.

Each has been scheduled and has fetched the image, and runs the dead-man alone: no agent, no secret, no volume. No
thread ever gets one, since a pod that runs takes no volume any more. The pod of a new session is made beside it, best
on the same node, where the image is. Where the cluster has no room for that, one that waits is ended. What was ended
is made again once no start waits for room. See docs/kubernetes.md, "Pods that wait".
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from acpbot.aio import Backoff
from acpbot.errors import AgentStartError
from acpbot.logs import get_logger
from acpbot.runtimes.kubernetes import pod_spec, start_words
from acpbot.runtimes.kubernetes.deadman import COMMAND, DeadMan
from acpbot.runtimes.kubernetes.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from acpbot.aio import TaskSet
    from acpbot.config.runtime_settings import KubernetesSettings
    from acpbot.config.settings import AgentSettings
    from acpbot.runtimes.kubernetes.place import Place
    from acpbot.runtimes.kubernetes.pod_ref import PodRef

log = get_logger(__name__)

NODES_MOST: Final = 20
"""So many nodes are named to the scheduler."""
_RETRIES: Final = Backoff(first=2.0, most=300.0)
_NEXT_SECONDS: Final = 5.0  # a scheduler needs some for what has ended


class WarmPod:
    """One of them. ``shape``: of what its pod is made; ``ref``: once it runs."""

    def __init__(self, agent: str, shape: object) -> None:
        self.name = f"warm-{secrets.token_hex(6)}"
        self.agent = agent
        self.shape = shape
        self.place: Place | None = None
        self.ref: PodRef | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def pod_name(self) -> str:
        """The name of its pod."""
        return pod_spec.pod_name(self.name)


class WarmPods:
    """Makes them, replaces those that end, and ends them. ``find_place``: where the pods of these settings are.

    ``pace``: the length of each pause and each limit, as a factor.
    """

    def __init__(
        self,
        daemon_id: str,
        find_place: Callable[[KubernetesSettings], Awaitable[Place]],
        tasks: TaskSet,
        *,
        pace: float = 1.0,
    ) -> None:
        self._daemon_id = daemon_id
        self._find_place = find_place
        self._tasks = tasks
        self._pace = pace
        self._pods: list[WarmPod] = []
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._need_room: set[object] = set()

    @property
    def count(self) -> int:
        """How many wait."""
        return sum(pod.ref is not None for pod in self._pods)

    @property
    def names(self) -> set[str]:
        """The names of their pods, also of those that are not there yet."""
        return {pod.pod_name for pod in self._pods}

    def nodes(self, agent: str) -> list[str]:
        """Where the image of this agent is, as far as those that wait for it have fetched it."""
        found = (pod.ref.node for pod in self._pods if pod.agent == agent and pod.ref is not None)
        return sorted({node for node in found if node is not None})[:NODES_MOST]

    def hold(self, agents: Iterable[AgentSettings]) -> None:
        """Make those that are missing, and end those that are not wanted any more. Called about once a second."""
        wanted = {agent.name: agent for agent in agents if agent.warm and agent.kubernetes.image is not None}
        count = dict.fromkeys(wanted, 0)
        for pod in list(self._pods):
            agent = wanted.get(pod.agent)
            if agent is None or _shape(agent) != pod.shape or count[pod.agent] >= agent.warm:
                self._end(pod)
            else:
                count[pod.agent] += 1
        if self._need_room:
            return
        now = asyncio.get_running_loop().time()
        for name, agent in wanted.items():
            if now >= self._retry_at.get(name, now):
                for _ in range(agent.warm - count[name]):
                    self._start(agent)

    @contextmanager
    def room_for(self, agent: str, place: Place, progress: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
        """While a session starts: one after another makes room where ``progress`` is told that there is none."""
        key = object()
        task: asyncio.Task[None] | None = None

        def told(words: str) -> None:
            nonlocal task
            if start_words.lacks_room(words) and task is None:
                self._need_room.add(key)
                task = self._tasks.start(self._make_room(agent, place), name=f"room for {agent}")
            progress(words)

        try:
            yield told
        finally:
            self._need_room.discard(key)
            if task is not None:
                self._tasks.cancel_one(task)

    def end(self) -> None:
        """End all of them; their pods are deleted in the background."""
        for pod in list(self._pods):
            self._end(pod)

    async def _make_room(self, agent: str, place: Place) -> None:
        """End those that wait for room themselves, then the others one by one, first one of the same agent."""
        here = [pod for pod in self._pods if pod.place is place]
        for pod in here:
            if pod.ref is None:
                self._end(pod)
        for pod in sorted(here, key=lambda pod: pod.agent != agent):
            if pod.ref is not None and pod in self._pods:
                log.info("warm_pod_gives_way", agent=agent, pod=pod.pod_name, node=pod.ref.node)
                self._end(pod)
                await asyncio.sleep(_NEXT_SECONDS * self._pace)

    def _start(self, agent: AgentSettings) -> None:
        pod = WarmPod(agent.name, _shape(agent))
        self._pods.append(pod)
        pod.task = self._tasks.start(self._run(pod, agent), name=f"pod {pod.pod_name}")

    def _end(self, pod: WarmPod) -> None:
        self._pods.remove(pod)
        if pod.task is not None:
            self._tasks.cancel_one(pod.task)
        if pod.place is not None:
            self._tasks.start(pod.place.pods.discard(pod.pod_name), name=f"discard {pod.pod_name}")

    async def _run(self, pod: WarmPod, agent: AgentSettings) -> None:
        """Make its pod, and wait until that ends."""
        reason = "an error of acpbot"
        try:
            reason = await self._hold_one(pod, agent)
        except (AgentStartError, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        finally:
            if pod in self._pods:  # nobody has asked for its end
                self._failed(pod, reason)
                self._end(pod)

    def _failed(self, pod: WarmPod, reason: str) -> None:
        """The next one of its agent waits, longer each time."""
        failures = self._failures[pod.agent] = self._failures.get(pod.agent, 0) + 1
        seconds = _RETRIES.seconds(failures) * self._pace
        self._retry_at[pod.agent] = asyncio.get_running_loop().time() + seconds
        log.warning("warm_pod_ended", agent=pod.agent, pod=pod.pod_name, reason=reason, retry_in=round(seconds, 1))

    async def _hold_one(self, pod: WarmPod, agent: AgentSettings) -> str:
        """Return why its pod has ended. Raises `AgentStartError`, `OSError`."""
        place = pod.place = await self._find_place(agent.kubernetes)
        manifest = pod_spec.placeholder(
            pod_spec.example(agent, pod.name),
            agent.kubernetes,
            daemon_id=self._daemon_id,
            first_process=COMMAND,
            owner=place.owner,
        )
        made = await place.pods.create(manifest, _nobody)
        ref = await Waiting(place.cluster, made, _nobody, pace=self._pace).until_it_runs()
        cut = asyncio.Event()
        deadman = DeadMan(cut.set, pace=self._pace)
        try:
            await deadman.attach(place.cluster, ref)
            pod.ref = ref
            self._failures.pop(pod.agent, None)
            log.info("warm_pod_waits", agent=pod.agent, pod=ref.name, node=ref.node)
            await cut.wait()
        finally:
            await deadman.release()
        return (await place.pods.fate(ref)).reason or "its connection was cut"


def _shape(agent: AgentSettings) -> object:
    """What decides how its pods are."""
    return agent.kubernetes, agent.memory_max, agent.working_dir


def _nobody(_: str) -> None:
    """Nobody reads what it waits for."""
