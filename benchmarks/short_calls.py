"""Functions too short for the sensors: how far off interpolation is, and whether the interval of statistics holds.

    python benchmarks/short_calls.py

Programs that call a function of 2 ms in all kinds of rhythms, on machines whose power follows the calls, or what is
around them, or has nothing to do with them. Recordings are made in memory, without processes: hundreds of them, where
accuracy.py has a few whole ones. The truth is the exact integral of the power. Two minutes.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from harness import MS, Report, S, begin, percentile

from perun_like.analysis.counters import counters
from perun_like.analysis.short_calls import ShortCalls
from perun_like.analysis.windows import Windows, increases
from perun_like.testing import Constant, Machine, Power, Ramp, RandomWalk, SquareWave, Sum, Zone
from perun_like.testing.recorder import record

PERIODS = {"1 ms": MS, "10 ms": 10 * MS, "100 ms": 100 * MS}
WIDE = 0.5  # of the value: intervals that are wider aren't told, as in reports
UNTOLD = "power a millisecond behind the calls"  # no statistics can know: it isn't part of the target

Calls = Sequence[tuple[int, int]]
Gap = Callable[[random.Random], float]


class Program(NamedTuple):
    """What a program does, and what it makes the machine draw.

    Attributes:
        gap: Time from one call to the next, in ns.
        power: What the machine draws, by its calls and a seed.
    """

    gap: Gap
    power: Callable[[Calls, int], Power]


class Outcome(NamedTuple):
    """One function: errors and half the interval's width in percent of the truth; None where there is no interval."""

    interpolated: float
    found: float | None
    half: float | None


def calls_of(gap: Gap, seconds: float, seed: int) -> Calls:
    """Calls of 1.6 to 2.4 ms."""
    rng, t_ns = random.Random(seed), 300 * MS
    made: list[tuple[int, int]] = []
    while t_ns < (seconds - 0.4) * S:
        made.append((t_ns, t_ns + rng.randrange(1_600_000, 2_400_000)))
        t_ns = made[-1][1] + max(int(gap(rng)), 10_000)
    return made


def steps(intervals: Calls, watts: float) -> Power:
    """So many watts in intervals that follow each other, none between them."""
    return Ramp([(0, 0.0), *((t, w) for a, b in intervals for t, w in ((a, 0.0), (a, watts), (b, watts), (b, 0.0)))])


def drift(seed: int) -> Power:
    """What goes on beside: a walk, and a slow wave."""
    return Sum([RandomWalk(20, 60, 20 * MS, seed, stride_w=10), SquareWave(0, 30, 1_700 * MS, seed * 100 * MS)])


def more(calls: Calls, seed: int) -> Power:
    """120 W more in a call."""
    return Sum([steps(calls, 120), drift(seed)])


def less(calls: Calls, seed: int) -> Power:
    """60 W less in a call, which waits for something."""
    return Sum([steps([(b, c) for (_, b), (c, _) in pairwise(calls)], 60), drift(seed)])


def after(calls: Calls, seed: int) -> Power:
    """30 W more in a call, and 90 in up to 3 ms of work that each leads to."""
    work = [(b, min(b + 3 * MS, c)) for (_, b), (c, _) in pairwise(calls)]
    return Sum([steps(calls, 30), steps(work, 90), drift(seed)])


def longer(calls: Calls, seed: int) -> Power:
    """60 W more in a call, and 120 in one of more than 2 ms."""
    return Sum([steps(calls, 60), steps([(a, b) for a, b in calls if b - a > 2 * MS], 60), drift(seed)])


def sometimes(calls: Calls, seed: int) -> Power:
    """20 W more in a call, and 100 in what some calls are followed by: a gap of more than 3 ms."""
    work = [(b, c) for (_, b), (c, _) in pairwise(calls) if c - b > 3 * MS]
    return Sum([steps(calls, 20), steps(work, 100), drift(seed)])


def late(calls: Calls, seed: int) -> Power:
    """120 W more, a millisecond late."""
    return Sum([steps([(a + MS, b + MS) for a, b in calls], 120), drift(seed)])


def apart(_: Calls, seed: int) -> Power:
    """Nothing to do with the calls."""
    return Sum([drift(seed), SquareWave(10, 50, 7_300_000, 0)])


def steady(_: Calls, seed: int) -> Power:
    """Always the same."""
    return Constant(60 + seed)


def even(rng: random.Random) -> float:
    """Hardly any difference from one time to the next."""
    return 3.3 * MS * rng.uniform(0.95, 1.05)


def uneven(rng: random.Random) -> float:
    """Anything up to 5 ms."""
    return rng.uniform(0.5, 5) * MS


def working(rng: random.Random) -> float:
    """At least the work of 3 ms, and often more."""
    return 3 * MS + rng.expovariate(1 / (5 * MS))


def bursts(rng: random.Random) -> float:
    """Ten in a row, and then a pause."""
    return rng.expovariate(1 / (60 * MS)) if rng.random() < 0.1 else rng.uniform(0.5, 3) * MS


def branching(rng: random.Random) -> float:
    """A third of the calls are followed by something longer."""
    return rng.uniform(4, 6) * MS if rng.random() < 0.33 else rng.uniform(0.5, 1.5) * MS


def rare(rng: random.Random) -> float:
    """Up to 50 ms."""
    return rng.uniform(0, 50) * MS


PROGRAMS = {
    "more power in calls, evenly": Program(even, more),
    "more power in calls, unevenly": Program(uneven, more),
    "more power in calls, in bursts": Program(bursts, more),
    "more power in calls, rarely": Program(rare, more),
    "less power in calls": Program(uneven, less),
    "more power after calls": Program(working, after),
    "more power after calls, in bursts": Program(bursts, after),
    "more power in long calls": Program(uneven, longer),
    "more power in long gaps": Program(branching, sometimes),
    "power of its own": Program(uneven, apart),
    "steady power": Program(even, steady),
    UNTOLD: Program(uneven, late),
}


def outcome(program: Program, period_ns: int, seconds: float, seed: int) -> Outcome:
    """What interpolation and statistics say of one recording."""
    calls = calls_of(program.gap, seconds, seed)
    machine = Machine([Zone("intel-rapl:0", "package-0", program.power(calls, seed))])
    read = counters(record(machine, 0, int(seconds * S), period_ns=period_ns, jitter_ns=period_ns // 50, seed=seed))
    a_ns, b_ns = (np.array(column, np.int64) for column in zip(*calls, strict=True))
    windows = Windows.joined(a_ns, b_ns)
    truth_j = sum(machine.truth_j("intel-rapl:0", a, b) for a, b in calls)
    value_j = float(increases(read, windows)[0].value[0])
    by = ShortCalls(read).correction(windows)
    interpolated = 100 * (value_j / truth_j - 1)
    if by is None or 2 * by.half_j > WIDE * (value_j + by.value_j):
        return Outcome(interpolated, None, None)
    return Outcome(interpolated, 100 * ((value_j + by.value_j) / truth_j - 1), 100 * by.half_j / truth_j)


def row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """A line of the table."""
    told = [(abs(o.found), o.half) for o in outcomes if o.found is not None and o.half is not None]
    off = f"{statistics.median(abs(o.interpolated) for o in outcomes):.2f}"
    if not told:
        return name, off, f"0/{len(outcomes)}", "", "", ""
    errors, halves = zip(*told, strict=True)
    inside = sum(error <= half for error, half in told)
    spread = f"{statistics.median(errors):.2f} {percentile(errors, 95):.1f}"
    return (
        name,
        off,
        f"{len(told)}/{len(outcomes)}",
        spread,
        f"{statistics.median(halves):.1f}",
        f"{inside}/{len(told)}",
    )


def tables(report: Report, programs: Mapping[str, Program], tries: int, seconds: float, seed: int) -> None:
    """A table for each period, and the target."""
    everything: list[Outcome] = []
    columns = ["", "interpolated", "told", "error in %: median, 95 %", "interval, ±", "truth within"]
    for period, period_ns in PERIODS.items():
        rows = []
        for name, program in programs.items():
            found = [outcome(program, period_ns, seconds, seed + number) for number in range(tries)]
            everything += found if name != UNTOLD else []
            rows.append(row(name, found))
        report.table(f"all calls of a function of 2 ms in {seconds:g} s, read every {period}", columns, rows)
    told = [o for o in everything if o.found is not None and o.half is not None]
    inside = sum(abs(o.found or 0.0) <= (o.half or 0.0) for o in told)
    share = 100 * inside / len(told) if told else None
    print(f"\n{len(told)} of {len(everything)} functions have an interval")
    report.target("truth within the 95 % interval", share, "%", at_least=95)


def main() -> None:
    """Measure and print tables."""
    report, given = begin(__doc__, seed=(1, 1, "of all that is random"))
    tries, seconds = (2, 12) if given.quick else (12, 30)
    programs = dict(list(PROGRAMS.items())[:2]) if given.quick else PROGRAMS
    tables(report, programs, tries, seconds, given.seed)
    report.close(given.json)


if __name__ == "__main__":
    main()
