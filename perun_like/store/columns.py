"""One column of integers, as the file holds it: narrow differences that restore the exact int64 values.

What a sensor shows changes little from sweep to sweep, so differences fit in 8 or 16 bits where values need 64, and
deflate well. A RAPL counter in microjoules is first turned back into the device's own units, of which a microjoule
figure is a rounded multiple: that takes out the noise of the rounding. All arithmetic is modulo 2**64, as numpy's is,
so that nothing can be lost to an overflow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perun_like.model.narrow import RawColumn, blocks, narrowed
from perun_like.model.recording import Bools, Int64s
from perun_like.sensing.contract import COUNTER, Sensor
from perun_like.store.schema import FIRST, MODULUS, PLAIN_ROWS, STEP, UNIT_NJ

_REGISTER = 1 << 32  # RAPL counters are 32 bits wide
_NJ_PER_UJ = 1000
_LARGEST = 1 << 62  # sums of magnitudes below it can't leave int64
# The values of a column, block by block, each time anew: what is worked out on the way stays in a processor's cache.
_Blocks = Callable[[], Iterator[Int64s]]


class _OtherUnitError(Exception):
    """A column's values aren't what a register of that unit shows."""


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
    return Column(values if len(values) <= PLAIN_ROWS else narrowed(values))


def differences(values: RawColumn, step: int = 0, modulus: int | None = None) -> Column:
    """A column of which the differences are stored, less what they usually are.

    Args:
        values: Any int64 values.
        step: What a difference usually is: the period, for a column of times.
        modulus: Where a counter wraps to 0. A difference that crosses it is stored as if the counter had gone on. Of a
            column that has one, ``step`` is 0.
    """
    if len(values) <= PLAIN_ROWS:
        return plain(np.asarray(values))
    return _of_differences(lambda: blocks(values), step, modulus)


def reads(values: RawColumn, valid: Bools, sensor: Sensor) -> Column:
    """The column of a sensor. Reads that failed repeat the last good one."""

    def shown() -> Iterator[Int64s]:
        return blocks(values) if valid.all() else _filled(values, valid)

    if len(values) <= PLAIN_ROWS:
        return plain(np.concatenate([np.empty(0, np.int64), *shown()]))
    if sensor.kind != COUNTER:
        return _of_differences(shown)
    unit_nj = _unit_nj(sensor)
    if unit_nj is not None:
        with contextlib.suppress(_OtherUnitError):
            column = _of_differences(lambda: _in_units(shown(), unit_nj), modulus=_REGISTER)
            return Column(column.stored, {**column.attributes, UNIT_NJ: unit_nj})
    return _of_differences(shown, modulus=sensor.modulus)


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


def _of_differences(values: _Blocks, step: int = 0, modulus: int | None = None) -> Column:
    first = next(values())[:1]
    attributes = {FIRST: int(first[0]), STEP: step}
    stored = [narrowed(deltas) for deltas in _deltas(values(), step)]
    if modulus is not None and _wraps(values, stored, modulus):
        stored = [narrowed(_nearest(deltas, modulus)) for deltas in _deltas(values(), step)]
        attributes[MODULUS] = modulus
    return Column(np.concatenate(stored), attributes)


def _deltas(values: Iterable[Int64s], step: int) -> Iterator[Int64s]:
    """Differences of neighbouring values less a step, block by block; the first value's is 0."""
    last = np.empty(0, np.int64)
    for block in values:
        deltas = np.diff(block, prepend=last if len(last) else block[:1])
        deltas[1 - len(last) :] -= step
        yield deltas
        last = block[-1:]


def _nearest(deltas: Int64s, modulus: int) -> Int64s:
    """What is as much modulo the modulus, and nearest to 0."""
    deltas += modulus // 2
    deltas %= modulus
    deltas -= modulus // 2
    return deltas


def _wraps(values: _Blocks, deltas: Sequence[NDArray[Any]], modulus: int) -> bool:
    """Whether storing differences modulo ``modulus`` makes them narrower, and is exact."""
    low, high = min(int(block.min()) for block in deltas), max(int(block.max()) for block in deltas)
    if low >= -(modulus // 2) and high <= modulus // 2:
        return False
    exact = all(int(block.min()) >= 0 and int(block.max()) < modulus for block in values())
    return exact and sum(map(len, deltas)) * modulus < _LARGEST


def _filled(values: RawColumn, valid: Bools) -> Iterator[Int64s]:
    """The values; in place of those that aren't valid the last one that is, or at the beginning the first one."""
    last = np.array([values[int(valid.argmax())] if valid.any() else 0], np.int64)
    row = 0
    for block in blocks(values):
        good = valid[row : row + len(block)]
        which = np.maximum.accumulate(np.where(good, np.arange(1, len(block) + 1), 0))
        filled = np.concatenate([last, block])[which]
        yield filled
        last, row = filled[-1:], row + len(block)


def _unit_nj(sensor: Sensor) -> int | None:
    """The device's unit, if the sensor's range is that of a 32-bit register counted in microjoules.

    The kernel computes ``max_energy_range_uj`` as ``(2**32 - 1) * unit_nj // 1000`` and ``energy_uj`` likewise:
    drivers/powercap/intel_rapl_common.c, rapl_unit_xlate.
    """
    if sensor.modulus is None or sensor.modulus >= _LARGEST // _NJ_PER_UJ:
        return None
    unit_nj = round(sensor.modulus * _NJ_PER_UJ / _REGISTER)
    return unit_nj if unit_nj > _NJ_PER_UJ else None


def _in_units(values: Iterable[Int64s], unit_nj: int) -> Iterator[Int64s]:
    """The register's values, block by block.

    Raises:
        _OtherUnitError: ``units * unit_nj // 1000`` doesn't give every one of the values.
    """
    for block in values:
        if int(block.min()) < 0 or int(block.max()) >= _LARGEST // (2 * _NJ_PER_UJ):
            raise _OtherUnitError
        # The middle of the values that round down to this one; that floating point was exact enough is checked below.
        units = np.rint((block * (float(_NJ_PER_UJ) / unit_nj)) + 0.5 * _NJ_PER_UJ / unit_nj).astype(np.int64)
        if not np.array_equal(units * unit_nj // _NJ_PER_UJ, block):
            raise _OtherUnitError
        yield units
