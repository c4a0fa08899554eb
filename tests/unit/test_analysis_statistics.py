"""Statistics over rounds. Truth: the tables that statisticians print, and Python's own ``statistics``."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.analysis.statistics import mean_of, spread, student_975
from perun_like.model.node import Metric, Provenance, Scope

# NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, with a digit more from other tables.
PUBLISHED = {
    1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060, 9: 2.2622, 10: 2.2281,
    11: 2.2010, 12: 2.1788, 13: 2.1604, 14: 2.1448, 15: 2.1314, 16: 2.1199, 17: 2.1098, 18: 2.1009, 19: 2.0930,
    20: 2.0860, 21: 2.0796, 22: 2.0739, 23: 2.0687, 24: 2.0639, 25: 2.0595, 26: 2.0555, 27: 2.0518, 28: 2.0484,
    29: 2.0452, 30: 2.0423, 40: 2.0211, 60: 2.0003, 120: 1.9799, math.inf: 1.9600,
}  # fmt: skip


@pytest.mark.parametrize("freedom", PUBLISHED)
def test_quantiles_are_the_published_ones(freedom: float) -> None:
    assert student_975(freedom) == pytest.approx(PUBLISHED[freedom], abs=0.6e-4)


def test_quantiles_go_on_where_the_series_ends() -> None:
    around = [student_975(freedom) for freedom in (199, 200, 201, 202, 1_000, 10**6)]
    assert around == sorted(around, reverse=True)
    assert around[1] - around[2] == pytest.approx(around[0] - around[1], rel=0.02)  # no step between the two ways
    assert student_975(1_000) == pytest.approx(1.9623, abs=0.6e-4)
    assert student_975(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_spread_is_that_of_the_standard_library(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.std == pytest.approx(statistics.stdev(values), abs=1e-6)
    assert found.n == len(values)
    assert found.ci95 is not None
    assert found.ci95[0] <= found.mean <= found.ci95[1]


def test_interval_by_hand() -> None:
    """10, 12 and 14: mean 12, standard deviation 2, and 4.3027 x 2 / sqrt(3) on either side."""
    found = spread([10, 12, 14])
    assert (found.mean, found.std, found.n) == (12, 2, 3)
    assert found.ci95 == pytest.approx((12 - 4.96828, 12 + 4.96828), abs=1e-4)


def test_a_single_value_has_no_spread() -> None:
    assert spread([3.0]) == (3.0, None, 1, None)


def test_bounds_of_a_mean_are_the_means_of_bounds() -> None:
    parts = [Metric(10.0, "J", 9.0, 12.0), Metric(14.0, "J", 13.0, 16.0)]
    found = mean_of(parts, "2 rounds")
    assert (found.lower, found.value, found.upper) == (11, 12, 14)
    assert (found.mean, found.n, found.method) == (12, 2, "mean of 2 rounds")
    assert mean_of([*parts, Metric(12.0, "J")], "3 rounds").lower is None


def test_rounds_that_lack_it_are_left_out_and_told() -> None:
    found = mean_of([Metric(10.0, "J", 9.0, 12.0), Metric.absent("J", "the sampler died")] * 2, "4 rounds")
    assert (found.value, found.n, found.std) == (10, 2, 0)
    assert (found.lower, found.upper) == (9, 12)
    assert found.reason == "missing in 2 of 4 rounds: the sampler died"


def test_what_all_rounds_lack_is_missing_with_the_reason() -> None:
    found = mean_of([Metric.absent("J", "no counter", Scope.APPLICATION)] * 3, "3 rounds")
    assert (found.value, found.reason, found.n) == (None, "no counter", None)
    assert found.scope is Scope.APPLICATION


def test_a_round_that_lacks_a_part_makes_the_mean_at_least() -> None:
    partial = Metric(8.0, "J", 7.0, None, missing=("rapl:dram",), reason="rapl:dram: masked")
    found = mean_of([Metric(10.0, "J", 9.0, 12.0), partial], "2 rounds")
    assert (found.value, found.lower, found.upper) == (9, 8, None)
    assert found.missing == ("rapl:dram",)
    assert found.reason == "in 1 of 2 rounds: rapl:dram: masked"


def test_measured_and_estimated_rounds_are_mixed() -> None:
    parts = [Metric(10.0, "J"), Metric(10.0, "J", provenance=Provenance.ESTIMATED)]
    assert mean_of(parts, "2 rounds").provenance is Provenance.MIXED
    assert mean_of(parts[1:] * 2, "2 rounds").provenance is Provenance.ESTIMATED


def test_methods_are_told_once_as_far_as_they_are_those_of_all_rounds() -> None:
    methods = ("by a model; of 4 CPUs; over 3 intervals", "by a model; of 4 CPUs; over 4 intervals; too short")
    found = mean_of([Metric(1.0, "J", method=method) for method in methods], "2 rounds")
    assert found.method == "mean of 2 rounds; by a model; of 4 CPUs"
