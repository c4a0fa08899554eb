"""Older samples thinned out: what follows from those that stay is true, and as sharp as before where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perun_like.analysis.counters import counters
from perun_like.analysis.gauges import Gauge, summarise
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.recording import Stream
from perun_like.sampling.thinning import FURTHEST_GAUGES_NS, FURTHEST_NS, Thinning, furthest_ns
from perun_like.sensing.contract import GAUGE, Sensor
from perun_like.store.sweeps import Rows, stream_of
from perun_like.testing import Machine, RandomWalk, SquareWave, Sum, Zone, record, sensors_of
from perun_like.testing.long_runs import stream_facts
from perun_like.testing.parts import rows_of

MS, S = 10**6, 10**9
START_NS = 10**15 + 7


def machine(seed: int, register_bits: int = 32) -> Machine:
    """A package and its memory; the smaller registers wrap every 256 and 64 J."""
    power = Sum([RandomWalk(20, 200, 30 * MS, seed, stride_w=60), SquareWave(0, 60, 130 * MS)])
    memory = RandomWalk(4, 40, 70 * MS, seed + 1)
    zones = [
        Zone("intel-rapl:0", "package-0", power, register_bits=register_bits, max_power_w=260),
        Zone("intel-rapl:0:0", "dram", memory, unit_nj=15_300, register_bits=register_bits, max_power_w=60),
    ]
    return Machine(zones, START_NS - 5 * S)


def thinned(stream: Stream, apart_ns: int, edges_ns: Sequence[int] = (), rows: int = 300) -> Stream:
    """What is left of a stream whose frames have so many rows."""
    thinning = Thinning(stream.sensors, apart_ns, sorted(edges_ns))
    whole = rows_of(stream)
    frames = [whole[first : first + rows].tobytes() for first in range(0, len(whole), rows)]
    facts = stream_facts(stream.backend, stream.sensors, stream.period_ns)
    kept = Rows()
    for number, frame in enumerate(frames, 1):
        kept.add(number, thinning.thinned(frame))
    left = stream_of(facts, kept, ())
    assert not kept.odd
    return left._replace(apart_ns=min(apart_ns, furthest_ns(stream.sensors)))


def windows_of(random: Random, count: int) -> Windows:
    a_ns = np.array([START_NS + random.randrange(500 * MS, 5 * S) for _ in range(count)], np.int64)
    lengths = np.array([random.choice([3 * MS, 80 * MS, S, 5 * S]) + random.randrange(MS) for _ in range(count)])
    return Windows.each(a_ns, a_ns + lengths)


def figures(found: Increase) -> list[float]:
    return np.concatenate([found.lower, found.value, found.upper, found.missing_s]).tolist()


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    apart_ns=st.sampled_from([20 * MS, 90 * MS, S, 10 * S]),
    dropped=st.sampled_from([0.0, 0.001, 0.3]),
    register_bits=st.sampled_from([22, 32]),
)
def test_truth_stays_within_bounds(seed: int, apart_ns: int, dropped: float, register_bits: int) -> None:
    made, windows = machine(seed, register_bits), windows_of(Random(seed), 12)
    whole = record(made, START_NS, START_NS + 12 * S, period_ns=10 * MS, jitter_ns=MS, dropped=dropped, seed=seed)
    left = thinned(whole, apart_ns)
    for zone, before, after in zip(
        made.zones, increases(counters(whole), windows), increases(counters(left), windows), strict=True
    ):
        times = zip(windows.a_ns.tolist(), windows.b_ns.tolist(), strict=True)
        truth = np.array([made.truth_j(zone.path, a, b) for a, b in times])
        assert (after.lower <= truth).all()
        assert (truth <= np.nan_to_num(after.upper, nan=np.inf)).all()
        assert (after.lower <= before.lower).all()
        if dropped < 0.1:  # else a wrap may be lost: the reads that stay may be those that fail
            assert (after.upper >= before.upper).all()
            assert after.missing_s.max() == 0


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), register_bits=st.sampled_from([22, 32]))
def test_runs_and_regions_have_the_figures_that_they_had(seed: int, register_bits: int) -> None:
    made, windows = machine(seed, register_bits), windows_of(Random(seed), 6)
    whole = record(made, START_NS, START_NS + 12 * S, period_ns=10 * MS, jitter_ns=MS, seed=seed)
    edges_ns = [*windows.a_ns.tolist(), *windows.b_ns.tolist()]
    left = thinned(thinned(whole, 40 * MS, edges_ns), S, edges_ns)
    assert len(left.t0_ns) < len(whole.t0_ns) / 3
    for before, after in zip(increases(counters(whole), windows), increases(counters(left), windows), strict=True):
        assert figures(after) == pytest.approx(figures(before), rel=1e-12)


def test_no_gap_is_longer_than_asked_for_and_ends_of_frames_stay() -> None:
    whole = record(machine(1), START_NS, START_NS + 60 * S, period_ns=10 * MS, jitter_ns=MS)
    left = thinned(whole, 500 * MS, rows=1000)
    assert 100 <= len(left.t0_ns) < 150
    assert np.diff(left.t0_ns).max() <= 500 * MS * 9 / 8
    ends = np.concatenate([whole.t0_ns[::1000], whole.t0_ns[999::1000]])
    assert np.isin(ends, left.t0_ns).all()


def test_a_counter_never_wraps_unseen() -> None:
    (package, _) = sensors_of(machine(0, register_bits=22))
    assert furthest_ns([package]) == pytest.approx(256 / 260 / 2 * S, rel=0.01)
    assert furthest_ns(sensors_of(machine(0))) == FURTHEST_NS
    assert furthest_ns([package._replace(ceiling=None)]) == pytest.approx(256 / 5000 / 2 * S, rel=0.05)


def test_a_gap_that_was_there_stays_one() -> None:
    whole = record(machine(2), START_NS, START_NS + 20 * S, period_ns=10 * MS)
    some = (whole.t0_ns < START_NS + 5 * S) | (whole.t0_ns > START_NS + 9 * S)
    cut = whole._replace(t0_ns=whole.t0_ns[some], t1_ns=whole.t1_ns[some], raw=whole.raw[:, some])
    cut = cut._replace(valid=whole.valid[:, some])
    left = thinned(cut, S)
    assert np.diff(left.t0_ns).max() == np.diff(cut.t0_ns).max()


def test_a_reset_stays_missing_although_a_wrap_would_be_possible_by_then() -> None:
    whole = record(machine(3), START_NS, START_NS + 20 * S, period_ns=10 * MS)
    reset = int(np.searchsorted(whole.t0_ns, START_NS + 10 * S))
    modulus = whole.sensors[0].modulus or 0
    raw = whole.raw.copy()
    raw[0, :reset] += modulus - 500_000_000 - raw[0, reset - 1]  # 500 J before its end, which is not reached
    raw[0, reset:] -= raw[0, reset]
    broken = whole._replace(raw=raw)
    window = Windows.one(START_NS + S, START_NS + 19 * S)
    for stream in (broken, thinned(broken, 4 * S)):
        (package, _) = increases(counters(stream), window)
        assert np.isnan(package.upper[0])
        assert 0 < package.missing_s[0] < 0.1


def test_reads_around_failing_ones_stay() -> None:
    whole = record(machine(4), START_NS, START_NS + 20 * S, period_ns=10 * MS)
    valid = whole.valid.copy()
    failing = (whole.t0_ns > START_NS + 7 * S) & (whole.t0_ns < START_NS + 13 * S)
    valid[0, failing] = False
    left = thinned(whole._replace(valid=valid), S)
    good = left.t0_ns[left.valid[0]]
    around = np.flatnonzero(np.diff(failing)) + np.array([0, 1])
    assert np.isin(whole.t0_ns[around], good).all()


def test_endless_failures_do_not_hinder_it() -> None:
    whole = record(machine(5), START_NS, START_NS + 60 * S, period_ns=10 * MS, dropped=0.4)
    assert len(thinned(whole, S).t0_ns) < 60 * 2.5


def gauge(values: list[int], period_ns: int) -> Stream:
    t0_ns = START_NS + np.arange(len(values), dtype=np.int64) * period_ns
    sensor = Sensor("nvml:gpu0:util", "nvml", "gpu", "util", GAUGE, "%")
    valid = np.ones((1, len(values)), bool)
    return Stream("nvml", period_ns, (sensor,), t0_ns, t0_ns + 1000, np.array([values], np.int64), valid)


def test_a_gauge_keeps_its_largest_value_and_is_covered_as_before() -> None:
    random = Random(1)
    values = [random.randrange(20, 80) for _ in range(3000)]
    values[1234] = 99
    whole = gauge(values, 100 * MS)
    left = thinned(whole, 10 * S)
    assert left.apart_ns == FURTHEST_GAUGES_NS
    assert len(left.t0_ns) < 400
    window = Windows.one(START_NS, START_NS + 290 * S)
    before, after = (summarise(Gauge.of(stream, 0), window) for stream in (whole, left))
    assert before is not None
    assert after is not None
    assert (after.largest, after.coverage) == (99, pytest.approx(1.0))
    assert after.lower <= before.mean <= after.upper
    assert after.mean == pytest.approx(sum(values) / len(values), rel=0.05)


def test_a_few_rows_are_left_alone() -> None:
    whole = record(machine(6), START_NS, START_NS + 10 * MS, period_ns=10 * MS)
    assert len(thinned(whole, S).t0_ns) == len(whole.t0_ns) == 2
