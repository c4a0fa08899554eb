"""Rows of a spool as the sweeps of a backend."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from perun_like.model.narrow import Narrow, append
from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.sampling import spool
from perun_like.store import facts as known

_WORD_BYTES = 8
_BLOCK_BYTES = 1 << 20  # of rows that become columns at once: they stay in the processor's cache


class Rows:
    """Rows of one stream, put into narrow columns as they come: those of a week are never in memory as they were.

    Attributes:
        numbers: Sequence numbers of the frames that they were in.
        odd: Whether there were any that can't be sweeps: these are left out.
    """

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.odd = False
        self._first = self._latest_ns = 0
        self._pending: list[bytes] = []
        self._pending_b = 0
        self._columns: list[Narrow] = []

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
            self._columns = [Narrow() for _ in range(spool.row_words(sensors))]
            self._first = 2 + spool.mask_words(sensors)

    def columns(self) -> tuple[list[Narrow], list[Narrow], list[Narrow]]:
        """Times, masks and values."""
        self._flush()
        return self._columns[:2], self._columns[2 : self._first], self._columns[self._first :]

    def _flush(self) -> None:
        row_bytes = len(self._columns) * _WORD_BYTES
        whole = [rows[: len(rows) // row_bytes * row_bytes] for rows in self._pending]
        self.odd |= any(len(rows) % row_bytes for rows in self._pending)
        self._pending, self._pending_b = [], 0
        table = np.frombuffer(b"".join(whole), "<i8").reshape(-1, len(self._columns))
        block = _BLOCK_BYTES // row_bytes + 1
        for first in range(0, len(table), block):
            self._store(table[first : first + block])

    def _store(self, table: Int64s) -> None:
        good = self._in_order(table[:, 0], table[:, 1])
        if not good.all():
            self.odd, table = True, table[good]
        append(self._columns, table)

    def _in_order(self, t0_ns: Int64s, t1_ns: Int64s) -> Bools:
        """Which sweeps ended after they began, and began after all before them."""
        good = (t0_ns >= 0) & (t1_ns >= t0_ns) & (t1_ns < known.LAST_NS)
        latest = np.maximum.accumulate(np.where(good, np.maximum(t0_ns, self._latest_ns), self._latest_ns))
        self._latest_ns = int(latest[-1]) if len(latest) else self._latest_ns
        return good & (t0_ns >= latest)


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
    times_ns, masks, raw = rows.columns()
    t0_ns, t1_ns = map(np.asarray, times_ns)
    return Stream(
        backend=backend,
        period_ns=period_ns,
        sensors=tuple(s._replace(outside="") if s.id in inside else s for s in sensors),
        t0_ns=t0_ns,
        t1_ns=t1_ns,
        raw=raw,
        valid=_validity(masks, len(sensors)),
    )


def _validity(masks: Sequence[Narrow], sensors: int) -> Bools:
    """Whether each read succeeded, shape (sensors, sweeps); takes no room where all did."""
    sweeps, all_ = len(masks[0]), spool.validity([0] * sensors)
    if all((block == every).all() for mask, every in zip(masks, all_, strict=True) for block in mask.blocks()):
        return np.broadcast_to(np.bool_(True), (sensors, sweeps))
    valid = np.empty((sensors, sweeps), np.bool_)
    for sensor, flags in enumerate(valid):
        word, bit = divmod(sensor, spool.MASK_BITS)
        np.concatenate([block >> bit & 1 for block in masks[word].blocks()], out=flags, casting="unsafe")
    return valid
