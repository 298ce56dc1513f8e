"""A Kubernetes API server on loopback, with a kubelet that runs pods as real processes of this machine.

>>> async with KubernetesServer(tmp_path, clock=Clock(unit=0.01)) as cluster:
...     cluster.add_namespace("agents")
...     pod = cluster.create(PODS, "agents", {...})
...     await cluster.wait_for(lambda: cluster.phase("agents", "one") == "Running")
...     await kubectl("--kubeconfig", str(cluster.kubeconfig()), "get", "pods", "-n", "agents")
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import yaml
from aiohttp import web

from tests.fakes.kubernetes import events, objects, sandbox
from tests.fakes.kubernetes.admission import Rule, User
from tests.fakes.kubernetes.clock import Clock, stamp
from tests.fakes.kubernetes.controllers import Controllers
from tests.fakes.kubernetes.faults import Faults
from tests.fakes.kubernetes.kubelet import Kubelet, set_condition
from tests.fakes.kubernetes.podlogs import Logs
from tests.fakes.kubernetes.podrun import PodRun, Timings
from tests.fakes.kubernetes.podspec import Image, folder_of
from tests.fakes.kubernetes.remote import V4, V5, Streams
from tests.fakes.kubernetes.resources import ACCOUNTS, CLAIMS, NAMESPACES, NODES, PODS, QUOTAS, SECRETS, Kind, Target
from tests.fakes.kubernetes.rest import ANYONE, Call, Rest
from tests.fakes.kubernetes.store import Object, Store
from tests.fakes.kubernetes.watch import Watches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from tests.fakes.kubernetes.container import Container

T = TypeVar("T")
TOKEN: Final = "a.made-up.token"
WAIT_SECONDS: Final = 20.0


class KubernetesServer:
    """All of it. Everything runs in the loop that called `start`. `data` is an empty folder for its files.

    `minor` is the version: 20 for Kubernetes 1.20, which serves v4 streams alone; from 30 on v5 too. With `tls` clients
    need the token and the certificate; without, whoever sends no token is an administrator.
    """

    def __init__(
        self,
        data: Path,
        *,
        clock: Clock | None = None,
        minor: int = 32,
        tls: bool = False,
        timings: Timings | None = None,
        node_memory: str = "4Gi",
        node_cpu: str = "4",
    ) -> None:
        self.data = data / "cluster"
        self.clock = clock or Clock()
        self.tls = tls
        self.timings = timings or Timings()
        self.store = Store(self.clock)
        self.images: dict[str, Image] = {}
        self.kubelets: dict[str, Kubelet] = {}
        self.faults = Faults()
        self.watches = Watches(self.store)
        self.streams = Streams(self.store, self.kubelets, (V5, V4) if minor >= 30 else (V4,))
        self.controllers = Controllers(self.store, self.kubelets, self.data)
        self.rest = Rest(self.store, self.watches, self.faults, minor)
        self.rest.users[TOKEN] = ANYONE
        self.rest.anonymous = None if tls else ANYONE
        parts = {"exec": self.streams.exec, "attach": self.streams.attach, "log": Logs(self.streams).serve}
        self.rest.parts = {**parts, "eviction": self._evict_by_api}
        self.port = 0
        self._runner: web.AppRunner | None = None
        self.add_node("node-1", memory=node_memory, cpu=node_cpu)
        self.add_namespace("default")

    # running

    @property
    def lacks(self) -> tuple[str, ...]:
        """What containers on this machine do not have, in words; empty where they are real ones."""
        return sandbox.lacks()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Runs the cluster and listens."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.controllers.start()
        await self.listen()

    async def listen(self) -> None:
        """Listens on a free port; again after `unreachable`, on the same one."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.rest.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        context = self._certified() if self.tls else None
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def unreachable(self) -> None:
        """The API cannot be reached any more: connections are cut, new ones refused. Pods go on; see `listen`."""
        self.streams.cut()
        self.watches.close(cut=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def stop(self) -> None:
        """Ends every process and every connection."""
        self.faults.clear()
        await self.controllers.stop()
        for kubelet in self.kubelets.values():
            await kubelet.close()
        await self.streams.close()
        await self.unreachable()
        await asyncio.to_thread(shutil.rmtree, self.data, ignore_errors=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _certified(self) -> ssl.SSLContext:
        key, self.certificate = self.data / "key.pem", self.data / "certificate.pem"
        if not key.exists():
            command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
            command += f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {self.certificate}"
            subprocess.run(command.split(), check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        return context

    def kubeconfig(self, *, namespace: str = "default", token: str = TOKEN) -> Path:
        """A file for clients. Most send no token over plain HTTP, whatever the file says."""
        cluster: dict[str, Any] = {"server": self.url}
        if self.tls:
            cluster["certificate-authority"] = str(self.certificate)
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }
        path = self.data / f"kubeconfig-{namespace}-{token[:8]}.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    # making

    def add_namespace(self, name: str, labels: dict[str, str] | None = None) -> Object:
        spec = {"metadata": {"name": name, "labels": dict(labels or {})}, "spec": {}, "status": {"phase": "Active"}}
        made = self.store.create(NAMESPACES, "", spec)
        self.store.create(ACCOUNTS, name, {"metadata": {"name": "default"}})
        return made

    def add_node(self, name: str, *, memory: str = "4Gi", cpu: str = "4", **labels: str) -> Kubelet:
        """Another node; images are one registry for all."""
        kubelet = self.kubelets[name] = Kubelet(self.store, name, self.images, self.data, self.timings)
        kubelet.register(memory, cpu, labels)
        return kubelet

    def add_image(self, name: str, *command: str, **fields: Any) -> Image:
        """See :class:`tests.fakes.kubernetes.podspec.Image`."""
        self.images[name] = Image(command=command, **fields)
        return self.images[name]

    def add_secret(self, namespace: str, name: str, **values: str) -> Object:
        return self.create(SECRETS, namespace, {"metadata": {"name": name}, "stringData": values})

    def add_user(self, token: str, name: str, rules: Iterable[Rule]) -> User:
        """Who may do what `rules` allow, and nothing else."""
        self.rest.users[token] = User(name, list(rules))
        return self.rest.users[token]

    def create(self, kind: Kind, namespace: str, one: Object) -> Object:
        """As an administrator creates it: validated, with defaults, within quotas."""
        return objects.create(self.store, Target(kind, namespace), one, ANYONE, dry_run=False)

    def delete(self, kind: Kind, namespace: str, name: str, *, grace: int | None = None) -> Object:
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        return objects.delete(self.store, Target(kind, namespace, name), options, dry_run=False)

    # faults

    def set_quota(self, namespace: str, **hard: str) -> Object:
        """A quota named `limits`; a dot in a resource is written as two underscores: ``limits__memory="1Gi"``."""
        spec = {"hard": {name.replace("__", "."): amount for name, amount in hard.items()}}
        return self.create(QUOTAS, namespace, {"metadata": {"name": "limits"}, "spec": spec})

    def expire_token(self, token: str = TOKEN) -> None:
        """From now on 401."""
        old = self.rest.users[token]
        self.rest.users[token] = User(old.name, old.rules, expired=True)

    def renew_token(self, new: str, token: str = TOKEN) -> None:
        """A new token for the same user."""
        self.rest.users[new] = User(self.rest.users[token].name, self.rest.users[token].rules)

    def evict(self, namespace: str, name: str, message: str = "The node was low on resource: memory. ") -> None:
        """The kubelet evicts the pod: phase Failed, reason Evicted, an event; its streams say Success, late."""
        run = self.run_of(namespace, name)
        run.streams_succeed = True
        run.event("Evicted", message, warning=True)
        run.fail("Evicted", message)

    def drain(self, namespace: str, name: str, by: str = "EvictionByEvictionAPI") -> None:
        """The pod is deleted because its node is drained: its streams say Success, late.

        `by` is EvictionByEvictionAPI, PreemptionByScheduler or DeletionByTaintManager.
        """
        texts = {
            "EvictionByEvictionAPI": "Eviction API: evicting",
            "PreemptionByScheduler": "default-scheduler: preempting to accommodate a higher priority pod",
            "DeletionByTaintManager": "Taint manager: deleting due to NoExecute taint",
        }
        if (found := self._run(namespace, name)) is not None:
            found.streams_succeed = True

        def write(one: Object) -> None:
            now = stamp(self.clock.now())
            set_condition(one, "DisruptionTarget", True, now, reason=by, message=texts[by])

        pod = self.store.edit(PODS, namespace, name, write)
        assert pod is not None
        if by == "DeletionByTaintManager":
            text = f"Marking for deletion Pod {namespace}/{name}"
            events.record(self.store, pod, "TaintManagerEviction", text, by="taint-eviction-controller")
        if by == "PreemptionByScheduler":
            text = f"Preempted by pod {pod['metadata']['uid']} on node {pod['spec'].get('nodeName')}"
            events.record(self.store, pod, "Preempted", text, by="default-scheduler")
        self.delete(PODS, namespace, name)

    async def _evict_by_api(self, request: web.Request, target: Target) -> web.StreamResponse:
        """`pods/eviction`, which `kubectl drain` uses."""
        self.store.get(PODS, target.namespace, target.name)
        await request.read()
        self.drain(target.namespace, target.name)
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return web.json_response(status, status=201)

    def oom_kill(self, namespace: str, name: str, *, whole: bool = True) -> int | None:
        """Memory is short: the container goes (OOMKilled), or its largest process alone, whose pid is returned."""
        container = self.container(namespace, name)
        if not whole:
            return container.kill_largest()
        container.kill("OOMKilled")
        return None

    def lose_node(self, name: str = "node-1", *, processes_end: bool = False) -> None:
        """The node is cut off: no reports, and silent streams. Its processes go on, or end unreported."""
        kubelet = self.kubelets[name]
        kubelet.reports = False
        for run in kubelet.runs.values():
            self.streams.stall(run.name)
            if processes_end:
                for container in run.containers:
                    container.kill()

    def tell_lost_node(self, name: str = "node-1", *, evicts: bool = True) -> None:
        """What the control plane does later: node and pods not ready (40 s), and the pods are deleted (300 s more)."""
        self.kubelets[name].report_ready(None)
        for pod in self.store.list(PODS):
            if pod["spec"].get("nodeName") == name:
                meta = pod["metadata"]
                self.store.edit(PODS, meta["namespace"], meta["name"], self._not_ready)
                events.record(self.store, pod, "NodeNotReady", "Node is not ready", warning=True, by="node-controller")
                if evicts:
                    self.drain(meta["namespace"], meta["name"], "DeletionByTaintManager")

    def _not_ready(self, one: Object) -> None:
        set_condition(one, "Ready", False, stamp(self.clock.now()))

    def return_node(self, name: str = "node-1") -> None:
        """The node is back: it reports, and carries out what it has missed."""
        self.kubelets[name].reports = True
        self.kubelets[name].report_ready(True)
        self.streams.resume()
        for run in self.kubelets[name].runs.values():
            run.report()
        self.store.notify()

    def cordon(self, name: str = "node-1", *, closed: bool = True) -> None:
        """No new pods there; or again, where it is not ``closed``."""
        self.store.edit(NODES, "", name, lambda one: one["spec"].update(unschedulable=closed))

    # looking

    @property
    def calls(self) -> list[Call]:
        """Every request that came as far as its authentication, in order."""
        return self.rest.calls

    def calls_to(self, verb: str, resource: str) -> list[Call]:
        return [call for call in self.calls if (call.verb, call.resource) == (verb, resource)]

    def pod(self, namespace: str, name: str) -> Object:
        return self.store.get(PODS, namespace, name)

    def phase(self, namespace: str, name: str) -> str:
        """The phase; empty when there is no such pod."""
        found = self.store.find(PODS, namespace, name)
        return "" if found is None else str(found["status"]["phase"])

    def event_reasons(self, name: str) -> list[str]:
        """The reasons of the events about an object of this name, oldest first."""
        return [one["reason"] for one in self.events(name)]

    def events(self, name: str) -> list[Object]:
        return [
            change.now
            for change in self.store.history
            if change.kind.plural == "events"
            and change.type == "ADDED"
            and change.now["involvedObject"]["name"] == name
        ]

    def _run(self, namespace: str, name: str) -> PodRun | None:
        uid = self.pod(namespace, name)["metadata"]["uid"]
        return next((one.runs[uid] for one in self.kubelets.values() if uid in one.runs), None)

    def run_of(self, namespace: str, name: str) -> PodRun:
        """The run of a pod that is on a node."""
        found = self._run(namespace, name)
        assert found is not None, f"{namespace}/{name} runs nowhere"
        return found

    def container(self, namespace: str, name: str) -> Container:
        """The pod's first container. Keep it to ask for its processes when the pod is gone."""
        return self.run_of(namespace, name).containers[0]

    def folder(self, namespace: str, claim: str) -> Path:
        """Where the files of a claim are on this machine."""
        return folder_of(self.store.get(CLAIMS, namespace, claim), self.data)

    # waiting

    async def wait_for(self, predicate: Callable[[], T | None], *, seconds: float = WAIT_SECONDS, what: str = "") -> T:
        """The first true value of `predicate`, asked after every change. AssertionError after `seconds`."""

        async def until() -> T:
            while not (value := predicate()):
                await self.store.change()
            return value

        try:
            return await asyncio.wait_for(until(), seconds)
        except TimeoutError:
            pods = {one["metadata"]["name"]: one["status"] for one in self.store.list(PODS)}
            raise AssertionError(f"no {what or 'change'} within {seconds} s; pods: {pods}") from None

    async def wait_running(self, namespace: str, name: str) -> Object:
        await self.wait_for(lambda: self.phase(namespace, name) == "Running", what=f"running {name}")
        return self.pod(namespace, name)
