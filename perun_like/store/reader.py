"""Read results files. They may come from anywhere: nothing in them is executed, and no size in them is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from perun_like.model.node import DataNode
from perun_like.model.recording import HostRecording, Int64s, Process, Recording, RegionCalls, Rounds, Stream
from perun_like.model.serial import from_dict
from perun_like.sensing.contract import Missing, Sensor
from perun_like.store import columns, hdf5, schema
from perun_like.store.trust import check_outside, check_version, telling_damage

_RESTORING = (schema.FIRST, schema.STEP, schema.MODULUS, schema.UNIT_NJ)


def load(path: str | os.PathLike[str]) -> DataNode:
    """The result of a run from its file.

    Args:
        path: A results file, ``perun_results/<name>/<run id>.h5``.

    Returns:
        The tree's root, of type APP.

    Raises:
        FileError: there is no such file, it is truncated or damaged, or perun_like hasn't written it.
    """
    with open_run(path) as run:
        return run.tree()


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """All that was recorded in a run: what ``store.writer.write`` was given.

    Raises:
        FileError: as for :func:`load`.
    """
    with open_run(path) as run:
        return run.recording()


@contextmanager
def open_run(path: str | os.PathLike[str]) -> Generator[RunFile]:
    """A results file, open for reading in parts.

    Raises:
        FileError: as for :func:`load`; the methods of what is returned raise it too.
    """
    path = os.fspath(path)
    check_outside(path)
    with telling_damage(path):
        file = h5py.File(path, "r")
    try:
        with telling_damage(path):
            check_version(path, file)
        yield RunFile(path, file)
    finally:
        file.close()


class StreamFile:
    """The sweeps of one backend on one host, in a file.

    Attributes:
        sensors: One a column.
        sweeps: The number of rows.
    """

    def __init__(self, path: str, file: h5py.File, facts: Mapping[str, Any]) -> None:
        self._path, self._file, self._group = path, file, str(facts["group"])
        self.backend = str(facts["backend"])
        self.period_ns = int(facts["period_ns"])
        self.sweeps = int(facts["sweeps"])
        self._columns = [str(entry["column"]) for entry in facts["sensors"]]
        self._valid = [entry["valid"] for entry in facts["sensors"]]
        self.sensors = tuple(_known(Sensor, entry["sensor"]) for entry in facts["sensors"])

    def blocks(self, rows: int) -> Iterator[Stream]:
        """The sweeps, ``rows`` of them at a time, each block a stream of its own.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self._path):
            yield from self._blocks(rows)

    def _blocks(self, rows: int) -> Iterator[Stream]:
        names = [schema.T0, schema.READ, *self._columns]
        pieces = [_pieces(self._file, f"{self._group}/{name}", self.sweeps, rows) for name in names]
        valid = [self._valid_pieces(name, rows) for name in self._valid]
        for start in range(0, max(self.sweeps, 1), rows):
            length = min(rows, self.sweeps - start)
            t0_ns, read_ns = next(pieces[0]), next(pieces[1])
            raw = np.empty((len(self.sensors), length), np.int64)
            for row, column in zip(raw, pieces[2:], strict=True):
                row[:] = next(column)
            mask = np.ones((len(self.sensors), length), np.bool_)
            for flags, values in zip(mask, valid, strict=True):
                flags[:] = True if values is None else next(values) != 0
            yield Stream(self.backend, self.period_ns, self.sensors, t0_ns, t0_ns + read_ns, raw, mask)

    def _valid_pieces(self, name: str | None, rows: int) -> Iterator[Int64s] | None:
        return None if name is None else _pieces(self._file, f"{self._group}/{name}", self.sweeps, rows)


class RunFile:
    """An open results file.

    Attributes:
        path: Its path.
    """

    def __init__(self, path: str, file: h5py.File) -> None:
        self.path, self._file = path, file

    def tree(self) -> DataNode:
        """The result.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return from_dict(json.loads(hdf5.text(self._file, schema.TREE)))

    def facts(self) -> dict[str, Any]:
        """All that is not a column, as ``docs/file_format.md`` describes it.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return {**json.loads(hdf5.text(self._file, schema.RECORDING))}

    def streams(self, host: Mapping[str, Any]) -> list[StreamFile]:
        """The streams of one of the hosts in ``facts``.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return [StreamFile(self.path, self._file, stream) for stream in host["streams"]]

    def recording(self) -> Recording:
        """All of it.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return self._recording(self.facts())

    def _recording(self, facts: Mapping[str, Any]) -> Recording:
        start_ns, stop_ns = facts["window_ns"]
        return Recording(
            name=str(facts["name"]),
            run_id=str(facts["run_id"]),
            started_unix_ns=int(facts["started_unix_ns"]),
            window_ns=(int(start_ns), int(stop_ns)),
            hosts=tuple(self._host(host) for host in facts["hosts"]),
            processes=tuple(_process(entry) for entry in facts["processes"]),
            metadata={**facts["metadata"]},
        )

    def _host(self, facts: Mapping[str, Any]) -> HostRecording:
        return HostRecording(
            host={**facts["host"]},
            streams=tuple(next(stream.blocks(max(stream.sweeps, 1))) for stream in self.streams(facts)),
            missing=tuple(Missing.of(entry) for entry in facts["missing"]),
            regions=() if facts["regions"] is None else tuple(self._regions(facts["regions"])),
            stats={**facts["stats"]},
            cut=facts["cut"],
            rounds=tuple(self._rounds(facts["rounds"])) if facts.get("rounds") else (),
        )

    def _regions(self, facts: Mapping[str, Any]) -> Iterator[RegionCalls]:
        calls = int(facts["calls"])
        table = {name: self._call_column(facts, name, calls) for name in schema.CALL_COLUMNS}
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

    def _call_column(self, facts: Mapping[str, Any], name: str, calls: int) -> Int64s:
        return self._whole(f"{facts['group']}/{name}", calls)

    def _whole(self, path: str, length: int) -> Int64s:
        return next(_pieces(self._file, path, length, max(length, 1)))

    def _rounds(self, facts: Mapping[str, Any]) -> Iterator[Rounds]:
        group, intervals, rounds = facts["group"], int(facts["intervals"]), int(facts["rounds"])
        columns = {name: self._whole(f"{group}/{name}", intervals) for name in schema.INTERVAL_COLUMNS}
        each = {name: self._whole(f"{group}/{schema.EACH_ROUND}/{name}", rounds) for name in schema.ROUND_COLUMNS}
        row = number = 0
        for process in facts["processes"]:
            rows = slice(row, row := row + int(process["intervals"]))
            numbers = slice(number, number := number + int(process["rounds"]))
            yield _rounds_of(
                process,
                {name: column[rows] for name, column in columns.items()},
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
        failed=each["failed"] != 0,
        lost=int(process["lost"]),
    )


def _pieces(file: h5py.File, path: str, length: int, rows: int) -> Iterator[Int64s]:
    """The values of a column, ``rows`` of them at a time; a single empty piece of an empty column."""
    dataset = hdf5.column(file, path, length)
    attributes = {name: hdf5.integer(dataset, name) for name in _RESTORING if name in dataset.attrs}
    if attributes.get(schema.MODULUS, 1) < 1:
        raise ValueError(f"{path} has a modulus that can't be")
    starts = range(0, max(length, 1), rows)
    return columns.restore((dataset[start : start + rows] for start in starts), attributes)


def _known(make: Any, facts: Mapping[str, Any]) -> Any:
    """A named tuple from the fields this version knows."""
    return make(**{name: facts[name] for name in make._fields if name in facts})


def _process(facts: Mapping[str, Any]) -> Process:
    process = Process(**{name: facts[name] for name in Process.__dataclass_fields__ if name in facts})
    if type(process.round) is not int or process.round < 0:
        raise ValueError(f"it has a process of round {process.round!r}")
    return process
