"""Phases between calls of a function: how much time there was in each up to an instant.

From one call to the next there are: the call; some phases after it and some before the next, whose lengths are halves
of a usual call's; the rest, which is called a pause where it is much longer than usual, and before the first call and
after the last one. Long calls and long gaps have phases of their own: there a program may do something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.analysis.windows import Windows
from perun_like.model.recording import Int64s

Floats = NDArray[np.float64]

_AFTER = (1, 1, 1, 1, 2, 2)  # lengths of phases after a call, in halves of a usual one
_BEFORE = (1, 1)  # and before the next
_IN_GAP = len(_AFTER) + 1 + len(_BEFORE)
CALLS = (0, 1)  # columns of phases, in order of time: short calls, long ones; then those of short gaps, of long ones
PAUSE = len(CALLS) + _IN_GAP + len(_AFTER) + 1
PHASES = len(CALLS) + 2 * _IN_GAP + 1
_PAUSE_GAPS = 5  # gaps of usual length
_ENOUGH = 4096  # calls by which to tell what is usual
_MOST_NS2 = 1 << 60  # from an instant to the next times half the blur: four times as much fits in a word


class Usual(NamedTuple):
    """What is usual among calls.

    Attributes:
        call_ns: Length of a call.
        gap_ns: … of the gap to the next.
        long_call_ns: A call that is longer is a long one.
        long_gap_ns: The same of a gap.
    """

    call_ns: int
    gap_ns: int
    long_call_ns: int
    long_gap_ns: int

    @classmethod
    def of(cls, calls: Windows) -> Usual:
        """Medians of calls, disjoint and ascending, and the middle between the short ones and the long ones."""
        some = max(len(calls.a_ns) // _ENOUGH, 1)
        lengths_ns = (calls.b_ns - calls.a_ns)[::some]
        gaps_ns = (calls.a_ns[1:] - calls.b_ns[:-1])[::some] if len(calls.a_ns) > 1 else np.zeros(1, np.int64)
        length, gap = _percentiles(lengths_ns), _percentiles(gaps_ns)
        return cls(length[1], gap[1], (length[0] + length[2]) // 2, (gap[0] + gap[2]) // 2)


def _percentiles(values: Int64s) -> list[int]:
    """The 5th, the 50th and the 95th. That of numpy would have numpy.ma loaded: 10 ms."""
    ordered, last = np.sort(values), len(values) - 1
    return [int(ordered[last * percent // 100]) for percent in (5, 50, 95)]


class Course(NamedTuple):
    """Time in each phase, from one call to the next: all of shape (calls, phases), but for ``start_ns``.

    Areas are integers modulo 2^64: what is between two instants is exact, whatever was in the days before.

    Attributes:
        start_ns: Where calls begin, shape (calls,).
        offset_ns: Where phases begin, from there.
        length_ns: How long they are.
        until_ns: Time in each phase before the call.
        twice_area_ns2: Twice the integral of that over time, up to the call.
    """

    start_ns: Int64s
    offset_ns: Int64s
    length_ns: Int64s
    until_ns: Int64s
    twice_area_ns2: Int64s

    @classmethod
    def of(cls, a_ns: Int64s, b_ns: Int64s, window_ns: tuple[int, int], usual: Usual) -> Course:
        """The phases of calls and of the time between them in a window.

        Args:
            a_ns: Start of each call, int64, shape (calls,), ascending.
            b_ns: Its end, not after the start of the next.
            window_ns: A pause reaches from its start to the first call, and from the last call to its end.
            usual: What is usual among all calls.
        """
        first_ns, last_ns = min(window_ns[0], int(a_ns[0])), max(window_ns[1], int(b_ns[-1]))
        a_ns, b_ns = np.append(first_ns, a_ns), np.append(first_ns, b_ns)  # a first call without length
        length_ns = _phases(b_ns - a_ns, np.append(a_ns[1:], last_ns) - b_ns, usual)
        offset_ns = np.cumsum(length_ns, axis=1) - length_ns
        until_ns, cycle_ns = _before(length_ns), length_ns.sum(axis=1)[:, None]
        twice_ns2 = 2 * until_ns * cycle_ns + length_ns * (2 * (cycle_ns - offset_ns) - length_ns)
        return cls(a_ns, offset_ns, length_ns, until_ns, _before(twice_ns2))

    def calls_ns(self, t_ns: Int64s) -> Int64s:
        """Time in calls up to some instants."""
        place = np.searchsorted(self.start_ns, t_ns, "right") - 1
        since_ns = t_ns - self.start_ns[place]
        until_ns, length_ns = (of_phases[place][:, CALLS].sum(axis=1) for of_phases in (self.until_ns, self.length_ns))
        return np.asarray(until_ns + np.minimum(since_ns, length_ns))

    def phases_ns(self, t_ns: Int64s, blur_ns: int) -> Floats:
        """Time in each phase from each instant to the next, the mean over a time around both.

        Returns:
            Shape (instants - 1, phases); nan where the next is too far away: some minutes with a blur of 1 ms.
        """
        half_ns = max(blur_ns // 2, 1)
        twice_ns2 = np.diff(self._twice_area_ns2(t_ns + half_ns) - self._twice_area_ns2(t_ns - half_ns), axis=0)
        is_too_far = np.diff(t_ns) + 2 * half_ns > _MOST_NS2 // half_ns
        return np.where(is_too_far[:, None], np.nan, twice_ns2 / (4 * half_ns))

    def _twice_area_ns2(self, t_ns: Int64s) -> Int64s:
        place = np.searchsorted(self.start_ns, t_ns, "right") - 1
        since_ns = (t_ns - self.start_ns[place])[:, None]
        into_ns = since_ns - self.offset_ns[place]
        passed_ns = np.clip(into_ns, 0, self.length_ns[place])
        within_ns2 = passed_ns * (2 * into_ns - passed_ns)
        return np.asarray(self.twice_area_ns2[place] + 2 * self.until_ns[place] * since_ns + within_ns2)


def _before(each: Int64s) -> Int64s:
    """Sums over the calls before each."""
    return np.asarray(np.cumsum(each, axis=0) - each)


def _phases(calls_ns: Int64s, gaps_ns: Int64s, usual: Usual) -> Int64s:
    """Lengths of the phases from each call to the next, in their order: shape (calls, phases)."""
    is_pause = gaps_ns > _PAUSE_GAPS * usual.gap_ns
    is_pause[[0, -1]] = True
    is_long = is_pause | (gaps_ns > usual.long_gap_ns)
    after, rest_ns, before = _gap(gaps_ns, usual.call_ns // 2)
    pause_ns = np.where(is_pause, rest_ns, 0)
    short = [np.where(is_long, 0, phase) for phase in (*after, rest_ns, *before)]
    long = [np.where(is_long, phase, 0) for phase in (*after, rest_ns - pause_ns, pause_ns, *before)]
    calls = [np.where((calls_ns > usual.long_call_ns) == long_ones, calls_ns, 0) for long_ones in (False, True)]
    return np.stack([*calls, *short, *long], axis=1)


def _gap(gaps_ns: Int64s, half_ns: int) -> tuple[list[Int64s], Int64s, list[Int64s]]:
    """The phases of gaps: those after a call, the rest, and those before the next."""
    after = _taken(gaps_ns, half_ns, _AFTER)
    before = _taken(gaps_ns - sum(after), half_ns, _BEFORE)
    return after, gaps_ns - sum(after) - sum(before), before[::-1]


def _taken(left_ns: Int64s, half_ns: int, times: Iterable[int]) -> list[Int64s]:
    """Phases of some lengths, one after the other, as far as there is time left for them."""
    taken: list[Int64s] = []
    for number in times:
        taken.append(np.minimum(left_ns, number * half_ns))
        left_ns = left_ns - taken[-1]
    return taken
