"""Intervals of time that belong to owners: joined where they overlap, and cut to others. Many at once."""

from __future__ import annotations

import numpy as np

from perun_like.analysis.windows import Windows
from perun_like.model.recording import Bools, Int64s


def union(owner: Int64s, start_ns: Int64s, stop_ns: Int64s, owners: int) -> Windows:
    """Disjoint windows of each owner that cover the same times as its intervals.

    Args:
        owner: Whose each interval is, int64, shape (intervals,), in any order.
        start_ns: Its start, in the same way.
        stop_ns: Its end, not before its start.
        owners: How many owners there are.
    """
    if not _is_sorted(owner, start_ns):
        order = np.lexsort((start_ns, owner))
        owner, start_ns, stop_ns = owner[order], start_ns[order], stop_ns[order]
    until_ns = _latest(owner, stop_ns)
    first = _new(owner)
    first[1:] |= start_ns[1:] > until_ns[:-1]
    starts = np.flatnonzero(first)
    last = np.append(starts[1:], len(owner))[: len(starts)] - 1
    return Windows(start_ns[starts], until_ns[last], owner[starts], owners)


def clipped(windows: Windows, to: Windows) -> Windows:
    """The parts of windows that lie in others, of which each is disjoint from the next, in ascending order."""
    first = np.searchsorted(to.b_ns, windows.a_ns, "right")
    behind = np.maximum(np.searchsorted(to.a_ns, windows.b_ns, "left"), first)
    pieces = behind - first
    of = np.repeat(np.arange(len(first)), pieces)
    other = np.arange(len(of)) + np.repeat(first - np.concatenate([[0], np.cumsum(pieces)[:-1]])[: len(first)], pieces)
    a_ns, b_ns = np.maximum(windows.a_ns[of], to.a_ns[other]), np.minimum(windows.b_ns[of], to.b_ns[other])
    return Windows(a_ns, b_ns, windows.owner_of_each[of], windows.owners)


def of_first(windows: Windows, owners: int) -> Windows:
    """The windows of the first owners."""
    if windows.owners <= owners:
        return windows
    rows = owners if windows.owner is None else int(np.searchsorted(windows.owner, owners))
    owner = None if windows.owner is None else windows.owner[:rows]
    return Windows(windows.a_ns[:rows], windows.b_ns[:rows], owner, owners)


def within(t_ns: Int64s, windows: Windows) -> Bools:
    """Which instants lie in one of a single owner's windows, their ends included."""
    index = np.searchsorted(windows.a_ns, t_ns, "right") - 1
    if not len(windows.a_ns):
        return np.zeros(len(t_ns), np.bool_)
    return np.asarray((index >= 0) & (t_ns <= windows.b_ns[np.maximum(index, 0)]))


def _is_sorted(owner: Int64s, start_ns: Int64s) -> bool:
    step, later = np.diff(owner), np.diff(start_ns) >= 0
    return bool(((step > 0) | ((step == 0) & later)).all())


def _new(owner: Int64s) -> Bools:
    """Where an owner's intervals begin."""
    new = np.ones(len(owner), np.bool_)
    np.not_equal(owner[1:], owner[:-1], out=new[1:])
    return new


def _latest(owner: Int64s, stop_ns: Int64s) -> Int64s:
    """The latest end among an owner's intervals up to each."""
    if (_new(owner)[1:] | (stop_ns[1:] >= stop_ns[:-1])).all():
        return stop_ns
    order = np.argsort(stop_ns, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    # One running maximum for all: a later owner's numbers are all larger than an earlier one's.
    latest = np.maximum.accumulate(owner * len(order) + rank) - owner * len(order)
    return np.asarray(stop_ns[order][latest])
