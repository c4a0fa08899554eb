"""What a counter can have counted at most: by that wraps are told from nonsense, and how far apart reads may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from perun_like.sensing.contract import Sensor
from perun_like.units import NS_PER_S

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of an energy counter that wraps and names no ceiling, in watts: more than any one device draws.
_SAFE_CEILING_W = 5000.0
_KERNEL_ROUNDING_J = 1e-6  # the kernel prints whole microjoules
_CPU_TIME_FIELDS = 5  # busy time is the sum of that many numbers in /proc/stat, each cut to whole ticks


def uncertainty(sensor: Sensor) -> float:
    """By how much the difference of two reads of a counter may be off, in its unit."""
    step = sensor.resolution * sensor.scale
    if sensor.unit == "J":
        return step + _KERNEL_ROUNDING_J
    return step * _CPU_TIME_FIELDS if sensor.unit == "s" else step


def ceiling(sensor: Sensor) -> float | None:
    """The most that a counter counts in a second, in its unit; None if nothing is known."""
    if sensor.ceiling is None and sensor.modulus is not None and sensor.unit == "J":
        return _SAFE_CEILING_W
    return sensor.ceiling


@overload
def most_counted(sensor: Sensor, span_ns: int) -> float | None: ...
@overload
def most_counted(sensor: Sensor, span_ns: NDArray[np.int64]) -> NDArray[np.float64] | None: ...
def most_counted(sensor: Sensor, span_ns: int | NDArray[np.int64]) -> float | NDArray[np.float64] | None:
    """The most that can be counted between two reads, in raw units; None if there is no ceiling.

    What the first read shows may be a tick and a lag old already, while the second may show this instant.

    Args:
        sensor: A counter.
        span_ns: From just before the first read to just after the second; an array of such.
    """
    most = ceiling(sensor)
    if most is None:
        return None
    longest_s = (span_ns + sensor.tick_ns + sensor.lag_ns) / NS_PER_S
    return (most * longest_s + uncertainty(sensor)) / sensor.scale


def longest_span_ns(sensor: Sensor) -> int | None:
    """How far apart two reads may be for no wrap to go unseen between them; None if there is no such limit."""
    most = ceiling(sensor)
    if sensor.modulus is None or not most:
        return None
    until_wrap_s = (sensor.modulus * sensor.scale - uncertainty(sensor)) / most
    return max(int(until_wrap_s * NS_PER_S) - sensor.tick_ns - sensor.lag_ns, 0)
