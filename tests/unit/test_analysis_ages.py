"""Counters that are read faster than they are updated: the truth is the integral of a power given in pieces."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perun_like.analysis.ages import Ages, edges
from perun_like.analysis.counters import Counter, unwrap
from perun_like.analysis.windows import Windows, increases
from perun_like.model.recording import Int64s
from perun_like.sensing.contract import Sensor

MS = 1_000_000
S = 1_000_000_000
BOOT = 86_400 * S
UNKNOWN = 10**6  # what a read before the first update would show


class Card(NamedTuple):
    """A counter and its truth.

    Attributes:
        counter: As it was read.
        at_ns: Where the power changes, int64, ascending.
        joules: The true energy up to there.
    """

    counter: Counter
    at_ns: Int64s
    joules: np.ndarray[tuple[int], np.dtype[np.float64]]

    def truth_j(self, a_ns: Int64s, b_ns: Int64s) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What was really used from a to b."""
        return np.asarray(self.at(b_ns) - self.at(a_ns), np.float64)

    def at(self, t_ns: Int64s) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The energy up to an instant; seconds since the first, so that doubles are exact enough."""
        return np.interp((t_ns - self.at_ns[0]) / S, (self.at_ns - self.at_ns[0]) / S, self.joules)


def card(
    random: Random,
    *,
    tick_ns: int = 100 * MS,
    real_tick_ns: int = 83 * MS,
    unsteady: float = 0.0,
    lag_ns: int = 0,
    period_ns: int = 20 * MS,
    jitter_ns: int = 0,
    read_ns: int = 50_000,
    dropped: float = 0.0,
    idle: float = 0.0,
    resolution_j: float = 0.001,
    modulus: int | None = None,
    length_ns: int = 3 * S,
) -> Card:
    """Reads of a card with updates up to a tick apart, each of which shows within the lag, of a power in pieces."""
    start_ns, stop_ns = BOOT - S, BOOT + length_ns + 2 * (S + tick_ns + lag_ns + period_ns + read_ns)
    pieces = [start_ns]
    while pieces[-1] < stop_ns:
        pieces.append(pieces[-1] + random.randint(MS, 300 * MS))
    watts = [0.0 if random.random() < idle else random.uniform(1, 400) for _ in pieces[1:]]
    at_ns = np.array(pieces, np.int64)
    joules = np.concatenate([[0.0], np.cumsum(np.diff(at_ns) / S * watts)])

    updates = [start_ns + random.randrange(tick_ns)]
    while updates[-1] < stop_ns:
        step_ns = real_tick_ns * random.uniform(1 - unsteady, 1 + unsteady)
        updates.append(updates[-1] + min(max(int(step_ns), MS // 10), tick_ns))
    counted_ns = np.array(updates, np.int64)
    visible_ns = np.maximum.accumulate(counted_ns + np.array([random.randint(0, lag_ns) for _ in updates]))

    t0_ns, t1_ns, seen_ns, now_ns = [], [], [], BOOT - random.randrange(period_ns)
    end_ns = BOOT + length_ns + tick_ns + lag_ns + period_ns
    for grid_ns in range(now_ns, end_ns, period_ns):
        if now_ns > end_ns:
            break
        now_ns = max(now_ns, grid_ns + random.randint(0, jitter_ns))
        took_ns = random.randint(1, read_ns)
        if random.random() >= dropped:
            t0_ns.append(now_ns)
            t1_ns.append(now_ns + took_ns)
            seen_ns.append(now_ns + random.randint(0, took_ns))
        now_ns += took_ns
    shown = np.searchsorted(visible_ns, np.array(seen_ns, np.int64), "right") - 1
    assert (shown >= 0).all()
    plain = Card(unwrapped([], [], [], resolution_j, None, 0, 0), at_ns, joules)
    units = ((plain.at(counted_ns[shown]) + UNKNOWN) / resolution_j).astype(np.int64)
    raw = [int(unit) % modulus if modulus else int(unit) for unit in units]
    return plain._replace(counter=unwrapped(t0_ns, t1_ns, raw, resolution_j, modulus, tick_ns, lag_ns))


def unwrapped(
    t0_ns: list[int],
    t1_ns: list[int],
    raw: list[int],
    resolution_j: float = 0.001,
    modulus: int | None = None,
    tick_ns: int = 100 * MS,
    lag_ns: int = 0,
) -> Counter:
    sensor = Sensor(
        "nvml:gpu0/energy", "nvml", "gpu", "energy", "counter", "J",
        scale=resolution_j, modulus=modulus, tick_ns=tick_ns, lag_ns=lag_ns, ceiling=4000.0,
    )  # fmt: skip
    return unwrap(sensor, np.array(t0_ns, np.int64), np.array(t1_ns, np.int64), np.array(raw, np.int64))


def some_windows(random: Random, of: Counter, many: int = 80) -> Windows:
    """Windows of any length, some from or to the very instants of reads, some empty."""
    reads = [int(t) for t in [*of.t0_ns, *of.t1_ns]]
    last_ns = reads[-1]
    edges_ns = [sorted(random.randint(BOOT, last_ns) for _ in "ab") for _ in range(many)]
    edges_ns += [sorted(random.sample(reads, 2)) for _ in range(many // 2)]
    edges_ns += [[t, t + random.randrange(3 * MS)] for t in random.sample(reads, min(10, len(reads)))]
    a_ns, b_ns = (np.array(column, np.int64) for column in zip(*edges_ns, strict=True))
    return Windows.each(a_ns, b_ns)


@given(
    seed=st.integers(0, 10**9),
    tick_ns=st.sampled_from([976_563, 20 * MS, 100 * MS]),
    real=st.sampled_from([0.03, 0.2, 0.83, 1.0]),
    unsteady=st.sampled_from([0.0, 0.1, 1.0]),
    lag=st.sampled_from([0.0, 0.05, 0.5, 2.0]),
    period=st.sampled_from([0.07, 0.2, 0.5, 1.0, 1.02, 3.0]),
    jitter=st.sampled_from([0.0, 0.1, 2.0]),
    read=st.sampled_from([0.01, 0.5, 5.0]),
    dropped=st.sampled_from([0.0, 0.2, 0.8]),
    idle=st.sampled_from([0.0, 0.6]),
    resolution_j=st.sampled_from([61e-6, 0.001, 2.0]),
    bits=st.sampled_from([0, 18]),
)
@settings(max_examples=300, deadline=None)
def test_truth_is_within_the_bounds_every_time(
    seed: int, tick_ns: int, real: float, unsteady: float, lag: float, period: float, jitter: float, read: float,
    dropped: float, idle: float, resolution_j: float, bits: int,
) -> None:  # fmt: skip
    """All that is random in it is a share of the tick. Each example is a hundred windows."""
    random = Random(seed)
    of = card(
        random,
        tick_ns=tick_ns,
        real_tick_ns=int(real * tick_ns),
        unsteady=unsteady,
        lag_ns=int(lag * tick_ns),
        period_ns=int(period * tick_ns),
        jitter_ns=int(jitter * period * tick_ns),
        read_ns=max(int(read * period * tick_ns), 1),
        dropped=dropped,
        idle=idle,
        resolution_j=resolution_j,
        modulus=1 << bits if bits else None,
        length_ns=30 * tick_ns,
    )
    if of.counter.reads < 2:
        return
    windows = some_windows(random, of.counter)
    [found] = increases([of.counter], windows)
    exact = of.truth_j(windows.a_ns, windows.b_ns)
    known = ~np.isnan(found.upper)
    assert (found.lower <= exact + 1e-9).all()
    assert (exact[known] <= found.upper[known] + 1e-9).all()
    assert (found.lower <= found.value).all()
    assert (found.value[known] <= found.upper[known]).all()
    assert (found.missing_s >= 0).all()


def by_definition(counter: Counter) -> tuple[list[int], list[bool]]:
    """What the docstring says of each read's greatest age, one after the other; and which are new."""
    tick_ns, lag_ns = counter.sensor.tick_ns, counter.sensor.lag_ns
    oldest = [int(counter.t0_ns[0]) - tick_ns - lag_ns]
    new = [False]
    for k in range(1, counter.reads):
        new.append(bool(counter.units[k] > counter.units[k - 1]))
        seen = [int(counter.t0_ns[k - 1]) - lag_ns] if new[-1] else []
        oldest.append(max(oldest[-1], int(counter.t0_ns[k]) - tick_ns - lag_ns, *seen))
    return oldest, new


@given(st.integers(0, 10**9), st.sampled_from([0.0, 0.3]), st.sampled_from([0, 5 * MS]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_lookups_are_those_of_the_definition(seed: int, dropped: float, lag_ns: int, broken: bool) -> None:
    random = Random(seed)
    of = card(random, dropped=dropped, lag_ns=lag_ns, idle=0.3, jitter_ns=30 * MS, read_ns=10 * MS, length_ns=S).counter
    if broken:  # a reset: a step that says nothing
        raw = of.units + 5_000_000 - np.where(np.arange(of.reads) > of.reads // 2, 4_000_000, 0)
        of = unwrap(of.sensor, of.t0_ns, of.t1_ns, raw)
        assert of.gaps[-1] == 1
    windows = some_windows(random, of)
    ages = Ages(of)
    oldest, new = by_definition(of)
    assert any(new)
    for t_ns in (windows.a_ns, windows.b_ns, np.array(oldest), ages.shown_ns, ages.shown_ns + 1):
        found = edges(of, t_ns)
        assert ages.first_since(found).tolist() == np.searchsorted(oldest, t_ns, "left").tolist()
        seconds = (t_ns - BOOT) / S, (ages.shown_ns - BOOT) / S
        value = ages.places(found).interpolate(of.units)
        # np.interp takes either of two reads of one instant; these have one value.
        assert value == pytest.approx(np.interp(*seconds, of.units), rel=1e-6, abs=1)
    assert (np.diff(ages.shown_ns) >= 0).all()
    assert (np.diff(ages.shown_ns)[np.array(new[1:]) | of.missing[1:]] > 0).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("period_ms", [3, 20, 150])
def test_few_instants_among_many_reads_lie_where_they_do_among_all(
    seed: int, period_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the reads around each are looked at, however long the counter stands still there."""
    random = Random(seed)
    facts = {"dropped": random.choice([0.0, 0.3]), "lag_ns": random.choice([0, 5, 120]) * MS, "idle": 0.7}
    of = card(random, period_ns=period_ms * MS, jitter_ns=MS, unsteady=0.1, length_ns=5 * S, **facts).counter
    ages, windows = Ages(of), some_windows(random, of)
    beyond_ns = np.array([BOOT - 10 * S, of.t0_ns[0], of.t1_ns[-1], of.t1_ns[-1] + S])
    t_ns = np.concatenate([windows.a_ns, windows.b_ns, beyond_ns])
    found = edges(of, t_ns)
    first_since, places = ages.first_since(found).tolist(), ages.places(found)
    monkeypatch.setattr("perun_like.analysis.ages._MANY", 1)
    for number, t in enumerate(t_ns):
        alone = edges(of, np.array([t]))
        assert ages.first_since(alone).tolist() == first_since[number : number + 1]
        assert ages.places(alone).before.tolist() == [places.before[number]]
        assert ages.places(alone).fraction.tolist() == [places.fraction[number]]


@pytest.mark.parametrize("unit", ["J", "s"])
def test_reads_a_tick_apart_or_more_tell_no_ages(unit: str) -> None:
    """CPU time is a sum over processors, of which any may have been updated last: its reads never do."""
    period_ns = 100 * MS if unit == "J" else 20 * MS
    of = card(Random(1), period_ns=period_ns, jitter_ns=0, idle=0.3, lag_ns=3 * MS, read_ns=1).counter
    of = unwrap(of.sensor._replace(unit=unit, ceiling=None), of.t0_ns, of.t1_ns, of.units)
    ages = Ages(of)
    assert not ages.told
    assert ages.shown_ns.tolist() == [(a + b) // 2 - 53 * MS for a, b in zip(of.t0_ns, of.t1_ns, strict=True)]
    t_ns = np.arange(BOOT, BOOT + 3 * S, 7 * MS)
    assert ages.first_since(edges(of, t_ns)).tolist() == np.searchsorted(of.t0_ns - 103 * MS, t_ns).tolist()


def test_a_new_value_is_no_older_than_the_read_before() -> None:
    """At 0, 20 … ms, of a counter that may be 100 ms old: updated between 40 and 60 ms, and again until 120 ms."""
    t_ns = [BOOT + k * 20 * MS for k in range(7)]
    counter = unwrapped(t_ns, t_ns, [5, 5, 5, 9, 9, 9, 14])
    ages = Ages(counter)
    first_since = ages.first_since(edges(counter, np.array([t + 1 for t in [BOOT - 100 * MS, *t_ns]])))
    assert first_since.tolist() == [1, 3, 3, 6, 6, 6, 7, 7]
    middles_ms = [(t - BOOT) // MS for t in ages.shown_ns]
    assert middles_ms[3:] == [50, 50, 50, 110]
    assert middles_ms[2] == -10  # 60 ms before the next one, as that is before the one after it


def errors(cards: list[Card], a_ns: int = BOOT, b_ns: int = BOOT + 3 * S) -> tuple[list[float], list[float]]:
    """Relative errors of the estimate over a window; and of one that takes each read as half a tick old."""
    ours, plain = [], []
    for of in cards:
        exact = of.truth_j(np.array([a_ns]), np.array([b_ns]))[0]
        [found] = increases([of.counter], Windows.one(a_ns, b_ns))
        shown_s = (of.counter.t0_ns - BOOT - of.counter.sensor.tick_ns // 2) / S
        a, b = np.interp([(a_ns - BOOT) / S, (b_ns - BOOT) / S], shown_s, of.counter.units * of.counter.sensor.scale)
        ours.append(abs(float(found.value[0]) / exact - 1))
        plain.append(abs((b - a) / exact - 1))
    return ours, plain


@pytest.mark.parametrize("real_ms", [10, 20, 50, 83, 100])
@pytest.mark.parametrize("unsteady", [0.0, 0.15])
def test_estimates_profit_from_reads_that_see_the_updates(real_ms: int, unsteady: float) -> None:
    cards = [card(Random(seed), real_tick_ns=real_ms * MS, unsteady=unsteady, jitter_ns=MS) for seed in range(80)]
    ours, plain = errors(cards)
    assert np.sqrt(np.mean(np.square(ours))) < 0.7 * np.sqrt(np.mean(np.square(plain)))
    assert np.percentile(ours, 90) < 0.01


def test_a_counter_that_stands_still_is_known_to() -> None:
    """A second without power between two with: reads that show an old value, and one that is old only by a tick."""
    at_ns = np.array([BOOT - S, BOOT + S, BOOT + 2 * S, BOOT + 4 * S], np.int64)
    joules = np.array([0.0, 400.0, 400.0, 800.0])
    t_ns = np.arange(BOOT, BOOT + 3 * S, 10 * MS)
    of = Card(unwrapped([], [], []), at_ns, joules)
    raw = (of.at(t_ns // (50 * MS) * (50 * MS)) * 1000).astype(np.int64).tolist()
    of = of._replace(counter=unwrapped(t_ns.tolist(), (t_ns + 1).tolist(), raw))
    windows = Windows.each(BOOT + np.array([800, 1050, 1200]) * MS, BOOT + np.array([1200, 1900, 2200]) * MS)
    [found] = increases([of.counter], windows)
    assert found.value == pytest.approx([40, 0, 40], abs=1.5)
    assert found.upper[1] == pytest.approx(0.001, abs=1e-5)
