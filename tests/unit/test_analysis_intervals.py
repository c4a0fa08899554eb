"""Intervals of many owners. Truth: one cell a unit of time, filled by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perun_like.analysis.intervals import clipped, of_first, union, within
from perun_like.analysis.windows import Windows

LAST = 60
intervals = st.lists(st.tuples(st.integers(0, 4), st.integers(0, LAST), st.integers(0, LAST)), max_size=40)


def columns(made: list[tuple[int, int, int]]) -> list[np.ndarray]:
    table = np.array([(owner, min(a, b), max(a, b)) for owner, a, b in made], np.int64).reshape(-1, 3)
    return [np.ascontiguousarray(column) for column in table.T]


def cells(owner: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    filled = np.zeros((5, LAST), np.bool_)
    for each, start, stop in zip(owner, a, b, strict=True):
        filled[each, start:stop] = True
    return filled


def assert_disjoint(windows: Windows) -> None:
    owner = windows.owner_of_each
    assert (np.diff(owner) >= 0).all()
    same = np.diff(owner) == 0
    assert (windows.a_ns[1:][same] > windows.b_ns[:-1][same]).all()


@given(intervals)
def test_a_union_covers_the_same_times_once(made: list[tuple[int, int, int]]) -> None:
    owner, a, b = columns(made)
    found = union(owner, a, b, 5)
    assert_disjoint(found)
    np.testing.assert_array_equal(cells(found.owner_of_each, found.a_ns, found.b_ns), cells(owner, a, b))
    np.testing.assert_allclose(found.duration_s * 1e9, cells(owner, a, b).sum(axis=1))
    assert set(found.owner_of_each) == set(owner)  # nobody is lost, even with no time


@given(intervals, intervals)
def test_parts_within_others(made: list[tuple[int, int, int]], others: list[tuple[int, int, int]]) -> None:
    windows = union(*columns(made), 5)
    owner, a, b = columns(others)
    to = union(np.zeros_like(owner), a, b, 1)
    found = clipped(windows, Windows.joined(to.a_ns, to.b_ns))
    expected = cells(windows.owner_of_each, windows.a_ns, windows.b_ns) & cells(to.owner_of_each, to.a_ns, to.b_ns)[0]
    np.testing.assert_array_equal(cells(found.owner_of_each, found.a_ns, found.b_ns), expected)
    np.testing.assert_allclose(found.duration_s * 1e9, expected.sum(axis=1))


@given(intervals, st.lists(st.integers(0, LAST), max_size=20))
def test_instants_within(made: list[tuple[int, int, int]], instants: list[int]) -> None:
    owner, a, b = columns(made)
    to = union(np.zeros_like(owner), a, b, 1)
    expected = [any(x <= t <= y for x, y in zip(a, b, strict=True)) for t in instants]
    assert within(np.array(instants, np.int64), Windows.joined(to.a_ns, to.b_ns)).tolist() == expected


def test_owners_are_told_apart() -> None:
    windows = union(np.array([1, 0, 1]), np.array([5, 0, 9]), np.array([7, 4, 12]), 3)
    assert (windows.of(0).a_ns.tolist(), windows.of(0).b_ns.tolist()) == ([0], [4])
    assert (windows.of(1).a_ns.tolist(), windows.of(1).b_ns.tolist()) == ([5, 9], [7, 12])
    assert windows.of(1).duration_s.tolist() == [5e-9]
    assert windows.of(2).a_ns.tolist() == []
    first = of_first(windows, 1)
    assert (first.a_ns.tolist(), first.owners, first.duration_s.tolist()) == ([0], 1, [4e-9])
    assert of_first(windows, 3) is windows
    each = Windows.each(np.array([1, 4]), np.array([3, 9]))
    assert of_first(each, 1).b_ns.tolist() == [3]
    assert each.of(1).b_ns.tolist() == [9]
    assert each.later(10).a_ns.tolist() == [11, 14]
