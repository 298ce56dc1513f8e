"""What a report is shown by: the table, the page, the pictures; and that those of the repository are of its report."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import page, plot, report, run
from tests.benchmarks.rows import Curve, Row, missing

MACHINE = {"cpu": "A processor", "cores": "2", "memory": "8 GiB", "kernel": "Linux 6", "python": "CPython 3.12"}
RATIO = Row(
    key="a", what="a < b", unit="ms", runs=(2.0, 2.2), peer="bare", peer_runs=(2.0, 2.0), judged="ratio", goal=1.01
)
VALUE = Row(key="b", what="a kill", unit="ms", runs=(50.0, 40.0), goal=60.0, note="a note")
FAR = Row(key="c", what="a flood", unit="MiB", runs=(1e6, 1e6), goal=1.0)
CURVE = Curve(
    key="d", what="a cost", along="sessions", unit="ms", points=((0.0, (1.0,)), (50_000.0, (9.0,))), why="It reads all."
)


def made(**more) -> report.Report:
    results = (RATIO, VALUE, FAR, missing("e", "a pod", "there is no cluster"), CURVE)
    fields = {"date": "2026-01-02", "version": "1.2", "quick": False, "machine": MACHINE, "failed": {}}
    return report.Report(**{**fields, "results": results, **more})


def test_a_report_is_the_same_after_json_with_a_line_for_each_result():
    text = report.to_text(made(failed={"cli": "it broke"}))
    assert report.from_text(text) == made(failed={"cli": "it broke"})
    assert json.loads(text)["results"][0]["figure"] == 1.05
    assert sum('"key"' in line for line in text.splitlines()) == 5


def test_the_table_says_what_was_measured_against_what_and_whether_the_goal_holds():
    lines = report.table(made().rows).splitlines()
    assert lines[0].split() == ["what", "measured", "against", "figure", "goal", "holds"]
    assert re.split(r"  +", lines[2]) == ["a < b", "2.10 ms", "bare: 2.00 ms", "1.05x", "<= 1.01x", "NO"]
    assert re.split(r"  +", lines[3]) == ["a kill", "45.0 ms", "45.0 ms", "<= 60 ms", "yes"]
    assert "there is no cluster" in lines[5]
    assert lines[5].endswith("not measured")


def test_all_of_a_report_names_the_machine_the_notes_the_curves_and_what_failed():
    shown = report.whole(made(failed={"cli": "it broke"}))
    assert "A processor, 2, 8 GiB" in shown
    assert "a kill: a note" in shown
    assert "no longer flat at 50,000 sessions. It reads all." in shown
    assert "cannot measure cli: it broke" in shown
    assert "1 of 3 goals hold" in shown


def test_a_machine_is_described_without_its_name_and_paths():
    words = report.machine()
    assert words["cpu"]
    assert words["python"].startswith("CPython")
    assert not re.search(r"/(home|root|work|usr|tmp)", " ".join(words.values()))


@pytest.mark.parametrize("drawn", [plot.bars(made().rows, "A & B"), plot.curves([CURVE, CURVE, CURVE], "A & B")])
def test_a_picture_is_whole_and_loads_nothing(drawn):
    ET.fromstring(drawn)  # noqa: S314 - our own
    assert "A &amp; B" in drawn
    assert "url(" not in drawn
    assert "inf" not in drawn
    assert "nan" not in drawn


def test_a_bar_beyond_its_goal_ends_within_the_picture():
    bars = ET.fromstring(plot.bars(made().rows, "x"))  # noqa: S314 - our own
    ends = [
        float(one.get("x", 0)) + float(one.get("width", 0)) for one in bars.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert max(ends) <= plot.WIDTH


def test_sizes_are_short():
    assert [plot.brief(size) for size in (0, 500, 1000, 50_000, 1_048_576)] == ["0", "500", "1k", "50k", "1.05M"]


def test_a_comparison_says_what_moved_and_which_goal_no_longer_holds():
    slower = Row(key="b", what="a kill", unit="ms", runs=(90.0, 95.0), goal=60.0)
    lines = run.compare(made(), made(results=(slower,)))
    assert lines == [
        "compared with the report of 2026-01-02, on the same machine:",
        "  worse: a kill: 45 -> 92.5 ms, 2.06x",
        "  its goal no longer holds: a kill",
    ]
    assert "only ratios" in run.compare(made(machine={}), made())[0]
    assert run.compare(made(), made())[1] == "  nothing has moved by more than the noise"


def test_an_unknown_benchmark_is_refused_with_the_names_that_there_are(capsys):
    with pytest.raises(SystemExit):
        run.main(["nonsense"])
    assert "cannot measure nonsense: there are cli, wire" in capsys.readouterr().err


def test_the_page_and_the_pictures_are_of_the_committed_report():
    found = report.from_text(report.COMMITTED.read_text())
    for path, text in page.files(found).items():
        assert path.read_text() == text, "run: python -m tests.benchmarks.page"


def test_the_committed_report_names_no_path_of_the_machine():
    assert not re.search(r"/(home|root|work|Users|tmp|opt)/", report.COMMITTED.read_text())
