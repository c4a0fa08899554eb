"""Gauges over a window: mean, largest and integral over the times at which they were really read.

Nothing hard can be said of a quantity between two reads. The bounds of an integral take the smaller and the larger
of two neighbouring reads for the time between them: a heuristic, and labelled as such.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perun_like.analysis.intervals import within
from perun_like.analysis.windows import Floats, Windows
from perun_like.model.recording import Int64s, Stream
from perun_like.sensing.contract import Sensor
from perun_like.units import NS_PER_S

METHOD = "bounds by neighbouring reads, not hard"
LONGEST_STEP = 3  # periods: reads further apart say nothing of the time between them


class Gauge(NamedTuple):
    """Successful reads of a gauge.

    Attributes:
        period_ns: The grid asked for; where some reads were left out to save room, how far apart the others are.
        t0_ns: Just before each read, int64, shape (reads,), ascending.
        at_ns: When each was: the middle between just before and just after it.
        values: What it showed, in the sensor's unit.
    """

    sensor: Sensor
    period_ns: int
    t0_ns: Int64s
    at_ns: Int64s
    values: Floats

    @classmethod
    def of(cls, stream: Stream, row: int) -> Gauge:
        """The reads of one of a stream's sensors."""
        valid, sensor = stream.valid[row], stream.sensors[row]
        t0_ns = stream.t0_ns[valid]
        at_ns = t0_ns + (stream.t1_ns[valid] - t0_ns) // 2
        values = np.asarray(stream.raw[row])[valid] * sensor.scale
        return cls(sensor, max(stream.period_ns, stream.apart_ns), t0_ns, at_ns, values)

    def within(self, windows: Windows) -> Floats:
        """The values that were read in the windows."""
        return self.values[within(self.at_ns, windows)]

    def around(self, a_ns: int, b_ns: int) -> Gauge:
        """The reads from the last one up to a to the first one from b on."""
        first = int(np.searchsorted(self.at_ns, a_ns, "right")) - 1
        last = int(np.searchsorted(self.at_ns, b_ns, "left"))
        rows = slice(max(first, 0), last + 1)
        return self._replace(t0_ns=self.t0_ns[rows], at_ns=self.at_ns[rows], values=self.values[rows])


class Summary(NamedTuple):
    """A gauge in windows of time.

    Attributes:
        mean, lower, upper: Mean over the covered time and its heuristic bounds, in the sensor's unit.
        largest: Largest value read within the windows, or next to them if none was.
        integral: Unit x seconds over the covered time.
        coverage: Share of the windows for which there are reads, 0 to 1.
        reads: Successful reads within the windows.
    """

    mean: float
    lower: float
    upper: float
    largest: float
    integral: float
    coverage: float
    reads: int
    method: str = METHOD


def summarise(gauge: Gauge, windows: Windows) -> Summary | None:
    """A gauge in a single owner's windows; None if nothing is known of it there."""
    length_s = float(np.sum(windows.b_ns - windows.a_ns)) / NS_PER_S
    if length_s <= 0 or not len(gauge.values):
        return None
    near = gauge.around(int(windows.a_ns[0]), int(windows.b_ns[-1]))
    # Times as seconds since the first window's start: exact, however long the host has been up.
    at_s, a_s, b_s = ((t_ns - windows.a_ns[0]) / NS_PER_S for t_ns in (near.at_ns, windows.a_ns, windows.b_ns))
    start_s, stop_s = _pieces(at_s, a_s, b_s, LONGEST_STEP * gauge.period_ns / NS_PER_S)
    ends = np.interp(np.array([start_s, stop_s]), at_s, near.values)
    inside = near.within(windows)
    seen = inside if len(inside) else ends.ravel()
    if not len(seen):
        return None
    return _summary(ends, stop_s - start_s, seen, length_s, len(inside))


def _pieces(at_s: Floats, a_s: Floats, b_s: Floats, longest_s: float) -> tuple[Floats, Floats]:
    """The times within windows of which reads tell, cut at each read."""
    edges = np.sort(np.concatenate([at_s, a_s, b_s]))  # np.unique would have numpy.ma loaded: 10 ms
    start_s, stop_s = edges[:-1], edges[1:]
    window = np.searchsorted(a_s, start_s, "right") - 1
    step = np.searchsorted(at_s, start_s, "right") - 1
    is_in_window = (window >= 0) & (start_s < b_s[window])
    is_between = (step >= 0) & (step < len(at_s) - 1)
    length_s = np.append(np.diff(at_s), np.inf)
    known = (stop_s > start_s) & is_in_window & is_between & (length_s[step] <= longest_s)
    return start_s[known], stop_s[known]


def _summary(ends: Floats, step_s: Floats, seen: Floats, length_s: float, reads: int) -> Summary:
    """From the pieces between reads, cut to the windows: values at their ends, shape (2, pieces), and lengths."""
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
