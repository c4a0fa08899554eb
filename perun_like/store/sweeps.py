"""Rows of a spool as the sweeps of a backend."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from perun_like.model.recording import Bools, Int64s, Stream
from perun_like.sampling import spool
from perun_like.store import facts as known


def stream_of(facts: Mapping[str, Any], rows: bytes, inside: Container[str]) -> tuple[Stream, bool]:
    """A stream, and whether there are rows that can't be sweeps: these are left out.

    Args:
        facts: ``backend``, ``period_ns`` and ``sensors``.
        rows: As a sampler wrote them.
        inside: Ids of sensors that the application can see, whatever is said of them: what one rank can't, another may.

    Raises:
        ValueError: the facts can't be.
    """
    backend, period_ns = known.text(facts, "backend"), known.integer(facts, "period_ns", 1, known.LAST_NS)
    sensors = [known.sensor(entry) for entry in known.listed(facts, "sensors", dict)]
    if not sensors:
        raise ValueError("there is a backend without sensors")
    words = spool.row_words(len(sensors))
    whole = len(rows) // (8 * words) * 8 * words
    table = np.frombuffer(rows[:whole], "<i8").reshape(-1, words).T
    good = _in_order(table[0], table[1])
    odd = whole != len(rows) or not good.all()
    table = table if good.all() else table[:, good]
    masks = [table[2 + i // spool.MASK_BITS] >> (i % spool.MASK_BITS) & 1 for i in range(len(sensors))]
    stream = Stream(
        backend=backend,
        period_ns=period_ns,
        sensors=tuple(s._replace(outside="") if s.id in inside else s for s in sensors),
        t0_ns=np.ascontiguousarray(table[0]),
        t1_ns=np.ascontiguousarray(table[1]),
        raw=np.ascontiguousarray(table[2 + spool.mask_words(len(sensors)) :]),
        valid=np.array(masks, bool).reshape(len(sensors), -1),
    )
    return stream, odd


def _in_order(t0_ns: Int64s, t1_ns: Int64s) -> Bools:
    """Which sweeps ended after they began, and began after all before them."""
    good = (t0_ns >= 0) & (t1_ns >= t0_ns) & (t1_ns < known.LAST_NS)
    latest = np.maximum.accumulate(np.where(good, t0_ns, 0))
    return good & (t0_ns >= latest)
