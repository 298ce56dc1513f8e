"""The API of a Kubernetes cluster: who asks, in which namespace, and what its errors mean.

A cluster that can't be asked raises `ClusterUnreachable`: then nothing is known about a pod, and it is never taken for
gone. Sources: kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig,
kubernetes.io/docs/tasks/run-application/access-api-from-pod, kubernetes.io/docs/reference/using-api/api-concepts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import httpx2
import msgspec
import yaml
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.models import Cluster as Server
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from acpbot.aio import DISK
from acpbot.errors import AgentStartError
from acpbot.runtimes.kubernetes.pod_ref import ExecTarget
from acpbot.runtimes.kubernetes.unanswered import Unanswered
from acpbot.text import one_line

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lightkube.config.kubeconfig import SingleConfig

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CALL_SECONDS: Final = 10.0
"""How long the cluster may take for an answer."""

_NO_KEY: Final = "the cluster does not accept acpbot's key (401 Unauthorized)"
_WATCH_SECONDS: Final = 30.0
_REASON_LENGTH: Final = 300
_TOKEN_SECONDS: Final = 60.0
_SERVER_ERROR: Final = 500
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_CONFLICT: Final = 409
_WATCH_PAUSE_SECONDS: Final = 0.25


class ClusterUnreachable(Unanswered):
    """Nobody can ask the cluster now: it can't be reached, it is overloaded, or it does not know who asks."""


@contextlib.contextmanager
def asking() -> Iterator[None]:
    """Make of what a call raises a `ClusterUnreachable`, but for an answer that is about what was asked: `ApiError`."""
    try:
        yield
    except ApiError as error:
        if (unreachable := _no_answer(error)) is not None:
            raise unreachable from error
        raise
    except httpx2.HTTPStatusError as error:  # lightkube: a watch that is refused
        raise _refused_watch(error.response.status_code) from error
    except httpx2.HTTPError as error:
        raise ClusterUnreachable(f"the cluster does not answer: {_words(error)}") from error
    except ClusterUnreachable:
        raise
    except (ConfigError, OSError) as error:  # also where the kubeconfig's own command can't say who asks
        raise ClusterUnreachable(f"the kubeconfig can't be used: {_words(error)}") from error
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        # KeyError: lightkube reads a header that an answer of a proxy may lack.
        raise ClusterUnreachable(f"the cluster's answer can't be read: {_words(error)}") from error


def _no_answer(error: ApiError) -> ClusterUnreachable | None:
    code = error.status.code or 0
    if code == _UNAUTHORIZED:
        return ClusterUnreachable(_NO_KEY)
    # A conflict that is no name in use: two requests have changed a quota at once, and one is to be sent again.
    if code == _TOO_MANY or code >= _SERVER_ERROR or (code == _CONFLICT and error.status.reason != "AlreadyExists"):
        return ClusterUnreachable(f"the cluster can't answer now: {said(error)} ({code})")
    return None


def _refused_watch(code: int) -> ClusterUnreachable:
    if code == _UNAUTHORIZED:
        return ClusterUnreachable(_NO_KEY)
    return ClusterUnreachable(f"the cluster does not say what changes there ({code})")


def said(error: ApiError) -> str:
    """What the cluster has answered, on one line."""
    return one_line(error.status.message or error.status.reason or "no reason given", _REASON_LENGTH)


def _words(error: Exception) -> str:
    return one_line(str(error) or type(error).__name__, _REASON_LENGTH)


class _Transport(httpx2.AsyncHTTPTransport):
    """Begins a watch of the same objects a few times a second at most.

    lightkube begins each again that has ended, without a pause, and something before the cluster may end all at once.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._next: dict[str, float] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, later where it is such a watch."""
        if "watch" in request.url.params:
            await self._pause(f"{request.url.path} {request.url.params.get('fieldSelector')}")
        return await super().handle_async_request(request)

    async def _pause(self, watched: str) -> None:
        now = time.monotonic()
        self._next = {what: at for what, at in self._next.items() if at > now}
        begin = self._next.get(watched, now)
        self._next[watched] = begin + _WATCH_PAUSE_SECONDS
        await asyncio.sleep(begin - now)


class Cluster:
    """One namespace of a cluster. All methods belong to one event loop.

    ``context`` is the name of a context of the kubeconfig, or ``None``, as the settings have it.
    """

    def __init__(self, config: SingleConfig, *, context: str | None, namespace: str | None) -> None:
        self.context = context
        self.namespace: str = namespace or config.namespace
        self.server = config.cluster.server.rstrip("/")
        self.in_cluster = config.fname is None
        self.own_namespace = config.namespace if self.in_cluster else None
        """The namespace of acpbot's own pod, where it runs in this cluster."""
        self._user = config.user or User()
        self._header: tuple[float, str] | None = None
        self._ssl: ssl.SSLContext | None = None
        if self.server.startswith("https:"):
            self._ssl = verify_cluster(config.cluster, self._user, config.abs_file, trust_env=False)
        self.client = AsyncClient(
            config=config._replace(user=self._user),
            namespace=self.namespace,
            timeout=httpx2.Timeout(CALL_SECONDS),
            trust_env=False,
            transport=_Transport(
                verify=True if self._ssl is None else self._ssl,
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
                trust_env=False,
            ),
        )

    @classmethod
    async def open(
        cls,
        context: str | None,
        namespace: str | None,
        environ: Mapping[str, str],
        *,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> Cluster:
        """Find out how to ask; nothing is asked yet. Raises AgentStartError where the configuration can't be used."""

        def make() -> Cluster:
            return cls(read_config(context, environ, service_account), context=context, namespace=namespace)

        try:
            return await DISK.run(make)
        except (ConfigError, OSError, KeyError, TypeError, ValueError, msgspec.MsgspecError, yaml.YAMLError) as error:
            reason = f"no {error} there" if isinstance(error, KeyError) else _words(error)
            raise AgentStartError(
                f"cannot start the agent: the kubeconfig can't be used: {reason}; "
                "check that `kubectl get pods` works for acpbot's user, or correct context"
            ) from error

    async def watch(
        self, kind: Any, fields: Mapping[str, str], version: str | None, take: Callable[[str, dict[str, Any]], bool]
    ) -> None:
        """Call ``take`` with each change of what has these fields, until it returns True, or half a minute has passed.

        A change is ADDED, MODIFIED or DELETED, with the object. ``version``: where to begin; ``None``: with what there
        is. Raises `ClusterUnreachable`, `ApiError`.
        """
        # A connection that is dead without a word is noticed by the time alone.
        with contextlib.suppress(TimeoutError), asking():
            async with asyncio.timeout(_WATCH_SECONDS):
                found: Any = self.client.watch(kind, fields=dict(fields), resource_version=version)
                async with contextlib.aclosing(found) as changes:
                    async for change, one in changes:
                        if take(change, one.to_dict()):
                            return

    async def exec_target(
        self, pod: str, command: Sequence[str], *, stdin: bool, container: str = "agent"
    ) -> ExecTarget:
        """Return what runs a command in a pod, with its stdout and stderr. Raises `ClusterUnreachable`."""
        query = [("container", container), ("stdout", "true"), ("stderr", "true"), ("stdin", str(stdin).lower())]
        return await self._target(f"{quote(pod)}/exec", [*query, *(("command", word) for word in command)])

    async def attach_target(self, pod: str, *, container: str = "agent") -> ExecTarget:
        """Return what leads to the stdin of a container's first process. Raises `ClusterUnreachable`."""
        return await self._target(f"{quote(pod)}/attach", [("container", container), ("stdin", "true")])

    async def aclose(self) -> None:
        """Close all connections."""
        await self.client._client._client.aclose()  # noqa: SLF001 - lightkube 1.0 has no other way

    async def _target(self, path: str, query: list[tuple[str, str]]) -> ExecTarget:
        url = f"{self.server}/api/v1/namespaces/{quote(self.namespace)}/pods/{path}?{urlencode(query)}"
        with asking():
            header = await self._authorization(url)
        return ExecTarget(url, {} if header is None else {"Authorization": header}, self._ssl)

    async def _authorization(self, url: str) -> str | None:
        """Who asks, as a header. A token is read again each minute: a kubelet replaces that of a service account."""
        now = time.monotonic()
        if self._header is not None and now - self._header[0] < _TOKEN_SECONDS:
            return self._header[1]
        auth = user_auth(self._user)
        if auth is None:
            return None
        flow = auth.async_auth_flow(httpx2.Request("GET", url))
        try:
            request = await anext(flow)
        finally:
            await flow.aclose()
        header = request.headers.get("Authorization")
        if header is None:
            return None
        self._header = now, header
        return header


def read_config(context: str | None, environ: Mapping[str, str], service_account: Path) -> SingleConfig:
    """Return where the cluster is and who asks. Blocks. Raises ConfigError, OSError, ValueError, YAMLError.

    Without a context it is the cluster that acpbot runs in, where it runs in one and may ask.
    """
    host = environ.get("KUBERNETES_SERVICE_HOST")
    if context is None and host and (service_account / "token").is_file():
        address = f"[{host}]" if ":" in host else host
        made = KubeConfig.from_one(
            cluster=Server(
                server=f"https://{address}:{environ.get('KUBERNETES_SERVICE_PORT', '443')}",
                certificate_auth=str(service_account / "ca.crt"),
            ),
            user=User(token_file=str(service_account / "token")),
            namespace=(service_account / "namespace").read_text(encoding="utf-8").strip(),
        )
    else:
        made = KubeConfig.from_file(_kubeconfig(environ))
    found: Any = made.get(context)
    if found is None:
        raise ConfigError("it has no current context")
    config: SingleConfig = found
    return config


def _kubeconfig(environ: Mapping[str, str]) -> Path:
    """The first file that KUBECONFIG names and that is there, else that in HOME."""
    named = [Path(path) for path in environ.get("KUBECONFIG", "").split(":") if path]
    for path in named:
        if path.is_file():
            return path
    return named[0] if named else Path(environ.get("HOME", "/")) / ".kube" / "config"
