"""How much a counter counted in windows of time: what is certain, and the best estimate. Many windows at once.

A read between ``t0`` and ``t1`` shows what had been counted at some instant up to ``tick + lag`` before ``t0`` and
not after ``t1``. For a window from a to b, E being the counter at a read and u one unit plus rounding::

    lower = E(last read with t1 <= b) - E(first read with t0 - tick - lag >= a) - u, at least 0
    upper = E(first read with t0 - tick - lag >= b) - E(last read with t1 <= a) + u

with one more u for each wrap in between, because the modulus is known to a unit. These bounds are hard. The
estimate interpolates between reads, each taken as old as it is on average (half a tick and the lag), and is kept
within the bounds. ``tick`` and ``lag`` are those of the sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.counters import Counter
from perun_like.model.recording import Int64s

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
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


class _Places(NamedTuple):
    """Where instants lie between reads: after read ``before``, by ``fraction`` of the way to the next."""

    before: Int64s
    fraction: Floats

    def interpolate(self, values: Int64s) -> Floats:
        """Values of reads at these instants."""
        before = values[self.before]
        return before + (values[self.before + 1] - before) * self.fraction


class _Brackets(NamedTuple):
    """Reads around windows. ``inner``: first and last read that are certainly inside; ``outer``: … outside."""

    inner_first: Int64s
    inner_last: Int64s
    outer_first: Int64s  # -1: no read before
    outer_last: Int64s  # number of reads: no read after
    start: _Places
    stop: _Places
    outside_ns: Int64s  # time before the first and after the last read


def increases(counters: Sequence[Counter], windows: Windows) -> list[Increase]:
    """What each counter counted in the windows of each owner, in the counters' order."""
    brackets: dict[tuple[int, int, int], _Brackets] = {}
    found: list[Increase] = []
    for counter in counters:
        if counter.reads < 2:
            found.append(unknown(windows))
            continue
        key = (id(counter.t0_ns), counter.sensor.tick_ns, counter.sensor.lag_ns)
        if key not in brackets:
            brackets[key] = _brackets(counter, windows)
        found.append(_increase(counter, windows, brackets[key]))
    return found


def unknown(windows: Windows) -> Increase:
    """Of a counter that was read less than twice: at least nothing."""
    zeros = np.zeros(windows.owners)
    return Increase(zeros, zeros, np.full(windows.owners, np.nan), windows.duration_s)


def _brackets(counter: Counter, windows: Windows) -> _Brackets:
    a_ns, b_ns = windows.a_ns, windows.b_ns
    t0_ns, t1_ns = counter.t0_ns, counter.t1_ns
    oldest_ns = t0_ns - counter.sensor.tick_ns - counter.sensor.lag_ns
    before_ns = np.maximum(np.minimum(b_ns, t0_ns[0]) - a_ns, 0)
    after_ns = np.maximum(b_ns - np.maximum(a_ns, t1_ns[-1]), 0)
    shown_ns = _shown_ns(counter)
    return _Brackets(
        inner_first=np.searchsorted(oldest_ns, a_ns, "left"),
        inner_last=np.searchsorted(t1_ns, b_ns, "right") - 1,
        outer_first=np.searchsorted(t1_ns, a_ns, "right") - 1,
        outer_last=np.searchsorted(oldest_ns, b_ns, "left"),
        start=_places(shown_ns, a_ns),
        stop=_places(shown_ns, b_ns),
        outside_ns=before_ns + after_ns,
    )


def _shown_ns(counter: Counter) -> Int64s:
    """The instant whose count a read shows on average."""
    age_ns = counter.sensor.tick_ns // 2 + counter.sensor.lag_ns
    return counter.t0_ns + (counter.t1_ns - counter.t0_ns) // 2 - age_ns


def _places(reads_ns: Int64s, t_ns: Int64s) -> _Places:
    index = np.clip(np.searchsorted(reads_ns, t_ns, "right") - 1, 0, len(reads_ns) - 2)
    distance_ns = np.maximum(reads_ns[index + 1] - reads_ns[index], 1)
    return _Places(index, np.clip((t_ns - reads_ns[index]) / distance_ns, 0.0, 1.0))


def _increase(counter: Counter, windows: Windows, brackets: _Brackets) -> Increase:
    certain, upper = _lower(counter, brackets), _upper(counter, windows, brackets)
    if counter.sensor.unit == "s" and counter.sensor.ceiling is not None:
        least, most = _by_ceiling(counter, windows, brackets)
        certain, upper = np.fmax(certain, least), np.fmin(upper, most)
    lower = windows.sums(certain)
    estimate = brackets.stop.interpolate(counter.units) - brackets.start.interpolate(counter.units)
    value = np.fmin(np.maximum(windows.sums(estimate * counter.sensor.scale), lower), upper)
    missing_ns = brackets.outside_ns.astype(np.float64)
    if counter.gaps[-1]:
        gone_ns = np.cumsum(np.where(counter.missing, np.diff(_shown_ns(counter), prepend=0), 0))
        missing_ns += brackets.stop.interpolate(gone_ns) - brackets.start.interpolate(gone_ns)
    return Increase(lower, value, upper, windows.sums(missing_ns) / 1e9)


def _lower(counter: Counter, brackets: _Brackets) -> Floats:
    last = brackets.inner_last
    some = last > brackets.inner_first
    first = np.where(some, brackets.inner_first, 0)
    last = np.where(some, last, 0)
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
    first, last = np.where(known, first, 0), np.where(known, last, 0)
    counted = (counter.units[last] - counter.units[first]) * counter.sensor.scale
    bound = counted + (1 + _between(counter.wraps, first, last)) * counter.uncertainty
    bound = np.where(known & (_between(counter.gaps, first, last) == 0), bound, np.nan)
    return bound if owner is None else _sums(owner, bound, windows.owners)


def _sums(owner: Int64s, values: Floats | Int64s, owners: int) -> Floats:
    return np.asarray(np.bincount(owner, weights=values, minlength=owners), np.float64)


def _between(cumulated: Int64s, first: Int64s, last: Int64s) -> Int64s | int:
    """How many between two reads; without looking where there are none at all, as nearly always."""
    return cumulated[last] - cumulated[first] if cumulated[-1] else 0
