"""Marks as rows of words, made into calls of regions and rounds.

What can't be a mark is passed over. What can be one, but of no name that there is, has lost its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from perun_like.model.recording import RAISED, UNENDED, Int64s, RegionCalls, Rounds
from perun_like.sampling import marks
from perun_like.store.facts import LAST_NS, MOST_RANKS, counts, integer, listed

_MOST_KIB = 1 << 52  # in bytes and ns, this still fits in 64 bits


def marks_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside a process's marks.

    Raises:
        ValueError: it can't be.
    """
    return {
        "pid": integer(facts, "pid"),
        "rank": integer(facts, "rank", high=MOST_RANKS),
        "names": listed(facts, "names", str),
        "lost": counts(facts, "lost"),
        "lost_rounds": counts({"lost_rounds": {}, **facts}, "lost_rounds"),
    }


def region_calls(facts: Mapping[str, Any], rows: bytes, stop_ns: int) -> Iterable[RegionCalls]:
    """The calls of a process; nothing if there were none."""
    table = _rows(rows, marks.ROW_WORDS)
    names, region = _named(facts, table[0] >> 1)
    if table.size or facts["lost"]:
        yield RegionCalls(
            pid=facts["pid"],
            rank=facts["rank"],
            names=names,
            region=region,
            thread=table[1].copy(),
            start_ns=table[2].copy(),
            stop_ns=np.where(table[3] == 0, np.maximum(stop_ns, table[2]), table[3]),
            resumed=(table[0] & 1).astype(bool),
            lost_calls=facts["lost"],
        )


def rounds(facts: Mapping[str, Any], rows: bytes, stop_ns: int) -> Iterable[Rounds]:
    """The rounds of a process, by name."""
    table = _rows(rows, marks.ROUND_WORDS)
    names, of = _named(facts, table[0] >> 2)
    order = np.lexsort((table[2], table[1], of))
    table = table[:, order]
    numbers, firsts = np.unique(of[order], return_index=True)
    edges, lost = [*firsts.tolist(), table.shape[1]], dict(facts["lost_rounds"])
    for number, start, stop in zip(numbers, edges, edges[1:], strict=False):
        yield _rounds_of(names[number], facts, table[:, start:stop], stop_ns, lost.pop(names[number], 0))


def unmarked_rounds(facts: Mapping[str, Any], rows: bytes) -> Iterable[RegionCalls]:
    """Rounds of names that have none that is marked: how many there were, as calls of regions."""
    names, of = _named(facts, _rows(rows, marks.ROUND_WORDS)[0] >> 2)
    known, none = {names[number] for number in np.unique(of).tolist()}, np.empty(0, np.int64)
    lost = {name: calls for name, calls in facts["lost_rounds"].items() if name not in known}
    if lost:
        yield RegionCalls(facts["pid"], facts["rank"], (), none, none, none, none, none.astype(bool), lost)


def _named(facts: Mapping[str, Any], numbers: Int64s) -> tuple[tuple[str, ...], Int64s]:
    """A process's names, and which of them rows with these numbers are of."""
    names = tuple(facts["names"])
    if (numbers >= len(names)).any():
        names = (*names, marks.NAME_LOST)
    return names, np.minimum(numbers, len(names) - 1)


def _rows(payload: bytes, words: int) -> Int64s:
    """Marks as rows of words of a kind, without what was never used and what can't be a mark."""
    row_bytes = 8 * words
    table = np.frombuffer(payload[: len(payload) // row_bytes * row_bytes], "<i8").reshape(-1, words).T
    name, start, stop = table[0], table[2], table[3]
    begun = (name >= 0) & (start > 0) & (start < LAST_NS)
    return table[:, begun & ((stop == 0) | ((stop >= start) & (stop < LAST_NS)))]


def _rounds_of(name: str, facts: Mapping[str, Any], table: Int64s, stop_ns: int, lost: int) -> Rounds:
    """The rounds of one name.

    Args:
        name: The name.
        facts: What is said beside the marks.
        table: Their rows, by round and then by start.
        stop_ns: When one that is open ends.
        lost: How many more were only counted.
    """
    _, index, intervals = np.unique(table[1], return_inverse=True, return_counts=True)
    firsts = np.concatenate([[0], np.cumsum(intervals)[:-1]])
    bits, _, start, stop, cpu_start, cpu_stop, peak_start, peak_stop = table
    asked = (cpu_start > 0) & (cpu_stop >= cpu_start) & (cpu_stop < _MOST_KIB)
    cpu_us = np.add.reduceat(np.where(asked, cpu_stop - cpu_start, 0), firsts)
    failed = np.where(stop == 0, UNENDED, np.where(bits & marks.RAISED, RAISED, 0)).astype(np.uint8)
    return Rounds(
        name=name,
        pid=facts["pid"],
        rank=facts["rank"],
        round=index.astype(np.int64),
        start_ns=start.copy(),
        stop_ns=np.where(stop == 0, np.maximum(stop_ns, start), stop),
        cpu_ns=np.where(np.logical_and.reduceat(asked, firsts), cpu_us * 1000, -1),
        peak_before_b=_bytes_of(peak_start[firsts]),
        peak_after_b=_bytes_of(peak_stop[firsts + intervals - 1]),
        failed=np.maximum.reduceat(failed, firsts),
        lost=lost,
    )


def _bytes_of(peak_kib: Int64s) -> Int64s:
    return np.where((peak_kib > 0) & (peak_kib < _MOST_KIB), peak_kib * 1024, -1)
