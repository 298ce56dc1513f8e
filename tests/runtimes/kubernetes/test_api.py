"""Where the cluster is and who asks: a kubeconfig and its contexts, a service account, and what owns acpbot's pod."""

from __future__ import annotations

import pytest
import yaml
from lightkube.resources.core_v1 import Pod

from acpbot.config.runtime_settings import KubernetesSettings
from acpbot.runtimes.kubernetes.api import Cluster, ClusterUnreachable, asking
from acpbot.runtimes.kubernetes.claims import claim_manifest
from acpbot.runtimes.kubernetes.owner import find_owner
from tests.fakes.kubernetes import sandbox
from tests.fakes.kubernetes.clock import Clock
from tests.fakes.kubernetes.manifests import pod
from tests.fakes.kubernetes.resources import DEPLOYMENTS, PODS
from tests.fakes.kubernetes.server import TOKEN, KubernetesServer

pytestmark = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no containers: {sandbox.obstacle()}")


@pytest.fixture
async def secured(tmp_path):
    """A cluster that asks for a token, over TLS."""
    async with KubernetesServer(tmp_path / "cluster", clock=Clock(unit=0.01), tls=True) as made:
        yield made


def in_cluster(server: KubernetesServer, folder, namespace: str = "default") -> dict[str, str]:
    """The environment of a pod; its service account is in ``folder``."""
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text(namespace)
    (folder / "ca.crt").write_bytes(server.certificate.read_bytes())
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port), "HOSTNAME": "own"}


async def names(cluster: Cluster) -> list[str]:
    with asking():
        return [one.to_dict()["metadata"]["name"] async for one in cluster.client.list(Pod)]


async def test_in_a_cluster_its_own_service_account_asks_with_the_token_of_now(secured, tmp_path):
    folder = tmp_path / "account"
    environ = in_cluster(secured, folder)
    cluster = await Cluster.open(None, None, environ, service_account=folder)
    try:
        assert (cluster.namespace, await names(cluster)) == ("default", [])
        target = await cluster.exec_target("one", ["a b", "c&d"], stdin=True)
        assert target.headers == {"Authorization": f"Bearer {TOKEN}"}
        assert target.url.endswith("&stdin=true&command=a+b&command=c%26d")
        assert target.ssl is not None
        secured.renew_token("the-next-token")
        secured.expire_token()
        (folder / "token").write_text("the-next-token")
        assert await names(cluster) == []
        secured.expire_token("the-next-token")
        with pytest.raises(ClusterUnreachable, match=r"does not accept acpbot's key \(401 Unauthorized\)"):
            await names(cluster)
    finally:
        await cluster.aclose()


async def test_a_context_goes_before_the_cluster_that_acpbot_runs_in(secured, tmp_path):
    folder = tmp_path / "account"
    environ = in_cluster(secured, folder)
    config = yaml.safe_load(secured.kubeconfig(namespace="other").read_text())
    config["contexts"].append({"name": "more", "context": {"cluster": "test", "user": "test", "namespace": "third"}})
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(yaml.safe_dump(config))
    environ["KUBECONFIG"] = f"{tmp_path / 'missing'}:{kubeconfig}"
    found = []
    for context, namespace in ((None, None), ("test", None), ("more", None), ("more", "own")):
        cluster = await Cluster.open(context, namespace, environ, service_account=folder)
        found.append((cluster.namespace, cluster.own_namespace))
        await cluster.aclose()
    assert found == [("default", "default"), ("other", None), ("third", None), ("own", None)]


async def test_pods_belong_to_what_acpbots_own_pod_belongs_to_in_the_same_namespace(secured, tmp_path):
    folder = tmp_path / "account"
    environ = in_cluster(secured, folder)
    owner = secured.store.create(DEPLOYMENTS, "default", {"metadata": {"name": "acpbot"}})
    own = pod("own", "true")
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "acpbot", "uid": owner["metadata"]["uid"]}
    own["metadata"]["ownerReferences"] = [reference | {"controller": True}]
    secured.create(PODS, "default", own)
    secured.add_namespace("agents")
    for namespace, wanted in ((None, ("apps/v1", "Deployment", "acpbot", reference["uid"])), ("agents", None)):
        cluster = await Cluster.open(None, namespace, environ, service_account=folder)
        assert await find_owner(cluster, environ) == wanted
        await cluster.aclose()


def test_a_claim_says_what_the_settings_say():
    place = KubernetesSettings(image="a", home_size="5Gi", storage_class="fast")
    made = claim_manifest(place, "d1", "1", "ReadWriteOncePod")
    assert made["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "fast",
    }
    assert "storageClassName" not in claim_manifest(KubernetesSettings(image="a"), "d1", "1", "ReadWriteOnce")["spec"]
