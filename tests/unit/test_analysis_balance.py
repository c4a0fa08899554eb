"""Regions over ranks. Truth: arithmetic by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import MS, calls, host, number, process, recording
from rounds_of_runs import FAST, result, true_j

from perun_like.analysis.balance import balance_of
from perun_like.model.check import self_check
from perun_like.model.node import DataNode, Metric, NodeType, Provenance, Region, Scope


def region(rank: int, seconds: float, joules: float, calls: int = 10, name: str = "f") -> Region:
    runtime = Metric(seconds, "s", seconds, seconds, scope=Scope.APPLICATION)
    energy = Metric(joules, "J", joules - 1, joules + 2)
    return Region(name, rank, calls, {"runtime_s": runtime, "energy_j": energy})


def test_imbalance_by_hand() -> None:
    """1, 2 and 6 s: the mean is 3 s, and the longest is twice that."""
    [found] = balance_of([region(0, 2.0, 20.0), region(1, 6.0, 90.0), region(2, 1.0, 10.0)])
    assert (found.name, found.ranks, found.calls) == ("f", 3, 30)
    assert [found.metrics[f"runtime_s_{word}"].value for word in ("min", "mean", "max")] == [1, 3, 6]
    assert found.metrics["imbalance_percent"].value == pytest.approx(100)
    assert found.metrics["imbalance_percent"].upper == found.metrics["imbalance_percent"].value
    energy = [found.metrics[f"energy_j_{word}"] for word in ("min", "mean", "max")]
    assert [(e.lower, e.value, e.upper) for e in energy] == [(9, 10, 12), (39, 40, 42), (89, 90, 92)]
    assert found.at == {"runtime_s_min": 2, "runtime_s_max": 1, "energy_j_min": 2, "energy_j_max": 1}
    assert found.metrics["runtime_s_mean"].method == "mean of 3 ranks"


def test_a_region_of_some_ranks_is_told_over_those() -> None:
    found = balance_of([region(0, 2.0, 20.0), region(3, 2.0, 20.0, name="io"), region(1, 2.0, 20.0)])
    assert [(each.name, each.ranks, each.metrics["imbalance_percent"].value) for each in found] == [
        ("f", 2, 0),
        ("io", 1, 0),
    ]


def test_of_ranks_alike_the_first_is_told() -> None:
    [found] = balance_of([region(rank, 2.0, 20.0) for rank in (3, 1, 2)])
    assert set(found.at.values()) == {1}


def test_ranks_whose_calls_were_only_counted_have_no_time() -> None:
    gone = {name: Metric.absent(unit, "only counted") for name, unit in (("runtime_s", "s"), ("energy_j", "J"))}
    counted = Region("f", 1, 5, gone)
    [found] = balance_of([region(0, 2.0, 20.0), counted])
    assert (found.ranks, found.calls, found.metrics["runtime_s_mean"].value) == (2, 15, 2.0)
    [found] = balance_of([counted])
    assert found.metrics["imbalance_percent"].reason == found.metrics["runtime_s_max"].reason == "only counted"
    assert found.at == {}


def test_time_that_is_at_least_has_no_certain_imbalance() -> None:
    least = Metric(2.0, "s", 2.0, None, missing=("3 calls",), reason="3 calls: beyond the budget")
    part = Region("f", 1, 5, {"runtime_s": least, "energy_j": Metric(1.0, "J")})
    [found] = balance_of([region(0, 1.0, 20.0), part])
    assert found.metrics["runtime_s_mean"].missing == ("3 calls",)
    imbalance = found.metrics["imbalance_percent"]
    assert (imbalance.lower, imbalance.upper) == (None, None)
    assert imbalance.value == pytest.approx(100 * (2 / 1.5 - 1))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_any_ranks_are_in_order(seconds: list[float]) -> None:
    found = balance_of([region(rank, s, s + 1) for rank, s in enumerate(seconds)])
    root = DataNode("0", NodeType.RUN, balance=found)
    assert not [problem for problem in self_check(root) if "region" in problem]
    imbalance = found[0].metrics["imbalance_percent"].value
    if max(seconds):
        expected = 100 * (max(seconds) / (math.fsum(seconds) / len(seconds)) - 1)
        assert imbalance == pytest.approx(expected, abs=1e-9)
        assert number(imbalance) <= 100 * (len(seconds) - 1) * (1 + 1e-9)


def test_in_a_job_each_ranks_region_is_what_its_host_used_meanwhile() -> None:
    spans = [(100 * MS, 500 * MS), (100 * MS, 1_700 * MS)]
    marks = tuple(calls([("solve", *span)], rank=rank) for rank, span in enumerate(spans))
    made = recording(host(FAST, regions=marks), processes=[process(0), process(1)])
    run = result(made)[1][0]
    [found] = run.balance
    assert found.metrics["runtime_s_mean"].value == pytest.approx(1.0)
    assert found.metrics["imbalance_percent"].value == pytest.approx(60)
    mean_j = sum(true_j(span) for span in spans) / 2
    assert found.metrics["energy_j_mean"].value == pytest.approx(mean_j, rel=0.01)
    assert number(found.metrics["energy_j_mean"].lower) <= mean_j <= number(found.metrics["energy_j_mean"].upper)
    assert found.at["runtime_s_max"] == 1


def test_intervals_of_statistics_are_put_together_with_bounds_of_other_ranks() -> None:
    told = Metric(30.0, "J", 0.0, 90.0, Provenance.ESTIMATED, ci95=(25.0, 36.0))
    short = Region("f", 1, 900, {**region(1, 1.0, 0.0).metrics, "energy_j": told})
    [found] = balance_of([region(0, 2.0, 20.0), short])
    energies = [found.metrics[f"energy_j_{word}"].ci95 for word in ("min", "mean", "max")]
    assert energies == [(19, 22), (22, 29), (25, 36)]
    unresolved = Region("f", 2, 1, {**region(2, 1.0, 0.0).metrics, "energy_j": Metric(25.0, "J", 0.0, 90.0)})
    [mixed] = balance_of([region(0, 2.0, 20.0), short, unresolved])
    assert mixed.metrics["energy_j_mean"].ci95 is None
    [alone] = balance_of([region(0, 2.0, 20.0), region(1, 6.0, 90.0)])
    assert alone.metrics["energy_j_mean"].ci95 is None


@pytest.mark.parametrize("ci95", [(31.0, 36.0), (-1.0, 36.0), (25.0, 91.0), (36.0, 25.0)])
def test_self_check_finds_an_interval_that_contradicts_the_value_or_its_bounds(ci95: tuple[float, float]) -> None:
    def problems(ends: tuple[float, float]) -> list[str]:
        told = Metric(30.0, "J", 0.0, 90.0, Provenance.ESTIMATED, ci95=ends)
        short = Region("f", 1, 900, {**region(1, 1.0, 0.0).metrics, "energy_j": told})
        root = DataNode("0", NodeType.RUN, regions=[short])
        return [problem for problem in self_check(root) if "interval" in problem]

    assert problems((25.0, 36.0)) == []
    assert len(problems(ci95)) == 1


def test_self_check_finds_what_is_wrong_with_a_balance() -> None:
    root = DataNode("0", NodeType.RUN, balance=balance_of([region(0, 2.0, 20.0), region(1, 6.0, 90.0)]))
    [found] = root.balance
    found.metrics["runtime_s_min"], found.metrics["runtime_s_max"] = (
        found.metrics[f"runtime_s_{word}"] for word in ("max", "min")
    )
    assert any("runtime_s out of order" in problem for problem in self_check(root))
