"""Gauges over a window: mean, largest and integral over the times at which they were really read.

Nothing hard can be said of a quantity between two reads. The bounds of an integral take the smaller and the larger
of two neighbouring reads for the time between them: a heuristic, and labelled as such.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perun_like.analysis.windows import Floats
from perun_like.model.recording import Stream
from perun_like.units import NS_PER_S

METHOD = "bounds by neighbouring reads, not hard"
LONGEST_STEP = 3  # periods: reads further apart say nothing of the time between them


class Summary(NamedTuple):
    """A gauge in a window.

    Attributes:
        mean, lower, upper: Mean over the covered time and its heuristic bounds, in the sensor's unit.
        largest: Largest value read within the window, or next to it if none was.
        integral: Unit x seconds over the covered time.
        coverage: Share of the window for which there are reads, 0 to 1.
        reads: Successful reads within the window.
    """

    mean: float
    lower: float
    upper: float
    largest: float
    integral: float
    coverage: float
    reads: int
    method: str = METHOD


def summarise(stream: Stream, row: int, a_ns: int, b_ns: int) -> Summary | None:
    """A stream's gauge in the window from a to b; None if nothing is known of it there."""
    valid = stream.valid[row]
    t_ns = stream.t0_ns[valid] + (stream.t1_ns[valid] - stream.t0_ns[valid]) // 2
    values = stream.raw[row][valid] * stream.sensors[row].scale
    inside = (t_ns >= a_ns) & (t_ns <= b_ns)
    if not len(values) or b_ns <= a_ns:
        return None
    # Times within the window as seconds since its start: exact, however long the host has been up.
    at_s, length_s = (t_ns - a_ns) / NS_PER_S, (b_ns - a_ns) / NS_PER_S
    longest_s = LONGEST_STEP * stream.period_ns / NS_PER_S
    start_s, stop_s = np.clip(at_s[:-1], 0.0, length_s), np.clip(at_s[1:], 0.0, length_s)
    known = (np.diff(at_s) <= longest_s) & (stop_s > start_s)
    ends = np.interp([start_s[known], stop_s[known]], at_s, values)
    seen = values[inside] if inside.any() else ends.ravel()
    if not len(seen):
        return None
    return _summary(ends, (stop_s - start_s)[known], seen, length_s, int(inside.sum()))


def _summary(ends: Floats, step_s: Floats, seen: Floats, length_s: float, reads: int) -> Summary:
    """From the pieces between reads, cut to the window: values at their ends, shape (2, pieces), and lengths."""
    covered_s = float(step_s.sum())
    if covered_s == 0:  # a single read
        lowest, largest = float(seen.min()), float(seen.max())
        return Summary(float(seen.mean()), lowest, largest, largest, 0.0, 0.0, reads)
    integral, lower, upper = (
        float(np.sum(of * step_s)) for of in (ends.mean(axis=0), ends.min(axis=0), ends.max(axis=0))
    )
    return Summary(
        mean=integral / covered_s,
        lower=lower / covered_s,
        upper=upper / covered_s,
        largest=float(seen.max()),
        integral=integral,
        coverage=min(covered_s / length_s, 1.0),
        reads=reads,
    )
