"""Which rows of a frame stay when older samples are thinned out: enough for every bound to stay true.

What is left are reads as they were, fewer of them. Bounds follow from any reads, so they stay true, and become wider
where reads were left out. These stay whatever happens:

* the first and the last row of each frame, and so many between that none are further apart than asked for. That is
  never so far that a counter could wrap unseen, nor more than :data:`FURTHEST_NS`, or :data:`FURTHEST_GAUGES_NS` where
  the stream has gauges: what a gauge showed between two reads is lost for ever;
* both rows of a step that a counter can't have made: else a wider one might seem possible;
* the rows around given moments, at which processes and regions began and ended: their figures stay as they were;
* the row of a frame with the largest value of a gauge so far;
* the rows at which reads begin to fail and to succeed again, if they are no more than all others: a sensor that fails
  half of the time would keep everything.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import sub

from perun_like.sampling.spool import MASK_BITS, mask_words, row_words
from perun_like.sensing.contract import COUNTER, Sensor
from perun_like.sensing.limits import longest_span_ns, most_counted
from perun_like.units import NS_PER_S

FURTHEST_NS = 10 * NS_PER_S
FURTHEST_GAUGES_NS = NS_PER_S  # as far apart as those of the machine are read anyway
_WORD_BYTES = 8
_FEW = 8


class Thinning:
    """Thins the rows of one stream, frame after frame.

    Args:
        sensors: What a row holds.
        apart_ns: How far apart rows are to be left.
        edges_ns: When processes and regions began and ended, CLOCK_MONOTONIC, ascending.
    """

    def __init__(self, sensors: Sequence[Sensor], apart_ns: int, edges_ns: Sequence[int]) -> None:
        self._sensors = sensors
        self._words = row_words(len(sensors))
        self._first = 2 + mask_words(len(sensors))
        self._apart_ns = min(apart_ns, furthest_ns(sensors))
        self._edges_ns = edges_ns
        self._settled_ns = max((sensor.tick_ns + sensor.lag_ns for sensor in sensors), default=0)
        self._largest: dict[int, int] = {}

    def thinned(self, rows: bytes) -> bytes:
        """The rows of a frame that stay."""
        table = _Table(rows, self._words)
        if table.count < 3:
            return rows
        spread = table.t0_ns[-1] - table.t0_ns[0]
        changes = set(self._changes(table))
        must = set(self._nonsense(table, all_alike=not changes))
        must |= {*self._around_edges(table), *self._peaks(table)}
        if len(changes) <= max(spread // max(self._apart_ns, 1), _FEW):
            must |= changes
        return table.only(_spaced(table.t0_ns, must, self._apart_ns))

    def _nonsense(self, table: _Table, *, all_alike: bool) -> Iterator[int]:
        """Rows around steps that no counter can have made; each sensor is read in all rows or in none, or not."""
        shortest_ns = min(map(sub, table.t1_ns[1:], table.t0_ns))
        for number, sensor in enumerate(self._sensors):
            if sensor.kind != COUNTER:
                continue
            column = table.column(self._first + number)
            if not (all_alike and _is_plain(sensor, column, shortest_ns)):
                yield from _impossible(sensor, table, column, self._valid(table, number))

    def _valid(self, table: _Table, number: int) -> list[int]:
        """Rows in which a sensor was read."""
        word, bit = divmod(number, MASK_BITS)
        return [row for row, mask in enumerate(table.column(2 + word)) if mask >> bit & 1]

    def _changes(self, table: _Table) -> Iterator[int]:
        """Rows between which a sensor begins to fail, or to succeed."""
        for word in range(2, self._first):
            masks = table.column(word)
            if masks.count(masks[0]) < len(masks):
                changed = [step for step in range(len(masks) - 1) if masks[step] != masks[step + 1]]
                yield from (row for step in changed for row in (step, step + 1))

    def _peaks(self, table: _Table) -> Iterator[int]:
        """Rows in which a gauge shows more than ever before."""
        for number, sensor in enumerate(self._sensors):
            if sensor.kind != COUNTER:
                column = table.column(self._first + number)
                largest = max(column)
                if largest > self._largest.get(number, -1):
                    self._largest[number] = largest
                    yield column.index(largest)

    def _around_edges(self, table: _Table) -> Iterator[int]:
        """Rows that bounds at an edge are made of: from before it until a read certainly shows it, and one beyond."""
        t0_ns, t1_ns, edges_ns = table.t0_ns, table.t1_ns, self._edges_ns
        first = bisect_left(edges_ns, t0_ns[0] - self._settled_ns)
        for edge_ns in edges_ns[first : bisect_right(edges_ns, t1_ns[-1])]:
            before = bisect_right(t1_ns, edge_ns) - 2
            after = bisect_left(t0_ns, edge_ns + self._settled_ns) + 2
            yield from range(max(before, 0), min(after, table.count))


class _Table:
    """Rows by column."""

    def __init__(self, rows: bytes, words: int) -> None:
        self._rows, self._words = rows, words
        self.count = len(rows) // (_WORD_BYTES * words)
        self._all = memoryview(rows)[: self.count * words * _WORD_BYTES].cast("q")
        self.t0_ns, self.t1_ns = self.column(0), self.column(1)

    def column(self, number: int) -> list[int]:
        return self._all[number :: self._words].tolist()

    def only(self, chosen: Iterable[int]) -> bytes:
        size = _WORD_BYTES * self._words
        return b"".join([self._rows[row * size : (row + 1) * size] for row in chosen])


def furthest_ns(sensors: Sequence[Sensor]) -> int:
    """How far apart the rows of a stream may be left at most."""
    limits = [FURTHEST_NS if sensor.kind == COUNTER else FURTHEST_GAUGES_NS for sensor in sensors]
    spans = [longest_span_ns(sensor) for sensor in sensors if sensor.kind == COUNTER]
    return min([*limits, *(span // 2 for span in spans if span is not None)], default=FURTHEST_NS)


def _spaced(t0_ns: Sequence[int], must: set[int], apart_ns: int) -> Iterator[int]:
    """The fewest rows that are no further apart than asked for, but for jitter, and those that must stay."""
    yield 0
    kept_ns, last = t0_ns[0], len(t0_ns) - 1
    most_ns = apart_ns + apart_ns // 8
    for row in range(1, last):
        if row in must or t0_ns[row + 1] - kept_ns > most_ns:
            yield row
            kept_ns = t0_ns[row]
    yield last


def _is_plain(sensor: Sensor, column: list[int], shortest_ns: int) -> bool:
    """Whether no step goes back, and none is more than what is possible between the closest two reads."""
    steps = list(map(sub, column[1:], column))
    most = most_counted(sensor, shortest_ns)
    return min(steps) >= 0 and (most is None or max(steps) <= most)


def _impossible(sensor: Sensor, table: _Table, column: list[int], valid: list[int]) -> Iterator[int]:
    for before, after in pairwise(valid):
        step = column[after] - column[before]
        if step < 0 and sensor.modulus is not None:
            step += sensor.modulus
        most = most_counted(sensor, table.t1_ns[after] - table.t0_ns[before])
        if step < 0 or (most is not None and step > most):
            yield from (before, after)
