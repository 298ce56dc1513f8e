"""Whether a command runs its program somewhere else, by its words alone. Pure.

A look at the processes of this machine shows only the client of a program that runs elsewhere. What a script or a
program calls inside it can't be seen in its command line.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class FarSide(NamedTuple):
    """Where a command takes its program. ``program``: the one that does it, such as ssh.

    ``visible``: the processes are of this machine and descend from the command, but run in a cgroup of their own.
    """

    program: str
    visible: bool


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELSEWHERE: Final = _names(
    "ssh slogin autossh mosh rsh plink dbclient dropbear et telnet nc ncat netcat socat websocat "
    "docker docker-compose podman-remote podman-compose nerdctl ctr crictl finch limactl lima colima multipass vagrant "
    "kubectl oc k9s kubectl.exe nomad srun salloc sbatch qrsh qsub qlogin bsub jsrun aprun flux condor_run "
    "nsenter machinectl systemd-run run0 incus lxc lxc-attach lxc-execute virsh toolbox distrobox distrobox-enter "
    "flatpak-spawn host-spawn wsl wsl.exe adb heroku fly flyctl tsh tmux screen dtach abduco at batch"
)
_BY_SUBCOMMAND: Final = {
    "aws": frozenset({"ssm", "ecs"}),
    "az": frozenset({"ssh", "container"}),
    "boundary": frozenset({"connect"}),
    "coder": frozenset({"ssh"}),
    "devcontainer": frozenset({"exec"}),
    "gcloud": frozenset({"ssh", "cloud-shell"}),
    "gh": frozenset({"codespace", "cs"}),
    "k3s": frozenset({"kubectl", "crictl", "ctr"}),
    "microk8s": frozenset({"kubectl", "ctr"}),
    "minikube": frozenset({"kubectl", "ssh"}),
}
_OWN_CGROUP: Final = frozenset({"podman", "runc", "crun", "buildah"})
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "yash"})
# The options of each that take a value, then how many words come before the command.
_WRAPPERS: Final[dict[str, tuple[str, int]]] = {
    "sudo": (
        "-u -g -h -p -C -D -R -T -U --user --group --host --prompt --chdir --chroot --close-from --role --type",
        0,
    ),
    "doas": ("-u -C -a", 0),
    "runuser": ("-u -g -G --user --group --supp-group", 0),
    "setpriv": (
        "--reuid --regid --groups --ambient-caps --inh-caps --bounding-set --securebits --pdeathsig --apparmor-profile",
        0,
    ),
    "nice": ("-n --adjustment", 0),
    "ionice": ("-c -n --class --classdata", 0),
    "chrt": ("-T -P -D --sched-runtime --sched-period --sched-deadline", 1),
    "taskset": ("", 1),
    "timeout": ("-k -s --kill-after --signal", 1),
    "stdbuf": ("-i -o -e --input --output --error", 0),
    "flock": ("-w -E --timeout --conflict-exit-code", 1),
    "chroot": ("", 1),
    "unshare": ("-S -G --setuid --setgid --map-user --map-group --propagation --root --wd", 0),
    "sshpass": ("-p -f -d -P", 0),
    "strace": ("-o -e -s -p -u -E", 0),
    "prlimit": ("", 0),
    "numactl": ("-i -N -C -m -p -l", 0),
    "time": ("-f -o --format --output", 0),
    "xargs": ("-I -n -P -L -d -a -s", 0),
    "busybox": ("", 0),
    **dict.fromkeys(
        _names(
            "nohup setsid setarch exec command builtin catchsegv unbuffer dbus-run-session systemd-inhibit "
            "dumb-init tini ssh-agent cgexec catatonit ltrace gosu su-exec fakeroot proxychains proxychains4 torsocks "
            "linux64 linux32 then do else if while until ! {"
        ),
        ("", 0),
    ),
    "gosu": ("", 1),
    "su-exec": ("", 1),
    "cgexec": ("-g", 0),
}
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_ENV_VALUES: Final = _names("-u -C -a --unset --chdir --argv0")
_PODMAN_REMOTE: Final = ("--remote", "-r", "--url", "--connection", "-c", "--ssh", "--identity")
_SEPARATORS: Final = frozenset(";&|()\n")


def far_side(argv: Sequence[str]) -> FarSide | None:
    """Return where a command takes its program, ``None`` where it runs below the command on this machine."""
    words = list(argv)
    remote_engine = False
    while words:
        if _ASSIGNMENT.match(words[0]):
            remote_engine |= words.pop(0).startswith("CONTAINER_HOST=")
            continue
        name = words.pop(0).rpartition("/")[2]
        if name == "env":
            words = _after_env(words)
        elif name in _WRAPPERS and not (name == "command" and words[:1] in (["-v"], ["-V"])):
            values, before = _WRAPPERS[name]
            words = _after_options(words, frozenset(values.split()))[before:]
        elif name in _SHELLS or name in {"su", "eval", "script", "watch"}:
            return _first(_commands(_script(name, words)))
        elif name == "ip":
            words = words[3:] if words[:2] == ["netns", "exec"] else []
        elif name == "bwrap":
            words = words[words.index("--") + 1 :] if "--" in words else []
        else:
            return _decide(name, words, remote_engine=remote_engine)
    return None


def _decide(name: str, words: list[str], *, remote_engine: bool) -> FarSide | None:
    if name == "systemd-run" and "--scope" in words:
        return FarSide(name, visible=True)
    if name in _ELSEWHERE or not _BY_SUBCOMMAND.get(name, frozenset()).isdisjoint(words):
        return FarSide(name, visible=False)
    if name in _OWN_CGROUP:
        remote = remote_engine
        for word in words:
            if not word.startswith("-"):
                break
            remote |= word.partition("=")[0] in _PODMAN_REMOTE
        return FarSide(name, visible=not (name == "podman" and remote))
    return None


def _after_options(words: list[str], with_value: frozenset[str]) -> list[str]:
    """Return the words after the options, and after the values that they take as words of their own."""
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        option = rest.pop(0)
        if option == "--":
            break
        if option in with_value and rest:
            rest.pop(0)
    return rest


def _after_env(words: list[str]) -> list[str]:
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        name, _, value = option.partition("=")
        if name == "--split-string" or re.fullmatch(r"-[vi0]*S.*", option, re.DOTALL):
            text = value if name == "--split-string" else option.partition("S")[2]
            return [*_words(text or (rest.pop(0) if rest else "")), *rest]
        if option in _ENV_VALUES and rest:
            rest.pop(0)
    return rest


def _script(name: str, words: list[str]) -> str:
    """Return the commands that a shell is given as a word, ``""`` where it runs a file."""
    if name in {"eval", "watch"}:
        return " ".join(words)
    for position, word in enumerate(words):
        if word == "--command" or re.fullmatch(r"[-+][A-Za-z]*c", word):
            for script in words[position + 1 :]:  # more options may follow
                if not script.startswith("-"):
                    return script
        if word.startswith("--command="):
            return word.partition("=")[2]
    return ""


def _commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each command in a shell script of one or more lines."""
    for line in script.replace("\\\n", " ").replace("`", ";").replace("$(", ";").splitlines():
        command: list[str] = []
        for word in _words(line):
            if _SEPARATORS.issuperset(word):
                yield command
                command = []
            else:
                command.append(word)
        yield command


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed
        return text.replace('"', " ").replace("'", " ").split()


def _first(commands: Iterator[list[str]]) -> FarSide | None:
    """Return the first that can't be seen, else the first that runs in a cgroup of its own."""
    found = list(filter(None, map(far_side, commands)))
    return next((one for one in found if not one.visible), found[0] if found else None)
