"""Who gets a connection, and who makes room: pure decisions."""

from __future__ import annotations

import pytest

from acpbot.errors import TooMany
from acpbot.management.access import AccessRule
from acpbot.management.protocol import Limits
from acpbot.management.seats import Seats


class Client:
    """A connection; ``idle_since`` is ``None`` while a request or a stream is open."""

    def __init__(self, idle_since: float | None = None) -> None:
        self.idle_since = idle_since


def make_seats(**limits) -> Seats[Client]:
    return Seats(Limits(**{"connections": 8, "admin_connections": 3, "uid_connections": 2} | limits))


def fill(seats: Seats[Client], count: int, uid: int, access="read", idle_since=None) -> list[Client]:
    clients = [Client(idle_since) for _ in range(count)]
    for client in clients:
        assert seats.admit(client, uid, access) is None
    return clients


def test_the_oldest_idle_connection_of_a_user_makes_room_for_its_next_one():
    seats = make_seats()
    busy, older, newer = Client(), Client(5.0), Client(9.0)
    for client in (newer, older):
        assert seats.admit(client, 1000, "read") is None
    assert seats.admit(busy, 1000, "read") is older
    assert seats.admit(Client(), 1000, "read") is newer
    with pytest.raises(TooMany, match="uid 1000 has 2 open, which is its share; close one, or wait"):
        seats.admit(Client(), 1000, "read")
    assert seats.admit(Client(), 1001, "read") is None, "another user has a share of its own"


def test_clients_who_may_only_read_leave_places_for_admins():
    seats = make_seats()
    for uid in (1000, 1001):
        fill(seats, 2, uid)
    fill(seats, 1, 1002)
    with pytest.raises(TooMany, match="all 5 places of clients that may only read are in use"):
        seats.admit(Client(), 1003, "read")
    fill(seats, 3, 0, "admin")
    with pytest.raises(TooMany, match="8 are open"):
        seats.admit(Client(), 0, "admin")


def test_the_oldest_idle_reader_makes_room_for_a_reader_of_another_user_and_for_an_admin():
    seats = make_seats()
    (oldest, _), (second, _) = fill(seats, 2, 1000, idle_since=1.0), fill(seats, 2, 1001, idle_since=2.0)
    fill(seats, 1, 1002, idle_since=3.0)
    assert seats.admit(Client(4.0), 1003, "read") is oldest
    fill(seats, 3, 0, "admin", idle_since=0.0)
    assert seats.admit(Client(), 0, "admin") is not None
    assert seats.admit(Client(), 0, "admin") is second, "an admin's own idle connections stay"


def test_a_client_that_is_being_looked_up_finds_a_place_among_those_of_admins():
    seats = make_seats()
    for uid in (1000, 1001):
        fill(seats, 2, uid)
    fill(seats, 1, 1002)
    known, unknown = Client(5.0), Client(5.0)
    assert seats.admit(known, 1003, None) is None
    assert seats.settle(known, "admin") is None
    assert seats.admit(unknown, 1004, None) is None
    with pytest.raises(TooMany, match="all 5 places"):
        seats.settle(unknown, "read")


def test_clients_that_are_being_looked_up_make_room_and_are_counted_in_the_share_of_their_user():
    seats = make_seats()
    first, *_ = [*fill(seats, 2, 1000, None, 1.0), *fill(seats, 2, 1001, None, 2.0), *fill(seats, 2, 1002, None, 3.0)]
    fill(seats, 2, 1003, None, 4.0)
    assert seats.admit(Client(), 0, "admin") is first
    assert seats.admit(Client(), 1001, None) is not None
    assert seats.settle(first, "read") is None, "it has left"


def test_each_user_gets_a_share_also_while_other_users_wait_to_be_looked_up():
    seats = make_seats(connections=20)
    for uid in range(1000, 1003):
        first, second = fill(seats, 2, uid, None, idle_since=float(uid))
        assert seats.admit(Client(), uid, None) is first
        assert seats.admit(Client(), uid, None) is second


def test_an_admin_takes_no_part_of_its_users_share_and_makes_no_room():
    seats = make_seats()
    fill(seats, 5, 1000, "admin", idle_since=0.0)
    assert fill(seats, 2, 1000, "read")
    reader = Client()
    with pytest.raises(TooMany, match="uid 1000 has 2 open"):
        seats.admit(reader, 1000, "read")
    fill(seats, 1, 1000, "admin", idle_since=0.0)
    with pytest.raises(TooMany, match="8 are open"):
        seats.admit(Client(), 1001, "admin")


def test_who_turns_out_to_be_one_reader_too_many_makes_an_idle_one_leave_or_is_refused():
    seats = make_seats()
    oldest, *_ = fill(seats, 1, 1000, idle_since=1.0)
    for uid in (1001, 1002, 1003, 1004):
        fill(seats, 1, uid, idle_since=None)
    unknown = Client(0.5)
    assert seats.admit(unknown, 1005, None) is None
    assert seats.settle(unknown, "read") is oldest
    another = Client(0.5)
    assert seats.admit(another, 1006, None) is None
    assert seats.settle(another, "read") is unknown, "the last reader that is idle, and never the one that is settled"
    busy = Client()
    another.idle_since = None
    assert seats.admit(busy, 1007, None) is None
    with pytest.raises(TooMany, match="all 5 places of clients that may only read are in use"):
        seats.settle(busy, "read")
    admin = Client()
    seats.leave(busy)
    assert seats.admit(admin, 1008, None) is None
    assert seats.settle(admin, "admin") is None


def test_a_place_that_was_left_is_free():
    seats = make_seats()
    one, _ = fill(seats, 2, 1000)
    seats.leave(one)
    seats.leave(one)
    fill(seats, 1, 1000)


def test_without_descriptors_only_admins_get_in_and_an_idle_reader_leaves():
    seats = make_seats()
    (reader,) = fill(seats, 1, 1000, idle_since=1.0)
    with pytest.raises(TooMany, match="no open files left"):
        seats.admit(Client(), 1001, "read", short=True)
    assert seats.admit(Client(), 0, "admin", short=True) is reader
    assert seats.admit(Client(), 0, "admin", short=True) is None


class Readers(AccessRule):
    """Everybody may read, and nobody more."""

    def at_once(self, _peer):
        return "read"


async def test_the_oldest_idle_client_is_told_why_it_is_closed_and_one_with_a_stream_stays(make_harness):
    harness = await make_harness(rule=Readers())
    clients = [await harness.client() for _ in range(8)]
    await clients[0].call("sessions.watch")
    await harness.client()
    line = await clients[1].read()
    assert (line["id"], line["error"]["data"]) == (None, {"kind": "too_many"})
    assert line["error"]["message"] == "cannot keep this connection: it was idle, and another client needs its place"
    assert await clients[1].closed()
    assert (await clients[0].call("health.get"))["live"]
    assert (await clients[2].call("health.get"))["live"], "it is the one that was idle for the shortest time now"
    await harness.client()
    assert (await clients[3].read())["error"]["data"] == {"kind": "too_many"}


async def test_clients_that_are_not_idle_keep_their_places(make_harness, caplog):
    harness = await make_harness(rule=Readers())
    clients = [await harness.client() for _ in range(8)]
    for client in clients:
        await client.call("sessions.watch")
    for _ in range(5):
        late = await harness.client(hello=False)
        assert "uid" in (await late.read())["error"]["message"]
        assert await late.closed()
    assert [record.message for record in caplog.records if record.name.startswith("acpbot")] == ["client_refused"]
    await clients[0].close()
    while (first := await (await harness.client(hello=False)).read()).get("method") != "hello":
        assert first["error"]["data"] == {"kind": "too_many"}, "the server has not seen the end yet"
