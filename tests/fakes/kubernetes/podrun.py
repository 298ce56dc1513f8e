"""One pod on its node: from the pull of its images to the kubelet's last word about it."""

from __future__ import annotations

import asyncio
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.fakes.kubernetes import events, podspec
from tests.fakes.kubernetes.clock import stamp
from tests.fakes.kubernetes.container import Container
from tests.fakes.kubernetes.podspec import ConfigError, MountError
from tests.fakes.kubernetes.processes import CannotStart
from tests.fakes.kubernetes.resources import PODS

if TYPE_CHECKING:
    from tests.fakes.kubernetes.kubelet import Kubelet
    from tests.fakes.kubernetes.store import Object

REFERENCE: Final = re.compile(r"^[a-z0-9]+([._/:@-]+[A-Za-z0-9_]+)*$")


@dataclass
class Timings:
    """How long a kubelet takes, in seconds; measured on Kubernetes 1.20."""

    start: float = 0.4  # from the binding to the first program
    orphan: float = 1.0  # the object was removed by force: its processes go on for so long
    report: float = 1.2  # from the end of the processes to `terminated` in the status
    removal: float = 8.0  # from there to the removal of the object
    back_off: float = 10.0  # after a failed pull or a crash; doubled each time
    retry: float = 2.0  # after a volume that cannot be mounted
    eviction_streams: float = 4.0  # an eviction closes the streams so late


class PodRun:
    """Follows one pod, by UID: another pod of the same name is another run."""

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self.kubelet = kubelet
        self.store = kubelet.store
        self.clock = kubelet.store.clock
        self.pod = pod
        self.uid = pod["metadata"]["uid"]
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.initial = [Container(one, self.clock) for one in pod["spec"].get("initContainers") or []]
        self.containers = [Container(one, self.clock) for one in pod["spec"]["containers"]]
        self.phase_is_fixed = False
        self.reason = self.message = ""
        self.streams_succeed = False  # an eviction reports Success on every stream
        self.ending = False
        self.grace: int | None = None  # of the deletion that is being carried out
        self.started_at = stamp(self.clock.now())
        self.ip = kubelet.address()
        self.task = asyncio.create_task(self._run(), name=f"pod {self.name}")
        self.last_words: asyncio.Task[None] | None = None

    # what is reported

    def event(self, reason: str, message: str, *, warning: bool = False) -> None:
        if self.kubelet.reports:
            events.record(self.store, self.pod, reason, message, warning=warning, host=self.kubelet.name)

    def report(self) -> None:
        """Writes the status, unless the node is silent or the pod is another one by now."""
        found = self.store.find(PODS, self.namespace, self.name)
        if self.kubelet.reports and found is not None and found["metadata"]["uid"] == self.uid:
            self.store.edit(PODS, self.namespace, self.name, self._write)

    def _write(self, one: Object) -> None:
        status = one["status"]
        ready = all("running" in container.state for container in self.containers)
        status |= {
            "phase": self._phase() if not self.phase_is_fixed else "Failed",
            "hostIP": "10.0.0.1",
            "startTime": self.started_at,
            "containerStatuses": [container.status() for container in self.containers],
        }
        if self.initial:
            status["initContainerStatuses"] = [container.status() for container in self.initial]
        if any("running" in container.state for container in self.containers):
            status |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}]}
        for key, value in (("reason", self.reason), ("message", self.message)):
            if value:
                status[key] = value
        done = status["phase"] in {"Succeeded", "Failed"}
        unready = {} if ready else {"reason": "PodCompleted" if done else "ContainersNotReady"}
        for kind, true in (("Initialized", True), ("Ready", ready), ("ContainersReady", ready)):
            self.kubelet.set_condition(one, kind, true, **({} if true else unready))

    def _phase(self) -> str:
        states = [container.state for container in self.containers]
        policy = self.pod["spec"]["restartPolicy"]
        if any("running" in state for state in states):
            return "Running"
        codes = [state["terminated"]["exitCode"] for state in states if "terminated" in state]
        if len(codes) < len(states):
            return "Running" if any(container.restarts for container in self.containers) else "Pending"
        if policy == "Always" or (policy == "OnFailure" and any(codes)):
            return "Running"
        return "Failed" if any(codes) else "Succeeded"

    # starting

    async def _run(self) -> None:
        self.report()
        await self.clock.sleep(self.kubelet.timings.start)
        for container in self.initial:
            await self._one(container)
        deadline = self.pod["spec"].get("activeDeadlineSeconds")
        runs: asyncio.Future[Any] = asyncio.gather(*(self._one(container) for container in self.containers))
        if deadline is None:
            await runs
            return
        timer: asyncio.Future[Any] = asyncio.create_task(self.clock.sleep(deadline))
        try:
            await asyncio.wait({timer, runs}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            runs.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody waits for it
            runs.cancel()
            raise
        finally:
            timer.cancel()
        if not runs.done():
            self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            await runs

    async def _one(self, container: Container) -> None:
        """Runs a container, again where its policy says so."""
        delay = self.kubelet.timings.back_off
        while True:
            await self._pull(container)
            code = await self._start_and_wait(container)
            policy = "Never" if container in self.initial else self.pod["spec"]["restartPolicy"]
            if self.ending or policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            container.last_state = container.state
            text = f"back-off {int(delay)}s restarting failed container={container.name} pod={self.name}"
            container.waits("CrashLoopBackOff", text)
            self.event("BackOff", "Back-off restarting failed container", warning=True)
            container.restarts += 1
            self.report()
            await self.clock.sleep(delay)
            delay = min(delay * 2, 300)

    async def _start_and_wait(self, container: Container) -> int:
        setup = await self._setup(container)
        self.event("Created", f"Created container {container.name}")
        try:
            await container.start(setup)
        except CannotStart as error:
            self.event("Failed", f"Error: {error}", warning=True)
            self.report()
            return 128
        self.event("Started", f"Started container {container.name}")
        self.report()
        watch = asyncio.create_task(container.watch_memory())
        code = await container.wait()
        watch.cancel()
        if not self.ending:
            await self.clock.sleep(self.kubelet.timings.report)
            self.report()
        return code

    async def _setup(self, container: Container) -> Any:
        """The setup, as soon as its volumes and references are there."""
        while True:
            try:
                self.kubelet.check_attached(self.pod)
                image = self.kubelet.image(container.spec["image"])
                return podspec.setup(self.store, self.pod, container.spec, image, self.kubelet.data)
            except MountError as error:
                reason = "FailedAttachVolume" if "Multi-Attach" in str(error) else "FailedMount"
                self.event(reason, str(error), warning=True)
            except ConfigError as error:
                state = "CreateContainerError" if "command" in str(error) else "CreateContainerConfigError"
                container.waits(state, str(error))
                self.event("Failed", f"Error: {error}", warning=True)
            self.report()
            await self.clock.sleep(self.kubelet.timings.retry)

    async def _pull(self, container: Container) -> None:
        """Returns when the image is on the node."""
        name, policy = container.spec["image"], container.spec["imagePullPolicy"]
        image = self.kubelet.image(name)
        delay = self.kubelet.timings.back_off
        if not REFERENCE.match(name):
            text = f'Failed to apply default image tag "{name}": couldn\'t parse image reference "{name}"'
            await self._stuck(container, "InvalidImageName", "InspectFailed", f"{text}: invalid reference format")
        if policy == "Never" and not image.present:
            text = f'Container image "{name}" is not present with pull policy of Never'
            await self._stuck(container, "ErrImageNeverPull", "ErrImageNeverPull", text)
        if policy != "Always" and image.present:
            self.event("Pulled", f'Container image "{name}" already present on machine')
            return
        while True:
            self.event("Pulling", f'Pulling image "{name}"')
            await self.clock.sleep(image.pull_seconds)
            if not image.error:
                image.present = True
                self.event("Pulled", f'Successfully pulled image "{name}" in {image.pull_seconds}s')
                return
            text = f'rpc error: code = Unknown desc = failed to pull and unpack image "{name}": {image.error}'
            self.event("Failed", f'Failed to pull image "{name}": {text}', warning=True)
            self.event("Failed", "Error: ErrImagePull", warning=True)
            container.waits("ErrImagePull", text)
            self.report()
            await self.clock.sleep(self.kubelet.timings.retry)
            self.event("BackOff", f'Back-off pulling image "{name}"')
            self.event("Failed", "Error: ImagePullBackOff", warning=True)
            container.waits("ImagePullBackOff", f'Back-off pulling image "{name}"')
            self.report()
            await self.clock.sleep(delay)
            delay = min(delay * 2, 300)

    async def _stuck(self, container: Container, state: str, event: str, text: str) -> None:
        container.waits(state, text)
        self.event(event, text, warning=True)
        self.event("Failed", f"Error: {state}", warning=True)
        self.report()
        await asyncio.get_running_loop().create_future()  # until the pod is deleted

    # ending

    def fail(self, reason: str, message: str) -> None:
        """Ends all containers and reports the pod as Failed, for a reason of its own."""
        self.reason, self.message, self.phase_is_fixed, self.ending = reason, message, True, True
        self.last_words = asyncio.create_task(self._fail())

    async def _fail(self) -> None:
        self.report()
        await self.stop(0)
        await self.clock.sleep(self.kubelet.timings.report)
        self.report()

    def end(self, grace: float) -> None:
        """The object has a deletion timestamp: TERM, KILL after `grace` seconds, the status, the removal."""
        self.ending = True
        if self.last_words is not None:
            self.last_words.cancel()
        self.last_words = asyncio.create_task(self._end(grace))

    async def _end(self, grace: float) -> None:
        for container in self.containers:
            if "running" in container.state:
                self.event("Killing", f"Stopping container {container.name}")
        await self.stop(grace)
        await self.clock.sleep(self.kubelet.timings.report)
        self.report()
        await self.clock.sleep(self.kubelet.timings.removal)
        found = self.store.find(PODS, self.namespace, self.name)
        if self.kubelet.reports and found is not None and found["metadata"]["uid"] == self.uid:
            self.store.remove(PODS, found)

    def orphan(self) -> None:
        """The object is gone: the processes go on until the kubelet notices."""
        self.ending = True
        if self.last_words is None:
            self.last_words = asyncio.create_task(self._orphan())

    async def _orphan(self) -> None:
        await self.clock.sleep(self.kubelet.timings.orphan)
        await self.stop(0)

    async def stop(self, grace: float) -> None:
        """Ends every container: TERM, `grace` seconds, KILL. Returns when no process is left."""
        running = [one for one in (*self.initial, *self.containers) if one.program and not one.ended.is_set()]
        if not running:
            self.task.cancel()
            return
        ended: asyncio.Future[Any] = asyncio.gather(*(one.ended.wait() for one in running))
        if grace > 0:
            for one in running:
                one.signal(signal.SIGTERM)
            timer: asyncio.Future[Any] = asyncio.create_task(self.clock.sleep(grace))
            await asyncio.wait({timer, ended}, return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
        for one in running:
            one.kill()
        await ended
        self.task.cancel()

    async def close(self) -> None:
        """Ends the run at once, processes and tasks; nothing is reported."""
        self.ending = True
        tasks = [task for task in (self.task, self.last_words) if task is not None]
        for one in (*self.initial, *self.containers):
            one.kill()
        for one in (*self.initial, *self.containers):
            if one.program is not None and self.task.done() is False:
                await one.ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (*self.initial, *self.containers):
            if one.program is not None:
                await one.program.close()
