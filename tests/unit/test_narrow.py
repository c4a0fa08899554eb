"""Narrow columns: whatever is put into one comes out, and takes less room. The truth is the list that was put in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perun_like.analysis.counters import unwrap
from perun_like.model.narrow import Narrow, append, blocks, cut
from perun_like.sensing.contract import COUNTER, GAUGE, Sensor
from perun_like.store import columns

INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-200, 200)
BLOCKS = st.lists(st.one_of(st.lists(NEAR, max_size=9), st.lists(INT64, max_size=9)), max_size=6)


def narrow(parts: list[list[int]]) -> Narrow:
    made = Narrow()
    for part in parts:
        append([made], np.array(part, np.int64).reshape(-1, 1))
    return made


@given(BLOCKS)
def test_all_comes_out_as_it_was(parts: list[list[int]]) -> None:
    column, values = narrow(parts), [value for part in parts for value in part]
    assert np.asarray(column).tolist() == values
    assert np.asarray(column).dtype == np.int64
    assert [value for block in blocks(column) for value in block.tolist()] == values
    assert [column[row] for row in range(-len(column), len(column))] == values + values
    assert len(column) == len(values)
    with pytest.raises(IndexError):
        column[len(values)]


@given(BLOCKS, st.integers(0, 60), st.integers(0, 60))
def test_a_cut_is_a_slice_of_the_values(parts: list[list[int]], start: int, stop: int) -> None:
    values = np.array([value for part in parts for value in part], np.int64)
    rows = slice(start, stop)
    assert np.asarray(cut(narrow(parts), rows)).tolist() == values[rows].tolist() == cut(values, rows).tolist()


def test_rows_of_a_table_are_values_of_its_columns() -> None:
    table = np.random.default_rng(1).integers(-(2**40), 2**40, (50, 3)) >> np.array([0, 20, 38])
    made = [Narrow() for _ in range(3)]
    for first in range(0, 50, 20):
        append(made, table[first : first + 20])
    assert np.asarray(made).tolist() == table.T.tolist()


@pytest.mark.parametrize(("step", "bytes_"), [(1, 1), (200, 2), (200_000, 4), (2**40, 8)])
def test_room_is_that_of_the_differences(step: int, bytes_: int) -> None:
    column = narrow([(2**60 + np.arange(1000) * step).tolist()])
    assert sum(differences.nbytes for differences in column._differences) == 1000 * bytes_


def test_a_wrap_takes_no_more_room_than_other_steps() -> None:
    values = np.arange(1000) * 200_000 + 2**40
    values[700:] -= 2**40
    column = narrow([values.tolist()])
    assert sum(differences.nbytes for differences in column._differences) == 4000
    assert np.asarray(column).tolist() == values.tolist()


SENSORS = {
    "counter of a register": {
        "kind": COUNTER,
        "unit": "J",
        "modulus": (2**32 - 1) * 61_035 // 1000 + 61,
        "ceiling": 1e3,
    },
    "counter that wraps": {"kind": COUNTER, "unit": "J", "modulus": 10**7 + 19, "ceiling": 1e3},
    "counter": {"kind": COUNTER, "unit": "B"},
    "gauge": {"kind": GAUGE, "unit": "W"},
}


@pytest.mark.parametrize("facts", SENSORS.values(), ids=SENSORS)
@pytest.mark.parametrize("failing", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("reset", [False, True])
def test_what_is_made_of_a_column_is_the_same_whatever_its_blocks(
    facts: dict[str, Any], failing: float, reset: bool
) -> None:
    """The file's column and the unwrapped counter of 10,000 values in blocks of 1 to 3,000, and of an array."""
    random = np.random.default_rng(2)
    units = np.cumsum(random.integers(0, 4000, 10_000))
    units[5_000:] -= units[5_000] if reset else 0
    sensor = Sensor("a", "rapl", "cpu", "energy", scale=1e-6, resolution=61, tick_ns=10**6, **facts)
    values = units % 2**32 * 61_035 // 1000 % (sensor.modulus or 2**62)
    parts = np.split(values, np.sort(random.integers(0, 10_000, 20)))
    column, valid = narrow([part.tolist() for part in parts]), random.random(10_000) >= failing
    one, other = columns.reads(values, valid, sensor), columns.reads(column, valid, sensor)
    assert (one.attributes, one.stored.dtype) == (other.attributes, other.stored.dtype)
    assert one.stored.tolist() == other.stored.tolist()
    restored = next(columns.restore([other.stored], other.attributes))
    assert restored[valid].tolist() == values[valid].tolist()
    if sensor.kind == COUNTER:
        t_ns = np.arange(10_000) * 5 * 10**6
        whole, in_blocks = (unwrap(sensor, t_ns, t_ns + 5, raw) for raw in (values, column))
        for name in ("units", "wraps", "gaps", "missing"):
            assert getattr(whole, name).tolist() == getattr(in_blocks, name).tolist()
        if not reset:
            assert whole.gaps[-1] == 0
            assert bool(whole.wraps[-1]) is (sensor.modulus == 10**7 + 19)
