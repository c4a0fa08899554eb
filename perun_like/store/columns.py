"""One column of integers, as the file holds it: narrow differences that restore the exact int64 values.

What a sensor shows changes little from sweep to sweep, so differences fit in 8 or 16 bits where values need 64, and
deflate well. A RAPL counter in microjoules is first turned back into the device's own units, of which a microjoule
figure is a rounded multiple: that takes out the noise of the rounding. All arithmetic is modulo 2**64, as numpy's is,
so that nothing can be lost to an overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.model.recording import Bools, Int64s
from perun_like.sensing.contract import COUNTER, Sensor
from perun_like.store.schema import FIRST, MODULUS, PLAIN_ROWS, STEP, UNIT_NJ

_REGISTER = 1 << 32  # RAPL counters are 32 bits wide
_NJ_PER_UJ = 1000
_BLOCK = 1 << 16  # values: what is worked out on the way then stays in a processor's cache
_LARGEST = 1 << 62  # sums of magnitudes below it can't leave int64


class Column(NamedTuple):
    """What is stored of a column.

    Attributes:
        stored: Integers of the smallest type that holds them, shape (rows,).
        attributes: How to restore the values; without ``first``, ``stored`` holds them as they are.
    """

    stored: NDArray[Any]
    attributes: Mapping[str, int] = {}


def plain(values: Int64s) -> Column:
    """A column that is stored as it is: 64 bits wide if it is short, else as narrow as its values allow."""
    return Column(values if len(values) <= PLAIN_ROWS else _narrow(values))


def differences(values: Int64s, step: int = 0, modulus: int | None = None) -> Column:
    """A column of which the differences are stored, less what they usually are.

    Args:
        values: Any int64 values.
        step: What a difference usually is: the period, for a column of times.
        modulus: Where a counter wraps to 0. A difference that crosses it is stored as if the counter had gone on.
    """
    if len(values) <= PLAIN_ROWS:
        return plain(values)
    deltas = np.zeros(len(values), np.int64)
    np.subtract(values[1:], values[:-1], out=deltas[1:])
    deltas[1:] -= step
    attributes = {FIRST: int(values[0]), STEP: step}
    if modulus is not None and _wraps(values, deltas, modulus):
        deltas += modulus // 2
        deltas %= modulus
        deltas -= modulus // 2
        attributes[MODULUS] = modulus
    return Column(_narrow(deltas), attributes)


def reads(values: Int64s, valid: Bools, sensor: Sensor) -> Column:
    """The column of a sensor. Reads that failed repeat the last good one."""
    if len(values) == 0:
        return plain(values)
    values = _filled(values, valid)
    if sensor.kind != COUNTER or len(values) <= PLAIN_ROWS:
        return differences(values)
    unit_nj = _unit_nj(sensor)
    units = None if unit_nj is None else _in_units(values, unit_nj)
    if units is None or unit_nj is None:
        return differences(values, modulus=sensor.modulus)
    column = differences(units, modulus=_REGISTER)
    return Column(column.stored, {**column.attributes, UNIT_NJ: unit_nj})


def restore(pieces: Iterable[NDArray[Any]], attributes: Mapping[str, int]) -> Iterator[Int64s]:
    """The values of a column, piece by piece, from consecutive pieces of what was stored."""
    first, step = attributes.get(FIRST), attributes.get(STEP, 0)
    modulus, unit_nj = attributes.get(MODULUS), attributes.get(UNIT_NJ)
    total, row = 0 if first is None else first, 0
    for piece in pieces:
        values = piece.astype(np.int64)
        if first is not None and len(values):
            values[:1] += total  # as an array: it may overflow, silently
            np.cumsum(values, out=values)
            total = values[-1]
            values += np.arange(row, row + len(values)) * np.int64(step)
            row += len(values)
        if modulus is not None:
            values %= modulus
        yield values if unit_nj is None else values * unit_nj // _NJ_PER_UJ


def _narrow(values: Int64s) -> NDArray[Any]:
    low, high = int(values.min()), int(values.max())
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return values.astype(dtype)
    return values


def _filled(values: Int64s, valid: Bools) -> Int64s:
    if valid.all():
        return values
    if not valid.any():
        return np.zeros_like(values)
    last_good = np.where(valid, np.arange(len(values)), int(valid.argmax()))
    return values[np.maximum.accumulate(last_good)]


def _wraps(values: Int64s, deltas: Int64s, modulus: int) -> bool:
    """Whether storing differences modulo ``modulus`` makes them narrower, and is exact."""
    low, high = int(deltas.min()), int(deltas.max())
    if low >= -(modulus // 2) and high <= modulus // 2:
        return False
    exact = int(values.min()) >= 0 and int(values.max()) < modulus
    return exact and len(values) * modulus < _LARGEST


def _unit_nj(sensor: Sensor) -> int | None:
    """The device's unit, if the sensor's range is that of a 32-bit register counted in microjoules.

    The kernel computes ``max_energy_range_uj`` as ``(2**32 - 1) * unit_nj // 1000`` and ``energy_uj`` likewise:
    drivers/powercap/intel_rapl_common.c, rapl_unit_xlate.
    """
    if sensor.modulus is None or sensor.modulus >= _LARGEST // _NJ_PER_UJ:
        return None
    unit_nj = round(sensor.modulus * _NJ_PER_UJ / _REGISTER)
    return unit_nj if unit_nj > _NJ_PER_UJ else None


def _in_units(values: Int64s, unit_nj: int) -> Int64s | None:
    """The register's values, if ``units * unit_nj // 1000`` gives every one of ``values``; None if not."""
    if int(values.min()) < 0 or int(values.max()) >= _LARGEST // (2 * _NJ_PER_UJ):
        return None
    units = np.empty_like(values)
    for first in range(0, len(values), _BLOCK):
        some, out = values[first : first + _BLOCK], units[first : first + _BLOCK]
        # The middle of the values that round down to this one; that floating point was exact enough is checked below.
        out[:] = np.rint((some * (float(_NJ_PER_UJ) / unit_nj)) + 0.5 * _NJ_PER_UJ / unit_nj)
        if not np.array_equal(out * unit_nj // _NJ_PER_UJ, some):
            return None
    return units
