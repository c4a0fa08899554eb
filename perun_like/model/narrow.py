"""Columns of many integers in little memory: differences, in the smallest type that holds them.

What is read, and when, changes little from sweep to sweep: a counter of microjoules at 1 kHz takes half of what 64 bits
a value do. Whoever goes through a column block by block has the values of a block in the processor's cache.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Int64s: TypeAlias = NDArray[np.int64]
_BLOCK = 1 << 16  # values
_FAR = np.iinfo(np.int32).max  # what is further away takes 64 bits
_FEW = 8


class Narrow:
    """A column of int64 values that grows at its end; they are restored exactly, in new arrays.

    All arithmetic is modulo 2**64, as numpy's is, so that nothing can be lost to an overflow.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._differences: list[NDArray[Any]] = []  # of each block; the first is 0
        self._stops: list[int] = []

    def add(self, first: int, differences: NDArray[Any]) -> None:
        """Add a block: its first value, and by how much each one differs from that before it, the first by 0."""
        self._firsts.append(first)
        self._differences.append(differences)
        self._stops.append(len(self) + len(differences))

    def blocks(self) -> Iterator[_Int64s]:
        """The values, a block at a time."""
        return map(self._block, range(len(self._stops)))

    def _block(self, number: int) -> _Int64s:
        values = self._differences[number].astype(np.int64)
        values[0] = self._firsts[number]
        return np.cumsum(values, out=values)

    def __len__(self) -> int:
        """How many values there are."""
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, row: int) -> int:
        """A single value; only its block is restored."""
        row = range(len(self))[row]
        block = bisect_right(self._stops, row)
        return int(self._block(block)[row - self._stops[block]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All values at once."""
        values = np.empty(len(self), np.int64)
        for stop, block in zip(self._stops, self.blocks(), strict=True):
            values[stop - len(block) : stop] = block
        return values if dtype is None else values.astype(dtype, copy=False)


RawColumn: TypeAlias = _Int64s | Narrow


def blocks(column: RawColumn) -> Iterator[_Int64s]:
    """The values of a column, narrow or not, a block at a time."""
    if isinstance(column, Narrow):
        return column.blocks()
    return (column[first : first + _BLOCK] for first in range(0, len(column), _BLOCK))


def cut(column: RawColumn, rows: slice) -> RawColumn:
    """Consecutive values of a column, as narrow as they were."""
    if not isinstance(column, Narrow):
        return column[rows]
    start, stop, _ = rows.indices(len(column))
    found, first = Narrow(), 0
    for block in column.blocks():
        append([found], block[max(start - first, 0) : max(stop - first, 0)].reshape(-1, 1))
        first += len(block)
    return found


def append(columns: Sequence[Narrow], table: _Int64s) -> None:
    """Add a block of values to each column: a table's columns, of which the rows come one after the other."""
    if len(table):
        values = np.ascontiguousarray(table.T)
        differences = np.zeros_like(values)
        np.subtract(values[:, 1:], values[:, :-1], out=differences[:, 1:])
        for column, of_column, steps in zip(columns, values, differences, strict=True):
            jumps = _jumps(steps)
            steps[jumps] = 0
            for start, stop in pairwise([0, *jumps, len(steps)]):
                column.add(int(of_column[start]), narrowed(steps[start:stop]))


def _jumps(steps: _Int64s) -> list[int]:
    """Where a new block begins, so that a counter's wrap doesn't make all others' steps as wide as itself."""
    if steps.min() >= -_FAR and steps.max() <= _FAR:
        return []
    found = np.flatnonzero((steps < -_FAR) | (steps > _FAR))
    return found.tolist() if len(found) <= _FEW else []


def narrowed(values: _Int64s) -> NDArray[Any]:
    """The same values in the smallest type that holds them all, in an array of their own; at least one."""
    low, high = int(values.min()), int(values.max())
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return values.astype(dtype)
    return values.copy()
