"""What a row says of the processes of a session: sums of what is known, and nothing of what is not."""

from __future__ import annotations

from acpbot.runtimes.runtime import ProcessInfo, Usage
from acpbot.sessions.views import process_rows, tree_members
from tests.support.pool_restarts import started


def process(pid: int, rss_bytes: int | None, cpu_seconds: float | None) -> ProcessInfo:
    return ProcessInfo(pid, 1, pid, pid, pid, "S", "agent", rss_bytes, cpu_seconds, None)


def test_the_figures_of_all_processes_are_added():
    tree = process_rows([process(5, 100, 0.125), process(6, 200, 1.5)])
    assert tree_members(tree) == {"processes": 2, "rss_bytes": 300, "cpu_seconds": 1.62}


def test_a_figure_that_is_unknown_of_one_process_is_unknown_of_all():
    assert tree_members(process_rows([process(5, None, 1.0), process(6, 200, None)])) == {"processes": 2}
    assert tree_members([]) == {}
    assert process_rows([process(5, None, None)])[0].age_seconds is None


async def test_what_a_place_does_not_say_is_unknown_in_the_row(tmp_path):
    async with started(tmp_path) as harness:
        await harness.turn("1001", "say a")
        session = harness.session("1001")
        for usage, shown in ((Usage(2, None, None), (2, None, None)), (Usage(None, 7, 0.129), (None, 7, 0.13))):
            session.usage = usage
            row = harness.row("1001")
            assert (row.processes, row.rss_bytes, row.cpu_seconds) == shown
