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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.counters import Counter
from perun_like.model.recording import Bools, Int64s

_ENOUGH = 1 << 16  # reads by which to tell how far apart updates are


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


class Ages(NamedTuple):
    """How old what the reads of one counter show is. int64, shape (reads,) or one more.

    Attributes:
        shown_ns: When what each read shows was probably counted, CLOCK_MONOTONIC, ascending.
        new: From each read on, the first one with a new value; reads if there is none. None where none tells its age.
        moved: The same with those after a missing step.
        told: What is equal for counters of the same ages, if their times, tick and lag are the same.
    """

    shown_ns: Int64s
    new: Int64s | None
    moved: Int64s | None
    told: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, counter: Counter) -> Ages:
        """Ages of a counter that was read at least twice."""
        middle_ns, sensor = _middle_ns(counter), counter.sensor
        if not close(counter):
            middle_ns -= sensor.tick_ns // 2 + sensor.lag_ns
            return cls(middle_ns, None, None)
        new = np.concatenate([[False], np.diff(counter.units) > 0])
        moved = new | counter.missing if counter.gaps[-1] else new
        shown_ns = _shown_ns(middle_ns, moved, sensor.tick_ns) - sensor.lag_ns
        first_new = _first_from(new)
        told = np.packbits(new).tobytes(), np.packbits(moved).tobytes()
        return cls(shown_ns, first_new, first_new if moved is new else _first_from(moved), told)

    def first_since(self, edges: Edges) -> Int64s:
        """The first read that certainly shows what was counted at an instant or later; reads if there is none."""
        return edges.after if self.new is None else np.minimum(edges.after, self.new[edges.unseen])

    def places(self, edges: Edges) -> Places:
        """Where instants probably lie between what reads show."""
        before = edges.between if self.moved is None else self._before_moved(edges, self.moved)
        before = np.minimum(np.maximum(before, 0), len(self.shown_ns) - 2)
        shown_ns = self.shown_ns[before]
        distance_ns = np.maximum(self.shown_ns[before + 1] - shown_ns, 1)
        return Places(before, np.clip((edges.t_ns - shown_ns) / distance_ns, 0.0, 1.0))

    def _before_moved(self, edges: Edges, moved: Int64s) -> Int64s:
        """The last read before the first one that shows a new value of after an instant."""
        this = edges.between
        is_after = (moved[this] == this) & (self.shown_ns[this] > edges.t_ns)
        return np.where(is_after, this, moved[this + 1]) - 1


def close(counter: Counter) -> bool:
    """Whether reads are so close together that some tell when the counter was updated."""
    if counter.sensor.unit != "J" or counter.sensor.tick_ns == 0:
        return False
    return bool(np.diff(counter.t0_ns).min() < counter.sensor.tick_ns)


def edges(counter: Counter, t_ns: Int64s) -> Edges:
    """Where instants lie between the reads of a counter, and of all others with the same times, tick and lag."""
    t0_ns, tick_ns, lag_ns = counter.t0_ns, counter.sensor.tick_ns, counter.sensor.lag_ns
    middle_ns = _middle_ns(counter)
    middle_ns -= lag_ns
    after = np.searchsorted(t0_ns, t_ns + (tick_ns + lag_ns), "left")
    if not close(counter):
        return Edges(t_ns, after, after, np.searchsorted(middle_ns, t_ns + tick_ns // 2, "right") - 1)
    later = np.searchsorted(t0_ns, t_ns + lag_ns, "left")
    # The middle before the read before the last one that isn't later is past, and that after the first later one isn't.
    never, ever = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    middles_ns = np.concatenate([[ever], middle_ns[:1], middle_ns[:-1] + np.diff(middle_ns) // 2, [never]])
    between = later - (middles_ns[later] > t_ns) - (middles_ns[later + 1] > t_ns)
    return Edges(t_ns, after, later + 1, between)


def _middle_ns(counter: Counter) -> Int64s:
    middle_ns = counter.t1_ns - counter.t0_ns
    middle_ns //= 2
    middle_ns += counter.t0_ns
    return middle_ns


def _shown_ns(middle_ns: Int64s, moved: Bools, tick_ns: int) -> Int64s:
    """When the values of reads were probably updated, by a counter without lag."""
    gap_ns = np.diff(middle_ns)
    common_ns = _common_ns(middle_ns, gap_ns, moved, tick_ns)
    gap_ns = np.minimum(np.concatenate([[common_ns], gap_ns, [common_ns]]), common_ns)
    age_ns = np.where(moved, (gap_ns[:-1] + 1) // 2, common_ns - (gap_ns[1:] + 1) // 2)
    return np.maximum.accumulate(middle_ns - age_ns)


def _common_ns(middle_ns: Int64s, gap_ns: Int64s, moved: Bools, tick_ns: int) -> int:
    """How far apart updates commonly are, by reads that are close enough to tell; the tick if none is."""
    told = np.flatnonzero(moved[:_ENOUGH])
    is_sharp = gap_ns[told - 1] <= tick_ns // 2
    apart_ns = np.diff(middle_ns[told])[is_sharp[1:] & is_sharp[:-1]]
    return min(int(np.median(apart_ns)), tick_ns) if len(apart_ns) else tick_ns


def _first_from(which: Bools) -> Int64s:
    """From each read on, the first one that is such; reads if there is none. Shape (reads + 2,)."""
    reads = len(which)
    index = np.concatenate([np.where(which, np.arange(reads), reads), [reads, reads]])
    return np.minimum.accumulate(index[::-1])[::-1]
