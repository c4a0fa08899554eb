"""Reports of jobs of many ranks. The pages as a whole are in ``tests/fixtures/reports``."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import report_jobs as jobs
import report_trees as trees

from perun_like.model.node import DataNode, Metric, Provenance
from perun_like.report.text import render


def run_of(root: DataNode) -> DataNode:
    return root.nodes[0].nodes[0]


def line_with(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [start])


def test_the_first_line_tells_ranks_and_hosts() -> None:
    assert render(jobs.ranks()).splitlines()[0].endswith("─ 4 ranks on 1 host · 2.522 s · exit code 0 ──")
    assert render(jobs.rounds_of_ranks()).splitlines()[0].endswith("─ 4 rounds · 3 ranks on 1 host · in place ──")


def test_what_does_not_fit_the_first_line_has_one_of_its_own() -> None:
    root = jobs.many_hosts(4, 2)
    run_of(root).metadata |= {"signal": 9, "failed_rank": 1234, "size": 9_000, "missing_ranks_count": 8_992}
    first, second, *_ = render(root).splitlines()
    assert first.endswith("─ 30 min 11.0 s · rank 1234: killed by SIGKILL ──")
    assert second == "  8 of 9,000 ranks on 4 hosts"


def test_missing_ranks_are_red_at_the_top_and_told_below() -> None:
    lines = render(jobs.hosts(), colour=True).splitlines()
    assert "\x1b[31m6 of 8 ranks on 3 hosts" in lines[0]
    assert any(line.startswith("\x1b[31m! Nothing was recorded of ranks 6, 7,") for line in lines)
    root = jobs.hosts()
    run_of(root).metadata |= {"missing_ranks": list(range(20, 40)), "missing_ranks_count": 100}
    assert "ranks 20, 21, 22, 23, 24, 25 and 94 more" in " ".join(render(root).split())


def unended(*ranks: int, root: DataNode | None = None, **facts: Any) -> str:
    root = root or jobs.ranks()
    run = run_of(root)
    run.metadata |= {"exit_code": None, "unended_ranks": list(ranks), "unended_ranks_count": len(ranks), **facts}
    return render(root, width=100)


def test_ranks_whose_end_was_not_recorded_are_told_and_what_that_hides() -> None:
    text = unended(2)
    assert text.splitlines()[0].endswith("· rank 2: end not recorded ──")
    assert "! The recording of rank 2 is incomplete: its profiler was killed before the rank ended." in text
    assert "Only an end tells CPU time, and with it the share of the energy, and the peak of memory." in flat(text)
    text = unended(0, 2)
    assert text.splitlines()[0].endswith("· 2.522 s · end not recorded ──")
    assert "! The recording of ranks 0, 2 is incomplete: their profilers were killed before the ranks ended." in text
    text = unended(1, failed_rank=3, exit_code=7)
    assert text.splitlines()[0].endswith("· rank 3: exit code 7 ──")
    assert "! The recording of rank 1 is incomplete" in text
    assert "is incomplete" not in render(jobs.ranks())


def test_of_a_call_in_place_it_is_the_rank_that_was_killed() -> None:
    text = unended(1, root=jobs.rounds_of_ranks())
    assert "! The recording of rank 1 is incomplete: it was killed before the call ended." in text
    root = jobs.rounds_of_ranks()
    root.nodes[0].nodes[-1].metadata |= {"unended_ranks": [0, 1], "unended_ranks_count": 2}  # its last round
    assert "ranks 0, 1 is incomplete: they were killed before the call ended." in flat(render(root))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_of_a_call_in_place_a_rank_may_be_absent() -> None:
    root = jobs.rounds_of_ranks()
    run = run_of(root)
    run.metadata |= {"size": 4, "missing_ranks": [3], "missing_ranks_count": 1}
    text = render(trees.tree("x", run), colour=True)
    assert "3 of 4 ranks on 1 host · 250.0 ms · in place" in text
    assert "Nothing was measured in place on rank 3." in text
    assert "\x1b[31m" not in text


def test_what_is_not_the_programs_is_told() -> None:
    assert re.search(r"the rest +42 J +± 13 J +estimated +idle and others$", render(jobs.ranks()), re.MULTILINE)
    assert "the rest" not in render(trees.measured())


def test_ranks_that_failed_are_named_the_first_one_first() -> None:
    text = " ".join(render(jobs.hosts()).split())
    assert "Failed, the first one first: exit code 7 (rank 3), killed by SIGTERM (ranks 2, 4, 5)" in text
    assert "Failed" not in render(jobs.ranks())


@pytest.mark.parametrize(("number", "folded"), [(8, False), (9, True)])
def test_many_ranks_are_folded_to_their_extremes(number: int, folded: bool) -> None:
    root = jobs.ranks()
    run = run_of(root)
    run.ranks = [jobs.rank(n, "node01", 2.0, 1.0 + n * 7 % number, 10.0 + n * 5 % number, 50) for n in range(number)]
    lines = render(root).splitlines()
    assert any(line.startswith(f"  {number} ranks ") for line in lines) is folded
    if folded:
        assert " ".join(line_with("\n".join(lines), "most").split()) == "most 2.000 s 0 9.000 s 5 18.0 J 7 50.0 MiB 0"
        assert " ".join(line_with("\n".join(lines), "mean").split()) == "mean 2.000 s 5.000 s 14.0 J 50.0 MiB"


def test_figures_that_ranks_lack_are_unknown_and_not_nought() -> None:
    root = jobs.ranks()
    run = run_of(root)
    lost = {"energy_share_j": Metric.absent("J", "not seen"), "cpu_s": Metric.absent("s", "not seen")}
    run.ranks[2] = run.ranks[2]._replace(metrics={**run.ranks[2].metrics, **lost})
    assert " ".join(line_with(render(root), "2").split()) == "2 2.512 s unknown unknown 49.0 MiB"
    run.ranks = [rank._replace(metrics={**rank.metrics, **lost}) for rank in run.ranks]
    assert line_with(render(root), "Rank").split() == ["Rank", "time", "memory"]


def test_imbalance_is_seen() -> None:
    text = render(jobs.ranks(), colour=True)
    assert "\x1b[33m██▍  78 %\x1b[0m" in text  # of the mean, by rank 0
    assert "\x1b[33m▋    21 %\x1b[0m" in text
    assert re.search(r"\x1b\[33m +1.5 %", text) is None
    assert re.search(r"sweep +1,200 +442.2 ms +787.0 ms +0 +##", render(jobs.ranks(), ascii=True))


def test_a_region_of_some_ranks_tells_how_many() -> None:
    text = render(jobs.hosts())
    assert " ".join(line_with(text, "write").split()) == "write 1 12 400.0 ms 0 36.0 J ± 1.8 J"
    assert "ranks" not in line_with(render(jobs.ranks()), "Region")


def test_a_crowded_table_loses_no_bounds_and_no_mark() -> None:
    """What the imbalance says gives way first; at no width that people use do figures stand without their bounds."""
    root = jobs.ranks()
    told = jobs.balance("a_function_with_a_long_name", 1_200_000, [123.4, 234.5], 50.0, width=0.9)
    for word in ("min", "mean", "max"):
        energy = told.metrics[f"energy_j_{word}"]
        ends = (0.9 * (energy.value or 0.0), 1.1 * (energy.value or 0.0))
        told.metrics[f"energy_j_{word}"] = energy._replace(provenance=Provenance.ESTIMATED, ci95=ends)
    run_of(root).balance = [told, jobs.balance("short", 1_200, [1.2, 2.3], 50.0, width=0.9)]
    for width in (72, 80, 100):
        lines = [
            line for line in render(root, width=width).splitlines() if line.startswith(("  a_f", "  short", "  *"))
        ]
        assert [line.rstrip()[-2:].strip() for line in lines[:2]] == ["**", "*"]
        assert all(re.search(r"J  (±|[\d.,]+ to) ", line) for line in lines[:2])
        assert [line.split()[0] for line in lines[2:]] == ["*", "**"]


def test_many_regions_of_a_job_are_folded() -> None:
    root = jobs.ranks()
    run_of(root).balance = [jobs.balance(f"r{n:02}", 4, [1.0 + n, 2.0 + n], 50.0) for n in range(40)]
    text = render(root)
    assert len(re.findall(r"^  r\d\d ", text, re.MULTILINE)) == 15
    assert "  … 25 more regions in the file" in text.splitlines()


def test_many_hosts_are_folded_the_largest_first() -> None:
    root = jobs.many_hosts(20, 1)
    largest = max(run_of(root).nodes, key=lambda node: node.metrics["energy_j"].value or 0)
    lines = render(root).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("  Host"))
    assert lines[at + 1].split()[0] == largest.id
    assert lines[at + 7] == "  … 15 more hosts in the file"


def test_a_clock_that_moved_is_told() -> None:
    text = " ".join(render(jobs.hosts()).split())
    assert "Clocks of 3 hosts compared by their real time: error unknown, one of them moved by 250 ms" in text
    assert "moved" not in render(jobs.many_hosts(3, 1))
    assert "Clocks" not in render(jobs.ranks())


def test_thousands_of_ranks_are_one_page_and_take_no_time() -> None:
    root = jobs.many_hosts()
    lines = render(root).splitlines()
    took_s = []
    for _ in range(5):
        before_s = time.process_time()
        render(root)
        took_s.append(time.process_time() - before_s)
    assert min(took_s) < 0.05
    assert len(lines) < 60


@pytest.mark.parametrize("make", [jobs.ranks, jobs.hosts, jobs.many_hosts, jobs.rounds_of_ranks])
def test_on_a_narrow_page_columns_are_left_out_rather_than_cut(make) -> None:  # type: ignore[no-untyped-def]
    text = render(make(), width=60)
    assert max(map(len, text.splitlines())) <= 60
    for start in ("Region", "Rank", "Host"):
        line = next((line for line in text.splitlines() if line.startswith(f"  {start}")), "")
        assert "…" not in line
