"""Statistics over many short calls, against the exact integral of a power that follows the program's calls."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import MS, S

from perun_like.analysis.counters import Counter, counters, unwrap
from perun_like.analysis.short_calls import Correction, ShortCalls
from perun_like.analysis.windows import Windows, increases
from perun_like.testing import Constant, Machine, Power, Ramp, RandomWalk, SquareWave, Sum, Zone
from perun_like.testing.recorder import record

SECONDS = 12
Calls = list[tuple[int, int]]


class Case(NamedTuple):
    """A program's calls on a machine whose power is known."""

    calls: Calls
    machine: Machine
    counters: list[Counter]

    @property
    def windows(self) -> Windows:
        a_ns, b_ns = (np.array(column, np.int64) for column in zip(*self.calls, strict=True))
        return Windows.joined(a_ns, b_ns)

    @property
    def truth_j(self) -> float:
        return sum(self.machine.truth_j(zone.path, a, b) for zone in self.machine.zones for a, b in self.calls)

    @property
    def interpolated_j(self) -> float:
        return sum(float(found.value[0]) for found in increases(self.counters, self.windows))

    def found(self) -> Correction | None:
        return ShortCalls(self.counters).correction(self.windows)


def calls_of(seed: int, gap: Callable[[random.Random], float], seconds: float = SECONDS) -> Calls:
    rng, t_ns, made = random.Random(seed), 300 * MS, Calls()
    while t_ns < (seconds - 0.3) * S:
        made.append((t_ns, t_ns + rng.randrange(1_600_000, 2_400_000)))
        t_ns = made[-1][1] + max(int(gap(rng)), 1000)
    return made


def following(calls: Calls, watts: float, after_ns: int = 0) -> Power:
    """So many watts more while a call runs, or in some time after it."""
    edges = [(b, min(b + after_ns, c)) for (_, b), (c, _) in pairwise(calls)] if after_ns else calls
    return Ramp([(0, 0.0), *((t, w) for a, b in edges for t, w in ((a, 0.0), (a, watts), (b, watts), (b, 0.0)))])


def drifting(seed: int) -> Power:
    return Sum([RandomWalk(20, 60, 20 * MS, seed, stride_w=10), SquareWave(0, 30, 1_700 * MS, 300 * MS)])


def case(seed: int, calls: Calls, power: Power, period_ns: int, zones: int = 1) -> Case:
    machine = Machine([Zone(f"intel-rapl:{n}", f"package-{n}", power) for n in range(zones)])
    stream = record(machine, 0, SECONDS * S, period_ns=period_ns, jitter_ns=period_ns // 50, seed=seed)
    return Case(calls, machine, counters(stream))


def at_random(rng: random.Random) -> float:
    return rng.uniform(0.5, 5) * MS


def in_bursts(rng: random.Random) -> float:
    return rng.expovariate(1 / (30 * MS)) if rng.random() < 0.1 else rng.uniform(0.5, 3) * MS


GAPS = {"at random": at_random, "in bursts": in_bursts}


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize(("period_ns", "lacks"), [(10 * MS, 0.2), (1 * MS, 0.04)])
def test_power_that_follows_calls_is_told_where_interpolation_is_far_off(
    gaps: str, period_ns: int, lacks: float
) -> None:
    inside = 0
    for seed in range(5):
        calls = calls_of(seed, GAPS[gaps])
        made = case(seed, calls, Sum([following(calls, 120.0), drifting(seed)]), period_ns)
        found, truth_j = made.found(), made.truth_j
        assert found is not None
        assert made.interpolated_j < (1 - lacks) * truth_j
        inside += found.ends_j[0] <= truth_j - made.interpolated_j <= found.ends_j[1]
        assert made.interpolated_j + found.value_j == pytest.approx(truth_j, rel=0.05)
        assert found.half_j < 0.15 * truth_j
    assert inside == 5


@pytest.mark.parametrize(
    "power", [Constant(70.0), drifting(3), RandomWalk(10, 200, 3 * MS, 8), SquareWave(20, 180, 130 * MS)]
)
def test_power_that_has_nothing_to_do_with_calls(power: Power) -> None:
    inside = []
    for seed in range(6):
        made = case(seed, calls_of(seed, at_random), power, 10 * MS)
        found = made.found()
        assert found is not None
        inside.append(found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1])
    assert sum(inside) >= 5  # of 6, where 95 % are to be expected


def test_what_follows_a_call_is_not_taken_for_the_call() -> None:
    """Power is high in the 3 ms after each call: least squares of the calls alone would say that it was theirs."""
    for seed in range(5):
        calls = calls_of(seed, lambda rng: 3 * MS + rng.expovariate(1 / (6 * MS)))
        power = Sum([following(calls, 90.0, after_ns=3 * MS), following(calls, 30.0), Constant(20.0)])
        made = case(seed, calls, power, 10 * MS)
        found = made.found()
        assert found is not None
        assert found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1]


def test_long_calls_that_draw_more_than_short_ones() -> None:
    """The longer a call, the more it weighs in an interval: of a single power all would be taken for hungry."""
    for seed in range(5):
        calls = calls_of(seed, at_random)
        power = Sum(
            [following(calls, 60.0), following([c for c in calls if c[1] - c[0] > 2 * MS], 60.0), drifting(seed)]
        )
        made = case(seed, calls, power, 10 * MS)
        found = made.found()
        assert found is not None
        assert found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1]


def test_what_only_some_calls_lead_to() -> None:
    """A third is followed by 5 ms of hungry work, which the others' short gaps say nothing of."""
    for seed in range(5):
        calls = calls_of(seed, lambda rng: (5 if rng.random() < 0.33 else 1) * rng.uniform(0.8, 1.2) * MS)
        work = [(b, c) for (_, b), (c, _) in pairwise(calls) if c - b > 3 * MS]
        made = case(seed, calls, Sum([following(calls, 20.0), following(work, 100.0), drifting(seed)]), 10 * MS)
        found = made.found()
        assert found is not None
        assert found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1]


def test_what_a_program_does_in_a_long_pause_is_not_taken_for_its_calls() -> None:
    """For 2 s it calls, for 2 s it computes and draws 90 W more: that would make calls look thrifty."""
    calls = [call for call in calls_of(7, at_random) if call[0] // (2 * S) % 2]
    pauses = [(n * S, (n + 2) * S) for n in range(0, SECONDS, 4)]
    made = case(7, calls, Sum([following(calls, 60.0), following(pauses, 90.0), Constant(20.0)]), 20 * MS)
    found = made.found()
    assert found is not None
    assert found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1]
    assert made.interpolated_j + found.value_j == pytest.approx(made.truth_j, rel=0.1)


@pytest.mark.parametrize("rest_s", [3_600, 86_400, 4 * 86_400])
def test_days_without_reads_change_nothing(rest_s: int) -> None:
    """A notebook's sampler rests over night: pauses of the next day are told from calls as if it had been awake."""
    calls = [call for call in calls_of(2, at_random) if call[0] // S % 2]
    pauses = [(n * S, (n + 1) * S) for n in range(2, SECONDS, 2)]
    made = case(2, calls, Sum([following(calls, 60.0), following(pauses, 90.0), Constant(20.0)]), 10 * MS)
    awake, rested = made.found(), after_rest(made, 2_500 * MS, rest_s).found()
    assert awake is not None
    assert rested is not None
    assert rested == pytest.approx(awake, rel=1e-6)
    assert rested.ends_j[0] <= made.truth_j - made.interpolated_j <= rested.ends_j[1]


def after_rest(made: Case, since_ns: int, rest_s: int) -> Case:
    """The same, but for a time in which nothing is read or called and 20 W are drawn."""
    [counter] = made.counters
    later = counter.t0_ns >= since_ns
    by_ns, idle = rest_s * S * later, int(20 * rest_s / counter.sensor.scale) * later
    counter = counter._replace(t0_ns=counter.t0_ns + by_ns, t1_ns=counter.t1_ns + by_ns, units=counter.units + idle)
    calls = [(a + rest_s * S * (a >= since_ns), b + rest_s * S * (a >= since_ns)) for a, b in made.calls]
    return made._replace(calls=calls, counters=[counter])


def test_counters_that_are_read_together_are_added() -> None:
    calls = calls_of(1, at_random)
    power = Sum([following(calls, 120.0), drifting(1)])
    one, two = (case(1, calls, power, 10 * MS, zones).found() for zones in (1, 2))
    assert one is not None
    assert two is not None
    assert two.value_j == pytest.approx(2 * one.value_j, rel=0.05)
    assert 1.4 * one.half_j < two.half_j < 2.02 * one.half_j  # what is chance in one isn't the same in the other


def test_missing_steps_are_left_out() -> None:
    calls = calls_of(2, at_random)
    made = case(2, calls, Sum([following(calls, 120.0), drifting(2)]), 10 * MS)
    [counter] = made.counters
    reset = counter.reads // 2
    units, gaps = counter.units.copy(), counter.gaps.copy()
    step = units[reset] - units[reset - 1]
    units[reset:] -= step
    gaps[reset:] += 1
    broken = counter._replace(units=units, gaps=gaps)
    found, whole = ShortCalls([broken]).correction(made.windows), made.found()
    assert found is not None
    assert whole is not None
    assert found.value_j == pytest.approx(whole.value_j, rel=0.03)


def test_calls_in_step_with_the_reads_tell_nothing() -> None:
    """Each interval holds as much of them: their power could be anything."""
    calls = [(300 * MS + n * 10 * MS, 302 * MS + n * 10 * MS) for n in range(1_100)]
    machine = Machine([Zone("intel-rapl:0", "package-0", Sum([following(calls, 120.0), Constant(30.0)]))])
    made = Case(calls, machine, counters(record(machine, 0, SECONDS * S, period_ns=10 * MS)))
    found = made.found()
    assert found is None or found.half_j > made.truth_j / 2


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_the_calls_and_reads_there_is_a_finite_figure_or_none(data: st.DataObject) -> None:
    """Calls of no length, reads that show one instant, counters that stand still or are reset: no warning either."""
    gaps = data.draw(st.lists(st.sampled_from([0, 1, 1_000, MS, 3 * MS, 70 * MS]), min_size=60, max_size=300))
    lengths = data.draw(st.lists(st.sampled_from([1, 500, MS, 2 * MS, 40 * MS]), min_size=1, max_size=6))
    steps = data.draw(st.lists(st.sampled_from([0, 1, 10, 50_000]), min_size=2, max_size=9))
    period_ns = data.draw(st.sampled_from([200_000, MS, 7 * MS, 100 * MS]))
    starts = np.cumsum([gap + lengths[n % len(lengths)] for n, gap in enumerate(gaps)])
    calls = [(int(start), int(start) + lengths[n % len(lengths)]) for n, start in enumerate(starts)]
    t0_ns = np.arange(0, min(int(starts[-1]) + 2 * period_ns, 3_000 * period_ns), period_ns)
    raw = np.cumsum([steps[n % len(steps)] for n in range(len(t0_ns))])
    sensor = case(0, [], Constant(1.0), S).counters[0].sensor
    counter = unwrap(sensor, t0_ns, t0_ns + 1_000, raw % (sensor.modulus or 1))
    a_ns, b_ns = (np.array(column, np.int64) for column in zip(*calls, strict=True))
    found = ShortCalls([counter]).correction(Windows.joined(a_ns, b_ns))
    assert found is None or (math.isfinite(found.value_j) and 0 <= found.half_j < math.inf)


@pytest.mark.parametrize("number", [1, 3, 12])
def test_few_calls_tell_nothing(number: int) -> None:
    calls = calls_of(4, lambda rng: rng.uniform(5, 15) * MS)[:number]
    made = case(4, calls, Sum([following(calls, 120.0), drifting(4)]), 10 * MS)
    assert made.found() is None


def test_a_counter_that_was_read_once() -> None:
    calls = calls_of(5, at_random)
    machine = Machine([Zone("intel-rapl:0", "package-0", Constant(50.0))])
    made = Case(calls, machine, counters(record(machine, 0, MS, period_ns=10 * MS)))
    assert made.found() is None


def test_a_long_run_is_looked_at_in_all_its_parts() -> None:
    """Of an hour only some intervals are used: the calls that get hungrier in its second half are among them."""
    calls = calls_of(6, lambda rng: rng.uniform(20, 80) * MS, 600)
    power = Sum(
        [following(calls, 60.0), following([each for each in calls if each[0] > 300 * S], 120.0), Constant(40.0)]
    )
    machine = Machine([Zone("intel-rapl:0", "package-0", power)])
    made = Case(calls, machine, counters(record(machine, 0, 600 * S, period_ns=20 * MS, jitter_ns=MS)))
    found = made.found()
    assert found is not None
    assert made.interpolated_j < 0.7 * made.truth_j
    assert made.interpolated_j + found.value_j == pytest.approx(made.truth_j, rel=0.1)
    assert found.ends_j[0] <= made.truth_j - made.interpolated_j <= found.ends_j[1]
