"""Read results files. They may come from anywhere: nothing in them is executed, and no size in them is believed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from perun_like.errors import FileError
from perun_like.model.node import DataNode
from perun_like.model.recording import HostRecording, Int64s, Recording, Stream
from perun_like.model.serial import from_dict
from perun_like.sampling.distrust import parse
from perun_like.store import facts as known
from perun_like.store import hdf5, schema
from perun_like.store.contents import unharmed_tree
from perun_like.store.references import references
from perun_like.store.tables import pieces, regions_in, rounds_in
from perun_like.store.trust import check_outside, check_version, telling_damage

_CACHE_BYTES = schema.CHUNK_ROWS * 8  # of each column: a chunk, where HDF5 2 would keep eight megabytes


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


def salvaged(path: str) -> DataNode | None:
    """The result of a damaged file, if that is unharmed; HDF5 has no part in it.

    Raises:
        FileError: there is no such file, or it isn't what it says.
    """
    with telling_damage(path):
        text = unharmed_tree(path)
        return None if text is None else from_dict(parse(text))


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
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES)
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
        rank: The rank whose sampler read them.
    """

    def __init__(self, path: str, file: h5py.File, facts: Mapping[str, Any]) -> None:
        self._path, self._file, self._group = path, file, str(facts["group"])
        self.backend = known.text(facts, "backend")
        self.period_ns = known.integer(facts, "period_ns", 1, known.LAST_NS)
        self.rank = known.integer({"rank": 0, **facts}, "rank", high=known.MOST_RANKS)
        self.sweeps = known.integer(facts, "sweeps")
        self._apart_ns = known.integer({"apart_ns": 0, **facts}, "apart_ns", high=known.LAST_NS)
        self._columns = [str(entry["column"]) for entry in facts["sensors"]]
        self._valid = [entry["valid"] for entry in facts["sensors"]]
        self.sensors = tuple(known.sensor(entry["sensor"]) for entry in facts["sensors"])

    def blocks(self, rows: int) -> Iterator[Stream]:
        """The sweeps, ``rows`` of them at a time, each block a stream of its own.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self._path):
            yield from self._blocks(rows)

    def _blocks(self, rows: int) -> Iterator[Stream]:
        names = [schema.T0, schema.READ, *self._columns]
        columns = [pieces(self._file, f"{self._group}/{name}", self.sweeps, rows) for name in names]
        valid = [self._valid_pieces(name, rows) for name in self._valid]
        for start in range(0, max(self.sweeps, 1), rows):
            length = min(rows, self.sweeps - start)
            t0_ns, read_ns = next(columns[0]), next(columns[1])
            raw = np.empty((len(self.sensors), length), np.int64)
            for row, column in zip(raw, columns[2:], strict=True):
                row[:] = next(column)
            mask = np.ones((len(self.sensors), length), np.bool_)
            for flags, values in zip(mask, valid, strict=True):
                flags[:] = True if values is None else next(values) != 0
            t1_ns = t0_ns + read_ns
            yield Stream(self.backend, self.period_ns, self.sensors, t0_ns, t1_ns, raw, mask, self.rank, self._apart_ns)

    def _valid_pieces(self, name: str | None, rows: int) -> Iterator[Int64s] | None:
        return None if name is None else pieces(self._file, f"{self._group}/{name}", self.sweeps, rows)


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
            return from_dict(parse(hdf5.text(self._file, schema.TREE), hdf5.MOST_TEXT_BYTES))

    def facts(self) -> dict[str, Any]:
        """All that is not a column, as ``docs/file_format.md`` describes it.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return {**parse(hdf5.text(self._file, schema.RECORDING), hdf5.MOST_TEXT_BYTES)}

    def files(self) -> Iterator[RunFile]:
        """The files that hold the hosts, each open only until the next one: this one or, of a master, its host files.

        Raises:
            FileError: one of them is damaged, missing, or isn't what the run was saved with.
        """
        with telling_damage(self.path):
            found = references(self.path, self.facts())
        if found is None:
            yield self
        for reference in found or ():
            reference.check(self.path)
            with open_run(reference.path) as file:
                if file.is_master:
                    raise FileError(f"{reference.path} is itself a file of several hosts, which no host's file can be")
                yield file

    def copy(self, image: hdf5.Image, group: str, path: str) -> None:
        """Copy a group with all columns in it to a file that is being built, without decoding them.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            image.copy(self._file, group, path)

    @property
    def is_master(self) -> bool:
        """Whether it refers to other files for what its hosts recorded."""
        with telling_damage(self.path):
            return references(self.path, self.facts()) is not None

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
            facts = self.facts()
            return recording_of(facts)._replace(hosts=tuple(host for file in self.files() for host in file.hosts()))

    def hosts(self) -> list[HostRecording]:
        """The hosts that are recorded in this very file.

        Raises:
            FileError: the file is damaged.
        """
        with telling_damage(self.path):
            return [self._host(host) for host in self.facts()["hosts"]]

    def _host(self, facts: Mapping[str, Any]) -> HostRecording:
        return HostRecording(
            host=_host_facts(facts["host"]),
            streams=tuple(next(stream.blocks(max(stream.sweeps, 1))) for stream in self.streams(facts)),
            missing=tuple(known.missing(entry) for entry in known.listed(facts, "missing", dict)),
            regions=() if facts["regions"] is None else tuple(regions_in(self._file, facts["regions"])),
            stats=known.stats(known.mapping(facts, "stats")),
            cut=known.text(facts, "cut") if known.has(facts, "cut") else None,
            rounds=tuple(rounds_in(self._file, facts["rounds"])) if facts.get("rounds") else (),
        )


def recording_of(facts: Mapping[str, Any]) -> Recording:
    """A run without its hosts, from what ``store.writer.facts_of`` made of it.

    Raises:
        LookupError, TypeError, ValueError: they aren't such facts.
    """
    start_ns, stop_ns = known.listed(facts, "window_ns", int)
    if not -known.LARGEST <= start_ns <= stop_ns <= known.LARGEST:
        raise ValueError(f"its window is from {start_ns} to {stop_ns}")
    return Recording(
        name=known.text(facts, "name"),
        run_id=known.text(facts, "run_id"),
        started_unix_ns=known.integer(facts, "started_unix_ns", -known.LARGEST),
        window_ns=(start_ns, stop_ns),
        hosts=(),
        processes=tuple(known.process(entry, -known.LAST_NS) for entry in known.listed(facts, "processes", dict)),
        metadata=known.metadata(known.mapping(facts, "metadata")),
        size=known.integer({"size": 1, **facts}, "size", 1, known.MOST_RANKS),
    )


def _host_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Who a host is, and its clocks each time that they were noted; at its end they may be unknown."""
    clocks = facts.get("clocks") or []
    if not isinstance(clocks, list):
        raise ValueError("its clocks are none")  # noqa: TRY004 - the file is wrong, not a caller
    return {**known.host(facts), "clocks": [None if pair is None else known.clocks(pair) for pair in clocks]}
