"""What a daemon leaves when it is killed, each case a function. As a program: one case in one place.

Usage: ``python -m tests.runtimes.conformance.dead_daemons CASE PLACE FOLDER``. On this machine a new daemon ends what
any dead daemon of its pid namespace has left, so the program runs in a namespace of its own there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.runtimes.conformance import places
from tests.runtimes.conformance.daemon import Daemon
from tests.runtimes.conformance.outside import Watched, containers_with, pids_with
from tests.runtimes.conformance.scene import FAMILY, new_word

if TYPE_CHECKING:
    from tests.runtimes.conformance.places import Place

GONE_SECONDS = 15.0


def watched(word: str) -> Watched:
    """The agent of this word with its family, all of which run."""
    found = Watched(pids_with(word))
    assert found.count == FAMILY
    return found


def a_new_daemon_ends_what_a_dead_one_left(place: Place, folder: Path) -> None:
    word = new_word()
    with Daemon(place, folder, "one") as dead:
        stored = dead.start(word)
        family = watched(word)
        dead.kill()
    with Daemon(place, folder, "one") as daemon:
        found = daemon.leftovers(stored)
        assert family.running(GONE_SECONDS) == 0
        assert containers_with(place, word) == []
        # What has ended by itself need not be found; what is found is ended, and is of this kind.
        assert {one["ended"] for one in found} <= {True}
        assert {one["session_id"] for one in found} <= {word, None}
        assert daemon.leftovers() == []


def the_next_daemons_agents_run_on(place: Place, folder: Path) -> None:
    """What ends a dead daemon's agents, early or late, leaves those of the daemon that takes its place."""
    words = new_word(), new_word()
    with Daemon(place, folder, "one") as dead, Daemon(place, folder, "one") as daemon:
        stored = dead.start(words[0])
        left = watched(words[0])
        dead.kill()
        daemon.start(words[1])
        family = watched(words[1])
        daemon.leftovers(stored, live=(words[1],))
        assert left.running(GONE_SECONDS) == 0
        daemon.leftovers(live=(words[1],))
        assert family.running() == FAMILY
        assert daemon.echo() == "echo 1"


def another_daemons_agents_are_never_touched(place: Place, folder: Path) -> None:
    """Not where another daemon dies, and not where a copy of their own daemon's database names them."""
    words = new_word(), new_word()
    with Daemon(place, folder, "other") as other:
        stored = other.start(words[0])
        family = watched(words[0])
        with Daemon(place, folder, "one") as dead:
            dead.start(words[1])
            dead.kill()
        with Daemon(place, folder, "copy") as copy:
            copy.leftovers(stored)
            copy.leftovers()
            assert other.echo() == "echo 1"
        with Daemon(place, folder, "one") as daemon:
            daemon.leftovers()
            assert other.echo() == "echo 1"
        assert family.running() == FAMILY
        assert len(pids_with(words[0])) == FAMILY


def a_daemons_own_sessions_are_not_leftovers(place: Place, folder: Path) -> None:
    word = new_word()
    with Daemon(place, folder, "one") as daemon:
        daemon.leftovers()
        daemon.start(word)
        family = watched(word)
        assert daemon.leftovers(live=(word,)) == []
        assert family.running() == FAMILY
        assert daemon.echo() == "echo 1"
    assert family.running() == 0
    assert containers_with(place, word) == []


def agents_end_with_their_daemon(place: Place, folder: Path) -> None:
    """Where the place can: no later daemon is needed."""
    word = new_word()
    with Daemon(place, folder, "one") as dead:
        dead.start(word)
        family = watched(word)
        dead.kill()
    assert family.running(GONE_SECONDS) == 0


CASES = {
    case.__name__: case
    for case in (
        a_new_daemon_ends_what_a_dead_one_left,
        the_next_daemons_agents_run_on,
        another_daemons_agents_are_never_touched,
        a_daemons_own_sessions_are_not_leftovers,
        agents_end_with_their_daemon,
    )
}

if __name__ == "__main__":
    CASES[sys.argv[1]](places.PLACES[sys.argv[2]], Path(sys.argv[3]))
    print("held")
