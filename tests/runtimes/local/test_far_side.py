"""Which commands run their program somewhere else."""

from __future__ import annotations

import shlex

import pytest

from acpbot.runtimes.local.far_side import far_side

ELSEWHERE = """
ssh host agent
/usr/bin/ssh -T host agent
autossh -M 0 host agent
docker run -i --rm image agent
docker exec -i box agent
sudo docker run -i image
sudo -u bob -- ssh host agent
sudo -E --user=bob env A=1 ssh host
podman --remote run -i image
podman --url unix:///run/x.sock run -i image
podman --connection box run -i image
podman -r exec box agent
podman-remote run image
env CONTAINER_HOST=ssh://box podman run -i image
kubectl exec -i pod -- agent
oc rsh pod agent
k3s kubectl exec -i pod -- agent
srun --pty agent
salloc srun agent
nsenter -t 1 -m -p agent
machinectl shell box /usr/bin/agent
systemd-run --pipe --wait agent
run0 agent
incus exec box -- agent
lxc exec box -- agent
lxc-attach -n box -- agent
sh -c 'exec ssh host agent'
bash -lc "cd /srv && ssh host agent"
bash -e -u -c 'ssh host agent'
sh -ec 'if true; then exec docker run -i image; fi'
sh -c 'A=1 ssh host'
sh -c 'x=$(ssh host agent); echo $x'
sh -c 'cat | ssh host agent'
sh -c 'ssh "host'
sh -c 'sh -c "ssh host"'
env -i PATH=/bin ssh host agent
env -S 'ssh host agent'
env -S"A=1 ssh host" agent
env -u HOME -C /tmp ssh host
env --chdir=/tmp -- ssh host
nice -n 5 ssh host
timeout -k 5 1h ssh host
stdbuf -oL ssh host
nohup ssh host
setsid -w ssh host
flock /tmp/lock ssh host
ionice -c 3 nice ssh host
su - bob -c 'ssh host agent'
su bob --command='ssh host agent'
runuser -u bob -- ssh host
sshpass -p secret ssh host agent
sshpass -f file ssh host
unshare --net ssh host
bwrap --dev-bind / / -- ssh host
ip netns exec blue ssh host
gosu bob ssh host
busybox sh -c 'ssh host'
gh codespace ssh -c box -- agent
gcloud compute ssh box -- agent
coder ssh box
nc host 4000
socat - TCP:host:4000
tmux attach
flatpak-spawn --host agent
distrobox enter box -- agent
toolbox run agent
multipass exec box -- agent
exec ssh host
eval 'ssh host'
"""
VISIBLE = """
podman run -i image agent
podman exec -i box agent
podman run -i image -r agent
sh -c 'podman run -i image'
crun run box
systemd-run --scope agent
sudo systemd-run --scope -p MemoryMax=1G agent
"""
HERE = """
claude-agent-acp
python3 -m acpbot.demo.agent
node /srv/ssh/agent.js
npx -y @zed-industries/claude-code-acp
gh copilot --acp
agent --ssh
agent ssh
sudo -u docker agent
sudo -u ssh -- agent
env SSH=ssh agent
env -u ssh agent
sh -c 'exec agent'
sh -c 'echo ssh; agent'
sh /srv/ssh-wrapper
bash -c 'agent "ssh host"'
timeout 60 agent ssh
flock ssh agent
unshare --pid --fork agent
bwrap --dev-bind / / agent
ip link
env
sudo
sh
ssh-agent agent
sh -c 'command -v ssh; agent'
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("command", lines(ELSEWHERE))
def test_a_command_that_takes_its_program_elsewhere_is_known(command):
    words = ["sh", "-c", 'ssh "host'] if command == "sh -c 'ssh \"host'" else shlex.split(command)
    found = far_side(words)
    assert found is not None
    assert not found.visible
    assert found.program in command


@pytest.mark.parametrize("command", lines(VISIBLE))
def test_a_command_that_runs_its_program_here_in_a_cgroup_of_its_own_is_known(command):
    found = far_side(shlex.split(command))
    assert found is not None
    assert found.visible


@pytest.mark.parametrize("command", lines(HERE))
def test_a_command_that_runs_its_program_here_is_known(command):
    assert far_side(shlex.split(command)) is None


def test_no_words_take_nothing_elsewhere():
    assert far_side([]) is None
