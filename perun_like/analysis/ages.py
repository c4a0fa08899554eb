"""How old what a counter shows is. Reads that are closer together than its updates see when these were.

A counter has a tick T, the longest time between two updates, and a lag L, within which an update shows. What a read
from ``t0`` to ``t1`` shows was counted at an instant v, somewhere from ``t0 - T - L`` to ``t1``. If it shows another
value than the read before, which began at ``p``, the update didn't show at ``p`` yet, so that also ``v >= p - L``.
As updates come in order, v never goes back from one read to the next. What a read shows is therefore not older than ::

    oldest = the largest of  t0 - T - L  and  p - L  of this read and those before it that showed a new value

A failed read says nothing: p is that of the last one that succeeded. Nor does a value that is new because a read was
damaged or the counter reset, or one that stays because so little was counted. All of this is hard for a counter that
is updated as a whole, as those of energy are. CPU time isn't: it is a sum over processors.

The estimate takes the middle of what is possible. g being the time since the read before, and D the time that commonly
lies between two updates, at most T::

    shown = t - min(D, g) / 2 - L        for a new value: updated at any instant of the last min(D, g)
    shown = t - D + min(D, g') / 2 - L   for one that stayed, g' being the time until the next read: the update that
                                         replaces it comes D after its own

and not before what the read before shows. Where all reads are T apart or more, they tell nothing of updates: both are
``t - T / 2 - L``, and ``oldest`` is ``t0 - T - L``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.counters import Counter
from perun_like.model.recording import Bools, Int64s

_ENOUGH = 1 << 16  # reads by which to tell how far apart updates are
_MANY = 1 << 13  # reads for each instant: of fewer, all are looked at
_BLOCK = 1 << 16  # reads: what is worked out of so many fits into a processor's cache
_NEVER_NS = np.iinfo(np.int64).max


class Edges(NamedTuple):
    """Instants, and where they lie between reads: the same for all counters that are read together.

    Attributes:
        t_ns: The instants, CLOCK_MONOTONIC, int64, shape (instants,).
        after: First read with ``t0 - T - L >= t``, whatever it shows.
        unseen: First read with ``p - L >= t``, p being the start of the read before; reads + 1 if there is none.
        between: Last read that, if its value is new, can have been updated before, by the middles between reads;
            by what reads show, where none is close enough to tell; -1 if there is none.
    """

    t_ns: Int64s
    after: Int64s
    unseen: Int64s
    between: Int64s


class Places(NamedTuple):
    """Where instants lie between what reads show: after read ``before``, by ``fraction`` of the way to the next."""

    before: Int64s
    fraction: NDArray[np.float64]

    def interpolate(self, values: Int64s) -> NDArray[np.float64]:
        """Values of reads at these instants."""
        before = values[self.before]
        return before + (values[self.before + 1] - before) * self.fraction


class Ages:
    """How old what the reads of one counter show is; it was read at least twice.

    A run has two ends, and a week of reads may lie between them: of so many, only those around the instants that are
    asked for are looked at.

    Attributes:
        told: What is equal for counters of the same ages, if their times, tick and lag are the same; nothing where no
            read tells its age.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter, self.told = counter, tuple[bytes, ...]()
        self._new: Bools = np.broadcast_to(np.bool_(True), counter.reads)
        self._moved = self._new
        if close(counter):
            self._new = np.concatenate([[False], counter.units[1:] > counter.units[:-1]])
            self._moved = self._new | counter.missing if counter.gaps[-1] else self._new
            self._common_ns = _common_ns(counter, self._moved[:_ENOUGH])
            self.told = np.packbits(self._new).tobytes(), np.packbits(self._moved).tobytes()

    @property
    def shown_ns(self) -> Int64s:
        """When what each read shows was probably counted, CLOCK_MONOTONIC, int64, shape (reads,), ascending."""
        return self._shown_ns(slice(0, self._counter.reads))

    def first_since(self, edges: Edges) -> Int64s:
        """The first read that certainly shows what was counted at an instant or later; reads if there is none."""
        if not self.told:
            return edges.after
        return _joined([self._first_since(some, rows) for some, rows in self._stretches(edges)])

    def places(self, edges: Edges) -> Places:
        """Where instants probably lie between what reads show."""
        found = [self._places(some, rows) for some, rows in self._stretches(edges)]
        return Places(*map(_joined, zip(*found, strict=True)))

    def _first_since(self, edges: Edges, rows: slice) -> Int64s:
        first = _first_from(self._new[rows]) + rows.start
        return np.asarray(np.minimum(edges.after, first[edges.unseen - rows.start]))

    def _places(self, edges: Edges, rows: slice) -> Places:
        shown_ns, before = self._shown_ns(rows), edges.between - rows.start
        if self.told:
            before = _before_new(self._moved[rows], shown_ns, edges.t_ns, before)
        before = np.minimum(np.maximum(before, 0), len(shown_ns) - 2)
        distance_ns = np.maximum(shown_ns[before + 1] - shown_ns[before], 1)
        fraction = np.clip((edges.t_ns - shown_ns[before]) / distance_ns, 0.0, 1.0)
        return Places(before + rows.start, fraction)

    def _stretches(self, edges: Edges) -> Iterator[tuple[Edges, slice]]:
        """Instants, and the reads that tell where these lie: all at once, or each by itself where they are few."""
        if not 0 < len(edges.t_ns) <= self._counter.reads // _MANY:
            yield edges, slice(0, self._counter.reads)
            return
        for number, (between, after) in enumerate(zip(edges.between.tolist(), edges.after.tolist(), strict=True)):
            behind = max(_next(self._moved, max(between, 0) + 1) + 1, after)
            one = Edges(*(column[number : number + 1] for column in edges))
            yield one, slice(self._settled(max(between - 1, 0)), behind)

    def _settled(self, read: int) -> int:
        """A read so long before another one that none before it has a say in what that shows: ages are up to a tick."""
        since_ns = self._counter.t0_ns[read] - self._counter.sensor.tick_ns
        return max(int(np.searchsorted(self._counter.t1_ns[: read + 1], since_ns)) - 1, 0)

    def _shown_ns(self, rows: slice) -> Int64s:
        """When what consecutive reads show was probably counted; of the ends, if there are more, it isn't exact."""
        middle_ns, sensor = _middle_ns(self._counter, rows), self._counter.sensor
        if not self.told:
            return middle_ns - (sensor.tick_ns // 2 + sensor.lag_ns)
        common_ns, ends = self._common_ns, [self._common_ns]
        gap_ns = np.minimum(np.concatenate([ends, np.diff(middle_ns), ends]), common_ns)
        age_ns = np.where(self._moved[rows], (gap_ns[:-1] + 1) // 2, common_ns - (gap_ns[1:] + 1) // 2)
        return np.maximum.accumulate(middle_ns - age_ns) - sensor.lag_ns


def close(counter: Counter) -> bool:
    """Whether reads are so close together that some tell when the counter was updated."""
    if counter.sensor.unit != "J" or counter.sensor.tick_ns == 0:
        return False
    blocks = (counter.t0_ns[first : first + _BLOCK + 1] for first in range(0, counter.reads - 1, _BLOCK))
    return any(np.diff(t0_ns).min() < counter.sensor.tick_ns for t0_ns in blocks)


def edges(counter: Counter, t_ns: Int64s) -> Edges:
    """Where instants lie between the reads of a counter, and of all others with the same times, tick and lag."""
    t0_ns, tick_ns, lag_ns = counter.t0_ns, counter.sensor.tick_ns, counter.sensor.lag_ns
    after = np.searchsorted(t0_ns, t_ns + (tick_ns + lag_ns), "left")
    if not close(counter):
        half_ns = t_ns + (tick_ns // 2 + lag_ns)
        this = np.searchsorted(counter.t1_ns, half_ns, "right")  # it may be later by no more than its end
        rows = _hull(this, counter.reads)
        middles_ns = np.append(_middle_ns(counter, rows), _NEVER_NS)
        return Edges(t_ns, after, after, this - (middles_ns[this - rows.start] > half_ns))
    later = np.searchsorted(t0_ns, t_ns + lag_ns, "left")
    # The middle before the read before the last one that isn't later is past, and that after the first later one isn't.
    rows = _hull(later, counter.reads)
    middle_ns = _middle_ns(counter, rows) - lag_ns
    middles_ns = np.concatenate([[-_NEVER_NS], middle_ns[:1], middle_ns[:-1] + np.diff(middle_ns) // 2, [_NEVER_NS]])
    before = later - rows.start
    return Edges(t_ns, after, later + 1, later - (middles_ns[before] > t_ns) - (middles_ns[before + 1] > t_ns))


def _hull(which: Int64s, reads: int) -> slice:
    """The reads from two before the first of some to the last one."""
    return slice(max(int(which.min(initial=reads)) - 2, 0), min(int(which.max(initial=0)) + 1, reads))


def _middle_ns(counter: Counter, rows: slice) -> Int64s:
    """The middles of reads."""
    middle_ns = counter.t1_ns[rows] - counter.t0_ns[rows]
    middle_ns //= 2
    middle_ns += counter.t0_ns[rows]
    return middle_ns


def _common_ns(counter: Counter, moved: Bools) -> int:
    """How far apart updates commonly are, by its first reads, where these are close enough to tell; else the tick."""
    told, middle_ns, tick_ns = np.flatnonzero(moved), _middle_ns(counter, slice(0, len(moved))), counter.sensor.tick_ns
    is_sharp = np.diff(middle_ns)[told - 1] <= tick_ns // 2
    apart_ns = np.diff(middle_ns[told])[is_sharp[1:] & is_sharp[:-1]]
    return min(int(np.median(apart_ns)), tick_ns) if len(apart_ns) else tick_ns


def _before_new(moved: Bools, shown_ns: Int64s, t_ns: Int64s, between: Int64s) -> Int64s:
    """The last read before the first one that shows a new value of after an instant."""
    first = _first_from(moved)
    is_after = (first[between] == between) & (shown_ns[between] > t_ns)
    return np.where(is_after, between, first[between + 1]) - 1


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays behind each other; a single one isn't copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _next(which: Bools, read: int) -> int:
    """From a read on, the first one that is such; the number of reads if there is none."""
    for first in range(read, len(which), _BLOCK):
        some = which[first : first + _BLOCK]
        if some.any():
            return first + int(some.argmax())
    return len(which)


def _first_from(which: Bools) -> Int64s:
    """From each read on, the first one that is such; reads if there is none. Shape (reads + 2,)."""
    reads = len(which)
    index = np.concatenate([np.where(which, np.arange(reads), reads), [reads, reads]])
    return np.minimum.accumulate(index[::-1])[::-1]
