"""Tables of a results file: columns piece by piece, calls of regions, rounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from perun_like.model.recording import RAISED, UNENDED, Int64s, RegionCalls, Rounds
from perun_like.store import columns, hdf5, schema

_RESTORING = (schema.FIRST, schema.STEP, schema.MODULUS, schema.UNIT_NJ)


def pieces(file: h5py.File, path: str, length: int, rows: int) -> Iterator[Int64s]:
    """The values of a column, ``rows`` of them at a time; a single empty piece of an empty column.

    Raises:
        ValueError: there is no such column of this length.
    """
    dataset = hdf5.column(file, path, length)
    attributes = {name: hdf5.integer(dataset, name) for name in _RESTORING if name in dataset.attrs}
    if attributes.get(schema.MODULUS, 1) < 1:
        raise ValueError(f"{path} has a modulus that can't be")
    starts = range(0, max(length, 1), rows)
    return columns.restore((dataset[start : start + rows] for start in starts), attributes)


def regions_in(file: h5py.File, facts: Mapping[str, Any]) -> Iterator[RegionCalls]:
    """Calls of regions of a host's processes.

    Raises:
        ValueError: they aren't what the facts say.
    """
    calls = int(facts["calls"])
    table = {name: _whole(file, f"{facts['group']}/{name}", calls) for name in schema.CALL_COLUMNS}
    if sum(int(process["calls"]) for process in facts["processes"]) != calls:
        raise ValueError("its calls of regions don't add up")
    start = 0
    for process in facts["processes"]:
        rows = slice(start, start := start + int(process["calls"]))
        yield RegionCalls(
            pid=int(process["pid"]),
            rank=int(process["rank"]),
            names=tuple(str(name) for name in process["names"]),
            region=table["region"][rows],
            thread=table["thread"][rows],
            start_ns=table["start_ns"][rows],
            stop_ns=table["start_ns"][rows] + table["duration_ns"][rows],
            resumed=table["resumed"][rows].astype(np.bool_),
            lost_calls={str(name): int(lost) for name, lost in process["lost_calls"].items()},
        )


def _whole(file: h5py.File, path: str, length: int) -> Int64s:
    return next(pieces(file, path, length, max(length, 1)))


def rounds_in(file: h5py.File, facts: Mapping[str, Any]) -> Iterator[Rounds]:
    """What a host's processes have measured in place.

    Raises:
        ValueError: it isn't what the facts say.
    """
    group, intervals, rounds = facts["group"], int(facts["intervals"]), int(facts["rounds"])
    found = {name: _whole(file, f"{group}/{name}", intervals) for name in schema.INTERVAL_COLUMNS}
    each = {name: _whole(file, f"{group}/{schema.EACH_ROUND}/{name}", rounds) for name in schema.ROUND_COLUMNS}
    row = number = 0
    for process in facts["processes"]:
        rows = slice(row, row := row + int(process["intervals"]))
        numbers = slice(number, number := number + int(process["rounds"]))
        yield _rounds_of(
            process,
            {name: column[rows] for name, column in found.items()},
            {name: column[numbers] for name, column in each.items()},
        )
    if (row, number) != (intervals, rounds):
        raise ValueError("its rounds don't add up")


def _rounds_of(process: Mapping[str, Any], columns: Mapping[str, Int64s], each: Mapping[str, Int64s]) -> Rounds:
    """The rounds of one process.

    Raises:
        ValueError: they aren't numbered as rounds are, or end before they begin.
    """
    numbers, rounds = columns["round"], int(process["rounds"])
    steps = np.diff(numbers, prepend=-1, append=rounds)
    if len(numbers) < rounds or not np.isin(steps, (0, 1)).all() or (len(numbers) and steps[0] != 1):
        raise ValueError("its rounds are not numbered from 0 on")
    if (columns["duration_ns"] < 0).any():
        raise ValueError("its rounds end before they begin")
    return Rounds(
        name=str(process["name"]),
        pid=int(process["pid"]),
        rank=int(process["rank"]),
        round=numbers,
        start_ns=columns["start_ns"],
        stop_ns=columns["start_ns"] + columns["duration_ns"],
        cpu_ns=each["cpu_ns"],
        peak_before_b=each["peak_before_b"],
        peak_after_b=each["peak_after_b"],
        failed=np.select([each["failed"] == UNENDED, each["failed"] != 0], [UNENDED, RAISED]).astype(np.uint8),
        lost=int(process["lost"]),
    )
