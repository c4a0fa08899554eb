"""Regions on the simulated machine: time is the union of their calls, energy that of the machine meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import ADDED, MS, WINDOW, calls, host, number, rapl, recording, truth_j

from perun_like.analysis.hosts import hosts_of
from perun_like.analysis.regions import STATISTICAL, regions_of
from perun_like.model.node import Metric, Provenance, Region
from perun_like.model.recording import RegionCalls
from perun_like.sensing.contract import Missing

LENGTH = WINDOW[1] - WINDOW[0]
FAST = rapl(period_ns=2 * MS)


def regions(*recorded: RegionCalls, period_ns: int = 2 * MS) -> dict[tuple[str, int], Region]:
    streams = FAST if period_ns == 2 * MS else rapl(period_ns=period_ns)
    [only] = hosts_of(recording(host(streams, regions=recorded)))
    roots = {part.pid for part in only.recording.regions}
    return {(region.name, region.rank): region for region in regions_of(only, roots)}


def runtime(region: Region) -> float:
    value = region.metrics["runtime_s"].value
    assert value is not None
    return value


def check(energy: Metric, intervals: list[tuple[int, int]], rel: float = 0.01) -> None:
    exact = sum(truth_j(ADDED, (WINDOW[0] + a, WINDOW[0] + b)) for a, b in intervals)
    assert number(energy.lower) <= exact <= number(energy.upper)
    assert energy.value == pytest.approx(exact, rel=rel)


def test_region_that_starts_at_zero_counts() -> None:
    """Defect 6: a region that starts at 0.0 counted as no region."""
    found = regions(calls([("whole", 0, LENGTH)]))["whole", 0]
    assert found.calls == 1
    assert runtime(found) == 2.0
    check(found.metrics["energy_j"], [(0, LENGTH)], rel=0.001)
    power = found.metrics["power_w"].value
    assert power == pytest.approx(truth_j() / 2, rel=0.001)


def test_recursion_counts_an_instant_once() -> None:
    nested = [
        ("f", 100 * MS, 900 * MS),
        ("f", 200 * MS, 800 * MS),
        ("f", 300 * MS, 400 * MS),
        ("f", 900 * MS, 950 * MS),
    ]
    found = regions(calls(nested))["f", 0]
    assert found.calls == 4
    assert runtime(found) == pytest.approx(0.85)
    check(found.metrics["energy_j"], [(100 * MS, 950 * MS)])


def test_threads_and_forked_processes_of_a_rank_overlap_and_ranks_are_apart() -> None:
    parent = calls([("f", 0, 600 * MS), ("f", 100 * MS, 700 * MS)])
    child = calls([("g", 0, 10 * MS), ("f", 1_000 * MS, 1_500 * MS)])
    other = calls([("f", 0, 100 * MS)], rank=1)
    found = regions(parent, child, other)
    assert list(found) == [("f", 0), ("f", 1), ("g", 0)]
    assert runtime(found["f", 0]) == pytest.approx(1.2)
    check(found["f", 0].metrics["energy_j"], [(0, 700 * MS), (1_000 * MS, 1_500 * MS)])
    assert runtime(found["f", 1]) == pytest.approx(0.1)


def test_a_resumed_generator_is_one_call() -> None:
    steps = [("gen", 0, 100 * MS), ("gen", 300 * MS, 400 * MS), ("gen", 500 * MS, 600 * MS)]
    found = regions(calls(steps, resumed=np.array([False, True, True])))["gen", 0]
    assert found.calls == 1
    assert runtime(found) == pytest.approx(0.3)
    check(found.metrics["energy_j"], [(a, b) for _, a, b in steps], rel=0.02)


def test_regions_are_clipped_to_the_run() -> None:
    found = regions(calls([("long", -500 * MS, LENGTH + 500 * MS), ("late", LENGTH + MS, LENGTH + 2 * MS)]))
    assert runtime(found["long", 0]) == 2.0
    late = found["late", 0]
    assert (late.calls, runtime(late)) == (1, 0)
    assert late.metrics["energy_j"].value is None
    assert late.metrics["energy_j"].reason == "it took no time within the run"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1_900), st.integers(0, 300)), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_any_calls_against_a_union_by_milliseconds(made: list[tuple[str, int, int]]) -> None:
    intervals = [(name, start * MS, min(start + length, 2_000) * MS) for name, start, length in made]
    found = regions(calls(intervals))
    for name in {name for name, _, _ in made}:
        active = np.zeros(2_001, np.bool_)  # the truth: one cell a millisecond
        for n, a, b in intervals:
            active[a // MS : b // MS] |= n == name
        region = found[name, 0]
        assert region.calls == sum(n == name for n, _, _ in made)
        assert runtime(region) == pytest.approx(active.sum() / 1000)
        if active.any():
            edges = np.flatnonzero(np.diff(np.concatenate([[False], active])))
            check(region.metrics["energy_j"], [(int(a) * MS, int(b) * MS) for a, b in edges.reshape(-1, 2)], rel=1)


def test_many_short_calls_together_are_bounded_by_the_time_they_span() -> None:
    """Each alone would be bounded by a sampling period of 100 ms: 400 of them by 20 times the run's energy."""
    intervals = [(k * 5 * MS, k * 5 * MS + 2 * MS) for k in range(400)]
    found = regions(calls([("short", a, b) for a, b in intervals]), period_ns=100 * MS)["short", 0]
    energy = found.metrics["energy_j"]
    check(energy, intervals, rel=0.02)
    assert number(energy.upper) < 1.2 * truth_j()
    assert energy.method == "sum of estimates over 400 intervals, too short to be resolved by reads this far apart"


def test_many_short_calls_have_a_statistical_figure_with_an_interval() -> None:
    rng = np.random.default_rng(1)
    starts = np.cumsum(rng.integers(2 * MS, 6 * MS, 480)).tolist()
    intervals = [(start, start + MS) for start in starts if start < LENGTH - MS]
    found = regions(calls([("short", a, b) for a, b in intervals]))["short", 0]
    energy, power = found.metrics["energy_j"], found.metrics["power_w"]
    check(energy, intervals, rel=0.1)
    assert (energy.provenance, energy.n, energy.method) == (Provenance.ESTIMATED, None, STATISTICAL)
    assert energy.ci95 is not None
    assert number(energy.lower) <= energy.ci95[0] <= number(energy.value) <= energy.ci95[1] <= number(energy.upper)
    exact = sum(truth_j(ADDED, (WINDOW[0] + a, WINDOW[0] + b)) for a, b in intervals)
    assert energy.ci95[0] <= exact <= energy.ci95[1]
    assert power.ci95 == pytest.approx([end / runtime(found) for end in energy.ci95])


def test_of_very_many_short_regions_only_the_longest_take_the_time_of_statistics() -> None:
    rng = np.random.default_rng(2)
    starts = np.cumsum(rng.integers(2 * MS, 6 * MS, 480)).tolist()
    lengths = {f"f{n}": 900_000 + n * 2_000 for n in range(130)}
    intervals = [(name, a, a + length) for a in starts for name, length in lengths.items() if a < LENGTH - 2 * MS]
    found = regions(calls(intervals))
    told = {name for name, _ in found if found[name, 0].metrics["energy_j"].ci95 is not None}
    assert set(sorted(lengths, key=lengths.__getitem__)[:30]) & told == set()
    assert len(told) > 20
    assert found["f0", 0].metrics["energy_j"].value is not None


def test_single_short_call_is_labelled() -> None:
    energy = regions(calls([("short", 0, 50 * MS)]), period_ns=100 * MS)["short", 0].metrics["energy_j"]
    assert energy.method == "too short to be resolved by reads this far apart"
    long = regions(calls([("long", 0, LENGTH)]))["long", 0].metrics["energy_j"]
    assert long.method is None


def test_calls_that_were_only_counted_make_it_at_least() -> None:
    found = regions(calls([("f", 0, 500 * MS)], lost_calls={"f": 7, "only": 3}))
    assert found["f", 0].calls == 8
    for name in ("runtime_s", "energy_j", "power_w"):
        metric = found["f", 0].metrics[name]
        assert metric.value is not None
        assert metric.upper is None
        assert metric.missing == ("7 calls that were only counted",)
    assert found["only", 0].calls == 3
    assert found["only", 0].metrics["runtime_s"].value is None


def test_without_energy_there_is_still_time_and_the_reason() -> None:
    why = Missing("rapl", "energy", "no powercap tree", "Load the driver.", domains=("package", "dram"))
    [only] = hosts_of(recording(host(missing=(why,), regions=(calls([("f", 0, 500 * MS)]),))))
    [found] = regions_of(only)
    assert runtime(found) == 0.5
    assert found.metrics["energy_j"].provenance is Provenance.MISSING
    assert found.metrics["energy_j"].reason == "no powercap tree. Load the driver."


def test_no_regions() -> None:
    assert regions() == {}
    assert regions(calls([])) == {}
