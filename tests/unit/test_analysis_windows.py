"""Energy of windows, on the simulated machine: the truth is the analytic integral of its power."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perun_like.analysis.counters import counters
from perun_like.analysis.windows import Increase, Windows, increases
from perun_like.model.recording import Stream
from perun_like.sensing.contract import Sensor
from perun_like.testing.machine import DROPPED, Fault, Machine, Zone
from perun_like.testing.power import Power, Ramp, RandomWalk, SquareWave, Sum
from perun_like.testing.recorder import record

S = 1_000_000_000
MS = 1_000_000
BOOT = 3_600 * S  # the machine's origin, on the monotonic clock
SQUARE = SquareWave(20, 220, 37 * MS)
RAMP = Ramp([(0, 10.0), (700 * MS, 240.0), (1_900 * MS, 35.0), (4_000 * MS, 90.0)])
WALK = RandomWalk(5, 240, 2 * MS, seed=3, stride_w=60)
POWERS: dict[str, Power] = {"square": SQUARE, "ramp": RAMP, "walk": WALK}


def machine(power: Power, **facts: object) -> Machine:
    zone = Zone("intel-rapl:0", "package-0", power, start_uj=1_000_000, max_power_w=300)
    return Machine([replace(zone, **facts)], BOOT)  # type: ignore[arg-type]


def truth(simulated: Machine, a_ns: int, b_ns: int) -> float:
    return simulated.truth_j("intel-rapl:0", a_ns, b_ns)


def energy(stream: Stream, windows: list[tuple[int, int]]) -> Increase:
    a_ns, b_ns = (np.array(edge, np.int64) for edge in zip(*windows, strict=True))
    [increase] = increases(counters(stream), Windows.each(a_ns, b_ns))
    return increase


@given(
    power=st.sampled_from(sorted(POWERS)),
    period_ns=st.sampled_from([1 * MS, 10 * MS, 97 * MS]),
    tick_ns=st.sampled_from([0, 976_562, 20 * MS]),
    lag_ns=st.sampled_from([0, 300_000, 7 * MS]),
    register_bits=st.sampled_from([22, 24, 32]),
    jitter_ns=st.sampled_from([0, 2 * MS]),
    dropped=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_truth_is_within_the_bounds_every_time(
    power: str,
    period_ns: int,
    tick_ns: int,
    lag_ns: int,
    register_bits: int,
    jitter_ns: int,
    dropped: float,
    seed: int,
) -> None:
    simulated = machine(POWERS[power], tick_ns=tick_ns, lag_ns=lag_ns, register_bits=register_bits)
    start_ns, stop_ns = BOOT + 50 * MS, BOOT + 2_050 * MS
    stream = record(simulated, start_ns, stop_ns, period_ns=period_ns, jitter_ns=jitter_ns, dropped=dropped, seed=seed)
    random = Random(seed)
    edges = [sorted(random.randrange(start_ns - 20 * MS, stop_ns + 20 * MS) for _ in "ab") for _ in range(60)]
    # Adversarial: windows that begin or end at the very instant of a read, and very short ones.
    reads = [int(t) for t in [*stream.t0_ns, *stream.t1_ns]]
    edges += [sorted(random.sample(reads, 2)) for _ in range(30)]
    edges += [[t, t + random.randrange(2 * MS)] for t in random.sample(reads, 10)]
    windows = [(a, b) for a, b in edges]
    found = energy(stream, windows)
    exact = np.array([truth(simulated, a, b) for a, b in windows])
    assert (found.lower <= exact + 1e-12).all()
    known = ~np.isnan(found.upper)
    assert (exact[known] <= found.upper[known] + 1e-12).all()
    assert (found.lower <= found.value).all()
    assert (found.value[known] <= found.upper[known]).all()
    inside = np.array([stream.t1_ns[3] <= a and b + 2 * period_ns < stream.t0_ns[-3] for a, b in windows])
    if not dropped and period_ns < 97 * MS:
        assert known[inside & np.array([b < stop_ns - 60 * MS for _, b in windows])].all()


@pytest.mark.parametrize("power", sorted(POWERS))
@pytest.mark.parametrize("register_bits", [22, 32])
def test_estimate_of_two_seconds_at_the_default_period(power: str, register_bits: int) -> None:
    """22 bits wrap after 256 J: once in these two seconds."""
    simulated = machine(POWERS[power], register_bits=register_bits)
    a_ns = BOOT + 101 * MS
    stream = record(simulated, a_ns - MS, a_ns + 2_110 * MS, jitter_ns=100_000)
    # The sampler reads once more, a tick and a lag after the end: the grid here is finer than that.
    end = record(simulated, a_ns + 2_002 * MS, a_ns + 2_002 * MS)
    merged = Stream(
        "rapl", stream.period_ns, stream.sensors,
        *(np.concatenate([x[x < end.t0_ns[0]], y]) for x, y in ((stream.t0_ns, end.t0_ns), (stream.t1_ns, end.t1_ns))),
        raw=np.concatenate([stream.raw[:, stream.t0_ns < end.t0_ns[0]], end.raw], axis=1),
        valid=np.concatenate([stream.valid[:, stream.t0_ns < end.t0_ns[0]], end.valid], axis=1),
    )  # fmt: skip
    found = energy(merged, [(a_ns, a_ns + 2 * S)])
    exact = truth(simulated, a_ns, a_ns + 2 * S)
    assert found.lower[0] <= exact <= found.upper[0]
    assert found.value[0] == pytest.approx(exact, rel=0.005)
    assert found.missing_s[0] == 0


@pytest.mark.parametrize("power", sorted(POWERS))
def test_most_short_windows_are_estimated_well(power: str) -> None:
    simulated = machine(POWERS[power])
    stream = record(simulated, BOOT, BOOT + 4 * S, period_ns=10 * MS)
    windows = [(BOOT + S + k * 7_654_321, BOOT + 2 * S + k * 7_654_321) for k in range(200)]
    found = energy(stream, windows)
    errors = [abs(v / truth(simulated, *w) - 1) for v, w in zip(found.value, windows, strict=True)]
    assert np.percentile(errors, 95) < 0.003
    width = np.median((found.upper - found.lower) / found.value)
    assert width == pytest.approx(2 * (10 + 0.98) / 1000, rel=0.15)  # 2 (period + tick) / window


def stream_of(joules: list[int | None], at_s: list[float] | None = None, **facts: object) -> Stream:
    """Reads that take no time, of a counter of whole joules that is always up to date."""
    sensor = Sensor("x:y", "x", "cpu", "energy", "counter", "J", scale=1.0, resolution=0, **facts)  # type: ignore[arg-type]
    t_ns = np.array([round(s * S) for s in (at_s or range(len(joules)))], np.int64)
    raw = np.array([[j or 0 for j in joules]], np.int64)
    return Stream("x", S, (sensor,), t_ns, t_ns, raw, np.array([[j is not None for j in joules]], np.bool_))


@pytest.mark.parametrize("joules", [[0, 100, 110, 120], [0, 10, 20, 120]])
def test_differences_of_a_counter_are_its_energy(joules: list[int | None]) -> None:
    """Defect 4: trapezoids over differentiated counters made 165 J and 75 J of these 120 J."""
    found = energy(stream_of(joules), [(0, 3 * S)])
    assert found.value[0] == 120.0
    assert found.lower[0] == pytest.approx(120, abs=2e-6)
    assert found.upper[0] == pytest.approx(120, abs=2e-6)


def test_days_of_sampling_keep_their_time_base() -> None:
    """Defect 6: time as float32 seconds was 15 % wrong after 7 days of reads every 0.1 s."""
    at = [7 * 86_400 + k / 10 for k in range(101)]
    found = energy(stream_of([k * k for k in range(101)], at), [(round((at[0] + 5.05) * S), round((at[0] + 7) * S))])
    assert found.value[0] == pytest.approx(70 * 70 - (50 * 50 + 51 * 51) / 2, rel=1e-9)


def test_window_that_starts_at_zero_and_at_a_read() -> None:
    found = energy(stream_of([3, 8, 20]), [(0, S), (0, 2 * S), (S, 2 * S), (S, S)])
    assert found.value.tolist() == [5, 17, 12, 0]
    assert not np.isnan(found.upper).any()


def test_window_inside_one_interval_has_only_an_upper_bound() -> None:
    found = energy(stream_of([0, 80, 100]), [(round(0.25 * S), round(0.5 * S))])
    assert (found.lower[0], found.value[0]) == (0, 20)
    assert found.upper[0] == pytest.approx(80, abs=2e-6)


def test_window_reaching_beyond_the_reads_is_at_least_what_is_known() -> None:
    stream = stream_of([0, 10, 30], [1, 2, 3])
    found = energy(stream, [(0, 3 * S), (S, 5 * S), (6 * S, 7 * S), (0, round(0.5 * S)), (S, 3 * S)])
    assert found.value.tolist() == [30, 30, 0, 0, 30]
    assert np.isnan(found.upper).tolist() == [True, True, True, True, False]
    assert found.missing_s.tolist() == [1, 2, 1, 0.5, 0]


@pytest.mark.parametrize("joules", [[], [5], [None, 5, None], [None, None]])
def test_less_than_two_reads_say_nothing(joules: list[int | None]) -> None:
    found = energy(stream_of(joules), [(0, S), (S, 3 * S)])
    assert found.value.tolist() == found.lower.tolist() == [0, 0]
    assert np.isnan(found.upper).all()
    assert found.missing_s.tolist() == [1, 2]


def test_missing_step_leaves_the_rest_of_the_sum() -> None:
    stream = stream_of([0, 10, 20, 5, 15, 25], ceiling=100.0)  # reset between 2 s and 3 s
    found = energy(stream, [(0, 5 * S), (0, 2 * S), (round(2.25 * S), round(2.5 * S)), (3 * S, 5 * S)])
    assert found.value.tolist() == [40, 20, 0, 20]
    assert found.missing_s.tolist() == [1, 0, 0.25, 0]
    assert np.isnan(found.upper).tolist() == [True, False, True, False]


def test_gap_too_long_for_one_wrap_is_missing_and_truth_is_above() -> None:
    simulated = machine(WALK, register_bits=22).with_faults("intel-rapl:0", Fault(DROPPED, S, 3 * S))
    stream = record(simulated, BOOT, BOOT + 4 * S, period_ns=10 * MS)
    a_ns, b_ns = BOOT + 100 * MS, BOOT + 3_900 * MS
    found = energy(stream, [(a_ns, b_ns)])
    known = truth(simulated, a_ns, BOOT + S) + truth(simulated, BOOT + 3 * S, b_ns)
    assert found.value[0] == pytest.approx(known, rel=0.02)
    assert found.value[0] < truth(simulated, a_ns, b_ns)
    assert np.isnan(found.upper[0])
    assert found.missing_s[0] == pytest.approx(2, abs=0.011)


def test_short_dropout_is_bridged() -> None:
    simulated = machine(WALK).with_faults("intel-rapl:0", Fault(DROPPED, S, 3 * S))
    stream = record(simulated, BOOT, BOOT + 4 * S, period_ns=10 * MS)
    window = BOOT + 100 * MS, BOOT + 3_900 * MS
    found = energy(stream, [window])
    assert found.lower[0] <= truth(simulated, *window) <= found.upper[0]
    assert found.value[0] == pytest.approx(truth(simulated, *window), rel=0.005)
    assert found.missing_s[0] == 0


@given(st.lists(st.integers(1, 60 * MS), min_size=2, max_size=80), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_sums_over_many_windows_of_an_owner_keep_the_truth_within(lengths: list[int], seed: int) -> None:
    simulated = machine(Sum([SQUARE, WALK]), register_bits=22, max_power_w=600)
    edges = BOOT + 100 * MS + np.cumsum(lengths[: len(lengths) // 2 * 2])
    windows = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    split = seed % (len(windows) + 1)
    owner = np.array([0] * split + [2] * (len(windows) - split), np.int64)
    stream = record(simulated, BOOT, int(edges[-1]) + 200 * MS, period_ns=20 * MS, seed=seed)
    a_ns, b_ns = (np.array(edge, np.int64) for edge in zip(*windows, strict=True))
    [found] = increases(counters(stream), Windows(a_ns, b_ns, owner, 3))
    envelope = energy(stream, [(windows[0][0], windows[-1][1])])
    for index, part in ((0, windows[:split]), (1, []), (2, windows[split:])):
        exact = sum(truth(simulated, a, b) for a, b in part)
        assert found.lower[index] <= exact <= found.upper[index]
        assert found.lower[index] <= found.value[index] <= found.upper[index]
        # However many windows there are, together they can't exceed the time from the first to the last.
        assert found.upper[index] <= envelope.upper[0] + len(part) * 100e-6
    assert found.value[1] == 0


def test_windows_of_different_owners_may_overlap() -> None:
    """Each owner's sum is what it would be alone."""
    simulated = machine(WALK)
    stream = record(simulated, BOOT, BOOT + 3 * S, period_ns=10 * MS)
    random = Random(5)
    edges = [sorted(random.sample(range(BOOT + 100 * MS, BOOT + 2_800 * MS, MS), 6)) for _ in range(30)]
    a_ns, b_ns = (np.array([t for some in edges for t in some[k::2]], np.int64) for k in (0, 1))
    owner = np.repeat(np.arange(30), 3)
    [found] = increases(counters(stream), Windows(a_ns, b_ns, owner, 30))
    for k in range(30):
        mine = owner == k
        [alone] = increases(counters(stream), Windows(a_ns[mine], b_ns[mine], np.zeros(3, np.int64), 1))
        assert [float(figure[k]) for figure in found] == pytest.approx([float(figure[0]) for figure in alone])
        exact = sum(truth(simulated, int(a), int(b)) for a, b in zip(a_ns[mine], b_ns[mine], strict=True))
        assert found.lower[k] <= exact <= found.upper[k]


def test_counters_of_different_ticks_are_each_looked_up_by_their_own() -> None:
    slow = Zone("intel-rapl:1", "dram", SQUARE, tick_ns=100 * MS, max_power_w=300)
    fast = Zone("intel-rapl:0", "package-0", SQUARE, max_power_w=300)
    simulated = Machine([fast, slow], BOOT)
    stream = record(simulated, BOOT, BOOT + 2 * S, period_ns=10 * MS)
    window = BOOT + 333 * MS, BOOT + 1_234 * MS
    found = increases(counters(stream), Windows.one(*window))
    for path, increase in zip(("intel-rapl:0", "intel-rapl:1"), found, strict=True):
        assert increase.lower[0] <= simulated.truth_j(path, *window) <= increase.upper[0]
    assert found[1].upper[0] - found[1].lower[0] > 3 * (found[0].upper[0] - found[0].lower[0])
