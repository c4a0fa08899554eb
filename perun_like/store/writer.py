"""Write one run as one file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perun_like import __version__
from perun_like.model.node import DataNode
from perun_like.model.recording import HostRecording, Int64s, Recording, RegionCalls, Rounds, Stream
from perun_like.model.serial import encode, encode_tree
from perun_like.store import columns, schema
from perun_like.store.columns import Column
from perun_like.store.hdf5 import Image, Packed, pack, pack_text
from perun_like.store.publish import publish

# A column to be made, and then to be written: where, what, and its attributes beside those that restore it.
_Job = tuple[str, Callable[[], Column], dict[str, str | int | float]]
_Made = tuple[str, Packed, dict[str, str | int | float]]


def write(path: str, recording: Recording, tree: DataNode) -> None:
    """Write a recording and its result to a new file.

    The file is written beside and then given its name, so that it is complete whenever it is there at all. An existing
    file is never touched.

    Args:
        path: The file to be; its directory exists.
        recording: All of it is stored; reads that failed keep no value.
        tree: The result, stored as JSON in the form of an export.

    Raises:
        InputError: there is a file of this name.
        PerunError: it can't be written; nothing is left behind.
    """
    publish(path, image_of(recording, tree))


def image_of(recording: Recording, tree: DataNode) -> bytes:
    """A run as the bytes of an HDF5 file, for :func:`~perun_like.store.publish.publish`."""
    jobs = list[_Job]()
    hosts = [_host(number, host, jobs) for number, host in enumerate(recording.hosts)]
    image = started(tree, {**facts_of(recording), "hosts": hosts})
    for path, packed, attributes in _packed(jobs, _rows(recording)):
        image.add(path, packed, attributes)
    return image.close()


def started(
    tree: DataNode, facts: Mapping[str, Any], version: int = schema.VERSION, image: Image | None = None
) -> Image:
    """A file with everything but the hosts' columns; or with the columns that are in it already."""
    image = image or Image()
    image.annotate({
        schema.SCHEMA_ATTRIBUTE: schema.SCHEMA,
        schema.VERSION_ATTRIBUTE: version,
        schema.SOFTWARE_ATTRIBUTE: __version__,
    })  # fmt: skip
    image.add(schema.TREE, pack_text(encode_tree(tree)), {})
    image.add(schema.RECORDING, pack_text([encode(facts)]), {})
    return image


def facts_of(recording: Recording) -> dict[str, Any]:
    """All facts about a run but those about its hosts."""
    return {
        "name": recording.name,
        "run_id": recording.run_id,
        "size": recording.size,
        "started_unix_ns": recording.started_unix_ns,
        "window_ns": recording.window_ns,
        "metadata": recording.metadata,
        "processes": [process._asdict() for process in recording.processes],
    }


def _rows(recording: Recording) -> int:
    lengths = [len(stream.t0_ns) for host in recording.hosts for stream in host.streams]
    lengths += [len(calls.region) for host in recording.hosts for calls in host.regions]
    return max(lengths + [len(rounds.round) for host in recording.hosts for rounds in host.rounds], default=0)


def _packed(jobs: list[_Job], rows: int) -> Iterator[_Made]:
    """Make all columns; of long ones the chunks are deflated in two threads while the next column is made."""
    if rows <= schema.CHUNK_ROWS:
        yield from (_make(job, map) for job in jobs)
        return
    from concurrent.futures import ThreadPoolExecutor  # a third of the time that a short run's file takes

    with ThreadPoolExecutor(2) as pool:
        made = (_make(job, pool.map) for job in jobs)
        yield from (first for first, _ in pairwise(chain(made, [None])) if first is not None)


def _make(job: _Job, mapped: Callable[..., Iterable[bytes]]) -> _Made:
    path, make, attributes = job
    column = make()
    return path, pack(column, mapped), {**attributes, **column.attributes}


def _host(number: int, host: HostRecording, jobs: list[_Job]) -> dict[str, Any]:
    """Facts about a host, and its columns added to ``jobs``."""
    names = schema.Names(schema.REGIONS, schema.ROUNDS)
    facts = {
        "host": host.host,
        "missing": [missing._asdict() for missing in host.missing],
        "stats": host.stats,
        "cut": host.cut,
        "streams": [_stream(f"hosts/{number}/{names.give(s.backend)}", s, jobs) for s in host.streams],
        "regions": _regions(f"hosts/{number}/{schema.REGIONS}", host.regions, jobs) if host.regions else None,
    }
    if host.rounds:
        facts["rounds"] = _rounds(f"hosts/{number}/{schema.ROUNDS}", host.rounds, jobs)
    return facts


def _stream(group: str, stream: Stream, jobs: list[_Job]) -> dict[str, Any]:
    names = schema.Names(schema.T0, schema.READ)
    jobs.append((f"{group}/{schema.T0}", lambda: columns.differences(stream.t0_ns, stream.period_ns), {"unit": "ns"}))
    jobs.append((f"{group}/{schema.READ}", lambda: columns.plain(stream.t1_ns - stream.t0_ns), {"unit": "ns"}))
    return {
        "group": group,
        "backend": stream.backend,
        "period_ns": stream.period_ns,
        "rank": stream.rank,
        "sweeps": len(stream.t0_ns),
        **({"apart_ns": stream.apart_ns} if stream.apart_ns else {}),
        "sensors": [_sensor(group, stream, row, names, jobs) for row in range(len(stream.sensors))],
    }


def _sensor(group: str, stream: Stream, row: int, names: schema.Names, jobs: list[_Job]) -> dict[str, Any]:
    sensor, raw, valid = stream.sensors[row], stream.raw[row], stream.valid[row]
    name = names.give(sensor.id.removeprefix(f"{stream.backend}:"))
    attributes: dict[str, str | int | float] = {"unit": _label(sensor.unit), "scale": float(sensor.scale)}
    jobs.append((f"{group}/{name}", lambda: columns.reads(raw, valid, sensor), attributes))
    validity = None if valid.all() else name + schema.VALID_SUFFIX
    if validity is not None:
        jobs.append((f"{group}/{validity}", lambda: Column(valid.astype(np.uint8)), {}))
    return {"column": name, "valid": validity, "sensor": sensor._asdict()}


def _label(text: str) -> str:
    """What an attribute can hold of a text: printable characters, not too many. The JSON has all of it."""
    return "".join(character for character in text if character.isprintable())[:100]


def _regions(group: str, processes: Sequence[RegionCalls], jobs: list[_Job]) -> dict[str, Any]:
    """All processes of a host in one table, so that a thousand ranks are not a thousand groups."""
    lengths = [len(calls.region) for calls in processes]
    made: dict[str, Callable[[], Column]] = {
        "process": lambda: columns.plain(np.repeat(np.arange(len(lengths)), lengths)),
        "region": lambda: columns.plain(_joined(calls.region for calls in processes)),
        "thread": lambda: columns.differences(_joined(calls.thread for calls in processes)),
        "start_ns": lambda: columns.differences(_joined(calls.start_ns for calls in processes)),
        "duration_ns": lambda: columns.plain(_joined(calls.stop_ns - calls.start_ns for calls in processes)),
        "resumed": lambda: Column(_joined(calls.resumed for calls in processes).astype(np.uint8)),
    }
    jobs.extend((f"{group}/{name}", made[name], {}) for name in schema.CALL_COLUMNS)
    return {
        "group": group,
        "calls": sum(lengths),
        "processes": [
            {"pid": c.pid, "rank": c.rank, "names": c.names, "calls": len(c.region), "lost_calls": c.lost_calls}
            for c in processes
        ],
    }


def _rounds(group: str, processes: Sequence[Rounds], jobs: list[_Job]) -> dict[str, Any]:
    """What the processes of a host measured in place: a table of intervals and one of rounds."""
    lengths = [len(rounds.round) for rounds in processes]
    each = f"{group}/{schema.EACH_ROUND}"
    made: dict[str, Callable[[], Column]] = {
        f"{group}/process": lambda: columns.plain(np.repeat(np.arange(len(lengths)), lengths)),
        f"{group}/round": lambda: columns.differences(_joined(rounds.round for rounds in processes)),
        f"{group}/start_ns": lambda: columns.differences(_joined(rounds.start_ns for rounds in processes)),
        f"{group}/duration_ns": lambda: columns.plain(
            _joined(rounds.stop_ns - rounds.start_ns for rounds in processes)
        ),
        f"{each}/cpu_ns": lambda: columns.plain(_joined(rounds.cpu_ns for rounds in processes)),
        f"{each}/peak_before_b": lambda: columns.differences(_joined(rounds.peak_before_b for rounds in processes)),
        f"{each}/peak_after_b": lambda: columns.differences(_joined(rounds.peak_after_b for rounds in processes)),
        f"{each}/failed": lambda: Column(_joined(rounds.failed for rounds in processes).astype(np.uint8)),
    }
    jobs.extend((path, column, {}) for path, column in made.items())
    return {
        "group": group,
        "intervals": sum(lengths),
        "rounds": sum(len(rounds.cpu_ns) for rounds in processes),
        "processes": [
            {
                "name": rounds.name,
                "pid": rounds.pid,
                "rank": rounds.rank,
                "intervals": len(rounds.round),
                "rounds": len(rounds.cpu_ns),
                "lost": rounds.lost,
            }
            for rounds in processes
        ],
    }


def _joined(rows: Iterable[NDArray[Any]]) -> Int64s:
    return np.concatenate([np.asarray(row, np.int64) for row in rows])
