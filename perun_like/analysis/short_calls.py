"""What many short calls used together: from how the energy between reads follows the time spent in them.

Interpolation takes power as constant from one read to the next. If calls are shorter than that and the machine draws
more in them than between them, what it says is too little, and no number of calls makes that better. But reads come at
all phases of the calls, so that some intervals between reads hold more of the calls than others, and more energy. With
A the time in calls that an interval of length L holds, and E its energy::

    E = p L + d A + noise

p is the power outside of calls, which may drift; d, how much more is drawn in a call, is the same for all. Differences
of neighbouring intervals are free of what drifts, and least squares over them give d. What interpolation lacks of the
energy of the calls is then d times the sum of A (1 - A / L).

What comes before and after a call has a power of its own where one thing leads to another. So the time between calls is
divided into phases, whose lengths are those of half a usual call to a whole one, and the rest. Each has its time in
each interval and its own d, but the longest outside of calls: its power is p. So have long calls and short ones, long
gaps and short ones: only some calls may lead to something. Intervals that reach into a pause much longer than usual are
left out, the program does something else then; so are those with phases too rare to be told apart. When the value of a
read was counted is known to an update of the counter, so time in a phase is a mean over all that the edges of an
interval may be.

The error of d is taken from groups of intervals that follow each other: what is alike in neighbours isn't counted as
chance twice. All this presumes that power follows the program at once, and is as good as a power that is constant in
each phase describes the true one; a fifth of the correction stands for that, see ``benchmarks/short_calls.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.ages import Ages
from perun_like.analysis.counters import Counter
from perun_like.analysis.phases import CALLS, PAUSE, PHASES, Course, Usual
from perun_like.analysis.statistics import student_975
from perun_like.analysis.windows import Windows
from perun_like.model.recording import Bools, Int64s

Floats = NDArray[np.float64]

_GROUPS = 12
_FEWEST_GROUPS = 8
_FEWEST, _MOST = 5, 180  # reads in a group: more make the figure of a long run take longer, and hardly better
_RARE = 0.01  # of the time in calls: phases that take less can't be told apart from others
_MODEL = 0.2  # of the correction
_NS = 1e-9
_LARGEST_CONDITION = 1e8  # beyond it phases always come in the same proportion, and can't be told apart


class Correction(NamedTuple):
    """By how much calls used more than interpolation says, in J, and half the width of the 95 % interval around it."""

    value_j: float
    half_j: float

    @property
    def ends_j(self) -> tuple[float, float]:
        """The ends of this interval."""
        return self.value_j - self.half_j, self.value_j + self.half_j


class ShortCalls:
    """What the reads of a host's counters say of calls shorter than the time between them.

    Args:
        counters: Of energy, those that are to be added. They are asked for when a first region needs them.
    """

    def __init__(self, counters: Iterable[Counter]) -> None:
        self._counters = counters

    @cached_property
    def _reads(self) -> list[_Reads]:
        """Counters that are read together, added."""
        together: dict[tuple[int, int, int], _Reads] = {}
        for counter in self._counters:
            if counter.reads > 1:
                key = id(counter.t0_ns), counter.sensor.tick_ns, counter.sensor.lag_ns
                together[key] = _Reads.of(counter, together.get(key))
        return list(together.values())

    def correction(self, calls: Windows) -> Correction | None:
        """What interpolation lacks of the energy of calls; None if that can't be told.

        Args:
            calls: Disjoint and ascending, on the counters' clock, of one owner.
        """
        found = [_corrected(reads, calls) for reads in self._reads]
        known = [each for each in found if each is not None]
        if not known or len(known) < len(found):
            return None
        return Correction(sum(each.value_j for each in known), sum(each.half_j for each in known))


class _Reads(NamedTuple):
    """Reads of some counters together.

    Attributes:
        t0_ns: When each began, shape (reads,).
        shown_ns: When what it shows was probably counted, in the same way; the first counter's stands for all.
        energy_j: What was counted up to then, of all.
        gaps: Steps up to then of which it isn't known what was counted.
        tick_ns: The counters'.
        gap_ns: From one read to the next, on the mean.
    """

    t0_ns: Int64s
    shown_ns: Int64s
    energy_j: Floats
    gaps: Int64s
    tick_ns: int
    gap_ns: int

    @classmethod
    def of(cls, counter: Counter, others: _Reads | None) -> _Reads:
        """Those of a counter, added to those of others."""
        energy_j = np.asarray(counter.units * counter.sensor.scale, np.float64)
        if others is None:
            gap_ns = int(counter.t0_ns[-1] - counter.t0_ns[0]) // (counter.reads - 1)
            return cls(counter.t0_ns, Ages(counter).shown_ns, energy_j, counter.gaps, counter.sensor.tick_ns, gap_ns)
        return others._replace(energy_j=others.energy_j + energy_j, gaps=others.gaps + counter.gaps)


def _corrected(reads: _Reads, calls: Windows) -> Correction | None:
    """The correction of counters that are read together."""
    groups = _groups(reads.shown_ns, calls)
    if len(groups) < _FEWEST_GROUPS:
        return None
    intervals = _Intervals.of(reads, calls, groups).without_rare_phases()
    found, looked_at_s = _fitted(intervals), float(intervals.calls_s[intervals.steady].sum())
    if found is None or 2 * looked_at_s < intervals.calls_s.sum():
        return None
    times = float(calls.duration_s.sum()) / looked_at_s  # what wasn't looked at is like what was
    return Correction(found.value_j * times, found.half_j * times)


def _groups(shown_ns: Int64s, calls: Windows) -> list[slice]:
    """Reads to be looked at, in groups: all of a short run, some from everywhere of a long one."""
    begin, end = np.searchsorted(shown_ns, [calls.a_ns[0], calls.b_ns[-1]])
    begin, end = max(int(begin) - 1, 0), min(int(end) + 1, len(shown_ns) - 1)
    firsts = np.linspace(begin, end, max(min(_GROUPS, (end - begin) // _FEWEST), 1) + 1).astype(np.int64).tolist()
    return [slice(first, min(after, first + _MOST) + 1) for first, after in pairwise(firsts)]


class _Intervals(NamedTuple):
    """Intervals between reads, each the neighbour of the next in its group: shape (intervals,), but for ``phases_s``.

    Attributes:
        group: To which group it belongs, ascending.
        energy_j: Nan where it isn't known.
        length_s: Of each.
        calls_s: Time in calls.
        phases_s: Time in each phase on the mean over when the interval may have been, shape (intervals, phases).
        steady: Whether it has a length and doesn't reach into a pause.
    """

    group: Int64s
    energy_j: Floats
    length_s: Floats
    calls_s: Floats
    phases_s: Floats
    steady: Bools

    @classmethod
    def of(cls, reads: _Reads, calls: Windows, groups: Sequence[slice]) -> _Intervals:
        """Those between reads of one group."""
        rows = np.concatenate([np.arange(group.start, group.stop) for group in groups])
        group = np.repeat(np.arange(len(groups)), [each.stop - each.start for each in groups])
        inside = group[1:] == group[:-1]
        blur_ns = min(reads.tick_ns, reads.gap_ns)
        course, edges_ns = _laid_together(reads.shown_ns[rows], group, calls, blur_ns)
        length_s, calls_s = np.diff(edges_ns)[inside] / 1e9, np.diff(course.calls_ns(edges_ns))[inside] / 1e9
        phases_s = np.diff(course.phases_ns(edges_ns, blur_ns), axis=0)[inside] / 1e9
        unknown = np.diff(reads.gaps[rows]) > 0
        energy_j = np.where(unknown, np.nan, np.diff(reads.energy_j[rows]))[inside]
        steady = (phases_s[:, PAUSE] < _NS) & (length_s > _NS)
        return cls(group[1:][inside], energy_j, length_s, calls_s, phases_s, steady)

    @property
    def in_phases_s(self) -> Floats:
        """Time in each phase of all steady intervals."""
        return np.asarray(self.phases_s[self.steady].sum(axis=0))

    def without_rare_phases(self) -> _Intervals:
        """The same, those not steady that have a noticeable part in phases too rare to be told apart from others."""
        is_rare = self.in_phases_s < _RARE * self.in_phases_s[list(CALLS)].sum()
        noticeable = self.phases_s[:, is_rare].sum(axis=1) > _RARE * self.length_s
        return self._replace(steady=self.steady & ~noticeable)


def _laid_together(shown_ns: Int64s, group: Int64s, calls: Windows, blur_ns: int) -> tuple[Course, Int64s]:
    """The calls around each group of reads, one group's after the other's without the time between, and the reads there.

    Only so are sums over time exact enough where groups are days apart.
    """
    count = int(group[-1]) + 1
    begins, ends = np.searchsorted(group, np.arange(count)), np.searchsorted(group, np.arange(count), "right") - 1
    start_ns, stop_ns = shown_ns[begins] - blur_ns, shown_ns[ends] + blur_ns
    first = np.maximum(np.searchsorted(calls.b_ns, start_ns) - 1, 0)
    last = np.minimum(np.searchsorted(calls.a_ns, stop_ns), len(calls.a_ns) - 1)
    start_ns, stop_ns = np.minimum(start_ns, calls.a_ns[first]), np.maximum(stop_ns, calls.b_ns[last])
    until_ns = np.cumsum(stop_ns - start_ns)
    shift_ns = until_ns - stop_ns
    some = np.concatenate([np.arange(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    by_ns = np.repeat(shift_ns, last - first + 1)
    course = Course.of(calls.a_ns[some] + by_ns, calls.b_ns[some] + by_ns, (0, int(until_ns[-1])), Usual.of(calls))
    return course, shown_ns + shift_ns[group]


def _fitted(of: _Intervals) -> Correction | None:
    """The correction of steady intervals by least squares over all groups, and its error by how they differ."""
    length_s = np.maximum(of.length_s, _NS)
    parts, power_w = of.phases_s / length_s[:, None], of.energy_j / length_s
    chosen = _told_apart(of.in_phases_s)
    own = np.isin(chosen, CALLS)
    if not own.any():
        return None
    x, y = np.diff(parts[:, chosen], axis=0), np.diff(power_w)
    some = (of.group[1:] == of.group[:-1]) & of.steady[1:] & of.steady[:-1] & ~np.isnan(y)
    x, y, group = x[some], y[some], of.group[1:][some]
    xx = x.T @ x
    norms = np.sqrt(xx.diagonal())
    groups = np.count_nonzero(np.bincount(group[(x[:, own] != 0).any(axis=1)]))  # np.unique would import numpy.ma
    if groups < _FEWEST_GROUPS or not norms.all() or np.linalg.cond(xx / np.outer(norms, norms)) > _LARGEST_CONDITION:
        return None
    inverse = np.linalg.inv(xx)
    more_w = inverse @ (x.T @ y)
    # Of each power, for how long interpolation lacks it: the calls' own where it takes them for more than they are.
    calls_s, left_s = of.calls_s[of.steady], np.maximum(of.length_s - of.calls_s, 0.0)[of.steady]
    lacks_s = np.where(own, of.in_phases_s[chosen], 0.0) - calls_s @ parts[of.steady][:, chosen]
    left_w = y - x @ more_w
    scores = np.add.reduceat(x * left_w[:, None], np.flatnonzero(np.diff(group, prepend=-1)))
    spread = inverse @ (scores.T @ scores) @ inverse * groups / (groups - 1)
    # Power that changes within an interval by chance as it does between neighbours, whose difference has it twice.
    noise_w2 = float(left_w @ left_w) / max(len(y) - len(chosen), 1) / 2
    within_j2 = noise_w2 * float(calls_s @ left_s)
    value_j = float(lacks_s @ more_w)
    chance_j = student_975(groups - 1) * math.sqrt(float(lacks_s @ spread @ lacks_s) + within_j2)
    return Correction(value_j, math.hypot(chance_j, _MODEL * value_j))


def _told_apart(phases_s: Floats) -> Int64s:
    """Calls, and the phases between them whose power is told apart from that of the longest of these."""
    outside_s = np.where(np.isin(np.arange(PHASES), CALLS), 0.0, phases_s)
    enough = (phases_s > _RARE * phases_s[list(CALLS)].sum()) & (np.arange(PHASES) != np.argmax(outside_s))
    return np.flatnonzero(enough)
