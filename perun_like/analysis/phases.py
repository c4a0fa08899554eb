"""Phases between calls of a function: how much time there was in each up to an instant.

From one call to the next there are: the call; some phases after it and some before the next, whose lengths are halves
of a usual call's; the rest, which is called a pause where it is much longer than usual, and before the first call and
after the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.model.recording import Int64s

Floats = NDArray[np.float64]

_AFTER = (1, 1, 1, 1, 2, 2)  # lengths of phases after a call, in halves of a usual one
_BEFORE = (1, 1)  # and before the next
CALL, PAUSE = 0, len(_AFTER) + 2  # columns of phases, which are in order of time
PHASES = PAUSE + 1 + len(_BEFORE)
_LONG_GAP = 5  # times the usual one
_EVER_NS = 1 << 50


class Course(NamedTuple):
    """How much time there was in each phase up to an instant.

    Attributes:
        start_ns: Where it begins.
        edges_ns: Where phases begin, from there, shape (edges,).
        until_ns: Time in each phase before each edge, shape (edges, phases).
        sum_ns2: The integral of that.
    """

    start_ns: int
    edges_ns: Floats
    until_ns: Floats
    sum_ns2: Floats

    @classmethod
    def of(cls, a_ns: Int64s, b_ns: Int64s, start_ns: int) -> Course:
        """The phases of calls and of the time between them, from an instant on, and after them without end."""
        start_ns = min(start_ns, int(a_ns[0]))
        gaps_ns = np.append(a_ns[1:], b_ns[-1] + _EVER_NS) - b_ns
        phases_ns = _phases(b_ns - a_ns, gaps_ns, int(np.median(b_ns - a_ns)) // 2)
        lengths_ns = np.concatenate([[a_ns[0] - start_ns], phases_ns.ravel()]).astype(np.float64)
        steps_ns = np.zeros((len(lengths_ns), PHASES))
        steps_ns[np.arange(len(lengths_ns)), np.append(PAUSE, np.tile(np.arange(PHASES), len(a_ns)))] = lengths_ns
        until_ns = _cumulated(steps_ns)
        sum_ns2 = _cumulated((until_ns[1:] + until_ns[:-1]) / 2 * lengths_ns[:, None])
        return cls(start_ns, np.append(0.0, np.cumsum(lengths_ns)), until_ns, sum_ns2)

    def mean(self, t_ns: Floats, blur_ns: int) -> Floats:
        """Time in each phase up to some instants, the mean over a time around each: shape (instants, phases)."""
        blur_ns = max(blur_ns, 2)
        return (self._integral(t_ns + blur_ns / 2) - self._integral(t_ns - blur_ns / 2)) / blur_ns

    def _integral(self, t_ns: Floats) -> Floats:
        place = np.searchsorted(self.edges_ns[1:-1], t_ns, "right")
        length_ns = np.maximum(self.edges_ns[place + 1] - self.edges_ns[place], 1.0)
        since_ns = t_ns - self.edges_ns[place]
        rising = (self.until_ns[place + 1] - self.until_ns[place]) * (since_ns**2 / length_ns / 2)[:, None]
        return np.asarray(self.sum_ns2[place] + self.until_ns[place] * since_ns[:, None] + rising)


def _cumulated(steps: Floats) -> Floats:
    return np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])


def _phases(calls_ns: Int64s, gaps_ns: Int64s, half_ns: int) -> Int64s:
    """Lengths of the phases from each call to the next, in their order: shape (calls, phases)."""
    after = _taken(gaps_ns, half_ns, _AFTER)
    before = _taken(gaps_ns - sum(after), half_ns, _BEFORE)
    rest_ns = gaps_ns - sum(before) - sum(after)
    pause_ns = np.where(gaps_ns > _LONG_GAP * np.median(gaps_ns), rest_ns, 0)
    return np.stack([calls_ns, *after, rest_ns - pause_ns, pause_ns, *reversed(before)], axis=1)


def _taken(left_ns: Int64s, half_ns: int, times: Iterable[int]) -> list[Int64s]:
    """Phases of some lengths, one after the other, as far as there is time left for them."""
    taken: list[Int64s] = []
    for number in times:
        taken.append(np.minimum(left_ns, number * half_ns))
        left_ns = left_ns - taken[-1]
    return taken
