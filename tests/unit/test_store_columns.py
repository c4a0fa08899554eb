"""Columns restore exactly, whatever was in them, and are narrow where they can be."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stored_recordings import REGISTER, UNIT_NJ, rapl_sensor

from perun_like.sensing.contract import GAUGE
from perun_like.store import columns

INT64 = st.integers(-(2**63), 2**63 - 1)
EXTREMES = st.sampled_from([-(2**63), 2**63 - 1, 0, -1, 1, 2**62, 2**32 - 1, 2**32])
ANY_COLUMN = arrays(np.int64, st.integers(0, 40), elements=EXTREMES | INT64)


@pytest.fixture(autouse=True)
def encode_short_columns_too():
    with patch.object(columns, "PLAIN_ROWS", 0):
        yield


def restored(column, cut=7):
    pieces = [column.stored[start : start + cut] for start in range(0, max(len(column.stored), 1), cut)]
    return np.concatenate(list(columns.restore(pieces, column.attributes)))


@given(ANY_COLUMN, st.sampled_from([0, 1_000_000, -5, 2**62]), st.sampled_from([1, 2, 7, 2**32, 2**61]))
def test_any_column_comes_back(values, step, modulus):
    if len(values):
        assert restored(columns.differences(values, step)).tolist() == values.tolist()
        assert restored(columns.differences(values, modulus=modulus)).tolist() == values.tolist()
    assert restored(columns.plain(values) if len(values) else columns.Column(values)).tolist() == values.tolist()


@given(ANY_COLUMN, st.data(), st.sampled_from(["counter", "gauge"]))
def test_any_sensor_comes_back_where_it_was_read(values, data, kind):
    valid = data.draw(arrays(np.bool_, len(values)))
    sensor = rapl_sensor()._replace(kind=kind, modulus=data.draw(st.sampled_from([None, 100, 2**32, 2**70])))
    got = restored(columns.reads(values, valid, sensor))
    assert got[valid].tolist() == values[valid].tolist()


UNITS_NJ = st.sampled_from([UNIT_NJ, 15_300, 15_258, 1001, 1_000_000])
STEPS = st.lists(st.integers(0, 20_000), min_size=1, max_size=40)


@given(st.integers(0, REGISTER - 1), STEPS, UNITS_NJ)
@settings(max_examples=300)
def test_a_counter_in_microjoules_is_stored_in_register_units(first, steps, unit_nj):
    register = (first + np.cumsum(steps)) % REGISTER
    sensor = rapl_sensor()._replace(modulus=(REGISTER - 1) * unit_nj // 1000 + round(unit_nj / 1000))
    column = columns.reads(register * unit_nj // 1000, np.ones(len(steps), bool), sensor)
    assert column.attributes["unit_nj"] == unit_nj
    assert column.stored.dtype.itemsize <= 2  # every step is below 2**15
    assert restored(column).tolist() == (register * unit_nj // 1000).tolist()


@pytest.mark.parametrize("range_uj", [262_143_328_850, 65_712_999_613, 65_532_610_987])
def test_units_of_known_processors_are_recognised(range_uj):
    units = {262_143_328_850: 61_035, 65_712_999_613: 15_300, 65_532_610_987: 15_258}
    for modulus in (range_uj, range_uj + 1, range_uj + 61):
        values = np.arange(50) * units[range_uj] // 1000
        sensor = rapl_sensor()._replace(modulus=modulus)
        assert columns.reads(values, np.ones(50, bool), sensor).attributes["unit_nj"] == units[range_uj]


def test_one_value_that_is_no_multiple_of_the_unit_keeps_microjoules():
    values = np.arange(50) * UNIT_NJ // 1000
    values[20] += 1
    column = columns.reads(values, np.ones(50, bool), rapl_sensor())
    assert "unit_nj" not in column.attributes
    assert restored(column).tolist() == values.tolist()


def test_a_wrap_in_microjoules_does_not_widen_the_column():
    modulus = 10**11
    values = (modulus - 500 + np.arange(100) * 7) % modulus
    column = columns.reads(values, np.ones(100, bool), rapl_sensor()._replace(modulus=modulus))
    assert column.attributes["modulus"] == modulus
    assert column.stored.dtype == np.int8
    assert restored(column).tolist() == values.tolist()


def test_failed_reads_cost_nothing_and_a_gauge_keeps_its_dips():
    values = np.array([50, -(2**62), 51, 2**62, 3])
    valid = np.array([True, False, True, False, True])
    column = columns.reads(values, valid, rapl_sensor()._replace(kind=GAUGE))
    assert column.stored.dtype == np.int8
    assert restored(column).tolist() == [50, 50, 51, 51, 3]


def test_a_regular_grid_is_stored_as_zeros():
    times = np.arange(100) * 1_000_000 + 17
    assert not columns.differences(times, 1_000_000).stored.any()


def test_a_short_column_is_stored_as_it_is():
    with patch.object(columns, "PLAIN_ROWS", 3):
        for column in (columns.differences(np.array([5, 6, 7]), 1), columns.plain(np.array([5, 6, 7]))):
            assert column.attributes == {}
            assert column.stored.dtype == np.int64
            assert column.stored.tolist() == [5, 6, 7]
