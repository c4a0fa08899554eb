"""Gauges, models of estimates and memory: against formulas worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import BOOT, MS, S, host, process, processes, recording, stream

from perun_like.analysis import estimates, gauges
from perun_like.analysis.gauges import Gauge
from perun_like.analysis.hosts import Host, hosts_of
from perun_like.analysis.memory import memory_peak
from perun_like.analysis.windows import Increase, Windows
from perun_like.model.node import Provenance, Scope
from perun_like.model.recording import HostRecording, Stream
from perun_like.sensing.contract import COUNTER, ESTIMATED, GAUGE, Sensor

WATTS = Sensor("x:power", "x", "gpu", "power", GAUGE, "W", 0.001)
MIB = 1 << 20


def only(*made: HostRecording) -> Host:
    return hosts_of(recording(*made))[0]


def ramp(every_ms: int, until_ms: int = 3_000) -> Stream:
    """10 W and 5 W more each second."""
    return stream(
        [WATTS], [BOOT + k * MS for k in range(0, until_ms + 1, every_ms)], lambda _, t: 10_000 + 5 * (t - BOOT) // MS
    )


def test_ramp_over_a_window_between_reads() -> None:
    found = gauges.summarise(Gauge.of(ramp(100), 0), Windows.one(BOOT + 250 * MS, BOOT + 2_250 * MS))
    assert found is not None
    assert found.mean == pytest.approx(10 + 5 * 1.25)
    assert found.integral == pytest.approx(2 * (10 + 5 * 1.25))
    assert found.lower < found.mean < found.upper
    assert found.largest == pytest.approx(10 + 5 * 2.2)
    assert found.coverage == pytest.approx(1)
    assert found.reads == 20
    assert "not hard" in found.method


def test_several_windows_are_one_with_what_is_between_left_out() -> None:
    """A ramp of 10 W and 5 W more a second, from 0.25 to 0.55 s and from 1.15 to 1.95 s."""
    edges = np.array([[250, 1_150], [550, 1_950]]) * MS + BOOT
    found = gauges.summarise(Gauge.of(ramp(100), 0), Windows.joined(*edges))
    assert found is not None
    assert found.integral == pytest.approx(0.3 * (10 + 5 * 0.4) + 0.8 * (10 + 5 * 1.55))
    assert found.mean == pytest.approx(found.integral / 1.1)
    assert found.largest == pytest.approx(10 + 5 * 1.9)
    assert (found.coverage, found.reads) == (pytest.approx(1), 3 + 8)
    assert found.lower < found.mean < found.upper


def test_uneven_reads_are_weighed_by_their_time() -> None:
    at_ns = [BOOT, BOOT + S, BOOT + 2 * S, BOOT + 2 * S + 10 * MS, BOOT + 2 * S + 20 * MS]
    uneven = stream([WATTS], at_ns, lambda _, t: 1000 if t <= BOOT + 2 * S else 9000)
    uneven = Stream("x", S, uneven.sensors, uneven.t0_ns, uneven.t1_ns, uneven.raw, uneven.valid)
    found = gauges.summarise(Gauge.of(uneven, 0), Windows.one(BOOT, BOOT + 2 * S + 20 * MS))
    assert found is not None
    assert found.integral == pytest.approx(2 * 1 + 0.01 * 5 + 0.01 * 9)


def test_dropouts_lower_the_coverage_not_the_mean() -> None:
    holes = stream(
        [WATTS], [BOOT + k * 100 * MS for k in range(31)], lambda _, t: None if BOOT + S < t < BOOT + 2 * S else 8_000
    )
    found = gauges.summarise(Gauge.of(holes, 0), Windows.one(BOOT, BOOT + 3 * S))
    assert found is not None
    assert found.mean == 8
    assert found.coverage == pytest.approx(2 / 3)


def test_single_and_no_reads() -> None:
    single = stream([WATTS], [BOOT], lambda *_: 7_000)
    found = gauges.summarise(Gauge.of(single, 0), Windows.one(BOOT - S, BOOT + S))
    assert found is not None
    assert (found.mean, found.largest, found.coverage) == (7, 7, 0)
    assert gauges.summarise(Gauge.of(single, 0), Windows.one(BOOT + S, BOOT + 2 * S)) is None
    assert (
        gauges.summarise(Gauge.of(stream([WATTS], [BOOT], lambda *_: None), 0), Windows.one(BOOT - S, BOOT + S)) is None
    )


MODEL = Sensor(
    "estimate:cpu", "estimate", "cpu", "energy", COUNTER, "s", 0.01, domain="package", provenance=ESTIMATED,
    model={"idle_w": [1, 2, 4], "active_w_per_cpu": [3, 5, 8], "logical_cpus": 4},
)  # fmt: skip


def increase(lower: float, value: float, upper: float, missing_s: float = 0) -> Increase:
    return Increase(*(np.array([figure]) for figure in (lower, value, upper, missing_s)))


def test_model_by_hand() -> None:
    """2 s with 1.5, 2 or 3 busy CPU seconds: 1 x 2 + 3 x 1.5, 2 x 2 + 5 x 2, 4 x 2 + 8 x 3."""
    found = estimates.energy(MODEL, increase(1.5, 2, 3), Windows.one(0, 2 * S))
    assert [float(bound[0]) for bound in found[:3]] == [6.5, 14, 32]


def test_no_more_cpu_seconds_pass_than_there_are_cpus() -> None:
    found = estimates.energy(MODEL, increase(0, 2, float("nan")), Windows.one(0, 2 * S))
    assert found.upper[0] == 4 * 2 + 8 * 8


def test_model_without_activity_lacks_time_without_reads_too() -> None:
    dram = MODEL._replace(model={"idle_w": [1, 2, 4], "active_w_per_cpu": [0, 0, 0]})
    found = estimates.energy(dram, increase(0, 0, float("nan"), 2.0), Windows.one(0, 2 * S))
    assert [float(figure[0]) for figure in found] == [2, 4, 8, 2]


@given(st.lists(st.floats(0, 100), min_size=3, max_size=3), st.floats(0, 8))
def test_bounds_of_models_are_in_order(active: list[float], busy: float) -> None:
    """Coefficients of one bound belong together: a machine that idles high needn't be active high."""
    odd = MODEL._replace(model={**MODEL.model, "active_w_per_cpu": active})
    found = estimates.energy(odd, increase(busy, busy, busy), Windows.one(0, 2 * S))
    assert found.lower[0] <= found.value[0] <= found.upper[0]
    assert found.value[0] == pytest.approx(4 + active[1] * busy)


def test_peak_of_a_single_process_is_exact() -> None:
    """The kernel's peak is seen even if it was between two reads."""
    sampled = processes([20 * MIB, 30 * MIB], [0, 1], count=1, peak=30 * MIB)
    found = memory_peak(only(host(sampled)), [process(max_rss_b=60 * MIB)])
    assert (found.lower, found.value, found.upper) == (60 * MIB, 60 * MIB, 60 * MIB)
    assert found.scope is Scope.APPLICATION


def test_peak_that_the_kernel_has_not_all_of_is_what_was_seen_and_says_so() -> None:
    sampled = processes([20 * MIB, 61 * MIB], [0, 1], count=1, peak=61 * MIB)
    found = memory_peak(only(host(sampled)), [process(max_rss_b=60 * MIB)])
    assert (found.lower, found.value, found.upper) == (61 * MIB, 61 * MIB, None)
    assert "than the kernel remembers" in str(found.method)


def test_peak_of_many_processes_is_at_least_their_sampled_sum() -> None:
    sampled = processes([90 * MIB, 150 * MIB], [0, 1], count=3, peak=210 * MIB)
    found = memory_peak(only(host(sampled)), [process(max_rss_b=60 * MIB)])
    assert (found.lower, found.value, found.upper) == (150 * MIB, 150 * MIB, None)
    assert found.method is not None


def test_peak_that_may_be_the_profilers_own_is_not_taken() -> None:
    sampled = processes([5 * MIB, 8 * MIB], [0, 1])
    small = process(max_rss_b=25 * MIB, max_rss_floor_b=25 * MIB)
    found = memory_peak(only(host(sampled)), [small])
    assert found.value == found.lower == 8 * MIB
    assert found.upper == 25 * MIB


def test_peak_of_what_was_too_short_to_be_sampled_is_that_of_its_largest_process() -> None:
    found = memory_peak(only(host()), [process(max_rss_b=60 * MIB)])
    assert (found.lower, found.value, found.upper) == (60 * MIB, 60 * MIB, None)
    assert found.method == "largest process; too short to be sampled"


def test_peak_without_samples_below_the_floor_is_only_bounded() -> None:
    found = memory_peak(only(host()), [process(max_rss_b=25 * MIB, max_rss_floor_b=25 * MIB)])
    assert (found.value, found.lower, found.upper) == (None, None, 25 * MIB)
    assert found.provenance is Provenance.MISSING
    assert "at most 25 MiB" in str(found.reason)


def test_no_word_about_memory() -> None:
    found = memory_peak(only(host()), [process(max_rss_b=None)])
    assert (found.value, found.upper) == (None, None)
    assert found.reason
