"""Energy of devices that show only their power: its integral over windows of time. Many windows at once.

A read at time t shows the power at some instant from ``t - tick - lag`` to t, or the mean over the ``window_ns`` before
it. The estimate joins reads by straight lines, each taken as old as it is on average. The bounds take, at every
instant, the smallest and the largest of the reads around it: from the last one before it to the first one that can't
show anything older. They hold unless the power went beyond its neighbouring reads in between, so they aren't hard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from perun_like.analysis import gauges
from perun_like.analysis.gauges import Gauge
from perun_like.analysis.windows import Floats, Increase, Windows, unknown
from perun_like.model.recording import Int64s
from perun_like.sensing.contract import Sensor
from perun_like.units import NS_PER_S


class _Times(NamedTuple):
    """Times as seconds since the first: exact in floating point, however long the host has been up."""

    first_ns: int
    at_s: Floats

    @classmethod
    def of(cls, t_ns: Int64s) -> _Times:
        return cls(int(t_ns[0]), (t_ns - t_ns[0]) / NS_PER_S)

    def between(self, cumulated: Floats, windows: Windows) -> Floats:
        """What was added up in each window; nothing before the first and after the last time."""
        a_s, b_s = ((t_ns - self.first_ns) / NS_PER_S for t_ns in (windows.a_ns, windows.b_ns))
        return np.asarray(np.interp(b_s, self.at_s, cumulated) - np.interp(a_s, self.at_s, cumulated), np.float64)


class Curve(NamedTuple):
    """Running integrals at the times of reads, each from the first read on.

    Attributes:
        first_ns, last_ns: When the first and the last read were.
        smeared: By how much the integral over a window may be off because each read is a mean over some time.
        at: Times for the bounds and the missing time.
        shown: Times for the estimate.
        lower, upper, missing_ns: At ``at``.
        value: At ``shown``.
    """

    first_ns: int
    last_ns: int
    smeared: float
    at: _Times
    shown: _Times
    lower: Floats
    value: Floats
    upper: Floats
    missing_ns: Floats

    @classmethod
    def of(cls, gauge: Gauge) -> Curve | None:
        """The curve of a gauge of power; None if it was read less than twice."""
        return _curve(gauge) if len(gauge.values) > 1 else None


def method(sensor: Sensor) -> str:
    """How the energy of a sensor of power was had, for people."""
    mean = f", each the mean over {sensor.window_ns / NS_PER_S:g} s" if sensor.window_ns else ""
    return f"integral of power readings{mean}; {gauges.METHOD}"


def energy(curve: Curve | None, windows: Windows) -> Increase:
    """Energy in the windows of each owner, in joules.

    Args:
        curve: Of a gauge of power.
        windows: On the host's clock.
    """
    if curve is None:
        return unknown(windows)
    # What was before a window shows for as long as a mean reaches back, and what is in it shows for that long after.
    lower = curve.at.between(curve.lower, windows) - curve.smeared
    upper = curve.at.between(curve.upper, windows) + curve.smeared
    value = windows.sums(curve.shown.between(curve.value, windows))
    least = windows.sums(np.maximum(lower, 0.0))
    most = np.maximum(windows.sums(upper), least)  # equal ones may differ by rounding
    outside_ns = np.maximum(np.minimum(windows.b_ns, curve.first_ns) - windows.a_ns, 0)
    outside_ns += np.maximum(windows.b_ns - np.maximum(windows.a_ns, curve.last_ns), 0)
    missing_ns = outside_ns + curve.at.between(curve.missing_ns, windows)
    return Increase(least, np.clip(value, least, most), most, windows.sums(missing_ns) / NS_PER_S)


def _curve(gauge: Gauge) -> Curve:
    sensor, at_ns, watts = gauge.sensor, gauge.at_ns, gauge.values
    # The last read of a run waits for what may still be on its way.
    longest_ns = gauges.LONGEST_STEP * gauge.period_ns + sensor.tick_ns + sensor.lag_ns
    step_ns = np.diff(at_ns)
    known_s = np.where(step_ns <= longest_ns, step_ns, 0) / NS_PER_S
    lowest, highest = _around(watts, at_ns, sensor.tick_ns + sensor.lag_ns)
    age_ns = sensor.tick_ns // 2 + sensor.lag_ns + sensor.window_ns // 2
    # The last read holds on for its own age: nothing newer is known.
    shown_ns = np.append(at_ns - age_ns, at_ns[-1])
    held = np.append(watts, watts[-1])
    lines_s = np.append(known_s, age_ns / NS_PER_S)
    return Curve(
        first_ns=int(at_ns[0]),
        last_ns=int(at_ns[-1]),
        smeared=float(np.ptp(watts)) * sensor.window_ns / NS_PER_S,
        at=_Times.of(at_ns),
        shown=_Times.of(shown_ns),
        lower=_cumulated(lowest * known_s),
        value=_cumulated((held[:-1] + held[1:]) / 2 * lines_s),
        upper=_cumulated(highest * known_s),
        missing_ns=_cumulated(np.where(step_ns <= longest_ns, 0.0, step_ns)),
    )


def _around(watts: Floats, at_ns: Int64s, oldest_ns: int) -> tuple[Floats, Floats]:
    """Smallest and largest read around each step between two reads."""
    steps = np.arange(len(watts) - 1)
    last = np.minimum(np.searchsorted(at_ns - oldest_ns, at_ns[1:], "left"), len(watts) - 1)
    lowest, highest = watts[:-1].copy(), watts[:-1].copy()
    for further in range(1, int((last - steps).max()) + 1):
        read = watts[np.minimum(steps + further, last)]
        np.minimum(lowest, read, out=lowest)
        np.maximum(highest, read, out=highest)
    return lowest, highest


def _cumulated(steps: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(steps)])
