"""Unwrapping: the truth is a Python integer that never wraps, shown through a modulus."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perun_like.analysis.counters import Counter, counters, unwrap
from perun_like.model.recording import Stream
from perun_like.sensing.contract import GAUGE, Sensor

SECOND = 1_000_000_000
ENERGY = Sensor(
    "rapl:package-0", "rapl", "cpu", "energy", "counter", "J",
    scale=1e-6, modulus=262_143_328_850, resolution=61, tick_ns=976_562, ceiling=300.0,
)  # fmt: skip


def stream(sensors: list[Sensor], rows: list[list[int | None]], period_ns: int = SECOND) -> Stream:
    t0_ns = np.arange(len(rows[0]), dtype=np.int64) * period_ns
    raw = np.array([[-1 if v is None else v for v in row] for row in rows], np.int64)
    valid = np.array([[v is not None for v in row] for row in rows])
    return Stream("test", period_ns, tuple(sensors), t0_ns, t0_ns + 5_000, raw, valid)


def one(sensor: Sensor, row: list[int | None], period_ns: int = SECOND) -> Counter:
    [counter] = counters(stream([sensor], [row], period_ns))
    return counter


@given(
    start=st.integers(0, 10**9),
    steps=st.lists(st.integers(0, 299), min_size=1, max_size=30),
    modulus=st.integers(302, 2000),
)
def test_wraps_are_undone_exactly(start: int, steps: list[int], modulus: int) -> None:
    truth = np.cumsum([start, *steps])
    # 299 W at most, and the ceiling of 300 W times 1 s is just below every modulus.
    sensor = ENERGY._replace(scale=1.0, resolution=1, modulus=modulus, ceiling=300.0, tick_ns=0)
    counter = one(sensor, [int(v) % modulus for v in truth])
    assert counter.units.tolist() == (truth - start).tolist()
    assert counter.wraps[-1] == int(truth[-1]) // modulus - start // modulus
    assert not counter.missing.any()


def test_int64_is_exact_beyond_the_mantissa_of_a_double() -> None:
    steps = [10**15 + 1, 10**15 + 3, 10**15 + 7]
    sensor = ENERGY._replace(modulus=2**62, ceiling=None, unit="1", scale=1.0)
    values = np.cumsum([2**62 - 10**15, *steps]) % 2**62
    assert np.diff(one(sensor, values.tolist()).units).tolist() == steps


def test_failed_read_is_skipped_and_the_counter_continues_across_it() -> None:
    """Defect 5: one failed read stored as 0 looked like a wrap and made 262,593 J of 450 J."""
    row = [1_000_000, 151_000_000, None, 451_000_000]
    counter = one(ENERGY, row)
    assert counter.units[-1] == 450_000_000
    assert counter.wraps[-1] == 0
    assert counter.failed == 1
    assert not counter.missing.any()


def test_zero_that_slipped_through_is_missing_not_a_wrap() -> None:
    """Defect 5, from a sensor that shows 0 where it should fail: both steps around it say nothing."""
    counter = one(ENERGY, [1_000_000, 151_000_000, 0, 451_000_000])
    assert counter.missing.tolist() == [False, False, True, True]
    assert counter.units[-1] == 150_000_000
    assert counter.wraps[-1] == 0


def test_reset_is_missing_and_counting_goes_on() -> None:
    counter = one(ENERGY, [200_000_000_000, 200_100_000_000, 5_000_000, 105_000_000])
    assert counter.missing.tolist() == [False, False, True, False]
    assert counter.units[-1] == 200_000_000


def test_gap_in_which_it_may_have_wrapped_twice_is_missing() -> None:
    period_ns = 874 * SECOND  # 300 W x 874 s is just more than the modulus
    assert one(ENERGY, [0, 10], period_ns).missing.tolist() == [False, True]
    assert one(ENERGY, [0, 10], period_ns - SECOND).missing.tolist() == [False, False]


def test_step_may_exceed_the_ceiling_by_what_a_tick_hides() -> None:
    """The first read shows a count one tick old, the second one that is new: 301 ms of counting in 300 ms."""
    sensor = ENERGY._replace(scale=1.0, resolution=0, tick_ns=10_000_000)
    assert not one(sensor, [0, 303], SECOND).missing.any()
    assert one(sensor, [0, 304], SECOND).missing.any()


def test_counter_without_wrap_that_goes_back_was_reset() -> None:
    sensor = ENERGY._replace(modulus=None, ceiling=None)
    counter = one(sensor, [500, 700, 300, 400])
    assert counter.missing.tolist() == [False, False, True, False]
    assert counter.units.tolist() == [0, 200, 200, 300]


def test_values_that_cannot_be_shown_are_failed_reads() -> None:
    row = [0, 10, 262_143_328_850, 2**40, 30]
    counter = one(ENERGY, row)
    assert counter.reads == 3
    assert counter.failed == 2
    assert counter.units[-1] == 30


def test_counters_read_together_share_their_times_and_gauges_are_left_out() -> None:
    gauge = ENERGY._replace(id="gauge", kind=GAUGE)
    other = ENERGY._replace(id="other")
    lame = ENERGY._replace(id="lame")
    found = counters(stream([ENERGY, gauge, other, lame], [[1, 2, 3], [7, 7, 7], [4, 5, 6], [1, None, 3]]))
    assert [counter.sensor.id for counter in found] == ["rapl:package-0", "other", "lame"]
    assert found[0].t0_ns is found[1].t0_ns
    assert found[2].reads == 2


def test_no_read_and_one_read() -> None:
    empty = np.array([], np.int64)
    assert unwrap(ENERGY, empty, empty, empty).reads == 0
    single = one(ENERGY, [42])
    assert single.units.tolist() == [0]
    assert single.missing.tolist() == [False]
