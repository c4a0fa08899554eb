"""Rows of a spool as the sweeps of a backend."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.sampling import spool
from perun_like.store import facts as known

_WORD_BYTES = 8
_BLOCK_BYTES = 1 << 20  # of rows that become columns at once: they stay in the processor's cache
_MORE = 16  # a part of what there is: room for what a killed sampler has left in memory, 70 s at most


class Rows:
    """Rows of one stream, put into columns as they come: those of a week are never in memory twice.

    Args:
        bytes_: How many bytes there will be, as far as that is known: more rows than that cost a copy of all.

    Attributes:
        numbers: Sequence numbers of the frames that they were in.
        odd: Whether there were any that can't be sweeps: these are left out.
    """

    def __init__(self, bytes_: int = 0) -> None:
        self.numbers: set[int] = set()
        self.odd = False
        self._bytes = bytes_
        self._words = self._count = self._latest_ns = 0
        self._pending: list[bytes] = []
        self._pending_b = 0
        self._columns: list[Int64s] = []

    def add(self, number: int, rows: bytes) -> None:
        """Take in a frame; of two with one number the first counts."""
        if number in self.numbers:
            return
        self.numbers.add(number)
        self._pending.append(rows)
        self._pending_b += len(rows)
        if self._columns and self._pending_b >= _BLOCK_BYTES:
            self._flush()

    def have(self, sensors: int) -> None:
        """Say how many values a row has; what is said first counts."""
        if not self._columns and sensors:
            self._words = spool.row_words(sensors)
            rows = (self._bytes + self._bytes // _MORE) // (self._words * _WORD_BYTES)
            kinds = (2, spool.mask_words(sensors), sensors)
            try:  # memory that is never written to isn't taken
                self._columns = [np.empty((columns, rows), np.int64) for columns in kinds]
            except MemoryError:  # a file that says more than it holds
                self._columns = [np.empty((columns, 0), np.int64) for columns in kinds]

    def columns(self) -> tuple[Int64s, Int64s, Int64s]:
        """Times, masks and values, one column a row of each."""
        self._flush()
        times, masks, values = (columns[:, : self._count] for columns in self._columns)
        return times, masks, values

    def _flush(self) -> None:
        row_bytes = self._words * _WORD_BYTES
        whole = [rows[: len(rows) // row_bytes * row_bytes] for rows in self._pending]
        table = np.frombuffer(b"".join(whole), "<i8").reshape(-1, self._words)
        good = self._in_order(table[:, 0], table[:, 1])
        self.odd |= any(len(rows) % row_bytes for rows in self._pending) or not bool(good.all())
        self._store(table if good.all() else table[good])
        self._pending, self._pending_b = [], 0

    def _store(self, table: Int64s) -> None:
        stop = self._count + len(table)
        if stop > self._columns[0].shape[1]:
            self._columns = [_longer(columns, self._count, 2 * stop) for columns in self._columns]
        first = 0
        for columns in self._columns:
            columns[:, self._count : stop] = table[:, first : first + len(columns)].T
            first += len(columns)
        self._count = stop

    def _in_order(self, t0_ns: Int64s, t1_ns: Int64s) -> Bools:
        """Which sweeps ended after they began, and began after all before them."""
        good = (t0_ns >= 0) & (t1_ns >= t0_ns) & (t1_ns < known.LAST_NS)
        latest = np.maximum.accumulate(np.where(good, np.maximum(t0_ns, self._latest_ns), self._latest_ns))
        self._latest_ns = int(latest[-1]) if len(latest) else self._latest_ns
        return good & (t0_ns >= latest)


def _longer(columns: Int64s, used: int, rows: int) -> Int64s:
    """The same columns with room for so many rows."""
    longer = np.empty((len(columns), rows), np.int64)
    longer[:, :used] = columns[:, :used]
    return longer


def sensors_of(facts: Mapping[str, Any]) -> int:
    """How many sensors a stream has.

    Raises:
        ValueError: the facts can't be.
    """
    return len(known.listed(facts, "sensors", dict))


def stream_of(facts: Mapping[str, Any], rows: Rows, inside: Container[str]) -> Stream:
    """A stream.

    Args:
        facts: ``backend``, ``period_ns`` and ``sensors``.
        rows: As a sampler wrote them; they are used up.
        inside: Ids of sensors that the application can see, whatever is said of them: what one rank can't, another may.

    Raises:
        ValueError: the facts can't be.
    """
    backend, period_ns = known.text(facts, "backend"), known.integer(facts, "period_ns", 1, known.LAST_NS)
    sensors = [known.sensor(entry) for entry in known.listed(facts, "sensors", dict)]
    if not sensors:
        raise ValueError("there is a backend without sensors")
    rows.have(len(sensors))
    (t0_ns, t1_ns), masks, raw = rows.columns()
    return Stream(
        backend=backend,
        period_ns=period_ns,
        sensors=tuple(s._replace(outside="") if s.id in inside else s for s in sensors),
        t0_ns=t0_ns,
        t1_ns=t1_ns,
        raw=raw,
        valid=_validity(masks, len(sensors)),
    )


def _validity(masks: Int64s, sensors: int) -> Bools:
    """Whether each read succeeded, shape (sensors, sweeps); takes no room where all did."""
    all_ = spool.validity([0] * sensors)
    if all((mask == every).all() for mask, every in zip(masks, all_, strict=True)):
        return np.broadcast_to(np.bool_(True), (sensors, masks.shape[1]))
    found = [masks[i // spool.MASK_BITS] >> (i % spool.MASK_BITS) & 1 for i in range(sensors)]
    return np.array(found, bool).reshape(sensors, -1)
