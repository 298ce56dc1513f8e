"""Where sessions' cgroups go: what hosts, containers and systemd show, and what can be tried here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acpbot.runtimes.local import cgroup
from acpbot.runtimes.local.cgroup import Cgroup, Cgroups, Unavailable
from acpbot.runtimes.local.procfs import Identity

UNIFIED = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 master:1 - cgroup2 cgroup2 rw\n"
)
CONTAINER = "600 599 0:26 /kubepods/pod7/c1 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"
SPACED = "29 23 0:26 / /mnt/control\\040groups rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "own", "directory"),
    [
        (UNIFIED, "0::/system.slice/acpbot.service\n", "/sys/fs/cgroup/system.slice/acpbot.service"),
        (UNIFIED, "0::/\n", "/sys/fs/cgroup"),
        (HYBRID, "5:memory:/x\n1:name=systemd:/y\n0::/user.slice/a\n", "/sys/fs/cgroup/unified/user.slice/a"),
        (CONTAINER, "0::/kubepods/pod7/c1\n", "/sys/fs/cgroup"),
        (CONTAINER, "0::/kubepods/pod7/c1/inner\n", "/sys/fs/cgroup/inner"),
        (SPACED, "0::/a\n", "/mnt/control groups/a"),
    ],
)
def test_locate_finds_our_own_cgroup(mountinfo, own, directory):
    assert cgroup.locate(mountinfo, own) == Path(directory)


@pytest.mark.parametrize(
    ("mountinfo", "own", "words"),
    [
        ("", "0::/a\n", "no cgroup v2 is mounted"),
        (HYBRID.splitlines()[0], "5:memory:/x\n", "no cgroup v2 is mounted"),
        (UNIFIED, "5:memory:/x\n", "no cgroup v2 is mounted"),
        (CONTAINER, "0::/kubepods/pod7/c1x\n", "does not show our own cgroup"),
        (CONTAINER, "0::/../other\n", "does not show our own cgroup"),
    ],
)
def test_locate_says_which_cgroup_is_missing(mountinfo, own, words):
    with pytest.raises(Unavailable, match=words):
        cgroup.locate(mountinfo, own)


def test_an_unwritable_base_is_reported(tmp_path):
    base = tmp_path / "not-there" / "at-all"
    (tmp_path / "not-there").write_text("a file")
    with pytest.raises(Unavailable, match=f"{base} can't be written: Not a directory"):
        Cgroups(Identity.own(), base)


def test_a_plain_directory_is_refused_as_a_cgroup(tmp_path):
    """A plain directory takes a file of any name: only the move of a process shows what it is."""
    with pytest.raises(Unavailable, match=r"no process could be moved into .*: it stayed where it was"):
        Cgroups(Identity.own(), tmp_path)


@pytest.fixture
def base():
    """A cgroup of our own; whoever is in it when the test ends is ended."""
    try:
        cgroups = Cgroups(Identity.own())
    except Unavailable as reason:
        pytest.skip(str(reason))
    directory = cgroups.create("base-of-a-test")
    yield directory.path
    directory.kill()
    assert directory.remove(5.0)
    cgroups.close()


def test_a_cgroup_is_created_filled_killed_and_removed(base):
    group = Cgroups(Identity.own(), base).create("one")
    with subprocess.Popen(["sleep", "1000"]) as sleeper, subprocess.Popen(["sleep", "1000"]) as outside:
        group.enter(sleeper.pid)
        assert group.members() == [sleeper.pid]
        assert group.is_path(cgroup.path_of(sleeper.pid))
        assert not group.is_path(cgroup.path_of(outside.pid))
        assert (group.cpu_seconds() or 0.0) >= 0
        assert not group.remove()
        assert group.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        assert group.members() == []
        assert group.is_path(cgroup.path_of(sleeper.pid)), "a zombie still has its path"
        assert sleeper.wait() == -9
        assert outside.poll() is None
        outside.kill()
    assert group.remove(5.0)
    assert not group.kill()
    assert group.members() == []
    assert group.cpu_seconds() is None


def test_the_base_is_the_parent_that_systemd_delegated(base):
    """DelegateSubgroup= puts the daemon below what was delegated; the mark is on the parent."""
    inner = base / "main"
    inner.mkdir()
    script = "from acpbot.runtimes.local.cgroup import find_base; print(find_base())"
    command = ["/bin/sh", "-c", cgroup.ENTER_SCRIPT, str(inner / "cgroup.procs"), sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{inner}\n"
    os.setxattr(base, "user.delegate", b"1")
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{base}\n"


def test_only_directories_of_dead_daemons_are_leftovers(tmp_path):
    own = Identity.own()
    dead = own._replace(start_time=1)
    foreign = own._replace(namespace=own.namespace + 1, start_time=1)
    for identity in (own, dead, foreign):
        (tmp_path / f"acpbot-{identity.namespace}-{identity.pid}-{identity.start_time}").mkdir()
    for name in ("acpbot", "acpbot-1-2", "other.service"):
        (tmp_path / name).mkdir()
    (found,) = cgroup.leftovers(tmp_path, own)
    assert found.name == f"acpbot-{dead.namespace}-{dead.pid}-1"
    for name in ("session", "_daemon"):
        (found / name).mkdir()
    assert [group.path.name for group in cgroup.sessions_of(found)] == ["session"]
    assert cgroup.leftovers(tmp_path / "gone", own) == []
    assert cgroup.sessions_of(tmp_path / "gone") == []


class FakeTree:
    """Directories with a cgroup's files, to see what is written where."""

    def __init__(self, path: Path, controllers: str, *, procs: str = "") -> None:
        self.base = path / "base"
        self.below = self.base / "acpbot-1-2-3"
        for directory in (self.base, self.below):
            directory.mkdir()
            (directory / "cgroup.controllers").write_text(controllers)
            (directory / "cgroup.subtree_control").write_text("")
            (directory / "cgroup.procs").write_text(procs)

    def control(self) -> list[str]:
        return [(directory / "cgroup.subtree_control").read_text() for directory in (self.base, self.below)]


def test_a_controller_is_enabled_at_both_levels(tmp_path):
    tree = FakeTree(tmp_path, "cpu memory pids")
    cgroup.enable_controller("memory", tree.base, tree.below)
    assert tree.control() == ["+memory", "+memory"]


def test_an_enabled_controller_is_not_enabled_again(tmp_path):
    tree = FakeTree(tmp_path, "memory")
    for directory in (tree.base, tree.below):
        (directory / "cgroup.subtree_control").write_text("memory pids")
    cgroup.enable_controller("memory", tree.base, tree.below)
    assert tree.control() == ["memory pids", "memory pids"]


def test_a_missing_controller_is_reported(tmp_path):
    tree = FakeTree(tmp_path, "hugetlb")
    with pytest.raises(Unavailable, match=f"the memory controller is not available in {tree.base}"):
        cgroup.enable_controller("memory", tree.base, tree.below)
    assert tree.control() == ["", ""]


def test_limits_that_cannot_be_applied_are_reported_with_the_reason(base):
    group = Cgroups(Identity.own(), base).create("limited", memory_max=1 << 30, pids_max=50)
    available = (base / "cgroup.controllers").read_text().split()
    said = {missing.limit for missing in group.limits_not_held}
    assert said == {f"{name}_max" for name in ("memory", "pids") if name not in available}
    assert all(
        str(missing) == f"{missing.limit} can't be applied: {missing.reason}" for missing in group.limits_not_held
    )


def test_the_daemon_does_not_move_where_other_processes_are_in_its_cgroup(base):
    """The no-internal-processes rule: we would have to move, and others with us."""
    below = base / "below"
    below.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as other:
        Cgroup(base).enter(other.pid)
        with pytest.raises(Unavailable, match="holds other processes"):
            cgroup._move_daemon(base, below)
        assert not (below / "_daemon").exists()
        other.kill()


def test_a_daemon_alone_in_its_cgroup_moves_to_a_leaf_and_still_finds_the_base(base):
    below = base / "acpbot-1-2-3"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom acpbot.runtimes.local import cgroup\n"
        "base = cgroup.find_base()\ncgroup._move_daemon(base, base / 'acpbot-1-2-3')\n"
        "print(cgroup.find_base() == base, Path('/proc/self/cgroup').read_text().splitlines()[-1].rpartition('/')[2])"
    )
    below.mkdir()
    command = ["/bin/sh", "-c", cgroup.ENTER_SCRIPT, str(base / "cgroup.procs"), sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True _daemon\n"
