"""The report for people, from trees written by hand.

Truth: reports kept in ``tests/fixtures/reports``, read by a person; and rich's idea of how wide a text is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import report_jobs as jobs
import report_trees as trees
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from perun_like.model.node import DataNode, Metric, NodeType, Provenance
from perun_like.report.terminal import text_for
from perun_like.report.text import render

REPORTS = Path(__file__).parent.parent / "fixtures" / "reports"
PATH = "perun_results/heat/20261105-120000.h5"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
TREES = {
    "measured": trees.measured,
    "estimated": trees.estimated,
    "without_data": trees.without_data,
    "partial": trees.partial,
    "rounds": trees.rounds,
    "many_rounds": trees.many_rounds,
    "raised": trees.raised,
    "ranks": jobs.ranks,
    "hosts": jobs.hosts,
    "many_hosts": jobs.many_hosts,
}
by_tree = pytest.mark.parametrize("make", TREES.values(), ids=TREES)


def line_with(text: str, start: str) -> str:
    """The line whose first word is this."""
    return next(line for line in text.splitlines() if line.split()[:1] == [start])


@pytest.mark.parametrize("name", TREES)
def test_reports_are_as_a_person_approved_them(name: str) -> None:
    approved = (REPORTS / f"{name}.txt").read_text(encoding="utf-8")
    assert render(TREES[name](), path=PATH) == approved


@by_tree
def test_no_line_but_the_path_is_wider_than_the_page(make: Any) -> None:
    path = "/" + "long_directory_name/" * 9 + "x.h5"
    for width in (60, 80, 100):
        *lines, last = render(make(), width=width, path=path).splitlines()
        assert max(cell_len(line) for line in lines) <= width
        assert last == path


@by_tree
def test_colour_changes_nothing_but_colour(make: Any) -> None:
    plain, coloured = render(make(), path=PATH), render(make(), path=PATH, colour=True)
    assert "\x1b" not in plain
    assert [line.rstrip() for line in ESCAPES.sub("", coloured).splitlines()] == plain.splitlines()
    assert coloured.count("\x1b[0m") * 2 == coloured.count("\x1b")
    assert coloured.splitlines()[-1] == PATH


@by_tree
def test_ascii_only_where_nothing_else_is_carried(make: Any) -> None:
    text = render(make(), ascii=True, path=PATH)
    assert text.isascii()
    assert max(len(line) for line in text.splitlines()) <= 80


def test_ascii_keeps_the_meaning_of_the_uncertainty() -> None:
    assert "412.3 J    +/- 8.1 J" in render(trees.measured(), ascii=True)


def test_everything_estimated_says_so() -> None:
    text = render(trees.estimated())
    for start in ("Energy", "program", "Mean", "CO2e", "cpu", "dram", "Region"):
        assert "estimated" in line_with(text, start)


def test_estimated_and_measured_are_told_apart_line_by_line() -> None:
    text = render(trees.measured())
    assert "measured" in line_with(text, "Energy")
    assert "estimated" in line_with(text, "program")


def test_regions_of_different_provenance_are_labelled_one_by_one() -> None:
    regions = [
        trees.region("a", 1, 1.0, trees.joules(50.0, 40.0, 60.0)),
        trees.region("b", 1, 1.0, trees.joules(40.0, 30.0, 50.0, trees.ESTIMATED)),
    ]
    text = render(trees.measured(regions))
    assert "measured" in line_with(text, "a")
    assert "estimated" in line_with(text, "b")


def test_a_partial_sum_is_at_least_and_says_what_it_lacks() -> None:
    text = render(trees.partial())
    assert "at least 375 J" in line_with(text, "Energy")
    assert "package-0/dram incomplete" in line_with(text, "Energy")
    assert "package-0/dram: reads failed from 2.1 s on: No such device" in text
    assert "12 missed" in text


def test_one_reason_for_many_missing_figures_is_told_once_for_all() -> None:
    text = render(trees.without_data())
    unwrapped = " ".join(text.split())
    assert "Energy, the program's share, Mean power, CO2e: not available: the sampler ended by itself" in unwrapped
    assert "killed by SIGSEGV" in text.splitlines()[0]


def test_a_remedy_is_told_with_what_is_missing() -> None:
    assert "! CPU and DRAM energy: permission denied. `perun-like setup`" in render(trees.estimated())


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"exit_code": 0}, "exit code 0"),
        ({"exit_code": 139}, "exit code 139"),
        ({"exit_code": None, "signal": 9}, "killed by SIGKILL"),
        ({"exit_code": None, "signal": 99}, "killed by signal 99"),
        ({"exit_code": None}, "end not recorded"),
    ],
)
def test_how_the_application_ended(facts: dict[str, Any], expected: str) -> None:
    text = render(trees.tree("x", trees.run_node(trees.common(), **facts)))
    assert re.search(rf"─ 4.512 s · {expected} ──$", text.splitlines()[0])


def test_many_regions_are_folded_the_hungriest_first() -> None:
    regions = [trees.region(f"r{n:02}", n, 0.1, trees.joules(n + 1.0, n + 0.9, n + 1.1)) for n in range(40)]
    lines = render(trees.measured(regions)).splitlines()
    shown = [line.split()[0] for line in lines if re.match(r"  r\d\d ", line)]
    assert shown == [f"r{n}" for n in range(39, 24, -1)]
    assert "  … 25 more regions in the file" in lines


def test_sixteen_regions_are_shown_whole() -> None:
    regions = [trees.region(f"r{n:02}", 1, 0.1, trees.joules(n + 1.0, n + 0.9, n + 1.1)) for n in range(16)]
    assert "more regions" not in render(trees.measured(regions))


def test_a_long_name_keeps_its_ends() -> None:
    regions = [trees.region("module.Class." + "x" * 300 + ".method", 1, 1.0, trees.joules(50.0, 40.0, 60.0))]
    line = next(line for line in render(trees.measured(regions)).splitlines() if "module" in line)
    assert re.match(r"  module\.Class\.x*…x+\.method  ", line)


def test_long_names_that_would_look_alike_show_where_they_differ() -> None:
    names = [f"package.module.a_class_with_a_long_name_{n}.and_a_method_with_one" for n in range(3)]
    regions = [trees.region(name, 1, 1.0, trees.joules(50.0, 40.0, 60.0)) for name in (*names, "main")]
    shown = render(trees.measured(regions)).split()
    assert {"main", *(f"…a_class_with_a_long_name_{n}…" for n in range(3))} <= {*shown}


def test_ranks_have_a_column_where_there_are_several() -> None:
    regions = [trees.region("a", 1, 1.0, trees.joules(50.0 + n, 40.0, 60.0), rank=n) for n in (0, 1)]
    text = render(trees.measured(regions))
    assert "rank" in line_with(text, "Region")
    assert "rank" not in line_with(render(trees.measured()), "Region")


def test_a_region_too_short_to_be_resolved_is_marked_and_explained() -> None:
    text = render(trees.measured())
    assert line_with(text, "checkpoint").endswith("0 to 19 J *")
    assert "*" not in line_with(text, "solve")
    assert "* too short to be resolved by reads every 100 ms: see --period" in text
    assert "too short" not in render(trees.estimated())  # there the model is wide, not the time short


def test_statistics_over_many_calls_show_their_interval_and_are_explained() -> None:
    energy = trees.joules(86.2, 0.0, 190.0, Provenance.ESTIMATED, ci95=(80.1, 92.3))
    regions = [trees.region("solve", 1, 4.1, trees.joules(388.1, 371.2, 405.0)), trees.region("f", 990, 1.9, energy)]
    text = render(trees.measured(regions))
    assert re.search(r"86\.2 J +± 6\.1 J estimated \*\*", line_with(text, "f"))
    assert "measured" in line_with(text, "solve")
    assert "** an estimate by how energy follows many short calls, with a 95 % interval" in text
    assert "too short" not in text


def test_a_whole_run_too_short_to_be_resolved_is_told() -> None:
    root = trees.tree("x", trees.run_node(trees.common() | {"energy_j": trees.joules(0.81, 0.0, 1.2)}))
    assert "too short to be resolved by reads every 100 ms: see --period" in " ".join(render(root).split())
    assert "too short" not in render(trees.tree("x", trees.run_node(trees.common())))


@pytest.mark.parametrize(("asked_ms", "told"), [(10, True), (100, False), (1000, False)])
def test_a_period_that_could_not_be_had_is_told(asked_ms: int, told: bool) -> None:
    root = trees.measured()
    for node in root.walk():
        node.metadata["settings"] = {"period_ns": asked_ms * 10**6}
    text = "! A period of 10 ms was asked for; some energy can only be read every 100 ms"
    assert (text in render(root)) == told


def test_counters_that_are_not_the_kernel_s_are_told() -> None:
    root = trees.measured()
    for node in root.walk():
        node.metadata["settings"] = {"powercap_root": "/host/powercap"}
    told = "! Energy counters were read in /host/powercap, not in /sys/class/powercap"
    assert told in render(root)
    for node in root.walk():
        node.metadata["settings"] = {"powercap_root": "/sys/class/powercap/"}
    assert "powercap" not in render(root)


def test_bars_are_shares_of_the_run() -> None:
    regions = [trees.region("all", 1, 4.5, trees.joules(412.34, 404.2, 420.4))]
    regions.append(trees.region("half", 1, 2.2, trees.joules(206.17, 200.0, 212.0)))
    text = render(trees.measured(regions))
    assert line_with(text, "all").endswith("  ████████")
    assert line_with(text, "half").endswith("  ████")


def test_several_rounds_have_a_line_each() -> None:
    runs = [trees.measured().find(NodeType.RUN)[0] for _ in range(3)]
    for n, run in enumerate(runs):
        run.id = str(n)
    lines = render(trees.tree("heat", *runs)).splitlines()
    assert lines[0].endswith(" 3 rounds · exit code 0 ──")
    assert [line.split()[0] for line in lines if re.match(r"  \d ", line)] == ["0", "1", "2"]


def test_bounds_and_the_spread_of_rounds_are_apart() -> None:
    """12.31 J, measured to 0.2 J, of rounds that differ by 0.1 J."""
    head, energy = (line_with(render(trees.rounds()), start) for start in ("Mean", "Energy"))
    assert [energy[head.index(word) :].split("  ")[0] for word in ("bounds", "std", "95 %")] == [
        "± 0.22 J",
        "0.10 J",
        "± 0.13 J",
    ]


@pytest.mark.parametrize("only_ascii", [False, True])
def test_figures_of_rounds_are_never_cut(only_ascii: bool) -> None:
    """On a narrow page a column is left out instead."""
    for width, titles in ((60, ["bounds"]), (66, ["bounds", "95 %"]), (80, ["bounds", "std", "95 %"])):
        text = render(trees.many_rounds(), width=width, ascii=only_ascii)
        assert [word for word in ("bounds", "std", "95 %") if word in line_with(text, "Mean")] == titles
        assert "6.1 to 71 mJ" in line_with(text, "Energy")


def test_what_rounds_lack_is_told_with_their_number() -> None:
    root = trees.rounds()
    energy = root.nodes[0].metrics["energy_j"]
    root.nodes[0].metrics["energy_j"] = energy._replace(n=4, reason="missing in 1 of 5 rounds: no read")
    assert "Energy: all devices of node01; missing in 1 of 5 rounds: no read" in render(root)


def test_a_figure_of_few_rounds_does_not_stand_beside_those_of_all() -> None:
    root = trees.rounds()
    share = root.nodes[0].metrics["energy_share_j"]
    root.nodes[0].metrics["energy_share_j"] = share._replace(n=1, reason="missing in 4 of 5 rounds: not asked")
    text = render(root)
    assert "6.1 J" not in text
    assert "the program's share  not available: missing in 4 of 5 rounds: not asked" in text


def test_rounds_that_end_differently_are_marked() -> None:
    text = render(trees.rounds(ends=(0, 0, 3, None, 0)))
    assert text.splitlines()[0].endswith("5 rounds · 2 failed ──")
    assert line_with(text, "2").endswith("measured  exit code 3")
    assert line_with(text, "3").endswith("measured  killed by SIGKILL")
    assert line_with(text, "4").endswith("measured")
    assert "the 2 rounds that failed are in the means" in text


def test_a_function_stands_where_a_command_would() -> None:
    lines = render(trees.raised()).splitlines()
    assert lines[0].endswith("· raised ──")
    assert lines[1] == "  train.py:12 train"


def test_a_function_whose_end_was_not_recorded_has_not_raised() -> None:
    assert render(trees.raised(unended=True)).splitlines()[0].endswith("· end not recorded ──")


def test_a_function_that_ended_well() -> None:
    run = trees.run_node(trees.common(), exit_code=None, in_place=True, failed=False)
    assert render(trees.tree("x", run)).splitlines()[0].endswith("4.512 s · in place ──")


def test_hosts_of_rounds_are_counted_once() -> None:
    text = render(trees.rounds())
    assert "all devices of node01" in text
    assert "whole host, 4 CPUs" in text


def test_a_tree_without_runs_is_still_a_report() -> None:
    assert "no run was recorded" in render(trees.tree("x"))


def test_a_run_with_nothing_known_is_still_a_report() -> None:
    run = DataNode("0", NodeType.RUN)
    text = render(DataNode("x", NodeType.APP, nodes=[run]), path=PATH)
    assert "not available: not recorded" in text
    assert text.splitlines()[-1] == PATH


EVIL = "\x1b[31mred\x1b[0m\r\n\x07\u202egnp.exe\x00"


def test_nothing_from_outside_reaches_the_terminal_as_a_command() -> None:
    regions = [trees.region(EVIL, 1, 1.0, trees.joules(50.0, 40.0, 60.0))]
    missing = [{"backend": EVIL, "what": EVIL, "reason": EVIL, "remedy": EVIL}]
    sensor = trees.energy_sensor(f"rapl:{EVIL}", trees.joules(9.0, 8.0, 10.0), 4.5, not_added=EVIL)
    metrics = trees.common() | {"energy_j": trees.joules(9.0, 8.0, 10.0, method=EVIL, missing=(EVIL,))}
    metrics["co2e_kg"] = Metric.absent("kg", EVIL)
    facts = {"host": EVIL, "command": [EVIL], "missing": missing, "regions": regions, "cut": EVIL}
    text = render(trees.tree(EVIL, trees.run_node(metrics, sensor, **facts)), path=f"/x/{EVIL}.h5")
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "\\x1b[31mred" in text


# Letters narrow, wide and combining, and controls; not symbols: versions of Unicode disagree on their widths.
characters = st.characters(max_codepoint=0x36F) | st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF)
names = st.text(characters, max_size=60)


@given(names, names, st.integers(60, 120), st.booleans())
def test_any_names_fit_any_page(name: str, region: str, width: int, only_ascii: bool) -> None:
    root = trees.measured([trees.region(region, 1, 1.0, trees.joules(50.0, 40.0, 60.0))])
    root.id = name
    lines = render(root, width=width, ascii=only_ascii).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert all(line.isprintable() for line in lines)


def test_a_stream_that_is_no_terminal_gets_80_columns_and_no_colour(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        assert text_for(stream, trees.measured(), path=PATH) == render(trees.measured(), path=PATH)
    with (tmp_path / "out").open("w", encoding="latin-1") as stream:
        assert text_for(stream, trees.measured(), path=PATH) == render(trees.measured(), path=PATH, ascii=True)


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colour_and_its_width(
    variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        text = text_for(stream, trees.measured(), path=PATH)
        assert ("\x1b[" in text) is coloured
        assert ("\x1b[" in text_for(stream, trees.measured(), colour=not coloured)) is not coloured
    os.close(ours)
