"""How often one may connect; the clock is the test's."""

from __future__ import annotations

from acpbot.management.access import PeerCredentials
from acpbot.management.connect_rate import OF_PROCESS, OF_USER, ConnectRate


class Clock:
    """Moves when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def peer(pid: int, uid: int = 1000) -> PeerCredentials:
    return PeerCredentials(pid=pid, uid=uid, gid=uid)


def allowed(rate: ConnectRate, count: int, *args: int) -> int:
    return sum(rate.allows(peer(*args), is_admin=False) for _ in range(count))


def test_a_process_may_connect_in_a_burst_and_then_at_its_rate():
    clock = Clock()
    rate = ConnectRate(clock=clock)
    assert allowed(rate, 1000, 1) == OF_PROCESS.burst
    clock.now += 1.0
    assert allowed(rate, 1000, 1) == OF_PROCESS.per_second


def test_a_process_that_floods_leaves_connects_for_its_user():
    rate = ConnectRate(clock=Clock())
    allowed(rate, 10_000, 1)
    assert rate.allows(peer(2), is_admin=False)


def test_a_user_whose_many_processes_flood_leaves_connects_for_other_users():
    rate = ConnectRate(clock=Clock())
    assert sum(rate.allows(peer(pid), is_admin=False) for pid in range(5000)) == OF_USER.burst
    assert rate.allows(peer(2, uid=1001), is_admin=False)


def test_processes_of_an_admin_are_limited_each_for_itself():
    rate = ConnectRate(clock=Clock())
    assert all(rate.allows(peer(pid, uid=0), is_admin=True) for pid in range(5000))
    assert sum(rate.allows(peer(1, uid=0), is_admin=True) for _ in range(5000)) <= OF_PROCESS.burst


def test_only_the_last_processes_are_remembered():
    rate = ConnectRate(clock=Clock())
    for uid in range(100_000):
        rate.allows(peer(1, uid), is_admin=False)
    assert len(rate._buckets) <= 1024
