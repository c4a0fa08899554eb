"""Of rounds together no part is larger than the whole. Truth: the simulated machine's power, integrated."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from recordings import ADDED, MS, WINDOW, S, cpu_busy, host, in_place, number, rapl, repeated, rounds, truth_j
from rounds_of_runs import ASSUMED, THREE, result, sampled, true_j

from perun_like.analysis.together import weighed
from perun_like.analysis.tree import MOST_RUNS, analyse
from perun_like.model.check import self_check
from perun_like.model.node import DataNode
from perun_like.model.recording import Recording

PARTS = ("cpu_energy_j", "dram_energy_j", "energy_share_j", "energy_rest_j")
ZONES = {"": ADDED, "cpu_": ADDED[:2], "dram_": ADDED[2:]}
ALONE = sampled([50.0 + k / 20 for k in range(21)], [1] * 21)


def calls(intervals: Sequence[tuple[int, int]], period_ns: int = 10 * MS) -> Recording:
    """Calls that are busy on one CPU from beginning to end."""
    busy = rounds(*([i] for i in intervals), cpu_ns=[b - a for a, b in intervals])
    return in_place(host(rapl(period_ns=period_ns), cpu_busy(1.5, every_ns=10 * MS), ALONE, rounds=(busy,)))


def shorter(n: int, seed: int = 0) -> list[tuple[int, int]]:
    """Calls of 1 to 3 ms, less than 2 ms apart."""
    draw, intervals, at_ns = random.Random(seed), list[tuple[int, int]](), 50 * MS
    for _ in range(n):
        intervals.append((at_ns, at_ns + draw.randrange(1 * MS, 3 * MS)))
        at_ns = intervals[-1][1] + draw.randrange(0, 2 * MS)
    return intervals


def has_true_energies(several: DataNode, intervals: Sequence[tuple[int, int]]) -> None:
    """Energies and power that contain the true means, those of groups too."""
    metrics, seconds = several.metrics, [(b - a) / S for a, b in intervals]
    for group, zones in ZONES.items():
        each = [truth_j(zones, (WINDOW[0] + a, WINDOW[0] + b)) for a, b in intervals]
        found = metrics[f"{group}energy_j"]
        assert number(found.lower) <= statistics.mean(each[: found.n]) <= number(found.upper)
    power_w = statistics.mean(true_j(i) / s for i, s in zip(intervals, seconds, strict=True))
    assert number(metrics["power_w"].lower) <= power_w <= number(metrics["power_w"].upper)


def test_of_ten_short_calls_no_part_is_larger_than_the_whole() -> None:
    intervals = [(200 * MS + k * 2 * MS, 202 * MS + k * 2 * MS) for k in range(10)]
    several, runs = result(calls(intervals))
    has_true_energies(several, intervals)
    metrics, whole = several.metrics, several.metrics["energy_j"]
    own = statistics.mean(number(run.metrics["energy_j"].upper) for run in runs)
    assert number(whole.upper) < own / 3  # or there would be nothing to bound
    for name in PARTS:
        assert number(metrics[name].upper) <= number(whole.upper)
        assert number(metrics[name].lower) <= number(metrics[name].value) <= number(metrics[name].upper)
    assert number(metrics["energy_share_j"].value) + number(metrics["energy_rest_j"].value) == pytest.approx(
        whole.value, rel=1e-12
    )
    assert number(metrics["power_w"].upper) == pytest.approx(number(whole.upper) / 0.002)  # each was 2 ms
    assert number(metrics["power_w"].lower) == pytest.approx(number(whole.lower) / 0.002)


@pytest.mark.parametrize("seed", range(20))
def test_bounds_contain_the_truth_wherever_calls_are(seed: int) -> None:
    intervals = shorter(60, seed)
    several, runs = result(calls(intervals, period_ns=random.Random(seed).choice([5 * MS, 20 * MS, 50 * MS])))
    has_true_energies(several, intervals)
    own_w = statistics.mean(number(run.metrics["power_w"].upper) for run in runs)
    assert number(several.metrics["power_w"].upper) < 0.7 * own_w


def test_means_of_the_first_of_many_rounds_are_bounded_by_these() -> None:
    intervals = shorter(MOST_RUNS + 50)
    several, _ = result(calls(intervals))
    assert several.metrics["cpu_energy_j"].n == MOST_RUNS
    assert several.metrics["energy_j"].n == MOST_RUNS + 50
    has_true_energies(several, intervals)
    assert number(several.metrics["cpu_energy_j"].upper) < 1.5 * number(several.metrics["energy_j"].upper)


def test_a_repeated_program_has_no_more_than_its_host() -> None:
    several, runs = result(repeated(*THREE, made=host(rapl(period_ns=200 * MS)), cpu_s=0.01))
    for name in PARTS:
        assert number(several.metrics[name].upper) <= number(several.metrics["energy_j"].upper)
    own = statistics.mean(number(run.metrics["energy_share_j"].upper) for run in runs)
    assert number(several.metrics["energy_j"].upper) < own  # which is what the share's bound was


def test_self_check_finds_a_part_that_is_larger_than_the_whole() -> None:
    root = analyse(calls([(a, b) for a, b in THREE]), ASSUMED)
    [several] = root.nodes
    assert self_check(root) == []
    for node in (several, several.nodes[0]):
        share, whole = node.metrics["energy_share_j"], node.metrics["energy_j"]
        node.metrics["energy_share_j"] = share._replace(upper=number(whole.upper) * 1.01)
        assert any("energy_share_j is up to" in problem for problem in self_check(node))
        node.metrics["energy_share_j"] = share


def test_weighed_by_hand() -> None:
    """Of 4 to 6 in all, 1 to 5 each: least as 3 and 1 (or more of the lighter one), most as 1 and 5."""
    lower, upper = np.array([1.0, 1.0]), np.array([5.0, 5.0])
    assert weighed(np.array([1.0, 3.0]), lower, upper, 4, 6) == (3 * 1 + 1 * 3, 1 * 1 + 5 * 3)
    assert weighed(np.array([3.0, 1.0]), lower, upper, 4, 6) == (3 * 1 + 1 * 3, 1 * 1 + 5 * 3)
    without = weighed(np.array([1.0, 3.0]), lower, np.array([np.nan, np.nan]), 4, np.nan)
    assert without[0] == 6
    assert np.isnan(without[1])


@pytest.mark.parametrize("seed", range(10))
def test_weighed_sums_are_within_and_reach_their_bounds(seed: int) -> None:
    draw = np.random.default_rng(seed)
    lower = draw.uniform(0, 1, 4)
    upper, weights = lower + draw.uniform(0, 2, 4), draw.uniform(0.1, 5, 4)
    each = draw.uniform(lower, upper, (200_000, 4))
    least, most = np.quantile(each.sum(1), [0.3, 0.7])
    sums = (each @ weights)[(each.sum(1) >= least) & (each.sum(1) <= most)]
    low, high = weighed(weights, lower, upper, float(least), float(most))
    assert low <= sums.min()
    assert sums.max() <= high
    room = high - low
    assert sums.min() - low < 0.2 * room
    assert high - sums.max() < 0.2 * room
