"""Energy of sensors that estimate: a model of power, fed with the CPU time that the host was busy.

An estimating sensor's counter counts busy CPU seconds, and its model has three figures for each coefficient, the
lower bound, the value and the upper bound::

    energy = idle_w x time + active_w_per_cpu x busy CPU seconds

That of a part of a device, as a MIG slice of a GPU, counts a share of what the whole device uses. Which part of the
device used it nobody knows: the part's energy is anything from nothing to all of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perun_like.analysis.windows import Increase, Windows
from perun_like.sensing.contract import ESTIMATED, Sensor


def is_estimate(sensor: Sensor) -> bool:
    """Whether a sensor's energy comes from a model."""
    return sensor.provenance == ESTIMATED and "idle_w" in sensor.model


def energy(sensor: Sensor, busy: Increase, windows: Windows) -> Increase:
    """Energy by the model of an estimating sensor, in joules.

    Args:
        sensor: Its ``model`` has ``idle_w``, ``active_w_per_cpu`` (each lower, value, upper) and ``logical_cpus``.
        busy: Busy CPU seconds in the windows, with their own bounds.
        windows: The windows.
    """
    idle_w, active_w = _triple(sensor, "idle_w"), _triple(sensor, "active_w_per_cpu")
    time_s = windows.duration_s
    # No more CPU seconds can pass than there are CPUs, whatever the counter's reads leave open.
    most_s = time_s * float(sensor.model.get("logical_cpus") or np.nan)
    busy_s = [np.fmin(bound, most_s) for bound in (busy.lower, busy.value, busy.upper)]
    lower, value, upper = (
        idle * time_s + (active * seconds if active else 0.0)
        for idle, active, seconds in zip(idle_w, active_w, busy_s, strict=True)
    )
    # The coefficients are those of three machines: each in order with the others only as a whole.
    return Increase(np.minimum(lower, value), value, np.maximum(upper, value), busy.missing_s)


def is_share(sensor: Sensor) -> bool:
    """Whether a sensor shows a share of what a whole device uses."""
    return sensor.provenance == ESTIMATED and "share" in sensor.model


def part_of_whole(sensor: Sensor, share: Increase) -> Increase:
    """Energy of a part of a device, in joules.

    Args:
        sensor: Its ``model`` has ``share``, 0 to 1.
        share: The share of what the device used.
    """
    return share._replace(lower=np.zeros_like(share.lower), upper=share.upper / float(sensor.model["share"]))


def _triple(sensor: Sensor, name: str) -> Sequence[float]:
    return [float(figure) for figure in sensor.model.get(name, (0.0, 0.0, 0.0))]
