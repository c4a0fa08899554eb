"""Intervals between the reads of counters, and how much of each phase between calls every one of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.ages import Ages
from perun_like.analysis.counters import Counter
from perun_like.analysis.phases import CALLS, PAUSE, Course, Usual
from perun_like.analysis.windows import Windows
from perun_like.model.recording import Bools, Int64s

Floats = NDArray[np.float64]

RARE = 0.01  # of the time in calls: phases that take less can't be told apart from others
_NS = 1e-9


class Reads(NamedTuple):
    """Reads of some counters together.

    Attributes:
        shown_ns: When what each shows was probably counted, shape (reads,); the first counter's stands for all.
        energy_j: What was counted up to then, of all.
        gaps: Steps up to then of which it isn't known what was counted.
        tick_ns: The counters'.
        gap_ns: From one read to the next, on the mean.
    """

    shown_ns: Int64s
    energy_j: Floats
    gaps: Int64s
    tick_ns: int
    gap_ns: int

    @classmethod
    def of(cls, counter: Counter, others: Reads | None) -> Reads:
        """Those of a counter, added to those of others."""
        energy_j = np.asarray(counter.units * counter.sensor.scale, np.float64)
        if others is None:
            gap_ns = int(counter.t0_ns[-1] - counter.t0_ns[0]) // (counter.reads - 1)
            return cls(Ages(counter).shown_ns, energy_j, counter.gaps, counter.sensor.tick_ns, gap_ns)
        return others._replace(energy_j=others.energy_j + energy_j, gaps=others.gaps + counter.gaps)


class Intervals(NamedTuple):
    """Intervals between reads, each the neighbour of the next in its group: shape (intervals,), but for ``phases_s``.

    Attributes:
        group: To which group it belongs, ascending.
        energy_j: Nan where it isn't known.
        length_s: Of each.
        calls_s: Time in calls.
        phases_s: Time in each phase on the mean over when the interval may have been, shape (intervals, phases); nan of
            one that is much too long to tell.
        steady: Whether it has a length, which isn't much too long, and doesn't reach into a pause.
    """

    group: Int64s
    energy_j: Floats
    length_s: Floats
    calls_s: Floats
    phases_s: Floats
    steady: Bools

    @classmethod
    def of(cls, reads: Reads, calls: Windows, groups: Sequence[slice]) -> Intervals:
        """Those between reads of the same group."""
        rows = np.concatenate([np.arange(group.start, group.stop) for group in groups])
        group = np.repeat(np.arange(len(groups)), [each.stop - each.start for each in groups])
        inside = group[1:] == group[:-1]
        blur_ns = min(reads.tick_ns, reads.gap_ns)
        edges_ns = reads.shown_ns[rows]
        course = _course(edges_ns, group, calls, blur_ns)
        length_s, calls_s = np.diff(edges_ns)[inside] / 1e9, np.diff(course.calls_ns(edges_ns))[inside] / 1e9
        phases_s = course.phases_ns(edges_ns, blur_ns)[inside] / 1e9
        unknown = np.diff(reads.gaps[rows]) > 0
        energy_j = np.where(unknown, np.nan, np.diff(reads.energy_j[rows]))[inside]
        steady = (phases_s[:, PAUSE] < _NS) & (length_s > _NS)
        return cls(group[1:][inside], energy_j, length_s, calls_s, phases_s, steady)

    @property
    def parts(self) -> Floats:
        """Which part of its length is of each phase, shape (intervals, phases)."""
        return np.asarray(self.phases_s / np.maximum(self.length_s, _NS)[:, None])

    @property
    def power_w(self) -> Floats:
        """Of each; nan where it isn't known."""
        return np.asarray(self.energy_j / np.maximum(self.length_s, _NS))

    @property
    def in_phases_s(self) -> Floats:
        """Time in each phase of all steady intervals."""
        return np.asarray(self.phases_s[self.steady].sum(axis=0))

    def without_rare_phases(self) -> Intervals:
        """The same, those not steady that have a noticeable part in phases too rare to be told apart from others."""
        is_rare = self.in_phases_s < RARE * self.in_phases_s[list(CALLS)].sum()
        noticeable = self.phases_s[:, is_rare].sum(axis=1) > RARE * self.length_s
        return self._replace(steady=self.steady & ~noticeable)


def _course(shown_ns: Int64s, group: Int64s, calls: Windows, blur_ns: int) -> Course:
    """The phases around each group of reads. Calls that are near none are left out, as if there were a pause."""
    groups = np.arange(int(group[-1]) + 1)
    begins, ends = np.searchsorted(group, groups), np.searchsorted(group, groups, "right") - 1
    first = np.maximum(np.searchsorted(calls.b_ns, shown_ns[begins] - blur_ns) - 1, 0)
    last = np.minimum(np.searchsorted(calls.a_ns, shown_ns[ends] + blur_ns), len(calls.a_ns) - 1)
    first[1:] = np.maximum(first[1:], last[:-1] + 1)  # each call once
    some = np.concatenate([np.arange(a, b + 1) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
    window_ns = int(shown_ns[0]) - blur_ns, int(shown_ns[-1]) + blur_ns
    return Course.of(calls.a_ns[some], calls.b_ns[some], window_ns, Usual.of(calls))
