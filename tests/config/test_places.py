"""Where an agent runs: [agents.NAME] runtime and the tables of the places."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.configs import AGENT, TOKEN, parse, problem

IMAGE = 'runtime = "container"\n[agent.container]\nimage = "localhost/agent:1"\n'


def test_an_agent_runs_on_this_machine_unless_it_says_otherwise():
    agent = parse(AGENT).agents["default"]
    assert (agent.runtime, agent.bubblewrap.network, agent.container.network) == ("local", True, "default")


def test_each_agent_has_its_own_place():
    settings = parse(
        AGENT
        + 'runtime = "bubblewrap"\n[agent.bubblewrap]\n'
        + 'shared = [".config/tool"]\nreadable = ["~/data"]\nnetwork = false\n'
        + '[agents.boxed]\ncommand = "a"\nruntime = "container"\n'
        + "[agents.boxed.container]\n"
        + 'engine = "docker"\nimage = "localhost/agent:1"\nvolumes = ["/srv/c:/c:ro"]\ncpus = 1.5\n'
    )
    sandboxed, boxed = settings.agents["default"].bubblewrap, settings.agents["boxed"].container
    assert (sandboxed.shared, sandboxed.readable, sandboxed.network) == (
        (".config/tool",),
        (Path("/home/u/data"),),
        False,
    )
    assert (boxed.engine, boxed.image, boxed.volumes, boxed.cpus) == (
        *("docker", "localhost/agent:1", ("/srv/c:/c:ro",), 1.5),
    )
    assert settings.warnings == ()


@pytest.mark.parametrize("kind", ["container", "kubernetes"])
def test_a_container_needs_an_image(kind):
    assert problem(AGENT + f'runtime = "{kind}"\n') == (
        f'[agent] has runtime = "{kind}" and no image; add [agent.{kind}] and below it for example'
        ' image = "localhost/agent:1", which holds the agent'
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('runtime = "pod"\n', '[agent] runtime must be "local", "bubblewrap", "container" or "kubernetes"'),
        ('[agent.bubblewrap]\nshared = ["/etc/passwd"]\n', "[agent.bubblewrap] shared"),
        ('[agent.bubblewrap]\nshared = ["a/../../b"]\n', "[agent.bubblewrap] shared"),
        ('[agent.bubblewrap]\nwritable = ["data"]\n', "[agent.bubblewrap] writable"),
        ('[agent.container]\nvolumes = ["/srv/cache"]\n', "[agent.container] volumes"),
        ('[agent.container]\nimage = "--privileged"\n', "[agent.container] image"),
        ('[agent.container]\nimage = "an image"\n', "[agent.container] image"),
        ('[agent.container]\nnetwork = "--host"\n', "[agent.container] network"),
        ("[agent.container]\ncpus = 0\n", "[agent.container] cpus must be a number of processors from 0.01 to 4096"),
        ('image = "x"\n', "[agent] has no key image; it belongs in [agent.container]"),
    ],
)
def test_a_mistake_is_named(text, wanted):
    assert problem(AGENT + text).startswith(wanted)


def test_processes_are_kept_warm_on_this_machine_and_pods_in_a_cluster():
    keys = "warm = 2\n"
    assert parse(AGENT + keys).warnings == ()
    assert parse(AGENT + keys + 'runtime = "kubernetes"\n[agent.kubernetes]\nimage = "a"\n').warnings == ()
    (warning,) = parse(AGENT + keys + 'runtime = "bubblewrap"\n').warnings
    assert warning.startswith('[agent] warm has no effect with runtime = "bubblewrap": each thread has a HOME')


def test_a_table_of_a_place_where_the_agent_does_not_run_has_no_effect():
    settings = parse(AGENT + '[agent.bubblewrap]\nnetwork = false\n[agent.container]\nimage = "a"\n')
    assert settings.warnings == (
        '[agent.bubblewrap] has no effect: runtime is "local" in [agent]',
        '[agent.container] has no effect: runtime is "local" in [agent]',
    )


POD = 'runtime = "kubernetes"\n[agent.kubernetes]\nimage = "registry.example/agent:1"\n'


def test_a_pod_is_described_as_kubernetes_does():
    settings = parse(
        AGENT
        + POD
        + 'secrets = ["keys", "API_KEY=anthropic/api-key"]\nhome_size = "5Gi"\nmax_sessions = 3\n'
        + 'resources = { requests = { cpu = 0.5, memory = "1Gi" }, limits = { "nvidia.com/gpu" = 1 } }\n'
        + 'node_selector = { "kubernetes.io/arch" = "${NAME}" }\n'
        + "[[agent.kubernetes.pod_template.spec.tolerations]]\n"
        + 'key = "agents"\noperator = "Exists"\ntolerationSeconds = 60\n'
    )
    place = settings.agents["default"].kubernetes
    assert place.resources == {"requests": {"cpu": "0.5", "memory": "1Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    assert place.pod_template == {
        "spec": {"tolerations": [{"key": "agents", "operator": "Exists", "tolerationSeconds": 60}]}
    }
    assert (place.secrets, place.node_selector) == (("keys", "API_KEY=anthropic/api-key"), {"kubernetes.io/arch": "x"})
    assert settings.warnings == ()


def test_an_agent_of_this_machine_beside_one_in_pods_is_refused():
    assert problem(AGENT + POD + '[agents.here]\ncommand = "a"\n') == (
        '[agents.here] has runtime "local": it could read the key of the cluster in which [agent] runs;'
        " give it another runtime, or a daemon of its own"
    )
    parse(AGENT + POD + '[agents.boxed]\ncommand = "a"\nruntime = "bubblewrap"\n')


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ('secrets = ["API_KEY=x"]', "secrets must be a list of Secrets"),
        ('home_size = "0"', 'home_size must be an amount of storage, not "0"; write for example home_size = "10Gi"'),
        ('namespace = "A"', "namespace must be the name of a namespace"),
        ("resources = { cpu = 1 }", "resources must be a table with requests and limits"),
        ('resources = { limits = { cpu = "many" } }', "resources must be a table with requests and limits"),
        ("pod_template = { containers = [] }", "pod_template must be a table with metadata and spec of a pod"),
        ("pod_template = { spec = { a = inf } }", "pod_template must be a table with metadata and spec of a pod"),
        ("pod_template = { spec = { a = 2026-01-01 } }", "pod_template must be a table with metadata and spec"),
        ('node_selector = { zone = "a b" }', "node_selector must be a table of labels of nodes"),
        (f'pod_template = {{ spec = {{ a = [{{ b = "{TOKEN}" }}] }} }}', "the bot token"),
    ],
)
def test_a_mistake_in_the_table_of_a_pod_is_named(line, wanted):
    discord = f'[discord]\nbot_token = "{TOKEN}"\nallow_all_users = true\n'
    assert wanted in problem(discord + AGENT + POD + line + "\n")


@pytest.mark.parametrize("key", ["image", "network"])
def test_no_key_of_a_place_gives_the_agent_the_bot_token(key):
    discord = f'[discord]\nbot_token = "{TOKEN}"\nallow_all_users = true\n'
    text = discord + AGENT + f'[agent.container]\n{key} = "{TOKEN}"\n'
    assert problem(text) == f"[agent] container.{key} would give the bot token to the agent; leave it out"
