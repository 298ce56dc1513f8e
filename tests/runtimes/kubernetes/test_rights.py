"""The rights that packaging/kubernetes and the chart give acpbot: with them all works, and none is too much.

docs/kubernetes.md says how often a session asks the API server; it is counted here.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import yaml
from msgspec import structs

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.config.settings import AgentSettings
from acpbot.errors import AgentStartError
from acpbot.runtimes.kubernetes.runtime import KubernetesRuntime
from acpbot.runtimes.runtime import LaunchSpec
from tests.fakes.kubernetes.admission import Rule
from tests.fakes.kubernetes.resources import PODS
from tests.support.launched_agents import LIMIT, Sink

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from acpbot.runtimes.kubernetes.process import KubernetesProcess

T = TypeVar("T")

PAGE = Path(__file__).parents[3] / "docs" / "kubernetes.md"
RIGHTS = Path(__file__).parents[3] / "packaging" / "kubernetes" / "agents" / "rights.yaml"
SETTINGS = KubernetesSettings(image="registry.example/agent:1", namespace="agents", home_size="1Gi")


def rules() -> list[Rule]:
    """Those of the Role, in the namespace of the agents."""
    role = next(one for one in yaml.safe_load_all(RIGHTS.read_text()) if one["kind"] == "Role")
    return [Rule(tuple(rule["verbs"]), tuple(rule["resources"]), "agents") for rule in role["rules"]]


class Daemon:
    """A runtime that asks with the rights of acpbot, and its calls."""

    def __init__(self, server) -> None:
        server.add_namespace("agents", {"pod-security.kubernetes.io/enforce": "restricted"})
        server.add_user("acpbots-own", "system:serviceaccount:acpbot:acpbot", rules())
        self.server = server
        self.runtime = KubernetesRuntime(
            daemon_id="d" * 16,
            environ={"KUBECONFIG": str(server.kubeconfig(token="acpbots-own"))},
            settings=lambda: [SETTINGS],
            threads=lambda: ["1"],
        )

    async def launch(self, session_id: str):
        spec = LaunchSpec(
            argv=("cat",),
            cwd=Path("/srv/work/1"),
            home=Path("/srv/homes/1"),
            env={},
            session_id=session_id,
            thread_id="1",
            kubernetes=SETTINGS,
        )
        return await asyncio.wait_for(self.runtime.launch(spec, Sink(), lambda _: None), LIMIT)

    async def warm(self, settings: AgentSettings) -> None:
        """Have its pods wait."""
        self.runtime.hold_places([settings])
        async with asyncio.timeout(LIMIT):
            while self.runtime.warm_places < settings.warm:  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(0)

    def calls(self) -> Counter[tuple[str, str]]:
        """What was asked, as rights name it."""
        own = [call for call in self.server.calls if call.user == "system:serviceaccount:acpbot:acpbot"]
        return Counter((call.resource, call.verb) for call in own if call.verb)


@pytest.fixture
async def daemon(server):
    made = Daemon(server)
    yield made
    await made.runtime.aclose()


def quoted() -> dict[str, int]:
    """How many calls each thing takes, as the page says."""
    section = PAGE.read_text().partition("\n### Calls of the API\n")[2].partition("\n#")[0]
    return {what: int(count) for what, count in re.findall(r"^\| (an? [^|]+) \| (\d+) \|", section, re.MULTILINE)}


async def test_with_its_rights_acpbot_can_do_all_that_it_does_and_none_is_too_much(daemon, server):
    counted = {}

    async def count(what: str, work: Awaitable[T]) -> T:
        before = daemon.calls().total()
        done = await work
        counted[what] = daemon.calls().total() - before
        return done

    async def end(process: KubernetesProcess) -> None:
        await process.kill_all()
        await process.aclose()
        await server.wait_for(lambda: not server.phase("agents", process.pod.name), what="removal")

    first = await count("a start of a new thread", daemon.launch("first"))
    await count("a look at what a session uses, each minute", daemon.runtime.sample([first]))
    await count("a look for what is left, each minute, for each namespace", daemon.runtime.leftovers([], ["first"]))
    await count("an end", end(first))
    second = await count("a start of a thread that has a claim", daemon.launch("second"))
    server.delete(PODS, "agents", "acpbot-second")
    await asyncio.wait_for(second.wait(), LIMIT)
    await second.kill_all()
    settings = AgentSettings(name="a", command="cat", runtime="kubernetes", kubernetes=SETTINGS)
    assert (await daemon.runtime.check(settings))[0].startswith("in pods of the namespace agents")
    await daemon.runtime.forget("1")
    most = quoted()
    kept = structs.replace(settings, warm=1)
    await count("a pod that waits for a thread", daemon.warm(kept))
    assert counted.pop("an end") <= most.pop("an end"), "a pod that is gone at once is not watched"
    again = "a start of a thread that has a claim"
    assert counted.pop(again) - most.pop(again) in {0, 1}, "the last call about the pod before may come within it"
    assert counted == most

    allowed = {(resource, verb) for rule in rules() for resource in rule.resources for verb in rule.verbs}
    # Since 1.35 a WebSocket needs "create" as well: kubernetes.io/docs/reference/access-authn-authz/authorization.
    websockets = {("pods/exec", "create"), ("pods/attach", "create")}
    assert allowed - websockets == set(daemon.calls())


@pytest.mark.parametrize(
    ("verb", "resource", "said"),
    [
        ("get", "pods/exec", "refused the connection to the pod .403."),
        ("create", "pods", r'cannot create resource "pods".*check acpbot.s Role'),
        ("get", "persistentvolumeclaims", 'cannot get resource "persistentvolumeclaims"'),
    ],
)
async def test_a_right_that_is_missing_is_named(daemon, server, verb, resource, said):
    server.rest.users["acpbots-own"].rules = [
        replace(rule, verbs=tuple({*rule.verbs} - {verb})) if resource in rule.resources else rule for rule in rules()
    ]
    with pytest.raises(AgentStartError, match=said):
        await daemon.launch("first")
