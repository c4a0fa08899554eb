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
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from perun_like.analysis.counters import Counter
from perun_like.analysis.phases import CALLS, PHASES
from perun_like.analysis.read_intervals import RARE, Floats, Intervals, Reads
from perun_like.analysis.statistics import student_975
from perun_like.analysis.windows import Windows
from perun_like.model.recording import Bools, Int64s

_GROUPS = 12
_FEWEST_GROUPS = 8
_FEWEST, _MOST = 5, 180  # reads in a group: more make the figure of a long run take longer, and hardly better
_MODEL = 0.2  # of the correction
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
    def _reads(self) -> list[Reads]:
        """Counters that are read together, added."""
        together: dict[tuple[int, int, int], Reads] = {}
        for counter in self._counters:
            if counter.reads > 1:
                key = id(counter.t0_ns), counter.sensor.tick_ns, counter.sensor.lag_ns
                together[key] = Reads.of(counter, together.get(key))
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


def _corrected(reads: Reads, calls: Windows) -> Correction | None:
    """The correction of counters that are read together."""
    groups = _groups(reads.shown_ns, calls)
    if len(groups) < _FEWEST_GROUPS:
        return None
    intervals = Intervals.of(reads, calls, groups).without_rare_phases()
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


def _fitted(of: Intervals) -> Correction | None:
    """The correction of steady intervals by least squares over all groups, and its error by how they differ."""
    chosen = _told_apart(of.in_phases_s)
    own, steps = np.isin(chosen, CALLS), _Steps.of(of, chosen)
    inverse = _inverse(steps.parts)
    groups = np.count_nonzero(np.bincount(steps.group[(steps.parts[:, own] != 0).any(axis=1)]))
    if groups < _FEWEST_GROUPS or inverse is None:
        return None
    more_w = inverse @ (steps.parts.T @ steps.power_w)
    left_w, lacks_s = steps.power_w - steps.parts @ more_w, _lacks_s(of, chosen, own)
    value_j = float(lacks_s @ more_w)
    chance_j2 = _spread_j2(steps, left_w, inverse @ lacks_s) * groups / (groups - 1) + _within_j2(of, steps, left_w)
    return Correction(value_j, math.hypot(student_975(groups - 1) * math.sqrt(chance_j2), _MODEL * value_j))


def _told_apart(phases_s: Floats) -> Int64s:
    """Calls, and the phases between them whose power is told apart from that of the longest of these."""
    outside_s = np.where(np.isin(np.arange(PHASES), CALLS), 0.0, phases_s)
    enough = (phases_s > RARE * phases_s[list(CALLS)].sum()) & (np.arange(PHASES) != np.argmax(outside_s))
    return np.flatnonzero(enough)


class _Steps(NamedTuple):
    """What changes from steady intervals to their neighbours.

    Attributes:
        group: To which group both belong, ascending, shape (steps,).
        parts: By how much the parts of their lengths differ that are of each phase, shape (steps, phases).
        power_w: By how much their power does.
    """

    group: Int64s
    parts: Floats
    power_w: Floats

    @classmethod
    def of(cls, intervals: Intervals, phases: Int64s) -> _Steps:
        """Those that are known, in some phases."""
        parts, steady, group = intervals.parts, intervals.steady, intervals.group
        power_w = np.diff(intervals.power_w)
        some = (group[1:] == group[:-1]) & steady[1:] & steady[:-1] & ~np.isnan(power_w)
        return cls(group[1:][some], np.diff(parts[:, phases], axis=0)[some], power_w[some])


def _inverse(parts: Floats) -> Floats | None:
    """The inverse of the normal matrix; None if the columns can't be told apart, or there are none."""
    normal = parts.T @ parts
    norms = np.sqrt(normal.diagonal())
    if not len(norms) or not norms.all() or np.linalg.cond(normal / np.outer(norms, norms)) > _LARGEST_CONDITION:
        return None
    return np.asarray(np.linalg.inv(normal), np.float64)


def _lacks_s(of: Intervals, phases: Int64s, own: Bools) -> Floats:
    """Of each phase's power, for how long interpolation lacks it: it gives calls the same part of it as all else."""
    given_s = of.calls_s[of.steady] @ of.parts[of.steady][:, phases]
    return np.where(own, of.in_phases_s[phases], 0.0) - given_s


def _spread_j2(steps: _Steps, left_w: Floats, weights: Floats) -> float:
    """The variance of a sum over phases' powers, by what the fit leaves in each group."""
    firsts = np.flatnonzero(np.diff(steps.group, prepend=-1))
    scores = np.add.reduceat((steps.parts @ weights) * left_w, firsts)
    return float(scores @ scores)


def _within_j2(of: Intervals, steps: _Steps, left_w: Floats) -> float:
    """The variance of power within intervals: as between neighbours, whose difference has it twice."""
    noise_w2 = float(left_w @ left_w) / max(len(left_w) - steps.parts.shape[1], 1) / 2
    outside_s = np.maximum(of.length_s - of.calls_s, 0.0)
    return float(noise_w2 * (of.calls_s[of.steady] @ outside_s[of.steady]))
