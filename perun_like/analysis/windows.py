"""How much a counter counted in windows of time: what is certain, and the best estimate. Many windows at once.

A read between ``t0`` and ``t1`` shows what had been counted at some instant that isn't before its ``oldest`` and not
after ``t1``. Oldest is ``t0 - tick - lag``; reads that are closer together than a tick see when the counter is updated,
and of one that shows a new value it is no less than the start of the read before it, minus the lag: see
:mod:`perun_like.analysis.ages`. For a window from a to b, E being the counter at a read and u one unit plus rounding::

    lower = E(last read with t1 <= b) - E(first read with oldest >= a) - u, at least 0
    upper = E(first read with oldest >= b) - E(last read with t1 <= a) + u

with one more u for each wrap in between, because the modulus is known to a unit. These bounds are hard. The
estimate interpolates between reads, each taken as old as it is on average, and is kept within the bounds. ``tick`` and
``lag`` are those of the sensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.ages import Ages, Edges, Places, edges
from perun_like.analysis.counters import Counter
from perun_like.model.recording import Int64s

Floats = NDArray[np.float64]


class Windows(NamedTuple):
    """Windows of time, each belonging to an owner. What is asked for is the sum over each owner's windows.

    Attributes:
        a_ns, b_ns: Start and end, CLOCK_MONOTONIC, int64, shape (windows,), ``a_ns <= b_ns``. Sorted by owner;
            the windows of one owner are disjoint and ascending, those of different owners may overlap.
        owner: Index of each window's owner, int64; None: every window is an owner of its own.
        owners: How many owners there are.
    """

    a_ns: Int64s
    b_ns: Int64s
    owner: Int64s | None
    owners: int

    @classmethod
    def each(cls, a_ns: Int64s, b_ns: Int64s) -> Windows:
        """Windows that are asked for one by one."""
        return cls(a_ns, b_ns, None, len(a_ns))

    @classmethod
    def one(cls, a_ns: int, b_ns: int) -> Windows:
        """A single window."""
        return cls.each(np.array([a_ns], np.int64), np.array([b_ns], np.int64))

    @classmethod
    def joined(cls, a_ns: Int64s, b_ns: Int64s) -> Windows:
        """Windows that are asked for together."""
        return cls(a_ns, b_ns, np.zeros(len(a_ns), np.int64), 1) if len(a_ns) != 1 else cls.each(a_ns, b_ns)

    def of(self, owner: int) -> Windows:
        """The windows of one owner."""
        if self.owner is None:
            return Windows.each(self.a_ns[owner : owner + 1], self.b_ns[owner : owner + 1])
        rows = slice(*np.searchsorted(self.owner, [owner, owner + 1]))
        return Windows.joined(self.a_ns[rows], self.b_ns[rows])

    def later(self, by_ns: int) -> Windows:
        """The same windows on a clock that is ahead."""
        return Windows(self.a_ns + by_ns, self.b_ns + by_ns, self.owner, self.owners) if by_ns else self

    def sums(self, values: Floats | Int64s) -> Floats:
        """Sum over the windows of each owner."""
        if self.owner is None:
            return values.astype(np.float64)
        return _sums(self.owner, values, self.owners)

    @property
    def owner_of_each(self) -> Int64s:
        """Index of each window's owner."""
        return np.arange(self.owners, dtype=np.int64) if self.owner is None else self.owner

    @property
    def duration_s(self) -> Floats:
        """Time in the windows of each owner."""
        return self.sums(self.b_ns - self.a_ns) / 1e9


class Increase(NamedTuple):
    """What was counted in the windows of each owner, in the sensor's unit. Arrays, one element an owner.

    Attributes:
        lower: Not less than this.
        value: The best estimate; where time is missing, the sum of what is known.
        upper: Not more than this; nan where reads don't tell.
        missing_s: Time within the windows of which nothing is known.
    """

    lower: Floats
    value: Floats
    upper: Floats
    missing_s: Floats


class _Brackets(NamedTuple):
    """Reads around windows. ``inner``: first and last read that are certainly inside; ``outer``: … outside."""

    inner_first: Int64s
    inner_last: Int64s
    outer_first: Int64s  # -1: no read before
    outer_last: Int64s  # number of reads: no read after
    start: Places
    stop: Places
    outside_s: Floats  # of each owner, time before the first and after the last read


class _Reads(NamedTuple):
    """What windows have in common for all counters that were read together."""

    start: Edges
    stop: Edges
    inner_last: Int64s
    outer_first: Int64s
    outside_s: Floats


def increases(counters: Iterable[Counter], windows: Windows) -> list[Increase]:
    """What each counter counted in the windows of each owner, in the counters' order."""
    reads: dict[tuple[object, ...], _Reads] = {}
    brackets: dict[tuple[object, ...], _Brackets] = {}
    found: list[Increase] = []
    for counter in counters:
        if counter.reads < 2:
            found.append(unknown(windows))
            continue
        ages = Ages(counter)
        together = (id(counter.t0_ns), counter.sensor.tick_ns, counter.sensor.lag_ns, counter.sensor.unit)
        alike = (*together, *ages.told)
        if together not in reads:
            reads[together] = _reads(counter, windows)
        if alike not in brackets:
            brackets[alike] = _brackets(ages, reads[together])
        found.append(_increase(counter, windows, brackets[alike], ages))
        del counter, ages  # before the next one is unwrapped: each is as long as all that was read
    return found


def unknown(windows: Windows) -> Increase:
    """Of a counter that was read less than twice: at least nothing."""
    zeros = np.zeros(windows.owners)
    return Increase(zeros, zeros, np.full(windows.owners, np.nan), windows.duration_s)


def _reads(counter: Counter, windows: Windows) -> _Reads:
    a_ns, b_ns = windows.a_ns, windows.b_ns
    t0_ns, t1_ns = counter.t0_ns, counter.t1_ns
    before_ns = np.maximum(np.minimum(b_ns, t0_ns[0]) - a_ns, 0)
    after_ns = np.maximum(b_ns - np.maximum(a_ns, t1_ns[-1]), 0)
    return _Reads(
        start=edges(counter, a_ns),
        stop=edges(counter, b_ns),
        inner_last=np.searchsorted(t1_ns, b_ns, "right") - 1,
        outer_first=np.searchsorted(t1_ns, a_ns, "right") - 1,
        outside_s=windows.sums(before_ns + after_ns) / 1e9,
    )


def _brackets(ages: Ages, reads: _Reads) -> _Brackets:
    return _Brackets(
        inner_first=ages.first_since(reads.start),
        inner_last=reads.inner_last,
        outer_first=reads.outer_first,
        outer_last=ages.first_since(reads.stop),
        start=ages.places(reads.start),
        stop=ages.places(reads.stop),
        outside_s=reads.outside_s,
    )


def _increase(counter: Counter, windows: Windows, brackets: _Brackets, ages: Ages) -> Increase:
    certain, upper = _lower(counter, brackets), _upper(counter, windows, brackets)
    if counter.sensor.unit == "s" and counter.sensor.ceiling is not None:
        least, most = _by_ceiling(counter, windows, brackets)
        certain, upper = np.fmax(certain, least), np.fmin(upper, most)
    lower = windows.sums(certain)
    estimate = brackets.stop.interpolate(counter.units) - brackets.start.interpolate(counter.units)
    value = np.fmin(np.maximum(windows.sums(estimate * counter.sensor.scale), lower), upper)
    missing_s = brackets.outside_s
    if counter.gaps[-1]:
        gone_ns = np.cumsum(np.where(counter.missing, np.diff(ages.shown_ns, prepend=0), 0))
        missing_s = (
            missing_s + windows.sums(brackets.stop.interpolate(gone_ns) - brackets.start.interpolate(gone_ns)) / 1e9
        )
    return Increase(lower, value, upper, missing_s)


def _lower(counter: Counter, brackets: _Brackets) -> Floats:
    first = np.minimum(brackets.inner_first, counter.reads - 1)
    last = np.maximum(brackets.inner_last, first)  # where there is no read inside: nothing
    counted = (counter.units[last] - counter.units[first]) * counter.sensor.scale
    # Each missing step leaves one more difference of two reads, and each difference has its own rounding.
    differences = 1 + _between(counter.wraps, first, last) + _between(counter.gaps, first, last)
    return np.maximum(counted - differences * counter.uncertainty, 0.0)


def _by_ceiling(counter: Counter, windows: Windows, brackets: _Brackets) -> tuple[Floats, Floats]:
    """Bounds from a ceiling that is exact, as that of CPU time is: no CPU runs for more than a second a second.

    What was counted between the reads around a window less the most that fits outside it is at least what was
    counted in it (for each window); and what was counted between the reads inside plus the most that fits between
    them and the window's ends is at most that (summed for each owner). Nan where steps are missing.
    """
    rate = (counter.sensor.ceiling or 0.0) / 1e9
    oldest_ns, t1_ns = counter.t0_ns - counter.sensor.tick_ns - counter.sensor.lag_ns, counter.t1_ns
    known = (brackets.outer_first >= 0) & (brackets.outer_last < counter.reads)
    first, last = np.where(known, brackets.outer_first, 0), np.where(known, brackets.outer_last, 0)
    known &= _between(counter.gaps, first, last) == 0
    outside_ns = (windows.a_ns - oldest_ns[first]) + (t1_ns[last] - windows.b_ns)
    outer = (counter.units[last] - counter.units[first]) * counter.sensor.scale
    least = np.where(known, outer - rate * outside_ns - counter.uncertainty, np.nan)
    some = known & (brackets.inner_last > brackets.inner_first)
    first, last = np.where(some, brackets.inner_first, 0), np.where(some, brackets.inner_last, 0)
    inner = (counter.units[last] - counter.units[first]) * counter.sensor.scale + counter.uncertainty
    between_ns = (t1_ns[first] - windows.a_ns) + (windows.b_ns - oldest_ns[last])
    length_ns = windows.b_ns - windows.a_ns
    most = np.where(some, np.fmin(inner + rate * between_ns, rate * length_ns), rate * length_ns)
    return least, windows.sums(np.where(known, most, np.nan))


def _upper(counter: Counter, windows: Windows, brackets: _Brackets) -> Floats:
    """Upper bound of each owner; windows that lie between the same reads are bounded by these together."""
    first, last, owner = brackets.outer_first, brackets.outer_last, windows.owner
    if owner is not None and len(owner):
        new = np.concatenate([[True], (np.diff(owner) != 0) | (first[1:] >= last[:-1])])
        starts = np.flatnonzero(new)
        first, last = first[starts], last[np.append(starts[1:], len(owner)) - 1]
        owner = owner[starts]
    known = (first >= 0) & (last < counter.reads)
    last = np.minimum(last, counter.reads - 1)
    counted = (counter.units[last] - counter.units[first]) * counter.sensor.scale
    bound = counted + (1 + _between(counter.wraps, first, last)) * counter.uncertainty
    if counter.gaps[-1]:
        known &= _between(counter.gaps, first, last) == 0
    bound = np.where(known, bound, np.nan)
    return bound if owner is None else _sums(owner, bound, windows.owners)


def _sums(owner: Int64s, values: Floats | Int64s, owners: int) -> Floats:
    ends = np.searchsorted(owner, np.arange(owners + 1))
    total, some = np.zeros(owners), ends[:-1] < ends[1:]
    if some.any():
        total[some] = np.add.reduceat(values, ends[:-1][some], dtype=np.float64)
    return total


def _between(cumulated: Int64s, first: Int64s, last: Int64s) -> Int64s | int:
    """How many between two reads; without looking where there are none at all, as nearly always."""
    return cumulated[last] - cumulated[first] if cumulated[-1] else 0
